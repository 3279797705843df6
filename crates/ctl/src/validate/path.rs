//! The path of a field in an object, and where it is in the text.

use std::fmt;
use std::ops::Range;

use super::node::{MarkedNode, MarkedValue};

/// The path of a field, such as `spec.addresses[1]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldPath(Vec<FieldStep>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldStep {
    Field(String),
    Index(usize),
}

impl FieldPath {
    /// Parses the path of a problem.
    pub(crate) fn parse(text: &str) -> Self {
        let steps = text
            .split(['.', '['])
            .filter_map(|step| match step.strip_suffix(']') {
                Some(index) => index.parse().ok().map(FieldStep::Index),
                None => (!step.is_empty()).then(|| FieldStep::Field(step.to_owned())),
            });
        Self(steps.collect())
    }

    /// Returns the path of a field of this one.
    pub(crate) fn field(&self, name: &str) -> Self {
        self.and(FieldStep::Field(name.to_owned()))
    }

    /// Returns the path of an entry of this list.
    pub(crate) fn index(&self, place: usize) -> Self {
        self.and(FieldStep::Index(place))
    }

    fn and(&self, step: FieldStep) -> Self {
        let steps = self.0.iter().cloned();
        Self(steps.chain([step]).collect())
    }

    /// Whether this is the path of the whole object.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the two fields is in the other, or they are the same.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// Returns the place of the field: its value, or its key if the value is a list or mapping. Of a field that is not there it is
    /// that of the nearest one around it.
    pub(crate) fn locate(&self, root: &MarkedNode) -> Range<usize> {
        let (mut node, mut span) = (root, first_key(root));
        for step in &self.0 {
            match step {
                FieldStep::Field(name) => {
                    let Some(entry) = node.entry(name) else { break };
                    node = &entry.node;
                    span = match &node.value {
                        MarkedValue::Scalar { .. } if !node.is_null() => node.span.clone(),
                        MarkedValue::Scalar { .. } | MarkedValue::Sequence(_) | MarkedValue::Mapping(_) => {
                            entry.key_span.clone()
                        }
                    };
                }
                FieldStep::Index(place) => {
                    let Some(item) = node.items().get(*place) else {
                        break;
                    };
                    node = item;
                    span = first_key(node);
                }
            }
        }
        span
    }

    /// Returns the place of the key of a field; as [`locate`](Self::locate) if it has none.
    pub(crate) fn locate_key(&self, root: &MarkedNode) -> Range<usize> {
        let Some((FieldStep::Field(name), parent)) = self.0.split_last() else {
            return self.locate(root);
        };
        let parent = Self(parent.to_vec());
        let entry = parent.node(root).and_then(|node| node.entry(name));
        entry.map_or_else(|| self.locate(root), |entry| entry.key_span.clone())
    }

    /// Returns the value of the field.
    pub(crate) fn node<'a>(&self, root: &'a MarkedNode) -> Option<&'a MarkedNode> {
        self.0.iter().try_fold(root, |node, step| match step {
            FieldStep::Field(name) => node.entry(name).map(|entry| &entry.node),
            FieldStep::Index(place) => node.items().get(*place),
        })
    }
}

/// Returns the place of the first key of a mapping; of other values their own.
fn first_key(node: &MarkedNode) -> Range<usize> {
    let first = node.entries().first();
    first.map_or_else(|| node.span.clone(), |entry| entry.key_span.clone())
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                FieldStep::Index(index) => write!(f, "[{index}]")?,
                FieldStep::Field(name) if name.contains(['.', '/', '[']) => write!(f, "[{name}]")?,
                FieldStep::Field(name) if place == 0 => f.write_str(name)?,
                FieldStep::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::yaml;

    #[test]
    fn a_field_is_found_in_the_text_and_one_that_is_absent_at_its_parent() {
        let text = "kind: x\nspec:\n  addresses: [a, {b: c}]\n  empty:\nmetadata: {n: &n {a.b/c: d}}\n";
        let root = yaml::parse(text).remove(0).root.expect("a document");
        let at = |path: &str| &text[FieldPath::parse(path).locate(&root)];
        assert_eq!(at("kind"), "x");
        assert_eq!(at("spec"), "spec");
        assert_eq!(at("spec.addresses"), "addresses");
        assert_eq!(at("spec.addresses[0]"), "a");
        assert_eq!(at("spec.addresses[1]"), "b");
        assert_eq!(at("spec.addresses[1].b"), "c");
        assert_eq!(at("spec.addresses[2]"), "addresses");
        assert_eq!(at("spec.empty"), "empty");
        assert_eq!(at("spec.absent.more"), "spec");
        assert_eq!(at("absent"), "kind");
        let label = FieldPath::parse("metadata.n").field("a.b/c");
        assert_eq!(&text[label.locate(&root)], "d");
        assert_eq!(&text[label.locate_key(&root)], "a.b/c");
        assert_eq!(label.to_string(), "metadata.n[a.b/c]");
        assert_eq!(FieldPath::parse("spec.a[1].b").to_string(), "spec.a[1].b");
    }
}

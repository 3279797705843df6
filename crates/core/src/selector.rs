//! Label selectors (`metav1.LabelSelector`), parsed once before they are matched.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A selector as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RawSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub match_expressions: Vec<RawRequirement>,
}

/// One `matchExpressions` entry as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RawRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values; none for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

/// A selector that was parsed. An empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

/// The reason why a selector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator is unknown.
    #[error("{0:?} is not a valid label selector operator; use In, NotIn, Exists or DoesNotExist")]
    Operator(String),
    /// `In` or `NotIn` without values.
    #[error("matchExpressions on {key:?}: operator {operator} needs at least one value")]
    MissingValues {
        /// The label's key.
        key: String,
        /// The operator.
        operator: &'static str,
    },
    /// `Exists` or `DoesNotExist` with values.
    #[error("matchExpressions on {key:?}: operator {operator} takes no values")]
    UnexpectedValues {
        /// The label's key.
        key: String,
        /// The operator.
        operator: &'static str,
    },
    /// A value occurs twice in one expression.
    #[error("duplicate definition of match expression value in label selector {0:?}")]
    DuplicateValue(String),
    /// An expression occurs twice in one selector.
    #[error("duplicate definition of match expressions on {0:?}")]
    DuplicateExpression(String),
    /// An expression has no key.
    #[error("matchExpressions: an entry has no key")]
    MissingKey,
}

impl Selector {
    /// Parses a selector by the rules of `metav1.LabelSelector`. Duplicates are errors, as in MetalLB.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(raw: &RawSelector) -> Result<Self, SelectorError> {
        let mut requirements: Vec<Requirement> = raw
            .match_labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                test: Test::In(BTreeSet::from([value.clone()])),
            })
            .collect();
        let mut seen = BTreeSet::new();
        for expression in &raw.match_expressions {
            let requirement = Requirement::parse(expression)?;
            if !seen.insert(requirement.clone()) {
                return Err(SelectorError::DuplicateExpression(expression.key.clone()));
            }
            requirements.push(requirement);
        }
        requirements.sort();
        Ok(Self { requirements })
    }

    /// Returns whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl Requirement {
    fn parse(raw: &RawRequirement) -> Result<Self, SelectorError> {
        if raw.key.is_empty() {
            return Err(SelectorError::MissingKey);
        }
        let mut values = BTreeSet::new();
        for value in &raw.values {
            if !values.insert(value.clone()) {
                return Err(SelectorError::DuplicateValue(value.clone()));
            }
        }
        let key = raw.key.clone();
        let test = match (raw.operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In", true) => return Err(SelectorError::MissingValues { key, operator: "In" }),
            ("NotIn", true) => {
                let operator = "NotIn";
                return Err(SelectorError::MissingValues { key, operator });
            }
            ("Exists", false) => {
                let operator = "Exists";
                return Err(SelectorError::UnexpectedValues { key, operator });
            }
            ("DoesNotExist", false) => {
                let operator = "DoesNotExist";
                return Err(SelectorError::UnexpectedValues { key, operator });
            }
            (other, _) => return Err(SelectorError::Operator(other.to_string())),
        };
        Ok(Self { key, test })
    }

    /// Returns whether the labels meet the requirement. `NotIn` and `DoesNotExist` also match objects without the key, as in
    /// Kubernetes.
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.contains(v)),
            Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(key: &str, operator: &str, values: &[&str]) -> RawSelector {
        RawSelector {
            match_expressions: Vec::from([RawRequirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(ToString::to_string).collect(),
            }]),
            ..RawSelector::default()
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(Selector::default().matches(&labels(&[])));
    }

    #[test]
    fn each_operator_matches_as_kubernetes_defines_it() {
        // (operator, values, matches {a: 1}, matches {a: 2}, matches {})
        let table: [(&str, &[&str], bool, bool, bool); 4] = [
            ("In", &["1"], true, false, false),
            ("NotIn", &["1"], false, true, true),
            ("Exists", &[], true, true, false),
            ("DoesNotExist", &[], false, false, true),
        ];
        for (operator, values, one, two, none) in table {
            let selector = Selector::parse(&expression("a", operator, values)).expect("valid");
            assert_eq!(selector.matches(&labels(&[("a", "1")])), one, "{operator}");
            assert_eq!(selector.matches(&labels(&[("a", "2")])), two, "{operator}");
            assert_eq!(selector.matches(&labels(&[])), none, "{operator}");
        }
    }

    #[test]
    fn every_mistake_has_an_error() {
        let parse = |operator, values: &[&str]| Selector::parse(&expression("a", operator, values));
        assert_eq!(parse("in", &["1"]), Err(SelectorError::Operator("in".into())));
        let key = String::from("a");
        let operator = "In";
        assert_eq!(
            parse("In", &[]),
            Err(SelectorError::MissingValues { key, operator })
        );
        assert_eq!(
            parse("In", &["1", "1"]),
            Err(SelectorError::DuplicateValue("1".into()))
        );
        assert!(parse("Exists", &["1"]).is_err());
        assert!(Selector::parse(&expression("", "Exists", &[])).is_err());
    }
}

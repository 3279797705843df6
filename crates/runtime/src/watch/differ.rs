//! Changes from lists and events.

use std::collections::BTreeSet;

use kube::core::Resource;

/// A change of the objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<T> {
    /// The object is new or changed.
    Applied(T),
    /// The object is gone.
    Deleted(ObjectKey),
    /// The API server has listed all objects: at the start, and after every gap in the watch. Before it comes `Deleted`
    /// for each object that went in the gap, then `Applied` for each object that exists, all in one message.
    Synced,
}

/// Name of an object within its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`; empty for objects without a namespace.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// Turns lists into changes. Only the names of the objects are kept.
#[derive(Debug)]
pub(super) struct Differ<T> {
    /// `namespace/name` of the objects that exist.
    present: BTreeSet<Box<str>>,
    /// The objects of the list that is being read.
    listed: Vec<(Box<str>, T)>,
}

impl<T> Default for Differ<T> {
    fn default() -> Self {
        Self {
            present: BTreeSet::new(),
            listed: Vec::new(),
        }
    }
}

impl<T> Differ<T> {
    /// Forgets a list that broke off.
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
    }

    /// Takes an object of the list that is being read.
    pub(super) fn handle_listed<K: Resource>(&mut self, object: K, convert: impl Fn(K) -> T) {
        self.listed.push((name_of(&object), convert(object)));
    }

    /// Takes an object that is new or changed.
    pub(super) fn handle_applied<K: Resource>(&mut self, object: K, convert: impl Fn(K) -> T) -> Update<T> {
        self.present.insert(name_of(&object));
        Update::Applied(convert(object))
    }

    /// Takes an object that is gone.
    pub(super) fn handle_deleted(&mut self, object: &impl Resource) -> Update<T> {
        let name = name_of(object);
        self.present.remove(&name);
        Update::Deleted(ObjectKey::parse(&name))
    }

    /// How many objects exist.
    pub(super) fn len(&self) -> usize {
        self.present.len()
    }

    /// Returns the changes that the list means. A list that breaks off means none.
    pub(super) fn finish_list(&mut self) -> Vec<Update<T>> {
        let mut gone = std::mem::take(&mut self.present);
        let mut applied = Vec::with_capacity(self.listed.len());
        for (name, object) in self.listed.drain(..) {
            gone.remove(&name);
            self.present.insert(name);
            applied.push(Update::Applied(object));
        }
        self.listed.shrink_to_fit();
        let deleted = gone.iter().map(|name| Update::Deleted(ObjectKey::parse(name)));
        deleted.chain(applied).chain([Update::Synced]).collect()
    }
}

impl ObjectKey {
    /// Reads `namespace/name`.
    fn parse(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or_default();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// `namespace/name`; neither part can have a slash.
fn name_of(object: &impl Resource) -> Box<str> {
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::api::ObjectMeta;

    fn object(name: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("default".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn list(differ: &mut Differ<String>, names: &[&str]) -> Vec<Update<String>> {
        differ.begin_list();
        names
            .iter()
            .for_each(|name| differ.handle_listed(object(name), |object| object.name_any()));
        differ.finish_list()
    }

    fn applied(name: &str) -> Update<String> {
        Update::Applied(name.to_owned())
    }

    fn deleted(name: &str) -> Update<String> {
        Update::Deleted(ObjectKey {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn a_list_after_a_gap_deletes_first_what_went_in_the_gap() {
        let mut differ = Differ::default();
        let first = list(&mut differ, &["a", "b"]);
        assert_eq!(first, [applied("a"), applied("b"), Update::Synced]);
        let live = differ.handle_applied(object("c"), |object| object.name_any());
        assert_eq!(live, applied("c"));
        assert_eq!(differ.handle_deleted(&object("a")), deleted("a"));
        let second = list(&mut differ, &["c", "d"]);
        assert_eq!(second, [deleted("b"), applied("c"), applied("d"), Update::Synced]);
        let empty = list(&mut differ, &[]);
        assert_eq!(empty, [deleted("c"), deleted("d"), Update::Synced]);
    }

    #[test]
    fn a_list_that_breaks_off_changes_nothing() {
        let mut differ = Differ::default();
        list(&mut differ, &["a"]);
        differ.begin_list();
        differ.handle_listed(object("b"), |object| object.name_any());
        let again = list(&mut differ, &["a"]);
        assert_eq!(again, [applied("a"), Update::Synced]);
    }
}

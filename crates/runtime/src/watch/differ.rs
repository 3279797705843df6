//! Changes from lists and events.

use std::collections::BTreeSet;

use kube::api::ObjectMeta;
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
    /// The objects that cannot be parsed.
    unreadable: BTreeSet<Box<str>>,
    /// Those of the list that is being read.
    listed_unreadable: BTreeSet<Box<str>>,
}

impl<T> Default for Differ<T> {
    fn default() -> Self {
        Self {
            present: BTreeSet::new(),
            listed: Vec::new(),
            unreadable: BTreeSet::new(),
            listed_unreadable: BTreeSet::new(),
        }
    }
}

impl<T> Differ<T> {
    /// Forgets a list that broke off.
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
        self.listed_unreadable.clear();
    }

    /// Takes an object of the list that is being read.
    pub(super) fn handle_listed<K: Resource>(&mut self, object: K, convert: impl Fn(K) -> T) {
        self.listed.push((name_of(object.meta()), convert(object)));
    }

    /// Takes an object of the list that is being read that cannot be parsed: if it was there before, it stays as it was.
    /// Returns its name if that is news.
    pub(super) fn handle_listed_unreadable(&mut self, metadata: &ObjectMeta) -> Option<ObjectKey> {
        self.listed_unreadable.insert(name_of(metadata));
        self.handle_unreadable(metadata)
    }

    /// Takes an object that is new or changed and cannot be parsed: it stays as it was. Returns its name if that is news.
    pub(super) fn handle_unreadable(&mut self, metadata: &ObjectMeta) -> Option<ObjectKey> {
        let name = name_of(metadata);
        let key = ObjectKey::parse(&name);
        self.unreadable.insert(name).then_some(key)
    }

    /// Takes an object that is new or changed.
    pub(super) fn handle_applied<K: Resource>(&mut self, object: K, convert: impl Fn(K) -> T) -> Update<T> {
        let name = name_of(object.meta());
        self.unreadable.remove(&name);
        self.present.insert(name);
        Update::Applied(convert(object))
    }

    /// Takes an object that is gone.
    pub(super) fn handle_deleted(&mut self, metadata: &ObjectMeta) -> Update<T> {
        let name = name_of(metadata);
        self.unreadable.remove(&name);
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
        self.unreadable = std::mem::take(&mut self.listed_unreadable);
        let stay = self.unreadable.iter().filter_map(|name| gone.take(name));
        self.present.extend(stay);
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
fn name_of(meta: &ObjectMeta) -> Box<str> {
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
        assert_eq!(differ.handle_deleted(&object("a").metadata), deleted("a"));
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

    #[test]
    fn an_object_that_cannot_be_parsed_stays_as_it_was_and_is_news_once() {
        let mut differ = Differ::default();
        list(&mut differ, &["a", "b"]);
        let is_news = |key: Option<ObjectKey>| key.is_some_and(|key| key.name == "a");
        let bad = object("a").metadata;
        assert!(is_news(differ.handle_unreadable(&bad)));
        assert_eq!(differ.handle_unreadable(&bad), None);
        for updates in [vec![deleted("b"), Update::Synced], vec![Update::Synced]] {
            differ.begin_list();
            assert_eq!(differ.handle_listed_unreadable(&bad), None);
            assert_eq!(differ.finish_list(), updates);
            assert_eq!(differ.len(), 1);
        }
        // It is applied when it can be parsed again, and may become unreadable again.
        assert_eq!(
            differ.handle_applied(object("a"), |object| object.name_any()),
            applied("a")
        );
        assert!(is_news(differ.handle_unreadable(&bad)));
        assert_eq!(differ.handle_deleted(&bad), deleted("a"));
        // One that was never parsed is not there.
        differ.begin_list();
        assert!(is_news(differ.handle_listed_unreadable(&bad)));
        assert_eq!(differ.finish_list(), [Update::Synced]);
        assert_eq!(list(&mut differ, &[]), [Update::Synced]);
        assert!(is_news(differ.handle_unreadable(&bad)));
    }
}

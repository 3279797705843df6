//! Objects by collection and key, one revision counter, and a bounded history of the changes of each collection.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::kinds::Collection;
use crate::object::{Key, set_meta};

/// One write, as watchers see it.
#[derive(Debug)]
pub(crate) struct Change {
    /// The revision that the write made.
    pub(crate) revision: u64,
    /// Where it happened.
    pub(crate) collection: Collection,
    /// What it was about.
    pub(crate) key: Key,
    /// The object before; none when it was created.
    pub(crate) before: Option<Arc<Value>>,
    /// The object after; none when it was deleted.
    pub(crate) after: Option<Arc<Value>>,
    /// What a watcher receives for a deletion: the last state, at the deletion's revision.
    pub(crate) tombstone: Option<Arc<Value>>,
}

/// All objects and their recent past.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    collections: BTreeMap<Collection, BTreeMap<Key, Arc<Value>>>,
    histories: BTreeMap<Collection, History>,
    history_limit: usize,
    /// Resumption from a revision below this one is refused.
    floor: u64,
}

/// All objects as they were at a revision.
#[derive(Debug, Clone)]
pub(crate) struct StoreBackup {
    revision: u64,
    collections: BTreeMap<Collection, BTreeMap<Key, Arc<Value>>>,
}

/// The latest changes of one collection.
#[derive(Debug)]
struct History {
    changes: VecDeque<Arc<Change>>,
    /// Changes up to this revision are no longer here.
    forgotten: u64,
    /// The revision of the latest change; watches wait for it to move.
    latest: watch::Sender<u64>,
}

impl History {
    fn new() -> Self {
        Self {
            changes: VecDeque::new(),
            forgotten: 0,
            latest: watch::Sender::new(0),
        }
    }
}

impl Store {
    /// An empty store that remembers so many changes.
    pub(crate) fn new(history_limit: usize) -> Self {
        let collections = BTreeMap::new();
        Self {
            revision: 1,
            collections,
            histories: BTreeMap::new(),
            history_limit,
            floor: 0,
        }
    }

    /// The latest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The lowest revision that a watch of a collection can resume from.
    pub(crate) fn floor(&self, collection: &Collection) -> u64 {
        let forgotten = self
            .histories
            .get(collection)
            .map_or(0, |history| history.forgotten);
        self.floor.max(forgotten)
    }

    /// Sends the changes of a collection.
    pub(crate) fn subscribe(&mut self, collection: &Collection) -> watch::Receiver<u64> {
        self.history(collection).latest.subscribe()
    }

    fn history(&mut self, collection: &Collection) -> &mut History {
        self.histories
            .entry(collection.clone())
            .or_insert_with(History::new)
    }

    /// Forgets the history: a watch that resumes from a revision until now gets 410 Expired.
    /// Watches that are running go on.
    pub(crate) fn expire(&mut self) {
        self.revision += 1;
        self.floor = self.revision;
    }

    /// What a backup has: the objects and the revision.
    pub(crate) fn backup(&self) -> StoreBackup {
        StoreBackup {
            revision: self.revision,
            collections: self.collections.clone(),
        }
    }

    /// Goes back to a backup. As with etcd, the past is not remembered and running watches hear nothing of it.
    pub(crate) fn restore(&mut self, backup: StoreBackup) {
        self.revision = backup.revision;
        self.collections = backup.collections;
        for history in self.histories.values_mut() {
            history.changes.clear();
            history.forgotten = backup.revision;
        }
    }

    /// One object.
    pub(crate) fn object(&self, collection: &Collection, key: &Key) -> Option<&Arc<Value>> {
        self.collections.get(collection)?.get(key)
    }

    /// The objects of a collection, in one namespace or in all.
    pub(crate) fn objects<'a>(
        &'a self,
        collection: &Collection,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        self.objects_after(collection, namespace, None)
    }

    /// The same, only those after one that was listed.
    pub(crate) fn objects_after<'a>(
        &'a self,
        collection: &Collection,
        namespace: Option<&'a str>,
        last: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let first = Key::new(namespace.unwrap_or_default(), "");
        let start = match last {
            Some(last) if *last >= first => Bound::Excluded(last.clone()),
            Some(_) | None => Bound::Included(first),
        };
        let range = self
            .collections
            .get(collection)
            .map(|objects| objects.range((start, Bound::Unbounded)));
        range
            .into_iter()
            .flatten()
            .take_while(move |(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .map(|(_, object)| object)
    }

    /// Collections that hold objects.
    pub(crate) fn collections(&self) -> Vec<Collection> {
        self.collections
            .iter()
            .filter(|(_, objects)| !objects.is_empty())
            .map(|(c, _)| c.clone())
            .collect()
    }

    /// Stores an object at a new revision.
    pub(crate) fn put(&mut self, collection: &Collection, mut object: Value) -> Arc<Change> {
        self.revision += 1;
        set_meta(
            &mut object,
            "resourceVersion",
            Some(self.revision.to_string().into()),
        );
        let key = Key::of(&object);
        let after = Arc::new(object);
        let objects = self.collections.entry(collection.clone()).or_default();
        let before = objects.insert(key.clone(), Arc::clone(&after));
        self.remember(collection, key, before, Some(after), None)
    }

    /// Removes an object at a new revision.
    pub(crate) fn remove(&mut self, collection: &Collection, key: &Key) -> Option<Arc<Change>> {
        let before = self.collections.get_mut(collection)?.remove(key)?;
        self.revision += 1;
        let mut last = Value::clone(&before);
        set_meta(
            &mut last,
            "resourceVersion",
            Some(self.revision.to_string().into()),
        );
        Some(self.remember(collection, key.clone(), Some(before), None, Some(Arc::new(last))))
    }

    fn remember(
        &mut self,
        collection: &Collection,
        key: Key,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
        tombstone: Option<Arc<Value>>,
    ) -> Arc<Change> {
        let change = Arc::new(Change {
            revision: self.revision,
            collection: collection.clone(),
            key,
            before,
            after,
            tombstone,
        });
        let limit = self.history_limit;
        let history = self.history(collection);
        history.changes.push_back(Arc::clone(&change));
        if history.changes.len() > limit
            && let Some(oldest) = history.changes.pop_front()
        {
            history.forgotten = oldest.revision;
        }
        history.latest.send_replace(change.revision);
        change
    }

    /// The changes after a revision, in one collection; none when some of them are forgotten.
    pub(crate) fn changes_since(&self, collection: &Collection, revision: u64) -> Option<Vec<Arc<Change>>> {
        let Some(history) = self.histories.get(collection) else {
            return Some(Vec::new());
        };
        if revision < history.forgotten {
            return None;
        }
        let first = history
            .changes
            .partition_point(|change| change.revision <= revision);
        Some(history.changes.range(first..).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Collection {
        Collection::new("", "pods")
    }

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "default"}})
    }

    #[test]
    fn every_write_makes_a_revision_and_a_change() {
        let mut store = Store::new(10);
        let start = store.revision();
        store.put(&pods(), pod("a"));
        store.put(&pods(), pod("b"));
        store.remove(&pods(), &Key::new("default", "a"));
        let changes = store.changes_since(&pods(), start).expect("all remembered");
        assert_eq!(
            changes.iter().map(|c| c.revision - start).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        let last = changes[2].tombstone.as_ref().expect("tombstone");
        assert_eq!(last["metadata"]["resourceVersion"], store.revision().to_string());
        assert_eq!(store.objects(&pods(), Some("default")).count(), 1);
    }

    #[test]
    fn history_is_bounded_and_says_so() {
        let mut store = Store::new(2);
        let start = store.revision();
        for name in ["a", "b", "c"] {
            store.put(&pods(), pod(name));
        }
        assert!(store.changes_since(&pods(), start).is_none());
        assert_eq!(store.changes_since(&pods(), start + 1).map(|c| c.len()), Some(2));
        assert_eq!(store.floor(&pods()), start + 1);
        assert_eq!(
            store.floor(&Collection::new("", "nodes")),
            0,
            "each collection has its own"
        );
    }

    #[test]
    fn a_namespace_is_listed_without_its_neighbours() {
        let mut store = Store::new(10);
        for namespace in ["a", "aa", "b"] {
            store.put(
                &pods(),
                json!({"metadata": {"name": "x", "namespace": namespace}}),
            );
        }
        assert_eq!(store.objects(&pods(), Some("a")).count(), 1);
        assert_eq!(store.objects(&pods(), None).count(), 3);
    }
}

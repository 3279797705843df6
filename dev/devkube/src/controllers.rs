//! The controllers that act on every change: garbage collection, namespaces, endpoints, custom resources.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::kinds::{CRDS, Collection};
use crate::object::{Key, entries, is_terminating, meta_text};
use crate::store::Change;
use crate::{crd, endpoints};

impl Cluster {
    /// Stores an object and lets everything follow from it.
    pub(crate) fn commit(&mut self, collection: &Collection, object: Value) -> Arc<Value> {
        let change = self.store.put(collection, object);
        self.follow(&change);
        Arc::clone(change.after.as_ref().expect("a put leaves an object"))
    }

    /// Removes an object and lets everything follow from it.
    pub(crate) fn discard(&mut self, collection: &Collection, key: &Key) {
        if let Some(change) = self.store.remove(collection, key) {
            self.follow(&change);
        }
    }

    fn follow(&mut self, change: &Change) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        self.index_owners(change);
        match change.collection.as_str() {
            "services" => {
                self.allocations.record(&change.key, before, after);
                endpoints::follow_service(self, &change.key);
            }
            "pods" => endpoints::follow_pod(self, before, after),
            CRDS => crd::follow(self, before, after),
            _ => {}
        }
        if let (Some(before), None) = (before, after) {
            self.collect_dependents(meta_text(before, "uid"));
            self.finish_namespace(&change.key.namespace);
        }
    }

    fn index_owners(&mut self, change: &Change) {
        let dependent = (change.collection.clone(), change.key.clone());
        for uid in owners(change.before.as_deref()) {
            if let Some(set) = self.dependents.get_mut(&uid) {
                set.remove(&dependent);
                if set.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
        }
        for uid in owners(change.after.as_deref()) {
            self.dependents.entry(uid).or_default().insert(dependent.clone());
        }
    }

    /// Deletes what only the object with this uid owned; others merely lose the reference.
    fn collect_dependents(&mut self, uid: &str) {
        for (collection, key) in self.dependents.get(uid).cloned().unwrap_or_default() {
            let Some(dependent) = self.store.object(&collection, &key).cloned() else {
                continue;
            };
            let others = entries(&dependent["metadata"]["ownerReferences"])
                .iter()
                .any(|o| o["uid"] != uid);
            if others {
                self.disown(&collection, &dependent, uid);
            } else if let Some(kind) = self.kinds.of_collection(&collection) {
                self.delete_stored(&kind, &dependent);
            }
        }
    }

    /// Removes the references to an owner from all its dependents.
    pub(crate) fn orphan_dependents(&mut self, uid: &str) {
        for (collection, key) in self.dependents.get(uid).cloned().unwrap_or_default() {
            if let Some(dependent) = self.store.object(&collection, &key).cloned() {
                self.disown(&collection, &dependent, uid);
            }
        }
    }

    fn disown(&mut self, collection: &Collection, dependent: &Value, uid: &str) {
        let mut dependent = dependent.clone();
        let owners = dependent
            .pointer_mut("/metadata/ownerReferences")
            .and_then(Value::as_array_mut);
        if let Some(owners) = owners {
            owners.retain(|owner| owner["uid"] != uid);
        }
        self.commit(collection, dependent);
    }

    /// Deletes everything in a namespace that is going away, and the namespace once it is empty.
    pub(crate) fn empty_namespace(&mut self, name: &str) {
        for collection in self.store.collections() {
            let Some(kind) = self
                .kinds
                .of_collection(&collection)
                .filter(|kind| kind.namespaced)
            else {
                continue;
            };
            let objects: Vec<_> = self.store.objects(&collection, Some(name)).cloned().collect();
            for object in objects {
                // What an earlier deletion took along is gone already.
                if self.store.object(&collection, &Key::of(&object)).is_some() {
                    self.delete_stored(&kind, &object);
                }
            }
        }
        self.finish_namespace(name);
    }

    fn finish_namespace(&mut self, name: &str) {
        let namespaces = Collection::new("", "namespaces");
        let key = Key::new("", name);
        let Some(namespace) = self.store.object(&namespaces, &key) else {
            return;
        };
        let finalizers = !entries(&namespace["metadata"]["finalizers"]).is_empty();
        if !is_terminating(namespace) || finalizers {
            return;
        }
        let content = |collection: &Collection| {
            self.kinds
                .of_collection(collection)
                .is_some_and(|kind| kind.namespaced)
                && self.store.objects(collection, Some(name)).next().is_some()
        };
        if !self.store.collections().iter().any(content) {
            self.discard(&namespaces, &key);
        }
    }
}

fn owners(object: Option<&Value>) -> Vec<String> {
    let references = object
        .map(|object| entries(&object["metadata"]["ownerReferences"]))
        .unwrap_or_default();
    references
        .iter()
        .filter_map(|owner| owner["uid"].as_str())
        .map(str::to_string)
        .collect()
}

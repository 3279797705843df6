//! Deleting objects.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kinds::{CRDS, Kind};
use crate::object::{Key, entries, is_terminating, meta_mut, meta_text, now};
use crate::selector::Selector;
use crate::status::ApiError;
use crate::view;

/// `DeleteOptions`, as far as they matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    /// Go through all the motions, delete nothing.
    pub(crate) dry_run: bool,
    /// Dependents lose their owner instead of going with it.
    pub(crate) orphan: bool,
    /// The uid that the object must have.
    pub(crate) uid: Option<String>,
    /// The version that the object must have.
    pub(crate) resource_version: Option<String>,
}

impl Deletion {
    /// Reads the options from a body (may be null) and the `propagationPolicy` of the query.
    pub(crate) fn parse(body: &Value, policy: &str, dry_run: bool) -> Result<Self, ApiError> {
        let policy = body["propagationPolicy"].as_str().unwrap_or(policy);
        if !matches!(policy, "" | "Background" | "Foreground" | "Orphan") {
            return Err(ApiError::bad_request(format!(
                "invalid propagationPolicy {policy:?}; use Background, Foreground or Orphan"
            )));
        }
        let precondition = |field: &str| body["preconditions"][field].as_str().map(str::to_string);
        Ok(Self {
            dry_run: dry_run || !entries(&body["dryRun"]).is_empty(),
            orphan: policy == "Orphan" || body["orphanDependents"] == true,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
        })
    }
}

impl Cluster {
    /// Deletes one object: a Status when it is gone, the object itself while finalizers hold it.
    pub(crate) fn delete(&mut self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<Value, ApiError> {
        let Some(stored) = self.store.object(&kind.collection, key).cloned() else {
            return Err(ApiError::not_found(kind.object(&key.name)));
        };
        for (given, field) in [
            (&deletion.uid, "uid"),
            (&deletion.resource_version, "resourceVersion"),
        ] {
            let current = meta_text(&stored, field);
            if let Some(given) = given.as_ref().filter(|given| *given != current) {
                let why = format!(
                    "Precondition failed: {field} in precondition: {given}, in object meta: {current}"
                );
                return Err(ApiError::conflict(kind.object(&key.name), &why));
            }
        }
        if kind.is("namespaces") && matches!(key.name.as_str(), "default" | "kube-system" | "kube-public") {
            return Err(ApiError::forbidden(
                kind.object(&key.name),
                "this namespace may not be deleted",
            ));
        }
        if !deletion.dry_run {
            if deletion.orphan {
                self.orphan_dependents(meta_text(&stored, "uid"));
            }
            self.delete_stored(kind, &stored);
        }
        Ok(match self.store.object(&kind.collection, key) {
            Some(waiting) if !deletion.dry_run => view::present(kind, waiting),
            Some(_) | None => deleted(kind, &stored),
        })
    }

    /// Deletes a stored object, or marks it as going while something holds it.
    pub(crate) fn delete_stored(&mut self, kind: &Kind, stored: &Value) {
        let key = Key::of(stored);
        let held = !entries(&stored["metadata"]["finalizers"]).is_empty();
        let is_namespace = kind.is("namespaces");
        if !held && !is_namespace {
            if kind.is(CRDS) {
                self.delete_custom_objects(stored);
            }
            self.discard(&kind.collection, &key);
            return;
        }
        if !is_terminating(stored) {
            let mut going = stored.clone();
            let meta = meta_mut(&mut going);
            meta.insert("deletionTimestamp".into(), now().into());
            meta.insert("deletionGracePeriodSeconds".into(), 0.into());
            if let Some(generation) = meta.get("generation").and_then(Value::as_u64) {
                meta.insert("generation".into(), (generation + 1).into());
            }
            if is_namespace {
                going["status"]["phase"] = json!("Terminating");
            }
            self.commit(&kind.collection, going);
        }
        if is_namespace {
            self.empty_namespace(&key.name);
        }
    }

    fn delete_custom_objects(&mut self, crd: &Value) {
        let (group, plural) = (
            crd["spec"]["group"].as_str(),
            crd["spec"]["names"]["plural"].as_str(),
        );
        let found = group.zip(plural).and_then(|(group, plural)| {
            self.kinds
                .of_collection(&crate::kinds::Collection::new(group, plural))
        });
        let Some(kind) = found else { return };
        let objects: Vec<_> = self.store.objects(&kind.collection, None).cloned().collect();
        for object in objects {
            // A finalizer cannot be honoured once the kind is gone.
            self.discard(&kind.collection, &Key::of(&object));
        }
    }

    /// Deletes every selected object of a collection and returns what they were.
    pub(crate) fn delete_collection(
        &mut self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
        deletion: &Deletion,
    ) -> Result<Vec<Value>, ApiError> {
        let selected: Vec<_> = self
            .store
            .objects(&kind.collection, namespace)
            .filter(|object| selector.matches(object))
            .cloned()
            .collect();
        for object in &selected {
            self.delete(kind, &Key::of(object), deletion)?;
        }
        Ok(selected
            .iter()
            .map(|object| view::present(kind, object))
            .collect())
    }
}

fn deleted(kind: &Kind, object: &Value) -> Value {
    let mut details =
        json!({"name": meta_text(object, "name"), "kind": kind.plural, "uid": meta_text(object, "uid")});
    if !kind.group.is_empty() {
        details["group"] = kind.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

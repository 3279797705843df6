//! Creating and changing objects.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::decode::{Origin, decode};
use crate::kinds::Kind;
use crate::object::{Key, entries, is_terminating, meta_mut, meta_text, now, set, set_meta};
use crate::operation::{Part, Write};
use crate::patch::{Patch, managed};
use crate::status::{ApiError, FieldError};
use crate::{admit, names, view};

/// The result of a write.
#[derive(Debug)]
pub(crate) struct Written {
    /// The object as it is now, in the form of the kind that was written.
    pub(crate) object: Value,
    /// Whether the object is new.
    pub(crate) created: bool,
    /// Warnings for the client (`Warning` headers).
    pub(crate) warnings: Vec<String>,
}

/// A change that has been worked out but not checked yet.
struct Proposal {
    object: Value,
    warnings: Vec<String>,
    /// Server-side apply has settled `managedFields` already.
    fields_settled: bool,
}

impl Cluster {
    /// Creates the namespaces that every cluster has.
    pub(crate) fn create_first_namespaces(&mut self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let namespaces = self.kind("", "v1", "namespaces");
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let created = self.create(&namespaces, "", body, &Write::internal());
            created.expect("the first namespaces are valid and new");
        }
    }

    /// Creates an object.
    pub(crate) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut body: Value,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let warnings = decode(kind, &mut body, write.validation, Origin::Body)?;
        self.add(
            kind,
            namespace,
            Proposal {
                object: body,
                warnings,
                fields_settled: false,
            },
            write,
        )
    }

    fn add(
        &mut self,
        kind: &Kind,
        namespace: &str,
        proposal: Proposal,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let Proposal {
            mut object,
            warnings,
            fields_settled,
        } = proposal;
        begin(kind, namespace, &mut object)?;
        self.check_namespace(kind, &object)?;
        let key = Key::of(&object);
        if self.store.object(&kind.collection, &key).is_some() {
            return Err(ApiError::already_exists(kind.object(&key.name)));
        }
        admit::prepare_create(kind, &mut object);
        self.check(kind, &mut object, None, Part::Main)?;
        if !fields_settled {
            managed::track(kind, None, &mut object, write);
        }
        let object = if write.dry_run {
            object
        } else {
            view::present(
                kind,
                &self.commit(&kind.collection, view::to_stored(kind, object)),
            )
        };
        Ok(Written {
            object,
            created: true,
            warnings,
        })
    }

    /// Replaces an object (PUT).
    pub(crate) fn update(
        &mut self,
        kind: &Kind,
        key: &Key,
        mut body: Value,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let stored = self.stored(kind, key)?;
        let warnings = decode(kind, &mut body, write.validation, Origin::Body)?;
        if meta_text(&body, "name") != key.name {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                meta_text(&body, "name"),
                key.name
            );
            return Err(ApiError::bad_request(message));
        }
        if meta_text(&body, "resourceVersion").is_empty() && kind.needs_resource_version() {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                &json!(0),
                "must be specified for an update",
            );
            return Err(ApiError::invalid(kind.content(&key.name), &[error]));
        }
        let proposal = Proposal {
            object: body,
            warnings,
            fields_settled: false,
        };
        self.replace(kind, &stored, proposal, write)
    }

    /// Changes an object (PATCH); an apply patch may create it.
    pub(crate) fn patch(
        &mut self,
        kind: &Kind,
        key: &Key,
        patch: &Patch,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let stored = match self.stored(kind, key) {
            Err(error) if error.code == 404 && patch.creates() && write.part == Part::Main => None,
            found => Some(found?),
        };
        let old = stored.as_ref().map(|stored| view::present(kind, stored));
        let (mut object, fields_settled) = patch.apply(kind, key, old.as_ref(), write)?;
        let warnings = decode(kind, &mut object, write.validation, Origin::Patch)?;
        let proposal = Proposal {
            object,
            warnings,
            fields_settled,
        };
        match stored {
            None => self.add(kind, &key.namespace, proposal, write),
            Some(stored) => self.replace(kind, &stored, proposal, write),
        }
    }

    fn stored(&self, kind: &Kind, key: &Key) -> Result<Arc<Value>, ApiError> {
        let found = self.store.object(&kind.collection, key).cloned();
        found.ok_or_else(|| ApiError::not_found(kind.object(&key.name)))
    }

    fn replace(
        &mut self,
        kind: &Kind,
        stored: &Value,
        proposal: Proposal,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let Proposal {
            mut object,
            warnings,
            fields_settled,
        } = proposal;
        let old = view::present(kind, stored);
        check_preconditions(kind, &object, &old)?;
        carry_identity(&mut object, &old);
        admit::keep_other_part(kind, &mut object, &old, write.part);
        self.check(kind, &mut object, Some(&old), write.part)?;
        if !fields_settled {
            managed::track(kind, Some(&old), &mut object, write);
        }
        if kind.has_generation && admit::desired_state_differs(kind, &old, &object) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            set_meta(&mut object, "generation", Some(generation.into()));
        }
        if managed::same_but_for_times(&old, &object) {
            return Ok(Written {
                object: old,
                created: false,
                warnings,
            });
        }
        if !write.dry_run {
            object = self.store_or_finish(kind, object);
        }
        Ok(Written {
            object,
            created: false,
            warnings,
        })
    }

    /// Stores a changed object, or removes it when its last finalizer is gone.
    fn store_or_finish(&mut self, kind: &Kind, object: Value) -> Value {
        let finished = is_terminating(&object) && entries(&object["metadata"]["finalizers"]).is_empty();
        let key = Key::of(&object);
        let stored = self.commit(&kind.collection, view::to_stored(kind, object));
        if finished && kind.is("namespaces") {
            self.empty_namespace(&key.name);
        } else if finished {
            self.discard(&kind.collection, &key);
        }
        view::present(kind, &stored)
    }

    fn check_namespace(&self, kind: &Kind, object: &Value) -> Result<(), ApiError> {
        if !kind.namespaced {
            return Ok(());
        }
        let name = meta_text(object, "namespace");
        let namespaces = self.kind("", "v1", "namespaces");
        let Some(namespace) = self.store.object(&namespaces.collection, &Key::new("", name)) else {
            return Err(ApiError::not_found(namespaces.object(name)));
        };
        if is_terminating(namespace) {
            let why =
                format!("unable to create new content in namespace {name} because it is being terminated");
            return Err(ApiError::forbidden(kind.object(meta_text(object, "name")), &why));
        }
        Ok(())
    }

    /// Defaults, allocations and every rule of the kind.
    fn check(
        &self,
        kind: &Kind,
        object: &mut Value,
        old: Option<&Value>,
        part: Part,
    ) -> Result<(), ApiError> {
        let mut errors = check_metadata(kind, object, old);
        errors.extend(admit::settle(self, kind, object, old, part));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(
                kind.content(meta_text(object, "name")),
                &errors,
            ))
        }
    }
}

/// Gives a new object its identity.
fn begin(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), ApiError> {
    let given = meta_text(object, "namespace");
    if kind.namespaced && !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: {given:?} is not {namespace:?}"
        )));
    }
    if !meta_text(object, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let prefix = meta_text(object, "generateName").to_string();
    let unnamed = meta_text(object, "name").is_empty();
    let meta = meta_mut(object);
    if unnamed && !prefix.is_empty() {
        meta.insert("name".into(), format!("{prefix}{}", &uid[..5]).into());
    }
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        meta.remove(field);
    }
    set(meta, "namespace", kind.namespaced.then(|| namespace.into()));
    set(meta, "generation", kind.has_generation.then(|| 1.into()));
    meta.insert("uid".into(), uid.into());
    meta.insert("creationTimestamp".into(), now().into());
    Ok(())
}

fn check_preconditions(kind: &Kind, object: &Value, old: &Value) -> Result<(), ApiError> {
    let name = meta_text(old, "name");
    let seen = meta_text(object, "resourceVersion");
    if !seen.is_empty() && seen != meta_text(old, "resourceVersion") {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ApiError::conflict(kind.object(name), why));
    }
    let (given, current) = (meta_text(object, "uid"), meta_text(old, "uid"));
    if !given.is_empty() && given != current {
        let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {current}");
        return Err(ApiError::conflict(kind.object(name), &why));
    }
    for field in ["name", "namespace"] {
        let given = meta_text(object, field);
        if !given.is_empty() && given != meta_text(old, field) {
            let error = FieldError::invalid(
                format!("metadata.{field}"),
                &object["metadata"][field],
                "field is immutable",
            );
            return Err(ApiError::invalid(kind.content(name), &[error]));
        }
    }
    Ok(())
}

/// Keeps the fields that clients cannot change.
fn carry_identity(object: &mut Value, old: &Value) {
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        let value = old["metadata"].get(field).cloned();
        set_meta(object, field, value);
    }
}

fn check_metadata(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = meta_text(object, "name");
    if old.is_none() {
        if name.is_empty() {
            errors.push(FieldError::required(
                "metadata.name",
                "name or generateName is required",
            ));
        } else if let Some(rule) = names::broken_rule(kind, name) {
            errors.push(FieldError::invalid("metadata.name", &name.into(), rule));
        }
    }
    if let Some(old) = old.filter(|old| is_terminating(old)) {
        let before = entries(&old["metadata"]["finalizers"]);
        let added = entries(&object["metadata"]["finalizers"])
            .iter()
            .find(|finalizer| !before.contains(finalizer));
        if let Some(finalizer) = added {
            let detail =
                format!("no new finalizers can be added if the object is being deleted, found: {finalizer}");
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
        }
    }
    errors
}

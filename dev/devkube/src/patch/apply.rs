//! Server-side apply.

use serde_json::{Value, json};

use super::fields::{FieldSet, display, owned_values};
use super::managed::{Owner, is_writable, owners, set_owners};
use super::typed::{merge_applied, remove};
use crate::decode::{self, FieldValidation, Origin};
use crate::kinds::Kind;
use crate::object::{Key, meta_mut, meta_text};
use crate::operation::{Part, Write};
use crate::status::{ApiError, FieldError, Subject};

/// The fields that a manager wants the object to have.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// The fields that the manager cares about.
    pub(crate) fields: Value,
    /// Take over fields that others own with another value.
    pub(crate) force: bool,
    /// Whether the request named its manager.
    pub(crate) has_manager: bool,
}

impl Configuration {
    /// The object after the apply, `managedFields` included.
    pub(super) fn apply(
        &self,
        kind: &Kind,
        key: &Key,
        old: Option<&Value>,
        write: &Write,
    ) -> Result<Value, ApiError> {
        let config = self.checked(kind, key, write)?;
        let fresh = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
        });
        let live = old.cloned().unwrap_or(fresh);
        let mut object = live.clone();
        merge_applied(kind, &mut object, &config);
        let applied: FieldSet = owned_values(kind, &config).into_keys().collect();
        let mut owners = owners(&live);
        let writer = Owner::of(kind, write, "Apply");
        let changed = changed(kind, &live, &object);
        self.settle_conflicts(&mut owners, &writer, &changed)?;

        let position = owners.iter().position(|owner| owner.is_same_writer(&writer));
        let mut own = position.map_or(writer, |position| owners.remove(position));
        let gone: FieldSet = own.fields.difference(&applied).cloned().collect();
        let mut kept = applied.clone();
        kept.extend(owners.iter().flat_map(|owner| owner.fields.iter().cloned()));
        remove(kind, &mut object, &gone, &kept);

        if own.fields != applied {
            own.time = crate::object::now();
            own.fields = applied;
        }
        owners.insert(position.unwrap_or(owners.len()), own);
        let left = owned_values(kind, &object);
        for owner in &mut owners {
            owner.fields.retain(|path| left.contains_key(path));
        }
        set_owners(&mut object, owners);
        Ok(object)
    }

    /// The configuration, known to be well-formed, without what the write cannot touch.
    fn checked(&self, kind: &Kind, key: &Key, write: &Write) -> Result<Value, ApiError> {
        let options = Subject {
            group: "meta.k8s.io",
            resource: "PatchOptions",
            name: "",
        };
        if !self.has_manager {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid(options, &[error]));
        }
        let mut config = self.fields.clone();
        for field in ["apiVersion", "kind"] {
            if !config[field].is_string() {
                return Err(ApiError::bad_request(format!(
                    "an applied configuration must have {field} set"
                )));
            }
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let name = meta_text(&config, "name");
        if !name.is_empty() && name != key.name {
            let message = format!(
                "the name in the configuration ({name}) is not the one in the URL ({})",
                key.name
            );
            return Err(ApiError::bad_request(message));
        }
        let unknown = decode::decode(kind, &mut config, FieldValidation::Warn, Origin::Patch)?;
        if let Some(first) = unknown.first().and_then(|warning| warning.split('"').nth(1)) {
            return Err(ApiError::bad_request(format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): .{first}: field not declared in schema",
                key.namespace,
                key.name,
                kind.api_version(),
                kind.kind
            )));
        }
        for field in ["name", "namespace", "creationTimestamp"] {
            meta_mut(&mut config).remove(field);
        }
        if let Some(fields) = config.as_object_mut() {
            let identity = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
            fields.retain(|name, _| {
                let writable = is_writable(kind, write.part, &[format!("f:{name}")]);
                identity(name) || writable
            });
            if write.part == Part::Status && kind.custom.is_some() {
                fields.remove("metadata");
            }
        }
        Ok(config)
    }

    /// Others must not own, with another value, what the writer sets; unless it insists.
    fn settle_conflicts(
        &self,
        owners: &mut [Owner],
        writer: &Owner,
        changed: &FieldSet,
    ) -> Result<(), ApiError> {
        let mut conflicts = Vec::new();
        for owner in owners.iter_mut().filter(|owner| !owner.is_same_writer(writer)) {
            let contested: FieldSet = owner.fields.intersection(changed).cloned().collect();
            if self.force {
                owner.fields.retain(|path| !contested.contains(path));
                continue;
            }
            let who = describe(owner);
            conflicts.extend(contested.iter().map(|path| (who.clone(), display(path))));
        }
        if conflicts.is_empty() {
            Ok(())
        } else {
            Err(ApiError::apply_conflict(&conflicts))
        }
    }
}

fn describe(owner: &Owner) -> String {
    let subresource = if owner.subresource.is_empty() {
        ""
    } else {
        " with subresource \"status\""
    };
    if owner.operation == "Apply" {
        format!("{}{subresource}", owner.manager)
    } else {
        format!("{}{subresource} using {}", owner.manager, owner.api_version)
    }
}

/// The fields that are new or have another value.
fn changed(kind: &Kind, live: &Value, object: &Value) -> FieldSet {
    let before = owned_values(kind, live);
    let after = owned_values(kind, object);
    let differs =
        |path: &Vec<String>, value: &Option<&Value>| before.get(path).is_none_or(|old| old != value);
    after
        .iter()
        .filter(|(path, value)| differs(path, value))
        .map(|(path, _)| path.clone())
        .collect()
}

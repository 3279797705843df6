//! `metadata.managedFields`: which manager owns which field.

use serde_json::{Value, json};

use super::fields::{FieldSet, from_fields_v1, owned_values, to_fields_v1};
use crate::kinds::Kind;
use crate::object::{entries, meta_mut, now, set_meta};
use crate::operation::{Part, Write};

/// One entry: the fields that one manager owns through one way of writing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owner {
    /// The manager's name.
    pub(super) manager: String,
    /// `Apply` or `Update`.
    pub(super) operation: String,
    /// The version in which the fields are named.
    pub(super) api_version: String,
    /// `status`, or nothing.
    pub(super) subresource: String,
    /// When the set last changed.
    pub(super) time: String,
    /// The fields.
    pub(super) fields: FieldSet,
}

impl Owner {
    /// The manager that makes this write; it owns nothing yet.
    pub(super) fn of(kind: &Kind, write: &Write, operation: &str) -> Self {
        Self {
            manager: write.manager.clone(),
            operation: operation.to_string(),
            api_version: kind.api_version(),
            subresource: if write.part == Part::Status {
                "status".into()
            } else {
                String::new()
            },
            time: now(),
            fields: FieldSet::new(),
        }
    }

    /// Whether both are entries of the same writer.
    pub(super) fn is_same_writer(&self, other: &Self) -> bool {
        let identity = |o: &Self| (o.manager.clone(), o.operation.clone(), o.subresource.clone());
        identity(self) == identity(other) && self.api_version == other.api_version
    }

    fn parse(entry: &Value) -> Self {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
        Self {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: from_fields_v1(&entry["fieldsV1"]),
        }
    }

    fn entry(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(&self.fields),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// The owners that an object names.
pub(super) fn owners(object: &Value) -> Vec<Owner> {
    entries(&object["metadata"]["managedFields"])
        .iter()
        .map(Owner::parse)
        .collect()
}

/// Writes the owners that own something into an object.
pub(super) fn set_owners(object: &mut Value, mut owners: Vec<Owner>) {
    owners.retain(|owner| !owner.fields.is_empty());
    let entries: Vec<Value> = owners.iter().map(Owner::entry).collect();
    set_meta(
        object,
        "managedFields",
        (!entries.is_empty()).then(|| entries.into()),
    );
}

/// Records a write that is not an apply: the writer owns what it changed, others lose that.
pub(crate) fn track(kind: &Kind, old: Option<&Value>, new: &mut Value, write: &Write) {
    // A client may rewrite the entries along with the object, as kubectl does to become an applier.
    let given = old.is_some() && new["metadata"]["managedFields"].is_array();
    let mut owned = if given {
        owners(new)
    } else {
        old.map(owners).unwrap_or_default()
    };
    let before = old.map(|old| owned_values(kind, old)).unwrap_or_default();
    let after = owned_values(kind, new);
    let writable = |path: &&Vec<String>| is_writable(kind, write.part, path);
    let changed: FieldSet = after
        .iter()
        .filter(|(path, value)| before.get(*path).is_none_or(|old| old != *value))
        .map(|(path, _)| path)
        .filter(writable)
        .cloned()
        .collect();
    let writer = Owner::of(kind, write, "Update");
    if !changed.is_empty() && !owned.iter().any(|owner| owner.is_same_writer(&writer)) {
        owned.push(writer.clone());
    }
    for owner in &mut owned {
        let mut fields: FieldSet = if owner.is_same_writer(&writer) {
            owner.fields.union(&changed).cloned().collect()
        } else {
            owner.fields.difference(&changed).cloned().collect()
        };
        fields.retain(|path| after.contains_key(path));
        if fields != owner.fields {
            owner.fields = fields;
            owner.time.clone_from(&writer.time);
        }
    }
    set_owners(new, owned);
}

/// Whether a write to this part of the object can own the field.
pub(super) fn is_writable(kind: &Kind, part: Part, path: &[String]) -> bool {
    let top = path.first().map(String::as_str).unwrap_or_default();
    match part {
        Part::Main => !kind.has_status || top != "f:status",
        Part::Status => top == "f:status" || (top == "f:metadata" && kind.custom.is_none()),
    }
}

/// Whether a write changed nothing but the times in `managedFields`.
pub(crate) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let managed: Vec<Value> = entries(&object["metadata"]["managedFields"])
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                entry.as_object_mut().and_then(|fields| fields.remove("time"));
                entry
            })
            .collect();
        meta_mut(&mut object).insert("managedFields".into(), managed.into());
        object
    };
    timeless(old) == timeless(new)
}

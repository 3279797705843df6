//! Merging an applied configuration into an object, and removing what is no longer applied.

use serde_json::{Map, Value};

use super::fields::{FieldSet, Path, field, item, reaches, root_field};
use crate::kinds::Kind;
use crate::schema::{ListType, Schema};

/// Merges an applied configuration into an object of `kind`.
pub(super) fn merge_applied(kind: &Kind, live: &mut Value, config: &Value) {
    for (name, value) in config.as_object().into_iter().flatten() {
        merge(root_field(kind, name), &mut live[name.as_str()], value);
    }
}

fn merge(schema: Option<Schema<'_>>, live: &mut Value, config: &Value) {
    let atomic_map = schema.is_some_and(Schema::is_atomic_map);
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !atomic_map => {
            for (name, value) in config {
                let child = schema.and_then(|s| s.field(name));
                merge(child, live.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(config))
            if schema.is_some_and(|s| *s.list_type() != ListType::Atomic) =>
        {
            if let Some(list) = schema {
                merge_list(list, live, config);
            }
        }
        (live, config) => *live = config.clone(),
    }
}

/// Entries that both have take the configuration's order; new ones follow.
fn merge_list(list: Schema<'_>, live: &mut Vec<Value>, config: &[Value]) {
    let places: Vec<usize> = (0..live.len())
        .filter(|i| {
            config
                .iter()
                .any(|entry| item(list, entry) == item(list, &live[*i]))
        })
        .collect();
    let mut shared = Vec::new();
    let mut new = Vec::new();
    for entry in config {
        match live.iter().find(|other| item(list, other) == item(list, entry)) {
            Some(other) => {
                let mut merged = other.clone();
                merge(list.items(), &mut merged, entry);
                shared.push(merged);
            }
            None => new.push(entry.clone()),
        }
    }
    for (place, entry) in places.into_iter().zip(shared) {
        live[place] = entry;
    }
    live.extend(new);
}

/// Removes the fields in `gone`, except where something in `kept` is at or below them.
pub(super) fn remove(kind: &Kind, object: &mut Value, gone: &FieldSet, kept: &FieldSet) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for (name, value) in fields.iter_mut() {
        let path = vec![field(name)];
        if reaches(gone, &path) {
            prune(root_field(kind, name), value, &path, gone, kept);
        }
    }
    // `spec` and the like stay, even when empty; only `status` can vanish as a whole.
    let emptied = |fields: &Map<String, Value>| {
        fields
            .get("status")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
            && reaches(gone, &[field("status")])
    };
    if emptied(fields) {
        fields.remove("status");
    }
}

fn prune(schema: Option<Schema<'_>>, value: &mut Value, path: &Path, gone: &FieldSet, kept: &FieldSet) {
    match value {
        Value::Object(fields) => fields.retain(|name, child| {
            let below: Path = path.iter().cloned().chain([field(name)]).collect();
            keep(schema.and_then(|s| s.field(name)), child, &below, gone, kept)
        }),
        Value::Array(items) => {
            let Some(list) = schema else { return };
            items.retain_mut(|entry| match item(list, entry) {
                None => true,
                Some(element) => {
                    let below: Path = path.iter().cloned().chain([element]).collect();
                    keep(list.items(), entry, &below, gone, kept)
                }
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Prunes below a path and says whether anything is left there.
fn keep(
    schema: Option<Schema<'_>>,
    value: &mut Value,
    path: &Path,
    gone: &FieldSet,
    kept: &FieldSet,
) -> bool {
    if !reaches(gone, path) {
        return true;
    }
    let owned_by_others = reaches(kept, path);
    if gone.contains(path) && !owned_by_others {
        return false;
    }
    prune(schema, value, path, gone, kept);
    owned_by_others || !is_empty(value)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

//! Sets of fields, and their `FieldsV1` form.
//!
//! A path is a list of elements as `FieldsV1` writes them: `f:spec`, `k:{"port":80}`, `v:"a"`.
//! See <https://github.com/kubernetes-sigs/structured-merge-diff>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::schema::builtin::{OBJECT_META, builtin};
use crate::schema::validate::identity;
use crate::schema::{ListType, Schema};

/// Where a field is.
pub(super) type Path = Vec<String>;

/// A set of fields.
pub(super) type FieldSet = BTreeSet<Path>;

/// Fields that the server sets and no manager owns.
const UNOWNED_META: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The fields that can be owned in an object, with the values of those that are owned as a whole.
pub(super) fn owned_values<'a>(kind: &'a Kind, object: &'a Value) -> BTreeMap<Path, Option<&'a Value>> {
    let mut found = BTreeMap::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "apiVersion" | "kind") {
            continue;
        }
        let path = vec![field(name)];
        walk(root_field(kind, name), value, &path, &mut found);
        if is_empty_map(value) {
            found.insert(path, Some(value));
        }
    }
    let meta = field("metadata");
    found.retain(|path, _| {
        let server_side = |name: &String| UNOWNED_META.iter().any(|unowned| *name == field(unowned));
        path[0] != meta || path.get(1).is_some_and(|name| !server_side(name))
    });
    found
}

/// Schema of a top-level field; that of `metadata` is the same for all kinds.
pub(super) fn root_field<'a>(kind: &'a Kind, name: &str) -> Option<Schema<'a>> {
    if name == "metadata" {
        return builtin().document.definition(OBJECT_META);
    }
    kind.schema().field(name)
}

/// The element of a named field.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The element of an entry of an associative list; none in an atomic one.
pub(super) fn item(list: Schema<'_>, value: &Value) -> Option<String> {
    match list.list_type() {
        ListType::Map(keys) => {
            let sorted: BTreeMap<String, Value> = match identity(list, value, keys) {
                Value::Object(fields) => fields.into_iter().collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return None;
                }
            };
            serde_json::to_string(&sorted)
                .ok()
                .map(|text| format!("k:{text}"))
        }
        ListType::Set => Some(format!("v:{value}")),
        ListType::Atomic => None,
    }
}

fn walk<'a>(
    schema: Option<Schema<'a>>,
    value: &'a Value,
    path: &Path,
    found: &mut BTreeMap<Path, Option<&'a Value>>,
) {
    match value {
        Value::Object(fields) if !schema.is_some_and(Schema::is_atomic_map) => {
            for (name, child) in fields {
                let below = extend(path, field(name));
                walk(schema.and_then(|s| s.field(name)), child, &below, found);
                let declared = schema.is_some_and(|s| s.property(name).is_some());
                if is_empty_map(child) {
                    found.insert(below, Some(child));
                } else if !declared {
                    found.entry(below).or_insert(None);
                }
            }
        }
        Value::Array(items) => match schema.filter(|s| *s.list_type() != ListType::Atomic) {
            None => _ = found.insert(path.clone(), Some(value)),
            Some(list) => {
                for entry in items {
                    let Some(element) = item(list, entry) else {
                        continue;
                    };
                    let below = extend(path, element);
                    walk(list.items(), entry, &below, found);
                    found.entry(below).or_insert(None);
                }
            }
        },
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.clone(), Some(value));
        }
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn extend(path: &Path, element: String) -> Path {
    path.iter().cloned().chain([element]).collect()
}

/// Whether the set holds the path or anything below it.
pub(super) fn reaches(set: &FieldSet, path: &[String]) -> bool {
    set.range(path.to_vec()..)
        .next()
        .is_some_and(|next| next.starts_with(path))
}

/// `FieldsV1`: a tree in which `.` marks a field that is in the set and has others below it.
pub(super) fn to_fields_v1(set: &FieldSet) -> Value {
    let mut root = Map::new();
    for path in set {
        let mut at = &mut root;
        for element in path {
            let slot = at
                .entry(element.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            at = slot.as_object_mut().expect("only objects are inserted");
        }
        at.insert(".".into(), Value::Object(Map::new()));
    }
    root.values_mut().for_each(drop_lone_dots);
    Value::Object(root)
}

fn drop_lone_dots(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else {
        return;
    };
    if fields.len() == 1 {
        fields.remove(".");
    }
    fields
        .iter_mut()
        .filter(|(name, _)| *name != ".")
        .for_each(|(_, child)| drop_lone_dots(child));
}

/// The set that a `FieldsV1` describes.
pub(super) fn from_fields_v1(fields: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(fields, &Vec::new(), &mut set);
    set
}

fn collect(node: &Value, path: &Path, set: &mut FieldSet) {
    let Some(fields) = node.as_object() else { return };
    if !path.is_empty() && (fields.is_empty() || fields.contains_key(".")) {
        set.insert(path.clone());
    }
    for (element, child) in fields.iter().filter(|(element, _)| *element != ".") {
        collect(child, &extend(path, element.clone()), set);
    }
}

/// A path as conflicts name it: `.spec.ports[port=80,protocol="TCP"].name`.
pub(super) fn display(path: &Path) -> String {
    path.iter().map(|element| display_element(element)).collect()
}

fn display_element(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("[{}]", pairs.join(","))
        }
        Some(("v:", value)) => format!("[={value}]"),
        Some((_, name)) => format!(".{name}"),
        None => element.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn fields_v1_of_a_service_is_what_kubernetes_writes() {
        let kind = Kinds::builtin().find("", "v1", "services").expect("kind");
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "uid": "u", "labels": {"app": "x"}, "finalizers": ["f"]},
            "spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"app": "x"}, "externalIPs": ["1.1.1.1"]},
        });
        let set: FieldSet = owned_values(&kind, &object).into_keys().collect();
        let fields = to_fields_v1(&set);
        assert_eq!(
            fields,
            json!({
                "f:metadata": {"f:finalizers": {"v:\"f\"": {}}, "f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:externalIPs": {},
                    "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}},
                    "f:selector": {},
                },
            })
        );
        assert_eq!(from_fields_v1(&fields), set);
    }

    #[test]
    fn a_conflict_names_the_field_as_kubectl_shows_it() {
        let path = vec![
            "f:spec".into(),
            "k:{\"port\":80,\"protocol\":\"TCP\"}".into(),
            "f:name".into(),
        ];
        assert_eq!(display(&path), ".spec[port=80,protocol=\"TCP\"].name");
    }
}

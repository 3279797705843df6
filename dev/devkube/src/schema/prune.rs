//! Removal of what a schema does not declare, and of nulls that it does not allow.

use serde_json::{Map, Value};

use super::Schema;

/// Removes undeclared fields from `value` and returns their paths (`spec.ports[0].foo`).
pub(crate) fn prune(schema: Schema<'_>, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, value, "", &mut unknown);
    unknown
}

fn walk(schema: Schema<'_>, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => object(schema, fields, path, unknown),
        Value::Array(items) => {
            if let Some(item) = schema.items() {
                for (i, entry) in items.iter_mut().enumerate() {
                    walk(item, entry, &format!("{path}[{i}]"), unknown);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(schema: Schema<'_>, fields: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>) {
    fields.retain(|name, value| {
        let at = join(path, name);
        if schema.node.embedded_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        let Some(field) = schema.field(name) else {
            if !schema.preserves_unknown() {
                unknown.push(at);
            }
            return schema.preserves_unknown();
        };
        if value.is_null() && !allows_null(field) {
            return false;
        }
        walk(field, value, &at, unknown);
        true
    });
}

/// A null where none is allowed counts as absent, so that a default can take its place.
fn allows_null(schema: Schema<'_>) -> bool {
    schema.node.nullable || (schema.preserves_unknown() && schema.kind().is_none())
}

/// `path.name`, or `name` at the root.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_string()
    } else {
        format!("{path}.{name}")
    }
}

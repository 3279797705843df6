//! Defaulting of absent fields.

use serde_json::Value;

use super::Schema;

/// Fills absent fields that have a default, in `value` and everything below it.
pub(crate) fn fill(schema: Schema<'_>, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties() {
                if let (Some(default), false) = (property.default(), fields.contains_key(name)) {
                    fields.insert(name.to_string(), default.clone());
                }
            }
            for (name, entry) in fields.iter_mut() {
                if let Some(field) = schema.field(name) {
                    fill(field, entry);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = schema.items() {
                for entry in items {
                    fill(item, entry);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

//! Reading and writing the parts that every Kubernetes object has.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Namespace and name; cluster-scoped objects have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The namespace, or nothing.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

impl Key {
    /// Names an object; `namespace` is empty for cluster-scoped ones.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub(crate) fn of(object: &Value) -> Self {
        Self::new(meta_text(object, "namespace"), meta_text(object, "name"))
    }
}

/// `metadata.FIELD` as text; empty when absent.
pub(crate) fn meta_text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata`, made when absent.
pub(crate) fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    section_mut(object, "metadata")
}

/// A field that is an object, made (or replaced) when it is not.
pub(crate) fn section_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    let section = &mut object[name];
    if !section.is_object() {
        *section = json!({});
    }
    match section {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("made an object above")
        }
    }
}

/// Sets `metadata.FIELD`, or removes it when there is no value.
pub(crate) fn set_meta(object: &mut Value, field: &str, value: Option<Value>) {
    set(meta_mut(object), field, value);
}

/// Sets a field, or removes it when there is no value.
pub(crate) fn set(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(field.to_string(), value),
        None => fields.remove(field),
    };
}

/// Labels of an object.
pub(crate) fn labels(object: &Value) -> BTreeMap<&str, &str> {
    text_map(&object["metadata"]["labels"])
}

/// The string entries of a JSON object.
pub(crate) fn text_map(value: &Value) -> BTreeMap<&str, &str> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
        .collect()
}

/// The entries of a JSON array; none when it is not one.
pub(crate) fn entries(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The entries of the array at a JSON pointer, to be changed; none when there is no array.
pub(crate) fn entries_mut<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    // Indexing would leave a null where there is nothing.
    value
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// The strings in a JSON array.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    entries(value).iter().filter_map(Value::as_str).collect()
}

/// The value at a dotted path (`spec.nodeName`).
pub(crate) fn at_path<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .filter(|step| !step.is_empty())
        .fold(object, |value, step| &value[step])
}

/// Whether deletion was asked for and waits for finalizers.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The time now, as Kubernetes writes it: RFC 3339, whole seconds.
pub(crate) fn now() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(seconds)
        .map(|t| t.to_string())
        .unwrap_or_default()
}

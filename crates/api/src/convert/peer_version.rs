//! Converts a `BGPPeer` between its versions, as JSON. What v1beta1 does not have stays with the object in an annotation, so that a
//! client that reads v1beta1 and writes it back takes nothing away.

use std::fmt;

use serde_json::{Map, Value, json};

/// Annotation of a `BGPPeer` that is read as v1beta1: its fields that this version does not have, as JSON.
pub const V1BETA2_FIELDS: &str = "metallb.io/v1beta2-fields";

const V1BETA1: &str = "metallb.io/v1beta1";
const V1BETA2: &str = "metallb.io/v1beta2";

/// A field, and whether a value can be one of it.
type CheckedField = (&'static str, fn(&Value) -> bool);
/// A field, and what it is without a value.
type RequiredField = (&'static str, fn() -> Value);

/// The fields that v1beta1 does not have.
const FIELDS: [CheckedField; 9] = [
    ("connectTime", Value::is_string),
    ("disableMP", Value::is_boolean),
    ("dualStackAddressFamily", Value::is_boolean),
    ("dynamicASN", Value::is_string),
    ("enableGracefulRestart", Value::is_boolean),
    ("interface", Value::is_string),
    ("localASN", Value::is_i64),
    ("passwordSecret", is_secret_reference),
    ("vrf", Value::is_string),
];
/// Those of them that are false by default.
const FALSE_BY_DEFAULT: [&str; 2] = ["disableMP", "dualStackAddressFamily"];
/// The fields that only v1beta1 requires.
const REQUIRED_BY_V1BETA1: [RequiredField; 2] = [("peerASN", || json!(0)), ("peerAddress", || json!(""))];

/// The reason why an object cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionError {
    /// It is of another kind.
    Kind(String),
    /// There is no such version of a `BGPPeer`.
    Version(String),
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a {kind:?} cannot be converted, only a BGPPeer"),
            Self::Version(version) => {
                write!(
                    f,
                    "BGPPeer has no version {version:?}; it has {V1BETA1} and {V1BETA2}"
                )
            }
        }
    }
}

/// Converts a `BGPPeer` to an `apiVersion`. Fields that are absent stay absent.
///
/// # Errors
/// When it is no `BGPPeer`, or one of the versions does not exist.
pub fn bgp_peer_version(mut object: Value, version: &str) -> Result<Value, VersionError> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let (kind, before) = (text("kind"), text("apiVersion"));
    if kind != "BGPPeer" {
        return Err(VersionError::Kind(kind));
    }
    match (before.as_str(), version) {
        (V1BETA1, V1BETA2) => to_v1beta2(&mut object),
        (V1BETA2, V1BETA1) => to_v1beta1(&mut object),
        (V1BETA1, V1BETA1) | (V1BETA2, V1BETA2) => {}
        (V1BETA1 | V1BETA2, _) => return Err(VersionError::Version(version.to_owned())),
        _ => return Err(VersionError::Version(before)),
    }
    object["apiVersion"] = json!(version);
    Ok(object)
}

fn to_v1beta1(object: &mut Value) {
    let mut kept = Map::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for (field, _) in FIELDS {
            let is_default = |value: &Value| *value == json!(false) && FALSE_BY_DEFAULT.contains(&field);
            if let Some(value) = spec.remove(field).filter(|value| !is_default(value)) {
                kept.insert(field.to_owned(), value);
            }
        }
        for (field, empty) in REQUIRED_BY_V1BETA1 {
            spec.entry(field).or_insert_with(empty);
        }
    }
    let text = (!kept.is_empty()).then(|| Value::Object(kept).to_string());
    annotate(object, text);
}

fn to_v1beta2(object: &mut Value) {
    let kept = object["metadata"]["annotations"][V1BETA2_FIELDS].as_str();
    let kept: Map<String, Value> = kept
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    annotate(object, None);
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, empty) in REQUIRED_BY_V1BETA1 {
        if spec.get(field) == Some(&empty()) {
            spec.remove(field);
        }
    }
    // v1beta2 has no port 0; without one it is 179, too.
    if spec.get("peerPort") == Some(&json!(0)) {
        spec.remove("peerPort");
    }
    for (field, is_valid) in FIELDS {
        if let Some(value) = kept.get(field).filter(|value| is_valid(value)) {
            spec.entry(field).or_insert_with(|| value.clone());
        }
    }
}

/// Sets the annotation, or removes it.
fn annotate(object: &mut Value, text: Option<String>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    match text {
        Some(text) => {
            let annotations = metadata.entry("annotations").or_insert(Value::Null);
            if !annotations.is_object() {
                *annotations = json!({});
            }
            annotations[V1BETA2_FIELDS] = json!(text);
        }
        None => {
            let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
                return;
            };
            if annotations.remove(V1BETA2_FIELDS).is_some() && annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
}

fn is_secret_reference(value: &Value) -> bool {
    let mut fields = value.as_object().into_iter().flatten();
    value.is_object()
        && fields.all(|(name, value)| matches!(&**name, "name" | "namespace") && value.is_string())
}

#[cfg(test)]
mod tests;

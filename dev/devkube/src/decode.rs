//! From a request body to an object of a kind: types checked, unknown fields found.

use serde_json::Value;

use crate::kinds::Kind;
use crate::object::meta_text;
use crate::schema::builtin::{OBJECT_META, builtin};
use crate::schema::prune::prune;
use crate::schema::validate::type_errors;
use crate::status::{ApiError, FieldError};

/// What to do about unknown fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl FieldValidation {
    /// Parses the query parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// Where an object came from; decides how unknown fields are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The body itself.
    Body,
    /// The result of a patch.
    Patch,
}

/// Checks that a body is an object of `kind`, and removes what the kind does not know.
/// Returns the warnings to give.
pub(crate) fn decode(
    kind: &Kind,
    object: &mut Value,
    validation: FieldValidation,
    origin: Origin,
) -> Result<Vec<String>, ApiError> {
    check_type_meta(kind, object)?;
    let unknown = if kind.custom.is_some() {
        prune_custom(kind, object)?
    } else {
        prune_builtin(kind, object)?
    };
    let complaints: Vec<String> = unknown
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect();
    match validation {
        _ if complaints.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(complaints),
        FieldValidation::Strict => {
            let message = format!("strict decoding error: {}", complaints.join(", "));
            Err(match origin {
                Origin::Body => undecodable(kind, &message),
                Origin::Patch => {
                    let error = FieldError::invalid("patch", &object["metadata"]["name"], message);
                    ApiError::invalid(kind.content(meta_text(object, "name")), &[error])
                }
            })
        }
    }
}

fn undecodable(kind: &Kind, message: &str) -> ApiError {
    let (name, version) = (&kind.kind, &kind.version);
    ApiError::bad_request(format!(
        "{name} in version {version:?} cannot be handled as a {name}: {message}"
    ))
}

fn check_type_meta(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the body is not an object; send a Kubernetes object as JSON or YAML",
        ));
    }
    let expected = kind.api_version();
    for (field, expected) in [("apiVersion", expected.as_str()), ("kind", kind.kind.as_str())] {
        let given = &object[field];
        if given.is_null() {
            // Typed clients leave these out of what they send.
            object[field] = expected.into();
        } else if given != expected {
            let what = if field == "kind" { "kind" } else { "API version" };
            return Err(ApiError::bad_request(format!(
                "the {what} in the data ({}) does not match the expected {what} ({expected})",
                given.as_str().unwrap_or("not a string")
            )));
        }
    }
    Ok(())
}

fn prune_builtin(kind: &Kind, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let unknown = prune(kind.schema(), object);
    refuse_type_errors(kind, &type_errors(kind.schema(), object))?;
    Ok(unknown)
}

/// The schema of a custom resource says nothing of `apiVersion`, `kind` and `metadata`.
fn prune_custom(kind: &Kind, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let meta_schema = builtin()
        .document
        .definition(OBJECT_META)
        .expect("metadata is built in");
    let mut meta = object["metadata"].take();
    let mut unknown: Vec<String> = Vec::new();
    if !meta.is_null() {
        unknown.extend(
            prune(meta_schema, &mut meta)
                .into_iter()
                .map(|path| format!("metadata.{path}")),
        );
        refuse_type_errors(kind, &type_errors(meta_schema, &meta))?;
    }
    let fields = object.as_object_mut().expect("checked to be an object");
    fields.remove("metadata");
    let type_meta = ["apiVersion", "kind"].map(|field| (field, fields.remove(field)));
    unknown.extend(prune(kind.schema(), object));
    for (field, value) in type_meta {
        object[field] = value.unwrap_or_default();
    }
    object["metadata"] = if meta.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        meta
    };
    Ok(unknown)
}

fn refuse_type_errors(kind: &Kind, errors: &[FieldError]) -> Result<(), ApiError> {
    match errors {
        [] => Ok(()),
        [first, ..] => Err(undecodable(
            kind,
            &format!("json: cannot unmarshal into Go struct field {first}"),
        )),
    }
}

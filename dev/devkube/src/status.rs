//! Refusals, as the `Status` objects that Kubernetes clients understand.

use std::fmt;

use serde_json::{Value, json};

/// Why a request is not carried out; rendered as a `metav1.Status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    /// The HTTP status code.
    pub(crate) code: u16,
    /// The machine-readable reason (`metav1.StatusReason`).
    pub(crate) reason: &'static str,
    /// What is wrong, for people.
    pub(crate) message: String,
    details: Value,
}

/// What a refusal is about: a resource (`services`) or a kind (`Service`) of a group, and a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The API group; empty for the core group.
    pub(crate) group: &'a str,
    /// `services` or `Service`, whichever the message calls for.
    pub(crate) resource: &'a str,
    /// The object's name; may be empty.
    pub(crate) name: &'a str,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// 400: the request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403: understood, but never allowed.
    pub(crate) fn forbidden(about: Subject<'_>, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{about} is forbidden: {why}")).about(about)
    }

    /// 404 for a path that no resource stands behind.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 404 for an object that does not exist.
    pub(crate) fn not_found(about: Subject<'_>) -> Self {
        Self::new(404, "NotFound", format!("{about} not found")).about(about)
    }

    /// 405: the resource exists but not with this verb.
    pub(crate) fn method_not_allowed(verb: &str) -> Self {
        let message = format!("the server does not allow this method on the requested resource: {verb}");
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 406: none of the forms that the client accepts is spoken here.
    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// 409: an object of this name exists.
    pub(crate) fn already_exists(about: Subject<'_>) -> Self {
        Self::new(409, "AlreadyExists", format!("{about} already exists")).about(about)
    }

    /// 409: the writer has seen an older version than the one stored.
    pub(crate) fn conflict(about: Subject<'_>, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {about}: {why}");
        Self::new(409, "Conflict", message).about(about)
    }

    /// 409: another field manager owns what an apply wants to change. One `(manager, field)` per conflict.
    pub(crate) fn apply_conflict(owned: &[(String, String)]) -> Self {
        let mut message = format!(
            "Apply failed with {} conflict{}: ",
            owned.len(),
            if owned.len() == 1 { "" } else { "s" }
        );
        let lines: Vec<String> = owned
            .iter()
            .map(|(m, f)| format!("conflict with {m:?}: {f}"))
            .collect();
        message.push_str(&lines.join(", "));
        let causes: Vec<Value> = owned
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager:?}"), "field": field})
            })
            .collect();
        let mut error = Self::new(409, "Conflict", message);
        error.details = json!({ "causes": causes });
        error
    }

    /// 410: the resource version asked for is no longer known.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415: a body or patch type that is not spoken here.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object was understood, and breaks these rules.
    pub(crate) fn invalid(kind: Subject<'_>, errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match lines.as_slice() {
            [only] => only.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!(
            "{} {:?} is invalid: {list}",
            qualified(kind.resource, kind.group),
            kind.name
        );
        let mut error = Self::new(422, "Invalid", message).about(kind);
        error.details["causes"] = errors.iter().map(FieldError::cause).collect();
        error
    }

    /// 504: the client has seen a version that this server has not reached.
    pub(crate) fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(504, "Timeout", message);
        error.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        error
    }

    /// A refusal that a test asked for.
    pub(crate) fn injected(code: u16) -> Self {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        Self::new(
            code,
            reason,
            format!("devkube was told to refuse this request with {code}"),
        )
    }

    fn about(mut self, about: Subject<'_>) -> Self {
        self.details = json!({"name": about.name, "kind": about.resource});
        if !about.group.is_empty() {
            self.details["group"] = about.group.into();
        }
        self
    }

    /// The `metav1.Status` that says this.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", qualified(self.resource, self.group), self.name)
    }
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_string()
    } else {
        format!("{resource}.{group}")
    }
}

/// One broken rule at one field, in the words of `k8s.io/apimachinery/.../field`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    reason: &'static str,
    /// Path of the field: `spec.ports[0].port`.
    pub(crate) field: String,
    message: String,
}

impl FieldError {
    /// The field must be there.
    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".into()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            reason: "FieldValueRequired",
            field: field.into(),
            message,
        }
    }

    /// The value breaks a rule.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> Self {
        let message = format!("Invalid value: {}: {detail}", shown(value));
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message,
        }
    }

    /// The value is of another type.
    pub(crate) fn wrong_type(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> Self {
        let message = format!("Invalid value: {:?}: {detail}", type_name(value));
        Self {
            reason: "FieldValueTypeInvalid",
            field: field.into(),
            message,
        }
    }

    /// The value is none of the allowed ones.
    pub(crate) fn not_supported(field: impl Into<String>, value: &Value, supported: &[String]) -> Self {
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            supported.join(", ")
        );
        Self {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message,
        }
    }

    /// The value appears twice.
    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message,
        }
    }

    /// The field must not be set (like this).
    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            field: field.into(),
            message: format!("Forbidden: {detail}"),
        }
    }

    /// More entries than allowed.
    pub(crate) fn too_many(field: impl Into<String>, count: usize, limit: u64) -> Self {
        let message = format!("Too many: {count}: must have at most {limit} items");
        Self {
            reason: "FieldValueTooMany",
            field: field.into(),
            message,
        }
    }

    /// A longer string than allowed.
    pub(crate) fn too_long(field: impl Into<String>, limit: u64) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self {
            reason: "FieldValueTooLong",
            field: field.into(),
            message,
        }
    }

    fn cause(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Object(_) => "\"object\"".into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

/// The JSON type of a value, as Kubernetes names it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_reads_as_kubectl_prints_it() {
        let error = ApiError::not_found(Subject {
            group: "apps",
            resource: "deployments",
            name: "web",
        });
        assert_eq!(error.message, "deployments.apps \"web\" not found");
        let status = error.status();
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(
            status["details"],
            json!({"name": "web", "kind": "deployments", "group": "apps"})
        );
    }

    #[test]
    fn an_invalid_object_names_every_broken_rule() {
        let errors = [
            FieldError::required("spec.ports", ""),
            FieldError::invalid("spec.type", &json!("x"), "no such type"),
        ];
        let error = ApiError::invalid(
            Subject {
                group: "",
                resource: "Service",
                name: "web",
            },
            &errors,
        );
        assert_eq!(
            error.message,
            "Service \"web\" is invalid: [spec.ports: Required value, spec.type: Invalid value: \"x\": no such type]"
        );
        assert_eq!(error.status()["details"]["causes"][1]["field"], "spec.type");
    }
}

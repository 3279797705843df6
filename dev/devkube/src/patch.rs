//! The four kinds of patches.

mod apply;
mod fields;
pub(crate) mod managed;
mod merge;
mod strategic;
mod typed;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::object::Key;
use crate::operation::Write;
use crate::request::Request;
use crate::status::{ApiError, FieldError};

/// A patch as it came in.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' strategic merge.
    Strategic(Value),
    /// Server-side apply.
    Apply(apply::Configuration),
}

impl Patch {
    /// Reads a patch by its media type.
    pub(crate) fn parse(request: &Request, body: Value) -> Result<Self, ApiError> {
        let broken = |why: String| ApiError::bad_request(format!("error decoding patch: {why}"));
        match request.media_type() {
            "application/json-patch+json" => serde_json::from_value(body)
                .map(Self::Json)
                .map_err(|error| broken(error.to_string())),
            "application/merge-patch+json" | "application/strategic-merge-patch+json"
                if !body.is_object() =>
            {
                Err(broken("a merge patch is an object".into()))
            }
            "application/merge-patch+json" => Ok(Self::Merge(body)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(body)),
            "application/apply-patch+yaml" if !body.is_object() => {
                Err(broken("a configuration is an object".into()))
            }
            "application/apply-patch+yaml" => Ok(Self::Apply(apply::Configuration {
                fields: body,
                force: request.flag("force"),
                has_manager: !request.parameter("fieldManager").is_empty(),
            })),
            other => Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format {other:?} - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml"
            ))),
        }
    }

    /// Whether the patch may create the object.
    pub(crate) fn creates(&self) -> bool {
        matches!(self, Self::Apply(_))
    }

    /// The object after the patch, and whether `managedFields` are settled in it.
    pub(crate) fn apply(
        &self,
        kind: &Kind,
        key: &Key,
        old: Option<&Value>,
        write: &Write,
    ) -> Result<(Value, bool), ApiError> {
        if let Self::Apply(configuration) = self {
            return configuration
                .apply(kind, key, old, write)
                .map(|object| (object, true));
        }
        let missing = || ApiError::not_found(kind.object(&key.name));
        let mut object = old.ok_or_else(missing)?.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut object, patch).map_err(|error| {
                let error = FieldError::invalid("patch", &json!({}), error);
                ApiError::invalid(kind.content(&key.name), &[error])
            })?,
            Self::Apply(_) => unreachable!("applied above"),
            Self::Merge(patch) => merge::merge(&mut object, patch),
            Self::Strategic(_) if kind.custom.is_some() => {
                return Err(ApiError::unsupported_media_type(
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            Self::Strategic(patch) => {
                strategic::merge(Some(kind.schema()), &mut object, patch).map_err(ApiError::bad_request)?;
            }
        }
        Ok((object, false))
    }
}

//! Writing of desired state: makes objects in the API server what they should be.
//!
//! [`WriteQueue`] sends many writes, one at a time for each object. [`object`](object::reconcile) keeps one object as
//! desired. Both share one deadline, one classification of errors ([`Failure`]) and one back-off.

pub mod object;
mod queue;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::log::one_line;

pub use queue::{QueueEvent, WriteQueue, WriteTarget, Written};

/// An API server that has not answered a request by then is away.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The object has another version by now, exists already, or is gone (409, 404).
    Outdated(String),
    /// The API server refuses the request: a missing permission (401, 403), a policy or a schema (400, 415, 422).
    Refused(String),
    /// The API server is away or busy.
    Unavailable(String),
}

impl Failure {
    /// The error text.
    pub fn message(&self) -> &str {
        match self {
            Self::Outdated(message) | Self::Refused(message) | Self::Unavailable(message) => message,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let text = one_line(&error);
        let kube::Error::Api(status) = error else {
            return Self::Unavailable(text);
        };
        match status.code {
            404 | 409 => Self::Outdated(text),
            400 | 401 | 403 | 415 | 422 => Self::Refused(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// Waits for the answer to a request, at most for `timeout`.
///
/// # Errors
/// When the API server does not answer in time, or with an error.
pub async fn within<T>(
    timeout: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(timeout, request).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure::Unavailable(format!("no answer within {timeout:.1?}"))),
    }
}

/// Returns a reference to the Pod `pod`, for objects that the API server deletes with it; `None` if there is no such Pod.
///
/// # Errors
/// When the Pod cannot be read.
pub async fn owner(pods: &Api<Pod>, pod: &str) -> Result<Option<OwnerReference>, Failure> {
    let found = within(TIMEOUT, pods.get_opt(pod)).await?;
    Ok(found.and_then(|found| {
        Some(OwnerReference {
            api_version: Pod::api_version(&()).into_owned(),
            kind: Pod::kind(&()).into_owned(),
            name: pod.to_owned(),
            uid: found.uid()?,
            ..OwnerReference::default()
        })
    }))
}

/// Returns a reference to what controls the Pod `pod` (its ReplicaSet), for an object that the API server deletes with all Pods
/// of that kind; `None` if nothing controls it, or there is no such Pod.
///
/// # Errors
/// When the Pod cannot be read.
pub async fn controller_of(pods: &Api<Pod>, pod: &str) -> Result<Option<OwnerReference>, Failure> {
    let found = within(TIMEOUT, pods.get_opt(pod)).await?;
    let owners = found.and_then(|found| found.metadata.owner_references);
    let controller = owners
        .into_iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    Ok(controller.map(|owner| OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..owner
    }))
}

/// Fills in the `lastTransitionTime` of conditions: the observed time where the condition has the same `status`, else `now`.
pub fn with_transition_times(mut status: Value, observed: &Value, now: Timestamp) -> Value {
    let conditions = status["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        let mut observed = observed["conditions"].as_array().into_iter().flatten();
        let unchanged = observed.find(|observed| {
            observed["type"] == condition["type"] && observed["status"] == condition["status"]
        });
        let time = unchanged.map(|observed| observed["lastTransitionTime"].clone());
        condition["lastTransitionTime"] = time.unwrap_or_else(|| json!(Time(now)));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let status =
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]});
        let observed = json!({"conditions": [
            {"type": "A", "status": "True", "lastTransitionTime": "long ago"},
            {"type": "B", "status": "False", "lastTransitionTime": "long ago"},
        ]});
        let status = with_transition_times(status, &observed, Timestamp::UNIX_EPOCH);
        let time = |i: usize| status["conditions"][i]["lastTransitionTime"].clone();
        assert_eq!(
            (time(0), time(1)),
            (json!("long ago"), json!("1970-01-01T00:00:00Z"))
        );
    }

    #[test]
    fn an_answer_is_outdated_refused_or_worth_another_attempt() {
        let failure = |code| {
            Failure::from(kube::Error::Api(
                Status::failure("text", "x").with_code(code).boxed(),
            ))
        };
        for code in [404, 409] {
            assert_eq!(failure(code), Failure::Outdated("text".to_owned()));
        }
        for code in [400, 401, 403, 415, 422] {
            assert_eq!(failure(code), Failure::Refused("text".to_owned()));
        }
        for code in [429, 500, 503] {
            assert_eq!(failure(code), Failure::Unavailable("text".to_owned()));
        }
    }
}

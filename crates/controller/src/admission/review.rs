//! The JSON of an AdmissionReview: what is asked, and the answer.

use herald_api::{IPAddressPool, L2Advertisement, annotation, convert};
use herald_core::config::ConfigChange;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::serde::Deserialize;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{AdmissionVerdict, ProposedChange, ReviewRequest};

/// The paths of the webhooks: MetalLB's where it has one.
pub(crate) const PATHS: [&str; 3] = [
    "/validate-metallb-io-v1beta1-ipaddresspool",
    "/validate-metallb-io-v1beta1-l2advertisement",
    "/validate-v1-service",
];

/// Which objects are this controller's.
#[derive(Debug)]
pub(crate) struct AdmissionScope {
    /// The namespace of the pools.
    pub(crate) namespace: String,
    /// The class of the Services; `None` for those without one.
    pub(crate) class: Option<String>,
}

/// An `AdmissionReview` of `admission.k8s.io/v1`, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(crate = "k8s_openapi::serde")]
struct AdmissionReview {
    request: AdmissionRequest,
}

#[derive(Debug, Deserialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
pub(super) struct AdmissionRequest {
    uid: String,
    kind: RequestKind,
    operation: Operation,
    object: Option<DynamicObject>,
    /// The object before an update or a deletion.
    old_object: Option<DynamicObject>,
}

/// A group, a version and a kind, of which only the kind is read: no two that are checked have the same.
#[derive(Debug, Deserialize)]
#[serde(crate = "k8s_openapi::serde")]
struct RequestKind {
    kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Answers a request; the driver at `reviews` decides. Returns `None` while it has not listed all objects.
pub(crate) async fn answer(
    request: &[u8],
    scope: &AdmissionScope,
    reviews: &mpsc::Sender<ReviewRequest>,
) -> Option<Vec<u8>> {
    let refused = |text: String| AdmissionVerdict {
        refusal: Some(text),
        ..AdmissionVerdict::default()
    };
    let request = match read(request) {
        Ok(request) => request,
        Err(error) => return Some(refused(error).response("")),
    };
    let uid = request.uid.clone();
    let verdict = match scope.proposed(request) {
        Ok(None) => AdmissionVerdict::default(),
        Ok(Some(change)) => {
            let (answer, verdict) = oneshot::channel();
            reviews.send((change, answer)).await.ok()?;
            verdict.await.ok()?
        }
        Err(refusal) => refused(refusal),
    };
    Some(verdict.response(&uid))
}

pub(super) fn read(request: &[u8]) -> Result<AdmissionRequest, String> {
    let review: AdmissionReview =
        serde_json::from_slice(request).map_err(|error| format!("not an AdmissionReview: {error}"))?;
    Ok(review.request)
}

impl AdmissionVerdict {
    /// Returns the JSON of the answer to the request `uid`.
    fn response(self, uid: &str) -> Vec<u8> {
        let mut response = json!({"uid": uid, "allowed": self.refusal.is_none(), "warnings": self.warnings});
        if let Some(refusal) = self.refusal {
            response["status"] = json!({"status": "Failure", "message": refusal});
        }
        let review: Value =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        review.to_string().into_bytes()
    }
}

impl AdmissionScope {
    /// Returns what is proposed; `None` if there is nothing to check.
    ///
    /// # Errors
    /// Why the object is refused as it is, whatever else exists.
    pub(super) fn proposed(&self, request: AdmissionRequest) -> Result<Option<ProposedChange>, String> {
        let AdmissionRequest {
            kind,
            operation,
            object,
            old_object,
            ..
        } = request;
        let Some(object) = object.filter(|object| object.metadata.deletion_timestamp.is_none()) else {
            return Ok(None);
        };
        if kind.kind == "Service" {
            // A Service that this version cannot read is permitted, as all are.
            let service = object.try_parse::<core_v1::Service>().ok();
            return Ok(service
                .filter(|service| convert::is_ours(service, self.class.as_deref()))
                .map(propose));
        }
        let is_ours = object.metadata.namespace.as_deref() == Some(&self.namespace);
        if !is_ours {
            return match operation {
                Operation::Create => Err(format!(
                    "resource must be created in {} namespace",
                    self.namespace
                )),
                Operation::Update | Operation::Delete | Operation::Connect => Ok(None),
            };
        }
        let keeps_spec = old_object.is_some_and(|old| old.data.get("spec") == object.data.get("spec"));
        let change = match kind.kind.as_str() {
            "IPAddressPool" => {
                let pool = object
                    .try_parse::<IPAddressPool>()
                    .map_err(|error| error.to_string())?;
                ConfigChange::ApplyPool(convert::pool(&pool))
            }
            "L2Advertisement" => {
                let parsed = object
                    .try_parse::<L2Advertisement>()
                    .map_err(|error| error.to_string())?;
                ConfigChange::ApplyL2Advertisement(convert::l2_advertisement(&parsed))
            }
            _ => return Ok(None),
        };
        Ok(Some(ProposedChange::Resource { change, keeps_spec }))
    }
}

fn propose(object: core_v1::Service) -> ProposedChange {
    let annotations = object.metadata.annotations.iter();
    let deprecated = annotations.flat_map(annotation::deprecated).map(str::to_owned);
    ProposedChange::Service {
        service: Box::new(convert::service(&object)),
        deprecated: deprecated.collect(),
    }
}

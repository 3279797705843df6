//! The JSON of an AdmissionReview: the request and the answer.

use herald_api::{IPAddressPool, L2Advertisement, MOST_ENTRIES, annotation, convert};
use herald_core::RawSelector;
use herald_core::config::ConfigChange;
use herald_core::config::bgp::{BgpChange, BgpKind};
use herald_runtime::admin::ReviewError;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::serde::Deserialize;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{BgpProposal, ProposedChange, ReviewAnswer, ReviewRequest, bgp};

/// The paths of the webhooks: MetalLB's where it has one.
pub(crate) const PATHS: [&str; 7] = [
    "/validate-metallb-io-v1beta1-ipaddresspool",
    "/validate-metallb-io-v1beta1-l2advertisement",
    "/validate-metallb-io-v1beta2-bgppeer",
    "/validate-metallb-io-v1beta1-bgpadvertisement",
    "/validate-metallb-io-v1beta1-community",
    "/validate-metallb-io-v1beta1-bfdprofile",
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

/// Answers a request; the driver at `reviews` decides.
///
/// # Errors
/// When the request is no AdmissionReview, or the driver has not listed all objects.
pub(crate) async fn answer(
    request: &[u8],
    scope: &AdmissionScope,
    reviews: &mpsc::Sender<ReviewRequest>,
) -> Result<Vec<u8>, ReviewError> {
    let request = read(request)?;
    let uid = request.uid.clone();
    let answer = match scope.proposed(request) {
        Ok(change) => {
            let (sender, answer) = oneshot::channel();
            let sent = reviews.send((change, sender)).await;
            sent.map_err(|_| ReviewError::Unavailable)?;
            answer.await.map_err(|_| ReviewError::Unavailable)?
        }
        Err(answer) => answer,
    };
    Ok(answer.response(&uid))
}

pub(super) fn read(request: &[u8]) -> Result<AdmissionRequest, ReviewError> {
    let review: AdmissionReview =
        serde_json::from_slice(request).map_err(|error| ReviewError::Malformed(error.to_string()))?;
    Ok(review.request)
}

impl ReviewAnswer {
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
    /// Returns the change that is to be checked.
    ///
    /// # Errors
    /// The answer, if nothing else has to be known for it.
    pub(super) fn proposed(&self, request: AdmissionRequest) -> Result<ProposedChange, ReviewAnswer> {
        let AdmissionRequest {
            kind,
            object,
            old_object,
            ..
        } = request;
        let permitted = ReviewAnswer::default;
        let of_bgp = bgp::kind(&kind.kind);
        if let (Some(of_bgp), None, Some(old)) = (of_bgp, &object, &old_object) {
            return self.deletion(of_bgp, old).ok_or_else(permitted);
        }
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let mut object = object.ok_or_else(permitted)?;
        if kind.kind == "Service" {
            // A Service that this version cannot read is permitted, as all are.
            let service = object.try_parse::<core_v1::Service>().ok();
            let service = service.filter(|service| convert::is_ours(service, self.class.as_deref()));
            return service.map(propose).ok_or_else(permitted);
        }
        if object.metadata.namespace.as_deref() != Some(&self.namespace) {
            return Err(ReviewAnswer::warn([format!(
                "the Herald in namespace {0} reads only the resources of namespace {0}",
                self.namespace
            )]));
        }
        let keeps_spec = old_object.is_some_and(|old| old.data.get("spec") == object.data.get("spec"));
        // Another version may write another status; here it does not matter.
        if let Some(data) = object.data.as_object_mut() {
            data.remove("status");
        }
        let answer = |error: String| match keeps_spec {
            true => ReviewAnswer::warn([error]),
            false => ReviewAnswer::refuse(error),
        };
        if let Some(of_bgp) = of_bgp {
            let proposal = bgp::propose(of_bgp, object, keeps_spec);
            return proposal
                .map(|proposal| ProposedChange::Bgp(Box::new(proposal)))
                .map_err(answer);
        }
        let change = match kind.kind.as_str() {
            "IPAddressPool" => {
                let pool = object.try_parse::<IPAddressPool>();
                pool.map(|pool| ConfigChange::ApplyPool(convert::pool(&pool)))
            }
            "L2Advertisement" => {
                let parsed = object.try_parse::<L2Advertisement>();
                parsed.map(|parsed| ConfigChange::ApplyL2Advertisement(convert::l2_advertisement(&parsed)))
            }
            _ => return Err(permitted()),
        };
        let change = change.map_err(|error| error.to_string()).and_then(bounded);
        change
            .map(|change| ProposedChange::Resource { change, keeps_spec })
            .map_err(answer)
    }

    /// Returns the deletion of a resource of BGP that is to be checked.
    fn deletion(&self, kind: BgpKind, old: &DynamicObject) -> Option<ProposedChange> {
        let is_ours = old.metadata.namespace.as_deref() == Some(&self.namespace);
        let name = old.metadata.name.clone().filter(|_| is_ours)?;
        Some(ProposedChange::Bgp(Box::new(BgpProposal {
            change: BgpChange::Delete(kind, name),
            keeps_spec: false,
            warning: None,
        })))
    }
}

/// The most entries of a list of names, which the definitions do not limit.
const MOST_NAMES: usize = 10_000;

/// The most labels, expressions and values of all selectors of a resource, which the definitions do not limit: four for each selector of
/// the longest list. Each Node may be held against each of them.
const MOST_TERMS: usize = 4 * MOST_ENTRIES;

/// Returns a resource whose lists the definition allows. An API server sends no other, but every Pod may reach the port, and the
/// driver compares the entries with those of all pools and Nodes.
fn bounded(change: ConfigChange) -> Result<ConfigChange, String> {
    match &change {
        ConfigChange::ApplyPool(raw) => {
            let allocation = raw.allocation.as_ref();
            let lengths = [
                raw.addresses.len(),
                raw.reservations.len(),
                allocation.map_or(0, |allocation| allocation.namespace_selectors.len()),
                allocation.map_or(0, |allocation| allocation.service_selectors.len()),
            ];
            let namespaces = allocation.map_or(0, |allocation| allocation.namespaces.len());
            within_bounds(&lengths, &[namespaces], selectors(&change))?;
        }
        ConfigChange::ApplyL2Advertisement(raw) => {
            let lengths = [
                raw.pool_selectors.len(),
                raw.node_selectors.len(),
                raw.service_selectors.len(),
                raw.preferred_nodes.len(),
            ];
            let names = [raw.pools.len(), raw.interfaces.len()];
            within_bounds(&lengths, &names, selectors(&change))?;
        }
        ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => {}
    }
    Ok(change)
}

/// Returns the selectors of a resource that a review compares with pools and Nodes.
pub(super) fn compared(change: &ConfigChange) -> Vec<&RawSelector> {
    match change {
        ConfigChange::ApplyL2Advertisement(raw) => {
            raw.pool_selectors.iter().chain(&raw.node_selectors).collect()
        }
        ConfigChange::ApplyPool(_) | ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => {
            Vec::new()
        }
    }
}

/// Returns all selectors of a resource.
fn selectors(change: &ConfigChange) -> Vec<&RawSelector> {
    match change {
        ConfigChange::ApplyPool(raw) => {
            let allocation = raw.allocation.iter();
            let lists = allocation.flat_map(|allocation| {
                let services = allocation.service_selectors.iter();
                allocation.namespace_selectors.iter().chain(services)
            });
            lists.collect()
        }
        ConfigChange::ApplyL2Advertisement(raw) => {
            let selectors = raw.pool_selectors.iter().chain(&raw.node_selectors);
            let preferred = raw.preferred_nodes.iter().map(|(_, selector)| selector);
            selectors.chain(&raw.service_selectors).chain(preferred).collect()
        }
        ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => Vec::new(),
    }
}

/// Checks the lengths of lists, of lists of names, and of all selectors together.
pub(super) fn within_bounds<'a>(
    lengths: &[usize],
    names: &[usize],
    selectors: impl IntoIterator<Item = &'a RawSelector>,
) -> Result<(), String> {
    for (lengths, most) in [(lengths, MOST_ENTRIES), (names, MOST_NAMES)] {
        if lengths.iter().any(|length| *length > most) {
            return Err(format!("a list has more than {most} entries"));
        }
    }
    if terms(selectors) > MOST_TERMS {
        return Err(format!(
            "the selectors have more than {MOST_TERMS} labels, expressions and values"
        ));
    }
    Ok(())
}

/// Returns how many labels, expressions and values selectors have.
pub(super) fn terms<'a>(selectors: impl IntoIterator<Item = &'a RawSelector>) -> usize {
    let of_one = |selector: &RawSelector| {
        let expressions = selector.match_expressions.iter();
        let expressions: usize = expressions.map(|expression| 1 + expression.values.len()).sum();
        selector.match_labels.len() + expressions
    };
    selectors.into_iter().map(of_one).sum()
}

fn propose(object: core_v1::Service) -> ProposedChange {
    let annotations = object.metadata.annotations.iter();
    let deprecated = annotations.flat_map(annotation::deprecated).map(str::to_owned);
    ProposedChange::Service {
        service: Box::new(convert::service(&object)),
        deprecated: deprecated.collect(),
    }
}

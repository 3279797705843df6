//! The check of a Helm release, which `helm test` runs in a Pod: the definitions are served, a controller renews the Lease, and
//! each speaker is ready, has read its configuration and is reached by gossip.
//!
//! It reads with the rights of the controller and writes nothing.

use std::time::{Duration, Instant};

use anyhow::bail;
use herald_api::convert::GOSSIP_REACHABLE;
use herald_api::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, ConfigurationState, IPAddressPool, L2Advertisement,
    ServiceL2Status,
};
use herald_runtime::reconcile::{Failure, TIMEOUT, within};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::info;

use crate::announcements::PodReadiness;

/// Time for Pods that were just created. `helm install --wait` leaves nothing to wait for but the first gossip.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks, as long as between two renewals of the Lease.
const PERIOD: Duration = Duration::from_secs(2);

/// What the release has.
#[derive(Debug)]
pub(crate) struct ReleaseParts {
    /// The Lease of its controllers.
    pub(crate) lease: &'static str,
    /// Label selector of the speakers' Pods; empty if there are no speakers.
    pub(crate) speaker_labels: String,
    /// Whether it runs beside MetalLB, so that its speakers write nothing.
    pub(crate) is_beside_metallb: bool,
}

/// Returns when the release works.
///
/// # Errors
/// When it does not within [`PATIENCE`]; the message names each fault.
pub(crate) async fn run(client: &Client, namespace: &str, parts: &ReleaseParts) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut lease = LeaseCheck::new(parts.lease);
    let mut logged = Vec::new();
    loop {
        let faults = faults(client, namespace, parts, &mut lease).await;
        if faults.is_empty() {
            info!("the release works");
            return Ok(());
        }
        if start.elapsed() >= PATIENCE {
            bail!("the release does not work: {}", faults.join("; "));
        }
        if logged != faults {
            info!("waiting: {}", faults.join("; "));
            logged = faults;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn faults(
    client: &Client,
    namespace: &str,
    parts: &ReleaseParts,
    lease: &mut LeaseCheck,
) -> Vec<String> {
    let mut faults = Vec::new();
    let one = || ListParams::default().limit(1);
    list::<IPAddressPool>(client, namespace, one(), &mut faults).await;
    list::<L2Advertisement>(client, namespace, one(), &mut faults).await;
    list::<BGPPeer>(client, namespace, one(), &mut faults).await;
    list::<BGPAdvertisement>(client, namespace, one(), &mut faults).await;
    list::<Community>(client, namespace, one(), &mut faults).await;
    list::<BFDProfile>(client, namespace, one(), &mut faults).await;
    list::<ServiceL2Status>(client, namespace, one(), &mut faults).await;
    let all = ListParams::default;
    let states = list::<ConfigurationState>(client, namespace, all(), &mut faults).await;
    let pods = list::<Pod>(client, namespace, all(), &mut faults).await;
    let named = all().fields(&format!("metadata.name={}", parts.lease));
    let leases = list::<Lease>(client, namespace, named, &mut faults).await;
    if let (Some(leases), Some(pods)) = (leases, pods) {
        faults.extend(lease.fault(leases.first(), &pods));
    }
    if !parts.speaker_labels.is_empty() {
        let labelled = all().labels(&parts.speaker_labels);
        let speakers = list::<Pod>(client, namespace, labelled, &mut faults).await;
        if let (Some(speakers), Some(states)) = (speakers, states) {
            let states = (!parts.is_beside_metallb).then_some(&*states);
            faults.extend(speaker_faults(&speakers, states));
        }
    }
    faults
}

/// Lists objects; a failure is a fault.
async fn list<K>(
    client: &Client,
    namespace: &str,
    params: ListParams,
    faults: &mut Vec<String>,
) -> Option<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects = Api::<K>::namespaced(client.clone(), namespace);
    match within(TIMEOUT, objects.list(&params)).await {
        Ok(list) => Some(list.items),
        Err(failure) => {
            let kind = K::kind(&());
            faults.push(match &failure {
                Failure::Outdated(_) => format!("no definition of {kind} is served: apply those of crds/"),
                Failure::Refused(message) | Failure::Unavailable(message) => {
                    format!("{kind} cannot be listed: {message}")
                }
            });
            None
        }
    }
}

/// Whether a controller is active. A Lease whose holder is gone looks as one that was renewed a moment ago, and clocks differ:
/// only a renewal during the check is proof.
#[derive(Debug)]
struct LeaseCheck {
    name: &'static str,
    first_renewal: Option<MicroTime>,
    was_renewed: bool,
}

impl LeaseCheck {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            first_renewal: None,
            was_renewed: false,
        }
    }

    fn fault(&mut self, lease: Option<&Lease>, pods: &[Pod]) -> Option<String> {
        let name = self.name;
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        let Some(holder) = holder.filter(|holder| !holder.is_empty()) else {
            return Some(format!("no controller is active: nothing holds the Lease {name}"));
        };
        let pod = pods.iter().find(|pod| pod.name_any() == holder);
        if !pod.is_some_and(|pod| PodReadiness::new(pod).is_ready()) {
            return Some(format!(
                "the controller {holder}, which holds the Lease {name}, is not ready"
            ));
        }
        let renewal = spec.and_then(|spec| spec.renew_time.clone());
        match &self.first_renewal {
            None => self.first_renewal = renewal,
            Some(first) => self.was_renewed |= renewal.is_some_and(|renewal| renewal != *first),
        }
        (!self.was_renewed).then(|| format!("the controller {holder} has not renewed the Lease {name} yet"))
    }
}

/// Returns what is wrong with the speakers; `states` are all ConfigurationStates, unless the speakers write none.
fn speaker_faults(pods: &[Pod], states: Option<&[ConfigurationState]>) -> Vec<String> {
    // A DaemonSet replaces Pods that have ended or are being deleted.
    let has_ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Failed" | "Succeeded"))
    };
    let pods: Vec<&Pod> = pods.iter().filter(|pod| !has_ended(pod)).collect();
    if pods.is_empty() {
        return vec!["there is no Pod of a speaker".to_owned()];
    }
    let fault = |pod: &&Pod| {
        let fault = speaker_fault(pod, states)?;
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref());
        let node = node.map_or_else(|| "no node".to_owned(), |node| format!("node {node}"));
        Some(format!("the speaker {} on {node} {fault}", pod.name_any()))
    };
    pods.iter().filter_map(fault).collect()
}

fn speaker_fault(pod: &Pod, states: Option<&[ConfigurationState]>) -> Option<String> {
    if !PodReadiness::new(pod).is_ready() {
        return Some("is not ready".to_owned());
    }
    let uid = pod.uid();
    let is_its_own = |state: &&ConfigurationState| {
        let mut owners = state.owner_references().iter();
        owners.any(|owner| Some(&owner.uid) == uid.as_ref())
    };
    let state = states?.iter().find(is_its_own);
    let Some(status) = state.and_then(|state| state.status.as_ref()) else {
        return Some("has written no ConfigurationState yet".to_owned());
    };
    let mut conditions = status.conditions.iter();
    let blocked =
        conditions.find(|condition| condition.type_ == GOSSIP_REACHABLE && condition.status != "True")?;
    Some(format!("has no gossip: {}", blocked.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::LEASE;
    use serde_json::{Value, json};

    fn object<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).expect("an object")
    }

    fn pod(name: &str, status: &Value) -> Pod {
        object(
            json!({"metadata": {"name": name, "uid": name}, "spec": {"nodeName": "n", "containers": []}, "status": status}),
        )
    }

    fn ready(name: &str) -> Pod {
        pod(
            name,
            &json!({"conditions": [{"type": "Ready", "status": "True"}]}),
        )
    }

    fn lease(holder: &str, second: u32) -> Lease {
        let time = format!("2026-01-01T00:00:{second:02}.000000Z");
        object(json!({"metadata": {"name": LEASE}, "spec": {"holderIdentity": holder, "renewTime": time}}))
    }

    #[test]
    fn a_lease_counts_only_if_a_ready_controller_renews_it_during_the_check() {
        let pods = [ready("c"), pod("starting", &json!({}))];
        let table: [(&[Option<Lease>], &str); 7] = [
            (&[None, None], "nothing holds the Lease"),
            (
                &[Some(lease("", 0)), Some(lease("", 1))],
                "nothing holds the Lease",
            ),
            (
                &[Some(lease("gone", 0)), Some(lease("gone", 1))],
                "gone, which holds the Lease herald-controller, is not ready",
            ),
            (
                &[Some(lease("starting", 0)), Some(lease("starting", 1))],
                "starting, which holds",
            ),
            (&[Some(lease("c", 0))], "has not renewed"),
            (&[Some(lease("c", 0)), Some(lease("c", 0))], "has not renewed"),
            (
                &[
                    Some(lease("c", 0)),
                    Some(lease("c", 0)),
                    Some(lease("c", 1)),
                    Some(lease("c", 1)),
                ],
                "",
            ),
        ];
        for (seen, expected) in table {
            let mut check = LeaseCheck::new(LEASE);
            let faults: Vec<Option<String>> = seen
                .iter()
                .map(|lease| check.fault(lease.as_ref(), &pods))
                .collect();
            let last = faults.last().cloned().flatten().unwrap_or_default();
            assert!(
                last.contains(expected) && last.is_empty() == expected.is_empty(),
                "{last}, not {expected}"
            );
        }
    }

    fn state(owner: &str, gossip: Option<&str>) -> ConfigurationState {
        let conditions = gossip.map(|status| {
            json!({"type": GOSSIP_REACHABLE, "status": status, "reason": "R", "message": "UDP port 7946",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        });
        object(json!({
            "metadata": {"name": "s", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner}]},
            "status": {"result": "Valid", "conditions": conditions.iter().collect::<Vec<_>>()},
        }))
    }

    /// Pods, states, and the faults.
    type Case<'a> = (Vec<Pod>, Option<&'a [ConfigurationState]>, &'a str);

    #[test]
    fn each_speaker_must_be_ready_have_a_state_of_its_own_and_gossip() {
        let [speaker, other] = ["speaker", "other"].map(ready);
        let unready = pod(
            "unready",
            &json!({"conditions": [{"type": "Ready", "status": "False"}]}),
        );
        let evicted = pod("evicted", &json!({"phase": "Failed"}));
        let mut leaving = pod("leaving", &json!({}));
        leaving.metadata.deletion_timestamp = object(json!("2026-01-01T00:00:00Z"));
        let states = [state("speaker", Some("True")), state("other", None)];
        let [blocked, unreported] = [[state("speaker", Some("False"))], [state("other", None)]];
        let own = [speaker.clone()];
        let no_pod = "there is no Pod of a speaker";
        let cases: [Case<'_>; 7] = [
            (
                vec![speaker.clone(), other, evicted.clone(), leaving.clone()],
                Some(&states),
                "",
            ),
            (vec![evicted, leaving], Some(&states), no_pod),
            (vec![], None, no_pod),
            (
                vec![speaker, unready],
                Some(&states),
                "the speaker unready on node n is not ready",
            ),
            (
                own.to_vec(),
                Some(&unreported),
                "the speaker speaker on node n has written no ConfigurationState yet",
            ),
            (
                own.to_vec(),
                Some(&blocked),
                "the speaker speaker on node n has no gossip: UDP port 7946",
            ),
            (own.to_vec(), None, ""),
        ];
        for (pods, states, expected) in cases {
            assert_eq!(speaker_faults(&pods, states).join("; "), expected);
        }
    }
}

//! Beside MetalLB: whether its speakers run, and what their end will change.

use std::time::{Duration, Instant};

use herald_api::convert::MetalLbPod;
use herald_core::NodeName;
use herald_core::announce::agent::{Agent, ElectionDifference};
use k8s_openapi::jiff::Timestamp;
use tracing::{info, warn};

use super::Driver;
use crate::input::Awaiting;

/// Time between two comparisons of the elections: each decides on every Service.
const PERIOD: Duration = Duration::from_secs(30);
/// So many differences are logged; `/state` has all.
const LOGGED: usize = 5;

/// Whether MetalLB's speakers run, for a speaker that may run beside them.
#[derive(Debug)]
pub(super) struct BesideMetalLb {
    pub(super) is_running: bool,
    /// Whether there are Pods of MetalLB's speaker, ready or not.
    has_metallb: bool,
    /// Whether BGP is left to MetalLB on this node, once that is known.
    is_bgp_paused: Option<bool>,
    /// Whether a Pod of MetalLB's speaker was seen.
    was_seen: bool,
    /// The Pods that were logged last: none of them is ready, and they keep this speaker from electing as usual.
    leftover: Vec<String>,
    /// The differences between the elections that were logged last.
    logged: Option<Vec<ElectionDifference>>,
    next: Instant,
}

impl BesideMetalLb {
    /// Starts as if MetalLB's speakers run, until their Pods are listed.
    pub(super) fn start() -> Self {
        Self {
            is_running: true,
            has_metallb: true,
            is_bgp_paused: None,
            was_seen: false,
            leftover: Vec::new(),
            logged: None,
            next: Instant::now(),
        }
    }

    /// Takes the Pods of MetalLB's speaker that may run. Returns whether that begins or ends a time beside MetalLB: it begins with
    /// the first Pod that is ready, because a Pod that is not may never be, and ends with the last one.
    fn set_pods<'a>(&mut self, pods: impl Iterator<Item = (&'a str, &'a MetalLbPod)>) -> bool {
        let (mut is_any_ready, mut names) = (false, Vec::new());
        for (name, pod) in pods {
            is_any_ready |= pod.is_ready;
            names.push(name.to_owned());
        }
        self.was_seen |= !names.is_empty();
        let was_running = self.is_running;
        self.is_running = is_any_ready || was_running && !names.is_empty();
        let leftover = if self.is_running && !is_any_ready {
            names
        } else {
            Vec::new()
        };
        if self.leftover != leftover && !leftover.is_empty() {
            let pods = leftover.join(", ");
            warn!(
                pods,
                "no Pod of MetalLB's speaker is ready, but these exist: electing as MetalLB does, and writing nothing, until \
                 they are deleted"
            );
        }
        self.leftover = leftover;
        was_running != self.is_running
    }

    /// Logs what the end of MetalLB's speakers will change, if that is something else than before.
    fn log_differences(&mut self, agent: &Agent, now: Instant) {
        if !self.is_running || now < self.next {
            return;
        }
        self.next = now + PERIOD;
        let differences = agent.election_differences();
        if self.logged.as_ref() == Some(&differences) {
            return;
        }
        if differences.is_empty() {
            info!("without MetalLB the same nodes will be elected");
        } else {
            let count = differences.len();
            warn!(
                count,
                "without MetalLB other nodes will be elected for some addresses"
            );
        }
        let name = |node: &Option<NodeName>| {
            node.as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        for difference in differences.iter().take(LOGGED) {
            let (service, address) = (&difference.service, difference.address);
            let (beside, alone) = (name(&difference.beside), name(&difference.alone));
            warn!(%service, %address, beside, alone, "another node will be elected without MetalLB");
        }
        self.logged = Some(differences);
    }
}

impl Driver {
    /// Whether MetalLB's speakers run on these nodes, so that this one writes nothing.
    pub(super) fn is_beside_metallb(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.is_running)
    }

    /// Whether MetalLB's speaker answers on this node.
    pub(super) fn is_metallb_here(&self) -> bool {
        let mut pods = self.cluster.metallb(Timestamp::now());
        self.is_beside_metallb()
            && pods.any(|(_, pod)| pod.is_ready && pod.node.as_deref() == Some(self.node.as_str()))
    }

    /// Follows whether MetalLB's speakers run. Returns whether that has changed.
    pub(super) fn follow_metallb(&mut self) -> bool {
        let Some(beside) = &mut self.beside else {
            return false;
        };
        if self.awaited.contains(Awaiting::MetalLbPods) {
            return false;
        }
        let now = Timestamp::now();
        // A router sees both speakers of a node as one: the old one has to be gone before this one dials.
        let is_here = self.cluster.has_metallb_sessions(&self.node, now);
        if beside.is_bgp_paused.replace(is_here) != Some(is_here) {
            info!("a Pod of MetalLB's speaker or of frr-k8s on this node has the sessions of BGP: {is_here}");
        }
        self.agent.set_bgp_paused(is_here);
        let has_metallb = self.cluster.metallb(now).next().is_some();
        if std::mem::replace(&mut beside.has_metallb, has_metallb) != has_metallb {
            info!(
                "Pods of MetalLB's speaker exist: {has_metallb}; contradicting each claim at once: {has_metallb}"
            );
            self.agent.set_has_metallb(has_metallb);
        }
        if !beside.set_pods(self.cluster.metallb(now)) {
            return false;
        }
        let (is_running, was_seen) = (beside.is_running, beside.was_seen);
        self.agent.set_beside_metallb(is_running);
        self.handles.set_paused(is_running);
        if is_running {
            info!("running beside MetalLB: electing as it does, and writing nothing");
            self.handles.state.send_replace(None);
        } else {
            if was_seen {
                info!("no Pod of MetalLB's speaker is left: electing and writing as usual");
            } else {
                warn!(
                    "this namespace has no Pod with the labels of MetalLB's speaker \
                     (app.kubernetes.io/name=metallb and app.kubernetes.io/component=speaker, or app=metallb and component=speaker): \
                     electing and writing as usual"
                );
            }
            self.publish_state();
        }
        true
    }

    /// Logs what the end of MetalLB's speakers will change.
    pub(super) fn log_differences(&mut self) {
        if let Some(beside) = &mut self.beside
            && self.has_started
        {
            beside.log_differences(&self.agent, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_api::convert::metallb_pod;
    use serde_json::json;

    fn pod(is_ready: bool) -> MetalLbPod {
        let status = if is_ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"labels": {"app": "metallb", "component": "speaker"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        });
        metallb_pod(&serde_json::from_value(pod).expect("a Pod")).expect("one of MetalLB")
    }

    #[test]
    fn a_time_beside_metallb_begins_with_its_first_ready_pod_and_ends_with_its_last_pod() {
        let mut beside = BesideMetalLb::start();
        let steps: [(&[bool], bool, usize); 7] = [
            (&[false], true, 1),
            (&[false, true], true, 0),
            (&[false, false], true, 2),
            (&[], false, 0),
            (&[false], false, 0),
            (&[false, true], true, 0),
            (&[], false, 0),
        ];
        for (pods, is_running, leftover) in steps {
            let was_running = beside.is_running;
            let pods: Vec<_> = pods.iter().map(|is_ready| pod(*is_ready)).collect();
            let has_changed = beside.set_pods(["a", "b"].into_iter().zip(&pods));
            assert_eq!(has_changed, was_running != is_running);
            assert_eq!((beside.is_running, beside.leftover.len()), (is_running, leftover));
        }
    }
}

//! The one thing to do next about a Service: what stands in the way first.

use herald_core::ResourceKind;

use super::{AllocationExplanation, Next, ServiceExplanation};
use crate::cluster::{ClusterView, Program};
use crate::explain::announcement::{AddressAnnouncement, DECISIVE, Part, RouteLine};
use crate::model::Model;

impl ServiceExplanation {
    /// Returns the one thing to do next: what stands in the way first.
    pub(super) fn next(&self, cluster: &ClusterView, model: &Model) -> Next {
        let bad = |text: String| Next { is_well: false, text };
        // What follows from objects that are not known would be a guess.
        if let Some(absence) = cluster
            .absent(&DECISIVE)
            .or_else(|| cluster.absent(&["Namespace"]))
        {
            return bad(format!("unknown: {absence}"));
        }
        if let Some(not_handled) = &self.not_handled {
            return bad(not_handled.clone());
        }
        let mut controllers = cluster.installation.of(Program::Controller);
        if !controllers.clone().any(|pod| pod.is_ready) {
            let text = match controllers.next() {
                Some(pod) => format!(
                    "make a Pod of the controller ready ({} is not); nothing is decided until then",
                    pod.name
                ),
                None => "install the controller of Herald; nothing is decided without it".to_owned(),
            };
            return bad(text);
        }
        let Some(allocation) = &self.allocation else {
            return bad("wait for the controller; it has not decided yet".to_owned());
        };
        if let Some(problem) = self.mistake(allocation, model) {
            return bad(format!("correct {problem}"));
        }
        if let Some((_, message)) = &allocation.refusal {
            return bad(message.clone());
        }
        if self.addresses.is_empty() {
            return bad(format!(
                "look at the log of the controller: it should write {} to the status, and has not",
                allocation.addresses.join(", ")
            ));
        }
        if let Some(bad) = self.announcements.iter().find_map(AddressAnnouncement::next) {
            return Next {
                is_well: false,
                text: bad,
            };
        }
        if let Some((_, message)) = &allocation.caveat {
            return bad(message.clone());
        }
        let is_seen = self.announcements.iter().all(AddressAnnouncement::is_seen);
        let text = if self.unknown.is_empty() && is_seen {
            "nothing: it has its addresses, and they are announced"
        } else {
            "nothing, as far as is known"
        };
        Next {
            is_well: true,
            text: text.to_owned(),
        }
    }
}

impl ServiceExplanation {
    /// Returns the mistake in a resource that can be the cause of what stands in the way: of a resource with a mistake the last good
    /// version is in force, which is on no object.
    fn mistake(&self, allocation: &AllocationExplanation, model: &Model) -> Option<String> {
        let of = |kind| {
            let mut problems = model.catalog.problems().iter();
            problems
                .find(|problem| problem.kind == kind)
                .map(ToString::to_string)
        };
        let pool = || of(ResourceKind::Pool);
        let advertisement = || of(ResourceKind::L2Advertisement);
        if let Some((reason, _)) = &allocation.refusal {
            let is_of_pools = matches!(
                reason.as_str(),
                "NoPool"
                    | "NoPoolMatchesService"
                    | "PoolNotInForce"
                    | "PoolExhausted"
                    | "AddressOutsidePools"
            );
            return is_of_pools.then(pool).flatten();
        }
        let reasons = self.announcements.iter().filter_map(|one| one.excluded.as_ref());
        reasons
            .into_iter()
            .find_map(|excluded| match excluded.reason.as_str() {
                "AddressOutsidePools" => pool(),
                "NoCandidate" => advertisement(),
                "NoAdvertisement" => pool()
                    .or_else(advertisement)
                    .or_else(|| model.bgp.problems().first().map(ToString::to_string)),
                _ => None,
            })
    }
}

impl AddressAnnouncement {
    /// Whether it is known that it is announced.
    fn is_seen(&self) -> bool {
        let is_answered = self.answered_by.as_ref().is_some_and(|nodes| !nodes.is_empty());
        is_answered || !self.published_by.is_empty() || self.has_routes()
    }

    /// Returns what to do so that the address is announced; `None` if it is, as far as is known.
    fn next(&self) -> Option<String> {
        if self.has_routes() {
            return None;
        }
        let of = |text: &str| format!("{}: {text}", self.address);
        let waits = |route: &&RouteLine| !route.prefixes.is_empty();
        let is_by_bgp_alone = self
            .excluded
            .as_ref()
            .is_some_and(|excluded| excluded.reason == "NoAdvertisement");
        if is_by_bgp_alone && self.is_selected_by_bgp {
            return match self.routes.iter().find(waits) {
                Some(RouteLine { session: None, .. }) => None,
                Some(route) => Some(of(&format!(
                    "the session of {} with the BGPPeer {} is not established ({}); its BGPSessionState has the last error",
                    route.node,
                    route.peer.as_deref().unwrap_or_default(),
                    route.session.as_deref().unwrap_or_default()
                ))),
                None => {
                    let excluded = self.routes.iter().filter_map(|route| route.excluded.as_ref());
                    let mut advice = excluded
                        .map(|excluded| excluded.advice)
                        .filter(|advice| !advice.is_empty());
                    let otherwise = "create a BGPPeer that selects a node, for the BGPAdvertisement that selects the Service";
                    Some(of(advice.next().unwrap_or(otherwise)))
                }
            };
        }
        let mut by_node = self.nodes.iter().filter_map(|line| {
            let advice = line.excluded.as_ref()?.advice;
            (!advice.is_empty()).then(|| of(&format!("{}: {advice}", line.node)))
        });
        match &self.excluded {
            Some(excluded) if excluded.reason == "NoCandidate" => {
                return by_node.next().or_else(|| Some(of(excluded.advice)));
            }
            Some(excluded) => return Some(of(excluded.advice)),
            None => {}
        }
        let is_answered = self.answered_by.as_ref().is_some_and(|nodes| !nodes.is_empty());
        if is_answered || self.is_beside_metallb {
            return None;
        }
        if let Some(obstacle) = &self.obstacle {
            return Some(of(&format!(
                "the elected node reports {obstacle}; the condition herald.io/Announced of the Service has the details"
            )));
        }
        if !self.nodes.is_empty() && self.nodes.iter().all(|line| line.part == Part::Excluded) {
            return by_node.next();
        }
        let owner = self.nodes.iter().find(|line| line.part == Part::Owner);
        let owner = owner.filter(|_| self.answered_by.is_some())?;
        Some(of(&format!(
            "look at the log of the speaker on {}: it is elected and does not answer yet",
            owner.node
        )))
    }
}

//! The one thing to do next about a Service: what stands in the way first.

use super::{Next, ServiceExplanation};
use crate::cluster::{ClusterView, Program};
use crate::explain::announcement::{AddressAnnouncement, Part};

impl ServiceExplanation {
    /// Returns the one thing to do next: what stands in the way first.
    pub(super) fn next(&self, cluster: &ClusterView) -> Next {
        let bad = |text: String| Next { is_well: false, text };
        if let Some(not_handled) = &self.not_handled {
            return bad(not_handled.clone());
        }
        if let Some(absence) = cluster.objects.missing.get("IPAddressPool") {
            return bad(absence.to_string());
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
        let text = if self.unknown.is_empty() {
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

impl AddressAnnouncement {
    /// Returns what to do so that the address is announced; `None` if it is, as far as is known.
    fn next(&self) -> Option<String> {
        let is_answered = self.answered_by.as_ref().is_some_and(|nodes| !nodes.is_empty());
        let is_published = self.answered_by.is_none() && !self.published_by.is_empty();
        if is_answered || is_published || self.has_routes() {
            return None;
        }
        let of = |text: &str| format!("{}: {text}", self.address);
        if let Some(obstacle) = &self.obstacle {
            return Some(of(&format!(
                "the elected node reports {obstacle}; the condition herald.io/Announced of the Service has the details"
            )));
        }
        let excluded = self.nodes.iter().filter_map(|line| line.excluded.as_ref());
        let mut by_node = excluded.filter(|excluded| !excluded.advice.is_empty());
        match &self.excluded {
            Some(excluded) if excluded.reason == "NoCandidate" => {
                let advice = by_node.next().map_or(excluded.advice, |excluded| excluded.advice);
                return Some(of(advice));
            }
            Some(excluded) => return Some(of(excluded.advice)),
            None => {}
        }
        if self.nodes.iter().all(|line| line.part == Part::Excluded) {
            return by_node.next().map(|excluded| of(excluded.advice));
        }
        let owner = self.nodes.iter().find(|line| line.part == Part::Owner);
        let owner = owner.filter(|_| self.answered_by.is_some())?;
        Some(of(&format!(
            "look at the log of the speaker on {}: it is elected and does not answer yet",
            owner.node
        )))
    }
}

//! Gossip, held against what the wire and the API server say.

use std::collections::BTreeSet;

use herald_core::announce::layer2::reachability::Others;
use herald_core::member::reporter;
use herald_core::{Liveness, NodeName};

use super::Driver;

impl Driver {
    /// Peers may have found that this node does not answer on the wire. It cannot know better, so it says so itself: others
    /// are preferred then.
    pub(super) fn hear_of_silence(&mut self) {
        let reporter = reporter(&self.members, &self.node).cloned();
        let was_silent = std::mem::replace(&mut self.is_silent, reporter.is_some());
        if let Some(reporter) = reporter.filter(|_| !was_silent) {
            self.report_silence(&reporter);
            if let Some(gossip) = &self.parts.gossip {
                gossip.handle_reported_unresponsive();
            }
        }
    }

    /// Compares what gossip says with what the wire and the API server say, and tells by gossip who does not answer.
    pub(super) fn look_around(&mut self) {
        let Some(gossip) = &self.parts.gossip else {
            return;
        };
        let silent = self.holdings.silent();
        if !silent.iter().copied().eq(&self.silent) {
            self.silent = silent.into_iter().cloned().collect();
            gossip.set_unresponsive(self.silent.iter().map(NodeName::tag).collect());
        }
        if self.is_ready {
            let now = self.now();
            if std::mem::take(&mut self.is_reach_stale) {
                let before = self.reach.is_blocked();
                self.reach.set(self.others(), now);
                if self.reach.is_blocked() != before {
                    self.show_state();
                }
            }
            if let Some(is_blocked) = self.reach.poll_change(now) {
                self.report_reach(is_blocked);
            }
        }
    }

    fn others(&self) -> Others {
        let reached = self
            .members
            .iter()
            .filter(|member| member.liveness != Liveness::Down);
        let reached: BTreeSet<&NodeName> = reached.map(|member| &member.node).collect();
        let peers = self.peers.values().filter(|peer| peer.is_ready);
        let nodes = peers.filter_map(|peer| peer.at.as_ref()).map(|(node, _)| node);
        let ready: BTreeSet<&NodeName> = nodes.filter(|node| **node != self.node).collect();
        Others {
            reached: ready.intersection(&reached).count(),
            ready: ready.len(),
            heard: self.holdings.deferred(),
        }
    }
}

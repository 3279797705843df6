//! How a speaker stops.

use core::time::Duration;

use super::{Agent, AgentReport};
use crate::{NodeState, Time};

/// How long a speaker that stops keeps answering at most, after it has reported that it is draining: its successors need some
/// 150 ms to announce an address, or longer for many thousands of addresses. Less than the two seconds that MetalLB's
/// manifests grant a speaker.
pub const DRAIN_LIMIT: Duration = Duration::from_millis(1500);

impl Agent {
    /// Prepares the end of the speaker: successors announce first, then this node stops. If MetalLB goes on answering on this
    /// node, it stops at once. [`Self::has_stopped`] returns when. Routes are withdrawn at once: other nodes have the same ones, and
    /// this node serves what is on its way.
    pub fn handle_shutdown(&mut self, is_metallb_here: bool, now: Time) {
        let hands_over = self.options.has_gossip && !is_metallb_here;
        self.stop_at = Some(if hands_over { now + DRAIN_LIMIT } else { now });
        self.report(AgentReport::State(NodeState::Draining));
        self.bgp.withdraw_all(&self.facts);
    }

    /// Whether the speaker may end: it answers for no address, or its successors have had their time.
    pub fn has_stopped(&self, now: Time) -> bool {
        let is_over = |at: Time| at <= now || self.takeover.is_empty();
        self.stop_at.is_some_and(is_over)
    }
}

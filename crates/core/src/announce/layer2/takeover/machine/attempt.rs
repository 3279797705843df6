//! A take-over that other machines delay: what they did so far, and how long this node still waits.

use core::time::Duration;

use crate::announce::layer2::takeover::event::AddressEvent;
use crate::{MacAddr, NodeName, Time};

/// The conflict wait: how long machines that probe, or that answer with ever changing MAC addresses, can delay a take-over.
/// Several rounds of contention: a machine that is about to announce the address has done so by then. Short enough for
/// clients, because any machine on the segment can do this.
const CONFLICT_WAIT: Duration = Duration::from_secs(1);

/// How many MAC addresses are remembered to recognize a foreign host, which may answer from several interfaces.
const REMEMBERED: usize = 3;

/// What other machines did since this node first probed for the address.
#[derive(Debug)]
pub(super) struct TakeoverAttempt {
    /// When another machine first delayed the take-over; not yet while the minority waits for a lost peer.
    since: Option<Time>,
    /// When a foreign host first answered, and the MAC addresses of the last ones that did.
    answered_since: Option<Time>,
    answered: [Option<MacAddr>; REMEMBERED],
    /// The machine that was asked first which node it is.
    pub(super) identified: Option<MacAddr>,
    /// Since when machines are asked which nodes they are, although one of them would keep the address as a foreign host.
    pub(super) identifying_since: Option<Time>,
    /// Whether a contender was reported.
    pub(super) is_contention_reported: bool,
    /// The foreign host that keeps the address.
    pub(super) conflict: Option<Conflict>,
    /// The peer that is suspect or down and keeps the address.
    pub(super) deferral: Option<Deferral>,
    /// The living peer that keeps the address after a dispute.
    pub(super) lost_to: Option<NodeName>,
    /// The peer whose MetalLB may keep the address.
    pub(super) metallb: Option<MetalLbAnswer>,
    /// Since when a machine answers for a peer that is starting.
    pub(super) starting_since: Option<Time>,
}

/// A peer that is suspect or down and answers for the address.
#[derive(Debug)]
pub(super) struct Deferral {
    pub(super) node: NodeName,
    /// Since when this peer, or others before it, keep the address.
    pub(super) since: Time,
    /// Whether users were told that the address is not announced.
    pub(super) is_delay_reported: bool,
}

/// The node of a peer answers beside MetalLB.
#[derive(Debug)]
pub(super) struct MetalLbAnswer {
    pub(super) node: NodeName,
    /// Whether it was reported that MetalLB answers there.
    pub(super) is_reported: bool,
}

/// A foreign host that keeps the address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conflict {
    pub(super) mac: MacAddr,
    /// How often a foreign host has answered after the first time.
    pub(super) repeats: usize,
    /// When the MAC address was reported.
    pub(super) reported: Time,
}

impl TakeoverAttempt {
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            answered_since: None,
            answered: [None; REMEMBERED],
            identified: None,
            identifying_since: None,
            is_contention_reported: false,
            conflict: None,
            deferral: None,
            lost_to: None,
            metallb: None,
            starting_since: None,
        }
    }

    /// Returns what users should know while the address is not announced.
    pub(super) fn obstacle(&self) -> Option<AddressEvent> {
        if let Some(conflict) = self.conflict {
            return Some(AddressEvent::Conflict(conflict.mac));
        }
        if let Some(node) = &self.lost_to {
            return Some(AddressEvent::Disputed(node.clone()));
        }
        if let Some(answer) = self.metallb.as_ref().filter(|answer| answer.is_reported) {
            return Some(AddressEvent::AnsweredByMetalLb(answer.node.clone()));
        }
        let delay = self
            .deferral
            .as_ref()
            .filter(|deferral| deferral.is_delay_reported);
        delay.map(|deferral| AddressEvent::Delayed(deferral.node.clone()))
    }

    /// Returns how much is left of the conflict wait, which begins with the first machine that delays the take-over.
    pub(super) fn wait_left(&mut self, now: Time) -> Duration {
        (*self.since.get_or_insert(now) + CONFLICT_WAIT).saturating_since(now)
    }

    /// Records that a lost peer delays the take-over. The majority does not wait for it and then for others; the minority may
    /// wait for very long, and contends with the others after that.
    pub(super) fn handle_deferral(&mut self, is_minority: bool, now: Time) {
        if is_minority {
            (self.since, self.answered_since, self.identified) = (None, None, None);
        } else {
            self.since.get_or_insert(now);
        }
    }

    /// Records that a foreign host answered. Returns whether its MAC address is stable: it has answered before.
    pub(super) fn handle_foreign_answer(&mut self, mac: MacAddr, now: Time) -> bool {
        self.answered_since.get_or_insert(now);
        let is_stable = self.answered.contains(&Some(mac));
        if !is_stable {
            self.answered.rotate_right(1);
            self.answered[0] = Some(mac);
        }
        is_stable
    }

    /// Returns how long foreign hosts without a stable MAC address can still delay the take-over by answers.
    pub(super) fn answers_left(&self, now: Time) -> Duration {
        let since = self.answered_since.unwrap_or(now);
        (since + CONFLICT_WAIT).saturating_since(now)
    }
}

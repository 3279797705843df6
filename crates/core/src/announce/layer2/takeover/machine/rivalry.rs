//! What the node that answers for an address knows of peers that claim it, too.

use core::time::Duration;

use crate::{MacAddr, NodeName, Time};

/// How long two peers must both say that they announce an address before it is a dispute. Two views of the cluster agree
/// within less time, and a node that hands an address over says that it does not announce it.
pub(super) const DISPUTE_TIME: Duration = Duration::from_secs(4);

/// Pause between two queries in a dispute, and the pause after one that was not answered.
const QUERY_PAUSE: Duration = Duration::from_secs(2);
const QUERY_RETRY: Duration = Duration::from_secs(1);

/// A reply that old says nothing about now.
pub(super) const REPLY_VALIDITY: Duration = Duration::from_secs(5);

/// Shortest times between two queries about the claims of one peer, and of any.
const CLAIMANT_INTERVAL: Duration = Duration::from_secs(1);
const QUERY_INTERVAL: Duration = Duration::from_millis(100);

/// After it left an address to a lost peer that was not there, this node does so at most once in this time. Any machine can
/// make that claim.
const YIELD_INTERVAL: Duration = Duration::from_secs(60);

/// Shortest time between two reports of claims by foreign hosts.
const CHALLENGE_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time between two other reports of an address.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The peers that claim an active address.
#[derive(Debug, Default)]
pub(super) struct Rivalry {
    /// The living peer that says that it announces the address.
    dispute: Option<Dispute>,
    /// The peer that was asked last, the MAC address of its claim, and when.
    asked: Option<(NodeName, MacAddr, Time)>,
    /// Whether the address was left to a lost peer, until this node has seen whether any machine is there.
    pub(super) is_yielding: bool,
    /// When this node found that no machine was there that it could leave the address to.
    yielded_in_vain: Option<Time>,
    /// When claims of a foreign host, claims with the MAC address of a peer, and a dispute were last reported.
    challenged: Option<Time>,
    forged: Option<Time>,
    disputed: Option<Time>,
}

/// Both this node and a living peer say that they announce the address.
#[derive(Debug)]
pub(super) struct Dispute {
    pub(super) peer: NodeName,
    /// When the peer said so first and last.
    since: Time,
    last: Time,
}

/// What follows from a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DisputeStage {
    /// The peer does not announce the address.
    None,
    /// Ask again at this time.
    Claimed(Time),
    /// The peer has announced the address for [`DISPUTE_TIME`].
    Proven,
}

impl Rivalry {
    /// Whether to ask a living peer that claims the address now.
    pub(super) fn may_ask(&self, peer: &NodeName, now: Time) -> bool {
        self.asked.as_ref().is_none_or(|(last, _, at)| {
            let pause = if last == peer {
                CLAIMANT_INTERVAL
            } else {
                QUERY_INTERVAL
            };
            now.saturating_since(*at) >= pause
        })
    }

    /// Records that a peer was asked because of a claim with this MAC address.
    pub(super) fn handle_asked(&mut self, peer: &NodeName, mac: MacAddr, now: Time) {
        self.asked = Some((peer.clone(), mac, now));
    }

    /// Returns the MAC address of the claim that a peer was last asked about, and when.
    pub(super) fn claimed_by(&self, peer: &NodeName) -> Option<(MacAddr, Time)> {
        let asked = self.asked.as_ref().filter(|(asked, ..)| asked == peer);
        asked.map(|(_, mac, at)| (*mac, *at))
    }

    /// Records whether a living peer says that it announces the address.
    pub(super) fn handle_reply(&mut self, peer: &NodeName, announces: bool, now: Time) -> DisputeStage {
        let current = self.dispute.take();
        let is_same = current.as_ref().is_some_and(|dispute| dispute.peer == *peer);
        if !announces {
            self.dispute = current.filter(|_| !is_same);
            return DisputeStage::None;
        }
        let is_continued = |dispute: &Dispute| now.saturating_since(dispute.last) <= REPLY_VALIDITY;
        let since = match current {
            Some(dispute) if is_continued(&dispute) && dispute.peer < *peer => {
                // Of several peers only the first by name matters: all others stop for it, as this node may have to.
                let stage = DisputeStage::Claimed(dispute.last + QUERY_PAUSE);
                self.dispute = Some(dispute);
                return stage;
            }
            Some(dispute) if is_continued(&dispute) && is_same => dispute.since,
            Some(_) | None => now,
        };
        if now.saturating_since(since) >= DISPUTE_TIME {
            return DisputeStage::Proven;
        }
        self.dispute = Some(Dispute {
            peer: peer.clone(),
            since,
            last: now,
        });
        DisputeStage::Claimed((now + QUERY_PAUSE).min(since + DISPUTE_TIME))
    }

    /// Returns the peer to ask in a dispute, and when to ask again if it does not reply. A peer that does not reply for long
    /// ends the dispute.
    pub(super) fn poll_dispute(&mut self, now: Time) -> Option<(NodeName, Time)> {
        let is_current = |dispute: &Dispute| now.saturating_since(dispute.last) <= REPLY_VALIDITY;
        self.dispute = self.dispute.take().filter(is_current);
        let dispute = self.dispute.as_ref()?;
        Some((dispute.peer.clone(), now + QUERY_RETRY))
    }

    /// Records what the first probe after this node left the address has shown: whether any machine is there.
    pub(super) fn handle_yielded(&mut self, is_there: bool, now: Time) {
        if core::mem::take(&mut self.is_yielding) && !is_there {
            self.yielded_in_vain = Some(now);
        }
    }

    /// Whether this node may leave the address to a lost peer that has not replied.
    pub(super) fn may_yield(&self, now: Time) -> bool {
        is_due(self.yielded_in_vain, YIELD_INTERVAL, now)
    }

    /// Whether to report the claim of a foreign host.
    pub(super) fn poll_challenge(&mut self, now: Time) -> bool {
        poll(&mut self.challenged, CHALLENGE_INTERVAL, now)
    }

    /// Whether to report that a machine claims the address with the MAC address of a peer.
    pub(super) fn poll_forged(&mut self, now: Time) -> bool {
        poll(&mut self.forged, REPORT_INTERVAL, now)
    }

    /// Whether to report a dispute.
    pub(super) fn poll_disputed(&mut self, now: Time) -> bool {
        poll(&mut self.disputed, REPORT_INTERVAL, now)
    }
}

fn is_due(last: Option<Time>, interval: Duration, now: Time) -> bool {
    last.is_none_or(|last| now.saturating_since(last) >= interval)
}

fn poll(last: &mut Option<Time>, interval: Duration, now: Time) -> bool {
    let is_due = is_due(*last, interval, now);
    if is_due {
        *last = Some(now);
    }
    is_due
}

//! Sealed queries: does a peer announce an address?
//!
//! Any machine on the segment can use the MAC address of a peer. A sealed reply can only come from the peer itself, so it
//! decides where frames cannot: whether a peer that gossip has lost can be reached after all, and whether a living peer that
//! seems to claim an address really does.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::{Allowance, NodeName, Time};

/// How long a reply proves that a peer can be reached: some queries may get lost.
const PROOF_VALIDITY: Duration = Duration::from_secs(3);

/// After so long without a reply to several queries, a peer that gossip has lost as well counts as dead. With the suspicion
/// and the probe of the address, a take-over ends within three seconds of a death whatever frames arrive.
pub const REPLY_LIMIT: Duration = Duration::from_millis(1500);

/// A query that was sent so long ago says nothing about now.
const QUERY_VALIDITY: Duration = Duration::from_secs(5);

/// Shortest time between two queries whether a lost peer can be reached. One reply counts for all addresses.
const REACH_INTERVAL: Duration = Duration::from_millis(300);

/// Limits of the queries to living peers, for all addresses: about claims forty at once and then forty a second, in disputes
/// twenty. Claims can be forged, and forged ones do not keep disputes from their end. Membership sends no more than a hundred.
const CLAIMS: Allowance = Allowance::new(40, Duration::from_millis(25));
const DISPUTES: Allowance = Allowance::new(20, Duration::from_millis(50));

/// What queries have shown of the peers, and when others may be sent.
#[derive(Debug)]
pub(super) struct PeerQueries {
    peers: BTreeMap<NodeName, Asked>,
    claims: Allowance,
    disputes: Allowance,
}

/// The last queries to a peer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The first query that is not answered, and how many there are.
    unanswered_since: Time,
    unanswered: u32,
    last: Time,
    replied: Option<Time>,
}

impl PeerQueries {
    /// Starts without any query.
    pub(super) const fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            claims: CLAIMS,
            disputes: DISPUTES,
        }
    }

    /// Forgets all peers but these.
    pub(super) fn retain(&mut self, is_member: impl Fn(&NodeName) -> bool) {
        self.peers.retain(|peer, _| is_member(peer));
    }

    /// Whether to ask a lost peer now, to find out whether it can be reached; it then counts as asked.
    pub(super) fn poll_reach(&mut self, peer: &NodeName, now: Time) -> bool {
        let before = self.peers.get(peer);
        let is_due = before.is_none_or(|asked| now.saturating_since(asked.last) >= REACH_INTERVAL);
        if is_due {
            self.handle_asked(peer, now);
        }
        is_due
    }

    /// Whether to ask a peer about a claim now; it then counts as asked.
    pub(super) fn poll_claim(&mut self, peer: &NodeName, now: Time) -> bool {
        let is_allowed = self.claims.poll_use(now);
        if is_allowed {
            self.handle_asked(peer, now);
        }
        is_allowed
    }

    /// Whether to ask the other side of a dispute now; it then counts as asked.
    pub(super) fn poll_dispute(&mut self, peer: &NodeName, now: Time) -> bool {
        let is_allowed = self.disputes.poll_use(now);
        if is_allowed {
            self.handle_asked(peer, now);
        }
        is_allowed
    }

    fn handle_asked(&mut self, peer: &NodeName, now: Time) {
        let before = self.peers.get(peer).copied();
        let current =
            before.filter(|asked| asked.unanswered > 0 && now.saturating_since(asked.last) < QUERY_VALIDITY);
        let asked = Asked {
            unanswered_since: current.map_or(now, |asked| asked.unanswered_since),
            unanswered: current.map_or(0, |asked| asked.unanswered).saturating_add(1),
            last: now,
            replied: before.and_then(|asked| asked.replied),
        };
        self.peers.insert(peer.clone(), asked);
    }

    /// Records a reply of a peer.
    pub(super) fn handle_reply(&mut self, peer: &NodeName, now: Time) {
        if let Some(asked) = self.peers.get_mut(peer) {
            asked.unanswered = 0;
            asked.replied = Some(now);
        }
    }

    /// Whether a peer has replied lately.
    pub(super) fn is_reached(&self, peer: &NodeName, now: Time) -> bool {
        let replied = self.peers.get(peer).and_then(|asked| asked.replied);
        replied.is_some_and(|at| now.saturating_since(at) <= PROOF_VALIDITY)
    }

    /// Whether a peer has not replied to several queries for [`REPLY_LIMIT`].
    pub(super) fn is_unreachable(&self, peer: &NodeName, now: Time) -> bool {
        self.peers.get(peer).is_some_and(|asked| {
            let is_current = now.saturating_since(asked.last) < QUERY_VALIDITY;
            let waited = now.saturating_since(asked.unanswered_since);
            asked.unanswered > 1 && is_current && waited >= REPLY_LIMIT
        })
    }
}

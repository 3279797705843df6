//! Reachability: detects blocked gossip by comparing membership with ready Pods and with peers seen on the wire.

use core::time::Duration;

use crate::Time;

/// How long a peer may answer on the wire while it is down by membership. News of its death or return arrives within
/// seconds.
const ANSWERING_LIMIT: Duration = Duration::from_secs(5);

/// How long most ready Pods may be out of reach. The API server considers the Pods of a dead node ready for some fifty
/// seconds (`--node-monitor-grace-period`), so readiness counts only after that.
const READY_LIMIT: Duration = Duration::from_secs(70);

/// How many peers exist by which evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCounts {
    /// Peers whose Pods are ready.
    pub ready: usize,
    /// The ready peers that gossip reaches.
    pub reached: usize,
    /// Peers that are down by membership and answer on the wire.
    pub answering: usize,
}

/// Decides whether gossip is blocked: filtered, or sealed with another key. Exactly one task owns it.
#[derive(Debug, Default)]
pub struct Reachability {
    /// Since when a peer answers that gossip does not reach.
    answering_since: Option<Time>,
    /// Since when gossip reaches only a minority.
    isolated_since: Option<Time>,
    is_blocked: bool,
    /// Whether gossip was blocked once, or has reached all peers.
    is_known: bool,
}

impl Reachability {
    /// Replaces the counts.
    pub fn set(&mut self, counts: PeerCounts, now: Time) {
        let since = |is_so: bool, before: Option<Time>| is_so.then(|| before.unwrap_or(now));
        self.is_known |= counts.reached >= counts.ready;
        self.answering_since = since(counts.answering > 0, self.answering_since);
        self.isolated_since = since(counts.reached * 2 < counts.ready, self.isolated_since);
    }

    /// Whether gossip was blocked at the last [`Self::poll_change`]; `None` as long as a speaker that has just started cannot
    /// know.
    pub fn is_blocked(&self) -> Option<bool> {
        (self.is_blocked || self.is_known).then_some(self.is_blocked)
    }

    /// Returns whether gossip is blocked, if that has changed.
    pub fn poll_change(&mut self, now: Time) -> Option<bool> {
        let is_blocked = self.deadlines().any(|at| at <= now);
        self.is_known |= is_blocked;
        (core::mem::replace(&mut self.is_blocked, is_blocked) != is_blocked).then_some(is_blocked)
    }

    /// Returns when gossip will be blocked, if nothing changes.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines().min().filter(|_| !self.is_blocked)
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        let answering = self.answering_since.map(|since| since + ANSWERING_LIMIT);
        let isolated = self.isolated_since.map(|since| since + READY_LIMIT);
        answering.into_iter().chain(isolated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn counts(ready: usize, reached: usize, answering: usize) -> PeerCounts {
        PeerCounts {
            ready,
            reached,
            answering,
        }
    }

    /// Returns the changes with their seconds, when each of these counts is set at its second.
    fn changes(course: &[(u64, PeerCounts)]) -> Vec<(u64, bool)> {
        let mut reachability = Reachability::default();
        let mut changes = Vec::new();
        for second in 0..300 {
            let now = Time::since_zero(Duration::from_secs(second));
            for (_, counts) in course.iter().filter(|(at, _)| *at == second) {
                reachability.set(*counts, now);
            }
            let is_due = reachability.poll_timeout().is_some_and(|due| due <= now);
            let change = reachability.poll_change(now);
            assert!(change != Some(true) || is_due);
            changes.extend(change.map(|blocked| (second, blocked)));
        }
        changes
    }

    #[test]
    fn a_peer_that_answers_on_the_wire_shows_blocked_gossip_within_seconds() {
        let course = [(0, counts(2, 2, 0)), (10, counts(2, 0, 1)), (30, counts(2, 2, 0))];
        assert_eq!(changes(&course), [(15, true), (30, false)]);
    }

    #[test]
    fn a_peer_that_is_only_ready_by_the_api_server_shows_blocked_gossip_after_the_grace_period() {
        let cut_off = [(0, counts(2, 0, 0)), (100, counts(2, 1, 0))];
        assert_eq!(changes(&cut_off), [(70, true), (100, false)]);
        let died = [(10, counts(2, 0, 0)), (60, counts(0, 0, 0))];
        assert_eq!(changes(&died), []);
    }

    #[test]
    fn gossip_that_reaches_a_majority_or_has_no_peer_to_reach_is_not_blocked() {
        for healthy in [counts(0, 0, 0), counts(1, 1, 0), counts(3, 2, 0), counts(2, 1, 0)] {
            assert_eq!(changes(&[(0, healthy)]), []);
        }
    }
}

//! When this member announces itself to which peers, and when joining is over.
//!
//! foca alone is not enough: a member without peers has no timers, so two survivors of a partition can wait for
//! each other forever. Kubernetes names the expected peers, and this member announces itself repeatedly to those that are
//! missing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Bound;
use core::time::Duration;

use herald_core::{NodeName, Time};

use super::swim::Connection;

/// Between rounds of announcements to missing peers.
const PERIOD: Duration = Duration::from_secs(1);

/// Between rounds while joining, so that a lost datagram costs little of the join timeout.
const JOIN_PERIOD: Duration = Duration::from_millis(200);

/// After the loss of all peers or of the identity the next round comes early, but never sooner than this after the last:
/// two members that drop each other must not do so at the speed of the wire.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Announcements in one batch. Each is answered by a datagram of up to 1403 bytes; more at a time would overrun
/// the socket's receive buffer in a large cluster.
const BATCH: usize = 64;

/// Between the batches of a round.
const BATCH_PERIOD: Duration = Duration::from_millis(50);

/// How long joining goes on after the first answer, for the answers of the other peers. Answers to a round arrive within
/// milliseconds; this also spans one more round.
const GRACE: Duration = Duration::from_millis(250);

/// The rounds of announcements, and the progress of joining.
pub(super) struct JoinRounds {
    next: Option<Time>,
    last: Option<Time>,
    cursor: Option<NodeName>,
    /// Announcements left in the present round, which is sent in batches.
    left: usize,
    connection: Connection,
    phase: JoinPhase,
    join_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPhase {
    /// The expected peers are not known yet.
    Unstarted,
    /// Over at `deadline` at the latest; `answered` is when the first peer answered an announcement.
    Joining {
        deadline: Time,
        answered: Option<Time>,
    },
    Over,
}

impl JoinRounds {
    pub(super) fn new(join_timeout: Duration) -> Self {
        Self {
            next: None,
            last: None,
            cursor: None,
            left: 0,
            connection: Connection::Isolated,
            phase: JoinPhase::Unstarted,
            join_timeout,
        }
    }

    /// Begins a round at once, as the expected peers became known or changed.
    pub(super) fn handle_peers(&mut self, now: Time) {
        if self.phase == JoinPhase::Unstarted {
            let deadline = now + self.join_timeout;
            let answered = None;
            self.phase = JoinPhase::Joining { deadline, answered };
        }
        self.hurry(now);
    }

    /// Records whether a peer knows this member.
    pub(super) fn handle_connection(&mut self, connection: Connection, now: Time) {
        self.connection = connection;
        if connection == Connection::Isolated && self.next.is_some() {
            self.hurry(now);
        }
    }

    /// Records that a peer answered an announcement.
    pub(super) fn handle_answer(&mut self, now: Time) {
        if let JoinPhase::Joining { answered, .. } = &mut self.phase {
            answered.get_or_insert(now);
        }
    }

    /// Ends joining if no peer is `missing`, or some time after the first answer, or at the timeout.
    pub(super) fn handle_missing(&mut self, missing: usize, now: Time) {
        if let JoinPhase::Joining { deadline, answered } = self.phase {
            let is_grace_over = answered.is_some_and(|answered| now >= answered + GRACE);
            if missing == 0 || is_grace_over || now >= deadline {
                self.phase = JoinPhase::Over;
            }
        }
    }

    /// Whether joining is over.
    pub(super) fn joined(&self) -> bool {
        self.phase == JoinPhase::Over
    }

    /// Whether no peer knows the present identity, so that all peers need an announcement.
    pub(super) fn is_isolated(&self) -> bool {
        self.connection == Connection::Isolated
    }

    /// When the next round is due or joining ends.
    pub(super) fn next_due(&self) -> Option<Time> {
        let join = match self.phase {
            JoinPhase::Joining { deadline, answered } => {
                Some(answered.map_or(deadline, |answered| deadline.min(answered + GRACE)))
            }
            JoinPhase::Unstarted | JoinPhase::Over => None,
        };
        self.next.into_iter().chain(join).min()
    }

    /// Returns the nodes of `missing` to announce to, if a round is due.
    pub(super) fn poll_round(
        &mut self,
        missing: &BTreeMap<NodeName, SocketAddr>,
        now: Time,
    ) -> Vec<NodeName> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        if self.left == 0 {
            self.left = missing.len();
        }
        let batch = self.take_batch(missing);
        self.left = self.left.min(missing.len()) - batch.len();
        let pause = match (self.left, self.joined()) {
            (1.., _) => BATCH_PERIOD,
            (0, true) => PERIOD,
            (0, false) => JOIN_PERIOD,
        };
        self.last = Some(now);
        self.next = Some(now + pause);
        batch
    }

    /// Takes the next nodes of `missing` after the cursor, and goes on at the first one after the last one.
    fn take_batch(&mut self, missing: &BTreeMap<NodeName, SocketAddr>) -> Vec<NodeName> {
        let after = match &self.cursor {
            Some(cursor) => (Bound::Excluded(cursor.clone()), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let batch: Vec<NodeName> = missing
            .range(after)
            .chain(missing)
            .take(missing.len().min(self.left).min(BATCH))
            .map(|(node, _)| node.clone())
            .collect();
        self.cursor = batch.last().cloned();
        batch
    }

    /// Makes the next round due as soon as the last one permits.
    fn hurry(&mut self, now: Time) {
        let earliest = self.last.map_or(now, |last| now.max(last + MIN_PERIOD));
        self.next = Some(self.next.map_or(earliest, |next| next.min(earliest)));
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use herald_fixtures::at;

    use super::*;

    fn missing(count: usize) -> BTreeMap<NodeName, SocketAddr> {
        let address = SocketAddr::from(([10, 0, 0, 1], 7946));
        let name = |i| NodeName::new(format!("node-{i:04}"));
        (0..count).map(|i| (name(i), address)).collect()
    }

    /// Returns when announcements were sent up to `end`, and how many.
    fn sent_until(rounds: &mut JoinRounds, missing: usize, end: Time) -> Vec<(Time, usize)> {
        let missing = self::missing(missing);
        let mut sent = Vec::new();
        while let Some(due) = rounds.next_due().filter(|due| *due <= end) {
            rounds.handle_missing(missing.len(), due);
            let round = rounds.poll_round(&missing, due);
            if !round.is_empty() {
                sent.push((due, round.len()));
            }
        }
        sent
    }

    #[test]
    fn rounds_are_frequent_while_joining_and_once_a_second_after_that() {
        let mut rounds = JoinRounds::new(Duration::from_millis(500));
        assert_eq!(rounds.next_due(), None);
        rounds.handle_peers(at(0));
        let sent = sent_until(&mut rounds, 2, at(3000));
        let expected = [0, 200, 400, 600, 1600, 2600].map(|millis| (at(millis), 2));
        assert_eq!(sent, expected);
        assert!(rounds.joined());
    }

    #[test]
    fn many_peers_are_announced_to_in_batches_each_once_a_round() {
        let mut rounds = JoinRounds::new(Duration::ZERO);
        rounds.handle_peers(at(0));
        let missing = missing(150);
        let mut announced = BTreeMap::<NodeName, u32>::new();
        for due in [0, 50, 100].map(at) {
            rounds.handle_missing(missing.len(), due);
            for node in rounds.poll_round(&missing, due) {
                *announced.entry(node).or_default() += 1;
            }
        }
        assert_eq!(announced.len(), 150);
        assert!(announced.values().all(|times| *times == 1));
        assert_eq!(rounds.next_due(), Some(at(1100)));
    }

    #[test]
    fn a_member_that_loses_all_peers_announces_soon_but_never_in_a_storm() {
        let mut rounds = JoinRounds::new(Duration::ZERO);
        rounds.handle_peers(at(0));
        let mut sent = 0;
        for millis in 0..1000 {
            rounds.handle_connection(Connection::Isolated, at(millis));
            sent += rounds.poll_round(&missing(1), at(millis)).len();
        }
        assert_eq!(sent, 10);
    }

    #[test]
    fn joining_waits_for_slower_peers_but_not_for_long() {
        let mut rounds = JoinRounds::new(Duration::from_secs(1));
        rounds.handle_peers(at(0));
        rounds.handle_missing(2, at(3));
        rounds.handle_answer(at(3));
        rounds.handle_missing(1, at(4));
        assert!(!rounds.joined());
        rounds.handle_missing(1, at(3) + GRACE);
        assert!(rounds.joined());
    }
}

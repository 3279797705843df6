//! When to announce ourselves to whom, and when joining is over.
//!
//! foca alone is not enough: a member without peers has no timers, so two survivors of a partition can wait for
//! each other for ever. Kubernetes says whom to expect, and whoever of those is not there is announced to again
//! and again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use herald_core::{NodeName, Time};

use super::effects::Connection;

/// Between rounds of announcements to those who are missing.
const PERIOD: Duration = Duration::from_secs(1);

/// Between rounds while joining, so that a lost datagram costs little of the join time-out.
const JOIN_PERIOD: Duration = Duration::from_millis(200);

/// After losing all peers or our identity the next round comes early, but never sooner than this after the last:
/// two members that disown each other must not do so at the speed of the wire.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Announcements in one batch. Each is answered by a datagram of up to 1400 bytes; more at a time would overrun
/// the socket's receive buffer in a large cluster.
const BATCH: usize = 64;

/// Between the batches of a round.
const BATCH_PERIOD: Duration = Duration::from_millis(50);

/// How long after the first answer the others may come in before joining is over. Answers to a round come within
/// milliseconds; this also spans one more round.
const SETTLE: Duration = Duration::from_millis(250);

/// Decides when the next round of announcements is due and tracks joining.
pub(super) struct Announcer {
    next: Option<Time>,
    last: Option<Time>,
    cursor: Option<NodeName>,
    /// How many are still to come in the present round, which goes out in batches.
    left: usize,
    connection: Connection,
    join: Join,
    join_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// We do not know yet whom to expect.
    Unasked,
    /// Over at `deadline` at the latest; `answered` once somebody answered an announcement.
    Asking {
        deadline: Time,
        answered: Option<Time>,
    },
    Over,
}

impl Announcer {
    pub(super) fn new(join_timeout: Duration) -> Self {
        Self {
            next: None,
            last: None,
            cursor: None,
            left: 0,
            connection: Connection::Alone,
            join: Join::Unasked,
            join_timeout,
        }
    }

    /// Whom to expect became known or changed: announce at once.
    pub(super) fn handle_peers(&mut self, now: Time) {
        if self.join == Join::Unasked {
            let deadline = now + self.join_timeout;
            let answered = None;
            self.join = Join::Asking { deadline, answered };
        }
        self.hurry(now);
    }

    pub(super) fn handle_connection(&mut self, connection: Connection, now: Time) {
        self.connection = connection;
        if connection == Connection::Alone && self.next.is_some() {
            self.hurry(now);
        }
    }

    /// Somebody answered an announcement.
    pub(super) fn handle_answer(&mut self, now: Time) {
        if let Join::Asking { answered, .. } = &mut self.join {
            answered.get_or_insert(now);
        }
    }

    /// Joining ends when nobody is `missing`, some time after the first answer, or at its time-out.
    pub(super) fn handle_missing(&mut self, missing: usize, now: Time) {
        if let Join::Asking { deadline, answered } = self.join {
            let settled = answered.is_some_and(|answered| now >= answered + SETTLE);
            if missing == 0 || settled || now >= deadline {
                self.join = Join::Over;
            }
        }
    }

    pub(super) fn joined(&self) -> bool {
        self.join == Join::Over
    }

    /// Nobody knows our present identity, so everybody is to be announced to.
    pub(super) fn is_alone(&self) -> bool {
        self.connection == Connection::Alone
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        let join = match self.join {
            Join::Asking { deadline, answered } => {
                Some(answered.map_or(deadline, |answered| deadline.min(answered + SETTLE)))
            }
            Join::Unasked | Join::Over => None,
        };
        self.next.into_iter().chain(join).min()
    }

    /// Those of `missing` to announce to now, if a round is due.
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

    /// The next of `missing` after the cursor, around the end if need be.
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

    fn hurry(&mut self, now: Time) {
        let earliest = self.last.map_or(now, |last| now.max(last + MIN_PERIOD));
        self.next = Some(self.next.map_or(earliest, |next| next.min(earliest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(count: usize) -> BTreeMap<NodeName, SocketAddr> {
        let address = SocketAddr::from(([10, 0, 0, 1], 7946));
        let name = |i| NodeName::new(format!("node-{i:04}"));
        (0..count).map(|i| (name(i), address)).collect()
    }

    fn at(millis: u64) -> Time {
        Time::since_zero(Duration::from_millis(millis))
    }

    /// When announcements went out up to `end`, and how many.
    fn rounds(announcer: &mut Announcer, missing: usize, end: Time) -> Vec<(Time, usize)> {
        let missing = self::missing(missing);
        let mut rounds = Vec::new();
        while let Some(due) = announcer.next_due().filter(|due| *due <= end) {
            announcer.handle_missing(missing.len(), due);
            let round = announcer.poll_round(&missing, due);
            if !round.is_empty() {
                rounds.push((due, round.len()));
            }
        }
        rounds
    }

    #[test]
    fn it_announces_often_while_joining_and_once_a_second_after_that() {
        let mut announcer = Announcer::new(Duration::from_millis(500));
        assert_eq!(announcer.next_due(), None);
        announcer.handle_peers(at(0));
        let rounds = rounds(&mut announcer, 2, at(3000));
        let expected = [0, 200, 400, 600, 1600, 2600].map(|millis| (at(millis), 2));
        assert_eq!(rounds, expected);
        assert!(announcer.joined());
    }

    #[test]
    fn many_are_announced_to_in_batches_each_once_a_round() {
        let mut announcer = Announcer::new(Duration::ZERO);
        announcer.handle_peers(at(0));
        let missing = missing(150);
        let mut told = BTreeMap::<NodeName, u32>::new();
        for due in [0, 50, 100].map(at) {
            announcer.handle_missing(missing.len(), due);
            for node in announcer.poll_round(&missing, due) {
                *told.entry(node).or_default() += 1;
            }
        }
        assert_eq!(told.len(), 150);
        assert!(told.values().all(|times| *times == 1));
        assert_eq!(announcer.next_due(), Some(at(1100)));
    }

    #[test]
    fn who_loses_everybody_announces_soon_but_never_in_a_storm() {
        let mut announcer = Announcer::new(Duration::ZERO);
        announcer.handle_peers(at(0));
        let mut sent = 0;
        for millis in 0..1000 {
            announcer.handle_connection(Connection::Alone, at(millis));
            sent += announcer.poll_round(&missing(1), at(millis)).len();
        }
        assert_eq!(sent, 10);
    }

    #[test]
    fn joining_waits_for_the_slower_ones_but_not_for_long() {
        let mut announcer = Announcer::new(Duration::from_secs(1));
        announcer.handle_peers(at(0));
        announcer.handle_missing(2, at(3));
        announcer.handle_answer(at(3));
        announcer.handle_missing(1, at(4));
        assert!(!announcer.joined());
        announcer.handle_missing(1, at(3) + SETTLE);
        assert!(announcer.joined());
    }
}

//! Whether gossip reaches those that are there.

use core::time::Duration;

use crate::Time;

/// Somebody that answers on the wire although gossip takes it for dead is there: news of its death or return would be
/// through within seconds.
const SEEN: Duration = Duration::from_secs(5);

/// The API server takes a dead node's Pods for ready for some fifty seconds (`--node-monitor-grace-period`), so only after
/// that its word counts.
const SAID: Duration = Duration::from_secs(70);

/// What is known of the other speakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// Those whose Pods are ready.
    pub ready: usize,
    /// Those of them that gossip reaches.
    pub reached: usize,
    /// Those that gossip takes for dead and that answer on the wire.
    pub heard: usize,
}

/// Decides whether gossip is blocked: filtered, or sealed with another key. Owned by value by exactly one task.
#[derive(Debug, Default)]
pub struct Reach {
    /// Since when somebody was heard whom gossip does not reach, and since when it reached only a minority.
    heard_since: Option<Time>,
    cut_off_since: Option<Time>,
    is_blocked: bool,
    /// Whether it was blocked once, or reached all.
    is_known: bool,
}

impl Reach {
    /// Replaces what is known of the others.
    pub fn set(&mut self, others: Others, now: Time) {
        let since = |holds: bool, before: Option<Time>| holds.then(|| before.unwrap_or(now));
        self.is_known |= others.reached >= others.ready;
        self.heard_since = since(others.heard > 0, self.heard_since);
        self.cut_off_since = since(others.reached * 2 < others.ready, self.cut_off_since);
    }

    /// Whether it was blocked when that was asked for last; `None` while a speaker that has just started cannot know.
    pub fn is_blocked(&self) -> Option<bool> {
        (self.is_blocked || self.is_known).then_some(self.is_blocked)
    }

    /// Whether it has become blocked, or is no longer.
    pub fn poll_change(&mut self, now: Time) -> Option<bool> {
        let is_blocked = self.deadlines().any(|at| at <= now);
        self.is_known |= is_blocked;
        (core::mem::replace(&mut self.is_blocked, is_blocked) != is_blocked).then_some(is_blocked)
    }

    /// When it will be blocked, if nothing changes.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines().min().filter(|_| !self.is_blocked)
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        let heard = self.heard_since.map(|since| since + SEEN);
        heard
            .into_iter()
            .chain(self.cut_off_since.map(|since| since + SAID))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn others(ready: usize, reached: usize, heard: usize) -> Others {
        Others {
            ready,
            reached,
            heard,
        }
    }

    /// What changes, and after how many seconds, when `set` holds from each of these seconds on.
    fn changes(course: &[(u64, Others)]) -> Vec<(u64, bool)> {
        let mut reach = Reach::default();
        let mut changes = Vec::new();
        for second in 0..300 {
            let now = Time::since_zero(Duration::from_secs(second));
            for (_, others) in course.iter().filter(|(at, _)| *at == second) {
                reach.set(*others, now);
            }
            let is_due = reach.poll_timeout().is_some_and(|due| due <= now);
            let change = reach.poll_change(now);
            assert!(change != Some(true) || is_due);
            changes.extend(change.map(|blocked| (second, blocked)));
        }
        changes
    }

    #[test]
    fn who_answers_on_the_wire_is_missed_within_seconds() {
        let course = [(0, others(2, 2, 0)), (10, others(2, 0, 1)), (30, others(2, 2, 0))];
        assert_eq!(changes(&course), [(15, true), (30, false)]);
    }

    #[test]
    fn who_is_only_said_to_be_ready_is_missed_when_it_cannot_have_died() {
        let cut_off = [(0, others(2, 0, 0)), (100, others(2, 1, 0))];
        assert_eq!(changes(&cut_off), [(70, true), (100, false)]);
        let died = [(10, others(2, 0, 0)), (60, others(0, 0, 0))];
        assert_eq!(changes(&died), []);
    }

    #[test]
    fn a_majority_in_reach_or_nobody_to_reach_is_as_it_should_be() {
        for well in [others(0, 0, 0), others(1, 1, 0), others(3, 2, 0), others(2, 1, 0)] {
            assert_eq!(changes(&[(0, well)]), []);
        }
    }
}

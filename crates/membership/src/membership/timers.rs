//! The timers of the SWIM library.

use alloc::collections::BinaryHeap;
use core::cmp::Ordering;
use core::mem;
use core::time::Duration;

use foca::Timer;
use herald_core::Time;

use crate::identity::Identity;

/// For how long a timer stands still at most, so that a failure is detected however late this member runs: about as long as a
/// process that does not get the processor waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The timers that were started, the next one first; timers of the same instant in foca's order, then in the order in which
/// they were started.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<PendingTimer>,
    started: u64,
}

struct PendingTimer {
    due: Time,
    started: u64,
    timer: Timer<Identity>,
    /// Whether it was put off once.
    was_deferred: bool,
    /// For how long it may still stand still.
    patience: Duration,
}

impl Timers {
    pub(super) fn start(&mut self, timer: Timer<Identity>, due: Time) {
        self.push(timer, due, false);
    }

    /// Puts off a timer that is due.
    pub(super) fn defer(&mut self, timer: Timer<Identity>, due: Time) {
        self.push(timer, due, true);
    }

    fn push(&mut self, timer: Timer<Identity>, due: Time, was_deferred: bool) {
        let started = self.started;
        self.started += 1;
        self.heap.push(PendingTimer {
            due,
            started,
            timer,
            was_deferred,
            patience: PATIENCE,
        });
    }

    /// Makes all timers due later, as if no time had passed; each by [`PATIENCE`] in all.
    pub(super) fn stand_still(&mut self, duration: Duration) {
        let mut pending = mem::take(&mut self.heap).into_vec();
        for pending in &mut pending {
            let later = duration.min(pending.patience);
            pending.patience -= later;
            pending.due = pending.due + later;
        }
        self.heap = pending.into();
    }

    /// Makes the next probe due at `now` if it was put off.
    pub(super) fn resume_probes(&mut self, now: Time) {
        let is_deferred = |pending: &PendingTimer| {
            pending.was_deferred && matches!(pending.timer, Timer::ProbeRandomMember(_))
        };
        if !self.heap.iter().any(is_deferred) {
            return;
        }
        let mut pending = mem::take(&mut self.heap).into_vec();
        for pending in pending.iter_mut().filter(|pending| is_deferred(pending)) {
            pending.due = pending.due.min(now);
        }
        self.heap = pending.into();
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|pending| pending.due)
    }

    /// Postpones the timer of the indirect probe of `member`, which answered, to the next probe: there is nothing to wake up
    /// for before that. foca still needs the timer.
    pub(super) fn handle_answer(&mut self, member: &Identity) {
        let is_next = |pending: &PendingTimer| matches!(pending.timer, Timer::ProbeRandomMember(_));
        let Some(next) = self.heap.iter().filter(|w| is_next(w)).map(|w| w.due).min() else {
            return;
        };
        let mut pending = mem::take(&mut self.heap).into_vec();
        for pending in &mut pending {
            if matches!(&pending.timer, Timer::SendIndirectProbe { probed_id, .. } if probed_id == member) {
                pending.due = pending.due.max(next);
            }
        }
        self.heap = pending.into();
    }

    /// Returns the next timer that is due, and whether it was put off.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(Timer<Identity>, bool)> {
        if self.next_due()? > now {
            return None;
        }
        let pending = self.heap.pop()?;
        Some((pending.timer, pending.was_deferred))
    }
}

impl Ord for PendingTimer {
    /// Compares in reverse: the heap's greatest timer is the next one due.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .due
            .cmp(&self.due)
            .then_with(|| other.timer.cmp(&self.timer))
            .then_with(|| other.started.cmp(&self.started))
    }
}

impl PartialOrd for PendingTimer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PendingTimer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PendingTimer {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use herald_fixtures::at;

    use super::*;

    #[test]
    fn no_timer_fires_between_an_answered_probe_and_the_next_probe() {
        let member = |name: &str| Identity::unknown(name.into(), ([192, 0, 2, 1], 7946).into());
        let indirect = |name| Timer::SendIndirectProbe {
            probed_id: member(name),
            token: 1,
        };
        let mut timers = Timers::default();
        timers.start(Timer::ProbeRandomMember(1), at(100));
        timers.start(indirect("a"), at(30));
        timers.handle_answer(&member("b"));
        assert_eq!(timers.next_due(), Some(at(30)));
        timers.handle_answer(&member("a"));
        assert_eq!(timers.next_due(), Some(at(100)));
        let fired = [(); 2].map(|()| timers.pop_due(at(100)).map(|(timer, _)| timer));
        assert_eq!(fired, [Some(indirect("a")), Some(Timer::ProbeRandomMember(1))]);
    }

    #[test]
    fn timers_fire_by_time_then_in_the_order_of_foca_then_as_started() {
        let mut timers = Timers::default();
        timers.start(Timer::PeriodicGossip(1), at(5));
        timers.start(Timer::PeriodicGossip(2), at(5));
        timers.start(Timer::ProbeRandomMember(3), at(5));
        timers.start(Timer::PeriodicGossip(4), at(4));
        assert_eq!(timers.pop_due(at(3)), None);
        let mut fired = Vec::new();
        while let Some((timer, _)) = timers.pop_due(at(5)) {
            fired.push(timer);
        }
        let expected = [
            Timer::PeriodicGossip(4),
            Timer::ProbeRandomMember(3),
            Timer::PeriodicGossip(1),
            Timer::PeriodicGossip(2),
        ];
        assert_eq!(fired, expected);
    }

    #[test]
    fn a_deferred_probe_is_resumed_and_no_other_timer_is() {
        let mut timers = Timers::default();
        timers.start(Timer::PeriodicGossip(1), at(50));
        timers.defer(Timer::PeriodicGossip(2), at(60));
        timers.defer(Timer::ProbeRandomMember(3), at(70));
        timers.resume_probes(at(10));
        assert_eq!(timers.pop_due(at(49)), Some((Timer::ProbeRandomMember(3), true)));
        assert_eq!(timers.pop_due(at(49)), None);
        timers.start(Timer::ProbeRandomMember(4), at(70));
        timers.resume_probes(at(10));
        timers.stand_still(Duration::from_millis(7));
        assert_eq!(timers.next_due(), Some(at(57)));
        assert_eq!(timers.pop_due(at(57)), Some((Timer::PeriodicGossip(1), false)));
        assert_eq!(timers.pop_due(at(67)), Some((Timer::PeriodicGossip(2), true)));
        assert_eq!(timers.pop_due(at(76)), None);
    }
}

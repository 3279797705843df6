//! The timers of the SWIM library.

use alloc::collections::BinaryHeap;
use core::cmp::Ordering;
use core::mem;

use foca::Timer;
use herald_core::Time;

use crate::identity::Identity;

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
}

impl Timers {
    pub(super) fn start(&mut self, timer: Timer<Identity>, due: Time) {
        let started = self.started;
        self.started += 1;
        self.heap.push(PendingTimer { due, started, timer });
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

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer<Identity>> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|pending| pending.timer)
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
        let fired = [timers.pop_due(at(100)), timers.pop_due(at(100))];
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
        while let Some(timer) = timers.pop_due(at(5)) {
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
}

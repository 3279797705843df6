//! Flap damping (after RFC 2439): a node that left and returned repeatedly ranks after all stable nodes.
//!
//! Each return moves addresses back to the node. One return is an accident. A node that returns again before [`COOL`] has
//! passed is flapping, and each further return makes that last longer. The node reports its count by gossip, so all speakers
//! use the same number; `placement` decides what follows from it.

use core::time::Duration;

use crate::Time;

/// How long it takes to forget the most recent flap. A node that flapped three times is damped for ten minutes.
pub const COOL: Duration = Duration::from_secs(300);

/// Limit of the count, so that a node is damped for half an hour at most after its last flap.
pub const MAX_FLAPS: u8 = 7;

/// One outage shows in several ways, such as a lost link and the reports of peers, and counts once.
const ONE_OUTAGE: Duration = Duration::from_secs(5);

/// Counts the flaps of one node. Exactly one task owns it.
#[derive(Debug, Default)]
pub struct FlapDamping {
    flaps: u8,
    /// The last outage that was counted.
    counted: Option<Time>,
    /// When the most recent flap is forgotten.
    due: Option<Time>,
}

impl FlapDamping {
    /// Returns the number of flaps that are not forgotten.
    pub const fn flaps(&self) -> u8 {
        self.flaps
    }

    /// Records that the node left and returned.
    pub fn handle_flap(&mut self, now: Time) {
        let is_same = |at: Time| now.saturating_since(at) < ONE_OUTAGE;
        if !self.counted.is_some_and(is_same) {
            self.counted = Some(now);
            self.add(1, now);
        }
    }

    /// Adds flaps that were counted elsewhere: before this process started, or at once because of a grave fault.
    pub fn add(&mut self, flaps: u8, now: Time) {
        self.flaps = self.flaps.saturating_add(flaps).min(MAX_FLAPS);
        self.due = (self.flaps > 0).then(|| now + COOL);
    }

    /// Forgets the flaps that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(due) = self.due.filter(|due| *due <= now) {
            self.flaps = self.flaps.saturating_sub(1);
            self.due = (self.flaps > 0).then(|| due + COOL);
        }
    }

    /// Returns when [`Self::handle_timeout`] has a flap to forget.
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::since_zero(Duration::from_secs(seconds))
    }

    fn flapped(times: impl IntoIterator<Item = u64>) -> FlapDamping {
        let mut damping = FlapDamping::default();
        for second in times {
            damping.handle_timeout(at(second));
            damping.handle_flap(at(second));
        }
        damping
    }

    #[test]
    fn flaps_are_forgotten_one_after_the_other() {
        let mut damping = flapped([0, 10, 20]);
        let mut forgotten = alloc::vec::Vec::new();
        while let Some(due) = damping.poll_timeout() {
            damping.handle_timeout(due);
            forgotten.push((due, damping.flaps()));
        }
        assert_eq!(forgotten, [(at(320), 2), (at(620), 1), (at(920), 0)]);
    }

    #[test]
    fn one_outage_counts_once_and_repeated_outages_keep_counting() {
        assert_eq!(flapped([0, 1, 4]).flaps(), 1);
        assert_eq!(flapped((0..20).map(|second| 2 * second)).flaps(), MAX_FLAPS);
        assert_eq!(flapped((0..20).map(|times| 290 * times)).flaps(), MAX_FLAPS);
        assert_eq!(flapped((0..20).map(|times| 310 * times)).flaps(), 1);
    }

    #[test]
    fn flaps_counted_elsewhere_are_added_up_to_the_limit() {
        let mut damping = FlapDamping::default();
        damping.add(0, at(0));
        assert_eq!((damping.flaps(), damping.poll_timeout()), (0, None));
        damping.add(u8::MAX, at(0));
        assert_eq!(damping.flaps(), MAX_FLAPS);
        damping.handle_timeout(at(10_000));
        assert_eq!((damping.flaps(), damping.poll_timeout()), (0, None));
    }
}

//! A later epoch of this node than its own that peers know: the clock went back, a second speaker has the name, or it is
//! forged. This member supersedes it, less and less often while that goes on.

use core::time::Duration;

use herald_core::{Backoff, Time};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::identity::Epoch;

/// The pause after the first time. A clock that went back needs one later epoch, seldom two.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: how often one of two speakers with the same name replaces the other until an operator reads the log,
/// and how long the last forged epoch is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(6);

/// After this long without a conflict the pauses start over. Longer than any pause, which does not end the conflict.
const QUIET: Duration = Duration::from_secs(60);

/// When this member superseded its epoch last, and when it may do so again.
pub(super) struct IdentityConflict {
    last: Option<Time>,
    next: Time,
    /// The latest epoch of this node that peers know.
    known: Epoch,
    pauses: Backoff,
    /// Separates the later epochs of this member from those of a second speaker with its name.
    rng: StdRng,
}

impl IdentityConflict {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            last: None,
            next: Time::ZERO,
            known: Epoch::default(),
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Returns an epoch later than `known` and all that were known before, if one may be taken now; it then counts as taken.
    pub(super) fn poll_supersede(&mut self, known: Epoch, now: Time) -> Option<Epoch> {
        self.known = self.known.max(known);
        if now < self.next {
            return None;
        }
        if self.last.is_some_and(|last| now >= last + QUIET) {
            self.pauses.reset();
        }
        self.last = Some(now);
        self.next = now + self.pauses.pause();
        Some(self.known.superseded(self.rng.random()))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Returns when a member supersedes its epoch whose peers know a later epoch at each second from `start` to `end`.
    fn superseded(conflict: &mut IdentityConflict, start: u64, end: u64) -> Vec<u64> {
        let at = |second: &u64| Time::since_zero(Duration::from_secs(*second));
        (start..end)
            .filter(|second| conflict.poll_supersede(Epoch::default(), at(second)).is_some())
            .collect()
    }

    #[test]
    fn the_pauses_double_up_to_six_seconds() {
        let superseded = superseded(&mut IdentityConflict::new(1), 0, 30);
        let expected = [0, 1, 3, 7, 13, 19, 25];
        assert_eq!(superseded, expected);
    }

    #[test]
    fn the_next_epoch_is_later_than_all_that_were_known_in_the_pause() {
        let at = |second| Time::since_zero(Duration::from_secs(second));
        let mut conflict = IdentityConflict::new(1);
        assert!(conflict.poll_supersede(Epoch::first_of(7), at(0)).is_some());
        let latest = Epoch::first_of(1 << 40);
        assert_eq!(conflict.poll_supersede(latest, at(0)), None);
        let taken = conflict.poll_supersede(Epoch::first_of(8), at(1));
        assert!(taken.is_some_and(|taken| taken > latest));
    }

    #[test]
    fn the_pauses_start_over_after_a_quiet_time() {
        let mut conflict = IdentityConflict::new(1);
        assert_eq!(superseded(&mut conflict, 0, 14), [0, 1, 3, 7, 13]);
        assert_eq!(superseded(&mut conflict, 73, 81), [73, 74, 76, 80]);
    }
}

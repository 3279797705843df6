//! Two speakers with one node name: each supersedes the other's epoch, less and less often.

use core::time::Duration;

use herald_core::Time;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::identity::Epoch;

/// The pause after the first time. A clock that went back needs one later epoch, seldom two.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: how often one of two speakers with the same name replaces the other until an operator reads the log.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// After this long without a conflict the pauses start over. Longer than any pause, which does not end the conflict.
const QUIET: Duration = Duration::from_secs(600);

/// When this member superseded its epoch last, and how long the present epoch stays.
pub(super) struct IdentityConflict {
    last: Option<Time>,
    pause: Duration,
    /// Separates the later epochs of this member from those of a second speaker with its name.
    rng: StdRng,
}

impl IdentityConflict {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            last: None,
            pause: FIRST_PAUSE,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Returns an epoch later than `known`, if one may be taken now; it then counts as taken. The pause doubles each time.
    pub(super) fn poll_supersede(&mut self, known: Epoch, now: Time) -> Option<Epoch> {
        match self.last {
            Some(last) if now < last + self.pause => return None,
            Some(last) if now < last + QUIET => self.pause = LONGEST_PAUSE.min(self.pause * 2),
            Some(_) | None => self.pause = FIRST_PAUSE,
        }
        self.last = Some(now);
        Some(known.superseded(self.rng.random()))
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
    fn the_pauses_double_up_to_five_minutes() {
        let superseded = superseded(&mut IdentityConflict::new(1), 0, 1500);
        let expected = [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111, 1411];
        assert_eq!(superseded, expected);
    }

    #[test]
    fn the_pauses_start_over_after_a_quiet_time() {
        let mut conflict = IdentityConflict::new(1);
        assert_eq!(superseded(&mut conflict, 0, 60), [0, 1, 3, 7, 15, 31]);
        assert_eq!(superseded(&mut conflict, 631, 640), [631, 632, 634, 638]);
    }
}

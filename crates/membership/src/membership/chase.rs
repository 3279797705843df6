//! How often we take a later epoch: two speakers of one node name would chase each other for ever.

use std::time::Duration;

use herald_core::Time;

/// After the first time. A clock that went back needs one later epoch, seldom two.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. So often one of two speakers with the same name takes the place of the other, until somebody
/// reads the log.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Without a chase for this long the pauses start over. Longer than any pause, which is no end of the chase.
const QUIET: Duration = Duration::from_secs(600);

/// When we last took a later epoch, and how long to put up with the present one.
pub(super) struct Chase {
    last: Option<Time>,
    pause: Duration,
}

impl Chase {
    pub(super) const fn new() -> Self {
        Self {
            last: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether a later epoch may be taken now; it then counts as taken. Each time the pause doubles.
    pub(super) fn poll_overtake(&mut self, now: Time) -> bool {
        match self.last {
            Some(last) if now < last + self.pause => return false,
            Some(last) if now < last + QUIET => self.pause = LONGEST_PAUSE.min(self.pause * 2),
            Some(_) | None => self.pause = FIRST_PAUSE,
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a member whose peers know a later epoch at every second from `start` to `end` takes one.
    fn overtakes(chase: &mut Chase, start: u64, end: u64) -> Vec<u64> {
        let at = |second: &u64| Time::since_zero(Duration::from_secs(*second));
        (start..end)
            .filter(|second| chase.poll_overtake(at(second)))
            .collect()
    }

    #[test]
    fn the_pauses_double_up_to_five_minutes() {
        let overtaken = overtakes(&mut Chase::new(), 0, 1500);
        let expected = [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111, 1411];
        assert_eq!(overtaken, expected);
    }

    #[test]
    fn the_pauses_start_over_after_a_quiet_time() {
        let mut chase = Chase::new();
        assert_eq!(overtakes(&mut chase, 0, 60), [0, 1, 3, 7, 15, 31]);
        assert_eq!(overtakes(&mut chase, 631, 640), [631, 632, 634, 638]);
    }
}

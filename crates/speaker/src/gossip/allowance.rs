//! Limits the work that unknown senders can cause: a token bucket.

use std::time::Duration;

use herald_core::Time;

/// The cost of each use, which allows 200 a second. Deriving a session's key takes microseconds; a speaker that
/// no peer expects yet sends some ten datagrams a second.
const COST: Duration = Duration::from_millis(5);

/// The largest amount of uses at once.
const BURST: Duration = Duration::from_secs(1);

/// The uses of the last second.
#[derive(Default)]
pub(super) struct Allowance {
    /// When the allowance is complete again.
    full_at: Time,
}

impl Allowance {
    /// Whether one more use is allowed at `now`; it then counts as used.
    pub(super) fn poll_use(&mut self, now: Time) -> bool {
        let full_at = self.full_at.max(now) + COST;
        let allowed = full_at - now <= BURST;
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(allowance: &mut Allowance, millis: u64) -> usize {
        let now = Time::since_zero(Duration::from_millis(millis));
        (0..1000).filter(|_| allowance.poll_use(now)).count()
    }

    #[test]
    fn two_hundred_are_allowed_at_once_and_two_hundred_a_second_after_that() {
        let mut allowance = Allowance::default();
        assert_eq!(used(&mut allowance, 0), 200);
        assert_eq!(used(&mut allowance, 4), 0);
        assert_eq!(used(&mut allowance, 5), 1);
        assert_eq!(used(&mut allowance, 505), 100);
        assert_eq!(used(&mut allowance, 60_000), 200);
    }
}

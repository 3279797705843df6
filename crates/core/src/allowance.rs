//! Limits how often something is done: the generic cell rate algorithm (ITU-T I.371).

use core::time::Duration;

use crate::Time;

/// The uses of the recent past.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// The time that one use takes from the allowance.
    cost: Duration,
    /// The time that uses may take at once.
    burst: Duration,
    /// When the allowance is complete again.
    full_at: Time,
}

impl Allowance {
    /// Returns a complete allowance of `burst` uses at once and of one use more for each `cost` that passes.
    pub const fn new(burst: u32, cost: Duration) -> Self {
        Self {
            cost,
            burst: cost.saturating_mul(burst),
            full_at: Time::ZERO,
        }
    }

    /// Whether one more use is allowed at `now`; it then counts as used.
    pub fn poll_use(&mut self, now: Time) -> bool {
        let full_at = self.full_at.max(now) + self.cost;
        let allowed = full_at - now <= self.burst;
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }

    /// Whether nothing of it is used at `now`.
    pub fn is_full(&self, now: Time) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn used(allowance: &mut Allowance, millis: u64) -> usize {
        (0..1000).filter(|_| allowance.poll_use(at(millis))).count()
    }

    #[test]
    fn a_burst_is_allowed_at_once_and_the_rate_after_that() {
        let mut allowance = Allowance::new(200, Duration::from_millis(5));
        assert!(allowance.is_full(at(0)));
        assert_eq!(used(&mut allowance, 0), 200);
        assert_eq!(used(&mut allowance, 4), 0);
        assert_eq!(used(&mut allowance, 5), 1);
        assert_eq!(used(&mut allowance, 505), 100);
        assert!(!allowance.is_full(at(1504)));
        assert!(allowance.is_full(at(1505)));
        assert_eq!(used(&mut allowance, 60_000), 200);
    }
}

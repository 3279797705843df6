//! Pauses between attempts that fail.

use core::time::Duration;

/// A pause that doubles with each failure in a row, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts with the pause `first` and never exceeds `last`.
    pub const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            failures: 0,
        }
    }

    /// Returns the pause after another failure.
    pub fn pause(&mut self) -> Duration {
        self.pause_within(self.last)
    }

    /// Returns the pause after another failure, which is at most `limit`.
    pub fn pause_within(&mut self, limit: Duration) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.last).min(limit)
    }

    /// Notes a success: the next pause is the first one again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let seconds = [1, 2, 4, 5, 5].map(Duration::from_secs);
        assert_eq!([(); 5].map(|()| backoff.pause()), seconds);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_secs(1));
        assert_eq!(
            backoff.pause_within(Duration::from_secs(1)),
            Duration::from_secs(1)
        );
        assert_eq!(backoff.pause(), Duration::from_secs(4));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert!(
            (0..100)
                .map(|_| backoff.pause())
                .all(|pause| pause <= Duration::from_secs(60))
        );
    }
}

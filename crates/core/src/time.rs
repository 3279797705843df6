//! The time of the pure machines: nanoseconds since a zero that the shell chooses.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A monotonic instant. Only differences have a meaning, because the shell chooses the zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The zero that the shell chose.
    pub const ZERO: Self = Self(0);

    /// Returns the instant `elapsed` after the zero. Saturates at some 584 years.
    pub fn since_zero(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns the time since the zero.
    pub const fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self::since_zero(self.elapsed().saturating_add(after))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_never_goes_below_zero() {
        let one = Time::ZERO + Duration::from_secs(1);
        assert_eq!(one - Time::ZERO, Duration::from_secs(1));
        assert_eq!(Time::ZERO - one, Duration::ZERO);
    }
}

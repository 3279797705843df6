//! The time of the pure machines: nanoseconds since a zero that the shell chooses.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A monotonic instant. Only differences have a meaning, because the shell chooses the zero; only a shell that chooses the
/// beginning of 1970 may show it.
///
/// It is one more than the nanoseconds since the zero, so that an `Option` of it takes no more memory: the machines of thousands of
/// addresses have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

impl Time {
    /// The zero that the shell chose.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// Returns the instant `elapsed` after the zero. Saturates at some 584 years.
    pub fn since_zero(elapsed: Duration) -> Self {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanoseconds))
    }

    /// Returns the time since the zero.
    pub const fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Time {
    /// Writes the second that ends at this instant or contains it, in the form of RFC 3339, as if the zero were the beginning
    /// of 1970 (UTC).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.0.get() - 1).div_ceil(1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March, so that a leap day is the last day of a year. One of 400 years has 146 097 days.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Of five months from March on, 153 days long together, the same lengths repeat.
        let month = (5 * day + 2) / 153;
        let (day, month) = (
            day - (153 * month + 2) / 5 + 1,
            if month < 10 { month + 3 } else { month - 9 },
        );
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
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
    fn an_instant_is_displayed_as_a_date_and_the_next_full_second() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (1_785_326_645, "2026-07-29T12:04:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = Time::ZERO + Duration::from_secs(seconds);
            assert_eq!(alloc::format!("{time}"), text);
        }
        let time = Time::ZERO + Duration::from_millis(1);
        assert_eq!(alloc::format!("{time}"), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn the_time_since_the_zero_is_exact_and_an_option_takes_no_more_memory() {
        for nanoseconds in [0, 1, u64::MAX - 1] {
            let elapsed = Duration::from_nanos(nanoseconds);
            assert_eq!(Time::since_zero(elapsed).elapsed(), elapsed);
        }
        assert_eq!(
            Time::since_zero(Duration::MAX),
            Time::since_zero(Duration::from_nanos(u64::MAX))
        );
        assert_eq!(size_of::<Option<Time>>(), size_of::<Time>());
    }

    #[test]
    fn a_difference_never_goes_below_zero() {
        let one = Time::ZERO + Duration::from_secs(1);
        assert_eq!(one - Time::ZERO, Duration::from_secs(1));
        assert_eq!(Time::ZERO - one, Duration::ZERO);
    }
}

//! The time of the driver.

use std::time::{Duration, Instant};

use herald_core::Time;
use jiff::Timestamp;

/// A monotonic clock that counts from the beginning of 1970, because messages name its times.
pub(super) struct Clock {
    started: Instant,
    /// The time of the start.
    since_1970: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            since_1970: Timestamp::now().as_duration().try_into().unwrap_or_default(),
        }
    }

    pub(super) fn now(&self) -> Time {
        Time::since_zero(self.since_1970 + self.started.elapsed())
    }
}

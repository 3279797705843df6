//! The clock of the machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Returns the time since the machine was started, including suspension, so that a process that was suspended with its
/// machine notices it.
///
/// # Panics
/// Never: Linux has this clock.
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("Linux has this clock")
        .into()
}

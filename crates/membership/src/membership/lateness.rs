//! How late this process was: how long after its timers were due it ran.

use core::time::Duration;

use herald_core::Time;

/// How long a process that was late is taken for one that may be late again. A machine that is overloaded delays a process
/// more often.
const MEMORY: Duration = Duration::from_secs(3);

/// No more time than this is given to a peer because of it: a failure has to be detected in the end.
const LIMIT: Duration = Duration::from_secs(1);

/// For how long this process did not run lately.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    late: Duration,
    until: Time,
}

impl Lateness {
    /// Records that this process ran `late` for something.
    pub(super) fn handle(&mut self, late: Duration, now: Time) {
        self.late = late.max(self.recent(now) / 2);
        self.until = now + MEMORY;
    }

    /// Returns for how long this process did not run lately; earlier times count less.
    pub(super) fn recent(&self, now: Time) -> Duration {
        if now < self.until {
            self.late
        } else {
            Duration::ZERO
        }
    }

    /// Returns until when a peer has time that would be accused at `now`; `now` if this process was not late.
    pub(super) fn grace(&self, now: Time) -> Time {
        self.until.min(now + self.recent(now).min(LIMIT)).max(now)
    }
}

#[cfg(test)]
mod tests {
    use herald_fixtures::at;

    use super::*;

    #[test]
    fn peers_get_as_much_time_as_this_process_was_late_for_three_seconds() {
        let ms = Duration::from_millis;
        let mut lateness = Lateness::default();
        assert_eq!(lateness.grace(at(0)), at(0));
        lateness.handle(ms(300), at(1000));
        assert_eq!(lateness.grace(at(1000)), at(1300));
        lateness.handle(ms(50), at(2000));
        assert_eq!(
            (lateness.recent(at(2000)), lateness.grace(at(4900))),
            (ms(150), at(5000))
        );
        assert_eq!(
            (lateness.recent(at(5000)), lateness.grace(at(5000))),
            (ms(0), at(5000))
        );
        lateness.handle(ms(60_000), at(6000));
        assert_eq!(
            (lateness.recent(at(6000)), lateness.grace(at(6000))),
            (ms(60_000), at(7000))
        );
    }
}

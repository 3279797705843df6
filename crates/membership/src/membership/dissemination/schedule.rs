//! When news is sent.

use core::time::Duration;

use herald_core::Time;

use crate::timings::GOSSIP_PERIOD;

/// News is sent at once, but at most once in this time: news of several events is sent together.
const NEWS_PERIOD: Duration = Duration::from_millis(10);

/// When news is sent next, and when it was sent last.
#[derive(Default)]
pub(super) struct NewsSchedule {
    due: Option<Time>,
    sent: Option<Time>,
}

impl NewsSchedule {
    /// When news is to be sent.
    pub(super) const fn next_due(&self) -> Option<Time> {
        self.due
    }

    /// Makes news due as soon as [`NEWS_PERIOD`] permits.
    pub(super) fn send_soon(&mut self, now: Time) {
        let earliest = self.sent.map_or(now, |sent| now.max(sent + NEWS_PERIOD));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }

    /// Makes news due after [`GOSSIP_PERIOD`], if it is not due yet.
    pub(super) fn send_in_turn(&mut self, now: Time) {
        self.due.get_or_insert(now + GOSSIP_PERIOD);
    }

    /// Whether news is to be sent now; it then counts as sent.
    pub(super) fn poll_round(&mut self, now: Time) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.sent = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use herald_fixtures::at;

    use super::*;

    #[test]
    fn news_is_sent_at_once_but_at_most_every_ten_milliseconds() {
        let mut schedule = NewsSchedule::default();
        assert_eq!(schedule.next_due(), None);
        schedule.send_in_turn(at(0));
        assert_eq!(schedule.next_due(), Some(at(50)));
        schedule.send_soon(at(1));
        assert_eq!(schedule.next_due(), Some(at(1)));
        assert!(!schedule.poll_round(at(0)));
        assert!(schedule.poll_round(at(1)));
        assert!(!schedule.poll_round(at(1)));
        schedule.send_soon(at(4));
        assert_eq!(schedule.next_due(), Some(at(11)));
        schedule.send_in_turn(at(5));
        assert_eq!(schedule.next_due(), Some(at(11)));
    }
}

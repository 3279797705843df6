//! Leaving the cluster: the leave message is sent more than once, so that a lost datagram does not cost the peers a
//! detection time.

use core::num::NonZeroUsize;
use core::time::Duration;

use herald_core::Time;

/// How often the leave message is sent.
const ROUNDS: u8 = 3;

/// Between two leave messages.
const PERIOD: Duration = Duration::from_millis(30);

/// Members that each leave message goes to: all in small clusters; those pass it on to the rest.
pub(super) const FANOUT: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// A leave in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave {
    rounds_left: u8,
    next: Time,
}

impl Leave {
    /// Begins after the first leave message, which was sent at `now`.
    pub(super) fn new(now: Time) -> Self {
        Self {
            rounds_left: ROUNDS - 1,
            next: now + PERIOD,
        }
    }

    /// When the next leave message is due; `None` after the last one.
    pub(super) fn next_due(&self) -> Option<Time> {
        (self.rounds_left > 0).then_some(self.next)
    }

    /// Whether a leave message is due; it then counts as sent.
    pub(super) fn poll_round(&mut self, now: Time) -> bool {
        let due = self.next_due().is_some_and(|due| due <= now);
        if due {
            self.rounds_left -= 1;
            self.next = now + PERIOD;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_leave_takes_three_messages_and_sixty_milliseconds() {
        let at = |millis| Time::since_zero(Duration::from_millis(millis));
        let mut leave = Leave::new(at(0));
        let sent: Vec<u64> = (0..200).filter(|millis| leave.poll_round(at(*millis))).collect();
        assert_eq!(sent, [30, 60]);
        assert_eq!(leave.next_due(), None);
    }
}

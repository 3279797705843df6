//! Saying good-bye more than once, so that a lost datagram does not cost the peers a detection time.

use std::num::NonZeroUsize;
use std::time::Duration;

use herald_core::Time;

/// How often good-bye is said.
const ROUNDS: u8 = 3;

/// Between two good-byes.
const PERIOD: Duration = Duration::from_millis(30);

/// Members that each good-bye goes to: all in small clusters; they tell the rest.
pub(super) const FANOUT: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// A leave under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    rounds_left: u8,
    next: Time,
}

impl Farewell {
    /// The first good-bye was said at `now`.
    pub(super) fn new(now: Time) -> Self {
        Self {
            rounds_left: ROUNDS - 1,
            next: now + PERIOD,
        }
    }

    /// When the next good-bye is due; `None` when all are said.
    pub(super) fn next_due(&self) -> Option<Time> {
        (self.rounds_left > 0).then_some(self.next)
    }

    /// Whether a good-bye is to be said now; it then counts as said.
    pub(super) fn poll_round(&mut self, now: Time) -> bool {
        let due = self.next_due().is_some_and(|due| due <= now);
        if due {
            self.rounds_left -= 1;
            self.next = now + PERIOD;
        }
        due
    }
}

//! How fast frames may be sent.

use core::time::Duration;

use herald_core::Time;

/// 20 000 frames a second: 10 000 IPv4 addresses that move at once are all announced within the second, and the
/// share of a 1 Gbit/s link is about 1 %, the storm control threshold that switches commonly suggest.
const FRAME_GAP: Duration = Duration::from_micros(50);

/// How many frames may be sent back to back; a tenth of what the default send buffer takes, so that there is room for
/// answers beside them.
const FRAMES_AT_ONCE: u32 = 20;

/// How many answers to all nodes may be sent back to back; after that the rate is that of other frames. When an owner of
/// 10 000 IPv6 addresses is suspect, its successors probe for all of them at the same moment, and would take over those
/// that it does not answer for. There must be a limit, because such an answer goes to every station: a machine on the
/// segment could otherwise make this node flood it.
const ANSWERS_AT_ONCE: u32 = 10_000;

/// Spaces frames out: a generic cell rate algorithm (ITU-T I.371) with a tolerance of one frame less than may be sent at
/// once.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the next frame would be sent if all were evenly spaced.
    even: Time,
    gap: Duration,
    at_once: u32,
}

impl Pace {
    /// The limit for the unsolicited frames of one machine.
    pub(crate) const fn unsolicited() -> Self {
        Self {
            even: Time::ZERO,
            gap: FRAME_GAP,
            at_once: FRAMES_AT_ONCE,
        }
    }

    /// The limit for the answers to all nodes on one link.
    pub(crate) const fn answers_to_all() -> Self {
        Self {
            even: Time::ZERO,
            gap: FRAME_GAP,
            at_once: ANSWERS_AT_ONCE,
        }
    }

    /// From when on a frame may be sent.
    pub(crate) fn ready(&self) -> Time {
        let tolerance = self.gap * (self.at_once - 1);
        Time::since_zero(self.even.elapsed().saturating_sub(tolerance))
    }

    /// Accounts for a frame that is sent at `now`.
    pub(crate) fn spend(&mut self, now: Time) {
        self.even = self.even.max(now) + self.gap;
    }
}

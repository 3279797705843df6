//! How fast frames may leave.

use core::time::Duration;

use herald_core::Time;

/// 20 000 frames a second: 10 000 IPv4 addresses that move at once are all announced within the second, and the
/// share of a 1 Gbit/s link is about 1 %, the storm control threshold that switches commonly suggest.
const FRAME_GAP: Duration = Duration::from_micros(50);

/// How many frames may leave back to back; a tenth of what the default send buffer holds, so that answers find
/// room beside them.
const FRAMES_AT_ONCE: u32 = 20;

/// How many answers to everybody may leave back to back, and after that as many as other frames: when an owner of
/// 10 000 IPv6 addresses is taken for dead, its successors ask for all of them at the same moment, and those that it did
/// not answer for would be taken from it. A limit there must be, since such an answer goes to every station: whoever can
/// send us frames could make us flood the segment.
const ANSWERS_AT_ONCE: u32 = 10_000;

/// Spaces frames out: a generic cell rate algorithm (ITU-T I.371) with a tolerance of as many frames as may leave at
/// once less one, the first being free.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the next frame would leave if all were evenly spaced.
    even: Time,
    gap: Duration,
    at_once: u32,
}

impl Pace {
    /// That of all frames that a machine sends of its own accord, announcements say.
    pub(crate) const fn unasked() -> Self {
        Self {
            even: Time::ZERO,
            gap: FRAME_GAP,
            at_once: FRAMES_AT_ONCE,
        }
    }

    /// That of one link's answers to everybody.
    pub(crate) const fn answers_to_all() -> Self {
        Self {
            even: Time::ZERO,
            gap: FRAME_GAP,
            at_once: ANSWERS_AT_ONCE,
        }
    }

    /// From when on a frame may leave.
    pub(crate) fn ready(&self) -> Time {
        let tolerance = self.gap * (self.at_once - 1);
        Time::since_zero(self.even.elapsed().saturating_sub(tolerance))
    }

    /// Accounts for a frame that leaves at `now`.
    pub(crate) fn spend(&mut self, now: Time) {
        self.even = self.even.max(now) + self.gap;
    }
}

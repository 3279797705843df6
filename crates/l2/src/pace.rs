//! How fast frames may leave.

use core::time::Duration;

use herald_core::Time;

/// 20 000 frames a second: 10 000 IPv4 addresses that move at once are all announced within the second, and the
/// share of a 1 Gbit/s link is about 1 %, the storm control threshold that switches commonly suggest.
const FRAME_GAP: Duration = Duration::from_micros(50);

/// How many frames may leave back to back; a tenth of what the default send buffer holds, so that answers find
/// room beside them.
const FRAMES_AT_ONCE: u32 = 20;

/// 20 answers a second: a probe's answer goes to every station, so whoever can send us frames could make us flood the
/// segment. Hosts probe once when they configure an address, so even a rack that boots stays below.
const ANSWER_GAP: Duration = Duration::from_millis(50);

/// How many answers to everybody may leave back to back, for a host that wants several of our addresses at once.
const ANSWERS_AT_ONCE: u32 = 20;

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
            gap: ANSWER_GAP,
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

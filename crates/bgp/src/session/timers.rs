//! The timers of a session (RFC 4271 section 10, RFC 9687).

use core::time::Duration;

use herald_core::{Backoff, Time};

use super::fsm::SessionEvent;
use super::negotiation::LEAST_KEEPALIVE;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// RFC 4271 section 8.2.2: how long the peer's OPEN may take.
const OPEN: Duration = Duration::from_secs(240);
/// RFC 9687 section 3.2: the least send hold time.
const SEND_HOLD: Duration = Duration::from_secs(480);
/// The pauses between attempts: a router that is back is found within half a minute, and one that refuses is not flooded.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// A session that lasted this long was good: the next pause is the first one again.
const GOOD: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct SessionTimers {
    retry: Option<Time>,
    hold: Option<Time>,
    keepalive: Option<Time>,
    send_hold: Option<Time>,
    established: Option<Time>,
    fixed_retry: Option<Duration>,
    backoff: Backoff,
    random: u64,
}

impl SessionTimers {
    pub(super) const fn new(fixed_retry: Option<Duration>, seed: u64) -> Self {
        Self {
            retry: None,
            hold: None,
            keepalive: None,
            send_hold: None,
            established: None,
            fixed_retry,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LAST),
            random: seed,
        }
    }

    /// Replaces the pause between attempts. The next one is the first again: what made attempts fail may be mended.
    pub(super) const fn set_retry(&mut self, fixed: Option<Duration>) {
        self.fixed_retry = fixed;
        self.backoff.reset();
    }

    pub(super) fn start_connect(&mut self, now: Time) {
        self.retry = Some(now + CONNECT);
    }

    pub(super) fn start_open(&mut self, now: Time) {
        self.retry = None;
        self.hold = Some(now + OPEN);
    }

    pub(super) fn start_retry(&mut self, now: Time) {
        if let Some(since) = self.established.take()
            && now - since >= GOOD
        {
            self.backoff.reset();
        }
        let pause = self.fixed_retry.unwrap_or_else(|| self.backoff.pause());
        self.retry = Some(now + self.jittered(pause));
    }

    pub(super) fn restart_hold(&mut self, time: Option<Duration>, now: Time) {
        self.hold = time.map(|time| now + time);
    }

    pub(super) fn restart_keepalive(&mut self, pause: Option<Duration>, now: Time) {
        self.keepalive = pause.map(|pause| now + self.jittered(pause).max(LEAST_KEEPALIVE));
    }

    /// Sets another pause: a shorter one counts at once, a longer one from the next KEEPALIVE on, so that changes postpone none.
    pub(super) fn change_keepalive(&mut self, pause: Option<Duration>, now: Time) {
        let before = self.keepalive;
        self.restart_keepalive(pause, now);
        self.keepalive = before.into_iter().chain(self.keepalive).min();
    }

    /// The timer runs while bytes are left, from the last byte that the peer took. Without a hold time there is none.
    pub(super) fn note_sent(&mut self, took: usize, is_left: bool, hold_time: Option<Duration>, now: Time) {
        let due = hold_time.map(|time| now + SEND_HOLD.max(time * 2));
        if !is_left {
            self.send_hold = None;
        } else if took > 0 || self.send_hold.is_none() {
            self.send_hold = due;
        }
    }

    pub(super) const fn note_established(&mut self, now: Time) {
        self.established = Some(now);
    }

    pub(super) const fn stop(&mut self) {
        self.retry = None;
        self.hold = None;
        self.keepalive = None;
        self.send_hold = None;
    }

    pub(super) fn next(&self) -> Option<Time> {
        let all = [self.retry, self.hold, self.keepalive, self.send_hold];
        all.into_iter().flatten().min()
    }

    /// Stops a timer that is due, the first one first, and returns its event.
    pub(super) fn poll_expired(&mut self, now: Time) -> Option<SessionEvent> {
        let first = self.next().filter(|first| *first <= now)?;
        for (timer, event) in [
            (&mut self.retry, SessionEvent::RetryTimer),
            (&mut self.hold, SessionEvent::HoldTimer),
            (&mut self.send_hold, SessionEvent::SendHoldTimer),
            (&mut self.keepalive, SessionEvent::KeepaliveTimer),
        ] {
            if *timer == Some(first) {
                *timer = None;
                return Some(event);
            }
        }
        None
    }

    /// RFC 4271 section 10: between 0.75 and 1 of the time.
    fn jittered(&mut self, time: Duration) -> Duration {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let quarter = time / 4;
        let part = u32::try_from(mixed >> 54).unwrap_or(0);
        time - quarter * part / 1024
    }
}

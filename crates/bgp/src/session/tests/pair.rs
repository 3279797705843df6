//! Two sides with a connection between them.

use core::time::Duration;
use std::vec::Vec;

use super::*;

/// Two sides, of which the first dials, and the bytes on their way.
struct Pair {
    sides: [BgpSession; 2],
    now: Time,
    connected: bool,
    /// Bytes that go to each side at a time.
    chunk: usize,
    ends: [Vec<SessionEnd>; 2],
    ups: [usize; 2],
}

impl Pair {
    fn new(configs: [SessionConfig; 2], chunk: usize) -> Self {
        let [first, second] = configs;
        Self {
            sides: [BgpSession::new(first, 1), BgpSession::new(second, 2)],
            now: Time::ZERO,
            connected: false,
            chunk,
            ends: [Vec::new(), Vec::new()],
            ups: [0, 0],
        }
    }

    /// Carries out what both sides want until neither wants anything.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for index in [0, 1] {
                while let Some(action) = self.sides[index].poll_action() {
                    is_quiet = false;
                    self.act(index, action);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn act(&mut self, index: usize, action: SessionAction) {
        let now = self.now;
        match action {
            SessionAction::Dial if index == 0 => {
                self.connected = true;
                self.sides[0].handle_connected(now);
                self.sides[1].handle_accepted(now);
            }
            // The first side does not listen.
            SessionAction::Dial => self.sides[1].handle_closed(now),
            SessionAction::Send(bytes) => {
                if self.connected {
                    for chunk in bytes.chunks(self.chunk) {
                        self.sides[1 - index].handle_bytes(chunk, now);
                    }
                }
            }
            SessionAction::Up(_) => self.ups[index] += 1,
            SessionAction::Refresh(_) => {}
            SessionAction::Close => {
                if self.connected && self.sides[1 - index].has_connection() {
                    self.connected = false;
                    self.sides[1 - index].handle_closed(now);
                }
            }
            SessionAction::Ended { end, .. } => {
                if end != SessionEnd::NotConnected {
                    self.ends[index].push(end);
                }
            }
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.sides.iter().filter_map(BgpSession::poll_timeout).min() {
            if next > end {
                break;
            }
            assert!(next >= self.now, "a timer that is due was handled");
            self.now = next;
            for side in &mut self.sides {
                side.handle_timeout(next);
            }
            self.settle();
        }
        self.now = end;
    }

    fn start(&mut self) {
        for index in [1, 0] {
            self.sides[index].start(self.now);
            self.settle();
        }
    }

    fn states(&self) -> [SessionState; 2] {
        [self.sides[0].state(), self.sides[1].state()]
    }
}

const UP: [SessionState; 2] = [SessionState::Established; 2];

#[test]
fn two_sides_establish_a_session_and_keep_it() {
    for chunk in [1, 7, 5000] {
        let mut pair = Pair::new([config(65_001, 65_000), config(65_000, 65_001)], chunk);
        pair.start();
        assert_eq!(pair.states(), UP);
        pair.run(Duration::from_secs(3600));
        assert_eq!((pair.states(), pair.ups), (UP, [1, 1]));
        assert_eq!(pair.ends, [Vec::new(), Vec::new()]);
        let negotiated = pair.sides[0].negotiated().expect("established");
        assert_eq!(negotiated.families, [Family::V4, Family::V6]);
        assert_eq!(negotiated.keepalive, Some(Duration::from_secs(30)));
        assert!(negotiated.format.four_octet_as && !negotiated.format.internal);
        assert_eq!(negotiated.format.max_length, EXTENDED_MAX_LENGTH);
    }
}

#[test]
fn without_a_hold_time_nothing_is_sent_and_nothing_expires() {
    let mut silent = config(65_000, 65_001);
    silent.hold_time = HoldTime::NONE;
    let mut pair = Pair::new([config(65_001, 65_000), silent], 5000);
    pair.start();
    assert_eq!(pair.states(), UP);
    assert_eq!(pair.sides.each_ref().map(BgpSession::poll_timeout), [None, None]);
}

#[test]
fn a_peer_that_falls_silent_is_lost_after_the_hold_time() {
    let mut pair = Pair::new([config(65_001, 65_000), config(65_000, 65_001)], 5000);
    pair.start();
    // Nothing arrives any more, and nobody notices.
    pair.connected = false;
    pair.run(Duration::from_secs(89));
    assert_eq!(pair.states(), UP);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[0], [SessionEnd::HoldTimerExpired]);
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.ups[0], 2, "the first side dials again");
}

#[test]
fn a_stop_is_told_to_the_peer_which_tries_again() {
    let mut pair = Pair::new([config(65_001, 65_000), config(65_000, 65_001)], 5000);
    pair.start();
    let end = SessionEnd::Stopped(
        crate::wire::notification::CeaseSubcode::AdministrativeShutdown,
        "bye".into(),
    );
    pair.sides[0].stop(end.clone(), pair.now);
    pair.settle();
    assert_eq!(pair.states()[0], SessionState::Idle);
    assert_eq!(pair.ends[0], [end]);
    let [SessionEnd::Received(notification)] = &pair.ends[1][..] else {
        panic!("{:?}", pair.ends[1]);
    };
    assert_eq!(notification.communication(), Some("bye"));
}

/// RFC 8538 section 4.
#[test]
fn a_stop_is_a_hard_reset_if_both_sides_keep_routes_after_a_notification() {
    use crate::wire::notification::{CeaseSubcode, ErrorCode};
    for (restart_time, is_hard) in [(Some(30), true), (None, false)] {
        let mut configs = [config(65_001, 65_000), config(65_000, 65_001)];
        configs[0].restart_time = restart_time;
        configs[1].restart_time = Some(30);
        let mut pair = Pair::new(configs, 5000);
        pair.start();
        let end = SessionEnd::Stopped(CeaseSubcode::PeerDeconfigured, "".into());
        pair.sides[0].stop(end, pair.now);
        pair.settle();
        let [SessionEnd::Received(notification)] = &pair.ends[1][..] else {
            panic!("{:?}", pair.ends[1]);
        };
        let cease = crate::wire::Notification::cease(CeaseSubcode::PeerDeconfigured, "");
        assert_eq!(notification.reason(), cease);
        let hard = notification.error == ErrorCode::Cease(CeaseSubcode::HardReset);
        assert_eq!(hard, is_hard);
    }
}

#[test]
fn a_restart_is_told_to_the_peer_unless_it_keeps_the_routes_meanwhile() {
    use crate::wire::notification::CeaseSubcode;
    let reset = crate::wire::Notification::cease(CeaseSubcode::AdministrativeReset, "");
    let closed = SessionEnd::ConnectionClosed(SessionState::Established);
    for (restart_times, expected) in [
        ([Some(30), Some(30)], closed),
        ([Some(30), None], SessionEnd::Received(reset.clone())),
        ([None, Some(30)], SessionEnd::Received(reset.clone())),
        ([None, None], SessionEnd::Received(reset)),
    ] {
        let mut configs = [config(65_001, 65_000), config(65_000, 65_001)];
        for (config, restart_time) in configs.iter_mut().zip(restart_times) {
            config.restart_time = restart_time;
        }
        let mut pair = Pair::new(configs, 5000);
        pair.start();
        pair.sides[0].stop(SessionEnd::Restart, pair.now);
        pair.settle();
        assert_eq!(pair.ends[1], [expected]);
    }
}

#[test]
fn a_misconfigured_peer_is_told_why_and_tried_less_and_less_often() {
    let mut pair = Pair::new([config(65_001, 65_003), config(65_000, 65_001)], 5000);
    pair.start();
    assert_eq!(pair.ends[0], [SessionEnd::PeerAs(Asn(65_000))]);
    pair.run(Duration::from_secs(60));
    let attempts = pair.ends[0].len();
    assert!((5..=12).contains(&attempts), "{attempts} in the first minute");
    pair.run(Duration::from_secs(540));
    let attempts = pair.ends[0].len();
    // 1, 2, 4, 8, 16 s and then every 30 s, each less up to a quarter.
    assert!((20..=32).contains(&attempts), "{attempts}");
    assert_eq!(pair.ups, [0, 0]);
}

#[test]
fn only_a_session_that_lasted_makes_the_next_pause_the_first_one() {
    use crate::wire::notification::CeaseSubcode;
    let mut pair = Pair::new([config(65_001, 65_000), config(65_000, 65_001)], 5000);
    pair.start();
    // The peer ends the session after this time, and takes the next one.
    let mut pause_after = |lasts: Duration| {
        assert_eq!(pair.states(), UP);
        pair.run(lasts);
        let end = SessionEnd::Stopped(CeaseSubcode::AdministrativeReset, "".into());
        pair.sides[1].stop(end, pair.now);
        pair.settle();
        let pause = pair.sides[0].poll_timeout().expect("a pause") - pair.now;
        pair.sides[1].start(pair.now);
        pair.settle();
        pair.run(pause);
        pause
    };
    let (too_short, good) = (Duration::from_millis(9999), Duration::from_secs(10));
    for (lasts, seconds) in [
        (too_short, 1),
        (too_short, 2),
        (too_short, 4),
        (too_short, 8),
        (good, 1),
        (too_short, 2),
    ] {
        let (pause, longest) = (pause_after(lasts), Duration::from_secs(seconds));
        assert!(
            (longest * 3 / 4..=longest).contains(&pause),
            "{pause:?}, not {longest:?}"
        );
    }
}

#[test]
fn the_pause_between_attempts_can_be_fixed() {
    let mut fixed = config(65_001, 65_000);
    fixed.connect_retry = Some(Duration::from_secs(8));
    let mut session = BgpSession::new(fixed, 7);
    session.start(Time::ZERO);
    let mut now = Time::ZERO;
    let mut pauses = std::collections::BTreeSet::new();
    for _ in 0..10 {
        assert_eq!(actions(&mut session)[0], SessionAction::Dial);
        session.handle_closed(now);
        let pause = session.poll_timeout().expect("a pause") - now;
        assert!(
            (Duration::from_secs(6)..=Duration::from_secs(8)).contains(&pause),
            "{pause:?}"
        );
        pauses.insert(pause);
        now = now + pause;
        let _closed = actions(&mut session);
        session.handle_timeout(now);
    }
    assert!(pauses.len() > 5, "jitter: {pauses:?}");
}

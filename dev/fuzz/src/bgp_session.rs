//! Any peer, network and caller of a BGP session.

use std::time::Duration;

use herald_bgp::session::{BgpSession, ExpectedAs, SessionAction, SessionConfig, SessionEnd, SessionState};
use herald_bgp::wire::notification::CeaseSubcode;
use herald_bgp::wire::{Asn, BgpIdentifier, HoldTime, MAX_LENGTH, frame};
use herald_core::{Family, Time};

/// The first three bytes are the configuration; each further byte is something that happens, with the bytes that it needs
/// behind it. Checks that
/// * timers that are due do not stay;
/// * a session that is reported up is reported ended before the next, and every end closes the connection;
/// * each piece that is sent is a whole message;
/// * a stopped session wants nothing.
///
/// # Panics
/// If a check fails.
pub fn bgp_session(bytes: &[u8]) {
    let [hold_time, keepalive, flags, steps @ ..] = bytes else {
        return;
    };
    let mut steps = steps;
    let mut session = BgpSession::new(config(*hold_time, *keepalive, *flags), 1);
    let mut now = Time::ZERO;
    let mut is_up = false;
    while let [step, rest @ ..] = steps {
        steps = rest;
        match step % 12 {
            0 => session.start(now),
            1 => session.stop(SessionEnd::Restart, now),
            2 => session.stop(
                SessionEnd::Stopped(CeaseSubcode::PeerDeconfigured, String::new()),
                now,
            ),
            3 => session.handle_connected(now),
            4 => session.handle_accepted(now),
            5 => session.handle_closed(now),
            6 => session.handle_bfd_down(now),
            7 => session.handle_peer_heard(now),
            8 => session.handle_sent(usize::from(step / 12 % 2), step / 24 % 2 == 0, now),
            9 => {
                let seconds = take(&mut steps, 1).first().copied().unwrap_or(0);
                wait(&mut session, &mut now, seconds);
            }
            _ => {
                let length = take(&mut steps, 1).first().copied().unwrap_or(0);
                let arrived = take(&mut steps, usize::from(length));
                session.handle_bytes(arrived, now);
            }
        }
        check(&mut session, &mut is_up, now);
    }
}

fn config(hold_time: u8, keepalive: u8, flags: u8) -> SessionConfig {
    let is = |bit: u8| flags & bit != 0;
    let own = Asn(65_001);
    SessionConfig {
        local_asn: own,
        peer_asn: if is(1) {
            ExpectedAs::Internal(own)
        } else {
            ExpectedAs::External(own)
        },
        identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
        hold_time: HoldTime::new(hold_time.into()).unwrap_or(HoldTime::NONE),
        keepalive: is(2).then(|| Duration::from_millis(u64::from(keepalive) * 100)),
        connect_retry: is(4).then_some(Duration::from_secs(5)),
        families: vec![Family::V4, Family::V6],
        extended_next_hop: is(8),
        restart_time: is(16).then_some(30),
        forwarding: is(32),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Lets time pass, timer by timer: at most one KEEPALIVE and one other timer a second.
fn wait(session: &mut BgpSession, now: &mut Time, seconds: u8) {
    let end = *now + Duration::from_secs(seconds.into());
    let mut handled = 0;
    while let Some(next) = session.poll_timeout().filter(|next| *next <= end) {
        *now = next.max(*now);
        session.handle_timeout(*now);
        handled += 1;
        assert!(
            handled <= 2 * u32::from(seconds) + 10,
            "a timer that is due stays"
        );
    }
    *now = end;
}

fn check(session: &mut BgpSession, is_up: &mut bool, now: Time) {
    assert!(session.poll_timeout().is_none_or(|next| next >= now));
    let mut is_closed = false;
    while let Some(action) = session.poll_action() {
        match action {
            SessionAction::Up(_) => {
                assert!(!*is_up, "up twice");
                *is_up = true;
            }
            SessionAction::Ended { state, .. } => {
                assert_eq!(state == SessionState::Established, *is_up);
                assert!(is_closed, "an end leaves the connection open");
                *is_up = false;
            }
            SessionAction::Send(bytes) => {
                let raw = frame(&bytes, MAX_LENGTH).expect("a header").expect("whole");
                assert_eq!(raw.length(), bytes.len());
            }
            SessionAction::Close => is_closed = true,
            SessionAction::Dial | SessionAction::Refresh(_) => {}
        }
    }
    assert_eq!(*is_up, session.state() == SessionState::Established);
    assert!(session.state() != SessionState::Idle || session.poll_timeout().is_none());
}

//! Any peer, any network and any caller.

use core::time::Duration;
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::notification::CeaseSubcode;
use crate::wire::update::emit_end_of_rib;
use crate::wire::{AfiSafi, Notification, RouteRefresh};

/// What happens to a session.
#[derive(Debug, Clone)]
enum Step {
    Start,
    Stop(SessionEnd),
    Connected,
    Accepted,
    Closed,
    BfdDown,
    PeerHeard,
    /// The configuration is replaced.
    Configured(SessionConfig),
    Reset,
    /// The connection took that many bytes, and some are left.
    Sent(usize, bool),
    /// The peer sends a message.
    Message(Vec<u8>),
    /// That part of what the peer sent arrives.
    Arrive(prop::sample::Index),
    /// Time passes.
    Wait(Duration),
}

fn emitted(emit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(&mut bytes);
    bytes
}

/// What a peer sends: mostly what belongs there.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let open = (side(65_000), any::<bool>())
        .prop_map(|(config, restarted)| emitted(|out| config.open(restarted).emit(out).expect("short")));
    let refresh = (0..4_u8, any::<bool>()).prop_map(|(subtype, is_v6)| {
        let subtype = match subtype {
            0 => RefreshSubtype::Request,
            1 => RefreshSubtype::Begin,
            2 => RefreshSubtype::End,
            other => RefreshSubtype::Other(other),
        };
        let family = AfiSafi::unicast(if is_v6 { Family::V6 } else { Family::V4 });
        emitted(|out| RouteRefresh { family, subtype }.emit(out))
    });
    let cease = Notification::cease(CeaseSubcode::AdministrativeReset, "bye");
    prop_oneof![
        4 => open,
        6 => Just(emitted(emit_keepalive)),
        2 => Just(emitted(|out| emit_end_of_rib(out, Family::V4))),
        2 => refresh,
        1 => Just(emitted(|out| cease.emit(out).expect("short"))),
        1 => vec(any::<u8>(), 0..40),
    ]
}

/// A side of this AS, with anything that may be configured.
fn side(asn: u32) -> impl Strategy<Value = SessionConfig> {
    let hold_time = prop_oneof![Just(0), 3..10_u16, any::<u16>()];
    let hold_time = hold_time.prop_map(|seconds| HoldTime::new(seconds).unwrap_or(HoldTime::NONE));
    let keepalive = prop::option::of((0..100_000_u64).prop_map(Duration::from_millis));
    let restart_time = prop::option::of(0..4096_u16);
    (hold_time, keepalive, restart_time, any::<bool>()).prop_map(
        move |(hold_time, keepalive, restart_time, forwarding)| SessionConfig {
            hold_time,
            keepalive,
            restart_time,
            forwarding,
            ..config(asn, 65_000 + 65_001 - asn)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let stop = prop_oneof![
        Just(SessionEnd::Restart),
        Just(SessionEnd::Collision),
        Just(SessionEnd::Stopped(CeaseSubcode::PeerDeconfigured, "".into())),
    ];
    prop_oneof![
        2 => Just(Step::Start),
        1 => stop.prop_map(Step::Stop),
        4 => Just(Step::Connected),
        2 => Just(Step::Accepted),
        3 => prop::sample::select(&[Step::Closed, Step::BfdDown, Step::PeerHeard, Step::Reset][..]),
        1 => prop_oneof![3 => side(65_001), 1 => side(65_002)].prop_map(Step::Configured),
        3 => (0..3_usize, any::<bool>()).prop_map(|(took, is_left)| Step::Sent(took, is_left)),
        10 => message().prop_map(Step::Message),
        10 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        4 => (0..300_u64).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
    ]
}

/// Lets time pass, timer by timer. At most one KEEPALIVE and one other timer a second make this many.
fn wait(session: &mut BgpSession, now: &mut Time, time: Duration) {
    let end = *now + time;
    let mut handled = 0;
    while let Some(next) = session.poll_timeout().filter(|next| *next <= end) {
        *now = next.max(*now);
        session.handle_timeout(*now);
        handled += 1;
        assert!(
            handled <= 2 * time.as_secs() + 10,
            "timers that are due do not stay"
        );
    }
    *now = end;
}

proptest! {
    /// Whatever happens in whatever order: nothing panics, timers that are due do not stay, every session that is reported up
    /// is reported ended before the next, nothing is sent without a connection, and a stopped session wants nothing.
    #[test]
    fn any_sequence_of_events_is_survived(config in side(65_001), steps in vec(step(), 0..80)) {
        let mut session = BgpSession::new(config, 3);
        let mut now = Time::ZERO;
        let mut stream = Vec::new();
        let mut is_up = false;
        for step in steps {
            let had_connection = session.has_connection();
            match step {
                Step::Start => session.start(now),
                Step::Stop(end) => session.stop(end, now),
                Step::Connected => session.handle_connected(now),
                Step::Accepted => session.handle_accepted(now),
                Step::Closed => session.handle_closed(now),
                Step::BfdDown => session.handle_bfd_down(now),
                Step::PeerHeard => session.handle_peer_heard(now),
                Step::Configured(config) => session.set_config(config, now),
                Step::Reset => session.reset(now),
                Step::Sent(took, is_left) => session.handle_sent(took, is_left, now),
                Step::Message(bytes) => stream.extend(bytes),
                Step::Arrive(part) => {
                    let length = part.index(stream.len() + 1);
                    let arrived: Vec<_> = stream.drain(..length).collect();
                    session.handle_bytes(&arrived, now);
                }
                Step::Wait(time) => wait(&mut session, &mut now, time),
            }
            prop_assert!(session.poll_timeout().is_none_or(|next| next >= now));
            let mut is_open = had_connection || session.has_connection();
            for action in actions(&mut session) {
                match action {
                    SessionAction::Up(_) => {
                        prop_assert!(!is_up);
                        is_up = true;
                    }
                    SessionAction::Ended { state, .. } => {
                        prop_assert_eq!(state == SessionState::Established, is_up);
                        is_up = false;
                    }
                    SessionAction::Send(bytes) => {
                        prop_assert!(is_open);
                        let raw = frame(&bytes, MAX_LENGTH).expect("valid").expect("whole");
                        prop_assert_eq!(raw.length(), bytes.len());
                    }
                    SessionAction::Close => {
                        is_open = false;
                        stream.clear();
                    }
                    SessionAction::Dial | SessionAction::Refresh(_) => {}
                }
            }
            prop_assert_eq!(is_up, session.state() == SessionState::Established);
            if session.state() == SessionState::Idle {
                prop_assert_eq!(session.poll_timeout(), None);
            }
        }
    }
}

//! What ends a session, and what the peer is told.

use core::time::Duration;
use std::vec::Vec;

use super::*;
use crate::wire::notification::{CeaseSubcode, ErrorCode, FsmSubcode, HeaderSubcode, OpenSubcode};
use crate::wire::update::emit_end_of_rib;
use crate::wire::{AfiSafi, MessageType, Notification, Open, RouteRefresh};

fn bytes_of(open: &Open) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.emit(&mut bytes).expect("short");
    bytes
}

fn keepalive() -> Vec<u8> {
    let mut bytes = Vec::new();
    emit_keepalive(&mut bytes);
    bytes
}

/// A session in this state whose peer is that of `config(65_000, 65_001)`.
fn session_in(state: SessionState) -> BgpSession {
    let mut session = BgpSession::new(config(65_001, 65_000), 1);
    session.start(Time::ZERO);
    session.handle_connected(Time::ZERO);
    if state != SessionState::OpenSent {
        session.handle_bytes(&bytes_of(&config(65_000, 65_001).open(false)), Time::ZERO);
    }
    if state == SessionState::Established {
        session.handle_bytes(&keepalive(), Time::ZERO);
    }
    assert_eq!(session.state(), state);
    let _actions = actions(&mut session);
    session
}

/// What the session told the peer, and why it ended. Checks that it closed the connection and waits to try again.
fn end_of(session: &mut BgpSession) -> (Option<ErrorCode>, SessionEnd) {
    let (told, end) = told_at_end(session);
    (told.map(|notification| notification.error), end)
}

/// As [`end_of`], with the data of the NOTIFICATION.
fn told_at_end(session: &mut BgpSession) -> (Option<Notification>, SessionEnd) {
    let (mut told, mut closed) = (None, false);
    for action in actions(session) {
        match action {
            SessionAction::Send(bytes) => {
                assert!(!closed, "bytes after the end");
                let raw = frame(&bytes, MAX_LENGTH).expect("valid").expect("whole");
                if let Ok(BgpMessage::Notification(notification)) = BgpMessage::parse(raw, &session.format())
                {
                    told = Some(notification);
                }
            }
            SessionAction::Close => closed = true,
            SessionAction::Ended { end, .. } => {
                assert!(closed);
                assert_eq!(session.state(), SessionState::Active);
                assert!(session.poll_timeout().is_some());
                return (told, end);
            }
            other @ (SessionAction::Dial | SessionAction::Up(_) | SessionAction::Refresh(_)) => {
                panic!("{other:?}")
            }
        }
    }
    panic!("it did not end");
}

const STATES: [(SessionState, FsmSubcode); 3] = [
    (SessionState::OpenSent, FsmSubcode::OpenSent),
    (SessionState::OpenConfirm, FsmSubcode::OpenConfirm),
    (SessionState::Established, FsmSubcode::Established),
];

#[test]
fn an_open_that_does_not_fit_is_answered_with_the_reason() {
    let mut session = session_in(SessionState::OpenSent);
    session.handle_bytes(&bytes_of(&config(65_009, 65_001).open(false)), Time::ZERO);
    let expected = (
        Some(ErrorCode::Open(OpenSubcode::BadPeerAs)),
        SessionEnd::PeerAs(Asn(65_009)),
    );
    assert_eq!(end_of(&mut session), expected);
    // RFC 6286 section 2.2: within an AS two speakers with one identifier are a mistake, across ASes they are none.
    let mut internal = config(65_001, 65_001);
    internal.peer_asn = ExpectedAs::Internal(Asn(65_001));
    let mut session = BgpSession::new(internal.clone(), 1);
    session.start(Time::ZERO);
    session.handle_connected(Time::ZERO);
    session.handle_bytes(&bytes_of(&internal.open(false)), Time::ZERO);
    let _open = session.poll_action();
    let _sent = session.poll_action();
    let expected = (
        Some(ErrorCode::Open(OpenSubcode::BadBgpIdentifier)),
        SessionEnd::SameIdentifier(internal.identifier),
    );
    assert_eq!(end_of(&mut session), expected);
}

#[test]
fn a_peer_without_a_common_family_is_refused_and_one_without_the_capability_carries_ipv4() {
    let mut open = config(65_000, 65_001).open(false);
    open.capabilities
        .retain(|capability| !matches!(capability, crate::wire::Capability::Multiprotocol(_)));
    let mut session = session_in(SessionState::OpenSent);
    session.handle_bytes(&bytes_of(&open), Time::ZERO);
    assert_eq!(session.negotiated().expect("accepted").families, [Family::V4]);
    let vpn = AfiSafi { afi: 25, safi: 70 };
    open.capabilities
        .push(crate::wire::Capability::Multiprotocol(vpn));
    let mut session = session_in(SessionState::OpenSent);
    session.handle_bytes(&bytes_of(&open), Time::ZERO);
    // RFC 5492 section 5: with the capabilities that are missing.
    let expected = Notification::new(
        ErrorCode::Open(OpenSubcode::UnsupportedCapability),
        std::vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1],
    );
    let end = SessionEnd::NoCommonFamily(std::vec![Family::V4, Family::V6]);
    assert_eq!(told_at_end(&mut session), (Some(expected), end));
}

#[test]
fn a_message_in_the_wrong_state_is_answered_with_the_state() {
    let open = bytes_of(&config(65_000, 65_001).open(false));
    let mut update = Vec::new();
    emit_end_of_rib(&mut update, Family::V4);
    for (state, subcode) in STATES {
        let (open, update) = (
            (MessageType::Open, open.clone()),
            (MessageType::Update, update.clone()),
        );
        let unexpected = match state {
            SessionState::OpenSent => std::vec![(MessageType::Keepalive, keepalive()), update],
            SessionState::OpenConfirm => std::vec![open, update],
            SessionState::Established | SessionState::Idle | SessionState::Connect | SessionState::Active => {
                std::vec![open]
            }
        };
        for (kind, bytes) in unexpected {
            let mut session = session_in(state);
            session.handle_bytes(&bytes, Time::ZERO);
            // RFC 6608 section 4: the data is the type of the message.
            let told = Notification::new(ErrorCode::FiniteStateMachine(subcode), std::vec![bytes[18]]);
            let expected = (Some(told), SessionEnd::UnexpectedMessage(state, kind));
            assert_eq!(told_at_end(&mut session), expected);
        }
    }
}

#[test]
fn in_every_state_garbage_a_close_and_a_notification_end_the_session() {
    for (state, _) in STATES {
        let mut session = session_in(state);
        session.handle_bytes(b"SSH-2.0-OpenSSH_9.2p1\r\n", Time::ZERO);
        let told = ErrorCode::MessageHeader(HeaderSubcode::ConnectionNotSynchronized);
        let (answer, end) = end_of(&mut session);
        assert_eq!((answer, end.reason()), (Some(told), "bad_message"));

        let mut session = session_in(state);
        session.handle_closed(Time::ZERO);
        assert_eq!(end_of(&mut session), (None, SessionEnd::ConnectionClosed(state)));

        let mut session = session_in(state);
        let cease = Notification::cease(CeaseSubcode::PeerDeconfigured, "");
        let mut bytes = Vec::new();
        cease.emit(&mut bytes).expect("short");
        session.handle_bytes(&bytes, Time::ZERO);
        assert_eq!(end_of(&mut session), (None, SessionEnd::Received(cease)));

        let mut session = session_in(state);
        session.handle_bfd_down(Time::ZERO);
        let told = ErrorCode::Cease(CeaseSubcode::BfdDown);
        assert_eq!(end_of(&mut session), (Some(told), SessionEnd::BfdDown));
    }
}

#[test]
fn a_peer_that_takes_nothing_is_lost_after_the_send_hold_time() {
    let mut session = session_in(SessionState::Established);
    let mut now = Time::ZERO;
    session.handle_sent(0, true, now);
    // It took something later: the time starts again.
    now = now + Duration::from_secs(60);
    session.handle_bytes(&keepalive(), now);
    session.handle_sent(1, true, now);
    // It lives, but it does not read, and each KEEPALIVE is tried in vain.
    for _ in 0..31 {
        assert_eq!(session.state(), SessionState::Established);
        now = now + Duration::from_secs(15);
        session.handle_bytes(&keepalive(), now);
        session.handle_timeout(now);
        session.handle_sent(0, true, now);
        let _keepalive = actions(&mut session);
    }
    assert_eq!(session.state(), SessionState::Established);
    now = now + Duration::from_secs(15);
    session.handle_timeout(now);
    assert_eq!(
        end_of(&mut session),
        (
            Some(ErrorCode::SendHoldTimerExpired),
            SessionEnd::SendHoldTimerExpired
        )
    );
}

#[test]
fn a_route_refresh_asks_for_the_routes_of_a_carried_family_only() {
    let mut session = session_in(SessionState::Established);
    let request = |family, subtype| {
        let mut bytes = Vec::new();
        RouteRefresh { family, subtype }.emit(&mut bytes);
        bytes
    };
    let ipv6 = AfiSafi::unicast(Family::V6);
    session.handle_bytes(
        &request(AfiSafi { afi: 25, safi: 70 }, RefreshSubtype::Request),
        Time::ZERO,
    );
    session.handle_bytes(&request(ipv6, RefreshSubtype::Other(9)), Time::ZERO);
    assert_eq!(actions(&mut session), []);
    // Requests that nobody took up yet are one.
    let [four, six] =
        [Family::V4, Family::V6].map(|family| request(AfiSafi::unicast(family), RefreshSubtype::Request));
    session.handle_bytes(&[&six[..], &four, &six, &six].concat(), Time::ZERO);
    let expected = [Family::V6, Family::V4].map(SessionAction::Refresh);
    assert_eq!(actions(&mut session), expected);
    session.handle_bytes(&six, Time::ZERO);
    assert_eq!(actions(&mut session), [SessionAction::Refresh(Family::V6)]);
}

#[test]
fn of_two_connections_that_of_the_higher_identifier_survives() {
    let (low, high) = ((identifier(1), Asn(9)), (identifier(2), Asn(1)));
    let (sent, confirm) = (SessionState::OpenSent, SessionState::OpenConfirm);
    assert_eq!(survivor(confirm, sent, high, low), Survivor::Dialled);
    assert_eq!(survivor(sent, confirm, high, low), Survivor::Dialled);
    assert_eq!(survivor(confirm, sent, low, high), Survivor::Accepted);
    // RFC 6286 section 2.3.
    assert_eq!(
        survivor(sent, sent, (identifier(1), Asn(2)), (identifier(1), Asn(1))),
        Survivor::Dialled
    );
}

/// RFC 4271 section 6.8.
#[test]
fn of_two_connections_an_established_session_survives_whatever_the_identifiers_are() {
    let (low, high) = ((identifier(1), Asn(9)), (identifier(2), Asn(1)));
    let (up, confirm) = (SessionState::Established, SessionState::OpenConfirm);
    for (local, peer) in [(low, high), (high, low)] {
        assert_eq!(survivor(up, confirm, local, peer), Survivor::Dialled);
        assert_eq!(survivor(confirm, up, local, peer), Survivor::Accepted);
    }
}

#[test]
fn the_restart_bit_is_in_the_first_open_only() {
    let mut config = config(65_001, 65_000);
    config.restart_time = Some(30);
    let mut session = BgpSession::new(config.clone(), 1);
    session.start(Time::ZERO);
    session.handle_connected(Time::ZERO);
    let open = |restarted| SessionAction::Send(bytes_of(&config.open(restarted)));
    assert_eq!(actions(&mut session), [SessionAction::Dial, open(true)]);
    session.handle_bytes(&bytes_of(&super::config(65_000, 65_001).open(false)), Time::ZERO);
    session.handle_bytes(&keepalive(), Time::ZERO);
    session.handle_closed(Time::ZERO);
    let _actions = actions(&mut session);
    session.handle_accepted(Time::ZERO);
    assert_eq!(actions(&mut session), [open(false)]);
}

/// RFC 4271 section 4.4: at most one KEEPALIVE a second, and a third of the hold time at most between two.
#[test]
fn a_pause_between_keepalives_of_less_than_a_second_is_not_taken() {
    for (keepalive, hold_time, expected) in [(0, 90, 30), (500, 90, 1), (500, 3, 1), (60_000, 90, 30)] {
        let mut config = config(65_001, 65_000);
        config.keepalive = Some(Duration::from_millis(keepalive));
        config.hold_time = HoldTime::new(hold_time).expect("long enough");
        let mut session = BgpSession::new(config, 1);
        session.start(Time::ZERO);
        session.handle_connected(Time::ZERO);
        session.handle_bytes(&bytes_of(&super::config(65_000, 65_001).open(false)), Time::ZERO);
        let negotiated = session.negotiated().expect("accepted");
        assert_eq!(negotiated.keepalive, Some(Duration::from_secs(expected)));
        // The jitter does not shorten the pause to less than a second either.
        assert!(session.poll_timeout() >= Some(Time::ZERO + Duration::from_secs(1)));
    }
}

#[test]
fn a_connection_of_the_peer_does_not_touch_the_one_that_is_being_made() {
    let mut session = BgpSession::new(config(65_001, 65_000), 1);
    session.start(Time::ZERO);
    assert_eq!(actions(&mut session), [SessionAction::Dial]);
    session.handle_accepted(Time::ZERO);
    assert_eq!(session.state(), SessionState::Connect);
    assert_eq!(actions(&mut session), []);
    session.handle_closed(Time::ZERO);
    assert_eq!(end_of(&mut session), (None, SessionEnd::NotConnected));
    // Now there is nothing to collide with.
    session.handle_accepted(Time::ZERO);
    assert_eq!(session.state(), SessionState::OpenSent);
}

/// RFC 4271 section 8.2.2 suggests four minutes for the OPEN.
#[test]
fn a_peer_that_takes_the_connection_and_says_nothing_is_lost_after_four_minutes() {
    let mut session = session_in(SessionState::OpenSent);
    let limit = Time::ZERO + Duration::from_secs(240);
    assert_eq!(session.poll_timeout(), Some(limit));
    session.handle_timeout(Time::ZERO + Duration::from_secs(239));
    assert_eq!(
        (actions(&mut session), session.state()),
        (Vec::new(), SessionState::OpenSent)
    );
    session.handle_timeout(limit);
    let expected = (Some(ErrorCode::HoldTimerExpired), SessionEnd::HoldTimerExpired);
    assert_eq!(end_of(&mut session), expected);
}

#[test]
fn without_a_hold_time_a_peer_that_does_not_confirm_the_open_is_lost() {
    let mut silent = config(65_000, 65_001);
    silent.hold_time = HoldTime::NONE;
    let mut session = session_in(SessionState::OpenSent);
    session.handle_bytes(&bytes_of(&silent.open(false)), Time::ZERO);
    assert_eq!(session.state(), SessionState::OpenConfirm);
    let due = session.poll_timeout().expect("a limit");
    session.handle_timeout(due);
    let expected = (Some(ErrorCode::HoldTimerExpired), SessionEnd::HoldTimerExpired);
    assert_eq!(end_of(&mut session), expected);
}

#[test]
fn a_peer_that_has_taken_everything_or_has_no_hold_time_is_not_lost_for_not_reading() {
    let mut session = session_in(SessionState::Established);
    session.handle_sent(1, true, Time::ZERO);
    let running = session.poll_timeout();
    session.handle_sent(1, false, Time::ZERO);
    assert_eq!(
        session.poll_timeout(),
        running,
        "the keepalive timer is the next one"
    );
    let mut silent = config(65_000, 65_001);
    silent.hold_time = HoldTime::NONE;
    let mut session = session_in(SessionState::OpenSent);
    session.handle_sent(0, true, Time::ZERO);
    session.handle_bytes(&bytes_of(&silent.open(false)), Time::ZERO);
    session.handle_bytes(&keepalive(), Time::ZERO);
    assert_eq!(session.state(), SessionState::Established);
    // RFC 9687 section 3.1.
    session.handle_sent(0, true, Time::ZERO);
    assert_eq!(session.poll_timeout(), None);
}

/// RFC 7313 section 5.
#[test]
fn the_error_of_route_refresh_is_for_peers_with_enhanced_route_refresh() {
    use crate::wire::Capability;
    use crate::wire::notification::RefreshSubcode;
    // A BoRR with a byte too many.
    let mut refresh = std::vec![0xff; 16];
    refresh.extend([0, 24, 5, 0, 1, 1, 1, 0]);
    let enhanced = ErrorCode::RouteRefresh(RefreshSubcode::InvalidMessageLength);
    let plain = ErrorCode::MessageHeader(HeaderSubcode::BadMessageLength);
    for (capability, expected) in [(true, enhanced), (false, plain)] {
        let mut open = config(65_000, 65_001).open(false);
        open.capabilities
            .retain(|offered| capability || *offered != Capability::EnhancedRouteRefresh);
        let mut session = session_in(SessionState::OpenSent);
        session.handle_bytes(&bytes_of(&open), Time::ZERO);
        session.handle_bytes(&keepalive(), Time::ZERO);
        let _up = actions(&mut session);
        session.handle_bytes(&refresh, Time::ZERO);
        assert_eq!(end_of(&mut session).0, Some(expected));
    }
}

#[test]
fn a_message_that_is_too_early_is_refused_unread() {
    let header = |kind, body: &[u8]| {
        let mut bytes = std::vec![0xff; 16];
        bytes.extend([0, u8::try_from(19 + body.len()).expect("short"), kind]);
        bytes.extend(body);
        bytes
    };
    // An UPDATE whose lengths exceed it, and a ROUTE-REFRESH of one byte.
    for (kind, bytes) in [
        (MessageType::Update, header(2, &[0, 9, 0, 0])),
        (MessageType::RouteRefresh, header(5, &[0])),
    ] {
        for state in [SessionState::OpenSent, SessionState::OpenConfirm] {
            let mut session = session_in(state);
            session.handle_bytes(&bytes, Time::ZERO);
            assert_eq!(end_of(&mut session).1, SessionEnd::UnexpectedMessage(state, kind));
        }
    }
}

#[test]
fn an_open_says_whether_packets_were_forwarded() {
    use crate::wire::{Capability, RestartFamily};
    for forwarding in [true, false] {
        let mut config = config(65_001, 65_000);
        config.restart_time = Some(30);
        config.forwarding = forwarding;
        let expected = Capability::GracefulRestart {
            restarted: true,
            notification: true,
            time: 30,
            families: [Family::V4, Family::V6]
                .map(|family| RestartFamily {
                    family: AfiSafi::unicast(family),
                    forwarding,
                })
                .to_vec(),
        };
        assert!(config.open(true).capabilities.contains(&expected));
    }
}

/// RFC 4724 section 4.2: the peer keeps the routes of the speaker before until End-of-RIB, if the F bit is set. With a time of 0 it keeps
/// none when this session ends, so it is told.
#[test]
fn without_a_restart_time_a_speaker_follows_another_and_keeps_no_routes_itself() {
    use crate::wire::{Capability, RestartFamily};
    let mut config = config(65_001, 65_000);
    config.restart_time = Some(0);
    let open = config.open(true);
    let expected = Capability::GracefulRestart {
        restarted: true,
        notification: false,
        time: 0,
        families: [Family::V4, Family::V6]
            .map(|family| RestartFamily {
                family: AfiSafi::unicast(family),
                forwarding: true,
            })
            .to_vec(),
    };
    assert!(open.capabilities.contains(&expected));
    let mut peer = self::config(65_000, 65_001);
    peer.restart_time = Some(120);
    let negotiated = config.negotiate(&peer.open(false)).expect("they agree");
    assert!(!negotiated.graceful_restart && !negotiated.notification_restart);
    let end = SessionEnd::Restart.notification(Some(&negotiated));
    assert_eq!(
        end.map(|end| end.error),
        Some(ErrorCode::Cease(CeaseSubcode::AdministrativeReset))
    );
}

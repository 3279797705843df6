//! A peering against a session of the other side, with a connection that takes as many bytes as the test says.

use core::time::Duration;
use std::collections::BTreeMap;
use std::vec::Vec;

use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::bgp::{Asn, ExpectedAs};
use herald_core::{Family, Prefix};

use super::*;
use crate::session::SessionState::{Active, Connect, Established, Idle};
use crate::wire::notification::{CeaseSubcode, ErrorCode};
use crate::wire::{BgpIdentifier, BgpMessage, Capability, HoldTime, NextHop, frame};

const OWN: u32 = 65_001;

fn config(own: u32, peer: u32) -> SessionConfig {
    SessionConfig {
        local_asn: Asn(own),
        peer_asn: ExpectedAs::Exactly(Asn(peer)),
        identifier: BgpIdentifier::new([192, 0, 2, if own == OWN { 1 } else { 2 }].into()).expect("not zero"),
        hold_time: HoldTime::new(90).expect("long enough"),
        keepalive: None,
        connect_retry: None,
        families: std::vec![Family::V4, Family::V6],
        extended_next_hop: false,
        restart_time: None,
        forwarding: true,
    }
}

fn next_hops(last: u8) -> NextHops {
    NextHops {
        v4: Some(NextHop::V4([192, 0, 2, last].into())),
        v6: None,
    }
}

fn name() -> Arc<str> {
    "router".into()
}

fn prefix(last: u8) -> Prefix {
    Prefix {
        address: [198, 51, 100, last].into(),
        length: 32,
    }
}

fn route(med: u32) -> RouteAttributes {
    RouteAttributes {
        med: Some(med),
        ..RouteAttributes::default()
    }
}

/// A peering that dials, the session of the peer, and what the peer has been told.
struct Link {
    peering: Peering,
    ribs: RibsOut,
    peer: BgpSession,
    now: Time,
    dials: usize,
    ends: Vec<SessionEnd>,
    /// Bytes that the connection takes before it is full.
    room: usize,
    /// MED and length of the AS_PATH of each route, with the next hop.
    routes: BTreeMap<Prefix, (Option<u32>, usize, NextHop)>,
    withdrawals: usize,
    told: Vec<ErrorCode>,
}

impl Link {
    fn new(config: SessionConfig, peer: SessionConfig) -> Self {
        let mut link = Self {
            peering: Peering::new(name(), config, 1),
            ribs: RibsOut::default(),
            peer: BgpSession::new(peer, 2),
            now: Time::ZERO,
            dials: 0,
            ends: Vec::new(),
            room: usize::MAX,
            routes: BTreeMap::new(),
            withdrawals: 0,
            told: Vec::new(),
        };
        link.peering.start(link.now);
        link
    }

    /// Returns one whose session is established.
    fn established(config: SessionConfig, peer: SessionConfig) -> Self {
        let mut link = Self::new(config, peer);
        link.settle();
        assert_eq!(link.peering.state(), Established);
        link
    }

    fn set_route(&mut self, prefix: Prefix, attributes: Option<RouteAttributes>) {
        let change = RouteChange {
            peer: name(),
            prefix,
            attributes,
        };
        self.ribs.set_route(change, self.now);
    }

    fn settle(&mut self) {
        loop {
            let before = (self.dials, self.ends.len(), self.room);
            while let Some(action) = self.peering.poll_action(&mut self.ribs) {
                self.act(action);
            }
            let mut sent = Vec::new();
            while let Some(bytes) = self.peering.poll_transmit(&mut self.ribs) {
                let took = bytes.len().min(self.room);
                sent.extend_from_slice(&bytes[..took]);
                self.room -= took;
                self.peering.handle_sent(took, self.now);
                if self.room == 0 {
                    break;
                }
            }
            self.deliver(&sent);
            let mut is_quiet = sent.is_empty();
            while let Some(action) = self.peer.poll_action() {
                is_quiet = false;
                match action {
                    SessionAction::Send(bytes) => self.peering.handle_bytes(&bytes, self.now),
                    SessionAction::Close => self.peering.handle_closed(self.now),
                    SessionAction::Dial
                    | SessionAction::Up(_)
                    | SessionAction::Refresh(_)
                    | SessionAction::Ended { .. } => {}
                }
            }
            if is_quiet && before == (self.dials, self.ends.len(), self.room) {
                return;
            }
        }
    }

    fn act(&mut self, action: PeeringAction) {
        match action {
            PeeringAction::Dial => {
                self.dials += 1;
                self.routes.clear();
                // The peer listens.
                self.peer.stop(SessionEnd::Collision, self.now);
                self.peer.start(self.now);
                while self.peer.poll_action().is_some() {}
                self.peer.handle_connected(self.now);
                self.peering.handle_connected(next_hops(1), self.now);
            }
            PeeringAction::Close(bytes) => self.deliver(&bytes),
            PeeringAction::Up(negotiated) => assert_eq!(negotiated.local_asn, self.own()),
            PeeringAction::Ended { end, .. } => self.ends.push(end),
        }
    }

    fn own(&self) -> Asn {
        self.peering.session.negotiated().expect("it is up").local_asn
    }

    /// What the peer reads of it.
    fn deliver(&mut self, bytes: &[u8]) {
        let format = self.peering.session.negotiated().map(|both| both.format);
        let mut rest = bytes;
        while let (Ok(Some(raw)), Some(format)) = (frame(rest, 65_535), format) {
            rest = &rest[raw.length()..];
            if let Ok(BgpMessage::Update(update)) = BgpMessage::parse(raw, &format) {
                self.withdrawals += update.withdrawn.len();
                self.routes.retain(|prefix, _| {
                    let gone = update.withdrawn.iter().any(|nlri| nlri.prefix() == *prefix);
                    !gone
                });
                for reachable in &update.reachable {
                    let attributes = update.attributes.as_ref().expect("routes have attributes");
                    let hops = attributes
                        .as_path
                        .0
                        .iter()
                        .map(|segment| segment.numbers.len())
                        .sum();
                    for nlri in &reachable.nlri {
                        let seen = (attributes.med, hops, reachable.next_hop);
                        self.routes.insert(nlri.prefix(), seen);
                    }
                }
            }
        }
        // A NOTIFICATION stands alone or at the end.
        if let Ok(Some(raw)) = frame(bytes, 65_535)
            && let Ok(BgpMessage::Notification(notification)) = BgpMessage::parse(
                raw,
                &crate::wire::UpdateFormat {
                    four_octet_as: true,
                    max_length: 65_535,
                    internal: false,
                },
            )
        {
            self.told.push(notification.error);
        }
        self.peer.handle_bytes(bytes, self.now);
    }
}

#[test]
fn routes_of_before_and_of_later_reach_the_peer_and_withdrawals_do() {
    for (peer, hops) in [(65_000, 1), (OWN, 0)] {
        let mut of_peer = config(peer, OWN);
        of_peer.identifier = BgpIdentifier::new([192, 0, 2, 9].into()).expect("not zero");
        let mut link = Link::new(config(OWN, peer), of_peer);
        link.set_route(prefix(1), Some(route(100)));
        link.settle();
        let hop = NextHop::V4([192, 0, 2, 1].into());
        assert_eq!(link.routes[&prefix(1)], (Some(100), hops, hop));
        link.set_route(prefix(2), Some(route(50)));
        link.set_route(prefix(1), None);
        link.settle();
        assert_eq!(link.routes, BTreeMap::from([(prefix(2), (Some(50), hops, hop))]));
        assert_eq!(link.dials, 1);
    }
}

#[test]
fn messages_and_prefixes_are_counted() {
    let mut link = Link::new(config(OWN, 65_000), config(65_000, OWN));
    link.set_route(prefix(1), Some(route(100)));
    assert_eq!(
        (link.ribs.sendable(&name()), link.ribs.announced(&name())),
        (1, 0)
    );
    link.settle();
    assert_eq!(
        (link.ribs.sendable(&name()), link.ribs.announced(&name())),
        (1, 1)
    );
    let (sent, received) = (link.peering.sent_messages(), link.peering.received_messages());
    // A route, and End-of-RIB of both families.
    assert_eq!(
        (sent.opens, sent.updates, sent.keepalives, sent.total()),
        (1, 3, 1, 5)
    );
    assert_eq!((received.opens, received.keepalives, received.total()), (1, 1, 2));
    // What the connection does not take is not sent.
    link.room = 0;
    for last in 2..4 {
        link.set_route(prefix(last), Some(route(100)));
    }
    link.set_route(prefix(1), None);
    link.settle();
    let is_taken = link.peering.poll_transmit(&mut link.ribs).is_some();
    assert!(is_taken);
    assert_eq!(link.peering.sent_messages().updates, 3);
    assert_eq!(link.ribs.sendable(&name()), 2);
    link.room = usize::MAX;
    link.settle();
    assert_eq!(
        (link.ribs.sendable(&name()), link.ribs.announced(&name())),
        (2, 2)
    );
    let updates = link.peering.sent_messages().updates;
    assert_eq!(updates, 5, "one announces and one withdraws");
    // Without a session the peer has nothing. The messages of before still count.
    let end = SessionEnd::Stopped(CeaseSubcode::AdministrativeShutdown, "gone".into());
    link.peering.stop(end, link.now);
    link.settle();
    assert_eq!(
        (link.ribs.sendable(&name()), link.ribs.announced(&name())),
        (2, 0)
    );
    let sent = link.peering.sent_messages();
    assert_eq!((sent.notifications, sent.updates), (1, updates));
}

#[test]
fn a_peer_that_takes_few_bytes_at_a_time_gets_whole_messages_and_the_newest_routes() {
    let mut link = Link::established(config(OWN, 65_000), config(65_000, OWN));
    link.room = 0;
    for last in 0..200 {
        link.set_route(prefix(last), Some(route(1)));
    }
    let mut stream = Vec::new();
    for med in 2.. {
        // One byte at a time: while a message is on its way the routes change.
        let Some(bytes) = link.peering.poll_transmit(&mut link.ribs) else {
            break;
        };
        stream.push(bytes[0]);
        link.peering.handle_sent(1, link.now);
        if med < 20 {
            link.set_route(prefix(7), Some(route(med)));
        }
    }
    link.deliver(&stream);
    assert_eq!(link.routes.len(), 200);
    assert_eq!(link.routes[&prefix(7)].0, Some(19));
    let mut rest = &stream[..];
    let mut messages = 0;
    while let Ok(Some(raw)) = frame(rest, 65_535) {
        rest = &rest[raw.length()..];
        messages += 1;
    }
    assert!(rest.is_empty());
    assert_eq!(
        messages, 2,
        "what was encoded first, and the newest of what changed since"
    );
}

#[test]
fn what_is_not_sent_of_a_message_goes_before_the_notification_at_the_end() {
    let mut link = Link::established(config(OWN, 65_000), config(65_000, OWN));
    link.set_route(prefix(1), Some(route(1)));
    let begun = link.peering.poll_transmit(&mut link.ribs).expect("a route")[..5].to_vec();
    link.peering.handle_sent(5, link.now);
    let end = SessionEnd::Stopped(CeaseSubcode::AdministrativeShutdown, "gone".into());
    link.peering.stop(end, link.now);
    let Some(PeeringAction::Close(rest)) = link.peering.poll_action(&mut link.ribs) else {
        panic!("the connection is closed");
    };
    let whole = [begun, rest].concat();
    let update = frame(&whole, 4096).expect("valid").expect("whole");
    let cease = &whole[update.length()..];
    assert_eq!(
        frame(cease, 4096).expect("valid").expect("whole").length(),
        cease.len()
    );
    assert_eq!(link.peering.poll_transmit(&mut link.ribs), None);
    assert!(matches!(
        link.peering.poll_action(&mut link.ribs),
        Some(PeeringAction::Ended {
            state: Established,
            ..
        })
    ));
    assert_eq!(
        (link.peering.poll_action(&mut link.ribs), link.peering.state()),
        (None, Idle)
    );
}

#[test]
fn a_change_takes_a_new_session_only_where_the_protocol_asks_for_one() {
    let other = Some(ErrorCode::Cease(CeaseSubcode::OtherConfigurationChange));
    type Change = fn(&mut SessionConfig);
    let changes: [(Change, Option<ErrorCode>); 9] = [
        (|config| config.keepalive = Some(Duration::from_secs(3)), None),
        (|config| config.connect_retry = Some(Duration::from_secs(9)), None),
        (
            |config| config.hold_time = HoldTime::new(30).expect("long enough"),
            None,
        ),
        (|config| config.restart_time = Some(30), None),
        (|config| config.peer_asn = ExpectedAs::External(Asn(OWN)), None),
        (|config| config.peer_asn = ExpectedAs::Exactly(Asn(7)), other),
        (|config| config.local_asn = Asn(65_009), other),
        (|config| config.families = std::vec![Family::V4], other),
        (
            |config| config.identifier = BgpIdentifier::new([9, 9, 9, 9].into()).expect("not zero"),
            other,
        ),
    ];
    for (change, told) in changes {
        let mut peer = config(65_000, OWN);
        peer.peer_asn = ExpectedAs::External(Asn(65_000));
        let mut link = Link::established(config(OWN, 65_000), peer);
        link.set_route(prefix(1), Some(route(1)));
        link.settle();
        let mut after = config(OWN, 65_000);
        change(&mut after);
        link.peering.set_config(after.clone(), link.now);
        link.settle();
        assert_eq!(link.told.first(), told.as_ref());
        assert_eq!(link.dials > 1, told.is_some());
        if told.is_none() {
            assert_eq!(link.ends, []);
        } else {
            assert_eq!(link.ends[0], SessionEnd::Reconfigured);
        }
        if after.peer_asn != ExpectedAs::Exactly(Asn(7)) {
            assert_eq!(link.peering.state(), Established);
            assert_eq!(link.routes.len(), 1);
        }
    }
}

#[test]
fn graceful_restart_is_switched_on_and_off_with_the_next_session() {
    for (before, after) in [(None, Some(30)), (Some(30), Some(60)), (Some(30), None)] {
        let with = |restart_time| SessionConfig {
            restart_time,
            ..config(OWN, 65_000)
        };
        let mut link = Link::established(with(before), config(65_000, OWN));
        link.peering.set_config(with(after), link.now);
        link.settle();
        assert_eq!((link.dials, link.peering.state()), (1, Established));
        link.peering.handle_closed(link.now);
        while link.peering.poll_action(&mut link.ribs).is_some() {}
        link.peering.reset(link.now);
        while link.peering.poll_action(&mut link.ribs).is_some() {}
        link.peering.handle_connected(next_hops(1), link.now);
        assert_eq!(link.peering.poll_action(&mut link.ribs), None);
        let bytes = link.peering.poll_transmit(&mut link.ribs).expect("an OPEN");
        let raw = frame(bytes, 4096).expect("valid").expect("whole");
        let format = crate::wire::UpdateFormat {
            four_octet_as: true,
            max_length: 4096,
            internal: false,
        };
        let Ok(BgpMessage::Open(open)) = BgpMessage::parse(raw, &format) else {
            panic!("not an OPEN");
        };
        let time_of = |capability: &Capability| match *capability {
            Capability::GracefulRestart { time, .. } => Some(time),
            Capability::Multiprotocol(_)
            | Capability::RouteRefresh
            | Capability::EnhancedRouteRefresh
            | Capability::ExtendedMessage
            | Capability::FourOctetAs(_)
            | Capability::ExtendedNextHop(_)
            | Capability::Unknown { .. } => None,
        };
        let restart_time = open.capabilities.iter().find_map(time_of);
        assert_eq!(restart_time, after);
    }
}

#[test]
fn a_shorter_pause_between_keepalives_counts_at_once() {
    let mut link = Link::established(config(OWN, 65_000), config(65_000, OWN));
    let mut after = config(OWN, 65_000);
    after.keepalive = Some(Duration::from_secs(2));
    link.peering.set_config(after, link.now);
    let next = link.peering.poll_timeout().expect("a timer runs");
    assert!(next <= link.now + Duration::from_secs(2));
    link.peering.handle_timeout(next);
    let _none = link.peering.poll_action(&mut link.ribs);
    // A longer pause does not postpone the KEEPALIVE that is due.
    link.peering.set_config(config(OWN, 65_000), next);
    assert_eq!(
        link.peering.poll_transmit(&mut link.ribs).map(<[u8]>::len),
        Some(19)
    );
}

#[test]
fn a_change_or_a_reset_ends_the_pause_before_the_next_attempt() {
    let ribs = &mut RibsOut::default();
    let mut peering = Peering::new(name(), config(OWN, 65_000), 1);
    peering.reset(Time::ZERO);
    assert_eq!(
        (peering.poll_action(ribs), peering.state()),
        (None, Idle),
        "it is stopped"
    );
    peering.start(Time::ZERO);
    assert_eq!(peering.poll_action(ribs), Some(PeeringAction::Dial));
    peering.handle_closed(Time::ZERO);
    while peering.poll_action(ribs).is_some() {}
    assert_eq!(peering.state(), Active);
    let mut after = config(OWN, 65_000);
    after.hold_time = HoldTime::new(30).expect("long enough");
    peering.set_config(after.clone(), Time::ZERO);
    assert_eq!(
        (peering.poll_action(ribs), peering.state()),
        (Some(PeeringAction::Dial), Connect)
    );
    // The connection that is being made goes elsewhere now.
    peering.reset(Time::ZERO);
    let actions: Vec<_> = core::iter::from_fn(|| peering.poll_action(ribs)).collect();
    assert_eq!(actions, [PeeringAction::Close(Vec::new()), PeeringAction::Dial]);
    peering.set_config(after, Time::ZERO);
    assert_eq!(peering.poll_action(ribs), None, "the same again is no change");
}

#[test]
fn routes_have_the_next_hops_of_now_and_without_one_are_withdrawn() {
    let mut link = Link::established(config(OWN, 65_000), config(65_000, OWN));
    link.set_route(prefix(1), Some(route(1)));
    link.set_route(prefix(2), Some(route(1)));
    link.settle();
    link.peering.set_next_hops(next_hops(5), &mut link.ribs);
    link.settle();
    let hop = NextHop::V4([192, 0, 2, 5].into());
    assert!(link.routes.values().all(|(_, _, next)| *next == hop));
    assert_eq!((link.routes.len(), link.withdrawals, link.dials), (2, 0, 1));
    // The address is gone.
    link.peering.set_next_hops(NextHops::default(), &mut link.ribs);
    link.settle();
    assert_eq!((link.routes.len(), link.withdrawals), (0, 2));
    assert_eq!(
        (link.ribs.sendable(&name()), link.ribs.announced(&name())),
        (0, 0)
    );
    // Nothing is said of routes that the peer does not have.
    link.set_route(prefix(1), None);
    link.set_route(prefix(2), Some(route(7)));
    link.set_route(prefix(3), Some(route(1)));
    link.settle();
    assert_eq!((link.routes.len(), link.withdrawals), (0, 2));
    link.peering.set_next_hops(next_hops(6), &mut link.ribs);
    link.settle();
    let hop = NextHop::V4([192, 0, 2, 6].into());
    let expected = [(prefix(2), (Some(7), 1, hop)), (prefix(3), (Some(1), 1, hop))];
    assert_eq!(link.routes, BTreeMap::from(expected));
    assert_eq!((link.withdrawals, link.dials), (2, 1));
}

#[test]
fn ipv4_routes_have_the_ipv6_next_hop_only_where_there_is_no_other_and_the_peer_takes_it() {
    let v6 = NextHop::V6 {
        global: [0xfc00, 0, 0, 0, 0, 0, 0, 1].into(),
        link_local: None,
    };
    for (v4, is_taken, expected) in [
        (None, true, Some(v6)),
        (None, false, None),
        (next_hops(1).v4, true, next_hops(1).v4),
    ] {
        let (mut own, mut peer) = (config(OWN, 65_000), config(65_000, OWN));
        (own.extended_next_hop, peer.extended_next_hop) = (true, is_taken);
        let mut link = Link::established(own, peer);
        // Until the interface is known there is none of either family.
        link.peering.handle_closed(link.now);
        while link.peering.poll_action(&mut link.ribs).is_some() {}
        link.peering.reset(link.now);
        while link.peering.poll_action(&mut link.ribs).is_some() {}
        link.peer.stop(SessionEnd::Collision, link.now);
        link.peer.start(link.now);
        while link.peer.poll_action().is_some() {}
        link.peer.handle_connected(link.now);
        link.peering.handle_connected(NextHops::default(), link.now);
        link.set_route(prefix(1), Some(route(1)));
        link.settle();
        assert_eq!(link.routes.len(), 0);
        link.peering
            .set_next_hops(NextHops { v4, v6: Some(v6) }, &mut link.ribs);
        link.settle();
        let seen = link.routes.get(&prefix(1)).map(|(_, _, next_hop)| *next_hop);
        assert_eq!(seen, expected);
    }
}

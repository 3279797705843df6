//! Peers that read what they are sent, and whose routes are compared with those that they should have.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::vec::Vec;

use herald_core::announce::bgp::{FamilyLimit, SessionLimits};
use proptest::collection::vec;
use proptest::prelude::*;

use self::oracle::OraclePeer;
use super::*;
use crate::wire::{
    AsPath, Asn, BgpIdentifier, BgpMessage, Community, EXTENDED_MAX_LENGTH, HoldTime, MAX_LENGTH,
    UpdateFormat, frame,
};

const FORMAT: UpdateFormat = UpdateFormat {
    four_octet_as: true,
    max_length: MAX_LENGTH,
    internal: false,
};

const OWN: Asn = Asn(65_001);

fn negotiated(format: UpdateFormat, enhanced_refresh: bool) -> Negotiated {
    Negotiated {
        local_asn: OWN,
        peer_asn: Asn(65_000),
        peer_identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
        hold_time: HoldTime::NONE,
        keepalive: None,
        families: std::vec![Family::V4, Family::V6],
        format,
        extended_next_hop: false,
        enhanced_refresh,
        graceful_restart: false,
        notification_restart: false,
    }
}

fn next_hops() -> NextHops {
    NextHops {
        v4: Some(NextHop::V4([192, 0, 2, 254].into())),
        v6: Some(NextHop::V6 {
            global: [0xfc00, 0, 0, 0, 0, 0, 0, 2].into(),
            link_local: None,
        }),
    }
}

/// The next hops towards a peer that takes IPv4 routes over IPv6 (RFC 8950).
fn ipv6_next_hops() -> NextHops {
    NextHops {
        v4: next_hops().v6,
        ..next_hops()
    }
}

/// The n-th host route of a family.
fn host(family: Family, n: u16) -> Nlri {
    let [high, low] = n.to_be_bytes();
    Nlri::host(match family {
        Family::V4 => IpAddr::from([198, 51, high, low]),
        Family::V6 => IpAddr::from([0xfc00, 0, 0, 0, 0, 0, 0, n]),
    })
}

fn attributes(med: u32) -> PathAttributes {
    let mut attributes = PathAttributes::originated(Vec::new());
    attributes.med = Some(med);
    attributes
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Announced(Nlri, PathAttributes),
    Withdrawn(Nlri),
    EndOfRib(Family),
    Mark(RefreshSubtype, Family),
}

/// Reads messages.
fn read(mut bytes: &[u8], format: &UpdateFormat) -> Vec<Said> {
    let mut said = Vec::new();
    while let Some(raw) = frame(bytes, format.max_length).expect("valid") {
        bytes = &bytes[raw.length()..];
        match BgpMessage::parse(raw, format).expect("valid") {
            BgpMessage::Update(update) => {
                assert_eq!(update.faults, []);
                said.extend(update.withdrawn.into_iter().map(Said::Withdrawn));
                let end = update.end_of_rib.and_then(AfiSafi::family);
                said.extend(end.map(Said::EndOfRib));
                for nlri in update.reachable.iter().flat_map(|reachable| &reachable.nlri) {
                    let mut attributes = update.attributes.clone().expect("routes have attributes");
                    let path = core::mem::take(&mut attributes.as_path);
                    let own = if format.internal {
                        Vec::new()
                    } else {
                        std::vec![OWN]
                    };
                    assert_eq!(path, AsPath::sequence(own));
                    said.push(Said::Announced(*nlri, attributes));
                }
            }
            BgpMessage::RouteRefresh(refresh) => {
                let family = refresh.family.family().expect("unicast");
                said.push(Said::Mark(refresh.subtype, family));
            }
            other @ (BgpMessage::Open(_) | BgpMessage::Notification(_) | BgpMessage::Keepalive) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(bytes.is_empty(), "whole messages");
    said
}

/// All that a peer is sent until it has all routes.
fn drain(rib: &mut RibOut<u8>, key: u8, format: &UpdateFormat) -> Vec<Said> {
    let mut said = Vec::new();
    while let Some(bytes) = rib.poll_messages(&key, true) {
        assert!(!bytes.is_empty());
        said.extend(read(&bytes, format));
    }
    assert!(!rib.has_pending(&key));
    said
}

const ENDS: [Said; 2] = [Said::EndOfRib(Family::V4), Said::EndOfRib(Family::V6)];

#[test]
fn a_new_peer_is_sent_all_routes_and_end_of_rib_of_each_family() {
    let mut rib = RibOut::default();
    let (four, six) = (host(Family::V4, 1), host(Family::V6, 1));
    rib.set_route(four, Some(attributes(100)));
    rib.set_route(six, Some(attributes(100)));
    // It was withdrawn before the peer came, which needs not know.
    rib.set_route(host(Family::V4, 2), Some(attributes(100)));
    rib.set_route(host(Family::V4, 2), None);
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    assert!(rib.has_pending(&1));
    let expected = [
        Said::Announced(four, attributes(100)),
        Said::EndOfRib(Family::V4),
        Said::Announced(six, attributes(100)),
        Said::EndOfRib(Family::V6),
    ];
    assert_eq!(drain(&mut rib, 1, &FORMAT), expected);
    assert_eq!(rib.poll_messages(&1, true), None);
    assert_eq!(rib.poll_messages(&2, true), None, "an unknown peer");
}

#[test]
fn a_peer_without_a_next_hop_or_without_a_family_is_sent_the_rest() {
    let mut rib = RibOut::default();
    rib.set_route(host(Family::V4, 1), Some(attributes(100)));
    rib.set_route(host(Family::V6, 1), Some(attributes(100)));
    let only_v4 = NextHops {
        v6: None,
        ..next_hops()
    };
    rib.add_peer(1, &negotiated(FORMAT, true), only_v4);
    let mut of_one_family = negotiated(FORMAT, true);
    of_one_family.families = std::vec![Family::V4];
    rib.add_peer(2, &of_one_family, next_hops());
    let four = Said::Announced(host(Family::V4, 1), attributes(100));
    let [end_v4, end_v6] = ENDS;
    assert_eq!(
        drain(&mut rib, 1, &FORMAT),
        [four.clone(), end_v4.clone(), end_v6]
    );
    assert_eq!(drain(&mut rib, 2, &FORMAT), [four, end_v4]);
}

#[test]
fn a_peer_that_reads_late_is_sent_each_prefix_once_as_it_is_now() {
    let mut rib = RibOut::default();
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    assert_eq!(drain(&mut rib, 1, &FORMAT), ENDS);
    let (flapping, gone) = (host(Family::V4, 1), host(Family::V4, 2));
    rib.set_route(gone, Some(attributes(100)));
    for med in 0..50 {
        rib.set_route(flapping, Some(attributes(med)));
        rib.set_route(flapping, None);
    }
    rib.set_route(flapping, Some(attributes(50)));
    rib.set_route(gone, None);
    assert_eq!(
        drain(&mut rib, 1, &FORMAT),
        [Said::Announced(flapping, attributes(50))]
    );
    // The same again is no change.
    rib.set_route(flapping, Some(attributes(50)));
    assert!(!rib.has_pending(&1));
    assert_eq!(rib.poll_messages(&1, true), None);
}

#[test]
fn one_change_among_many_is_one_prefix_in_one_message() {
    let mut rib = RibOut::default();
    for n in 0..10_000 {
        rib.set_route(host(Family::V4, n), Some(attributes(100)));
    }
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    assert_eq!(drain(&mut rib, 1, &FORMAT).len(), 10_000 + 2);
    rib.set_route(host(Family::V4, 7), Some(attributes(50)));
    let bytes = rib.poll_messages(&1, true).expect("a change");
    let expected = [Said::Announced(host(Family::V4, 7), attributes(50))];
    assert_eq!(read(&bytes, &FORMAT), expected);
    assert_eq!(rib.poll_messages(&1, true), None);
}

#[test]
fn peers_of_a_group_share_what_is_encoded_once() {
    let mut rib = RibOut::default();
    for n in 0..10_000 {
        rib.set_route(host(Family::V6, n), Some(attributes(100)));
    }
    for key in 0..100 {
        rib.add_peer(key, &negotiated(FORMAT, true), next_hops());
    }
    let mut first = Vec::new();
    while let Some(bytes) = rib.poll_messages(&0, true) {
        first.push(bytes);
    }
    assert!(first.len() > 3, "several batches");
    for key in 1..100 {
        for expected in &first {
            let bytes = rib.poll_messages(&key, true).expect("as much as the first peer");
            assert_eq!(bytes, *expected);
            // End-of-RIB is a short message of its own.
            assert!(
                bytes.len() < 100 || Arc::ptr_eq(&bytes, expected),
                "the same bytes"
            );
        }
        assert_eq!(rib.poll_messages(&key, true), None);
    }
    // A peer of another group has messages of its own.
    let old = UpdateFormat {
        four_octet_as: false,
        ..FORMAT
    };
    rib.add_peer(100, &negotiated(old, true), next_hops());
    assert_eq!(drain(&mut rib, 100, &old).len(), 10_000 + 2);
}

#[test]
fn a_batch_is_bounded_in_bytes() {
    let long = UpdateFormat {
        max_length: EXTENDED_MAX_LENGTH,
        ..FORMAT
    };
    // Routes with few, with many and with too many communities, of their own and in common.
    for (format, of_own) in [(FORMAT, true), (FORMAT, false), (long, true), (long, false)] {
        for communities in [0, 100, 900, 970, 1000, 15_000] {
            let mut rib = RibOut::default();
            for n in 0..500 {
                let mut route = attributes(if of_own { n.into() } else { 0 });
                route.communities = (0..communities).map(|value| Community(1, value)).collect();
                rib.set_route(host(Family::V6, n), Some(route));
            }
            rib.add_peer(1, &negotiated(format, true), next_hops());
            while let Some(bytes) = rib.poll_messages(&1, true) {
                let most = 64 * 1024 + format.max_length;
                assert!(bytes.len() <= most, "{} {communities} {of_own}", bytes.len());
            }
        }
    }
}

#[test]
fn batches_are_kept_while_a_peer_may_need_them() {
    let mut rib = RibOut::default();
    for key in [1, 2] {
        rib.add_peer(key, &negotiated(FORMAT, true), next_hops());
    }
    rib.set_route(host(Family::V4, 1), Some(attributes(100)));
    let _all = drain(&mut rib, 1, &FORMAT);
    assert_eq!(rib.v4.kept(), 1);
    let _all = drain(&mut rib, 2, &FORMAT);
    assert_eq!(rib.v4.kept(), 0);
    // A peer that reads nothing, and another for which everything is encoded again and again.
    for n in 0..10_000 {
        rib.set_route(host(Family::V4, n), Some(attributes(100)));
        let _all = drain(&mut rib, 2, &FORMAT);
    }
    assert!(rib.v4.kept() <= 16);
    rib.add_peer(1, &negotiated(FORMAT, true), NextHops::default());
    assert_eq!(rib.v4.kept(), 0, "a peer that is added again has left its group");
}

#[test]
fn a_withdrawal_is_forgotten_when_all_peers_know_it() {
    let mut rib = RibOut::default();
    for key in [1, 2] {
        rib.add_peer(key, &negotiated(FORMAT, true), next_hops());
    }
    rib.set_route(host(Family::V4, 1), Some(attributes(100)));
    let _all = drain(&mut rib, 1, &FORMAT);
    let _all = drain(&mut rib, 2, &FORMAT);
    rib.set_route(host(Family::V4, 1), None);
    let withdrawn = [Said::Withdrawn(host(Family::V4, 1))];
    assert_eq!(drain(&mut rib, 1, &FORMAT), withdrawn);
    assert_eq!(rib.v4.remembered(), 1, "the other peer does not know it");
    assert_eq!(drain(&mut rib, 2, &FORMAT), withdrawn);
    assert_eq!(rib.v4.remembered(), 0);
    assert!(rib.attributes.is_empty(), "no route has these attributes");
    // A peer that ends without reading does not hold it for ever.
    rib.set_route(host(Family::V4, 2), Some(attributes(100)));
    let _route = drain(&mut rib, 1, &FORMAT);
    rib.set_route(host(Family::V4, 2), None);
    assert_eq!(rib.v4.remembered(), 1);
    rib.remove_peer(&1);
    rib.remove_peer(&2);
    assert_eq!(rib.v4.remembered(), 0);
}

#[test]
fn a_route_that_no_peer_was_sent_leaves_nothing_behind() {
    let mut rib = RibOut::default();
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    let _end_of_rib = drain(&mut rib, 1, &FORMAT);
    for last in 1..100 {
        rib.set_route(host(Family::V4, last), Some(attributes(100)));
        rib.set_route(host(Family::V4, last), Some(attributes(200)));
        rib.set_route(host(Family::V4, last), None);
    }
    assert_eq!(rib.v4.remembered(), 0);
    assert!(rib.attributes.is_empty());
    // Of one that changed before it was withdrawn, the peer has the version before.
    rib.set_route(host(Family::V4, 1), Some(attributes(100)));
    let _route = drain(&mut rib, 1, &FORMAT);
    rib.set_route(host(Family::V4, 1), Some(attributes(200)));
    rib.set_route(host(Family::V4, 1), None);
    assert_eq!(
        drain(&mut rib, 1, &FORMAT),
        [Said::Withdrawn(host(Family::V4, 1))]
    );
}

fn of(family: Family, mark: RefreshSubtype) -> Said {
    Said::Mark(mark, family)
}

#[test]
fn a_refresh_sends_the_routes_of_the_family_between_two_marks() {
    let mut rib = RibOut::default();
    let route = host(Family::V4, 1);
    rib.set_route(route, Some(attributes(100)));
    rib.set_route(host(Family::V6, 1), Some(attributes(100)));
    for (key, enhanced) in [(1, true), (2, false)] {
        rib.add_peer(key, &negotiated(FORMAT, enhanced), next_hops());
        let _all = drain(&mut rib, key, &FORMAT);
        rib.handle_refresh(&key, Family::V4);
        assert!(rib.has_pending(&key));
        let announced = Said::Announced(route, attributes(100));
        let expected = if enhanced {
            std::vec![
                of(Family::V4, RefreshSubtype::Begin),
                announced,
                of(Family::V4, RefreshSubtype::End)
            ]
        } else {
            std::vec![announced]
        };
        assert_eq!(drain(&mut rib, key, &FORMAT), expected);
    }
}

#[test]
fn requests_during_a_refresh_are_met_by_one_more_or_none() {
    let mut rib = RibOut::default();
    let route = host(Family::V4, 1);
    rib.set_route(route, Some(attributes(100)));
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    // Nothing was sent yet: the routes that come are the answer.
    rib.handle_refresh(&1, Family::V4);
    let announced = Said::Announced(route, attributes(100));
    let [end_v4, end_v6] = ENDS;
    assert_eq!(drain(&mut rib, 1, &FORMAT), [announced.clone(), end_v4, end_v6]);
    rib.handle_refresh(&1, Family::V4);
    let begin = rib.poll_messages(&1, true).expect("BoRR");
    assert_eq!(read(&begin, &FORMAT), [of(Family::V4, RefreshSubtype::Begin)]);
    rib.handle_refresh(&1, Family::V4);
    let routes = rib.poll_messages(&1, true).expect("routes");
    assert_eq!(read(&routes, &FORMAT), std::slice::from_ref(&announced));
    // The peer may have asked after it read that route.
    for _ in 0..100 {
        rib.handle_refresh(&1, Family::V4);
    }
    let expected = [
        of(Family::V4, RefreshSubtype::End),
        of(Family::V4, RefreshSubtype::Begin),
        announced,
        of(Family::V4, RefreshSubtype::End),
    ];
    assert_eq!(drain(&mut rib, 1, &FORMAT), expected);
}

/// RFC 7313 section 4.
#[test]
fn no_refresh_begins_before_end_of_rib() {
    let mut rib = RibOut::default();
    // More than one batch.
    for n in 0..5000 {
        rib.set_route(host(Family::V6, n), Some(attributes(100)));
    }
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    assert_eq!(
        read(&rib.poll_messages(&1, true).expect("a message"), &FORMAT),
        ENDS[..1]
    );
    let first = read(&rib.poll_messages(&1, true).expect("routes"), &FORMAT);
    assert!(first.len() < 4999, "more than one batch");
    rib.handle_refresh(&1, Family::V6);
    let said = drain(&mut rib, 1, &FORMAT);
    let at = |wanted: Said| said.iter().position(|said| *said == wanted).expect("it is sent");
    assert!(at(Said::EndOfRib(Family::V6)) < at(of(Family::V6, RefreshSubtype::Begin)));
    assert_eq!(said.len() - at(of(Family::V6, RefreshSubtype::Begin)), 5000 + 2);
}

#[test]
fn end_of_rib_waits_for_routes_that_change_meanwhile() {
    let mut rib = RibOut::default();
    for n in 0..5000 {
        rib.set_route(host(Family::V6, n), Some(attributes(100)));
    }
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    assert_eq!(
        read(&rib.poll_messages(&1, true).expect("a message"), &FORMAT),
        ENDS[..1]
    );
    let first = read(&rib.poll_messages(&1, true).expect("routes"), &FORMAT);
    assert!(first.len() < 4999, "more than one batch");
    rib.set_route(host(Family::V6, 4999), Some(attributes(50)));
    let said = drain(&mut rib, 1, &FORMAT);
    let at = |wanted: Said| said.iter().position(|said| *said == wanted).expect("it is sent");
    let changed = Said::Announced(host(Family::V6, 4999), attributes(50));
    assert!(at(changed) < at(Said::EndOfRib(Family::V6)));
}

#[test]
fn a_route_that_does_not_fit_into_a_message_is_withdrawn_and_reported() {
    let mut rib = RibOut::default();
    let (route, other) = (host(Family::V4, 1), host(Family::V4, 2));
    rib.set_route(route, Some(attributes(100)));
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    let _all = drain(&mut rib, 1, &FORMAT);
    let mut too_long = attributes(100);
    too_long.communities = (0..2000).map(|value| Community(1, value)).collect();
    rib.set_route(route, Some(too_long.clone()));
    rib.set_route(other, Some(attributes(50)));
    let expected = [Said::Announced(other, attributes(50)), Said::Withdrawn(route)];
    assert_eq!(drain(&mut rib, 1, &FORMAT), expected);
    let reported: Vec<_> = rib.unsendable(&1).collect();
    assert!(
        matches!(reported[..], [(nlri, UnsendableRoute::TooLong(_))] if nlri == route),
        "{reported:?}"
    );
    let limits = rib.limits(&1).expect("it has a session");
    assert_eq!((limits.v4, limits.v6), (None, None));
    assert_eq!(limits.too_long, [route.prefix()].into());
    assert_eq!((rib.wanted(), rib.sendable(&1), rib.announced(&1)), (2, 1, 1));
    // A peer that takes longer messages has it.
    let long = UpdateFormat {
        max_length: EXTENDED_MAX_LENGTH,
        ..FORMAT
    };
    rib.add_peer(2, &negotiated(long, true), next_hops());
    assert!(drain(&mut rib, 2, &long).contains(&Said::Announced(route, too_long)));
    assert_eq!(rib.limits(&2), Some(SessionLimits::default()));
    assert_eq!(rib.sendable(&2), 2);
    let changes = rib.limit_changes();
    rib.set_route(route, Some(attributes(100)));
    assert!(rib.limit_changes() > changes);
    assert_eq!(rib.limits(&1), Some(SessionLimits::default()));
    assert_eq!(rib.limits(&3), None);
}

#[test]
fn a_family_that_is_not_negotiated_or_has_no_next_hop_counts_for_nothing_and_is_reported() {
    let mut rib = RibOut::default();
    rib.set_route(host(Family::V4, 1), Some(attributes(100)));
    rib.set_route(host(Family::V6, 1), Some(attributes(100)));
    let counts = |rib: &RibOut<u8>| (rib.wanted(), rib.sendable(&1), rib.announced(&1));
    assert_eq!(
        counts(&rib),
        (2, 2, 0),
        "what a session can have is not known before there is one"
    );
    let both = negotiated(FORMAT, true);
    let one = Negotiated {
        families: std::vec![Family::V4],
        ..both.clone()
    };
    rib.add_peer(1, &one, next_hops());
    let _all = drain(&mut rib, 1, &FORMAT);
    assert_eq!(counts(&rib), (2, 1, 1));
    let limits = rib.limits(&1).expect("it has a session");
    assert_eq!((limits.v4, limits.v6), (None, Some(FamilyLimit::NotNegotiated)));
    let without = NextHops {
        v6: None,
        ..next_hops()
    };
    rib.add_peer(1, &both, without);
    let _all = drain(&mut rib, 1, &FORMAT);
    assert_eq!(counts(&rib), (2, 1, 1));
    let limits = rib.limits(&1).expect("it has a session");
    assert_eq!((limits.v4, limits.v6), (None, Some(FamilyLimit::NoNextHop)));
    let changes = rib.limit_changes();
    rib.set_next_hops(&1, &both, next_hops());
    let _all = drain(&mut rib, 1, &FORMAT);
    assert!(rib.limit_changes() > changes);
    assert_eq!(counts(&rib), (2, 2, 2));
    assert_eq!(rib.limits(&1), Some(SessionLimits::default()));
}

#[test]
fn a_next_hop_that_is_lost_during_a_refresh_takes_the_routes_with_it() {
    let mut rib = RibOut::default();
    let route = host(Family::V6, 1);
    rib.set_route(route, Some(attributes(100)));
    rib.add_peer(1, &negotiated(FORMAT, true), next_hops());
    let _all = drain(&mut rib, 1, &FORMAT);
    rib.handle_refresh(&1, Family::V6);
    let begin = rib.poll_messages(&1, true).expect("BoRR");
    assert_eq!(read(&begin, &FORMAT), [of(Family::V6, RefreshSubtype::Begin)]);
    let only_v4 = NextHops {
        v6: None,
        ..next_hops()
    };
    rib.set_next_hops(&1, &negotiated(FORMAT, true), only_v4);
    let expected = [Said::Withdrawn(route), of(Family::V6, RefreshSubtype::End)];
    assert_eq!(drain(&mut rib, 1, &FORMAT), expected);
}

/// A router that keeps what it is sent.
#[derive(Debug, Default)]
struct Router {
    routes: BTreeMap<Nlri, PathAttributes>,
    /// The routes that were not sent again since BoRR (RFC 7313 section 4).
    stale: BTreeMap<Family, BTreeSet<Nlri>>,
    has_ended: BTreeSet<Family>,
    /// There is no next hop of IPv6 routes.
    lacks_ipv6: bool,
    /// It was one of peers with the IPv6 next hop for all routes.
    enhanced: bool,
    oracle: OraclePeer,
}

impl Router {
    /// Returns the routes that it is to have.
    fn expected(&self, wanted: &BTreeMap<Nlri, PathAttributes>) -> BTreeMap<Nlri, PathAttributes> {
        let mut expected = wanted.clone();
        expected.retain(|nlri, _| !self.lacks_ipv6 || nlri.family() == Family::V4);
        expected
    }

    fn next_hops(&self) -> NextHops {
        let all = if self.enhanced {
            next_hops()
        } else {
            ipv6_next_hops()
        };
        NextHops {
            v6: all.v6.filter(|_| !self.lacks_ipv6),
            ..all
        }
    }

    /// Takes messages, and checks that they say what is so now.
    fn take(&mut self, bytes: &[u8], wanted: &BTreeMap<Nlri, PathAttributes>) {
        let wanted = &self.expected(wanted);
        self.oracle.take(bytes);
        for said in read(bytes, &FORMAT) {
            match said {
                Said::Announced(nlri, attributes) => {
                    assert_eq!(wanted.get(&nlri), Some(&attributes), "an old state of {nlri}");
                    if let Some(stale) = self.stale.get_mut(&nlri.family()) {
                        stale.remove(&nlri);
                    }
                    self.routes.insert(nlri, attributes);
                }
                Said::Withdrawn(nlri) => {
                    assert!(!wanted.contains_key(&nlri), "an old state of {nlri}");
                    self.routes.remove(&nlri);
                }
                Said::EndOfRib(family) => {
                    assert!(self.has_ended.insert(family), "one End-of-RIB");
                    self.expect_all(family, wanted);
                }
                Said::Mark(RefreshSubtype::Begin, family) => {
                    assert!(self.has_ended.contains(&family));
                    let routes = self.routes.keys().copied();
                    let stale = routes.filter(|nlri| nlri.family() == family).collect();
                    assert_eq!(self.stale.insert(family, stale), None, "one refresh at a time");
                }
                Said::Mark(RefreshSubtype::End, family) => {
                    let stale = self.stale.remove(&family).expect("it began");
                    self.routes.retain(|nlri, _| !stale.contains(nlri));
                    self.expect_all(family, wanted);
                }
                Said::Mark(other, _) => panic!("{other:?}"),
            }
        }
    }

    /// A router drops what it kept of an earlier session at the end, so nothing may be missing there.
    fn expect_all(&self, family: Family, wanted: &BTreeMap<Nlri, PathAttributes>) {
        let of_family = |nlri: &&Nlri| nlri.family() == family;
        let has: Vec<_> = self.routes.keys().filter(of_family).collect();
        let wants: Vec<_> = wanted.keys().filter(of_family).collect();
        assert_eq!(has, wants);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(Family, u16, Option<u32>),
    Add(u8, bool),
    Remove(u8),
    Refresh(u8, Family),
    Hops(u8, bool),
    Poll(u8),
    Drain(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let family = || prop_oneof![Just(Family::V4), Just(Family::V6)];
    let peer = || 0..4_u8;
    prop_oneof![
        12 => (family(), 0..12_u16, prop::option::weighted(0.7, 0..12_u32))
            .prop_map(|(family, n, med)| Step::Set(family, n, med)),
        2 => (peer(), any::<bool>()).prop_map(|(peer, enhanced)| Step::Add(peer, enhanced)),
        1 => peer().prop_map(Step::Remove),
        2 => (peer(), family()).prop_map(|(peer, family)| Step::Refresh(peer, family)),
        2 => (peer(), any::<bool>()).prop_map(|(peer, has)| Step::Hops(peer, has)),
        8 => peer().prop_map(Step::Poll),
        2 => peer().prop_map(Step::Drain),
    ]
}

proptest! {
    /// Whatever changes in whatever order: peers are sent what is so now and nothing else, each has all routes when it has read
    /// everything, and when all have, no withdrawal is remembered.
    #[test]
    fn each_peer_that_reads_everything_has_all_routes(steps in vec(step(), 0..150)) {
        let mut rib = RibOut::default();
        let mut wanted = BTreeMap::new();
        let mut routers = BTreeMap::<u8, Router>::new();
        for step in steps {
            match step {
                Step::Set(family, n, med) => {
                    let nlri = host(family, n);
                    rib.set_route(nlri, med.map(attributes));
                    match med {
                        Some(med) => wanted.insert(nlri, attributes(med)),
                        None => wanted.remove(&nlri),
                    };
                }
                Step::Add(key, enhanced) => {
                    // Two groups.
                    let router = Router { enhanced, ..Router::default() };
                    rib.add_peer(key, &negotiated(FORMAT, enhanced), router.next_hops());
                    routers.insert(key, router);
                }
                Step::Hops(key, lacks_ipv6) => {
                    if let Some(router) = routers.get_mut(&key) {
                        router.lacks_ipv6 = lacks_ipv6;
                        let negotiated = negotiated(FORMAT, router.enhanced);
                        rib.set_next_hops(&key, &negotiated, router.next_hops());
                    }
                }
                Step::Remove(key) => {
                    rib.remove_peer(&key);
                    routers.remove(&key);
                }
                Step::Refresh(key, family) => rib.handle_refresh(&key, family),
                Step::Poll(key) => {
                    let bytes = rib.poll_messages(&key, true);
                    prop_assert!(bytes.is_none() || routers.contains_key(&key));
                    if let (Some(bytes), Some(router)) = (bytes, routers.get_mut(&key)) {
                        router.take(&bytes, &wanted);
                    }
                }
                Step::Drain(key) => {
                    let Some(router) = routers.get_mut(&key) else {
                        continue;
                    };
                    while let Some(bytes) = rib.poll_messages(&key, true) {
                        router.take(&bytes, &wanted);
                    }
                    prop_assert_eq!(&router.routes, &router.expected(&wanted));
                    prop_assert_eq!(rib.announced(&key), router.routes.len());
                }
            }
        }
        for (key, router) in &mut routers {
            while let Some(bytes) = rib.poll_messages(key, true) {
                prop_assert!(!bytes.is_empty());
                router.take(&bytes, &wanted);
            }
            prop_assert!(!rib.has_pending(key));
            let wanted = router.expected(&wanted);
            prop_assert_eq!(&router.routes, &wanted);
            prop_assert!(router.stale.is_empty());
            prop_assert_eq!(router.has_ended.len(), 2);
            let meds = wanted.iter().filter_map(|(nlri, attributes)| Some((*nlri, attributes.med?)));
            prop_assert_eq!(&router.oracle.0, &meds.collect());
        }
        prop_assert_eq!(rib.v4.remembered() + rib.v6.remembered(), wanted.len());
        let sets: BTreeSet<_> = wanted.values().collect();
        prop_assert_eq!(rib.attributes.len(), sets.len());
    }
}

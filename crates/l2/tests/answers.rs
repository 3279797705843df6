//! Which frames are answered, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use herald_core::Time;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::Frame;
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Ndp, Solicitation, solicited_node};
use herald_l2::wire::{MAX_FRAME_LENGTH, Malformed};
use herald_l2::{Announcer, Answer, Ignored, Link, LinkIndex, MacAddr, Prefix, ReceivedFrame, select};
use proptest::prelude::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ASKER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const ASKER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

fn link(index: u32) -> Link {
    Link {
        index: LinkIndex(index),
        name: format!("eth{index}"),
        mac: MacAddr([2, 0, 0, 0, 0, index as u8]),
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    }
}

/// Announces [`V4`] and [`V6`] on link 2; link 3 is usable, too.
fn announcer() -> Announcer {
    let mut announcer = Announcer::new(None, 0);
    announcer.set_links(vec![link(2), link(3)], Time::ZERO);
    let second = Some(BTreeSet::from(["eth2".to_owned()]));
    announcer.announce(V4.into(), second.clone(), Time::ZERO);
    announcer.announce(V6.into(), second, Time::ZERO);
    announcer
}

fn handle(
    announcer: &mut Announcer,
    link: u32,
    frame: &[u8],
    answer: &mut [u8],
    now: Time,
) -> Result<Answer, Ignored> {
    announcer.handle_received(LinkIndex(link), &ReceivedFrame::parse(frame)?, answer, now)
}

fn ask(link: u32, frame: &[u8]) -> Result<(Answer, Vec<u8>), Ignored> {
    let mut buffer = [0xa5; MAX_FRAME_LENGTH];
    let answer = handle(&mut announcer(), link, frame, &mut buffer, Time::ZERO)?;
    Ok((answer, buffer[..answer.length].to_vec()))
}

fn frame(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let length = emit(&mut buffer);
    buffer[..length].to_vec()
}

fn request() -> Arp {
    Arp {
        operation: Operation::Request,
        sender_mac: ASKER,
        sender_ip: ASKER_V4,
        target_mac: MacAddr::ZERO,
        target_ip: V4,
    }
}

fn solicitation() -> Solicitation {
    Solicitation {
        source: ASKER_V6,
        destination: solicited_node(V6),
        target: V6,
        link_address: Some(ASKER),
    }
}

/// Duplicate address detection (RFC 4862 section 5.4.2).
fn probe() -> Solicitation {
    Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        link_address: None,
        ..solicitation()
    }
}

fn multicast(solicitation: Solicitation) -> Vec<u8> {
    let destination = MacAddr::multicast(solicitation.destination);
    frame(|buffer| solicitation.emit(destination, ASKER, buffer))
}

fn advertisement(bytes: &[u8]) -> Advertisement {
    match Ndp::parse(Frame::parse(bytes).expect("frame").payload) {
        Ok(Ndp::Advertisement(advertisement)) => advertisement,
        other => panic!("no advertisement: {other:?}"),
    }
}

#[test]
fn a_request_is_answered_with_the_sides_swapped() {
    for destination in [MacAddr::BROADCAST, OWN] {
        let asked = frame(|buffer| request().emit(destination, ASKER, buffer));
        let (answer, bytes) = ask(2, &asked).expect("answered");
        assert_eq!(answer.address, IpAddr::V4(V4));
        let sent = Frame::parse(&bytes).expect("frame");
        assert_eq!((sent.destination, sent.source), (ASKER, OWN));
        let expected = Arp {
            operation: Operation::Reply,
            sender_mac: OWN,
            sender_ip: V4,
            target_mac: ASKER,
            target_ip: ASKER_V4,
        };
        assert_eq!(Arp::parse(sent.payload), Ok(expected));
    }
}

#[test]
fn address_probes_and_other_hosts_announcements_are_answered() {
    for sender_ip in [Ipv4Addr::UNSPECIFIED, V4] {
        let asked = Arp {
            sender_ip,
            ..request()
        };
        let asked = frame(|buffer| asked.emit(MacAddr::BROADCAST, ASKER, buffer));
        assert!(ask(2, &asked).is_ok());
    }
}

#[test]
fn each_arp_frame_that_is_not_answered_has_its_reason() {
    let other = MacAddr([2, 0, 0, 0, 0, 77]);
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let with = |arp: Arp, destination, source| frame(|buffer| arp.emit(destination, source, buffer));
    let plain = with(request(), MacAddr::BROADCAST, ASKER);
    let reply = Arp {
        operation: Operation::Reply,
        ..request()
    };
    let elsewhere = Arp {
        target_ip: Ipv4Addr::new(192, 0, 2, 2),
        ..request()
    };
    let from = |sender_mac| Arp {
        sender_mac,
        ..request()
    };
    let unknown_source = Ignored::Malformed(Malformed::Source);
    let table = [
        (2, with(request(), MacAddr::BROADCAST, group), unknown_source),
        (2, with(request(), OWN, MacAddr::BROADCAST), unknown_source),
        (
            2,
            with(request(), MacAddr::BROADCAST, MacAddr::ZERO),
            unknown_source,
        ),
        (2, with(from(OWN), MacAddr::BROADCAST, ASKER), Ignored::Own),
        (
            2,
            with(from(MacAddr::ZERO), MacAddr::BROADCAST, ASKER),
            Ignored::Malformed(Malformed::Arp),
        ),
        (2, with(request(), other, ASKER), Ignored::OtherStation),
        (2, with(request(), group, ASKER), Ignored::OtherStation),
        (2, with(reply, OWN, ASKER), Ignored::NotARequest),
        (2, with(elsewhere, MacAddr::BROADCAST, ASKER), Ignored::NotOurs),
        (2, with(request(), MacAddr::BROADCAST, OWN), Ignored::Own),
        (
            2,
            with(from(group), MacAddr::BROADCAST, ASKER),
            Ignored::Malformed(Malformed::Arp),
        ),
        (3, plain.clone(), Ignored::OtherLink),
        (4, plain.clone(), Ignored::UnknownLink),
        (2, plain[..30].to_vec(), Ignored::Malformed(Malformed::Truncated)),
    ];
    for (link, bytes, reason) in table {
        assert_eq!(ask(link, &bytes), Err(reason));
    }
}

#[test]
fn a_solicitation_is_answered_to_its_sender() {
    let (answer, bytes) = ask(2, &multicast(solicitation())).expect("answered");
    assert_eq!(answer.address, IpAddr::V6(V6));
    assert_eq!(Frame::parse(&bytes).expect("frame").destination, ASKER);
    let expected = Advertisement {
        source: V6,
        destination: ASKER_V6,
        router: false,
        solicited: true,
        overriding: true,
        target: V6,
        link_address: Some(OWN),
    };
    assert_eq!(advertisement(&bytes), expected);
}

#[test]
fn a_probe_is_answered_to_all_nodes_and_not_as_solicited() {
    let (_, bytes) = ask(2, &multicast(probe())).expect("answered");
    assert_eq!(
        Frame::parse(&bytes).expect("frame").destination,
        MacAddr([0x33, 0x33, 0, 0, 0, 1])
    );
    let sent = advertisement(&bytes);
    assert_eq!(
        (sent.destination, sent.solicited, sent.overriding),
        (ALL_NODES, false, true)
    );
}

#[test]
fn answers_to_ndp_probes_are_limited_and_answers_to_other_solicitations_are_not() {
    let mut announcer = announcer();
    announcer.announce(V6.into(), None, Time::ZERO);
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let probe = multicast(probe());
    let mut answered = |link, frame: &[u8], microseconds: u64| {
        let now = Time::ZERO + Duration::from_micros(microseconds);
        let asked = (0..12_000).map(|_| handle(&mut announcer, link, frame, &mut buffer, now));
        let (answered, refused): (Vec<_>, Vec<_>) = asked.partition(Result::is_ok);
        assert!(refused.iter().all(|r| *r == Err(Ignored::TooMany)), "{refused:?}");
        answered.len()
    };
    assert_eq!(answered(2, &probe, 0), 10_000);
    assert_eq!(answered(2, &probe, 49), 0);
    assert_eq!(answered(2, &probe, 50), 1);
    assert_eq!(answered(3, &probe, 50), 10_000);
    assert_eq!(answered(2, &multicast(solicitation()), 50), 12_000);
    assert_eq!(answered(2, &probe, 60_000_000), 10_000);
}

#[test]
fn a_unicast_solicitation_needs_no_link_layer_address() {
    let asked = Solicitation {
        destination: V6,
        link_address: None,
        ..solicitation()
    };
    let (_, bytes) = ask(2, &frame(|buffer| asked.emit(OWN, ASKER, buffer))).expect("answered");
    assert_eq!(Frame::parse(&bytes).expect("frame").destination, ASKER);
    assert!(advertisement(&bytes).solicited);
    let asked = Solicitation {
        link_address: None,
        ..solicitation()
    };
    assert_eq!(
        ask(2, &multicast(asked)),
        Err(Ignored::Malformed(Malformed::Invalid))
    );
}

#[test]
fn each_ndp_frame_that_is_not_answered_has_its_reason() {
    let other = MacAddr([2, 0, 0, 0, 0, 77]);
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 5]);
    let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let elsewhere = Solicitation {
        target: elsewhere,
        destination: solicited_node(elsewhere),
        ..solicitation()
    };
    let from = |mac| Solicitation {
        link_address: Some(mac),
        ..solicitation()
    };
    let invalid = Ignored::Malformed(Malformed::Invalid);
    let unanswerable = Solicitation {
        link_address: None,
        ..solicitation()
    };
    let claim = Advertisement {
        source: ASKER_V6,
        destination: ALL_NODES,
        router: false,
        solicited: false,
        overriding: true,
        target: V6,
        link_address: Some(ASKER),
    };
    let own = frame(|buffer| solicitation().emit(MacAddr::multicast(solicited_node(V6)), OWN, buffer));
    let table = [
        (
            2,
            frame(|buffer| solicitation().emit(other, ASKER, buffer)),
            Ignored::OtherStation,
        ),
        (2, multicast(elsewhere), Ignored::NotOurs),
        (2, multicast(from(group)), invalid),
        (2, multicast(from(MacAddr::ZERO)), invalid),
        (2, multicast(from(OWN)), Ignored::Own),
        (2, frame(|buffer| probe().emit(OWN, ASKER, buffer)), invalid),
        (
            2,
            frame(|buffer| unanswerable.emit(OWN, group, buffer)),
            Ignored::Malformed(Malformed::Source),
        ),
        (2, own, Ignored::Own),
        (
            2,
            frame(|buffer| claim.emit(MacAddr::multicast(ALL_NODES), ASKER, buffer)),
            Ignored::NotARequest,
        ),
        (3, multicast(solicitation()), Ignored::OtherLink),
    ];
    for (link, bytes, reason) in table {
        assert_eq!(ask(link, &bytes), Err(reason));
    }
}

#[test]
fn each_reason_has_its_own_index_and_label() {
    for (place, reason) in Ignored::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), place);
    }
    let labels: BTreeSet<&str> = Ignored::ALL.iter().map(|reason| reason.reason()).collect();
    assert_eq!(labels.len(), Ignored::ALL.len());
}

#[test]
fn the_longest_prefix_then_the_lowest_index_wins() {
    let with = |index, prefixes: &[(&str, u8)]| Link {
        prefixes: prefixes
            .iter()
            .map(|(address, length)| Prefix {
                address: address.parse().expect("address"),
                length: *length,
            })
            .collect(),
        ..link(index)
    };
    let links = [
        with(5, &[("192.0.2.5", 24), ("2001:db8::5", 64)]),
        with(4, &[("192.0.2.4", 24)]),
        with(3, &[("192.0.0.3", 16)]),
        with(2, &[("198.51.100.2", 24)]),
    ];
    let selected = |address: &str| select(address.parse().expect("address"), None, links.iter());
    assert_eq!(selected("192.0.2.1"), [4].map(LinkIndex));
    assert_eq!(selected("192.0.9.1"), [3].map(LinkIndex));
    assert_eq!(selected("2001:db8::1"), [5].map(LinkIndex));
    assert_eq!(selected("203.0.113.1"), [2, 3, 4, 5].map(LinkIndex));
    let named = BTreeSet::from(["eth3".to_owned(), "eth5".to_owned(), "gone".to_owned()]);
    let address = "192.0.2.1".parse().expect("address");
    assert_eq!(select(address, Some(&named), links.iter()), [3, 5].map(LinkIndex));
}

#[test]
fn prefixes_of_any_length_match_their_own_family_only() {
    let prefix = |address: &str, length| Prefix {
        address: address.parse().expect("address"),
        length,
    };
    let table = [
        (prefix("192.0.2.1", 0), "203.0.113.1", true),
        (prefix("192.0.2.1", 32), "192.0.2.1", true),
        (prefix("192.0.2.1", 32), "192.0.2.2", false),
        (prefix("::", 0), "2001:db8::1", true),
        (prefix("::", 0), "192.0.2.1", false),
        (prefix("0.0.0.0", 0), "2001:db8::1", false),
        (prefix("2001:db8::1", 128), "2001:db8::2", false),
    ];
    for (prefix, address, expected) in table {
        assert_eq!(
            prefix.contains(address.parse().expect("address")),
            expected,
            "{prefix:?} {address}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Links(Vec<u8>),
    Announce(u8, Option<u8>),
    Withdraw(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::vec(2_u8..6, 0..4).prop_map(Step::Links),
        (0_u8..6, proptest::option::of(2_u8..6)).prop_map(|(address, name)| Step::Announce(address, name)),
        (0_u8..6).prop_map(Step::Withdraw),
    ];
    proptest::collection::vec(step, 0..40)
}

fn address(number: u8) -> IpAddr {
    let last = u16::from(number / 2);
    if number.is_multiple_of(2) {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
    } else {
        // All have the same last 24 bits, so that they share a group.
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, last, 0, 0, 0, 0, 1))
    }
}

proptest! {
    #[test]
    fn answers_and_groups_always_follow_the_active_addresses(steps in steps()) {
        let mut announcer = Announcer::new(None, 0);
        let mut links: BTreeMap<u32, Link> = BTreeMap::new();
        let mut active: BTreeMap<IpAddr, Option<BTreeSet<String>>> = BTreeMap::new();
        let mut groups = BTreeSet::new();
        for step in steps {
            match step {
                Step::Links(indices) => {
                    links = indices.into_iter().map(|i| (i.into(), link(i.into()))).collect();
                    announcer.set_links(links.values().cloned().collect(), Time::ZERO);
                }
                Step::Announce(number, name) => {
                    let names = name.map(|index| BTreeSet::from([format!("eth{index}")]));
                    active.insert(address(number), names.clone());
                    announcer.announce(address(number), names, Time::ZERO);
                }
                Step::Withdraw(number) => {
                    active.remove(&address(number));
                    announcer.withdraw(address(number));
                }
            }
            while let Some(change) = announcer.poll_group() {
                let changed = if change.member {
                    groups.insert((change.link, change.group))
                } else {
                    groups.remove(&(change.link, change.group))
                };
                prop_assert!(changed, "{:?} twice", change);
            }
            let mut expected = BTreeSet::new();
            for number in 0..6 {
                let address = address(number);
                let names = active.get(&address);
                let on = names.map(|names| select(address, names.as_ref(), links.values()));
                prop_assert_eq!(announcer.links_of(address), on.as_deref());
                if let IpAddr::V6(v6) = address {
                    expected.extend(on.iter().flatten().map(|link| (*link, solicited_node(v6))));
                }
                for index in 2..6 {
                    let answers = on.as_ref().is_some_and(|on| on.contains(&LinkIndex(index)));
                    prop_assert_eq!(answered(&mut announcer, index, address), answers);
                }
            }
            prop_assert_eq!(&groups, &expected);
        }
    }

    #[test]
    fn no_bytes_make_the_announcer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let mut buffer = [0; MAX_FRAME_LENGTH];
        prop_assert!(handle(&mut announcer(), 2, &bytes, &mut buffer, Time::ZERO).is_err());
    }
}

fn answered(announcer: &mut Announcer, link: u32, address: IpAddr) -> bool {
    let asked = match address {
        IpAddr::V4(target_ip) => {
            let asked = Arp {
                target_ip,
                ..request()
            };
            frame(|buffer| asked.emit(MacAddr::BROADCAST, ASKER, buffer))
        }
        IpAddr::V6(target) => multicast(Solicitation {
            target,
            destination: solicited_node(target),
            ..solicitation()
        }),
    };
    let mut buffer = [0; MAX_FRAME_LENGTH];
    handle(announcer, link, &asked, &mut buffer, Time::ZERO).is_ok()
}

//! Claims of other machines to active addresses, and the defence against them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use herald_core::Time;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Solicitation, solicited_node};
use herald_l2::{Announcer, Answer, Claim, Ignored, Link, LinkIndex, MacAddr, ReceivedFrame};
use proptest::prelude::*;

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 1, 9]);
const THIRD: MacAddr = MacAddr([2, 0, 0, 0, 1, 10]);
/// Longer than a burst.
const LATER: Duration = Duration::from_secs(10);

fn link(index: u32, host: u8) -> Link {
    Link {
        index: LinkIndex(index),
        name: format!("eth{index}"),
        mac: MacAddr([2, 0, 0, 0, host, index as u8]),
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    }
}

/// Announces [`V4`] and [`V6`] on link 2; link 3 is usable, too. The bursts are over.
fn announcing(host: u8) -> Announcer {
    let mut announcer = Announcer::new(None, 0);
    announcer.set_links(vec![link(2, host), link(3, host)], Time::ZERO);
    let second = Some(BTreeSet::from(["eth2".to_owned()]));
    announcer.announce(V4.into(), second.clone(), Time::ZERO);
    announcer.announce(V6.into(), second, Time::ZERO);
    while let Some(due) = announcer.poll_timeout() {
        sent(&mut announcer, due);
    }
    announcer
}

/// Sends what is due at `now`: the addresses and the frames.
fn sent(announcer: &mut Announcer, now: Time) -> Vec<(IpAddr, Vec<u8>)> {
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let mut sent = Vec::new();
    while let Some(next) = announcer.poll_transmit(&mut buffer, now) {
        sent.push((next.address, buffer[..next.length].to_vec()));
    }
    sent
}

fn at(milliseconds: u64) -> Time {
    Time::since_zero(LATER + Duration::from_millis(milliseconds))
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

fn frame(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let length = emit(&mut buffer);
    buffer[..length].to_vec()
}

fn arp(operation: Operation, sender_ip: Ipv4Addr, target_ip: Ipv4Addr, sender: MacAddr) -> Vec<u8> {
    arp_from(operation, sender_ip, target_ip, sender, sender)
}

fn arp_from(
    operation: Operation,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
    sender_mac: MacAddr,
    source: MacAddr,
) -> Vec<u8> {
    let arp = Arp {
        operation,
        sender_mac,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    frame(|buffer| arp.emit(MacAddr::BROADCAST, source, buffer))
}

fn advertisement(mac: Option<MacAddr>, source: MacAddr, solicited: bool) -> Vec<u8> {
    let own = link(2, 0).mac;
    let advertisement = Advertisement {
        source: V6,
        destination: if solicited { V6 } else { ALL_NODES },
        router: false,
        solicited,
        overriding: true,
        target: V6,
        link_address: mac,
    };
    let destination = if solicited {
        own
    } else {
        MacAddr::multicast(ALL_NODES)
    };
    frame(|buffer| advertisement.emit(destination, source, buffer))
}

fn claims(announcer: &mut Announcer) -> Vec<Claim> {
    std::iter::from_fn(|| announcer.poll_claim()).collect()
}

fn claim(address: IpAddr, mac: MacAddr) -> Claim {
    Claim { address, mac }
}

#[test]
fn a_machine_that_announces_or_uses_an_active_address_claims_it() {
    let table = [
        (arp(Operation::Request, V4, V4, OTHER), V4.into()),
        (arp(Operation::Reply, V4, V4, OTHER), V4.into()),
        (arp(Operation::Reply, V4, OTHER_ADDRESS, OTHER), V4.into()),
        (arp(Operation::Request, V4, OTHER_ADDRESS, OTHER), V4.into()),
        (arp_from(Operation::Reply, V4, V4, OTHER, THIRD), V4.into()),
        (advertisement(Some(OTHER), OTHER, false), V6.into()),
        (advertisement(Some(OTHER), THIRD, true), V6.into()),
        (advertisement(None, OTHER, false), V6.into()),
    ];
    for (row, (frame, address)) in table.into_iter().enumerate() {
        let mut announcer = announcing(0);
        let mut buffer = [0; MAX_FRAME_LENGTH];
        let answer = handle(&mut announcer, 2, &frame, &mut buffer, at(0));
        assert_eq!(claims(&mut announcer), [claim(address, OTHER)], "row {row}");
        // Only the first frame asks for the address, too.
        assert_eq!(answer.is_ok(), row == 0, "row {row}: {answer:?}");
    }
}

#[test]
fn our_own_frames_and_frames_about_other_addresses_are_no_claims() {
    let (own, own_too) = (link(2, 0).mac, link(3, 0).mac);
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let probe = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination: solicited_node(V6),
        target: V6,
        link_address: None,
    };
    let table = [
        (2, arp(Operation::Reply, V4, V4, own)),
        (2, arp(Operation::Request, V4, V4, own_too)),
        (2, arp_from(Operation::Reply, V4, V4, own_too, OTHER)),
        (2, arp_from(Operation::Reply, V4, V4, OTHER, own_too)),
        (2, arp(Operation::Reply, V4, V4, group)),
        (2, arp_from(Operation::Reply, V4, V4, MacAddr::ZERO, OTHER)),
        (2, arp(Operation::Request, unspecified, V4, OTHER)),
        (2, arp(Operation::Request, OTHER_ADDRESS, V4, OTHER)),
        (2, arp(Operation::Reply, OTHER_ADDRESS, OTHER_ADDRESS, OTHER)),
        (3, arp(Operation::Reply, V4, V4, OTHER)),
        (4, arp(Operation::Reply, V4, V4, OTHER)),
        (2, advertisement(Some(own_too), OTHER, false)),
        (2, advertisement(None, own_too, false)),
        (2, advertisement(Some(group), OTHER, false)),
        (3, advertisement(Some(OTHER), OTHER, false)),
        (
            2,
            frame(|b| probe.emit(MacAddr::multicast(probe.destination), OTHER, b)),
        ),
    ];
    for (row, (link, frame)) in table.into_iter().enumerate() {
        let mut announcer = announcing(0);
        let mut buffer = [0; MAX_FRAME_LENGTH];
        let _ = handle(&mut announcer, link, &frame, &mut buffer, at(0));
        assert_eq!(claims(&mut announcer), [], "row {row}");
    }
}

#[test]
fn the_last_claim_to_an_address_is_reported_and_none_after_it_is_withdrawn() {
    let mut announcer = announcing(0);
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let mut receive = |announcer: &mut Announcer, mac| {
        let announced = arp(Operation::Reply, V4, V4, mac);
        let ignored = handle(announcer, 2, &announced, &mut buffer, at(0));
        assert_eq!(ignored, Err(Ignored::NotARequest));
    };
    receive(&mut announcer, OTHER);
    receive(&mut announcer, THIRD);
    assert_eq!(claims(&mut announcer), [claim(V4.into(), THIRD)]);
    receive(&mut announcer, OTHER);
    announcer.withdraw(V4.into());
    receive(&mut announcer, OTHER);
    assert_eq!(claims(&mut announcer), []);
}

#[test]
fn a_defence_is_one_announcement_at_once() {
    let mut announcer = announcing(0);
    announcer.defend(V4.into(), at(0));
    assert!(announcer.poll_timeout().is_some_and(|due| due <= at(0)));
    let own = link(2, 0).mac;
    let forms = [Operation::Request, Operation::Reply].map(|operation| {
        let arp = Arp {
            operation,
            sender_mac: own,
            sender_ip: V4,
            target_mac: MacAddr::BROADCAST,
            target_ip: V4,
        };
        (
            V4.into(),
            frame(|buffer| arp.emit(MacAddr::BROADCAST, own, buffer)),
        )
    });
    assert_eq!(sent(&mut announcer, at(0)), forms);
    assert_eq!(announcer.poll_timeout(), None);
}

#[test]
fn a_withdrawn_address_is_not_defended() {
    let mut announcer = announcing(0);
    announcer.defend(OTHER_ADDRESS.into(), at(0));
    assert_eq!(announcer.poll_timeout(), None);
    announcer.defend(V6.into(), at(0));
    announcer.withdraw(V6.into());
    assert_eq!(sent(&mut announcer, at(0)), []);
    assert_eq!(announcer.poll_timeout(), None);
}

#[test]
fn a_defence_does_not_change_the_burst() {
    let rounds = |defended: bool| {
        let mut announcer = announcing(0);
        announcer.reannounce(V6.into(), at(0));
        if defended {
            sent(&mut announcer, at(50));
            announcer.defend(V6.into(), at(50));
        }
        let mut moments = Vec::new();
        let mut now = at(50);
        loop {
            moments.extend(sent(&mut announcer, now).iter().map(|_| now - at(0)));
            let Some(due) = announcer.poll_timeout() else {
                return moments;
            };
            now = due.max(now);
        }
    };
    let milliseconds = [50, 100, 1100, 2200, 3300, 4400].map(Duration::from_millis);
    assert_eq!(rounds(true), milliseconds);
    assert_eq!(rounds(false), milliseconds);
}

#[test]
fn two_machines_that_defend_one_address_stop_soon() {
    let mut hosts = [announcing(0), announcing(1)];
    let mut buffer = [0; MAX_FRAME_LENGTH];
    hosts[0].reannounce(V6.into(), at(0));
    let mut last = at(0);
    // One millisecond on the wire and in the other host.
    for now in (0..60_000).map(at) {
        for host in 0..2 {
            for (_, frame) in sent(&mut hosts[host], now) {
                last = now;
                let other = &mut hosts[1 - host];
                let _ = handle(other, 2, &frame, &mut buffer, now);
                for claim in claims(other) {
                    other.defend(claim.address, now);
                }
            }
        }
    }
    // The burst lasts 4.4 seconds; then each postponed defence is answered once.
    assert!(last > at(6000) && last < at(13_000), "{last:?}");
}

#[test]
fn the_last_claim_of_another_machine_is_answered_within_a_second() {
    for claims in [1, 2, 3, 10, 100, 101, 102] {
        let mut announcer = announcing(0);
        while let Some(due) = announcer.poll_timeout() {
            sent(&mut announcer, due);
        }
        let mut now = at(10_000);
        for _ in 0..claims {
            sent(&mut announcer, now);
            now = now + Duration::from_millis(10);
            announcer.defend(V4.into(), now);
        }
        let due = announcer.poll_timeout().expect("a defence");
        assert!(
            due - now <= Duration::from_secs(1),
            "{claims} claims: {:?}",
            due - now
        );
        let due = due.max(now);
        assert!(!sent(&mut announcer, due).is_empty(), "{claims} claims");
        assert_eq!(announcer.poll_timeout(), None, "{claims} claims");
    }
}

/// As at the start or the stop of MetalLB on several nodes.
#[test]
fn claims_of_metallb_in_quick_succession_are_each_contradicted_at_once_up_to_a_hundred_in_a_row() {
    let mut announcer = announcing(0);
    while let Some(due) = announcer.poll_timeout() {
        sent(&mut announcer, due);
    }
    let defended_at = |announcer: &mut Announcer, now: Time| {
        announcer.defend_at_once(V4.into(), now);
        let due = announcer.poll_timeout().expect("a defence").max(now);
        // Its request and its reply are one claim.
        announcer.defend_at_once(V4.into(), now);
        assert_eq!(announcer.poll_timeout().map(|same| same.max(now)), Some(due));
        due
    };
    let mut count = 0;
    for now in (10_000..).step_by(2).map(at) {
        let due = defended_at(&mut announcer, now);
        if due > now {
            assert!(due - now <= Duration::from_secs(1));
            break;
        }
        assert!(!sent(&mut announcer, now).is_empty());
        count += 1;
    }
    assert_eq!(count, 100);
    let due = announcer.poll_timeout().expect("a defence");
    assert!(!sent(&mut announcer, due).is_empty());
    // As long as claims go on, these are answered as others are.
    let usual = due + Duration::from_millis(100);
    assert!(defended_at(&mut announcer, usual) > usual);
    while let Some(due) = announcer.poll_timeout() {
        sent(&mut announcer, due);
    }
    let paused = usual + Duration::from_secs(6);
    for now in [paused, paused + Duration::from_millis(2)] {
        assert_eq!(defended_at(&mut announcer, now), now);
        assert!(!sent(&mut announcer, now).is_empty());
    }
}

/// A host claims the address without a pause while MetalLB is there.
#[test]
fn a_storm_of_claims_beside_metallb_costs_a_bounded_number_of_defences_at_once() {
    for milliseconds in [1, 10, 50, 399, 400, 1000, 4999] {
        let interval = Duration::from_millis(milliseconds);
        let at_once = defences(interval, Announcer::defend_at_once);
        let usual = defences(interval, Announcer::defend);
        // A defence of an IPv6 address is one frame.
        assert!(
            at_once <= usual + 100,
            "{milliseconds} ms: {at_once}, not {usual}"
        );
    }
}

/// How often an address is defended within a minute of claims, once every `interval`.
fn defences(interval: Duration, defend: fn(&mut Announcer, IpAddr, Time)) -> usize {
    let mut announcer = announcing(0);
    let (mut now, end) = (at(0), at(60_000));
    let mut defences = 0;
    while now < end {
        defend(&mut announcer, V6.into(), now);
        let next = now + interval;
        defences += sent(&mut announcer, now).len();
        while let Some(due) = announcer.poll_timeout().filter(|due| *due < next) {
            defences += sent(&mut announcer, due).len();
        }
        now = next;
    }
    defences
}

#[test]
fn a_storm_of_claims_of_a_peer_is_not_contradicted_as_long_as_it_goes_on() {
    for milliseconds in [1, 10, 50, 99] {
        let interval = Duration::from_millis(milliseconds);
        assert_eq!(
            defences(interval, Announcer::defend_against_forged),
            1,
            "{milliseconds} ms"
        );
        // Clients that follow another machine are not served there.
        assert!(defences(interval, Announcer::defend) > 6, "{milliseconds} ms");
    }
    for milliseconds in [400, 500, 1000] {
        let claims = 60_000_u64.div_ceil(milliseconds) as usize;
        for defend in [Announcer::defend, Announcer::defend_against_forged] {
            let defences = defences(Duration::from_millis(milliseconds), defend);
            assert_eq!(defences, claims, "{milliseconds} ms");
        }
    }
    assert!(defences(Duration::from_millis(100), Announcer::defend_against_forged) >= 60);
}

#[test]
fn claims_of_a_storm_in_the_same_instant_are_contradicted_after_it() {
    let mut announcer = announcing(0);
    for _ in 0..3 {
        announcer.defend_against_forged(V6.into(), at(0));
    }
    assert_eq!(sent(&mut announcer, at(0)).len(), 1);
    for _ in 0..3 {
        announcer.defend_against_forged(V6.into(), at(10));
    }
    assert_eq!(announcer.poll_timeout(), Some(at(1010)));
    assert_eq!(sent(&mut announcer, at(1010)).len(), 1);
}

fn address(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number.into()).into()
}

proptest! {
    #[test]
    fn an_address_is_defended_at_most_every_400_milliseconds(
        steps in proptest::collection::vec((0_u64..300, 0_u8..3), 0..100),
    ) {
        let mut announcer = announcing(0);
        for number in 0..3 {
            announcer.announce(address(number), None, Time::ZERO);
        }
        announcer.set_links(vec![link(2, 0)], Time::ZERO);
        while let Some(due) = announcer.poll_timeout() {
            sent(&mut announcer, due);
        }
        let mut now = at(0);
        let mut last: BTreeMap<IpAddr, Time> = BTreeMap::new();
        let mut claimed: BTreeMap<IpAddr, Time> = BTreeMap::new();
        for (pause, number) in steps {
            now = now + Duration::from_millis(pause);
            let address = address(number);
            announcer.defend_against_forged(address, now);
            let before = claimed.insert(address, now);
            let is_storm = before.is_some_and(|before| now - before < Duration::from_millis(100));
            let is_early = last.get(&address).is_some_and(|last| now - *last < Duration::from_millis(400));
            let due = !is_storm && !is_early;
            let defended: Vec<IpAddr> = sent(&mut announcer, now).into_iter().map(|sent| sent.0).collect();
            prop_assert!(!due || defended.contains(&address));
            for address in defended {
                let before = last.insert(address, now);
                prop_assert!(before.is_none_or(|before| now - before >= Duration::from_millis(400)));
            }
        }
    }
}

#[test]
fn addresses_take_turns_when_claims_to_some_of_them_never_end() {
    let mut announcer = announcing(0);
    announcer.announce(OTHER_ADDRESS.into(), None, at(0));
    let mut reported = BTreeSet::new();
    for _ in 0..2 {
        for address in [V4, OTHER_ADDRESS] {
            let claim = arp(Operation::Request, address, address, OTHER);
            let _not_answered = handle(&mut announcer, 2, &claim, &mut [0; MAX_FRAME_LENGTH], at(1));
        }
        reported.extend(announcer.poll_claim().map(|claim| claim.address));
    }
    assert_eq!(reported, BTreeSet::from([V4.into(), OTHER_ADDRESS.into()]));
}

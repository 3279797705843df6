//! A survey from its questions to its result, and that it disturbs nothing else at the station.

use alloc::borrow::ToOwned;
use alloc::vec;
use core::net::Ipv4Addr;

use herald_core::announce::layer2::{Announcement, Command, ProbeResult, WireEvent};
use herald_fixtures::{at, ip, mac};

use super::*;
use crate::Station;
use crate::wire::MAX_FRAME_LENGTH;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ethernet::{EtherType, Frame};
use crate::wire::ndp::{Advertisement, Ndp};

const OWN: MacAddr = mac(2);
const LINK: LinkIndex = LinkIndex(2);
const SOURCE: &str = "192.0.2.2";

fn link(index: u32) -> Link {
    Link {
        index: LinkIndex(index),
        name: "eth0".to_owned(),
        mac: mac(index),
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    }
}

fn question(address: &str, rounds: u32) -> SurveyQuestion {
    let address = ip(address);
    let source = if address.is_ipv4() { SOURCE } else { "fe80::2" };
    SurveyQuestion {
        address,
        link: LINK,
        source: ip(source),
        rounds,
    }
}

fn station(questions: Vec<SurveyQuestion>) -> Station {
    let mut station = Station::new(None, 0);
    station.set_links(vec![link(2)], at(0));
    station.begin_survey(questions);
    station
}

/// Returns what the station sends until nothing is due at `now`: the address and the frame of each.
fn sent(station: &mut Station, now: Time) -> Vec<(IpAddr, Vec<u8>)> {
    let mut frame = [0; MAX_FRAME_LENGTH];
    let mut sent = Vec::new();
    while let Some(next) = station.poll_transmit(&mut frame, now) {
        sent.push((next.address, frame[..next.length].to_vec()));
    }
    sent
}

/// Runs a survey to its end, and returns when which address was asked for, and the result. `answer` may let the station receive
/// frames after a question.
fn run(
    station: &mut Station,
    mut answer: impl FnMut(&mut Station, IpAddr, Time),
) -> (Vec<(Duration, IpAddr)>, SurveyAnswers) {
    let mut asked = Vec::new();
    let mut now = at(0);
    loop {
        if let Some(answers) = station.poll_survey(now) {
            return (asked, answers);
        }
        for (address, _) in sent(station, now) {
            asked.push((now.elapsed(), address));
            answer(station, address, now);
        }
        assert!(now < at(60_000), "the survey does not end");
        now = now + Duration::from_millis(10);
    }
}

fn reply(station: &mut Station, address: Ipv4Addr, from: MacAddr, now: Time) {
    let arp = Arp {
        operation: Operation::Reply,
        sender_mac: from,
        sender_ip: address,
        target_mac: OWN,
        target_ip: [192, 0, 2, 2].into(),
    };
    let mut frame = [0; MAX_FRAME_LENGTH];
    let length = arp.emit(OWN, from, &mut frame);
    let _not_answered = station.handle_frame(LINK, &frame[..length], &mut [0; MAX_FRAME_LENGTH], now);
}

fn announcement(address: &str) -> Announcement {
    Announcement {
        address: ip(address),
        interfaces: None,
    }
}

fn of(pairs: &[(&str, &[u32])]) -> SurveyAnswers {
    let machines = |numbers: &[u32]| numbers.iter().map(|number| mac(*number)).collect();
    pairs
        .iter()
        .map(|(address, numbers)| (ip(address), machines(numbers)))
        .collect()
}

#[test]
fn all_machines_that_answer_are_collected_and_the_silent_addresses_are_asked_for_again() {
    let mut station = station(vec![
        question("192.0.2.10", 2),
        question("192.0.2.11", 3),
        question("192.0.2.12", 2),
    ]);
    let (asked, answers) = run(&mut station, |station, address, now| {
        if address == ip("192.0.2.10") {
            for number in [7, 8, 8] {
                reply(station, [192, 0, 2, 10].into(), mac(number), now);
            }
        }
    });
    let milliseconds: Vec<(u128, IpAddr)> = asked
        .iter()
        .map(|(at, address)| (at.as_millis(), *address))
        .collect();
    let expected = [
        (0, "192.0.2.10"),
        (20, "192.0.2.11"),
        (40, "192.0.2.12"),
        (1040, "192.0.2.11"),
        (1060, "192.0.2.12"),
        (2060, "192.0.2.11"),
    ];
    assert_eq!(milliseconds, expected.map(|(at, address)| (at, ip(address))));
    assert_eq!(
        answers,
        of(&[("192.0.2.10", &[7, 8]), ("192.0.2.11", &[]), ("192.0.2.12", &[])])
    );
    assert_eq!(
        (station.poll_timeout(), station.poll_survey(at(9000))),
        (None, None)
    );
}

#[test]
fn a_question_shows_the_address_of_this_node_and_is_no_probe() {
    let mut station = station(vec![question("192.0.2.10", 1), question("2001:db8::10", 1)]);
    let mut frames = sent(&mut station, at(0));
    frames.extend(sent(&mut station, at(20)));
    let arp = Frame::parse(&frames[0].1).expect("a frame");
    assert_eq!(
        (arp.ether_type, arp.destination),
        (EtherType::Arp, MacAddr::BROADCAST)
    );
    let arp = Arp::parse(arp.payload).expect("ARP");
    assert_eq!(
        (arp.operation, IpAddr::from(arp.sender_ip), arp.sender_mac),
        (Operation::Request, ip(SOURCE), OWN)
    );
    assert_eq!(IpAddr::from(arp.target_ip), ip("192.0.2.10"));
    let ndp = Frame::parse(&frames[1].1).expect("a frame");
    let Ndp::Solicitation(solicitation) = Ndp::parse(ndp.payload).expect("NDP") else {
        panic!("{ndp:?}");
    };
    assert_eq!(IpAddr::from(solicitation.source), ip("fe80::2"));
    assert_eq!(solicitation.link_address, Some(OWN));
    assert_eq!(IpAddr::from(solicitation.target), ip("2001:db8::10"));
}

#[test]
fn an_advertisement_answers_for_an_ipv6_address() {
    let mut station = station(vec![question("2001:db8::10", 2)]);
    let (_, answers) = run(&mut station, |station, _, now| {
        let advertisement = Advertisement {
            source: "2001:db8::10".parse().expect("an address"),
            destination: "fe80::2".parse().expect("an address"),
            router: false,
            solicited: true,
            overriding: true,
            target: "2001:db8::10".parse().expect("an address"),
            link_address: Some(mac(7)),
        };
        let mut frame = [0; MAX_FRAME_LENGTH];
        let length = advertisement.emit(OWN, mac(7), &mut frame);
        let _not_answered = station.handle_frame(LINK, &frame[..length], &mut [0; MAX_FRAME_LENGTH], now);
    });
    assert_eq!(answers, of(&[("2001:db8::10", &[7])]));
}

#[test]
fn an_answer_to_the_survey_is_no_claim_and_any_other_frame_is() {
    let address = "192.0.2.10";
    let mut station = Station::new(None, 0);
    station.set_links(vec![link(2)], at(0));
    station.handle_command(Command::Announce(announcement(address)), at(0));
    sent(&mut station, at(0));
    while station.poll_event(at(0)).is_some() {}
    reply(&mut station, [192, 0, 2, 10].into(), mac(7), at(1));
    let claim = Some(WireEvent::Claimed(ip(address), mac(7)));
    assert_eq!(station.poll_event(at(1)), claim, "nothing was asked");
    station.begin_survey(vec![question(address, 2)]);
    assert!(
        sent(&mut station, at(30))
            .iter()
            .any(|(asked, _)| *asked == ip(address))
    );
    reply(&mut station, [192, 0, 2, 10].into(), mac(7), at(31));
    assert_eq!(station.poll_event(at(31)), None);
    // An announcement goes to all.
    let mut frame = [0; MAX_FRAME_LENGTH];
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: mac(7),
        sender_ip: [192, 0, 2, 10].into(),
        target_mac: MacAddr::ZERO,
        target_ip: [192, 0, 2, 10].into(),
    };
    let length = arp.emit(MacAddr::BROADCAST, mac(7), &mut frame);
    let _not_answered = station.handle_frame(LINK, &frame[..length], &mut [0; MAX_FRAME_LENGTH], at(32));
    assert_eq!(station.poll_event(at(32)), claim);
    assert_eq!(station.poll_survey(at(2000)), Some(of(&[(address, &[7])])));
}

#[test]
fn a_survey_leaves_out_what_is_probed_for_or_monitored_and_what_a_command_concerns() {
    let check = |address| Command::Check {
        announcement: announcement(address),
        target: None,
    };
    let mut station = Station::new(None, 0);
    station.set_links(vec![link(2)], at(0));
    station.handle_command(Command::Probe(announcement("192.0.2.10")), at(0));
    station.handle_command(check("192.0.2.11"), at(0));
    let questions = (10..15).map(|last| question(&alloc::format!("192.0.2.{last}"), 1));
    station.begin_survey(questions.collect());
    station.handle_command(Command::Probe(announcement("192.0.2.12")), at(0));
    let (_, answers) = run(&mut station, |station, address, now| {
        if address == ip("192.0.2.13") {
            station.handle_command(check("192.0.2.13"), now);
            reply(station, [192, 0, 2, 13].into(), mac(7), now);
        }
    });
    assert_eq!(answers, of(&[("192.0.2.14", &[])]));
    // The answer reached the check.
    let events = core::iter::from_fn(|| station.poll_event(at(1)));
    let probed = WireEvent::Probed(ip("192.0.2.13"), ProbeResult::Answered(mac(7)));
    assert!(events.into_iter().any(|event| event == probed));
}

#[test]
fn frames_to_others_of_this_node_or_on_other_links_are_no_answers() {
    let mut station = station(vec![question("192.0.2.10", 1)]);
    station.set_links(vec![link(2), link(3)], at(0));
    let (_, answers) = run(&mut station, |station, _, now| {
        let mut receive = |on: LinkIndex, destination, from, sender| {
            let arp = Arp {
                operation: Operation::Reply,
                sender_mac: from,
                sender_ip: sender,
                target_mac: destination,
                target_ip: [192, 0, 2, 2].into(),
            };
            let mut frame = [0; MAX_FRAME_LENGTH];
            let length = arp.emit(destination, from, &mut frame);
            let _not_answered = station.handle_frame(on, &frame[..length], &mut [0; MAX_FRAME_LENGTH], now);
        };
        let asked = [192, 0, 2, 10].into();
        receive(LINK, mac(9), mac(7), asked);
        receive(LINK, OWN, mac(3), asked);
        receive(LinkIndex(3), mac(3), mac(7), asked);
        receive(LINK, OWN, mac(7), [192, 0, 2, 11].into());
    });
    assert_eq!(answers, of(&[("192.0.2.10", &[])]));
}

#[test]
fn what_was_asked_on_a_link_that_is_gone_or_new_is_left_out() {
    for links in [
        vec![link(3)],
        vec![Link {
            mac: mac(4),
            ..link(2)
        }],
    ] {
        let mut station = station(vec![question("192.0.2.10", 1)]);
        sent(&mut station, at(0));
        station.set_links(links, at(1));
        assert_eq!(run(&mut station, |_, _, _| {}), (vec![], SurveyAnswers::new()));
    }
}

#[test]
fn two_surveys_keep_the_pace_and_a_cancelled_one_asks_nothing() {
    let mut station = station(vec![question("192.0.2.10", 1), question("192.0.2.11", 1)]);
    assert_eq!(sent(&mut station, at(0)).len(), 1);
    station.begin_survey(vec![question("192.0.2.12", 1)]);
    assert_eq!(sent(&mut station, at(19)), []);
    assert_eq!(sent(&mut station, at(20)).len(), 1);
    station.cancel_survey();
    assert_eq!(
        (station.poll_timeout(), station.poll_survey(at(9000))),
        (None, None)
    );
    assert_eq!(station.addresses_on(LINK).count(), 0);
}

#[test]
fn an_answer_is_bounded_and_the_filter_lets_it_through() {
    let mut station = station(vec![question("192.0.2.10", 1)]);
    assert_eq!(station.addresses_on(LINK).collect::<Vec<_>>(), [ip("192.0.2.10")]);
    assert_eq!(station.addresses_on(LinkIndex(3)).count(), 0);
    let (_, answers) = run(&mut station, |station, _, now| {
        for number in 10..100 {
            reply(station, [192, 0, 2, 10].into(), mac(number), now);
        }
    });
    assert_eq!(answers[&ip("192.0.2.10")].len(), MOST_MACHINES);
}

#[test]
fn the_longest_subnet_decides_where_to_ask() {
    let on = |index, sources: &[&str]| SurveyLink {
        index: LinkIndex(index),
        arp: true,
        ndp: true,
        sources: sources
            .iter()
            .map(|text| {
                let (address, length) = text.split_once('/').expect("a prefix");
                Prefix {
                    address: ip(address),
                    length: length.parse().expect("a length"),
                }
            })
            .collect(),
    };
    let links = [
        on(2, &["192.0.2.2/24", "2001:db8::2/64", "fe80::2/64"]),
        on(3, &["192.0.2.130/25", "2001:db8::3/64"]),
        on(4, &["192.0.2.4/24"]),
    ];
    let at = |index, source| Some((LinkIndex(index), ip(source)));
    assert_eq!(vantage(ip("192.0.2.10"), &links), at(2, "192.0.2.2"));
    assert_eq!(vantage(ip("192.0.2.140"), &links), at(3, "192.0.2.130"));
    assert_eq!(
        vantage(ip("2001:db8::9"), &links),
        at(2, "fe80::2"),
        "the other link has no link-local address"
    );
    assert_eq!(vantage(ip("198.51.100.1"), &links), None);
    assert_eq!(vantage(ip("192.0.2.4"), &links[2..]), None, "this node has it");
    let mut without = links;
    without[0].arp = false;
    assert_eq!(vantage(ip("192.0.2.10"), &without), at(4, "192.0.2.4"));
}

//! The composition: one parse, the order of outputs, commands that concern both machines.

use alloc::borrow::ToOwned;
use alloc::vec;
use core::net::Ipv4Addr;

use herald_core::announce::layer2::ProbeResult;
use herald_fixtures::at;

use super::*;
use crate::wire::MAX_FRAME_LENGTH;
use crate::wire::arp::{Arp, Operation};
use crate::{MacAddr, Purpose};

const ACTIVE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PROBED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OTHER_ACTIVE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn link() -> Link {
    Link {
        index: LinkIndex(2),
        name: "eth0".to_owned(),
        mac: OWN,
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    }
}

fn on_all_links(address: Ipv4Addr) -> Announcement {
    Announcement {
        address: address.into(),
        interfaces: None,
    }
}

/// Announces [`ACTIVE`] and probes for [`PROBED`].
fn busy() -> Station {
    let mut station = Station::new(None, 0);
    station.set_links(vec![link()], Time::ZERO);
    station.handle_command(Command::Announce(on_all_links(ACTIVE)), Time::ZERO);
    station.handle_command(Command::Probe(on_all_links(PROBED)), Time::ZERO);
    station
}

/// A request of another machine, which shows in it that the machine has `sender_ip`.
fn request(sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> ([u8; MAX_FRAME_LENGTH], usize) {
    let mut frame = [0; MAX_FRAME_LENGTH];
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: OTHER,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    let length = arp.emit(MacAddr::BROADCAST, OTHER, &mut frame);
    (frame, length)
}

fn receive(
    station: &mut Station,
    link: u32,
    (frame, length): ([u8; MAX_FRAME_LENGTH], usize),
) -> Result<Answer, Ignored> {
    station.handle_frame(
        LinkIndex(link),
        &frame[..length],
        &mut [0; MAX_FRAME_LENGTH],
        at(1),
    )
}

fn transmit(station: &mut Station, now: Time) -> Vec<Transmission> {
    let mut frame = [0; MAX_FRAME_LENGTH];
    core::iter::from_fn(|| station.poll_transmit(&mut frame, now)).collect()
}

fn events(station: &mut Station, now: Time) -> Vec<WireEvent> {
    core::iter::from_fn(|| station.poll_event(now)).collect()
}

#[test]
fn questions_leave_before_announcements() {
    let sent = transmit(&mut busy(), Time::ZERO);
    let sent: Vec<_> = sent.iter().map(|sent| (sent.address, sent.purpose)).collect();
    let expected = [
        (PROBED.into(), Purpose::Question),
        (ACTIVE.into(), Purpose::Announcement),
        (ACTIVE.into(), Purpose::Announcement),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn one_frame_is_answered_and_ends_a_probe() {
    let mut station = busy();
    let answer = receive(&mut station, 2, request(PROBED, ACTIVE)).expect("answered");
    assert_eq!(answer.address, ACTIVE);
    assert_eq!(
        events(&mut station, at(1)),
        [WireEvent::Probed(PROBED.into(), ProbeResult::Answered(OTHER))]
    );
}

#[test]
fn results_of_probes_come_before_claims() {
    let mut station = busy();
    receive(&mut station, 2, request(ACTIVE, ACTIVE)).expect("answered");
    let _nothing_else = receive(&mut station, 2, request(PROBED, PROBED));
    let expected = [
        WireEvent::Probed(PROBED.into(), ProbeResult::Answered(OTHER)),
        WireEvent::Claimed(ACTIVE.into(), OTHER),
    ];
    assert_eq!(events(&mut station, at(1)), expected);
}

#[test]
fn a_frame_that_arrives_before_the_events_are_polled_still_answers_a_probe() {
    for is_answered in [true, false] {
        let mut station = busy();
        for round in 0..3 {
            transmit(&mut station, at(30 * round));
        }
        let result = if is_answered {
            let _ignored = receive(&mut station, 2, request(PROBED, PROBED));
            ProbeResult::Answered(OTHER)
        } else {
            ProbeResult::Silence
        };
        let expected = [
            WireEvent::Probed(PROBED.into(), result),
            WireEvent::Announced(ACTIVE.into()),
        ];
        assert_eq!(events(&mut station, at(90)), expected);
    }
}

#[test]
fn withdraw_cancels_the_probe_of_the_address_as_well() {
    let mut station = busy();
    for address in [ACTIVE, PROBED] {
        station.handle_command(Command::Withdraw(address.into()), Time::ZERO);
    }
    assert_eq!(station.poll_timeout(), None);
    assert_eq!(station.addresses_on(LinkIndex(2)).count(), 0);
    assert_eq!(station.links_of(ACTIVE.into()), None);
}

#[test]
fn withdraw_all_lets_probes_go_on() {
    let mut station = busy();
    station.handle_command(Command::WithdrawAll, Time::ZERO);
    assert!(station.addresses_on(LinkIndex(2)).eq([IpAddr::from(PROBED)]));
}

/// Announces [`ACTIVE`] and [`OTHER_ACTIVE`] on two links and probes for [`PROBED`]. All frames of the first seconds were sent.
fn settled() -> Station {
    let mut station = busy();
    let second = Link {
        index: LinkIndex(3),
        name: "eth1".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 3]),
        ..link()
    };
    station.set_links(vec![link(), second], Time::ZERO);
    station.handle_command(Command::Announce(on_all_links(OTHER_ACTIVE)), Time::ZERO);
    for now in 0..5000 {
        transmit(&mut station, at(now));
    }
    events(&mut station, at(5000));
    station
}

/// Returns the addresses and links that are asked for, and until when the pace held questions back.
fn questions(station: &mut Station, now: Time) -> Vec<(IpAddr, u32)> {
    let sent = transmit(station, now);
    assert!(
        sent.iter().all(|sent| sent.purpose == Purpose::Question),
        "{sent:?}"
    );
    sent.iter().map(|sent| (sent.address, sent.link.0)).collect()
}

#[test]
fn a_station_that_was_paused_goes_on_answering_and_reports_the_claims_that_waited() {
    let mut station = settled();
    let _answered = receive(&mut station, 2, request(ACTIVE, ACTIVE));
    assert!(!station.handle_pause(Duration::from_millis(4900), false, at(10_000)));
    receive(&mut station, 2, request(OTHER_HOST, ACTIVE)).expect("answered");
    assert_eq!(questions(&mut station, at(10_000)), []);
    assert_eq!(
        events(&mut station, at(10_000)),
        [WireEvent::Claimed(ACTIVE.into(), OTHER)]
    );
    // The clients have learnt another MAC address. The agent has the time to withdraw the address.
    assert_eq!(station.poll_timeout(), Some(at(10_000) + DECISION));
    let burst = transmit(&mut station, at(10_000) + DECISION);
    assert!(
        burst.iter().all(|sent| sent.address == IpAddr::from(ACTIVE)),
        "{burst:?}"
    );
    assert_eq!(burst.len(), 4);
}

#[test]
fn where_claims_may_be_missing_each_active_address_is_asked_for_once_and_answered_for_meanwhile() {
    let everywhere = [ACTIVE, OTHER_ACTIVE].map(|address| [(address.into(), 2), (address.into(), 3)]);
    for (pause, has_lost_frames) in [(Duration::from_millis(300), true), (BLIND_PAUSE, false)] {
        let mut station = settled();
        assert!(station.handle_pause(pause, has_lost_frames, at(10_000)));
        receive(&mut station, 2, request(OTHER_HOST, ACTIVE)).expect("answered");
        assert_eq!(questions(&mut station, at(10_000)), everywhere.concat());
        assert_eq!(questions(&mut station, at(10_001)), []);
        assert_eq!(station.poll_timeout(), None);
        assert_eq!(events(&mut station, at(10_001)), []);
        // The answer of a machine that took over is a claim.
        receive(&mut station, 3, request(OTHER_ACTIVE, OTHER_HOST)).expect_err("no question of ours");
        let claim = WireEvent::Claimed(OTHER_ACTIVE.into(), OTHER);
        assert_eq!(events(&mut station, at(10_002)), [claim]);
    }
}

#[test]
fn inquiries_begin_five_seconds_apart_and_none_is_forgotten() {
    let mut station = settled();
    let pause = |station: &mut Station, now| {
        assert!(station.handle_pause(Duration::from_millis(300), true, now));
        questions(station, now).len()
    };
    assert_eq!(pause(&mut station, at(10_000)), 4);
    assert_eq!(pause(&mut station, at(10_500)), 0);
    assert_eq!(pause(&mut station, at(11_000)), 0);
    assert_eq!(station.poll_timeout(), Some(at(15_000)));
    assert_eq!(questions(&mut station, at(15_000)).len(), 4);
    assert_eq!(station.poll_timeout(), None);
}

#[test]
fn a_probe_whose_answers_may_be_missing_starts_again() {
    let mut station = busy();
    for round in 0..3 {
        transmit(&mut station, at(30 * round));
    }
    let announced = [WireEvent::Announced(ACTIVE.into())];
    assert_eq!(events(&mut station, at(60)), announced);
    station.handle_pause(Duration::from_millis(300), true, at(400));
    assert_eq!(events(&mut station, at(400)), []);
    let asked = transmit(&mut station, at(400));
    assert_eq!(asked[0].address, IpAddr::from(PROBED));
    let _ignored = receive(&mut station, 2, request(PROBED, PROBED));
    assert_eq!(
        events(&mut station, at(401)),
        [WireEvent::Probed(PROBED.into(), ProbeResult::Answered(OTHER))]
    );
}

const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

#[test]
fn the_link_of_a_frame_is_looked_at_before_its_content() {
    let mut station = busy();
    let cut = (request(OTHER_HOST, ACTIVE).0, 20);
    assert_eq!(receive(&mut station, 3, cut), Err(Ignored::UnknownLink));
    assert!(matches!(
        receive(&mut station, 2, cut),
        Err(Ignored::Malformed(_))
    ));
    assert_eq!(
        receive(&mut station, 3, request(OTHER_HOST, ACTIVE)),
        Err(Ignored::UnknownLink)
    );
}

#[test]
fn a_frame_that_is_ignored_shows_that_the_link_receives() {
    let mut station = busy();
    let check = Command::Check {
        announcement: on_all_links(OTHER_HOST),
        target: None,
    };
    station.handle_command(Command::CancelProbe(PROBED.into()), Time::ZERO);
    station.handle_command(check, Time::ZERO);
    transmit(&mut station, Time::ZERO);
    let _malformed = receive(&mut station, 2, (request(PROBED, ACTIVE).0, 20));
    let last_frame = Some(Duration::from_millis(99));
    let unanswered = ProbeResult::Unanswered { last_frame };
    let expected = [
        WireEvent::Probed(OTHER_HOST.into(), unanswered),
        WireEvent::Announced(ACTIVE.into()),
    ];
    assert_eq!(events(&mut station, at(100)), expected);
}

#[test]
fn a_checked_address_stays_monitored_until_the_probe_is_cancelled() {
    let mut station = busy();
    let check = Command::Check {
        announcement: on_all_links(ACTIVE),
        target: Some(OTHER),
    };
    station.handle_command(check, Time::ZERO);
    assert!(station.is_monitored(ACTIVE.into()));
    station.handle_command(Command::CancelProbe(ACTIVE.into()), Time::ZERO);
    assert!(!station.is_monitored(ACTIVE.into()));
    assert!(station.links_of(ACTIVE.into()).is_some());
}

#[test]
fn both_machines_get_the_links() {
    let mut station = busy();
    transmit(&mut station, Time::ZERO);
    let renewed = Link { mac: OTHER, ..link() };
    station.set_links(vec![renewed], at(50));
    let sent = transmit(&mut station, at(50));
    let purposes: Vec<Purpose> = sent.iter().map(|sent| sent.purpose).collect();
    let expected = [Purpose::Question, Purpose::Announcement, Purpose::Announcement];
    assert_eq!(purposes, expected);
    station.set_links(Vec::new(), at(60));
    let expected = [
        WireEvent::Probed(PROBED.into(), ProbeResult::NoLink),
        WireEvent::Announced(ACTIVE.into()),
    ];
    assert_eq!(events(&mut station, at(60)), expected);
}

#[test]
fn the_first_announcement_that_was_sent_is_reported_once_until_the_address_is_withdrawn() {
    let mut station = busy();
    let announced = [WireEvent::Announced(ACTIVE.into())];
    let announce = || Command::Announce(on_all_links(ACTIVE));
    station.handle_command(Command::CancelProbe(PROBED.into()), Time::ZERO);
    assert_eq!(events(&mut station, Time::ZERO), [], "nothing was sent");
    for round in [0, 100, 1100] {
        transmit(&mut station, at(round));
        let is_first = round == 0;
        assert_eq!(station.poll_timeout() == Some(Time::ZERO), is_first);
        let expected = if is_first { &announced[..] } else { &[] };
        assert_eq!(events(&mut station, at(round)), expected);
    }
    station.handle_command(Command::Withdraw(ACTIVE.into()), at(1200));
    station.set_links(Vec::new(), at(1200));
    station.handle_command(announce(), at(1200));
    transmit(&mut station, at(1200));
    assert_eq!(events(&mut station, at(1200)), [], "there is no link");
    station.set_links(vec![link()], at(1300));
    transmit(&mut station, at(1300));
    station.handle_command(Command::Withdraw(ACTIVE.into()), at(1300));
    station.handle_command(announce(), at(1300));
    assert_eq!(
        events(&mut station, at(1300)),
        [],
        "it was of an announcement before"
    );
    transmit(&mut station, at(1300));
    assert_eq!(events(&mut station, at(1300)), announced);
}

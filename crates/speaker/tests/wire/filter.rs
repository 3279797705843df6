//! What the kernel holds back, and what it never does.

use std::net::IpAddr;
use std::time::Duration;

use herald_netns::Capture;
use herald_netns::blocking::{Host, Segment, wait_for};

use crate::arp::{CLIENT, OWNER, answer, ask, foreign, ip, request};
use crate::ndp::{ADVERTISEMENT, is_ndp, solicitation};
use crate::speaker::Speaker;

crate::tests![
    requests_for_others_cost_no_wake_up,
    addresses_that_are_checked_again_and_again_keep_the_filter_narrow,
    whatever_the_filter_holds_back_a_new_address_is_answered_for_at_once,
    whatever_the_filter_holds_back_a_probe_hears_its_answer,
    an_address_that_comes_to_another_link_is_answered_for_there,
    an_address_among_thousands_is_answered_for,
    a_filter_without_room_for_its_successor_never_lets_frames_of_other_networks_through,
];

const ADDRESS: &str = "192.0.2.100";
const NOT_OURS: &str = "herald_layer2_ignored_total{reason=\"not_ours\"}";

/// Asks for an unused address until the speaker receives none of these frames any more, while it receives those for its own.
fn wait_until_narrow(speaker: &Speaker, client: &Host, capture: &Capture) {
    wait_for("requests for others are held back", || {
        let before = speaker.metric(NOT_OURS);
        capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 250]));
        ask(capture, [192, 0, 2, 100])?;
        (speaker.metric(NOT_OURS) == before).then_some(())
    });
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn requests_for_others_cost_no_wake_up() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    let capture = client.capture("eth0");
    wait_until_narrow(&speaker, &client, &capture);
    let before = speaker.metric(NOT_OURS);
    for last in 101..=199 {
        capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, last]));
    }
    // Behind all of these, so that they have passed when it is answered.
    capture.send(&request(CLIENT, [192, 0, 2, 8], [192, 0, 2, 100]));
    let last = |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[38..42] == [192, 0, 2, 8]);
    capture.next(Duration::from_secs(5), last).expect("an answer");
    assert_eq!(speaker.metric(NOT_OURS), before);
}

/// As a backup does.
fn addresses_that_are_checked_again_and_again_keep_the_filter_narrow() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    let capture = client.capture("eth0");
    speaker.announce(ip(ADDRESS));
    speaker.wait_announced(ip(ADDRESS), 1);
    speaker.check(ip("192.0.2.77"));
    wait_until_narrow(&speaker, &client, &capture);
    let before = speaker.metric(NOT_OURS);
    let checked =
        |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[38..42] == [192, 0, 2, 77]);
    for last in 101..=120 {
        speaker.check(ip("192.0.2.77"));
        capture.next(Duration::from_secs(5), checked).expect("a question");
        capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, last]));
    }
    capture.send(&request(CLIENT, [192, 0, 2, 8], [192, 0, 2, 100]));
    let last = |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[38..42] == [192, 0, 2, 8]);
    capture.next(Duration::from_secs(5), last).expect("an answer");
    assert_eq!(speaker.metric(NOT_OURS), before);
}

/// Waits for the first announcement, asks at that very moment, and waits for the answer.
fn ask_at_once(capture: &Capture, address: IpAddr) {
    let limit = Duration::from_secs(5);
    match address {
        IpAddr::V4(address) => {
            let announced = |frame: &[u8]| {
                foreign(frame, 0x0806, CLIENT).filter(|frame| frame[28..32] == address.octets())
            };
            capture.next(limit, announced).expect("an announcement");
            let reply = ask(capture, address.octets()).expect("an answer");
            assert_eq!(reply[28..32], address.octets());
        }
        IpAddr::V6(address) => {
            let announced =
                |frame: &[u8]| (frame[6..12] == OWNER && is_ndp(frame, ADVERTISEMENT)).then_some(());
            capture.next(limit, announced).expect("an announcement");
            capture.send(&solicitation(address));
            let reply =
                |frame: &[u8]| (frame[..6] == CLIENT && is_ndp(frame, ADVERTISEMENT)).then(|| frame.to_vec());
            let reply = capture.next(limit, reply).expect("an answer");
            assert_eq!(reply[62..78], address.octets());
        }
    }
}

fn whatever_the_filter_holds_back_a_new_address_is_answered_for_at_once() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24", "2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    for last in 1..=5 {
        for address in [format!("192.0.2.{}", 10 + last), format!("2001:db8::{last}:0")] {
            let capture = client.capture("eth0");
            wait_until_narrow(&speaker, &client, &capture);
            // The burst of the address before is over by now, or it is its own that is waited for.
            let capture = client.capture("eth0");
            speaker.announce(ip(&address));
            ask_at_once(&capture, ip(&address));
            speaker.withdraw(ip(&address));
        }
    }
}

fn whatever_the_filter_holds_back_a_probe_hears_its_answer() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24", "2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let mut speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    for _ in 0..5 {
        let capture = client.capture("eth0");
        wait_until_narrow(&speaker, &client, &capture);
        for address in ["192.0.2.9", "2001:db8::9"] {
            assert_eq!(speaker.probe(ip(address)), Some(CLIENT), "{address}");
        }
    }
    assert_eq!(speaker.probe(ip("192.0.2.251")), None);
}

fn an_address_that_comes_to_another_link_is_answered_for_there() {
    let segment = Segment::new();
    let owner = segment.host(crate::arp::OTHER, &["192.0.2.1/24"]);
    segment.plug(&owner, "eth1", OWNER);
    owner.add_address("eth1", "198.51.100.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24", "198.51.100.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("198.51.100.100"));
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip("198.51.100.100")), OWNER);
    assert_eq!(client.resolve(ip(ADDRESS)), crate::arp::OTHER);
    // Long enough for both filters to be narrow; the address goes on on the link that is left.
    speaker.wait_announced(ip(ADDRESS), 12);
    owner.set_up("eth0", false);
    wait_for("the entry moves", || {
        client.neighbour(ip(ADDRESS)).filter(|mac| *mac == OWNER)
    });
    let capture = client.capture("eth0");
    let reply = ask(&capture, [192, 0, 2, 100]).expect("an answer");
    assert_eq!(reply[6..12], OWNER);
}

/// More of them, one by one with gaps between, than a filter has room for.
fn an_address_among_thousands_is_answered_for() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["10.0.0.1/8"]);
    let client = segment.host(CLIENT, &["10.0.0.9/8"]);
    let speaker = Speaker::start(&owner);
    let nth = |number: u32| format!("10.{}.{}.{}", 1 + number / 250, number % 250, number % 7 * 30);
    for number in 0..3000 {
        speaker.announce(ip(&nth(number)));
    }
    // The whole burst of the last: the filter is made by then.
    speaker.wait_announced(ip(&nth(2999)), 12);
    let capture = client.capture("eth0");
    for number in 0..3000 {
        let IpAddr::V4(address) = ip(&nth(number)) else {
            unreachable!()
        };
        capture.send(&request(CLIENT, [10, 0, 0, 9], address.octets()));
        let reply = |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[..6] == CLIENT);
        let reply = capture.next(Duration::from_secs(5), reply).expect("an answer");
        assert_eq!(reply[28..32], address.octets());
    }
}

/// The kernel charges the old filter until the new one is attached. Here it has room for the short one that lets all addresses
/// through, but not beside a long one.
fn a_filter_without_room_for_its_successor_never_lets_frames_of_other_networks_through() {
    const VLAN: [u8; 4] = [0x81, 0, 0, 5];
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/16"]);
    let client = segment.host(CLIENT, &["192.0.2.9/16"]);
    let speaker = Speaker::start(&owner);
    let addresses: Vec<IpAddr> = (0..500)
        .map(|number| ip(&format!("192.0.{}.{}", 3 + number / 100, number % 100 * 2)))
        .collect();
    addresses.iter().for_each(|address| speaker.announce(*address));
    // The whole burst of the last: the filter is made by then.
    speaker.wait_announced(addresses[499], 12);
    owner.run(|| std::fs::write("/proc/sys/net/core/optmem_max", "3000").expect("of this namespace"));
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    let capture = client.capture("eth0");
    let mut tagged = request(CLIENT, [192, 0, 2, 7], [192, 0, 2, 100]);
    tagged.splice(12..12, VLAN);
    capture.send(&tagged);
    capture.send(&request(CLIENT, [192, 0, 2, 8], [192, 0, 2, 100]));
    let reply = answer(&capture, Duration::from_secs(5)).expect("an answer");
    assert_eq!(reply[38..42], [192, 0, 2, 8]);
}

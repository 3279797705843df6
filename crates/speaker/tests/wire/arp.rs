//! IPv4: what clients, probes and bytes say.

use std::time::Duration;

pub(crate) use herald_fixtures::ip;
use herald_netns::Capture;
use herald_netns::blocking::{Segment, wait_for};

use crate::speaker::Speaker;

crate::tests![
    a_client_resolves_the_address_to_the_owner,
    nobody_answers_for_an_address_that_is_not_announced,
    a_withdrawn_address_is_not_answered_for,
    the_reply_is_rfc_826_byte_for_byte,
    an_address_probe_is_answered,
    an_announcement_is_a_request_and_a_reply,
    a_claim_moves_a_clients_entry,
];

pub(crate) const OWNER: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
pub(crate) const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0xc];

/// Long enough for a frame to cross a bridge many times over.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// An ARP request as it is on the wire, without padding.
pub(crate) fn request(source: [u8; 6], sender_ip: [u8; 4], target_ip: [u8; 4]) -> Vec<u8> {
    let ethernet = [&[0xff; 6][..], &source, &[0x08, 0x06]].concat();
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    [&ethernet[..], &fixed, &source, &sender_ip, &[0; 6], &target_ip].concat()
}

/// Asks for an address as the client does, and waits for an answer.
pub(crate) fn ask(capture: &Capture, address: [u8; 4]) -> Option<Vec<u8>> {
    capture.send(&request(CLIENT, [192, 0, 2, 9], address));
    answer(capture, Duration::from_secs(5))
}

/// The next frame to the client alone.
pub(crate) fn answer(capture: &Capture, limit: Duration) -> Option<Vec<u8>> {
    let reply = |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[..6] == CLIENT);
    capture.next(limit, reply)
}

/// Matches a frame of this EtherType from another machine than `own`.
pub(crate) fn foreign(frame: &[u8], ethertype: u16, own: [u8; 6]) -> Option<Vec<u8>> {
    (frame[12..14] == ethertype.to_be_bytes() && frame[6..12] != own).then(|| frame.to_vec())
}

fn a_client_resolves_the_address_to_the_owner() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("192.0.2.100"));
    speaker.wait_announced(ip("192.0.2.100"), 2);
    assert_eq!(client.resolve(ip("192.0.2.100")), OWNER);
    for series in [
        "metallb_layer2_requests_received",
        "metallb_layer2_responses_sent",
    ] {
        let series = format!("{series}{{ip=\"192.0.2.100\"}}");
        wait_for(&series, || speaker.metric(&series).filter(|n| *n >= 1));
    }
}

fn nobody_answers_for_an_address_that_is_not_announced() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("192.0.2.100"));
    speaker.wait_announced(ip("192.0.2.100"), 2);
    let (capture, arriving) = (client.capture("eth0"), owner.capture("eth0"));
    let request = request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 101]);
    capture.send(&request);
    let arrived = arriving.next(Duration::from_secs(5), |frame| {
        frame.starts_with(&request).then_some(())
    });
    assert!(arrived.is_some());
    let reply = capture.next(SILENCE, |frame| {
        foreign(frame, 0x0806, CLIENT).filter(|frame| frame[28..32] == [192, 0, 2, 101])
    });
    assert_eq!(reply, None);
}

fn a_withdrawn_address_is_not_answered_for() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    let address = ip("192.0.2.100");
    speaker.announce(address);
    client.resolve(address);
    speaker.withdraw(address);
    let series = "metallb_layer2_gratuitous_sent{ip=\"192.0.2.100\"}";
    wait_for("its series end", || {
        speaker.metric(series).is_none().then_some(())
    });
    let capture = client.capture("eth0");
    capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 100]));
    let reply = capture.next(SILENCE, |frame| foreign(frame, 0x0806, CLIENT));
    assert_eq!(reply, None);
}

fn the_reply_is_rfc_826_byte_for_byte() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("192.0.2.100"));
    speaker.wait_announced(ip("192.0.2.100"), 2);
    let capture = client.capture("eth0");
    let reply = ask(&capture, [192, 0, 2, 100]).expect("a reply");
    let packet = [0, 1, 8, 0, 6, 4, 0, 2];
    let (own, asked) = ([192, 0, 2, 9], [192, 0, 2, 100]);
    let expected = [
        &CLIENT[..],
        &OWNER,
        &[0x08, 0x06],
        &packet,
        &OWNER,
        &asked,
        &CLIENT,
        &own,
        &[0; 18],
    ];
    assert_eq!(reply, expected.concat());
}

fn an_address_probe_is_answered() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("192.0.2.100"));
    speaker.wait_announced(ip("192.0.2.100"), 2);
    let capture = client.capture("eth0");
    capture.send(&request(CLIENT, [0, 0, 0, 0], [192, 0, 2, 100]));
    let unicast = |frame: &[u8]| foreign(frame, 0x0806, CLIENT).filter(|frame| frame[..6] == CLIENT);
    let reply = capture.next(Duration::from_secs(5), unicast).expect("a reply");
    assert_eq!(reply[38..42], [0, 0, 0, 0]);
}

fn an_announcement_is_a_request_and_a_reply() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let capture = client.capture("eth0");
    let speaker = Speaker::start(&owner);
    speaker.announce(ip("192.0.2.100"));
    for operation in [1, 2] {
        let frame = capture.next(Duration::from_secs(5), |frame| foreign(frame, 0x0806, CLIENT));
        let packet = [0, 1, 8, 0, 6, 4, 0, operation];
        let address = [192, 0, 2, 100];
        let broadcast = [0xff; 6];
        let expected = [
            &broadcast[..],
            &OWNER,
            &[0x08, 0x06],
            &packet,
            &OWNER,
            &address,
            &broadcast,
            &address,
            &[0; 18],
        ];
        assert_eq!(frame.expect("an announcement"), expected.concat());
    }
}

fn a_claim_moves_a_clients_entry() {
    let segment = Segment::new();
    let first = segment.host(OWNER, &["192.0.2.1/24"]);
    let second = segment.host(OTHER, &["192.0.2.2/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let address = ip("192.0.2.100");
    let owner = Speaker::start(&first);
    owner.announce(address);
    assert_eq!(client.resolve(address), OWNER);
    // No goodbye: the owner dies, and the client asks for nothing.
    drop(owner);
    let successor = Speaker::start(&second);
    successor.announce(address);
    wait_for("the entry moves", || {
        client.neighbour(address).filter(|mac| *mac == OTHER)
    });
}

//! Which frames of other machines count, and as what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::{Link, MacAddr, Prefix, ProbeResult};

use super::frames::{advertisement, arp, frame, sign, solicitation};
use super::{OTHER, Simulation, THIRD, V4, V6, link, mac};

#[test]
fn a_machine_that_shows_that_it_has_the_address_ends_the_probe_at_once() {
    let elsewhere = Ipv4Addr::new(192, 0, 2, 9);
    let table = [
        arp(Operation::Reply, V4, elsewhere, OTHER),
        arp(Operation::Reply, V4, V4, OTHER),
        arp(Operation::Request, V4, V4, OTHER),
        arp(Operation::Request, V4, elsewhere, OTHER),
        advertisement(V6, Some(OTHER), THIRD, false),
        advertisement(V6, Some(OTHER), OTHER, true),
        advertisement(V6, None, OTHER, false),
    ];
    for (row, frame) in table.iter().enumerate() {
        let address: IpAddr = if row < 4 { V4.into() } else { V6.into() };
        let mut simulation = Simulation::probing(vec![link(2)]);
        assert_eq!(
            simulation.results_after(2, frame),
            [(address, ProbeResult::Answered(OTHER))],
            "row {row}"
        );
        let sent = simulation.run(Duration::from_secs(1));
        assert!(sent.iter().all(|s| s.address != address), "row {row}");
    }
}

/// Captured on a veth pair: the answers of Linux to the frames of the prober.
#[test]
fn answers_of_linux_end_the_probe() {
    let table: [(IpAddr, &[&str]); 2] = [
        (
            V4.into(),
            &[
                "020000000002 020000000109 0806 0001 0800 06 04 0002",
                "020000000109 c0000201 020000000002 00000000",
            ],
        ),
        (
            V6.into(),
            &[
                "333300000001 020000000109 86dd 60000000 0020 3a ff",
                "20010db8000000000000000000000001 ff020000000000000000000000000001",
                "88 00 f822 20000000 20010db8000000000000000000000001 0201 020000000109",
            ],
        ),
    ];
    for (address, hexadecimal) in table {
        let digits: String = hexadecimal.concat().replace(' ', "");
        let pairs = (0..digits.len())
            .step_by(2)
            .map(|place| &digits[place..place + 2]);
        let frame: Vec<u8> = pairs
            .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
            .collect();
        let mut simulation = Simulation::probing(vec![link(2)]);
        assert_eq!(
            simulation.results_after(2, &frame),
            [(address, ProbeResult::Answered(OTHER))]
        );
    }
}

#[test]
fn a_contender_is_reported_when_no_machine_answers() {
    for (address, probe) in
        [V4.into(), V6.into()].map(|address: IpAddr| (address, sign(address, false, OTHER)))
    {
        let mut simulation = Simulation::new(vec![link(2)]);
        simulation.probe(address);
        assert_eq!(simulation.results_after(2, &probe), []);
        assert_eq!(simulation.results_after(2, &sign(address, false, THIRD)), []);
        assert_eq!(simulation.verdicts(), [(address, ProbeResult::Contended(OTHER))]);
        simulation.probe(address);
        assert_eq!(simulation.results_after(2, &probe), []);
        let answer = sign(address, true, THIRD);
        assert_eq!(
            simulation.results_after(2, &answer),
            [(address, ProbeResult::Answered(THIRD))]
        );
    }
}

#[test]
fn frames_that_do_not_concern_the_address_are_ignored() {
    let elsewhere = Ipv4Addr::new(192, 0, 2, 9);
    let elsewhere_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let own_in_foreign_frame = Arp {
        operation: Operation::Reply,
        sender_mac: mac(3),
        sender_ip: V4,
        target_mac: OTHER,
        target_ip: elsewhere,
    };
    let foreign_in_own_frame = Arp {
        sender_mac: OTHER,
        ..own_in_foreign_frame
    };
    let mut broken = advertisement(V6, Some(OTHER), OTHER, false);
    broken[60] ^= 1;
    let table = [
        (2, arp(Operation::Request, elsewhere, V4, OTHER)),
        (2, arp(Operation::Reply, unspecified, V4, OTHER)),
        (2, arp(Operation::Reply, elsewhere, V4, OTHER)),
        (2, arp(Operation::Reply, V4, elsewhere, group)),
        (2, arp(Operation::Reply, V4, elsewhere, MacAddr::ZERO)),
        (2, frame(|b| own_in_foreign_frame.emit(mac(2), OTHER, b))),
        (2, frame(|b| foreign_in_own_frame.emit(mac(2), mac(3), b))),
        (2, solicitation(elsewhere_v6, V6, OTHER)),
        (2, advertisement(elsewhere_v6, Some(OTHER), OTHER, false)),
        (2, advertisement(V6, Some(mac(3)), OTHER, false)),
        (2, advertisement(V6, Some(group), OTHER, false)),
        (2, broken),
        (2, sign(V4.into(), true, mac(2))),
        (2, sign(V6.into(), false, mac(3))),
        (3, sign(V4.into(), true, OTHER)),
        (3, sign(V6.into(), false, OTHER)),
        (4, sign(V4.into(), true, OTHER)),
    ];
    let narrow = |address: IpAddr| Prefix { address, length: 24 };
    let near = Link {
        prefixes: vec![narrow(V4.into()), narrow(V6.into())],
        ..link(2)
    };
    for (row, (index, frame)) in table.iter().enumerate() {
        let mut simulation = Simulation::probing(vec![near.clone(), link(3)]);
        assert_eq!(simulation.results_after(*index, frame), [], "row {row}");
        let silence = [V4.into(), V6.into()].map(|address: IpAddr| (address, ProbeResult::Silence));
        assert_eq!(simulation.verdicts(), silence, "row {row}");
    }
}

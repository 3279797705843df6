//! A prober and an announcer of the same addresses on one segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_core::Time;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::{Announcer, Link, LinkIndex, ProbeResult, ReceivedFrame};

use super::{OTHER, STEP, Simulation, link};

const ACTIVE: u32 = 10_000;

/// Probes for all addresses of the announcer at once.
fn probe_all(address: impl Fn(u32) -> IpAddr) -> Simulation {
    let mut announcer = Announcer::new(None, 0);
    let owner = Link {
        mac: OTHER,
        ..link(7)
    };
    announcer.set_links(vec![owner], Time::ZERO);
    let mut simulation = Simulation::new(vec![link(2)]);
    for number in 0..ACTIVE {
        announcer.announce(address(number), None, Time::ZERO);
        simulation.probe(address(number));
    }
    let mut answer = [0; MAX_FRAME_LENGTH];
    simulation.run_with(STEP * 1000, |frame, now| {
        let answered = announcer
            .handle_received(LinkIndex(7), &ReceivedFrame::parse(frame).ok()?, &mut answer, now)
            .ok()?;
        Some((2, answer[..answered.length].to_vec()))
    });
    simulation
}

fn all_probes_end_with(simulation: &Simulation, finding: ProbeResult) {
    let found = simulation.found.iter().filter(|(_, _, found)| *found == finding);
    assert_eq!(
        (found.count(), simulation.found.len()),
        (ACTIVE as usize, ACTIVE as usize)
    );
}

#[test]
fn an_owner_answers_for_all_of_its_ipv4_addresses_at_once() {
    let simulation = probe_all(|number| Ipv4Addr::from_bits(0x0a00_0000 + number).into());
    all_probes_end_with(&simulation, ProbeResult::Answered(OTHER));
}

#[test]
fn an_owner_answers_for_all_of_its_ipv6_addresses_at_once() {
    let base = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).to_bits();
    let simulation = probe_all(|number| Ipv6Addr::from_bits(base + u128::from(number)).into());
    all_probes_end_with(&simulation, ProbeResult::Answered(OTHER));
}

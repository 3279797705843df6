//! A prober on one segment with an announcer that holds what it asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_core::Time;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::{Announcer, Link, ProbeResult, Received};

use super::{OTHER, STEP, Simulation, link};

const HELD: u32 = 10_000;

/// Probes for as many addresses as the announcer holds, at once.
fn probe_all(address: impl Fn(u32) -> IpAddr) -> Simulation {
    let mut announcer = Announcer::new(None, 0);
    let owner = Link {
        mac: OTHER,
        ..link(7)
    };
    announcer.set_links(vec![owner], Time::ZERO);
    let mut simulation = Simulation::new(vec![link(2)]);
    for number in 0..HELD {
        announcer.announce(address(number), None, Time::ZERO);
        simulation.probe(address(number));
    }
    let mut answer = [0; MAX_FRAME_LENGTH];
    simulation.run_with(STEP * 1000, |frame, now| {
        let answered = announcer
            .handle_received(7, &Received::parse(frame).ok()?, &mut answer, now)
            .ok()?;
        Some((2, answer[..answered.length].to_vec()))
    });
    simulation
}

fn is_found_out_of_all(simulation: &Simulation, finding: ProbeResult) {
    let found = simulation.found.iter().filter(|(_, _, found)| *found == finding);
    assert_eq!(
        (found.count(), simulation.found.len()),
        (HELD as usize, HELD as usize)
    );
}

#[test]
fn an_owner_answers_for_all_of_its_ipv4_addresses_at_once() {
    let simulation = probe_all(|number| Ipv4Addr::from_bits(0x0a00_0000 + number).into());
    is_found_out_of_all(&simulation, ProbeResult::Answered(OTHER));
}

#[test]
fn an_owner_answers_for_all_of_its_ipv6_addresses_at_once() {
    let base = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).to_bits();
    let simulation = probe_all(|number| Ipv6Addr::from_bits(base + u128::from(number)).into());
    is_found_out_of_all(&simulation, ProbeResult::Answered(OTHER));
}

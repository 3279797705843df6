//! Checks: one question to one machine or to all, from a station that does not want to take the address.

use std::net::IpAddr;

use herald_core::{Prefix, Time};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::Frame;
use herald_l2::wire::ndp::{Advertisement, Ndp, solicited_node};
use herald_l2::{Announcer, Link, LinkIndex, MacAddr, ProbeResult, ReceivedFrame};
use std::time::Duration;

use super::frames::{frame, sign};
use super::{MILLISECOND, OTHER, STEP, Simulation, THIRD, V4, V6, link, mac};

const WAIT: Duration = Duration::from_millis(100);
const UNANSWERED: ProbeResult = ProbeResult::Unanswered { last_frame: None };

/// A link that has addresses.
fn addressed() -> Link {
    let prefix = |address: &str| Prefix {
        address: address.parse().expect("an address"),
        length: 24,
    };
    Link {
        prefixes: ["10.0.0.7", "192.0.2.7", "2001:db8::7", "fe80::7"]
            .map(prefix)
            .to_vec(),
        ..link(2)
    }
}

fn checking(address: impl Into<IpAddr>, to: Option<MacAddr>) -> Simulation {
    let mut simulation = Simulation::new(vec![addressed()]);
    simulation.prober.check(address.into(), None, to, Time::ZERO);
    simulation
}

#[test]
fn a_check_is_one_question_and_a_wait() {
    let mut simulation = checking(V4, None);
    let sent = simulation.run(Duration::from_secs(10));
    assert_eq!(sent.len(), 1);
    assert_eq!(simulation.found, [(WAIT, V4.into(), UNANSWERED)]);
}

#[test]
fn an_answer_counts_however_late_it_comes_and_an_announcement_does_not() {
    let answer = Arp {
        operation: Operation::Reply,
        sender_mac: OTHER,
        sender_ip: V4,
        target_mac: mac(2),
        target_ip: V4,
    };
    let advertisement = Advertisement {
        source: V6,
        destination: V6,
        router: false,
        solicited: true,
        overriding: true,
        target: V6,
        link_address: Some(OTHER),
    };
    for (address, answer) in [
        (IpAddr::V4(V4), frame(|buffer| answer.emit(mac(2), OTHER, buffer))),
        (
            V6.into(),
            frame(|buffer| advertisement.emit(mac(2), OTHER, buffer)),
        ),
    ] {
        let mut simulation = checking(address, Some(OTHER));
        simulation.run(WAIT * 3);
        assert_eq!(simulation.found.split_off(0), [(WAIT, address, UNANSWERED)]);
        let announcement = sign(address, true, OTHER);
        assert_eq!(simulation.results_after(2, &announcement), []);
        assert_eq!(simulation.results_after(3, &answer), []);
        let answered = (address, ProbeResult::Answered(OTHER));
        assert_eq!(simulation.results_after(2, &answer), [answered]);
        assert_eq!(simulation.results_after(2, &answer), []);
    }
}

#[test]
fn a_question_to_one_machine_goes_to_no_other() {
    for (address, to) in [V4.into(), V6.into()]
        .into_iter()
        .flat_map(|a: IpAddr| [(a, None), (a, Some(OTHER))])
    {
        let sent = checking(address, to).run(MILLISECOND);
        let frame = Frame::parse(&sent[0].frame).expect("a frame");
        let asked = match address {
            IpAddr::V4(_) => {
                let arp = Arp::parse(frame.payload).expect("ARP");
                assert_eq!(arp.sender_ip.to_string(), "192.0.2.7", "of its subnet");
                assert_eq!(frame.destination, to.unwrap_or(MacAddr::BROADCAST));
                IpAddr::from(arp.target_ip)
            }
            IpAddr::V6(_) => {
                let Ok(Ndp::Solicitation(solicitation)) = Ndp::parse(frame.payload) else {
                    panic!("no solicitation");
                };
                assert_eq!(solicitation.source.to_string(), "fe80::7");
                assert_eq!(solicitation.link_address, Some(mac(2)));
                let group = MacAddr::multicast(solicited_node(V6));
                assert_eq!(frame.destination, to.unwrap_or(group));
                IpAddr::from(solicitation.target)
            }
        };
        assert_eq!(asked, address);
    }
}

#[test]
fn an_owner_answers_each_form_to_us_alone() {
    for address in [V4.into(), V6.into()] {
        for (own, to) in [(addressed(), None), (addressed(), Some(OTHER)), (link(2), None)] {
            let mut announcer = Announcer::new(None, 0);
            let owner = Link {
                mac: OTHER,
                ..link(7)
            };
            announcer.set_links(vec![owner], Time::ZERO);
            announcer.announce(address, None, Time::ZERO);
            let has_source = !own.prefixes.is_empty();
            let mut simulation = Simulation::new(vec![own]);
            simulation.prober.check(address, None, to, Time::ZERO);
            simulation.run_with(MILLISECOND, |frame, now| {
                let mut answer = [0; MAX_FRAME_LENGTH];
                let answered = announcer
                    .handle_received(
                        LinkIndex(7),
                        &ReceivedFrame::parse(frame).expect("a question"),
                        &mut answer,
                        now,
                    )
                    .expect("an answer");
                let answer = answer[..answered.length].to_vec();
                let is_unicast = Frame::parse(&answer).expect("a frame").destination == mac(2);
                assert!(is_unicast || (address.is_ipv6() && !has_source));
                Some((2, answer))
            });
            assert_eq!(
                simulation.found,
                [(Duration::ZERO, address, ProbeResult::Answered(OTHER))]
            );
        }
    }
}

#[test]
fn a_probe_of_another_machine_is_no_answer_but_shows_that_the_link_receives() {
    let mut simulation = checking(V4, Some(OTHER));
    assert_eq!(simulation.results_after(2, &sign(V4.into(), false, THIRD)), []);
    let last_frame = Some(WAIT - STEP / 2);
    assert_eq!(
        simulation.verdicts(),
        [(V4.into(), ProbeResult::Unanswered { last_frame })]
    );
    // A frame on another link, or of our own, shows nothing.
    for (link, sender) in [(3, THIRD), (2, mac(2))] {
        let mut simulation = checking(V4, Some(OTHER));
        simulation.results_after(link, &sign(V4.into(), false, sender));
        assert_eq!(simulation.verdicts(), [(V4.into(), UNANSWERED)], "{link}");
    }
}

#[test]
fn a_probe_replaces_a_check_and_not_the_other_way_round() {
    let mut simulation = checking(V4, None);
    simulation.run(STEP);
    simulation.probe(V4);
    simulation.prober.check(V4.into(), None, None, simulation.now);
    assert_eq!(simulation.verdicts(), [(V4.into(), ProbeResult::Silence)]);
}

#[test]
fn a_check_ends_without_a_link_and_starts_again_on_a_renewed_one() {
    let mut simulation = checking(V4, None);
    simulation.run(STEP);
    let renewed = Link {
        mac: mac(9),
        ..addressed()
    };
    simulation.prober.set_links(vec![renewed], simulation.now);
    assert_eq!(simulation.run(WAIT).len(), 1);
    simulation.prober.set_links(Vec::new(), simulation.now);
    simulation.prober.check(V6.into(), None, None, simulation.now);
    let found: Vec<ProbeResult> = simulation
        .verdicts()
        .into_iter()
        .map(|(_, found)| found)
        .collect();
    assert_eq!(found, [UNANSWERED, ProbeResult::NoLink]);
}

#[test]
fn a_checked_address_is_monitored_until_it_is_cancelled_or_probed() {
    let address: IpAddr = V4.into();
    let mut simulation = checking(V4, None);
    simulation.run(Duration::from_secs(10));
    let prober = &mut simulation.prober;
    assert!(prober.is_monitored(address));
    assert!(prober.addresses_on(LinkIndex(2)).eq([address]));
    assert_eq!(prober.addresses_on(LinkIndex(3)).count(), 0);
    prober.cancel(address);
    assert_eq!(
        (
            prober.is_monitored(address),
            prober.addresses_on(LinkIndex(2)).count()
        ),
        (false, 0)
    );
    prober.check(address, None, None, Time::ZERO);
    prober.probe(address, None, Time::ZERO);
    assert!(!prober.is_monitored(address));
}

//! The announcer in simulated time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use herald_core::Time;
use herald_fixtures::{ip, mac};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::Frame;
use herald_l2::wire::ndp::{ALL_NODES, Ndp};
use herald_l2::{Announcer, GroupChange, Link, LinkIndex, MacAddr, Prefix};

const REFRESH: Duration = Duration::from_secs(60);

/// An announcer and its clock.
struct Simulation {
    announcer: Announcer,
    now: Time,
}

/// A frame that was sent, and when.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    at: Duration,
    link: u32,
    address: IpAddr,
    frame: Vec<u8>,
}

impl Simulation {
    fn new(refresh: Option<Duration>) -> Self {
        let mut announcer = Announcer::new(refresh, 7);
        announcer.set_links(vec![link(2)], Time::ZERO);
        let now = Time::ZERO;
        Self { announcer, now }
    }

    fn announce(&mut self, address: &str) {
        self.announcer.announce(ip(address), None, self.now);
    }

    /// Runs the clock until `end`, waking up only when the announcer asks for it.
    fn run_until(&mut self, end: Duration) -> Vec<Sent> {
        let end = Time::since_zero(end);
        let mut sent = Vec::new();
        loop {
            let mut buffer = [0; MAX_FRAME_LENGTH];
            while let Some(next) = self.announcer.poll_transmit(&mut buffer, self.now) {
                sent.push(Sent {
                    at: self.now.elapsed(),
                    link: next.link.0,
                    address: next.address,
                    frame: buffer[..next.length].to_vec(),
                });
            }
            match self.announcer.poll_timeout() {
                Some(due) if due <= end => {
                    assert!(due > self.now, "nothing was due any more");
                    self.now = due;
                }
                _ => {
                    self.now = end;
                    return sent;
                }
            }
        }
    }

    fn groups(&mut self) -> Vec<GroupChange> {
        std::iter::from_fn(|| self.announcer.poll_group()).collect()
    }
}

fn link(index: u32) -> Link {
    Link {
        index: LinkIndex(index),
        name: format!("eth{index}"),
        mac: mac(index),
        prefixes: Vec::new(),
        arp: true,
        ndp: true,
    }
}

fn in_subnet(index: u32, address: &str, length: u8) -> Link {
    let address = ip(address);
    Link {
        prefixes: vec![Prefix { address, length }],
        ..link(index)
    }
}

fn seconds(sent: &[Sent]) -> Vec<f64> {
    sent.iter().map(|s| s.at.as_secs_f64()).collect()
}

#[test]
fn a_new_address_is_announced_at_once_and_repeated_beyond_the_locktime() {
    let mut simulation = Simulation::new(None);
    simulation.announce("2001:db8::1");
    let sent = simulation.run_until(Duration::from_secs(600));
    assert_eq!(seconds(&sent), [0.0, 0.1, 1.1, 2.2, 3.3, 4.4]);
}

#[test]
fn an_ipv4_round_is_a_gratuitous_request_and_a_gratuitous_reply() {
    let mut simulation = Simulation::new(None);
    simulation.announce("192.0.2.1");
    let sent = simulation.run_until(Duration::ZERO);
    let forms: Vec<Arp> = sent
        .iter()
        .map(|s| Arp::parse(Frame::parse(&s.frame).expect("frame").payload).expect("ARP"))
        .collect();
    assert_eq!(
        forms.iter().map(|a| a.operation).collect::<Vec<_>>(),
        [Operation::Request, Operation::Reply]
    );
    for arp in forms {
        assert_eq!((arp.sender_mac, arp.target_mac), (mac(2), MacAddr::BROADCAST));
        assert_eq!(
            (IpAddr::V4(arp.sender_ip), arp.sender_ip),
            (ip("192.0.2.1"), arp.target_ip)
        );
    }
    assert!(sent.iter().all(|s| s.frame[..6] == MacAddr::BROADCAST.0));
}

#[test]
fn an_ipv6_round_is_an_unsolicited_overriding_advertisement_to_all_nodes() {
    let mut simulation = Simulation::new(None);
    simulation.announce("2001:db8::1");
    let sent = simulation.run_until(Duration::ZERO);
    let frame = Frame::parse(&sent[0].frame).expect("frame");
    assert_eq!(frame.destination, MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    let Ok(Ndp::Advertisement(advertisement)) = Ndp::parse(frame.payload) else {
        panic!("no advertisement");
    };
    assert_eq!(advertisement.destination, ALL_NODES);
    assert_eq!(IpAddr::V6(advertisement.target), ip("2001:db8::1"));
    assert_eq!(advertisement.link_address, Some(mac(2)));
    assert!(advertisement.overriding && !advertisement.solicited && !advertisement.router);
}

#[test]
fn an_active_address_is_announced_about_every_minute() {
    let mut simulation = Simulation::new(Some(REFRESH));
    simulation.announce("2001:db8::1");
    simulation.run_until(Duration::from_secs(5));
    let sent = seconds(&simulation.run_until(Duration::from_secs(3600)));
    assert!((54..=66).contains(&sent.len()), "{}", sent.len());
    for pair in sent.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((54.0..=66.0).contains(&gap), "{gap}");
    }
}

#[test]
fn refreshes_of_addresses_announced_together_spread_out() {
    let mut simulation = Simulation::new(Some(REFRESH));
    for last in 1..=100 {
        simulation.announce(&format!("2001:db8::{last:x}"));
    }
    simulation.run_until(Duration::from_secs(10));
    let sent = simulation.run_until(Duration::from_secs(72));
    assert_eq!(sent.len(), 100);
    let moments: BTreeSet<u64> = sent.iter().map(|s| s.at.as_secs()).collect();
    assert!(moments.len() > 8, "{moments:?}");
}

#[test]
fn the_same_announcement_again_changes_nothing() {
    let mut once = Simulation::new(Some(REFRESH));
    let mut twice = Simulation::new(Some(REFRESH));
    once.announce("192.0.2.1");
    twice.announce("192.0.2.1");
    let mut sent = twice.run_until(Duration::from_millis(1500));
    twice.announce("192.0.2.1");
    sent.extend(twice.run_until(Duration::from_secs(300)));
    assert_eq!(sent, once.run_until(Duration::from_secs(300)));
}

#[test]
fn a_withdrawn_address_is_never_announced_again() {
    let mut simulation = Simulation::new(Some(REFRESH));
    simulation.announce("192.0.2.1");
    simulation.run_until(Duration::from_secs(2));
    simulation.announcer.withdraw(ip("192.0.2.1"));
    assert_eq!(simulation.announcer.poll_timeout(), None);
    assert_eq!(simulation.run_until(Duration::from_secs(300)), []);
    assert_eq!(simulation.announcer.links_of(ip("192.0.2.1")), None);
}

#[test]
fn an_address_withdrawn_in_the_middle_of_a_round_is_not_sent_again() {
    let mut simulation = Simulation::new(None);
    simulation.announce("192.0.2.1");
    let mut buffer = [0; MAX_FRAME_LENGTH];
    assert!(
        simulation
            .announcer
            .poll_transmit(&mut buffer, Time::ZERO)
            .is_some()
    );
    simulation.announcer.withdraw(ip("192.0.2.1"));
    assert_eq!(simulation.announcer.poll_transmit(&mut buffer, Time::ZERO), None);
}

#[test]
fn reannounce_restarts_the_burst_of_active_addresses_only() {
    let mut simulation = Simulation::new(None);
    simulation.announce("2001:db8::1");
    simulation.run_until(Duration::from_secs(10));
    simulation.announcer.reannounce(ip("2001:db8::1"), simulation.now);
    simulation.announcer.reannounce(ip("2001:db8::2"), simulation.now);
    let sent = simulation.run_until(Duration::from_secs(60));
    assert_eq!(seconds(&sent), [10.0, 10.1, 11.1, 12.2, 13.3, 14.4]);
    assert!(sent.iter().all(|s| s.address == ip("2001:db8::1")));
}

#[test]
fn an_address_is_announced_on_a_link_that_appears_returns_or_changes_its_mac_address() {
    let mut simulation = Simulation::new(None);
    simulation.announcer.set_links(vec![], Time::ZERO);
    simulation.announce("2001:db8::1");
    assert_eq!(simulation.run_until(Duration::from_secs(10)), []);
    let mut moved = link(2);
    moved.mac = mac(9);
    let steps = [vec![link(2)], vec![], vec![link(2)], vec![moved]];
    for (step, links) in steps.into_iter().enumerate() {
        let expected = if links.is_empty() { 0 } else { 6 };
        simulation.announcer.set_links(links, simulation.now);
        let end = simulation.now + Duration::from_secs(10);
        assert_eq!(simulation.run_until(end.elapsed()).len(), expected, "step {step}");
    }
}

#[test]
fn a_change_that_concerns_no_link_of_an_address_announces_nothing() {
    let mut simulation = Simulation::new(None);
    let own = in_subnet(2, "192.0.2.254", 24);
    simulation.announcer.set_links(vec![own.clone()], Time::ZERO);
    simulation.announce("192.0.2.1");
    simulation.run_until(Duration::from_secs(10));
    let mut renamed = own;
    renamed.name = "uplink".into();
    let other = in_subnet(3, "198.51.100.1", 24);
    simulation
        .announcer
        .set_links(vec![renamed, other], simulation.now);
    assert_eq!(simulation.run_until(Duration::from_secs(60)), []);
}

#[test]
fn an_address_goes_to_another_link_when_its_own_disappears() {
    let mut simulation = Simulation::new(None);
    let (first, second) = (in_subnet(2, "192.0.2.2", 24), in_subnet(3, "192.0.2.3", 24));
    simulation
        .announcer
        .set_links(vec![first, second.clone()], Time::ZERO);
    simulation.announce("192.0.2.1");
    assert!(
        simulation
            .run_until(Duration::from_secs(10))
            .iter()
            .all(|s| s.link == 2)
    );
    simulation.announcer.set_links(vec![second], simulation.now);
    let sent = simulation.run_until(Duration::from_secs(20));
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|s| s.link == 3 && s.frame[6..12] == mac(3).0));
}

#[test]
fn a_gained_interface_restarts_the_burst_and_a_lost_one_does_not() {
    let mut simulation = Simulation::new(None);
    simulation.announcer.set_links(vec![link(2), link(3)], Time::ZERO);
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
    let address = ip("192.0.2.1");
    let steps: [(&[&str], usize); 4] = [
        (&["eth2"], 12),
        (&["eth2", "eth3"], 24),
        (&["eth3"], 0),
        (&["eth7"], 0),
    ];
    for (interfaces, expected) in steps {
        simulation
            .announcer
            .announce(address, names(interfaces), simulation.now);
        let end = simulation.now + Duration::from_secs(10);
        assert_eq!(
            simulation.run_until(end.elapsed()).len(),
            expected,
            "{interfaces:?}"
        );
    }
    assert_eq!(simulation.announcer.links_of(address), Some(&[][..]));
}

#[test]
fn ten_thousand_addresses_that_move_at_once_are_paced_and_all_announced() {
    let mut simulation = Simulation::new(None);
    for number in 0..10_000_u32 {
        simulation
            .announcer
            .announce(IpAddr::V4((0x0a00_0000 + number).into()), None, Time::ZERO);
    }
    let sent = simulation.run_until(Duration::from_secs(60));
    assert_eq!(sent.len(), 10_000 * 2 * 6);
    for window in sent.windows(21) {
        let span = window[20].at - window[0].at;
        assert!(span >= Duration::from_micros(50), "21 frames within {span:?}");
    }
    for window in sent.windows(1000) {
        let span = window[999].at - window[0].at;
        assert!(span >= Duration::from_millis(48), "1000 frames within {span:?}");
    }
    // The first round of all addresses comes before the third of any.
    let mut announced = BTreeSet::new();
    let complete = sent
        .iter()
        .position(|s| announced.insert(s.address) && announced.len() == 10_000);
    let complete = sent[complete.expect("all are announced")].at;
    assert!(complete <= Duration::from_millis(2100), "{complete:?}");
}

#[test]
fn addresses_that_share_a_group_join_it_once_and_leave_it_last() {
    let mut simulation = Simulation::new(None);
    let group = "ff02::1:ff00:1".parse().expect("group");
    let change = |member| GroupChange {
        link: LinkIndex(2),
        group,
        member,
    };
    simulation.announce("2001:db8::1");
    assert_eq!(simulation.groups(), [change(true)]);
    simulation.announce("2001:db8:1::1");
    simulation.announce("192.0.2.1");
    simulation.announcer.withdraw(ip("2001:db8::1"));
    assert_eq!(simulation.groups(), []);
    simulation.announcer.withdraw(ip("2001:db8:1::1"));
    assert_eq!(simulation.groups(), [change(false)]);
}

#[test]
fn groups_follow_the_links() {
    let mut simulation = Simulation::new(None);
    simulation.announce("2001:db8::1");
    simulation.groups();
    simulation.announcer.set_links(vec![link(3)], Time::ZERO);
    let changes = simulation.groups();
    assert_eq!(
        changes.iter().map(|c| (c.link.0, c.member)).collect::<Vec<_>>(),
        [(2, false), (3, true)]
    );
    let without_ndp = Link {
        ndp: false,
        ..link(3)
    };
    simulation.announcer.set_links(vec![without_ndp], Time::ZERO);
    let changes = simulation.groups();
    assert_eq!(
        changes.iter().map(|c| (c.link.0, c.member)).collect::<Vec<_>>(),
        [(3, false)]
    );
}

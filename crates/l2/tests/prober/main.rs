//! The prober in simulated time.

mod check;
mod frames;
mod property;
mod received;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use frames::sign;
use herald_core::Time;
use herald_fixtures::mac;
use herald_l2::prober::ProbeTiming;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::{Link, LinkIndex, MacAddr, ProbeResult, Prober, ReceivedFrame};

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 1, 9]);
const THIRD: MacAddr = MacAddr([2, 0, 0, 0, 1, 10]);
const MILLISECOND: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(30);

/// A prober and its clock.
struct Simulation {
    prober: Prober,
    now: Time,
    found: Vec<(Duration, IpAddr, ProbeResult)>,
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
    fn new(links: Vec<Link>) -> Self {
        let mut prober = Prober::new(ProbeTiming::default());
        prober.set_links(links, Time::ZERO);
        Self {
            prober,
            now: Time::ZERO,
            found: Vec::new(),
        }
    }

    /// Probes for [`V4`] and [`V6`] on those of `links` that fit.
    fn probing(links: Vec<Link>) -> Self {
        let mut simulation = Self::new(links);
        simulation.probe(V4);
        simulation.probe(V6);
        simulation
    }

    fn probe(&mut self, address: impl Into<IpAddr>) {
        self.prober.probe(address.into(), None, self.now);
    }

    fn receive(&mut self, link: u32, frame: &[u8]) {
        self.prober.handle_arrival(LinkIndex(link), frame, self.now);
        if let Ok(received) = ReceivedFrame::parse(frame) {
            self.prober.handle_received(LinkIndex(link), &received);
        }
    }

    /// Lets `time` pass, waking up only when the prober asks for it.
    fn run(&mut self, time: Duration) -> Vec<Sent> {
        self.run_with(time, |_, _| None)
    }

    /// The same, while `peer` answers frames: on which link, and with what.
    fn run_with(
        &mut self,
        time: Duration,
        mut peer: impl FnMut(&[u8], Time) -> Option<(u32, Vec<u8>)>,
    ) -> Vec<Sent> {
        let end = self.now + time;
        let mut sent = Vec::new();
        loop {
            let mut buffer = [0; MAX_FRAME_LENGTH];
            while let Some(next) = self.prober.poll_transmit(&mut buffer, self.now) {
                let frame = buffer[..next.length].to_vec();
                if let Some((link, answer)) = peer(&frame, self.now) {
                    self.receive(link, &answer);
                }
                sent.push(Sent {
                    at: self.now.elapsed(),
                    link: next.link.0,
                    address: next.address,
                    frame,
                });
            }
            while let Some((address, finding)) = self.prober.poll_result(self.now) {
                self.found.push((self.now.elapsed(), address, finding));
            }
            match self.prober.poll_timeout() {
                Some(due) if due <= end => {
                    assert!(due > self.now, "everything due was polled");
                    self.now = due;
                }
                _ => {
                    self.now = end;
                    return sent;
                }
            }
        }
    }

    /// Returns the results after a frame arrives in the middle of a probe.
    fn results_after(&mut self, link: u32, frame: &[u8]) -> Vec<(IpAddr, ProbeResult)> {
        self.run(STEP / 2);
        self.receive(link, frame);
        self.run(Duration::ZERO);
        self.found
            .drain(..)
            .map(|(_, address, found)| (address, found))
            .collect()
    }

    /// Returns the results in the end.
    fn verdicts(&mut self) -> Vec<(IpAddr, ProbeResult)> {
        self.run(Duration::from_secs(10));
        assert_eq!(self.prober.poll_timeout(), None);
        self.found
            .drain(..)
            .map(|(_, address, found)| (address, found))
            .collect()
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

#[test]
fn three_unanswered_questions_are_silence() {
    let mut simulation = Simulation::new(vec![link(2)]);
    simulation.probe(V6);
    let sent = simulation.run(Duration::from_secs(10));
    let moments: Vec<Duration> = sent.iter().map(|s| s.at).collect();
    assert_eq!(moments, [Duration::ZERO, STEP, STEP * 2]);
    assert_eq!(simulation.found, [(STEP * 3, V6.into(), ProbeResult::Silence)]);
    assert_eq!(simulation.prober.poll_timeout(), None);
}

#[test]
fn number_of_questions_and_wait_are_configurable() {
    let mut simulation = Simulation::new(vec![]);
    simulation.prober = Prober::new(ProbeTiming {
        questions: NonZeroU32::MIN,
        interval: STEP,
        wait: Duration::from_secs(1),
    });
    simulation.prober.set_links(vec![link(2)], Time::ZERO);
    simulation.probe(V4);
    assert_eq!(simulation.run(Duration::from_secs(10)).len(), 1);
    assert_eq!(
        simulation.found,
        [(Duration::from_secs(1), V4.into(), ProbeResult::Silence)]
    );
}

#[test]
fn a_probe_without_a_link_ends_at_once() {
    let without_ndp = Link {
        ndp: false,
        ..link(2)
    };
    let mut simulation = Simulation::probing(vec![without_ndp.clone()]);
    assert!(simulation.run(Duration::ZERO).iter().all(|s| s.address == V4));
    assert_eq!(
        simulation.found,
        [(Duration::ZERO, V6.into(), ProbeResult::NoLink)]
    );
    simulation.prober.set_links(vec![], simulation.now);
    simulation.prober.set_links(vec![without_ndp], simulation.now);
    assert_eq!(simulation.verdicts()[1..], [(V4.into(), ProbeResult::NoLink)]);
    let named = Some(BTreeSet::from(["eth7".to_owned()]));
    simulation.prober.probe(V4.into(), named, simulation.now);
    assert_eq!(simulation.verdicts(), [(V4.into(), ProbeResult::NoLink)]);
}

#[test]
fn every_link_is_asked_and_the_probe_goes_on_without_a_lost_one() {
    let mut simulation = Simulation::new(vec![link(2), link(3)]);
    simulation.probe(V4);
    let asked = |sent: &[Sent]| sent.iter().map(|s| s.link).collect::<Vec<_>>();
    let sent = simulation.run(STEP);
    assert_eq!(asked(&sent), [2, 3, 2, 3]);
    assert!(sent.iter().all(|s| s.frame[6..12] == mac(s.link).0));
    simulation.prober.set_links(vec![link(3)], simulation.now);
    assert_eq!(asked(&simulation.run(Duration::from_secs(1))), [3]);
    assert_eq!(simulation.found, [(STEP * 3, V4.into(), ProbeResult::Silence)]);
}

#[test]
fn a_gained_or_changed_link_restarts_the_probe() {
    let changed = Link {
        mac: mac(9),
        ..link(2)
    };
    for links in [vec![link(2), link(3)], vec![changed], vec![link(3)]] {
        let mut simulation = Simulation::new(vec![link(2)]);
        simulation.probe(V4);
        simulation.run(STEP * 2);
        simulation.prober.set_links(links.clone(), simulation.now);
        let sent = simulation.run(Duration::from_secs(1));
        assert_eq!(sent.len(), links.len() * 3);
        assert_eq!(simulation.found, [(STEP * 5, V4.into(), ProbeResult::Silence)]);
    }
}

#[test]
fn a_new_probe_forgets_the_one_before_and_a_cancelled_one_reports_nothing() {
    let mut simulation = Simulation::new(vec![link(2)]);
    simulation.probe(V4);
    simulation.receive(2, &sign(V4.into(), false, OTHER));
    simulation.run(STEP);
    simulation.probe(V4);
    assert_eq!(simulation.run(Duration::from_secs(1)).len(), 3);
    assert_eq!(simulation.found, [(STEP * 4, V4.into(), ProbeResult::Silence)]);
    simulation.found.clear();
    for is_result_pending in [true, false] {
        simulation.probe(V4);
        if is_result_pending {
            simulation.receive(2, &sign(V4.into(), true, OTHER));
        }
        simulation.prober.cancel(V4.into());
        assert_eq!(simulation.prober.poll_timeout(), None);
        assert_eq!(simulation.run(Duration::from_secs(1)), []);
        assert_eq!(simulation.found, []);
    }
}

#[test]
fn probes_for_ten_thousand_addresses_are_paced_and_the_first_do_not_wait_for_the_last() {
    let mut simulation = Simulation::new(vec![link(2)]);
    for number in 0..10_000_u32 {
        simulation.probe(Ipv4Addr::from_bits(0x0a00_0000 + number));
    }
    let sent = simulation.run(Duration::from_secs(10));
    assert_eq!(sent.len(), 30_000);
    for window in sent.windows(21) {
        assert!(window[20].at - window[0].at >= Duration::from_micros(50));
    }
    let mut asked: BTreeMap<IpAddr, Vec<Duration>> = BTreeMap::new();
    for sent in &sent {
        asked.entry(sent.address).or_default().push(sent.at);
    }
    assert_eq!(simulation.found.len(), 10_000);
    for (at, address, finding) in &simulation.found {
        let asked = &asked[address];
        assert_eq!((asked.len(), *finding), (3, ProbeResult::Silence));
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= STEP));
        assert!(*at - asked[2] >= STEP && *at - asked[0] <= STEP * 4);
    }
    let (first, last) = (simulation.found[0].0, simulation.found[9999].0);
    assert!(first <= STEP * 4, "{first:?}");
    assert!(last <= MILLISECOND * 1600, "{last:?}");
}

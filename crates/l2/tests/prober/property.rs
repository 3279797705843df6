//! Arbitrary probes, links and frames, compared with a model of the results.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use herald_l2::{Link, MacAddr, ProbeResult, select};
use proptest::prelude::*;

use super::frames::sign;
use super::{MILLISECOND, OTHER, STEP, Simulation, link, mac};

#[derive(Debug, Clone)]
enum Step {
    Links(BTreeSet<u8>),
    Probe(u8, Option<u8>),
    Cancel(u8),
    /// A frame on a link: the machine with this number has an address, or probes for it. Small numbers are our own
    /// links.
    Receive(u8, u8, bool, u8),
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let link = || 2_u8..5;
    let step = prop_oneof![
        proptest::collection::btree_set(link(), 0..4).prop_map(Step::Links),
        (0_u8..4, proptest::option::of(link())).prop_map(|(address, name)| Step::Probe(address, name)),
        (0_u8..4).prop_map(Step::Cancel),
        (link(), 0_u8..4, any::<bool>(), 2_u8..9)
            .prop_map(|(link, address, has, mac)| Step::Receive(link, address, has, mac)),
        (0_u8..70).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

fn address(number: u8) -> IpAddr {
    if number.is_multiple_of(2) {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
    } else {
        // All have the same last 24 bits, so that they share a group.
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 1))
    }
}

/// Model of a probe.
#[derive(Debug, Default)]
struct Expected {
    names: Option<BTreeSet<String>>,
    links: Vec<u32>,
    /// When each link was asked.
    asked: BTreeMap<u32, Vec<Duration>>,
    contender: Option<MacAddr>,
    decided: Option<ProbeResult>,
}

impl Expected {
    fn start(address: IpAddr, names: Option<BTreeSet<String>>, links: &[Link]) -> Self {
        let selected = select(address, names.as_ref(), links.iter());
        Self {
            names,
            decided: selected.is_empty().then_some(ProbeResult::NoLink),
            links: selected.into_iter().map(|link| link.0).collect(),
            ..Self::default()
        }
    }

    fn set_links(&mut self, address: IpAddr, links: &[Link]) {
        let renewed = Self::start(address, self.names.clone(), links);
        if self.decided.is_some() {
            return;
        }
        if renewed.links.is_empty() || renewed.links.iter().any(|link| !self.links.contains(link)) {
            *self = renewed;
        } else {
            self.links = renewed.links;
        }
    }

    fn receive(&mut self, link: u32, has: bool, mac: MacAddr) {
        if self.decided.is_some() || !self.links.contains(&link) {
            return;
        }
        if has {
            self.decided = Some(ProbeResult::Answered(mac));
        } else {
            self.contender.get_or_insert(mac);
        }
    }

    /// Returns the result at `at`, if the probe has ended by then.
    fn finding(&self, at: Duration) -> Option<ProbeResult> {
        let thoroughly = self.links.iter().all(|link| {
            let asked = self.asked.get(link).map_or(&[][..], Vec::as_slice);
            let spaced = asked.windows(2).all(|pair| pair[1] - pair[0] >= STEP);
            asked.len() == 3 && spaced && at - asked[2] >= STEP
        });
        let verdict = self
            .contender
            .map_or(ProbeResult::Silence, ProbeResult::Contended);
        self.decided.or_else(|| thoroughly.then_some(verdict))
    }
}

proptest! {
    #[test]
    fn each_probe_has_one_result_that_follows_from_its_questions_and_the_received_frames(steps in steps()) {
        let mut simulation = Simulation::new(vec![]);
        let mut links: Vec<Link> = Vec::new();
        let mut probes: BTreeMap<IpAddr, Expected> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Pass(250)]) {
            match step {
                Step::Links(indices) => {
                    links = indices.into_iter().map(|index| link(index.into())).collect();
                    simulation.prober.set_links(links.clone(), simulation.now);
                    for (address, probe) in &mut probes {
                        probe.set_links(*address, &links);
                    }
                }
                Step::Probe(number, name) => {
                    let names = name.map(|index| BTreeSet::from([format!("eth{index}")]));
                    let address = address(number);
                    probes.insert(address, Expected::start(address, names.clone(), &links));
                    simulation.prober.probe(address, names, simulation.now);
                }
                Step::Cancel(number) => {
                    probes.remove(&address(number));
                    simulation.prober.cancel(address(number));
                }
                Step::Receive(index, number, has, sender) => {
                    let (index, sender) = (u32::from(index), mac(sender.into()));
                    let own = links.iter().any(|link| link.mac == sender);
                    if let Some(probe) = probes.get_mut(&address(number)).filter(|_| !own) {
                        probe.receive(index, has, sender);
                    }
                    simulation.receive(index, &sign(address(number), has, sender));
                }
                Step::Pass(milliseconds) => {
                    for sent in simulation.run(MILLISECOND * milliseconds.into()) {
                        let probe = probes.get_mut(&sent.address);
                        prop_assert!(probe.as_ref().is_some_and(|probe| probe.links.contains(&sent.link)));
                        let asked = probe.map(|probe| probe.asked.entry(sent.link).or_default());
                        asked.into_iter().for_each(|asked| asked.push(sent.at));
                    }
                    for (at, address, finding) in simulation.found.drain(..) {
                        let expected = probes.remove(&address).and_then(|probe| probe.finding(at));
                        prop_assert_eq!(Some(finding), expected, "{} at {:?}", address, at);
                    }
                }
            }
        }
        prop_assert!(probes.is_empty(), "{probes:?}");
        prop_assert_eq!(simulation.prober.poll_timeout(), None);
    }

    #[test]
    fn a_damaged_frame_never_makes_the_prober_panic(
        has: bool, v6: bool, damage in proptest::collection::vec((0_usize..90, any::<u8>()), 0..8), length in 0_usize..90,
    ) {
        let mut bytes = sign(address(u8::from(v6)), has, OTHER);
        for (place, byte) in damage {
            if let Some(damaged) = bytes.get_mut(place) {
                *damaged = byte;
            }
        }
        bytes.truncate(length);
        let mut simulation = Simulation::new(vec![link(2)]);
        simulation.probe(address(u8::from(v6)));
        simulation.results_after(2, &bytes);
    }
}

//! Nodes with their elections and holdings on a simulated segment, whose gossip and whose wire fail independently.
//!
//! The wire is abstract here: probes, answers and claims that take some time and get lost. `crates/l2` tests the frames.

use super::*;
use crate::Labels;
use crate::announce::eligibility::{Endpoints, Exposure, Node as KubernetesNode, TrafficPolicy};
use crate::announce::layer2::ownership::Ownership;
use crate::config::{Catalog, RawL2Advertisement, RawPool};
use alloc::format;
use proptest::prelude::*;

/// How fine the simulated time is.
const TICK: Duration = Duration::from_millis(5);
const ADDRESSES: u8 = 6;
/// When the frames of a probe leave, and when it gives up.
const PROBE: [u64; 3] = [0, 30, 60];
const PROBE_OVER: u64 = 90;
/// When the frames of an announcement leave.
const BURST: [u64; 6] = [0, 100, 1100, 2200, 3300, 4400];
const REFRESH: u64 = 60_000;
/// When gossip suspects and buries who is out of reach.
const SUSPECT: u64 = 150;
const DOWN: u64 = 450;
/// A starting speaker owns nothing for so long.
const STARTING: u64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Frame {
    Probe,
    Answer,
    Claim,
}

struct Node {
    name: NodeName,
    ownership: Ownership,
    holdings: Holdings,
    answers: BTreeSet<IpAddr>,
    probes: BTreeMap<IpAddr, u64>,
    bursts: BTreeMap<IpAddr, u64>,
    defended: BTreeMap<IpAddr, u64>,
    /// Of the others: since when they are out of its reach, and whether they ever were in it.
    unreached: Vec<Option<u64>>,
    met: Vec<bool>,
    members: Vec<Member>,
    started: u64,
    is_alive: bool,
    paused: bool,
}

struct Sim {
    nodes: Vec<Node>,
    /// Sender, receiver, address and kind of what is on its way, by time of arrival.
    frames: BTreeSet<(u64, usize, usize, IpAddr, Frame)>,
    now: u64,
    /// Groups that can hear each other, on the wire and by gossip.
    wire: Vec<u8>,
    gossip: Vec<u8>,
    /// In thousandths.
    loss: u64,
    random: u64,
    /// Since when two that hear each other both answer for an address.
    doubled: BTreeMap<IpAddr, u64>,
    longest_double: u64,
    /// Who announced an address last before the eyes of a client beside node 0, which never asks.
    client: BTreeMap<IpAddr, usize>,
}

fn address(i: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, i])
}

fn key(i: u8) -> ServiceKey {
    ServiceKey::new("default", format!("s{i}"))
}

fn name(i: usize) -> NodeName {
    format!("node-{i}").as_str().into()
}

fn mac_of(i: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, u8::try_from(i).unwrap()])
}

impl Node {
    fn start(i: usize, count: usize, now: u64) -> Self {
        let mut catalog = Catalog::new();
        catalog.set_namespaces(BTreeMap::new());
        catalog.set_pools(vec![RawPool {
            name: "pool".into(),
            addresses: vec!["192.0.2.0/24".into()],
            ..RawPool::default()
        }]);
        catalog.set_l2_advertisements(vec![RawL2Advertisement {
            name: "all".into(),
            ..RawL2Advertisement::default()
        }]);
        let mut ownership = Ownership::new(name(i), true, false);
        ownership.set_config(catalog.pools(), catalog.l2_advertisements());
        for other in 0..count {
            ownership.set_node(KubernetesNode {
                name: name(other),
                labels: Labels::new(),
                network_unavailable: false,
                draining: false,
            });
        }
        for service in 0..ADDRESSES {
            ownership.set_service(Exposure {
                key: key(service),
                labels: Labels::new(),
                addresses: vec![address(service)],
                foreign_ingress: false,
                traffic_policy: TrafficPolicy::Cluster,
                shares: false,
            });
            let endpoints = Endpoints {
                any: true,
                nodes: BTreeSet::new(),
            };
            ownership.set_endpoints(key(service), Some(endpoints));
        }
        Self {
            name: name(i),
            ownership,
            holdings: Holdings::new(true, 77 + i as u64 + now),
            answers: BTreeSet::new(),
            probes: BTreeMap::new(),
            bursts: BTreeMap::new(),
            defended: BTreeMap::new(),
            unreached: vec![Some(now.saturating_sub(DOWN)); count],
            met: vec![false; count],
            members: Vec::new(),
            started: now,
            is_alive: true,
            paused: false,
        }
    }

    fn runs(&self) -> bool {
        self.is_alive && !self.paused
    }
}

impl Sim {
    fn new(count: usize, loss: u64, seed: u64) -> Self {
        Self {
            nodes: (0..count).map(|i| Node::start(i, count, 0)).collect(),
            frames: BTreeSet::new(),
            now: 0,
            wire: vec![0; count],
            gossip: vec![0; count],
            loss,
            random: seed | 1,
            doubled: BTreeMap::new(),
            longest_double: 0,
            client: BTreeMap::new(),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn run(&mut self, millis: u64) {
        let until = self.now + millis;
        while self.now < until {
            self.now += u64::try_from(TICK.as_millis()).unwrap();
            while let Some(frame @ (arrives, from, to, address, kind)) = self.frames.first().copied()
                && arrives <= self.now
            {
                self.frames.remove(&frame);
                self.receive(from, to, address, kind);
            }
            for i in 0..self.nodes.len() {
                self.step(i);
            }
            self.check();
        }
    }

    fn step(&mut self, i: usize) {
        if !self.nodes[i].runs() {
            return;
        }
        self.hear_gossip(i);
        let (now, time) = (self.now, at(self.now));
        self.nodes[i].holdings.handle_timeout(time);
        let tick = u64::try_from(TICK.as_millis()).unwrap();
        let due = |start: u64, offset: u64| start + offset <= now && now < start + offset + tick;
        let probes = self.nodes[i].probes.clone();
        for (address, start) in probes {
            if PROBE.iter().any(|offset| due(start, *offset)) {
                self.send(i, address, Frame::Probe);
            }
            if start + PROBE_OVER <= now {
                self.end_probe(i, address, ProbeResult::Silence);
            }
        }
        let bursts = self.nodes[i].bursts.clone();
        for (address, start) in bursts {
            let refresh = (now - start) % REFRESH < tick && now > start + tick;
            if refresh || BURST.iter().any(|offset| due(start, *offset)) {
                self.send(i, address, Frame::Claim);
            }
        }
        self.carry_out(i);
    }

    /// Every node's view of every other one, from who is in its reach for how long.
    fn hear_gossip(&mut self, i: usize) {
        let now = self.now;
        let in_reach: Vec<bool> = (0..self.nodes.len())
            .map(|other| self.nodes[other].runs() && self.gossip[i] == self.gossip[other])
            .collect();
        let states: Vec<NodeState> = self
            .nodes
            .iter()
            .map(|node| match now < node.started + STARTING {
                true => NodeState::Starting,
                false => NodeState::Ready,
            })
            .collect();
        let node = &mut self.nodes[i];
        let members: Vec<Member> = (0..in_reach.len())
            .map(|other| {
                let since = match in_reach[other] {
                    true => None,
                    false => node.unreached[other].or(Some(now)),
                };
                node.unreached[other] = since;
                node.met[other] |= in_reach[other];
                let liveness = match since.map(|since| now - since) {
                    Some(silent) if silent >= DOWN => Liveness::Down,
                    Some(silent) if silent >= SUSPECT => Liveness::Suspect,
                    Some(_) | None => Liveness::Alive,
                };
                Member {
                    macs: node.met[other].then(|| mac_of(other)).into_iter().collect(),
                    ..Member::new(name(other), liveness, states[other])
                }
            })
            .collect();
        if members != node.members {
            node.members.clone_from(&members);
            node.ownership.set_members(members.clone());
            self.drain_ownership(i);
            let node = &mut self.nodes[i];
            node.holdings.set_members(&members, &node.name, at(now));
        }
    }

    fn drain_ownership(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        while let Some(change) = node.ownership.poll_change() {
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            node.holdings
                .set_verdict(&change.service, before, after, at(self.now));
        }
    }

    fn carry_out(&mut self, i: usize) {
        while let Some(effect) = self.nodes[i].holdings.poll_effect() {
            let (now, node) = (self.now, &mut self.nodes[i]);
            match effect {
                Effect::Probe(announcement) => {
                    node.probes.insert(announcement.address, now);
                    self.send(i, announcement.address, Frame::Probe);
                }
                Effect::StopProbe(address) => {
                    node.probes.remove(&address);
                }
                Effect::Announce(Announcement { address, .. }) => {
                    if node.answers.insert(address) {
                        node.bursts.insert(address, now);
                        self.send(i, address, Frame::Claim);
                    }
                }
                Effect::Reannounce(address) => {
                    node.bursts.insert(address, now);
                    self.send(i, address, Frame::Claim);
                }
                Effect::Withdraw(address) => {
                    node.answers.remove(&address);
                    node.bursts.remove(&address);
                }
                Effect::Defend(address) => {
                    let last = node.defended.get(&address);
                    if last.is_none_or(|last| last + 400 < now) {
                        node.defended.insert(address, now);
                        self.send(i, address, Frame::Claim);
                    }
                }
                Effect::Check(..)
                | Effect::Gained(..)
                | Effect::Lost(..)
                | Effect::TookOver(..)
                | Effect::Report(..) => {}
            }
        }
    }

    fn send(&mut self, from: usize, address: IpAddr, kind: Frame) {
        if kind == Frame::Claim && self.wire[from] == self.wire[0] && self.roll(1000) >= self.loss {
            self.client.insert(address, from);
        }
        for to in 0..self.nodes.len() {
            self.send_to(from, to, address, kind);
        }
    }

    fn send_to(&mut self, from: usize, to: usize, address: IpAddr, kind: Frame) {
        if from != to && self.wire[from] == self.wire[to] && self.roll(1000) >= self.loss {
            let latency = 1 + self.roll(3);
            self.frames.insert((self.now + latency, from, to, address, kind));
        }
    }

    fn receive(&mut self, from: usize, to: usize, address: IpAddr, kind: Frame) {
        if !self.nodes[to].runs() || self.wire[from] != self.wire[to] {
            return;
        }
        let probes = self.nodes[to].probes.contains_key(&address);
        match kind {
            Frame::Probe => {
                if self.nodes[to].answers.contains(&address) {
                    self.send_to(to, from, address, Frame::Answer);
                } else if probes {
                    self.end_probe(to, address, ProbeResult::Contended(mac_of(from)));
                }
            }
            Frame::Answer | Frame::Claim if probes => {
                self.end_probe(to, address, ProbeResult::Answered(mac_of(from)));
            }
            Frame::Claim => {
                let node = &mut self.nodes[to];
                let ownership = &node.ownership;
                let outranks = |other: &NodeName, service: &ServiceKey| ownership.outranks(other, service);
                node.holdings
                    .handle_claim(address, mac_of(from), outranks, at(self.now));
            }
            Frame::Answer => {}
        }
        self.carry_out(to);
    }

    fn end_probe(&mut self, i: usize, address: IpAddr, probed: ProbeResult) {
        let node = &mut self.nodes[i];
        if node.probes.remove(&address).is_some() {
            node.holdings.handle_probed(address, probed, at(self.now));
        }
    }

    fn answering(&self, address: IpAddr) -> Vec<usize> {
        let answers = |i: &usize| self.nodes[*i].runs() && self.nodes[*i].answers.contains(&address);
        (0..self.nodes.len()).filter(answers).collect()
    }

    /// Never do two that hear each other answer for one address for long.
    fn check(&mut self) {
        for i in 0..ADDRESSES {
            let answering = self.answering(address(i));
            let mut segments: Vec<u8> = answering.iter().map(|node| self.wire[*node]).collect();
            segments.sort_unstable();
            if segments.windows(2).any(|pair| pair[0] == pair[1]) {
                let since = *self.doubled.entry(address(i)).or_insert(self.now);
                self.longest_double = self.longest_double.max(self.now - since);
            } else {
                self.doubled.remove(&address(i));
            }
        }
    }

    fn crash(&mut self, i: usize) {
        self.nodes[i].is_alive = false;
    }

    fn restart(&mut self, i: usize) {
        self.nodes[i] = Node::start(i, self.nodes.len(), self.now);
    }

    fn resume(&mut self, i: usize) {
        self.nodes[i].paused = false;
        self.nodes[i].holdings.reverify(at(self.now));
    }

    fn owners(&self) -> Vec<Vec<usize>> {
        (0..ADDRESSES).map(|i| self.answering(address(i))).collect()
    }

    /// Where a client that goes by announcements sends its packets.
    fn believed(&self) -> Vec<Vec<usize>> {
        (0..ADDRESSES).map(|i| vec![self.client[&address(i)]]).collect()
    }
}

/// A settled cluster.
fn settled(count: usize, loss: u64, seed: u64) -> Sim {
    let mut sim = Sim::new(count, loss, seed);
    sim.run(3000);
    assert!(
        sim.owners().iter().all(|owners| owners.len() == 1),
        "{:?}",
        sim.owners()
    );
    sim
}

#[test]
fn a_dead_owner_is_followed_as_soon_as_it_is_suspected() {
    let mut sim = settled(3, 0, 1);
    let before = sim.owners();
    sim.crash(0);
    sim.run(SUSPECT + PROBE_OVER + 20);
    for (before, after) in before.iter().zip(sim.owners()) {
        assert_eq!(after.len(), 1);
        assert!(before == &[0] || *before == after, "only what it owned moves");
    }
    sim.restart(0);
    sim.run(3000);
    assert_eq!(sim.owners(), before);
    assert!(sim.longest_double <= 20, "{}", sim.longest_double);
}

#[test]
fn suspicion_alone_moves_nothing() {
    let mut sim = settled(3, 0, 1);
    let before = sim.owners();
    for _ in 0..20 {
        sim.gossip = vec![0, 1, 1];
        sim.run(300);
        sim.gossip = vec![0, 0, 0];
        sim.run(300);
        assert_eq!(sim.owners(), before);
    }
    assert_eq!(sim.longest_double, 0);
}

#[test]
fn without_any_gossip_every_address_has_one_owner_and_a_dead_one_is_followed_within_seconds() {
    let mut sim = settled(3, 0, 1);
    sim.gossip = vec![0, 1, 2];
    sim.run(60_000);
    assert!(
        sim.owners().iter().all(|owners| owners.len() == 1),
        "{:?}",
        sim.owners()
    );
    sim.crash(0);
    sim.run(6000);
    assert!(
        sim.owners().iter().all(|owners| owners.len() == 1),
        "{:?}",
        sim.owners()
    );
    sim.restart(0);
    sim.run(10_000);
    assert!(
        sim.owners().iter().all(|owners| owners.len() == 1),
        "{:?}",
        sim.owners()
    );
    assert!(sim.longest_double <= 20, "{}", sim.longest_double);
}

#[test]
fn a_paused_owner_asks_before_it_goes_on() {
    let mut sim = settled(3, 0, 1);
    let before = sim.owners();
    for pause in [100, 300, 1000, 5000] {
        sim.nodes[0].paused = true;
        sim.run(pause);
        sim.resume(0);
        sim.run(3000);
        assert_eq!(sim.owners(), before);
        assert_eq!(sim.believed(), before);
    }
    assert!(sim.longest_double <= 20, "{}", sim.longest_double);
}

#[test]
fn after_a_partition_the_sides_agree_within_a_second() {
    let mut sim = settled(5, 0, 1);
    let before = sim.owners();
    for length in [200, 700, 5000] {
        sim.gossip = vec![0, 0, 1, 1, 1];
        sim.wire = sim.gossip.clone();
        sim.run(length);
        sim.gossip = vec![0; 5];
        sim.wire = vec![0; 5];
        sim.run(3000);
        assert_eq!(sim.owners(), before);
        assert_eq!(sim.believed(), before);
    }
    assert!(sim.longest_double <= 1000, "{}", sim.longest_double);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_fails_no_two_answer_for_long_and_in_the_end_everything_is_as_before(
        seed: u64,
        count in 2_usize..6,
        loss in 0_u64..30,
        steps in 1_usize..12,
    ) {
        let mut sim = settled(count, loss, seed);
        let before = sim.owners();
        for _ in 0..steps {
            let node = usize::try_from(sim.roll(count as u64)).unwrap();
            match sim.roll(6) {
                0 => sim.crash(node),
                1 if !sim.nodes[node].is_alive => sim.restart(node),
                2 => sim.nodes[node].paused = true,
                3 if sim.nodes[node].paused => sim.resume(node),
                4 => sim.gossip = (0..count).map(|_| u8::try_from(sim.roll(2)).unwrap()).collect(),
                _ => {
                    sim.wire = (0..count).map(|_| u8::try_from(sim.roll(2)).unwrap()).collect();
                    sim.gossip.clone_from(&sim.wire);
                }
            }
            let length = 10 + sim.roll(6000);
            sim.run(length);
        }
        sim.wire = vec![0; count];
        sim.gossip = vec![0; count];
        for i in 0..count {
            if !sim.nodes[i].is_alive {
                sim.restart(i);
            }
            if sim.nodes[i].paused {
                sim.resume(i);
            }
        }
        sim.run(12_000);
        prop_assert_eq!(sim.owners(), before.clone());
        // Where the wire was cut and gossip was not, nobody knows when it is whole again: the refresh tells the clients.
        sim.loss = 0;
        sim.run(REFRESH);
        prop_assert_eq!(sim.believed(), before);
        // A claim that is lost is repeated after 100 ms and after 1100 ms.
        prop_assert!(sim.longest_double <= 1000 + 20 * loss, "{} ms", sim.longest_double);
    }
}

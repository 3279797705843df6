//! Members on a network of datagrams in virtual time, the same run for the same seed.
//!
//! This tests one machine, [`Membership`] with its [`Seal`], and wires nothing else: keys, replays, forged datagrams and
//! stalled processes, at the level of single datagrams. Whole speakers on a segment are simulated in `dev/sim`, whose nodes
//! own the same object.

mod crashes;
mod flaps;
mod forged;
mod hostile;
mod joining;
mod lying;
mod partitions;
mod queries;
mod starved;
mod states;

use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::LazyLock;

use herald_core::{Liveness, MacAddr, Member, NodeName, NodeState, Time};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::Timings;
use crate::codec::Rejection;
use crate::codec::seal::{Seal, Secret};
use crate::identity::Epoch;
use crate::{LocalLink, Membership, MembershipEvent};

/// A datagram in transit: when it arrives, a tie-breaker, its sender and receiver, its bytes.
type Flight = Reverse<(Time, u64, [SocketAddr; 2], Vec<u8>)>;

/// The network and its nodes.
struct Net {
    now: Time,
    rng: StdRng,
    /// Share of datagrams lost.
    loss: f64,
    /// Which datagrams are blocked, by index of sender and receiver.
    cut: fn(usize, usize) -> bool,
    nodes: BTreeMap<usize, NetNode>,
    flights: BinaryHeap<Flight>,
    /// Datagrams that were sent and neither lost nor blocked.
    delivered: u64,
    /// When each node's next timeout is due; out of date where [`NetNode::wakes`] differs.
    alarms: BinaryHeap<Reverse<(Time, usize)>>,
    events: Vec<(Time, usize, MembershipEvent)>,
    rejections: BTreeMap<(usize, Rejection), usize>,
}

/// A process on the network.
struct NetNode {
    membership: Membership,
    seal: Seal,
    wakes: Option<Time>,
    /// Until when the process stalls. Datagrams wait in its socket.
    frozen_until: Time,
}

/// How often a condition is evaluated.
const POLL_PERIOD: Duration = Duration::from_millis(5);

fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

fn address(index: usize) -> SocketAddr {
    let [.., high, low] = index.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 7946))
}

fn index_of(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else {
        panic!("the network is IPv4")
    };
    let [_, _, high, low] = v4.ip().octets();
    usize::from(u16::from_be_bytes([high, low]))
}

fn peers(indices: impl IntoIterator<Item = usize>) -> BTreeMap<NodeName, SocketAddr> {
    indices.into_iter().map(|i| (name(i), address(i))).collect()
}

/// A link in no subnet.
fn link(number: u8) -> LocalLink<'static> {
    LocalLink {
        name: NAMES[usize::from(number)].as_str(),
        mac: MacAddr([2, 0, 0, 0, 0, number]),
        prefixes: &[],
    }
}

static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=u8::MAX).map(|number| format!("eth{number}")).collect());

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 16]).expect("long enough")
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Net {
    fn empty(seed: u64, loss: f64) -> Self {
        Self {
            now: Time::ZERO,
            rng: StdRng::seed_from_u64(seed),
            loss,
            cut: |_, _| false,
            nodes: BTreeMap::new(),
            flights: BinaryHeap::new(),
            delivered: 0,
            alarms: BinaryHeap::new(),
            events: Vec::new(),
            rejections: BTreeMap::new(),
        }
    }

    /// Returns `size` members that are ready and know each other.
    fn cluster(size: usize, seed: u64, loss: f64) -> Self {
        let mut net = Self::empty(seed, loss);
        for index in 0..size {
            net.start(index, peers(0..size));
            net.set_state(index, NodeState::Ready);
        }
        let joined = net.run_until(Duration::from_secs(20), |net| {
            net.all_see_all(|m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Ready))
        });
        assert!(
            joined.is_some(),
            "seed {seed}: {size} members did not find each other"
        );
        net
    }

    fn start(&mut self, index: usize, peers: BTreeMap<NodeName, SocketAddr>) {
        let epoch = Epoch {
            started: 1 + self.now.elapsed().as_millis() as u64,
            renewal: 0,
        };
        self.start_as(index, epoch, vec![secret(1)], peers);
    }

    fn start_as(
        &mut self,
        index: usize,
        epoch: Epoch,
        secrets: Vec<Secret>,
        peers: BTreeMap<NodeName, SocketAddr>,
    ) {
        self.start_named(index, name(index), epoch, secrets, peers);
    }

    fn start_named(
        &mut self,
        index: usize,
        name: NodeName,
        epoch: Epoch,
        secrets: Vec<Secret>,
        peers: BTreeMap<NodeName, SocketAddr>,
    ) {
        let seed = self.rng.random();
        let mut membership = Membership::new(name, address(index), epoch, Timings::FAST, seed);
        membership.set_expected_peers(peers, self.now);
        let seal = Seal::new(secrets, self.rng.random());
        let wakes = None;
        let node = NetNode {
            membership,
            seal,
            wakes,
            frozen_until: Time::ZERO,
        };
        self.nodes.insert(index, node);
        self.collect(index);
    }

    fn crash(&mut self, index: usize) {
        self.nodes.remove(&index);
    }

    /// Stalls the process of `index` for `duration`.
    fn freeze(&mut self, index: usize, duration: Duration) {
        let until = self.now + duration;
        self.node(index).frozen_until = until;
        self.set_alarm(index);
    }

    fn set_state(&mut self, index: usize, state: NodeState) {
        let now = self.now;
        self.node(index).membership.set_state(state, now);
        self.collect(index);
    }

    fn node(&mut self, index: usize) -> &mut NetNode {
        self.nodes.get_mut(&index).expect("it runs")
    }

    /// Returns `subject` as `viewer` knows it.
    fn view(&self, viewer: usize, subject: usize) -> Option<&Member> {
        let members = self.nodes[&viewer].membership.members();
        let subject = name(subject);
        let at = members.binary_search_by(|m| m.node.cmp(&subject)).ok()?;
        Some(&members[at])
    }

    /// Whether each running node knows each running node in this way.
    fn all_see_all(&self, expected: impl Fn(&Member) -> bool) -> bool {
        self.nodes.keys().all(|&viewer| self.sees_all(viewer, &expected))
    }

    fn sees_all(&self, viewer: usize, expected: impl Fn(&Member) -> bool) -> bool {
        self.nodes
            .keys()
            .all(|&subject| self.view(viewer, subject).is_some_and(&expected))
    }

    /// Whether each other running node knows `subject` in this way.
    fn all_see(&self, subject: usize, expected: impl Fn(&Member) -> bool) -> bool {
        self.nodes
            .keys()
            .filter(|&&viewer| viewer != subject)
            .all(|&viewer| self.view(viewer, subject).is_some_and(&expected))
    }

    /// Returns the members declared down since `since`, each with the node that declared it.
    fn declared_down(&self, since: Time) -> Vec<(usize, NodeName)> {
        let since = self.events.iter().filter(|(at, ..)| *at >= since);
        since
            .filter_map(|(_, viewer, event)| match event {
                MembershipEvent::Liveness {
                    node,
                    from: Some(_),
                    to: Liveness::Down,
                } => Some((*viewer, node.clone())),
                MembershipEvent::Liveness { .. }
                | MembershipEvent::Rejoined
                | MembershipEvent::Superseded
                | MembershipEvent::Queried { .. }
                | MembershipEvent::Answered { .. }
                | MembershipEvent::Isolated
                | MembershipEvent::Irregular(_) => None,
            })
            .collect()
    }

    /// Returns the answers that `viewer` was given: the peer, and whether it announces the address.
    fn answers(&self, viewer: usize) -> Vec<(NodeName, bool)> {
        let of_viewer = self.events.iter().filter(|(_, index, _)| *index == viewer);
        of_viewer
            .filter_map(|(.., event)| {
                let MembershipEvent::Answered { peer, announces, .. } = event else {
                    return None;
                };
                Some((peer.clone(), *announces))
            })
            .collect()
    }

    fn count_events(&self, wanted: impl Fn(&MembershipEvent) -> bool) -> usize {
        self.events.iter().filter(|(.., event)| wanted(event)).count()
    }

    fn run_for(&mut self, duration: Duration) {
        let held = self.run_until(duration, |_| false);
        assert_eq!(held, None);
    }

    /// Runs until `condition` holds, at most for `limit`, and returns how long that took, to [`POLL_PERIOD`].
    fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        let end = start + limit;
        while !condition(self) {
            if self.now >= end {
                return None;
            }
            let next = end.min(self.now + POLL_PERIOD);
            while self.step(next) {}
            self.now = next;
        }
        Some(self.now - start)
    }

    /// Runs the next event, if it is before `end`.
    fn step(&mut self, end: Time) -> bool {
        let flight = self.flights.peek().map(|Reverse((due, ..))| *due);
        let alarm = self.next_alarm();
        let next = flight.into_iter().chain(alarm).min();
        let Some(next) = next.filter(|next| *next < end) else {
            return false;
        };
        self.now = self.now.max(next);
        if flight == Some(next) {
            self.deliver();
        } else if let Some(Reverse((_, index))) = self.alarms.pop() {
            let now = self.now;
            self.node(index).membership.handle_timeout(now);
            self.collect(index);
        }
        true
    }

    /// Returns when the next timeout is due; drops alarms that are out of date.
    fn next_alarm(&mut self) -> Option<Time> {
        while let Some(Reverse((due, index))) = self.alarms.peek() {
            if self.nodes.get(index).is_some_and(|node| node.wakes == Some(*due)) {
                return Some(*due);
            }
            self.alarms.pop();
        }
        None
    }

    fn deliver(&mut self) {
        let Some(Reverse((_, order, [from, to], datagram))) = self.flights.pop() else {
            return;
        };
        let frozen_until = self.nodes.get(&index_of(to)).map(|node| node.frozen_until);
        match frozen_until {
            Some(until) if until > self.now => {
                self.flights.push(Reverse((until, order, [from, to], datagram)));
            }
            Some(_) | None => self.deliver_to(index_of(to), from, &datagram),
        }
    }

    fn deliver_to(&mut self, index: usize, from: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&index) else {
            return;
        };
        let NetNode { membership, seal, .. } = node;
        let result = seal
            .open(datagram)
            .and_then(|content| membership.handle_datagram(&content, from, now));
        if let Err(rejection) = result {
            *self.rejections.entry((index, rejection)).or_default() += 1;
        }
        self.collect(index);
    }

    /// Drains the outputs of `index`.
    fn collect(&mut self, index: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&index) else {
            return;
        };
        while let Some(event) = node.membership.poll_event() {
            if event.ends_session() {
                node.seal.start_session(self.rng.random());
            }
            self.events.push((now, index, event));
        }
        while let Some((to, content)) = node.membership.poll_transmit() {
            let datagram = node.seal.seal(&content, self.rng.random());
            assert!(datagram.len() <= crate::codec::DATAGRAM_MAX);
            let lost = self.rng.random_bool(self.loss);
            // One way through a switch and two kernels.
            let latency = Duration::from_micros(self.rng.random_range(100..500));
            if !lost && !(self.cut)(index, index_of(to)) {
                self.delivered += 1;
                self.flights.push(Reverse((
                    now + latency,
                    self.delivered,
                    [address(index), to],
                    datagram,
                )));
            }
        }
        self.set_alarm(index);
    }

    fn set_alarm(&mut self, index: usize) {
        let node = self.node(index);
        let due = node.membership.poll_timeout();
        node.wakes = due.map(|due| due.max(node.frozen_until));
        if let Some(wakes) = node.wakes {
            self.alarms.push(Reverse((wakes, index)));
        }
    }
}

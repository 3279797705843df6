//! The virtual switch, gossip's network and the API server, with their faults.

mod api_server;
mod hostile;
mod interfaces;
mod pauses;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use herald_core::Time;
use herald_l2::wire::ethernet::Frame;
use herald_l2::{Link, MacAddr};
use herald_membership::identity::Epoch;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::adversary::Adversary;
use crate::catalog::{self, Sharing, address, mac};
use crate::client::Client;
use crate::judge::Judge;
use crate::kernel;
use crate::network::{Network, are_connected};
use crate::node::{Node, Output};
use crate::pause::Pause;

/// What is in transit or due.
#[derive(Debug)]
pub(crate) enum Event {
    Frame(usize, Rc<[u8]>),
    Datagram(usize, usize, Vec<u8>),
    Timeout(usize),
    /// The next frame of the foreign host.
    Adversary,
}

/// A cluster on a segment.
pub struct World {
    now: Time,
    rng: StdRng,
    nodes: Vec<Option<Node>>,
    paused: BTreeMap<usize, Pause>,
    timeouts: Vec<Option<Time>>,
    /// By time, and in the order in which the events were queued.
    queue: BTreeMap<(Time, u64), Event>,
    queued: u64,
    /// Ethernet frames.
    pub wire: Network,
    /// Gossip's datagrams.
    pub gossip: Network,
    /// Whether the API server answers. A node that starts meanwhile has no lists.
    api: bool,
    drained: BTreeSet<usize>,
    unplugged: BTreeSet<usize>,
    /// The nodes whose speaker has the version that elects for each Service alone.
    old: BTreeSet<usize>,
    sharing: Sharing,
    services: usize,
    /// The Services that each node has.
    known: Vec<Vec<usize>>,
    adversary: Option<Adversary>,
    judge: Judge,
    client: Client,
    datagrams: u64,
    frames: u64,
}

impl World {
    /// Creates a cluster of `nodes` that have started and share `services`.
    pub fn new(nodes: usize, services: usize, seed: u64) -> Self {
        Self::with(nodes, services, nodes, seed)
    }

    /// Like [`World::new`], but the Services share their addresses with others.
    pub fn sharing(nodes: usize, services: usize, sharing: Sharing, seed: u64) -> Self {
        Self::settled(nodes, services, nodes, sharing, seed)
    }

    /// Like [`World::new`], but only the first `known_to` nodes by rank have each Service. That makes no difference as long as
    /// fewer nodes fail, and saves time.
    ///
    /// # Panics
    /// If the addresses do not have one owner each within a minute.
    pub fn with(nodes: usize, services: usize, known_to: usize, seed: u64) -> Self {
        Self::settled(nodes, services, known_to, Sharing::Alone, seed)
    }

    fn settled(nodes: usize, services: usize, known_to: usize, sharing: Sharing, seed: u64) -> Self {
        let mut world = Self {
            now: Time::ZERO,
            rng: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            paused: BTreeMap::new(),
            timeouts: vec![None; nodes],
            queue: BTreeMap::new(),
            queued: 0,
            wire: Network::default(),
            gossip: Network::default(),
            api: true,
            drained: BTreeSet::new(),
            unplugged: BTreeSet::new(),
            old: BTreeSet::new(),
            sharing,
            services,
            known: catalog::known(nodes, services, known_to),
            adversary: None,
            judge: Judge::new((0..services).map(address)),
            client: Client::default(),
            datagrams: 0,
            frames: 0,
        };
        world.nodes.resize_with(nodes, || None);
        (0..nodes).for_each(|index| world.start(index));
        for _ in 0..60 {
            world.run_for(Duration::from_secs(1));
            let is_settled = world.judge.owners().iter().all(|owners| owners.len() == 1);
            if is_settled && world.judge.taken() == 0 {
                return world;
            }
            world.judge.reset(world.now);
        }
        panic!("{nodes} nodes have no settled owners: {:?}", world.judge.owners());
    }

    /// Returns the number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the numbers of datagrams and frames sent so far.
    pub fn sent(&self) -> (u64, u64) {
        (self.datagrams, self.frames)
    }

    /// Returns the judge, with what has happened since [`World::reset_judge`].
    pub fn judge(&mut self) -> &Judge {
        self.judge.close(self.now);
        &self.judge
    }

    /// Resets the durations and counts of the judge.
    pub fn reset_judge(&mut self) {
        self.judge.reset(self.now);
    }

    /// Returns the node that a client beside node 0 sends to, for each address in ascending order. The client never asks:
    /// it follows announcements alone.
    pub fn followed(&self) -> Vec<Vec<usize>> {
        let neighbours = self.client.neighbours();
        neighbours.values().map(|node| vec![*node]).collect()
    }

    /// Returns a random number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.rng.random_range(0..sides)
    }

    /// Returns a random node.
    pub fn any_node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes.len())
    }

    /// Puts each node at random into one of two parts.
    pub fn any_parts(&mut self) -> Vec<u8> {
        (0..self.nodes.len())
            .map(|_| self.rng.random_range(0..2))
            .collect()
    }

    /// Starts the speaker of a node, if it does not run. Its clock starts at a random time.
    pub fn start(&mut self, index: usize) {
        if self.nodes[index].is_some() {
            return;
        }
        let clock = Duration::from_millis(self.roll(1 << 40));
        let epoch = Epoch::at(clock, self.rng.random());
        let seed = self.rng.random();
        let mut node = Node::start(index, self.nodes.len(), epoch, seed, self.now);
        if self.old.contains(&index) {
            node.become_old(self.now);
        }
        catalog::list(&mut node.agent, self.nodes.len(), &self.known[index]);
        catalog::share(
            &mut node.agent,
            self.nodes.len(),
            &self.known[index],
            self.sharing,
        );
        for drained in &self.drained {
            node.agent.set_node(catalog::node(*drained, true));
        }
        node.has_lists = self.api;
        if self.unplugged.contains(&index) {
            node.set_links(&[], self.now);
        }
        self.nodes[index] = Some(node);
        self.run_node(index);
    }

    /// Ends the speaker of a node without notice.
    pub fn crash(&mut self, index: usize) {
        self.nodes[index] = None;
        self.paused.remove(&index);
        self.judge
            .remove(index, are_connected(&self.wire, &self.paused), self.now);
    }

    /// Sets the version of the speaker that is started next on a node: the current one, or the one that elects for each Service
    /// alone.
    pub fn set_version(&mut self, index: usize, is_old: bool) {
        if is_old {
            self.old.insert(index);
        } else {
            self.old.remove(&index);
        }
    }

    /// Requests the shutdown of a speaker, as for an update.
    pub fn stop(&mut self, index: usize) {
        let now = self.now;
        if let Some(node) = self.nodes[index]
            .as_mut()
            .filter(|_| !self.paused.contains_key(&index))
        {
            node.stop(now);
            self.run_node(index);
        }
    }

    /// Unplugs the cable of a node: neither frames nor datagrams pass.
    pub fn unplug(&mut self, index: usize) {
        if self.unplugged.insert(index) {
            self.set_links(index, &[]);
            self.judge
                .remove(index, are_connected(&self.wire, &self.paused), self.now);
        }
    }

    /// Plugs the cable in again.
    pub fn plug(&mut self, index: usize) {
        if self.unplugged.remove(&index) {
            self.set_links(index, &[catalog::link(index)]);
        }
    }

    /// Replaces the links of a node. A paused process handles the change when it runs again.
    fn set_links(&mut self, index: usize, links: &[Link]) {
        let now = self.now;
        if let Some(node) = &mut self.nodes[index] {
            node.set_links(links, now);
            self.run_node(index);
        }
    }

    /// Changes which nodes receive each other.
    pub fn rewire(&mut self, change: impl FnOnce(&mut Network, &mut Network)) {
        change(&mut self.wire, &mut self.gossip);
        self.judge
            .reevaluate(are_connected(&self.wire, &self.paused), self.now);
    }

    /// Ends all faults: all speakers run, and receive each other and the API server.
    pub fn mend(&mut self) {
        let loss = self.wire.loss;
        self.rewire(|wire, gossip| {
            *wire = Network {
                loss,
                ..Network::default()
            };
            gossip.clone_from(wire);
        });
        self.drained.clear();
        self.set_api(true);
        for index in 0..self.nodes.len() {
            self.resume(index);
            self.plug(index);
            // A speaker that is stopping would still end later, so it ends now and starts again.
            if self.nodes[index].as_ref().is_some_and(Node::is_stopping) {
                self.crash(index);
            }
            self.start(index);
        }
    }

    /// Advances the time.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.queue.first_entry()
            && next.key().0 <= end
        {
            let ((due, _), event) = next.remove_entry();
            self.now = self.now.max(due);
            if let Event::Timeout(index) = event {
                if self.timeouts[index] != Some(due) {
                    continue;
                }
                self.timeouts[index] = None;
            }
            self.handle_event(event);
        }
        self.now = end;
    }

    fn handle_event(&mut self, event: Event) {
        let index = match event {
            Event::Frame(index, _) | Event::Datagram(index, ..) | Event::Timeout(index) => index,
            Event::Adversary => return self.run_adversary(),
        };
        if let Event::Frame(_, frame) = &event
            && let Some(answer) = kernel::answer(index, frame)
        {
            self.send_frame(index, &answer);
        }
        let event = match self.paused.get_mut(&index) {
            Some(pause) => pause.queue(event),
            None => Some(event),
        };
        let Some(event) = event else { return };
        let now = self.now;
        let Some(node) = &mut self.nodes[index] else {
            return;
        };
        let mut output = Output::default();
        match event {
            Event::Frame(_, frame) => node.handle_frame(&frame, now, &mut output),
            Event::Datagram(_, from, datagram) => {
                node.handle_datagram(&datagram, catalog::endpoint(from), now);
            }
            Event::Timeout(_) | Event::Adversary => {}
        }
        self.carry_out(index, output);
        self.run_node(index);
    }

    fn run_node(&mut self, index: usize) {
        let now = self.now;
        let pause = self.paused.get(&index);
        let Some(node) = &mut self.nodes[index] else {
            return;
        };
        let mut output = Output::default();
        let is_running = node.run(pause, now, &mut output);
        let due = node.poll_timeout(pause, now);
        self.carry_out(index, output);
        if !is_running {
            return self.crash(index);
        }
        if due != self.timeouts[index] {
            self.timeouts[index] = due;
            if let Some(due) = due {
                // Never twice at the same instant: a deadline that stays due, as of frames that wait for their pace, must not
                // stop the time.
                let due = due.max(now + Duration::from_micros(10));
                self.timeouts[index] = Some(due);
                self.push(due, Event::Timeout(index));
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        for (address, answers) in output.answers {
            let answers = answers && !self.unplugged.contains(&index);
            self.judge.set(
                address,
                index,
                answers,
                are_connected(&self.wire, &self.paused),
                self.now,
            );
        }
        for frame in output.frames {
            self.send_frame(index, &frame);
        }
        for (to, datagram) in output.datagrams {
            let to = catalog::index_of(to);
            self.datagrams += 1;
            if self.is_plugged(index, to)
                && self.gossip.passes(index, to)
                && !self.rng.random_bool(self.gossip.loss)
            {
                let due = self.now + self.latency();
                self.push(due, Event::Datagram(to, index, datagram));
            }
        }
    }

    fn send_frame(&mut self, from: usize, frame: &[u8]) {
        self.frames += 1;
        let Ok(parsed) = Frame::parse(frame) else {
            unreachable!("nodes send valid frames");
        };
        let shared: Rc<[u8]> = frame.into();
        let to_all = parsed.destination.is_multicast();
        let MacAddr([.., high, low]) = parsed.destination;
        let receivers = if to_all {
            0..self.nodes.len()
        } else {
            let to = usize::from(u16::from_be_bytes([high, low]));
            if to >= self.nodes.len() || parsed.destination != mac(to) {
                return;
            }
            to..to + 1
        };
        if let Some(adversary) = self.adversary.as_ref().filter(|_| to_all)
            && let Some(answer) = adversary.answer(&parsed, self.nodes.len(), &mut self.rng)
        {
            self.send_foreign_frame(&answer);
        }
        if to_all
            && self.is_plugged(from, from)
            && self.wire.passes(from, 0)
            && !self.rng.random_bool(self.wire.loss)
        {
            self.client.handle_frame(from, &parsed);
        }
        for to in receivers {
            if to != from
                && self.is_plugged(from, to)
                && self.wire.passes(from, to)
                && !self.rng.random_bool(self.wire.loss)
            {
                let due = self.now + self.latency();
                self.push(due, Event::Frame(to, shared.clone()));
            }
        }
    }

    /// Whether the cables of both nodes are plugged in.
    fn is_plugged(&self, one: usize, other: usize) -> bool {
        !self.unplugged.contains(&one) && !self.unplugged.contains(&other)
    }

    /// Draws the latency of one way through a switch and two kernels.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(100..500))
    }

    fn push(&mut self, due: Time, event: Event) {
        self.queued += 1;
        self.queue.insert((due, self.queued), event);
    }
}

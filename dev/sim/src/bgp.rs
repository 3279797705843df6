//! Nodes that announce routes to routers by BGP, over connections in virtual time that are cut, reset and slow.
//!
//! A node runs the machines of the speaker's thread: the routes of all its peers, and a peering with each router. A router runs the
//! session of the other side, and keeps the routes that `netgauze-bgp-pkt` reads in what it is sent.

mod link;
mod node;
mod router;

use std::collections::BTreeMap;
use std::time::Duration;

use herald_core::{Prefix, Time};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::link::Link;
use self::node::BgpNode;
use self::router::Router;

/// The routes of a node at a router, or those that it is to have there: MULTI_EXIT_DISC by prefix.
pub type Routes = BTreeMap<Prefix, u32>;

/// What happens to a connection or a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BgpFault {
    /// Nothing gets through between a node and a router, or does again.
    Cut(usize, usize, bool),
    /// The connection of a node and a router is reset.
    Reset(usize, usize),
    /// The speaker of a node is killed and starts again, with the routes that it is to announce.
    RestartNode(usize),
    /// A router restarts.
    RestartRouter(usize),
}

/// Nodes, routers and the connections of each node with each router.
pub struct BgpWorld {
    now: Time,
    nodes: Vec<BgpNode>,
    routers: Vec<Router>,
    links: BTreeMap<(usize, usize), Link>,
    rng: StdRng,
}

impl BgpWorld {
    /// Makes a world whose speakers have just started.
    pub fn new(nodes: usize, routers: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ends = (0..nodes).flat_map(|node| (0..routers).map(move |router| (node, router)));
        // Some routers read slowly.
        let links = ends.map(|ends| (ends, Link::new([600, 8_000, 1 << 20][rng.random_range(0..3)])));
        let links = links.collect();
        let mut world = Self {
            now: Time::ZERO,
            nodes: Vec::new(),
            routers: (0..routers).map(|_| Router::new(nodes)).collect(),
            links,
            rng,
        };
        for node in 0..nodes {
            let seed = world.rng.random();
            world.nodes.push(BgpNode::start(node, routers, seed, world.now));
        }
        world
    }

    /// Returns a number below `bound`.
    pub fn roll(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    /// Announces a prefix of a node to a router, or withdraws it.
    pub fn set_route(&mut self, node: usize, router: usize, prefix: Prefix, med: Option<u32>) {
        self.nodes[node].set_route(router, prefix, med, self.now);
    }

    /// Returns the routes that a node is to have at a router.
    pub fn wanted(&self, node: usize, router: usize) -> &Routes {
        self.nodes[node].wanted(router)
    }

    /// Returns the routes of a node that a router has.
    pub fn routes(&self, node: usize, router: usize) -> Routes {
        self.routers[router].routes(node)
    }

    /// Lets something go wrong.
    pub fn inject(&mut self, fault: BgpFault) {
        match fault {
            BgpFault::Cut(node, router, is_cut) => self.link(node, router).set_cut(is_cut),
            BgpFault::Reset(node, router) => {
                let now = self.now;
                self.link(node, router).reset(now);
            }
            BgpFault::RestartNode(node) => {
                let (now, seed) = (self.now, self.rng.random());
                self.nodes[node].restart(seed, now);
                for router in 0..self.routers.len() {
                    self.link(node, router).abandon(now);
                }
            }
            BgpFault::RestartRouter(router) => {
                self.routers[router] = Router::new(self.nodes.len());
                let now = self.now;
                for node in 0..self.nodes.len() {
                    self.link(node, router).reset(now);
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drive();
            let Some(next) = self.next().filter(|next| *next <= end) else {
                break;
            };
            self.now = next.max(self.now);
            self.deliver();
            let now = self.now;
            self.nodes.iter_mut().for_each(|node| node.handle_timeout(now));
            self.routers
                .iter_mut()
                .for_each(|router| router.handle_timeout(now));
        }
        self.now = end;
    }

    fn link(&mut self, node: usize, router: usize) -> &mut Link {
        self.links.get_mut(&(node, router)).expect("each pair has one")
    }

    fn next(&self) -> Option<Time> {
        let nodes = self.nodes.iter().filter_map(BgpNode::poll_timeout);
        let routers = self.routers.iter().filter_map(Router::poll_timeout);
        let links = self.links.values().filter_map(Link::next);
        nodes.chain(routers).chain(links).min()
    }

    /// Takes what has arrived.
    fn deliver(&mut self) {
        for ((node, router), link) in &mut self.links {
            while let Some(segment) = link.receive_at_router(self.now) {
                self.routers[*router].handle(*node, segment, self.now);
            }
            while let Some(segment) = link.receive_at_node(self.now) {
                self.nodes[*node].handle(*router, segment, self.now);
            }
        }
    }

    /// Carries out what all machines want.
    fn drive(&mut self) {
        for ((node, router), link) in &mut self.links {
            self.nodes[*node].drive(*router, link, self.now);
            while let Some(segment) = self.routers[*router].poll(*node) {
                link.send_to_node(segment, self.now);
            }
        }
    }
}

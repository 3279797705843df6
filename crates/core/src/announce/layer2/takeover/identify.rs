//! Identification: which node does a MAC address belong to that membership does not know?
//!
//! Speakers learn each other's MAC addresses by gossip. A peer that gossip has not reached since this speaker started would
//! look like a foreign host on the wire. But Kubernetes knows the address of each node, and the machine that answers for
//! that address is the node. A machine that looks like a foreign host is therefore asked for the addresses of all nodes
//! whose MAC addresses are not known.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::peers::Peers;
use super::{Announcement, Command, Effect};
use crate::{MacAddr, NodeName, Time};

/// How long an answer may take; a check ends after a tenth of a second.
const ANSWER: Duration = Duration::from_millis(200);

/// How often a machine is asked, because a question or its answer may get lost.
const QUERIES: u8 = 2;

/// When a machine that was not identified is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Limit of machines that are remembered; a foreign host can use any number of MAC addresses.
const MAX_MACHINES: usize = 64;

/// Which machines were asked, and which nodes they turned out to be.
#[derive(Debug)]
pub(super) struct Identification {
    nodes: BTreeMap<IpAddr, NodeName>,
    queries: BTreeMap<MacAddr, Query>,
    /// The nodes that each machine has answered for: a node only for its own address, a proxy for many.
    answered: BTreeMap<MacAddr, BTreeSet<NodeName>>,
}

/// When a machine was asked first and last, and how often.
#[derive(Debug, Clone, Copy)]
struct Query {
    first: Time,
    last: Time,
    count: u8,
}

impl Identification {
    /// Starts without any node.
    pub(super) const fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            queries: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Replaces the addresses of the speakers' nodes as Kubernetes knows them.
    pub(super) fn set_nodes(&mut self, nodes: BTreeMap<NodeName, IpAddr>) {
        let is_unchanged = |node: &NodeName| {
            let address = nodes.get(node);
            address.is_some_and(|address| self.nodes.get(address) == Some(node))
        };
        let answered = self.answered.values_mut();
        answered.for_each(|answered| answered.retain(is_unchanged));
        self.answered.retain(|_, nodes| !nodes.is_empty());
        self.nodes = nodes.into_iter().map(|(node, address)| (address, node)).collect();
    }

    /// Returns the MAC addresses of a node.
    pub(super) fn macs_of(&self, node: &NodeName) -> Vec<MacAddr> {
        let answered = self.answered.iter();
        let own = answered.filter(|(_, nodes)| nodes.len() == 1 && nodes.contains(node));
        own.map(|(mac, _)| *mac).collect()
    }

    /// Whether `address` is the address of a node, so that probe results for it concern identification.
    pub(super) fn is_node(&self, address: IpAddr) -> bool {
        self.nodes.contains_key(&address)
    }

    /// Returns until when the machine that is being asked may answer. Only one machine is asked at a time, because each is
    /// asked for the same addresses.
    fn pending_until(&self, now: Time) -> Option<Time> {
        let last = self.queries.values().map(|query| query.last + ANSWER);
        last.max().filter(|until| now < *until)
    }

    /// Asks a machine which node it is, unless membership knows all nodes or the machine was asked recently. Returns until
    /// when it may answer, if it may.
    pub(super) fn identify(
        &mut self,
        mac: MacAddr,
        peers: &Peers,
        effects: &mut VecDeque<Effect>,
        now: Time,
    ) -> Option<Time> {
        self.queries
            .retain(|_, query| now.saturating_since(query.first) < AGAIN);
        let before = self.queries.get(&mac).copied();
        if before.is_some_and(|before| before.count >= QUERIES && now >= before.last + ANSWER) {
            return None;
        }
        let unknown: BTreeSet<&NodeName> = peers.without_certain_mac().collect();
        if unknown.is_empty() || self.queries.len() >= MAX_MACHINES {
            return None;
        }
        if let Some(until) = self.pending_until(now) {
            return Some(until);
        }
        let (unknown, known): (Vec<_>, Vec<_>) =
            self.nodes.iter().partition(|(_, node)| unknown.contains(node));
        // A machine that answers for a known node as well is a proxy.
        let known = known.into_iter().find(|(_, node)| peers.is_other(node));
        let question = |(address, _): (&IpAddr, _)| {
            Effect::Command(Command::Check {
                announcement: Announcement {
                    address: *address,
                    interfaces: None,
                },
                target: Some(mac),
            })
        };
        effects.extend(unknown.into_iter().chain(known).map(question));
        let query = Query {
            first: before.map_or(now, |before| before.first),
            last: now,
            count: before.map_or(0, |before| before.count) + 1,
        };
        self.queries.insert(mac, query);
        Some(now + ANSWER)
    }

    /// Records that a machine answered for the address of a node. Returns whether that is new.
    pub(super) fn handle_answer(&mut self, address: IpAddr, mac: MacAddr) -> bool {
        let Some(node) = self.nodes.get(&address) else {
            return false;
        };
        let is_known = self.answered.contains_key(&mac);
        if !self.queries.contains_key(&mac) || !is_known && self.answered.len() >= MAX_MACHINES {
            return false;
        }
        self.answered.entry(mac).or_default().insert(node.clone())
    }
}

//! Whose Ethernet address is that, if gossip never told?
//!
//! Speakers learn each other's Ethernet addresses by gossip. One that gossip has not reached since this speaker started, as
//! it is blocked, would be a stranger on the wire. But Kubernetes knows under which address its node is to be reached, and
//! the machine that answers for that is the node. So whoever looks like a stranger is asked for the addresses of all nodes
//! whose Ethernet addresses are not known, before it is taken for one.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::{Announcement, Effect, Holdings};
use crate::{NodeName, Time};

/// By then the machine has answered: a check takes a tenth of a second at most.
const ANSWER: Duration = Duration::from_millis(200);

/// Question or answer may get lost, so who remains a stranger is asked again after so long at the earliest.
const AGAIN: Duration = Duration::from_millis(500);

/// Who was asked, and who turned out to be which node.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    nodes: BTreeMap<IpAddr, NodeName>,
    /// When each machine was asked last.
    asked: BTreeMap<[u8; 6], Time>,
    /// For which nodes each machine has answered: a node for its own address only, a proxy for many.
    answered: BTreeMap<[u8; 6], BTreeSet<NodeName>>,
}

impl Introductions {
    /// The Ethernet addresses of a node.
    pub(super) fn macs_of(&self, node: &NodeName) -> Vec<[u8; 6]> {
        let answered = self.answered.iter();
        let theirs = answered.filter(|(_, nodes)| nodes.len() == 1 && nodes.contains(node));
        theirs.map(|(mac, _)| *mac).collect()
    }
}

impl Holdings {
    /// Replaces the addresses under which Kubernetes knows the speakers' nodes.
    pub fn set_nodes(&mut self, nodes: BTreeMap<NodeName, IpAddr>) {
        let answered = self.introductions.answered.values_mut();
        answered.for_each(|answered| answered.retain(|node| nodes.contains_key(node)));
        self.introductions.answered.retain(|_, nodes| !nodes.is_empty());
        let nodes = nodes.into_iter().map(|(node, address)| (address, node));
        self.introductions.nodes = nodes.collect();
    }

    /// Asks a machine which node it is, unless gossip knows all of them or it was asked lately. Returns until when it may
    /// answer, if it may.
    pub(super) fn introduce(&mut self, mac: [u8; 6], now: Time) -> Option<Time> {
        let introductions = &mut self.introductions;
        introductions
            .asked
            .retain(|_, at| now.saturating_since(*at) < AGAIN);
        if let Some(at) = introductions.asked.get(&mac) {
            return Some(*at + ANSWER).filter(|until| now < *until);
        }
        let unknown: BTreeSet<&NodeName> = self.fellows.unknown().collect();
        let nodes = introductions.nodes.iter();
        let nodes = nodes.filter(|(_, node)| unknown.contains(node));
        let question = |(address, _): (&IpAddr, _)| {
            let announcement = Announcement {
                address: *address,
                interfaces: None,
            };
            Effect::Check(announcement, Some(mac))
        };
        let questions: Vec<Effect> = nodes.map(question).collect();
        if questions.is_empty() {
            return None;
        }
        self.effects.extend(questions);
        introductions.asked.insert(mac, now);
        Some(now + ANSWER)
    }

    /// A machine answered for `address`. If that is the address of a node, it is now known by that.
    pub(super) fn meet(&mut self, address: IpAddr, mac: [u8; 6], now: Time) {
        let introductions = &mut self.introductions;
        let Some(node) = introductions.nodes.get(&address) else {
            return;
        };
        let answered = introductions.answered.entry(mac).or_default();
        if answered.insert(node.clone()) {
            self.fellows.arrange(&self.introductions, now);
            // It does not know what we answer for either.
            self.reannounce_all_but(None);
        }
    }
}

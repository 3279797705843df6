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

use super::{Announcement, Effect, Holdings, ProbeResult};
use crate::{MacAddr, NodeName, Time};

/// By then the machine has answered: a check takes a tenth of a second at most.
const ANSWER: Duration = Duration::from_millis(200);

/// A question or its answer may get lost.
const QUESTIONS: u8 = 2;

/// Who remains a stranger is asked again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// Machines that are remembered; a stranger can use any number of Ethernet addresses.
const MACHINES: usize = 64;

/// Who was asked, and who turned out to be which node.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    nodes: BTreeMap<IpAddr, NodeName>,
    /// When each machine was asked first and last, and how often.
    asked: BTreeMap<MacAddr, Enquiry>,
    /// For which nodes each machine has answered: a node for its own address only, a proxy for many.
    answered: BTreeMap<MacAddr, BTreeSet<NodeName>>,
}

#[derive(Debug, Clone, Copy)]
struct Enquiry {
    first: Time,
    last: Time,
    times: u8,
}

impl Introductions {
    /// The Ethernet addresses of a node.
    pub(super) fn macs_of(&self, node: &NodeName) -> Vec<MacAddr> {
        let answered = self.answered.iter();
        let theirs = answered.filter(|(_, nodes)| nodes.len() == 1 && nodes.contains(node));
        theirs.map(|(mac, _)| *mac).collect()
    }

    /// Until when a machine is being asked. One at a time, as each is asked for the same addresses.
    fn under_way(&self, now: Time) -> Option<Time> {
        let last = self.asked.values().map(|enquiry| enquiry.last + ANSWER);
        last.max().filter(|until| now < *until)
    }
}

impl Holdings {
    /// Replaces the addresses under which Kubernetes knows the speakers' nodes.
    pub fn set_nodes(&mut self, nodes: BTreeMap<NodeName, IpAddr>, now: Time) {
        let introductions = &mut self.introductions;
        let is_as_before = |node: &NodeName| {
            let address = nodes.get(node);
            address.is_some_and(|address| introductions.nodes.get(address) == Some(node))
        };
        let answered = introductions.answered.values_mut();
        answered.for_each(|answered| answered.retain(is_as_before));
        introductions.answered.retain(|_, nodes| !nodes.is_empty());
        let nodes = nodes.into_iter().map(|(node, address)| (address, node));
        introductions.nodes = nodes.collect();
        self.fellows.arrange(&self.introductions, now);
    }

    /// Asks a machine which node it is, unless gossip knows all of them or it was asked lately. Returns until when it may
    /// answer, if it may.
    pub(super) fn introduce(&mut self, mac: MacAddr, now: Time) -> Option<Time> {
        let introductions = &mut self.introductions;
        introductions
            .asked
            .retain(|_, enquiry| now.saturating_since(enquiry.first) < AGAIN);
        let before = introductions.asked.get(&mac).copied();
        if before.is_some_and(|before| before.times >= QUESTIONS && now >= before.last + ANSWER) {
            return None;
        }
        let unknown: BTreeSet<&NodeName> = self.fellows.unknown().collect();
        if unknown.is_empty() || introductions.asked.len() >= MACHINES {
            return None;
        }
        if let Some(until) = introductions.under_way(now) {
            return Some(until);
        }
        let (unknown, known): (Vec<_>, Vec<_>) = introductions
            .nodes
            .iter()
            .partition(|(_, node)| unknown.contains(node));
        // Who answers for somebody known, too, is a proxy.
        let known = known.into_iter().find(|(_, node)| self.fellows.is_other(node));
        let question = |(address, _): (&IpAddr, _)| {
            let announcement = Announcement {
                address: *address,
                interfaces: None,
            };
            Effect::Check(announcement, Some(mac))
        };
        let questions = unknown.into_iter().chain(known).map(question);
        self.effects.extend(questions);
        let enquiry = Enquiry {
            first: before.map_or(now, |before| before.first),
            last: now,
            times: before.map_or(0, |before| before.times) + 1,
        };
        introductions.asked.insert(mac, enquiry);
        Some(now + ANSWER)
    }

    /// A question for the address of a node has ended.
    pub(super) fn meet(&mut self, address: IpAddr, probed: ProbeResult, now: Time) {
        let introductions = &mut self.introductions;
        let Some(node) = introductions.nodes.get(&address) else {
            return;
        };
        if !self.addresses.contains_key(&address) {
            self.effects.push_back(Effect::StopProbe(address));
        }
        let ProbeResult::Answered(mac) = probed else {
            return;
        };
        let is_known = introductions.answered.contains_key(&mac);
        if !introductions.asked.contains_key(&mac) || !is_known && introductions.answered.len() >= MACHINES {
            return;
        }
        let answered = introductions.answered.entry(mac).or_default();
        if answered.insert(node.clone()) {
            self.fellows.arrange(&self.introductions, now);
            if self.fellows.get(mac).is_some() {
                // It does not know what we answer for either.
                self.reannounce_all_but(None);
            }
        }
    }
}

//! The judge: which nodes answer for which addresses, and for how long none or two did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use herald_core::Time;

use crate::seeds::trace;

/// Records which nodes answer for each address, and for how long none, or more than one on a segment, did.
#[derive(Debug, Default)]
pub struct Judge {
    answering: BTreeMap<IpAddr, BTreeSet<usize>>,
    /// The addresses that no node answers for, since when.
    unserved: BTreeMap<IpAddr, Time>,
    /// The addresses that two nodes on one segment answer for, since when.
    doubled: BTreeMap<IpAddr, Time>,
    longest_unserved: Duration,
    longest_doubled: Duration,
    taken: usize,
}

impl Judge {
    /// Starts with addresses that no node answers for.
    pub(crate) fn new(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let answering: BTreeMap<IpAddr, BTreeSet<usize>> = addresses.map(|a| (a, BTreeSet::new())).collect();
        Self {
            unserved: answering.keys().map(|address| (*address, Time::ZERO)).collect(),
            answering,
            ..Self::default()
        }
    }

    /// Records whether `node` answers for an address. `are_connected` is whether two nodes receive each other's frames.
    pub(crate) fn set(
        &mut self,
        address: IpAddr,
        node: usize,
        answers: bool,
        are_connected: impl Fn(usize, usize) -> bool,
        now: Time,
    ) {
        let Some(nodes) = self.answering.get_mut(&address) else {
            return;
        };
        let is_new = if answers {
            nodes.insert(node)
        } else {
            nodes.remove(&node)
        };
        self.taken += usize::from(is_new && answers);
        if is_new {
            trace(|| {
                format!(
                    "{:?}: {address} at {node}: {answers}, now {nodes:?}",
                    now.elapsed()
                )
            });
        }
        if is_new {
            self.evaluate(address, are_connected, now);
        }
    }

    /// Records that a node answers for no address any more.
    pub(crate) fn remove(&mut self, node: usize, are_connected: impl Fn(usize, usize) -> bool, now: Time) {
        let answering = self.answering.iter().filter(|(_, nodes)| nodes.contains(&node));
        let answering: Vec<IpAddr> = answering.map(|(address, _)| *address).collect();
        for address in answering {
            self.set(address, node, false, &are_connected, now);
        }
    }

    /// Evaluates all addresses again, because the connections of the nodes have changed.
    pub(crate) fn reevaluate(&mut self, are_connected: impl Fn(usize, usize) -> bool, now: Time) {
        let addresses: Vec<IpAddr> = self.answering.keys().copied().collect();
        for address in addresses {
            self.evaluate(address, &are_connected, now);
        }
    }

    fn evaluate(&mut self, address: IpAddr, are_connected: impl Fn(usize, usize) -> bool, now: Time) {
        let nodes = &self.answering[&address];
        let is_doubled = nodes.iter().any(|one| {
            nodes
                .iter()
                .any(|other| one < other && are_connected(*one, *other))
        });
        let (unserved, doubled) = (nodes.is_empty(), is_doubled);
        record(
            &mut self.unserved,
            &mut self.longest_unserved,
            address,
            unserved,
            now,
        );
        record(
            &mut self.doubled,
            &mut self.longest_doubled,
            address,
            doubled,
            now,
        );
    }

    /// Counts what has lasted until `now`.
    pub(crate) fn close(&mut self, now: Time) {
        let lasted =
            |since: &BTreeMap<IpAddr, Time>| since.values().min().map_or(Duration::ZERO, |at| now - *at);
        self.longest_unserved = self.longest_unserved.max(lasted(&self.unserved));
        self.longest_doubled = self.longest_doubled.max(lasted(&self.doubled));
    }

    /// Forgets all durations and counts.
    pub(crate) fn reset(&mut self, now: Time) {
        self.longest_unserved = Duration::ZERO;
        self.longest_doubled = Duration::ZERO;
        self.taken = 0;
        self.unserved.values_mut().for_each(|since| *since = now);
        self.doubled.values_mut().for_each(|since| *since = now);
    }

    /// Returns the longest time for which no node answered for an address.
    pub fn longest_unserved(&self) -> Duration {
        self.longest_unserved
    }

    /// Returns the longest time for which two nodes on one segment answered for an address.
    pub fn longest_doubled(&self) -> Duration {
        self.longest_doubled
    }

    /// Returns how often a node began to answer for an address.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Returns the nodes that answer for each address, in the order of the addresses.
    pub fn owners(&self) -> Vec<Vec<usize>> {
        self.answering
            .values()
            .map(|nodes| nodes.iter().copied().collect())
            .collect()
    }

    /// Returns how many addresses a node answers for.
    pub fn share(&self, node: usize) -> usize {
        self.answering
            .values()
            .filter(|nodes| nodes.contains(&node))
            .count()
    }
}

/// Records since when `is_so` holds for an address, and how long it did at its end.
fn record(
    since: &mut BTreeMap<IpAddr, Time>,
    longest: &mut Duration,
    address: IpAddr,
    is_so: bool,
    now: Time,
) {
    if is_so {
        since.entry(address).or_insert(now);
    } else if let Some(at) = since.remove(&address) {
        *longest = (*longest).max(now - at);
    }
}

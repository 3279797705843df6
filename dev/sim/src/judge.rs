//! Who answers for what, and whether that is as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use herald_core::Time;

use crate::seeds::trace;

/// Watches who answers for each address, and for how long nobody or more than one did.
#[derive(Debug, Default)]
pub struct Judge {
    answering: BTreeMap<IpAddr, BTreeSet<usize>>,
    /// Addresses for which another number than one of nodes answers, since when.
    unserved: BTreeMap<IpAddr, Time>,
    doubled: BTreeMap<IpAddr, Time>,
    longest_unserved: Duration,
    longest_doubled: Duration,
    taken: usize,
}

impl Judge {
    /// Nobody answers for these addresses yet.
    pub(crate) fn new(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let answering: BTreeMap<IpAddr, BTreeSet<usize>> = addresses.map(|a| (a, BTreeSet::new())).collect();
        Self {
            unserved: answering.keys().map(|address| (*address, Time::ZERO)).collect(),
            answering,
            ..Self::default()
        }
    }

    /// Node `node` answers for an address, or does not. `hears` says which two nodes hear each other.
    pub(crate) fn set(
        &mut self,
        address: IpAddr,
        node: usize,
        answers: bool,
        hears: impl Fn(usize, usize) -> bool,
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
            self.look_at(address, hears, now);
        }
    }

    /// The node answers for nothing any more.
    pub(crate) fn remove(&mut self, node: usize, hears: impl Fn(usize, usize) -> bool, now: Time) {
        let theirs = self.answering.iter().filter(|(_, nodes)| nodes.contains(&node));
        let theirs: Vec<IpAddr> = theirs.map(|(address, _)| *address).collect();
        for address in theirs {
            self.set(address, node, false, &hears, now);
        }
    }

    /// Who hears whom has changed.
    pub(crate) fn look_again(&mut self, hears: impl Fn(usize, usize) -> bool, now: Time) {
        let addresses: Vec<IpAddr> = self.answering.keys().copied().collect();
        for address in addresses {
            self.look_at(address, &hears, now);
        }
    }

    fn look_at(&mut self, address: IpAddr, hears: impl Fn(usize, usize) -> bool, now: Time) {
        let nodes = &self.answering[&address];
        let is_doubled = nodes
            .iter()
            .any(|one| nodes.iter().any(|other| one < other && hears(*one, *other)));
        let (unserved, doubled) = (nodes.is_empty(), is_doubled);
        note(
            &mut self.unserved,
            &mut self.longest_unserved,
            address,
            unserved,
            now,
        );
        note(
            &mut self.doubled,
            &mut self.longest_doubled,
            address,
            doubled,
            now,
        );
    }

    /// What has lasted until `now` counts, too.
    pub(crate) fn close(&mut self, now: Time) {
        let lasted =
            |since: &BTreeMap<IpAddr, Time>| since.values().min().map_or(Duration::ZERO, |at| now - *at);
        self.longest_unserved = self.longest_unserved.max(lasted(&self.unserved));
        self.longest_doubled = self.longest_doubled.max(lasted(&self.doubled));
    }

    /// Forgets what was.
    pub(crate) fn begin(&mut self, now: Time) {
        self.longest_unserved = Duration::ZERO;
        self.longest_doubled = Duration::ZERO;
        self.taken = 0;
        self.unserved.values_mut().for_each(|since| *since = now);
        self.doubled.values_mut().for_each(|since| *since = now);
    }

    /// How long nobody answered for an address, at worst.
    pub fn longest_unserved(&self) -> Duration {
        self.longest_unserved
    }

    /// How long two nodes that hear each other answered for an address, at worst.
    pub fn longest_doubled(&self) -> Duration {
        self.longest_doubled
    }

    /// How often a node began to answer for an address.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Who answers for each address, in order of the addresses.
    pub fn owners(&self) -> Vec<Vec<usize>> {
        self.answering
            .values()
            .map(|nodes| nodes.iter().copied().collect())
            .collect()
    }

    /// How many addresses each of these nodes answers for.
    pub fn share(&self, node: usize) -> usize {
        self.answering
            .values()
            .filter(|nodes| nodes.contains(&node))
            .count()
    }
}

fn note(since: &mut BTreeMap<IpAddr, Time>, longest: &mut Duration, address: IpAddr, holds: bool, now: Time) {
    if holds {
        since.entry(address).or_insert(now);
    } else if let Some(at) = since.remove(&address) {
        *longest = (*longest).max(now - at);
    }
}

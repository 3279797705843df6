//! Which speaker reports why a Service is not announced.
//!
//! All speakers know the reason, and one report is enough. All choose the same speaker: the first by the order of elections
//! among those that can own addresses. Only the sessions of a node tell what these cannot have: on that reports the first of the nodes
//! that nothing else keeps from announcing by BGP. While the Service is announced, this is its owner in most cases, so its status only
//! changes its condition.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

use smallvec::SmallVec;

use crate::announce::facts::Facts;
use crate::announce::layer2::election::Order;
use crate::{Member, NodeName, ServiceKey};

/// The Services that no node may announce, with the speaker that reports on each.
#[derive(Debug, Default)]
pub(super) struct Reporters {
    /// The nodes whose speakers can report.
    usable: BTreeSet<NodeName>,
    unowned: BTreeMap<ServiceKey, UnownedService>,
}

#[derive(Debug)]
struct UnownedService {
    /// The addresses that no node may announce for it. At the start of a speaker there is one for each of thousands of Services.
    addresses: SmallVec<[IpAddr; 1]>,
    /// Its first address, which is the key of the order.
    first: IpAddr,
    reporter: Option<(Order, NodeName)>,
}

impl Reporters {
    /// Adds an address that no node may announce for a Service, whose first address is `first`.
    pub(super) fn insert(&mut self, service: &ServiceKey, address: IpAddr, first: IpAddr) {
        let usable = &self.usable;
        let unowned = self.unowned.entry(service.clone());
        let unowned = unowned.or_insert_with(|| UnownedService {
            addresses: SmallVec::new(),
            first,
            reporter: first_of(usable, first),
        });
        if !unowned.addresses.contains(&address) {
            unowned.addresses.push(address);
        }
    }

    /// Removes an address that a node may announce for a Service, or that the Service no longer has.
    pub(super) fn remove(&mut self, service: &ServiceKey, address: IpAddr) {
        if let Some(unowned) = self.unowned.get_mut(service) {
            unowned.addresses.retain(|unowned| *unowned != address);
            if unowned.addresses.is_empty() {
                self.unowned.remove(service);
            }
        }
    }

    /// Replaces the first address of a Service. Returns whether another speaker may report on it now.
    pub(super) fn set_first(&mut self, service: &ServiceKey, first: IpAddr) -> bool {
        let unowned = self.unowned.get_mut(service);
        let Some(unowned) = unowned.filter(|unowned| unowned.first != first) else {
            return false;
        };
        unowned.first = first;
        unowned.reporter = first_of(&self.usable, first);
        true
    }

    /// Whether the speaker of `node` reports on a Service.
    pub(super) fn is_reporter(&self, node: &NodeName, service: &ServiceKey) -> bool {
        let service = self.unowned.get(service);
        let reporter = service.and_then(|service| service.reporter.as_ref());
        reporter.is_some_and(|(_, reporter)| reporter == node)
    }

    /// Whether the speaker of `node` is the first, for a Service with this first address, of those on nodes that `may_report`.
    pub(super) fn is_first(
        &self,
        node: &NodeName,
        first: IpAddr,
        may_report: impl Fn(&NodeName) -> bool,
    ) -> bool {
        let own = Order::new(node, first, 0);
        let mut before = self
            .usable
            .iter()
            .filter(|other| Order::new(other, first, 0) < own);
        self.usable.contains(node) && may_report(node) && !before.any(may_report)
    }

    /// Whether no node may announce a Service at one of its addresses.
    pub(super) fn has(&self, service: &ServiceKey) -> bool {
        self.unowned.contains_key(service)
    }

    /// Returns the Services that no node may announce at one of their addresses.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.unowned.keys()
    }

    /// Whether a speaker can report that could not before, or no longer can.
    pub(super) fn are_stale(&self, facts: &Facts) -> bool {
        self.usable != usable(facts)
    }

    /// Chooses again after a change of the Nodes or members. Returns the Services that `node` reports on, or no longer does.
    pub(super) fn update(&mut self, facts: &Facts, node: &NodeName) -> BTreeSet<ServiceKey> {
        let usable = usable(facts);
        let before = core::mem::replace(&mut self.usable, usable);
        let new: BTreeSet<NodeName> = self.usable.difference(&before).cloned().collect();
        let mut concerned = BTreeSet::new();
        for (key, service) in &mut self.unowned {
            let is_own = |service: &UnownedService| {
                let reporter = service.reporter.as_ref();
                reporter.is_some_and(|(_, reporter)| reporter == node)
            };
            let was_own = is_own(service);
            let current = service.reporter.take();
            let current = current.filter(|(_, reporter)| self.usable.contains(reporter));
            service.reporter = match current {
                Some(current) => first_of(&new, service.first).into_iter().chain([current]).min(),
                None => first_of(&self.usable, service.first),
            };
            if was_own || is_own(service) {
                concerned.insert(key.clone());
            }
        }
        concerned
    }
}

/// Returns the nodes whose speakers can report; without gossip every Node is assumed to have a speaker.
fn usable(facts: &Facts) -> BTreeSet<NodeName> {
    match facts.members() {
        Some(members) => {
            let usable = members.values().filter(|member| Member::is_usable(member));
            usable.map(|member| member.node.clone()).collect()
        }
        None => facts.nodes().keys().cloned().collect(),
    }
}

fn first_of(nodes: &BTreeSet<NodeName>, first: IpAddr) -> Option<(Order, NodeName)> {
    let ordered = nodes
        .iter()
        .map(|node| (Order::new(node, first, 0), node.clone()));
    ordered.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Liveness, NodeState};
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn facts(alive: &[bool]) -> Facts {
        let member = |(i, alive): (usize, &bool)| {
            let liveness = if *alive { Liveness::Alive } else { Liveness::Down };
            Member::new(name(i), liveness, NodeState::Ready)
        };
        let members: Vec<Member> = alive.iter().enumerate().map(member).collect();
        let mut facts = Facts::new(true, false);
        let _change = facts.set_members(&members);
        facts
    }

    fn name(i: usize) -> NodeName {
        format!("node-{i}").as_str().into()
    }

    proptest! {
        #[test]
        fn speakers_with_different_pasts_choose_the_same_living_reporter(
            past in prop::collection::vec(prop::collection::vec(any::<bool>(), 5), 0..6),
            now in prop::collection::vec(any::<bool>(), 5),
            bits: u32,
        ) {
            let key = ServiceKey::new("default", "web");
            let first = IpAddr::from(core::net::Ipv4Addr::from_bits(bits));
            let mut old = Reporters::default();
            old.insert(&key, first, first);
            for alive in past.iter().chain([&now]) {
                old.update(&facts(alive), &name(0));
            }
            let mut fresh = Reporters::default();
            fresh.update(&facts(&now), &name(0));
            fresh.insert(&key, first, first);
            for (i, is_alive) in now.iter().enumerate() {
                prop_assert_eq!(old.is_reporter(&name(i), &key), fresh.is_reporter(&name(i), &key));
                prop_assert!(*is_alive || !old.is_reporter(&name(i), &key));
            }
            let reporters = (0..5).filter(|i| old.is_reporter(&name(*i), &key)).count();
            prop_assert_eq!(reporters, usize::from(now.contains(&true)));
        }
    }

    #[test]
    fn a_reporter_that_dies_concerns_the_next_one_and_not_the_others() {
        let key = ServiceKey::new("default", "web");
        let first = [10, 20, 30, 1].into();
        let alive = [true, true, true];
        let mut reporters = Reporters::default();
        reporters.insert(&key, first, first);
        reporters.update(&facts(&alive), &name(0));
        let is_own = |reporters: &Reporters, i: &usize| reporters.is_reporter(&name(*i), &key);
        let reporter = (0..3).find(|i| is_own(&reporters, i)).expect("a reporter");
        let mut rest = alive;
        rest[reporter] = false;
        for i in (0..3).filter(|i| *i != reporter) {
            let mut of_node = Reporters::default();
            of_node.insert(&key, first, first);
            of_node.update(&facts(&alive), &name(i));
            let concerned = of_node.update(&facts(&rest), &name(i));
            assert_eq!(concerned.contains(&key), is_own(&of_node, &i));
        }
    }
}

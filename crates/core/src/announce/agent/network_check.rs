//! The addresses that network checks ask for.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Agent;
use crate::Family;
use crate::announce::layer2::ownership::Role;
use crate::announce::network_check::{CheckTarget, CheckTargets, MOST_FREE, MOST_IN_USE, TargetKind};
use crate::config::Pool;

/// The addresses of pools that are looked at, so that a full pool of millions takes the time of some milliseconds.
const MOST_LOOKED_AT: usize = 65_536;

impl Agent {
    /// Returns free addresses of the pools that are announced on layer 2: the lowest ones, which Services get next, of each pool as
    /// many. `can_ask` says for which addresses this node can ask.
    pub fn free_targets(&self, pools: &[Pool], can_ask: impl Fn(IpAddr) -> bool) -> CheckTargets {
        let advertisements = self.ownership.advertisements();
        let is_announced = |pool: &&Pool| advertisements.iter().any(|one| one.scope.selects_pool(pool));
        let of_nodes: BTreeSet<IpAddr> = self
            .facts
            .nodes()
            .values()
            .flat_map(|node| node.addresses.iter().copied())
            .collect();
        let is_free = |pool: &Pool, address: IpAddr| {
            let is_used = !self.facts.sharers(address).is_empty() || of_nodes.contains(&address);
            pool.owns(address) && !is_used && self.takeover.answers(address).is_none() && can_ask(address)
        };
        let mut ranges: Vec<_> = pools.iter().filter(is_announced).flat_map(positions).collect();
        let mut free = CheckTargets::default();
        let mut looked_at = 0;
        while !ranges.is_empty() {
            ranges.retain_mut(|(pool, family, positions)| {
                let next = positions.find_map(|position| {
                    looked_at += 1;
                    let address = pool.addresses.at(*family, position)?;
                    (is_free(pool, address) || looked_at >= MOST_LOOKED_AT).then_some(address)
                });
                let Some(address) =
                    next.filter(|_| looked_at < MOST_LOOKED_AT && free.targets.len() < MOST_FREE)
                else {
                    free.are_more |= next.is_some();
                    return false;
                };
                let kind = TargetKind::Free(pool.name.clone());
                free.targets.push(CheckTarget { address, kind });
                true
            });
        }
        free
    }

    /// Returns addresses of Services, spread over all: those that this node announces, and those in which it has no part. What it
    /// monitors or is about to take over is not asked for, so that no answer comes between.
    pub fn announced_targets(&self, can_ask: impl Fn(IpAddr) -> bool) -> CheckTargets {
        let all = self.facts.addresses().filter(|address| can_ask(*address));
        let all = all.filter_map(|address| {
            let kind = self.announced_kind(address)?;
            Some(CheckTarget { address, kind })
        });
        spread(all.collect())
    }

    /// Whether an address is still what it was when the check began.
    pub fn is_still(&self, target: &CheckTarget) -> bool {
        match &target.kind {
            TargetKind::Free(_) => self.facts.sharers(target.address).is_empty(),
            TargetKind::Own | TargetKind::Announced(_) => {
                self.announced_kind(target.address).as_ref() == Some(&target.kind)
            }
            TargetKind::Node(node) => {
                let node = self.facts.nodes().get(node);
                node.is_some_and(|node| node.addresses.contains(&target.address))
            }
        }
    }

    /// Returns the addresses of the other nodes.
    pub fn node_targets(&self, can_ask: impl Fn(IpAddr) -> bool) -> CheckTargets {
        let nodes = self.facts.nodes().values();
        let others = nodes.filter(|node| node.name != self.options.node);
        let of_node =
            others.flat_map(|node| node.addresses.iter().map(move |address| (&node.name, *address)));
        let mut seen = BTreeSet::new();
        let once = of_node.filter(|(_, address)| can_ask(*address) && seen.insert(*address));
        spread(
            once.map(|(node, address)| CheckTarget {
                address,
                kind: TargetKind::Node(node.clone()),
            })
            .collect(),
        )
    }

    fn announced_kind(&self, address: IpAddr) -> Option<TargetKind> {
        let roles = self.ownership.roles(address);
        match self.takeover.answers(address) {
            None => roles.iter().find_map(|(_, role)| match role {
                Role::Standby { owner, .. } => Some(TargetKind::Announced(owner.clone())),
                Role::Owner(_) | Role::Successor { .. } | Role::Backup { .. } | Role::Unowned(_) => None,
            }),
            Some(true) => {
                let is_owner = roles.iter().any(|(_, role)| matches!(role, Role::Owner(_)));
                (is_owner && self.takeover.announces(address)).then_some(TargetKind::Own)
            }
            Some(false) => None,
        }
    }
}

/// The positions of each family in the addresses of a pool.
fn positions(pool: &Pool) -> impl Iterator<Item = (&Pool, Family, core::ops::RangeInclusive<u128>)> {
    let families = [Family::V4, Family::V6].into_iter();
    families.filter_map(move |family| Some((pool, family, 0..=pool.addresses.last_position(family)?)))
}

/// Keeps [`MOST_IN_USE`] of the targets, which are as far apart as possible.
fn spread(targets: Vec<CheckTarget>) -> CheckTargets {
    let count = targets.len();
    let are_more = count > MOST_IN_USE;
    let is_kept =
        |place: usize| !are_more || place * MOST_IN_USE / count != (place + 1) * MOST_IN_USE / count;
    let kept = targets
        .into_iter()
        .enumerate()
        .filter(|(place, _)| is_kept(*place));
    CheckTargets {
        targets: kept.map(|(_, target)| target).collect(),
        are_more,
    }
}

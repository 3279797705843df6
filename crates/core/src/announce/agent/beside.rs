//! Beside MetalLB: its speakers run on the same nodes, until one takes the place of the other.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Agent, AgentReport};
use crate::announce::layer2::ownership::Role;
use crate::member::elect_as_metallb;
use crate::{Features, NodeName, ServiceKey};

/// A Service at an address for which another node is elected without MetalLB's speakers than beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionDifference {
    /// The address.
    pub address: IpAddr,
    /// The Service.
    pub service: ServiceKey,
    /// The node that is elected beside MetalLB.
    pub beside: Option<NodeName>,
    /// The node that is elected without it.
    pub alone: Option<NodeName>,
}

impl Agent {
    /// Records whether MetalLB's speakers run on the same nodes. While they do, the speakers elect as MetalLB does, and
    /// announce nothing that the MetalLB of another node answers for.
    pub fn set_beside_metallb(&mut self, is_beside: bool) {
        self.takeover.set_beside_metallb(is_beside);
        let features = Features::OF_THIS_VERSION;
        self.report(AgentReport::Features(if is_beside {
            features.with(Features::BESIDE_METALLB)
        } else {
            features
        }));
    }

    /// Records whether Pods of MetalLB's speaker exist, ready or not. Such a speaker claims addresses that it
    /// does not keep before it has joined those of other nodes, and while these stop; so each claim is contradicted at once.
    pub const fn set_has_metallb(&mut self, has_metallb: bool) {
        self.takeover.set_has_metallb(has_metallb);
    }

    /// Whether the elections are those of MetalLB, because a usable speaker runs beside it and all know what that means.
    pub fn elects_beside_metallb(&self) -> bool {
        elect_as_metallb(self.peers.members.iter())
    }

    /// Returns what the end of MetalLB's speakers will change, or their start if none runs: the addresses that another node is
    /// elected for then, as far as this node has a part in them. It decides all elections again, so do not call it often.
    pub fn election_differences(&self) -> Vec<ElectionDifference> {
        let is_beside = self.elects_beside_metallb();
        let other = self.facts.with_metallb(!is_beside);
        let node = &self.options.node;
        let mut ownership = self.ownership.of_facts(&other);
        let owner = |role: Option<&Role>| -> Option<NodeName> {
            let role = role?;
            let is_own = matches!(role, Role::Owner(_));
            role.owner().or_else(|| is_own.then_some(node)).cloned()
        };
        let mut differences = Vec::new();
        while let Some(change) = ownership.poll_change(&other) {
            let now = owner(self.ownership.role(&change.service, change.address));
            let then = owner(change.after.as_ref());
            let (beside, alone) = if is_beside { (now, then) } else { (then, now) };
            if beside != alone {
                differences.push(ElectionDifference {
                    address: change.address,
                    service: change.service,
                    beside,
                    alone,
                });
            }
        }
        differences.sort_by(|a, b| (a.address, &a.service).cmp(&(b.address, &b.service)));
        differences
    }
}

//! What an agent does about each address, for operators.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Agent;
use crate::announce::layer2::ownership::Role;
use crate::announce::layer2::takeover::AddressEvent;
use crate::{Member, ServiceKey, Time};

/// What this node does about an address in which it has a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressStage<'a> {
    /// The address.
    pub address: IpAddr,
    /// The stage of its take-over machine: `Monitoring`, `Probing`, `Deferred`, `Active` or `HandingOver`.
    pub stage: &'static str,
    /// Whether this node answers.
    pub answers: bool,
    /// Since when.
    pub since: Time,
    /// The Services at the address, with the roles of this node.
    pub roles: &'a [(ServiceKey, Role)],
    /// What keeps the elected node from announcing the address.
    pub obstacle: Option<AddressEvent>,
}

impl Agent {
    /// Returns the addresses in which this node has a part, in ascending order.
    pub fn stages(&self) -> Vec<AddressStage<'_>> {
        let machines = self.takeover.stages();
        let stage = |(address, stage, answers, since)| AddressStage {
            address,
            stage,
            answers,
            since,
            roles: self.ownership.roles(address),
            obstacle: self.takeover.obstacle(address),
        };
        machines.map(stage).collect()
    }

    /// Returns the members.
    pub fn members(&self) -> &[Member] {
        &self.peers.members
    }
}

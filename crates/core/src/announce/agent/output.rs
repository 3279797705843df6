//! What the agent reports to membership, and to users and operators.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::announce::layer2::ownership::Role;
use crate::announce::layer2::takeover::AddressEvent;
use crate::{Features, NodeName, NodeState, ServiceKey};

/// What the agent reports to membership, which disseminates it to the peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentReport {
    /// The state of this speaker.
    State(NodeState),
    /// The nodes ([`NodeName::tag`]) that do not answer on the wire, so that this node answers for them.
    Unresponsive(Vec<u32>),
    /// What this speaker can do, and whether MetalLB's speakers run on the same nodes.
    Features(Features),
    /// This node was unplugged and is back.
    Flapped,
    /// A peer has reported that this node does not answer on the wire.
    ReportedUnresponsive,
    /// A question to a peer: whether it announces an address. [`Agent::handle_reply`](super::Agent::handle_reply) has the answer.
    QueryPeer {
        /// The peer.
        peer: NodeName,
        /// The address.
        address: IpAddr,
    },
    /// The answer to the question of a peer.
    ReplyToPeer {
        /// The peer.
        peer: NodeName,
        /// The address.
        address: IpAddr,
        /// Whether this node announces it.
        announces: bool,
    },
}

/// What users and operators should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// The role of this node for a Service at an address has changed; `None` if the Service is gone or no longer has the
    /// address.
    RoleChanged(ServiceKey, IpAddr, Option<Role>),
    /// This node announces an address for a Service.
    Announced {
        /// The Service.
        service: ServiceKey,
        /// The address.
        address: IpAddr,
        /// Whether this node has announced no other address of the Service before.
        is_first: bool,
    },
    /// This node no longer announces an address for a Service.
    Withdrawn(ServiceKey, IpAddr),
    /// This node has taken an address from an owner that failed, this long after the first sign of the failure.
    TookOver(IpAddr, Duration),
    /// The wire shows something about an address that membership does not.
    Address(IpAddr, AddressEvent),
    /// This peer has reported that this node does not answer on the wire.
    ReportedUnresponsive(NodeName),
    /// Whether gossip is blocked has changed; `None` is unknown.
    GossipBlocked {
        /// What was known before.
        before: Option<bool>,
        /// What is known now.
        after: Option<bool>,
    },
}

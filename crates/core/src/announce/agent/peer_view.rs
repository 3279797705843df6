//! The other speakers as an agent knows them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::announce::layer2::reachability::{PeerCounts, Reachability};
use crate::{Liveness, Member, NodeName};

/// The node of a speaker's Pod, as the API server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeakerNode {
    /// The address of the node.
    pub address: IpAddr,
    /// Whether the Pod is ready.
    pub is_ready: bool,
}

/// The other speakers by membership and by the API server.
#[derive(Debug, Default)]
pub(super) struct PeerView {
    pub(super) members: Arc<[Member]>,
    pub(super) nodes: BTreeMap<NodeName, SpeakerNode>,
    pub(super) reachability: Reachability,
    /// Whether the counts for [`Reachability`] may have changed.
    pub(super) is_stale: bool,
    /// Whether a peer reports that this node is unresponsive.
    pub(super) is_reported: bool,
    /// The unresponsive nodes, as reported to membership.
    pub(super) unresponsive: BTreeSet<NodeName>,
}

impl PeerView {
    /// Counts the peers of `own_node` by evidence; `answering` are those that are down by membership and answer on the wire.
    pub(super) fn counts(&self, own_node: &NodeName, answering: usize) -> PeerCounts {
        let members = self.members.iter();
        let reached = members.filter(|member| member.liveness != Liveness::Down);
        let reached: BTreeSet<&NodeName> = reached.map(|member| &member.node).collect();
        let ready = self.nodes.iter().filter(|(_, node)| node.is_ready);
        let ready = ready.map(|(name, _)| name);
        let ready: BTreeSet<&NodeName> = ready.filter(|node| *node != own_node).collect();
        PeerCounts {
            reached: ready.intersection(&reached).count(),
            ready: ready.len(),
            answering,
        }
    }
}

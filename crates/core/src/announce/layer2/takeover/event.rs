//! Events of an address for users and operators.

use core::fmt;

use crate::{MacAddr, NodeName};

/// What a speaker observed of an address on the wire and membership did not report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressEvent {
    /// A foreign host answers for the address, so it is not announced until that host stops. The message has the MAC address of
    /// the host.
    Conflict(MacAddr),
    /// A foreign host answers for the address, which is announced nevertheless: the pool allows it, or this cluster announced
    /// the address already.
    Duplicate(MacAddr),
    /// A foreign host probes for the address, or machines with ever changing MAC addresses answer for it: they delay the
    /// take-over by a second at most, and those that only probe do not delay it where the address was announced lately.
    Contended(MacAddr),
    /// The foreign host no longer answers, or was identified as a peer.
    Resolved,
    /// A foreign host announces an active address, which this node defends.
    Challenged(MacAddr),
    /// A peer that membership considers down still answers: it keeps the address.
    Deferred(NodeName),
    /// A peer that membership considers down still answers after five seconds, and this node sees at most half of the speakers
    /// alive: the peer keeps the address.
    Delayed(NodeName),
    /// Beside MetalLB: a living peer answers for the address or claims it, and says that it does not announce it, so MetalLB
    /// announces it there. A node that does not announce it yet leaves it there.
    AnsweredByMetalLb(NodeName),
    /// Two living speakers both announced the address for four seconds, as each told the other in a sealed datagram: the first of
    /// them by name keeps it.
    Disputed(NodeName),
    /// A machine announces an active address with the MAC address of a living peer, which does not announce it. This node
    /// defends the address.
    ForeignClaim {
        /// The MAC address.
        mac: MacAddr,
        /// The peer.
        node: NodeName,
    },
    /// A machine still answers for a peer that the majority of speakers considers down: this node takes the address.
    TakeoverForced(NodeName),
    /// A lost peer announces an active address, and has the better rank or this node is in the minority: this node stops
    /// and probes again.
    Preempted(NodeName),
    /// The owner is alive by membership but does not answer: this node is the acting owner.
    OwnerUnresponsive(NodeName),
    /// The owner is alive by membership but has never answered this node, which therefore takes nothing from it.
    OwnerUnheard(NodeName),
    /// The elected owner answers again and gets the address back.
    OwnerRecovered(NodeName),
}

impl AddressEvent {
    /// Returns one value of each variant, for tests and documents.
    pub fn examples() -> [Self; 15] {
        let node = || NodeName::from("node-1");
        [
            Self::Conflict(MacAddr::ZERO),
            Self::Duplicate(MacAddr::ZERO),
            Self::Contended(MacAddr::ZERO),
            Self::Resolved,
            Self::Challenged(MacAddr::ZERO),
            Self::Deferred(node()),
            Self::Delayed(node()),
            Self::AnsweredByMetalLb(node()),
            Self::Disputed(node()),
            Self::ForeignClaim {
                mac: MacAddr::ZERO,
                node: node(),
            },
            Self::TakeoverForced(node()),
            Self::Preempted(node()),
            Self::OwnerUnresponsive(node()),
            Self::OwnerUnheard(node()),
            Self::OwnerRecovered(node()),
        ]
    }

    /// Returns the CamelCase word that is the reason of Kubernetes events and the label of metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "AddressConflict",
            Self::Duplicate(_) => "AddressDuplicate",
            Self::Contended(_) => "TakeoverContended",
            Self::Resolved => "AddressConflictResolved",
            Self::Challenged(_) => "AddressChallenged",
            Self::Deferred(_) => "TakeoverDeferred",
            Self::Delayed(_) => "TakeoverDelayed",
            Self::AnsweredByMetalLb(_) => "AnsweredByMetalLB",
            Self::Disputed(_) => "AddressDisputed",
            Self::ForeignClaim { .. } => "ForeignClaim",
            Self::TakeoverForced(_) => "TakeoverForced",
            Self::Preempted(_) => "AddressYielded",
            Self::OwnerUnresponsive(_) => "OwnerSilent",
            Self::OwnerUnheard(_) => "OwnerUnheard",
            Self::OwnerRecovered(_) => "OwnerAnswers",
        }
    }

    /// Whether users of the Service should see the event, and not only operators of the cluster.
    pub const fn concerns_users(&self) -> bool {
        match self {
            Self::Conflict(_)
            | Self::Duplicate(_)
            | Self::Contended(_)
            | Self::Resolved
            | Self::Challenged(_)
            | Self::Delayed(_)
            | Self::Disputed(_)
            | Self::ForeignClaim { .. }
            | Self::OwnerUnresponsive(_)
            | Self::OwnerUnheard(_)
            | Self::OwnerRecovered(_) => true,
            Self::Deferred(_) | Self::AnsweredByMetalLb(_) | Self::TakeoverForced(_) | Self::Preempted(_) => {
                false
            }
        }
    }

    /// Whether the condition of the Service has the event's reason, too, while the address is not announced by its elected owner.
    pub const fn is_obstacle(&self) -> bool {
        matches!(
            self,
            Self::Conflict(_)
                | Self::Delayed(_)
                | Self::AnsweredByMetalLb(_)
                | Self::Disputed(_)
                | Self::OwnerUnresponsive(_)
                | Self::OwnerUnheard(_)
        )
    }

    /// Whether the event reports the end of a problem.
    pub const fn is_recovery(&self) -> bool {
        matches!(self, Self::Resolved | Self::OwnerRecovered(_))
    }

    /// Whether two machines were seen to answer for the address.
    pub const fn has_two_owners(&self) -> bool {
        match self {
            Self::Duplicate(_)
            | Self::Challenged(_)
            | Self::Disputed(_)
            | Self::ForeignClaim { .. }
            | Self::Preempted(_) => true,
            Self::Conflict(_)
            | Self::Contended(_)
            | Self::Resolved
            | Self::Deferred(_)
            | Self::Delayed(_)
            | Self::AnsweredByMetalLb(_)
            | Self::TakeoverForced(_)
            | Self::OwnerUnresponsive(_)
            | Self::OwnerUnheard(_)
            | Self::OwnerRecovered(_) => false,
        }
    }
}

impl fmt::Display for AddressEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(mac) => write!(
                f,
                "not announced: another machine, {mac}, answers for it; free the address there or take it out of the pool"
            ),
            Self::Duplicate(mac) => write!(
                f,
                "another machine, {mac}, answers for it, too; it is announced nevertheless"
            ),
            Self::Contended(mac) => write!(
                f,
                "another machine, {mac}, tries to get it; this node takes it within a second nevertheless"
            ),
            Self::Resolved => f.write_str("no foreign host answers for it any more"),
            Self::Challenged(mac) => {
                write!(
                    f,
                    "another machine, {mac}, announces it, too; this node defends it"
                )
            }
            Self::Deferred(node) => write!(
                f,
                "gossip considers node {node} down, but it still answers for it"
            ),
            Self::Delayed(node) => write!(
                f,
                "not announced from here: gossip considers node {node} down, but a machine still answers for it"
            ),
            Self::AnsweredByMetalLb(node) => write!(
                f,
                "MetalLB has elected node {node} and announces it there, while Herald has elected this node"
            ),
            Self::Disputed(node) => write!(
                f,
                "node {node} and this node have both announced it for some seconds; the first of them by name keeps it"
            ),
            Self::ForeignClaim { mac, node } => write!(
                f,
                "a machine announces it with the MAC address {mac} of node {node}, which does not announce it; this node defends it"
            ),
            Self::TakeoverForced(node) => write!(
                f,
                "a machine still answers for node {node}, which most speakers consider down; this node takes it"
            ),
            Self::Preempted(node) => {
                write!(
                    f,
                    "left to node {node}, which announces it and has the better rank"
                )
            }
            Self::OwnerUnresponsive(node) => write!(
                f,
                "node {node} does not answer for it although its speaker is alive; this node answers instead"
            ),
            Self::OwnerUnheard(node) => write!(
                f,
                "node {node} is to answer for it, but the backup receives no answer; either the node does not answer, or \
                 the network keeps the frames of the nodes from each other"
            ),
            Self::OwnerRecovered(node) => write!(f, "node {node} answers for it again"),
        }
    }
}

//! The role of one node for a Service at one address.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::net::IpAddr;

use crate::announce::eligibility::Exclusion;
use crate::config::ConflictDetection;
use crate::{NodeName, ServiceKey};

/// What the election of an address makes of this node for a Service that has the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// This node is the owner.
    Owner(Grant),
    /// The owner is suspect, and this node is the first candidate after it: it takes the address if the owner does not answer.
    Successor {
        /// The suspect owner.
        of: NodeName,
        /// What this node takes then.
        grant: Grant,
    },
    /// This node has the second rank: it monitors the owner.
    Backup {
        /// The owner.
        of: NodeName,
        /// What this node monitors, and takes if the owner does not answer.
        grant: Grant,
    },
    /// Another node is the owner, and this node has no part.
    Standby {
        /// The owner.
        owner: NodeName,
        /// The backup, if there is one.
        backup: Option<NodeName>,
    },
    /// No node may announce the Service, or this node is elected and cannot.
    Unowned(Exclusion),
}

/// What this node may announce for a Service, after it has probed the address ([`crate::announce::layer2::takeover`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The address.
    pub address: IpAddr,
    /// The interfaces that answer; `None` is all.
    pub interfaces: Option<BTreeSet<String>>,
    /// What to do about a foreign host that has the address.
    pub conflict_detection: ConflictDetection,
}

impl Role {
    /// Returns the name of the role.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Owner(_) => "Owner",
            Self::Successor { .. } => "Successor",
            Self::Backup { .. } => "Backup",
            Self::Standby { .. } => "Standby",
            Self::Unowned(_) => "Unowned",
        }
    }

    /// Returns what this node is to announce, or would be the next to announce.
    pub const fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Owner(grant) | Self::Successor { grant, .. } | Self::Backup { grant, .. } => Some(grant),
            Self::Standby { .. } | Self::Unowned(_) => None,
        }
    }

    /// Returns the other node that should answer.
    pub const fn owner(&self) -> Option<&NodeName> {
        match self {
            Self::Successor { of: owner, .. }
            | Self::Backup { of: owner, .. }
            | Self::Standby { owner, .. } => Some(owner),
            Self::Owner(_) | Self::Unowned(_) => None,
        }
    }

    /// Whether the role may change when these nodes change.
    pub(super) fn depends_on(&self, nodes: &BTreeSet<NodeName>, own_node: &NodeName) -> bool {
        match self {
            Self::Owner(_) => nodes.contains(own_node),
            Self::Standby { owner, backup } => {
                nodes.contains(owner) || backup.as_ref().is_some_and(|backup| nodes.contains(backup))
            }
            Self::Successor { of: owner, .. } | Self::Backup { of: owner, .. } => {
                nodes.contains(owner) || nodes.contains(own_node)
            }
            // This node may have been elected although it lacks the interface.
            Self::Unowned(_) => nodes.contains(own_node),
        }
    }
}

/// A changed role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChange {
    /// The Service.
    pub service: ServiceKey,
    /// The address.
    pub address: IpAddr,
    /// The role until now; `None` for a new Service or address.
    pub before: Option<Role>,
    /// The role now; `None` if the Service is gone or no longer has the address.
    pub after: Option<Role>,
}

//! What becomes of a Service, as one node sees it.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::announce::eligibility::Exclusion;
use crate::config::ConflictDetection;
use crate::{NodeName, ServiceKey};

/// Who owns the addresses of a Service, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This node.
    Owner(Claim),
    /// This node, should the one that is suspected to be dead turn out to be.
    Heir {
        /// The suspect.
        of: NodeName,
        /// What this node takes then.
        claim: Claim,
    },
    /// This node comes next after the owner, and watches that it answers.
    Deputy {
        /// The owner.
        of: NodeName,
        /// What this node watches, and takes if the owner does not answer.
        claim: Claim,
    },
    /// Another node.
    Standby {
        /// The owner.
        owner: NodeName,
        /// Who comes next after it.
        deputy: Option<NodeName>,
    },
    /// Nobody, or this node cannot although it should.
    Unowned(Exclusion),
}

/// What this node is to answer for, once it has made sure that nobody else does ([`crate::announce::layer2::takeover`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The Service's addresses.
    pub addresses: Vec<IpAddr>,
    /// The interfaces that answer; `None` is all.
    pub interfaces: Option<BTreeSet<String>>,
    /// What to do about a machine that has one of the addresses already.
    pub conflict_detection: ConflictDetection,
}

impl Verdict {
    /// What this node is to answer for.
    pub const fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Owner(claim) | Self::Heir { claim, .. } => Some(claim),
            Self::Deputy { .. } | Self::Standby { .. } | Self::Unowned(_) => None,
        }
    }

    /// What this node is to answer for, or would be next.
    pub const fn interest(&self) -> Option<&Claim> {
        match self {
            Self::Owner(claim) | Self::Heir { claim, .. } | Self::Deputy { claim, .. } => Some(claim),
            Self::Standby { .. } | Self::Unowned(_) => None,
        }
    }

    /// Whether it may be another one when these nodes are others.
    pub(super) fn names_any_of(&self, nodes: &BTreeSet<NodeName>, me: &NodeName) -> bool {
        match self {
            Self::Owner(_) => nodes.contains(me),
            Self::Standby { owner, deputy } => {
                nodes.contains(owner) || deputy.as_ref().is_some_and(|deputy| nodes.contains(deputy))
            }
            Self::Heir { of: owner, .. } | Self::Deputy { of: owner, .. } => {
                nodes.contains(owner) || nodes.contains(me)
            }
            // This node may have been the one elected, without an interface.
            Self::Unowned(_) => nodes.contains(me),
        }
    }

    /// The other node that should answer.
    pub const fn owner(&self) -> Option<&NodeName> {
        match self {
            Self::Heir { of: owner, .. } | Self::Deputy { of: owner, .. } | Self::Standby { owner, .. } => {
                Some(owner)
            }
            Self::Owner(_) | Self::Unowned(_) => None,
        }
    }
}

/// A changed verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The Service.
    pub service: ServiceKey,
    /// What held until now; `None` for a new Service.
    pub before: Option<Verdict>,
    /// What holds now; `None` if the Service is gone.
    pub after: Option<Verdict>,
}

//! What users and operators are told of an address.

use core::fmt;

use crate::{MacAddr, NodeName};

/// What the wire said that gossip did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A machine that is none of ours answers for the address: it is not announced.
    Conflict(MacAddr),
    /// The same, but the pool says to announce it all the same.
    Duplicate(MacAddr),
    /// The stranger is gone, or has turned out to be a fellow.
    Resolved,
    /// A machine that is none of ours announces an address that we hold, and we defend it.
    Challenged(MacAddr),
    /// A fellow that gossip has lost still answers: it keeps the address.
    Deferred(NodeName),
    /// A fellow still answers, but most agree that it is dead: we take the address.
    Overruled(NodeName),
    /// A fellow claims an address that we hold, and it comes first.
    Yielded(NodeName),
    /// The owner is well by gossip but does not answer: we do in its stead.
    StoodIn(NodeName),
    /// The one that is elected answers again, and gets the address back.
    Relieved(NodeName),
}

impl Report {
    /// One CamelCase word: reason of events, label of metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "AddressConflict",
            Self::Duplicate(_) => "AddressDuplicate",
            Self::Resolved => "AddressConflictResolved",
            Self::Challenged(_) => "AddressChallenged",
            Self::Deferred(_) => "TakeoverDeferred",
            Self::Overruled(_) => "TakeoverForced",
            Self::Yielded(_) => "AddressYielded",
            Self::StoodIn(_) => "OwnerSilent",
            Self::Relieved(_) => "OwnerAnswers",
        }
    }

    /// Whether users of the Service should hear of it, and not only operators of the cluster.
    pub const fn concerns_users(&self) -> bool {
        match self {
            Self::Conflict(_)
            | Self::Duplicate(_)
            | Self::Resolved
            | Self::Challenged(_)
            | Self::StoodIn(_)
            | Self::Relieved(_) => true,
            Self::Deferred(_) | Self::Overruled(_) | Self::Yielded(_) => false,
        }
    }

    /// Whether it is good news.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Resolved | Self::Relieved(_))
    }

    /// Whether two machines were seen to answer for the address.
    pub const fn is_of_two(&self) -> bool {
        match self {
            Self::Duplicate(_) | Self::Challenged(_) | Self::Yielded(_) => true,
            Self::Conflict(_)
            | Self::Resolved
            | Self::Deferred(_)
            | Self::Overruled(_)
            | Self::StoodIn(_)
            | Self::Relieved(_) => false,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(mac) => write!(
                f,
                "not announced: another machine, {}, answers for it; free the address there or take it out of the pool",
                mac
            ),
            Self::Duplicate(mac) => write!(
                f,
                "another machine, {}, answers for it, too; it is announced all the same, as the pool says",
                mac
            ),
            Self::Resolved => f.write_str("no foreign machine answers for it any more"),
            Self::Challenged(mac) => write!(f, "another machine, {}, announces it, too; it is defended", mac),
            Self::Deferred(node) => write!(f, "gossip has lost node {node}, but it still answers for it"),
            Self::Overruled(node) => {
                write!(
                    f,
                    "somebody still answers for node {node}, which most speakers take for dead"
                )
            }
            Self::StoodIn(node) => write!(
                f,
                "node {node} does not answer for it although its speaker lives; this node answers in its stead"
            ),
            Self::Relieved(node) => write!(f, "node {node} answers for it again"),
            Self::Yielded(node) => write!(f, "left to node {node}, which announces it and comes first"),
        }
    }
}

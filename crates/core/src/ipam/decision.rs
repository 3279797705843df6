//! Decisions of the allocator: the addresses of a Service or the reason why it has none, and what to report.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::external::{ExternalUser, describe_use};
use super::refusal::{Refusal, quoted};
use crate::address::Capacity;
use crate::{Addresses, PoolName, ServiceKey};

/// The desired status of a Service. It is in force until the next decision on the Service, until the Service is removed,
/// or until the allocator is deactivated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The Service.
    pub service: ServiceKey,
    /// Its addresses, or why it has none.
    pub outcome: AllocationOutcome,
    /// What is not as it should be although the Service has addresses: the last note that lasts ([`Note::lasts`]).
    pub caveat: Option<Note>,
    /// What to report to the user; each note is one event. Contains `caveat`.
    pub notes: Vec<Note>,
}

/// The addresses of a Service, or the reason why it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllocationOutcome {
    /// The status must have exactly these addresses in this order, and the annotation this pool.
    Assigned(Assignment),
    /// The status must be empty, and the annotation absent.
    Unassigned(Refusal),
}

/// The addresses of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// One address, or one of each family; the first one decides which node announces the Service.
    pub addresses: Addresses,
    /// The pool of all these addresses.
    pub pool: PoolName,
}

/// Something to report to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The Service was given addresses.
    Assigned(Addresses),
    /// A dual-stack Service was given the address it still lacked.
    AdditionalAssigned(IpAddr),
    /// A dual-stack Service has one address and cannot have the other yet.
    AdditionalUnavailable(Refusal),
    /// The Service lost an address that is in no pool any more, or that it may no longer share. It gets another one if there is one.
    Cleared {
        /// The addresses that it lost.
        addresses: Addresses,
        /// The reason.
        because: Refusal,
    },
    /// The request of the Service cannot be met now, or its pool is no longer open to it; it keeps its addresses.
    Kept {
        /// The addresses that it keeps.
        addresses: Addresses,
        /// The reason why the request cannot be met.
        because: Refusal,
    },
    /// An address of the Service has another user: a Service by `spec.externalIPs` or through another load balancer, or a node
    /// (`AddressOfNode`). The Service keeps it. A new Service gets such an address only on request, or when nothing else is free.
    UsedExternally {
        /// The address.
        address: IpAddr,
        /// Who uses it.
        user: ExternalUser,
        /// The Service that has it.
        service: ServiceKey,
    },
    /// The status had addresses that no Service can have, such as three, or two of one family. They are replaced.
    UnreadableStatus(Addresses),
}

/// How many addresses of a pool are in use. All numbers saturate at [`Capacity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Distinct IPv4 addresses in use.
    pub assigned_v4: u128,
    /// Distinct IPv6 addresses in use.
    pub assigned_v6: u128,
    /// IPv4 addresses that are free.
    pub available_v4: u128,
    /// IPv6 addresses that are free.
    pub available_v6: u128,
    /// All addresses that the pool can give out.
    pub capacity: Capacity,
}

impl Note {
    /// Returns the event reason: MetalLB's where it has one.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Assigned(_) | Self::AdditionalAssigned(_) => "IPAllocated",
            Self::AdditionalUnavailable(_) => "AdditionalAssignFailed",
            Self::Cleared { .. } => "ClearAssignment",
            Self::Kept {
                because: Refusal::InvalidRequest(_),
                ..
            } => "LoadBalancerFailed",
            Self::Kept { .. } => "RequestNotMet",
            Self::UsedExternally {
                user: ExternalUser::Node(_),
                ..
            } => "AddressOfNode",
            Self::UsedExternally { .. } => "AddressUsedElsewhere",
            Self::UnreadableStatus(_) => "nolbIPsIPFamily",
        }
    }

    /// Returns whether the event is a warning.
    pub const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Kept { .. } | Self::UsedExternally { .. } | Self::UnreadableStatus(_)
        )
    }

    /// Returns whether the note describes a state that lasts, not something that happened once. A lasting note is part of
    /// each decision as long as it is true.
    pub const fn lasts(&self) -> bool {
        matches!(
            self,
            Self::Kept { .. } | Self::UsedExternally { .. } | Self::AdditionalUnavailable(_)
        )
    }
}

impl fmt::Display for Note {
    /// Writes the message of the event. Names Services of another namespace only in the alternate form (`{:#}`), which is for
    /// operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assigned(addresses) => write!(f, "Assigned IP {}", quoted(addresses)),
            Self::AdditionalAssigned(address) => write!(f, "Assigned additional IP \"{address}\""),
            Self::AdditionalUnavailable(because) => {
                write!(f, "cannot assign additional IP for dual stack: {because}")
            }
            Self::Cleared { addresses, because } => write!(
                f,
                "current IP {} not allowed by config, will attempt for new IP assignment: {because}",
                quoted(addresses)
            ),
            Self::Kept {
                addresses,
                because: because @ Refusal::PoolNotCompatible(_),
            } => write!(
                f,
                "keeping {}, which is in use; a new Service like this one would not get it: {because}",
                quoted(addresses)
            ),
            Self::Kept { addresses, because } => {
                write!(
                    f,
                    "keeping {} until the request can be met: {because}",
                    quoted(addresses)
                )
            }
            Self::UsedExternally {
                address,
                user,
                service,
            } => describe_use(f, *address, user, service),
            Self::UnreadableStatus(addresses) => write!(
                f,
                "Failed to retrieve LBIPs IPFamily for {}: there must be one address, or one of each family",
                quoted(addresses)
            ),
        }
    }
}

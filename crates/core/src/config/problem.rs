//! What can be wrong with a resource, and where.

use alloc::string::String;
use core::fmt;

use crate::address::AddressError;
use crate::{PoolName, SelectorError};

/// Something wrong with one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// Where in it, such as `spec.addresses[1]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub error: ConfigError,
    /// Whether an older, good version of the resource stays in force meanwhile.
    pub older_in_force: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            field,
            error,
            ..
        } = self;
        write!(f, "{kind} {name:?}: {field}: {error}")?;
        if self.older_in_force {
            f.write_str(" (its last good version stays in force)")?;
        }
        Ok(())
    }
}

/// Kinds of resources that are configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `IPAddressPool`.
    Pool,
    /// `L2Advertisement`.
    L2Advertisement,
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
        })
    }
}

/// Why a resource cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The pool has no name.
    #[error("missing pool name")]
    MissingName,
    /// `addresses` is empty.
    #[error("pool has no prefixes defined; list at least one CIDR or range")]
    NoAddresses,
    /// An entry of `addresses` cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Two resources of one kind have the same name.
    #[error("duplicate definition of {kind} {name:?}; names must be unique")]
    DuplicateResource {
        /// Their kind.
        kind: ResourceKind,
        /// Their name.
        name: String,
    },
    /// Two entries of `addresses` have addresses in common.
    #[error(
        "CIDR \"{entry}\" in pool \"{pool}\" overlaps with already defined CIDR \"{other}\" of pool \"{other_pool}\"; \
         an address may be in one pool only, and only once"
    )]
    Overlap {
        /// The entry as written.
        entry: String,
        /// The pool it is in.
        pool: PoolName,
        /// The other entry as written.
        other: String,
        /// The pool that the other entry is in.
        other_pool: PoolName,
    },
    /// A name stands twice in `serviceAllocation.namespaces`.
    #[error("duplicate definition in namespaces field: {0:?}; name each namespace once")]
    DuplicateNamespace(String),
    /// A pool stands twice in `ipAddressPools`.
    #[error("duplicate definition of ipAddressPools {0:?}; name each pool once")]
    DuplicatePoolReference(String),
    /// A selector stands twice in a list of selectors.
    #[error("duplicate definition of {0}; remove one of the two")]
    DuplicateSelector(&'static str),
    /// A selector cannot be used.
    #[error("{context}: {error}")]
    Selector {
        /// What the selector is for, in MetalLB's words.
        context: &'static str,
        /// What is wrong with it.
        error: SelectorError,
    },
    /// `quota.perNamespace` is negative.
    #[error("quota.perNamespace is {0}; it must be 0 or more")]
    NegativeQuota(i64),
    /// A reservation's address cannot be read.
    #[error("invalid address {0:?}; write a bare address such as 192.168.10.7")]
    ReservationAddress(String),
    /// A reservation's address is not one that the pool gives out.
    #[error("address {0} is not one that this pool gives out; reserve an address of spec.addresses")]
    ReservationOutside(core::net::IpAddr),
    /// Two reservations of one address.
    #[error("address {0} is reserved twice; reserve it once")]
    DuplicateReservation(core::net::IpAddr),
    /// A reservation names no Service.
    #[error("namespace and service must both be set")]
    ReservationIncomplete,
}

//! The problems that a resource can have.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::bgp::BgpError;
use crate::address::AddressError;
use crate::{PoolName, SelectorError};

/// One error in a resource, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem<K = ResourceKind> {
    /// The kind of the resource.
    pub kind: K,
    /// The name of the resource.
    pub name: String,
    /// The field, such as `spec.addresses[1]`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub error: ConfigError,
    /// Whether an older, good version of the resource stays in force.
    pub older_in_force: bool,
}

/// The errors of one resource, each with its field.
pub(super) type ConfigErrors = Vec<(String, ConfigError)>;

impl<K: Copy> Problem<K> {
    /// Creates the problems of one resource.
    pub(super) fn all(kind: K, name: &str, errors: &ConfigErrors, older_in_force: bool) -> Vec<Self> {
        let problem = |(field, error): &(String, ConfigError)| Self {
            kind,
            name: name.to_string(),
            field: field.clone(),
            error: error.clone(),
            older_in_force,
        };
        errors.iter().map(problem).collect()
    }
}

impl<K: fmt::Display> fmt::Display for Problem<K> {
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

impl ConfigError {
    /// Returns whether another resource is the reason: without it, this one could be used as it is written.
    pub fn is_of_another_resource(&self) -> bool {
        matches!(self, Self::Overlap { pool, other_pool, .. } if pool != other_pool)
    }
}

/// The kind of a resource that is configuration.
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

/// The reason why a resource cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The pool has no name.
    #[error("missing pool name")]
    MissingName,
    /// `addresses` is empty.
    #[error("pool has no prefixes defined; list at least one CIDR or range")]
    NoAddresses,
    /// An entry of `addresses` cannot be parsed.
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
        /// The other entry.
        other: String,
        /// The pool that the other entry is in.
        other_pool: PoolName,
    },
    /// A name occurs twice in `serviceAllocation.namespaces`.
    #[error("duplicate definition in namespaces field: {0:?}; name each namespace once")]
    DuplicateNamespace(String),
    /// A pool occurs twice in `ipAddressPools`.
    #[error("duplicate definition of ipAddressPools {0:?}; name each pool once")]
    DuplicatePoolReference(String),
    /// A selector occurs twice in a list of selectors.
    #[error("duplicate definition of {0}; remove one of the two")]
    DuplicateSelector(&'static str),
    /// A selector cannot be used.
    #[error("{context}: {error}")]
    Selector {
        /// The purpose of the selector, in MetalLB's words.
        context: &'static str,
        /// The mistake.
        error: SelectorError,
    },
    /// `quota.perNamespace` is negative.
    #[error("quota.perNamespace is {0}; it must be 0 or more")]
    NegativeQuota(i64),
    /// The address of a reservation cannot be parsed.
    #[error("invalid address {0:?}; write a bare address such as 192.168.10.7")]
    ReservationAddress(String),
    /// The pool does not give out the address of a reservation.
    #[error("address {0} is not one that this pool gives out; reserve an address of spec.addresses")]
    ReservationOutside(core::net::IpAddr),
    /// One address is reserved twice.
    #[error("address {0} is reserved twice; reserve it once")]
    DuplicateReservation(core::net::IpAddr),
    /// A reservation does not name a Service.
    #[error("namespace and service must both be set")]
    ReservationIncomplete,
    /// A mistake that only a resource of BGP can have.
    #[error(transparent)]
    Bgp(#[from] BgpError),
}

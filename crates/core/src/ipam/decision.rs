//! What is decided for a Service, and why.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::address::Capacity;
use crate::{Addresses, Family, PoolName, Port, RequestError, ServiceKey};

/// What the status of a Service must say from now on. It stays in force until the next decision on the Service, until
/// the Service is removed, or until the allocator is deactivated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The Service.
    pub service: Arc<ServiceKey>,
    /// Its addresses, or why it has none.
    pub outcome: AllocationOutcome,
    /// The lasting note that the status shows beside the outcome, if there is one (see [`Note::lasts`]).
    pub unmet: Option<Note>,
    /// What to report to the user; each note is one event. Contains `unmet`.
    pub notes: Vec<Note>,
}

/// Addresses, or why there are none.
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
    /// One address, or one of each family; the first decides who announces the Service.
    pub addresses: Addresses,
    /// The pool that all of them are from.
    pub pool: PoolName,
}

/// Something the user should hear about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The Service was given these addresses anew.
    Assigned(Addresses),
    /// A dual-stack Service was given the address it still lacked.
    AdditionalAssigned(IpAddr),
    /// A dual-stack Service has one address and cannot have the other yet.
    AdditionalUnavailable(Refusal),
    /// The addresses that the Service had may not stay.
    Cleared {
        /// The addresses taken away.
        addresses: Addresses,
        /// Why.
        because: Refusal,
    },
    /// What the Service asks for cannot be had now; it keeps the addresses it has until then.
    Kept {
        /// The addresses it keeps.
        addresses: Addresses,
        /// Why the request cannot be met.
        because: Refusal,
    },
    /// The status had addresses that no Service can have, such as three, or two of one family.
    UnreadableStatus(Addresses),
}

/// Why a Service does not get what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no pool at all.
    NoPool,
    /// No pool is open to this Service without being asked for.
    NoPoolMatchesService,
    /// The pool asked for does not exist.
    PoolUnknown(PoolName),
    /// The pool's `serviceAllocation` keeps the Service out.
    PoolNotCompatible(PoolName),
    /// The addresses asked for are not in the pool asked for.
    PoolMismatch {
        /// The addresses asked for.
        addresses: Addresses,
        /// The pool asked for.
        pool: PoolName,
    },
    /// Every address that the Service could have is taken.
    PoolExhausted {
        /// The pools that it may use.
        pools: Vec<PoolName>,
        /// The families that it needs.
        families: Vec<Family>,
    },
    /// No pool that the Service may use has addresses of the families it needs.
    FamilyUnavailable {
        /// The pools that it may use.
        pools: Vec<PoolName>,
        /// The families that it needs.
        families: Vec<Family>,
    },
    /// The addresses are not in one pool together.
    AddressOutsidePools(Addresses),
    /// The addresses asked for are not of the families of the Service.
    FamilyMismatch {
        /// The addresses.
        addresses: Addresses,
        /// The families that the Service needs, one address of each.
        families: Vec<Family>,
    },
    /// The address is in use and its holders share with nobody, or the Service does not.
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The Service that is refused.
        service: ServiceKey,
        /// Who uses it; no more than ten of them.
        holders: Vec<ServiceKey>,
    },
    /// The address is shared under another key or with other backends.
    SharingKeyMismatch {
        /// The address.
        address: IpAddr,
        /// The Service that is refused.
        service: ServiceKey,
        /// Who uses it; no more than ten of them.
        holders: Vec<ServiceKey>,
    },
    /// Another Service has the port on the shared address.
    PortInUse {
        /// The address.
        address: IpAddr,
        /// The port.
        port: Port,
        /// Who has it.
        holder: ServiceKey,
    },
    /// The address is reserved for another Service.
    AddressReserved {
        /// The address.
        address: IpAddr,
        /// Whom it is reserved for.
        owner: ServiceKey,
    },
    /// The namespace holds as many addresses of the pool as it may.
    QuotaExceeded {
        /// The pool.
        pool: PoolName,
        /// The namespace.
        namespace: String,
        /// How many addresses it may hold.
        quota: u64,
    },
    /// The request cannot be read.
    InvalidRequest(RequestError),
    /// The Service has no cluster addresses (yet), which decide its families.
    NoClusterIps,
    /// Dual stack is required, but there are not two cluster addresses.
    NotEnoughClusterIps(Addresses),
    /// The cluster addresses are not one, or one of each family.
    InvalidClusterIps(Addresses),
}

/// How much of a pool is in use; saturating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Distinct IPv4 addresses in use.
    pub assigned_v4: u128,
    /// Distinct IPv6 addresses in use.
    pub assigned_v6: u128,
    /// IPv4 addresses left.
    pub available_v4: u128,
    /// IPv6 addresses left.
    pub available_v6: u128,
    /// All addresses that the pool can give out.
    pub capacity: Capacity,
}

impl Refusal {
    /// The condition reason, event reason and metric label: one word for each variant.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoPool => "NoPool",
            Self::NoPoolMatchesService => "NoPoolMatchesService",
            Self::PoolUnknown(_) => "PoolUnknown",
            Self::PoolNotCompatible(_) => "PoolNotCompatible",
            Self::PoolMismatch { .. } => "PoolMismatch",
            Self::PoolExhausted { .. } => "PoolExhausted",
            Self::FamilyUnavailable { .. } => "FamilyUnavailable",
            Self::AddressOutsidePools(_) => "AddressOutsidePools",
            Self::FamilyMismatch { .. } => "FamilyMismatch",
            Self::AddressInUse { .. } => "AddressInUse",
            Self::SharingKeyMismatch { .. } => "SharingKeyMismatch",
            Self::PortInUse { .. } => "PortInUse",
            Self::AddressReserved { .. } => "AddressReserved",
            Self::QuotaExceeded { .. } => "QuotaExceeded",
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::NoClusterIps => "NoClusterIPs",
            Self::NotEnoughClusterIps(_) => "NotEnoughClusterIPs",
            Self::InvalidClusterIps(_) => "InvalidClusterIPs",
        }
    }
}

impl fmt::Display for Refusal {
    /// MetalLB's words where it has some, then what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool => f.write_str("there is no usable IPAddressPool; create one"),
            Self::NoPoolMatchesService => f.write_str(
                "no available IPs: no pool is open to this Service; let a pool's serviceAllocation select it, \
                 or set autoAssign on a pool, or ask for a pool with metallb.io/address-pool",
            ),
            Self::PoolUnknown(pool) => {
                write!(f, "unknown pool \"{pool}\"; correct metallb.io/address-pool or create the pool")
            }
            Self::PoolNotCompatible(pool) => write!(
                f,
                "pool {pool} not compatible for ip assignment: its serviceAllocation selects neither this \
                 Service's namespace nor its labels; change one or the other"
            ),
            Self::PoolMismatch { addresses, pool } => write!(
                f,
                "requested loadBalancer IP(s) {} is not compatible with requested address pool {pool}; \
                 ask for addresses of that pool or for another pool",
                quoted(addresses)
            ),
            Self::PoolExhausted { pools, families } => write!(
                f,
                "no available IPs in {}: every {} address is in use; add addresses or release some",
                named(pools),
                either(families)
            ),
            Self::FamilyUnavailable { pools, families } => write!(
                f,
                "no available IPs in {} for {} IPFamily: no pool has addresses of it; add some",
                named(pools),
                if families.len() > 1 { "dual".to_string() } else { either(families) }
            ),
            Self::AddressOutsidePools(addresses) => write!(
                f,
                "{} is not allowed in config: no single pool gives it out; add it to a pool or ask for another",
                quoted(addresses)
            ),
            Self::FamilyMismatch { addresses, families } => write!(
                f,
                "requested loadBalancer IP(s) {} does not match the ipFamily of the service; ask for exactly \
                 one address of {}",
                quoted(addresses),
                each(families)
            ),
            Self::AddressInUse {
                address,
                service,
                holders,
            } => write!(
                f,
                "can't change sharing key for \"{service}\", address also in use by {}; \"{address}\" is not \
                 shared: ask for another, or set the same metallb.io/allow-shared-ip on all of them",
                joined(holders)
            ),
            Self::SharingKeyMismatch { address, service, holders } => write!(
                f,
                "can't change sharing key for \"{service}\", address also in use by {}; to share \"{address}\" all \
                 need the same metallb.io/allow-shared-ip, and with externalTrafficPolicy Local the same selector",
                joined(holders)
            ),
            Self::PortInUse { address, port, holder } => write!(
                f,
                "port {port} is already in use on \"{address}\" by {holder}; use another port or address"
            ),
            Self::AddressReserved { address, owner } => write!(
                f,
                "address \"{address}\" is reserved for {owner}; ask for another or change spec.reservations of its pool"
            ),
            Self::QuotaExceeded { pool, namespace, quota } => write!(
                f,
                "namespace {namespace} may hold no more than {quota} address(es) of pool {pool}; release one or \
                 raise spec.quota.perNamespace"
            ),
            Self::InvalidRequest(error) => write!(f, "invalid requested loadbalancer IPs: {error}"),
            Self::NoClusterIps => f.write_str("the Service has no cluster IPs; it gets an address when it has"),
            Self::NotEnoughClusterIps(addresses) => write!(
                f,
                "Service requires dual stack but not enough clusterips {}; make the cluster dual-stack or \
                 change ipFamilyPolicy",
                quoted(addresses)
            ),
            Self::InvalidClusterIps(addresses) => write!(
                f,
                "cannot tell the IPFamily from cluster IPs {}; there must be one, or one of each family",
                quoted(addresses)
            ),
        }
    }
}

impl Note {
    /// The event reason, as MetalLB has it where it has one.
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
            Self::UnreadableStatus(_) => "nolbIPsIPFamily",
        }
    }

    /// Whether the event is a warning.
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Kept { .. } | Self::UnreadableStatus(_))
    }

    /// Whether this describes a state that lasts, rather than something that happened. Lasting notes are
    /// repeated with each decision for as long as they hold.
    pub const fn lasts(&self) -> bool {
        matches!(self, Self::Kept { .. } | Self::AdditionalUnavailable(_))
    }
}

impl fmt::Display for Note {
    /// The event's message.
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
            Self::Kept { addresses, because } => {
                write!(
                    f,
                    "keeping {} until the request can be met: {because}",
                    quoted(addresses)
                )
            }
            Self::UnreadableStatus(addresses) => write!(
                f,
                "Failed to retrieve LBIPs IPFamily for {}: there must be one address, or one of each family",
                quoted(addresses)
            ),
        }
    }
}

/// `["10.0.0.1" "fc00::1"]`, as MetalLB writes lists of addresses.
fn quoted(addresses: &[IpAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|a| alloc::format!("\"{a}\"")).collect();
    alloc::format!("[{}]", quoted.join(" "))
}

/// The first few of `pools`; a message of ten thousand names helps nobody.
fn named(pools: &[PoolName]) -> String {
    const SHOWN: usize = 5;
    let noun = if pools.len() == 1 { "pool" } else { "pools" };
    let shown: Vec<&str> = pools.iter().take(SHOWN).map(PoolName::as_str).collect();
    let more = match pools.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => alloc::format!(" and {more} more"),
    };
    alloc::format!("{noun} {}{more}", shown.join(", "))
}

fn joined(services: &[ServiceKey]) -> String {
    let names: Vec<String> = services.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn either(families: &[Family]) -> String {
    let names: Vec<String> = families.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

fn each(families: &[Family]) -> String {
    let names: Vec<String> = families.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

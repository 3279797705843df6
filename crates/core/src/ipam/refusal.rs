//! The reasons why a Service gets no address.
//!
//! The first check that fails is the reason. The order is:
//!
//! 1. `decider`: the cluster IPs; whether there is a pool at all ([`Refusal::NoPool`]); whether the request could be parsed
//!    ([`Refusal::InvalidRequest`]).
//! 2. Requested addresses: `Account::requested_pool` (number and families, then the pool, then `serviceAllocation`), then
//!    `Account::requestable` (what the pool says of requests, then the quarantine, for each address), then
//!    `Account::obtainable` (reservation, node, then holders, for each address; last the quota).
//! 3. Otherwise a requested pool: it exists, then it allows the Service.
//! 4. Otherwise, or in that pool: a search. `Account::shortage` gives the reason when it finds nothing.
//!
//! The addresses that a Service has are checked before all this, by `Account::keepable`.

mod naming;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::{Addresses, Family, PoolName, Port, RequestError, ServiceKey, Time};
use naming::{Anonymous, Naming, others};

/// Why a Service does not get what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no usable `IPAddressPool`.
    NoPool,
    /// The `serviceAllocation` or `autoAssign` of every pool excludes the Service.
    NoPoolMatchesService,
    /// The requested pool does not exist.
    PoolUnknown(PoolName),
    /// The requested pool has a mistake or overlaps another one, so it is not in force.
    PoolNotInForce(PoolName),
    /// The pool's `serviceAllocation` does not select the Service.
    PoolNotCompatible(PoolName),
    /// The requested addresses are not in the requested pool.
    PoolMismatch {
        /// The requested addresses.
        addresses: Addresses,
        /// The requested pool.
        pool: PoolName,
    },
    /// All addresses that the Service could have are in use. The Service waits for the next free one, the oldest Service first.
    PoolExhausted {
        /// The pools that it may use.
        pools: Vec<PoolName>,
        /// The families that it needs.
        families: Vec<Family>,
    },
    /// No pool that the Service may use has addresses of the families that it needs.
    FamilyUnavailable {
        /// The pools that it may use.
        pools: Vec<PoolName>,
        /// The families that it needs.
        families: Vec<Family>,
    },
    /// No single pool has all of the addresses.
    AddressOutsidePools(Addresses),
    /// The requested addresses are not of the IP families of the Service.
    FamilyMismatch {
        /// The addresses.
        addresses: Addresses,
        /// The families that the Service needs, one address of each.
        families: Vec<Family>,
    },
    /// The address is in use, and either its holder or the Service has no sharing key.
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The Service that is refused.
        service: ServiceKey,
        /// The Services that use it, ten of them at most.
        holders: Vec<ServiceKey>,
    },
    /// The address is shared under another sharing key or with other backends.
    SharingKeyMismatch {
        /// The address.
        address: IpAddr,
        /// The Service that is refused.
        service: ServiceKey,
        /// The Services that use it, ten of them at most.
        holders: Vec<ServiceKey>,
    },
    /// Another Service has the port on the shared address.
    PortInUse {
        /// The address.
        address: IpAddr,
        /// The port.
        port: Port,
        /// The Service that is refused.
        service: ServiceKey,
        /// The Service that has it.
        holder: ServiceKey,
    },
    /// The sharers are of another namespace, which `spec.sharing` of the pool does not allow; with `externalTrafficPolicy: Local` it
    /// must be `Any`.
    SharingNotAllowed {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: PoolName,
    },
    /// A Service of another namespace released the requested address a moment ago. The Service gets it at the end of the quarantine
    /// if it is still free.
    AddressInQuarantine {
        /// The address.
        address: IpAddr,
        /// The end of the quarantine.
        until: Time,
    },
    /// `spec.requests` of the pool is `SameNamespace`, and a Service of another namespace has the requested address, or had it last.
    AddressOfOtherNamespace {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: PoolName,
    },
    /// `spec.requests` of the pool is `Reserved`, and no reservation keeps the requested address for this Service.
    AddressNotReserved {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: PoolName,
    },
    /// `spec.reservations` of the pool keeps the requested address for another Service.
    AddressReserved {
        /// The address.
        address: IpAddr,
        /// The Service that is refused.
        service: ServiceKey,
        /// The Service that it is reserved for.
        owner: ServiceKey,
    },
    /// The namespace has as many addresses of the pool as `spec.quota.perNamespace` allows.
    QuotaExceeded {
        /// The pool.
        pool: PoolName,
        /// The namespace.
        namespace: String,
        /// The most addresses that the namespace may have.
        quota: u64,
    },
    /// The request of the Service (`metallb.io/loadBalancerIPs`, `spec.loadBalancerIP`, `metallb.io/allow-shared-ip`) cannot
    /// be used.
    InvalidRequest(RequestError),
    /// The Service has no cluster IPs (yet); they decide its families.
    NoClusterIps,
    /// Dual stack is required, but there are not two cluster IPs.
    NotEnoughClusterIps(Addresses),
    /// The cluster IPs are neither one, nor one of each family.
    InvalidClusterIps(Addresses),
}

impl Refusal {
    /// Returns whether no pool is open to the Service, however many addresses are free.
    pub const fn is_of_closed_pools(&self) -> bool {
        matches!(
            self,
            Self::NoPool
                | Self::NoPoolMatchesService
                | Self::PoolUnknown(_)
                | Self::PoolNotInForce(_)
                | Self::PoolNotCompatible(_)
                | Self::AddressOutsidePools(_)
        )
    }

    /// Returns the reason of the condition and the log, one word for each variant. The event has the reason
    /// `AllocationFailed`, or that of a [`Note`](super::Note).
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoPool => "NoPool",
            Self::NoPoolMatchesService => "NoPoolMatchesService",
            Self::PoolUnknown(_) => "PoolUnknown",
            Self::PoolNotInForce(_) => "PoolNotInForce",
            Self::PoolNotCompatible(_) => "PoolNotCompatible",
            Self::PoolMismatch { .. } => "PoolMismatch",
            Self::PoolExhausted { .. } => "PoolExhausted",
            Self::FamilyUnavailable { .. } => "FamilyUnavailable",
            Self::AddressOutsidePools(_) => "AddressOutsidePools",
            Self::FamilyMismatch { .. } => "FamilyMismatch",
            Self::AddressInUse { .. } => "AddressInUse",
            Self::SharingKeyMismatch { .. } => "SharingKeyMismatch",
            Self::PortInUse { .. } => "PortInUse",
            Self::SharingNotAllowed { .. } => "SharingNotAllowed",
            Self::AddressInQuarantine { .. } => "AddressInQuarantine",
            Self::AddressOfOtherNamespace { .. } => "AddressOfOtherNamespace",
            Self::AddressNotReserved { .. } => "AddressNotReserved",
            Self::AddressReserved { .. } => "AddressReserved",
            Self::QuotaExceeded { .. } => "QuotaExceeded",
            Self::InvalidRequest(RequestError::TooLong(_)) => "RequestTooLong",
            Self::InvalidRequest(RequestError::TooManyPorts { .. }) => "TooManyPorts",
            Self::InvalidRequest(
                RequestError::Both | RequestError::Annotation(_) | RequestError::Field(_),
            ) => "InvalidRequest",
            Self::NoClusterIps => "NoClusterIPs",
            Self::NotEnoughClusterIps(_) => "NotEnoughClusterIPs",
            Self::InvalidClusterIps(_) => "InvalidClusterIPs",
        }
    }
}

impl Refusal {
    /// Returns the address that is in quarantine, and when that ends, if this is the reason.
    pub(super) const fn quarantine_end(&self) -> Option<(Time, IpAddr)> {
        if let Self::AddressInQuarantine { address, until } = self {
            Some((*until, *address))
        } else {
            None
        }
    }
}

impl fmt::Display for Refusal {
    /// Writes MetalLB's message where it has one, then what to do. Names Services of another namespace than that of the
    /// Service that is refused only in the alternate form (`{:#}`), which is for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let naming = match f.alternate() {
            true => Naming::All,
            false => Naming::OfSameNamespace,
        };
        self.write(f, naming)
    }
}

impl Refusal {
    /// Returns the text for a reader who is not known to belong to the namespace of the Service: it names no other Service.
    pub const fn anonymous(&self) -> impl fmt::Display + '_ {
        Anonymous(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, naming: Naming) -> fmt::Result {
        match self {
            Self::NoPool => f.write_str("there is no usable IPAddressPool; create one"),
            Self::NoPoolMatchesService => f.write_str(
                "no available IPs: no pool is open to this Service; let a pool's serviceAllocation select it, \
                 or set autoAssign on a pool, or ask for a pool with metallb.io/address-pool",
            ),
            Self::PoolUnknown(pool) => {
                write!(f, "unknown pool \"{pool}\"; correct metallb.io/address-pool or create the pool")
            }
            Self::PoolNotInForce(pool) => {
                write!(f, "pool \"{pool}\" is not in force; correct what its condition Ready names")
            }
            Self::PoolNotCompatible(pool) => write!(
                f,
                "pool {pool} not compatible for ip assignment: its serviceAllocation does not select this \
                 Service; let it select both the Service's namespace and its labels"
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
                others(holders, service, naming)
            ),
            Self::SharingKeyMismatch { address, service, holders } => write!(
                f,
                "can't change sharing key for \"{service}\", address also in use by {}; to share \"{address}\" all \
                 need the same metallb.io/allow-shared-ip, and with externalTrafficPolicy Local the same selector",
                others(holders, service, naming)
            ),
            Self::PortInUse {
                address,
                port,
                service,
                holder,
            } => write!(
                f,
                "port {port} is already in use on \"{address}\" by {}; use another port or address",
                others(core::slice::from_ref(holder), service, naming)
            ),
            Self::SharingNotAllowed { address, pool } => write!(
                f,
                "\"{address}\" is shared by a Service of another namespace; share an address of this namespace, or set \
                 spec.sharing: Any on pool {pool}"
            ),
            Self::AddressInQuarantine { address, until } => write!(
                f,
                "a Service of another namespace released \"{address}\" a moment ago; the address is kept for its return \
                 until {until}, and goes to this Service then if it is still free"
            ),
            Self::AddressOfOtherNamespace { address, pool } => write!(
                f,
                "a Service of another namespace has \"{address}\" or had it last, and pool {pool} has spec.requests: \
                 SameNamespace; ask for another"
            ),
            Self::AddressNotReserved { address, pool } => write!(
                f,
                "\"{address}\" is not reserved for this Service, and pool {pool} has spec.requests: Reserved; ask for no \
                 particular address, or add it to spec.reservations"
            ),
            Self::AddressReserved {
                address,
                service,
                owner,
            } => write!(
                f,
                "address \"{address}\" is reserved for {}; ask for another or change spec.reservations of its pool",
                others(core::slice::from_ref(owner), service, naming)
            ),
            Self::QuotaExceeded { pool, namespace, quota } => write!(
                f,
                "namespace {namespace} may hold no more than {quota} address(es) of pool {pool}; release one or \
                 raise spec.quota.perNamespace"
            ),
            Self::InvalidRequest(error @ RequestError::TooManyPorts { .. }) => write!(f, "{error}"),
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
                "cannot determine the IPFamily from cluster IPs {}; there must be one, or one of each family",
                quoted(addresses)
            ),
        }
    }
}

/// Formats addresses as MetalLB does: `["10.0.0.1" "fc00::1"]`.
pub(super) fn quoted(addresses: &[IpAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|a| alloc::format!("\"{a}\"")).collect();
    alloc::format!("[{}]", quoted.join(" "))
}

/// Formats the names of the first five of `pools` and the number of the others, so that a message stays readable.
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

fn either(families: &[Family]) -> String {
    let names: Vec<String> = families.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

fn each(families: &[Family]) -> String {
    let names: Vec<String> = families.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

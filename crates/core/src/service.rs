//! A Service as the allocator sees it: the fields that it needs, parsed.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::{Addresses, Labels, PoolName, ServiceKey};

/// A Service of type `LoadBalancer` of our class. Any other Service is no input: the shell handles it as removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.creationTimestamp`, in seconds since 1970; waiting Services are served oldest first.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.clusterIPs` (or `spec.clusterIP`), which decide the families. Empty until Kubernetes has assigned them.
    pub cluster_ips: Addresses,
    /// `spec.ipFamilyPolicy`; absent is `SingleStack`.
    pub family_policy: FamilyPolicy,
    /// `spec.ipFamilies[0]`: the family that a `PreferDualStack` Service gets when only one is available.
    pub primary_family: Option<Family>,
    /// The request of the user, by annotation or by `spec.loadBalancerIP`.
    pub request: AddressRequest,
    /// Annotation `metallb.io/allow-shared-ip`; if empty, the Service does not share addresses.
    pub sharing_key: Arc<str>,
    /// The backends: empty for `externalTrafficPolicy: Cluster`, the Service's selector as `k=v,...` for `Local`. Sharers of
    /// an address must have the same.
    pub backend_key: String,
    /// Whether `spec.externalTrafficPolicy` is `Local`.
    pub is_local: bool,
    /// Transport protocol and port of each `spec.ports[]`, if the Service may share its addresses; otherwise they do not matter.
    pub ports: BTreeSet<Port>,
    /// `status.loadBalancer.ingress[].ip`: the addresses that the Service has, also after a restart of the controller.
    pub assigned: Addresses,
    /// Whether `ingress` has an entry that is not an address (a hostname, an `ip` that cannot be parsed).
    pub foreign_ingress: bool,
    /// Annotation `metallb.io/ip-allocated-from-pool`.
    pub assigned_pool: Option<PoolName>,
    /// Whether the object has something that only this controller or MetalLB's writes: that annotation, or a condition. Without
    /// it the status is that of another load balancer, or of a user.
    pub is_marked: bool,
}

impl Service {
    /// Creates a single-stack Service without cluster IPs, request and addresses. Callers set the other fields.
    pub fn new(key: ServiceKey) -> Self {
        Self {
            key,
            created: 0,
            labels: Labels::new(),
            cluster_ips: Addresses::new(),
            family_policy: FamilyPolicy::SingleStack,
            primary_family: None,
            request: AddressRequest::default(),
            sharing_key: Arc::default(),
            backend_key: String::new(),
            is_local: false,
            ports: BTreeSet::new(),
            assigned: Addresses::new(),
            foreign_ingress: false,
            assigned_pool: None,
            is_marked: false,
        }
    }
}

/// The request of the user, parsed from annotations and `spec.loadBalancerIP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRequest {
    /// `metallb.io/loadBalancerIPs` or `spec.loadBalancerIP`, in this order; empty means any address.
    pub addresses: Result<Vec<IpAddr>, RequestError>,
    /// `metallb.io/address-pool`; `None` means any pool.
    pub pool: Option<PoolName>,
}

impl Default for AddressRequest {
    fn default() -> Self {
        Self {
            addresses: Ok(Vec::new()),
            pool: None,
        }
    }
}

/// The reason why a request for addresses cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The annotation and the field request different addresses.
    #[error(
        "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP with different addresses; \
         remove one of them"
    )]
    Both,
    /// The annotation has an entry that is not an address.
    #[error(
        "invalid metallb.io/loadBalancerIPs: {0:?}; write an address such as 192.168.67.130, or one of each family with a comma \
         between them"
    )]
    Annotation(String),
    /// `spec.loadBalancerIP` is not an address.
    #[error("invalid spec.loadBalancerIP {0:?}; write an address such as 192.168.67.130")]
    Field(String),
    /// It has more than 4 addresses or 1 kB, which is longer than any request that can be met, and was not parsed.
    #[error("the request is too long; ask for one address, or one of each family, instead of {0:?}...")]
    TooLong(String),
    /// The Service may share its address and has more ports than are compared with those of other sharers.
    #[error(
        "a Service that shares its address may have {most} ports, and this one has {ports}; \
         remove metallb.io/allow-shared-ip or some ports"
    )]
    TooManyPorts {
        /// The number of ports.
        ports: usize,
        /// The greatest number.
        most: usize,
    },
}

/// `spec.ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FamilyPolicy {
    /// One family.
    SingleStack,
    /// Two families if there are two, otherwise one.
    PreferDualStack,
    /// Two families or none.
    RequireDualStack,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of `address`.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A port of a Service. Two sharers of an address may not have the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// `spec.ports[].protocol`; absent is TCP.
    pub protocol: Transport,
    /// `spec.ports[].port`.
    pub number: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.number)
    }
}

/// Transport protocol of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

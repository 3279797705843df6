//! A Service as allocation and ownership see it: the few fields that decide, already parsed.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::{Addresses, Labels, PoolName, ServiceKey};

/// A Service of type `LoadBalancer` whose class is ours. Any other Service is not an input: the shell
/// reports it as removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.creationTimestamp`, in seconds since 1970; waiting Services are served oldest first.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.clusterIPs` (or `spec.clusterIP`): they decide the families. Empty while Kubernetes has given none.
    pub cluster_ips: Addresses,
    /// `spec.ipFamilyPolicy`; absent is `SingleStack`.
    pub family_policy: FamilyPolicy,
    /// `spec.ipFamilies[0]`; which family a `PreferDualStack` Service gets when there is only one to have.
    pub primary_family: Option<Family>,
    /// What the user asks for by annotation or by `spec.loadBalancerIP`.
    pub request: Request,
    /// Annotation `metallb.io/allow-shared-ip`; empty is "shares with nobody".
    pub sharing_key: Arc<str>,
    /// Which backends would answer: empty for `externalTrafficPolicy: Cluster`, the Service's selector as
    /// `k=v,...` for `Local`. Sharers of an address must agree on it.
    pub backend_key: String,
    /// Transport protocol and port of each `spec.ports[]`.
    pub ports: BTreeSet<Port>,
    /// `status.loadBalancer.ingress[].ip`: the address that the Service has, the truth after a restart.
    pub assigned: Addresses,
    /// Whether `ingress` has an entry that is no plain address (a hostname, an unparsable `ip`).
    pub foreign_ingress: bool,
    /// Annotation `metallb.io/ip-allocated-from-pool`.
    pub assigned_pool: Option<PoolName>,
}

impl Service {
    /// A single-stack IPv4 Service with nothing requested and nothing assigned; tests and callers fill in the rest.
    pub fn new(key: ServiceKey) -> Self {
        Self {
            key,
            created: 0,
            labels: Labels::new(),
            cluster_ips: Addresses::new(),
            family_policy: FamilyPolicy::SingleStack,
            primary_family: None,
            request: Request::default(),
            sharing_key: Arc::default(),
            backend_key: String::new(),
            ports: BTreeSet::new(),
            assigned: Addresses::new(),
            foreign_ingress: false,
            assigned_pool: None,
        }
    }
}

/// What the user asks for, parsed from annotations and `spec.loadBalancerIP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `metallb.io/loadBalancerIPs` or `spec.loadBalancerIP`, in the order written; empty is "any".
    pub addresses: Result<Vec<IpAddr>, RequestError>,
    /// `metallb.io/address-pool`; `None` is "any".
    pub pool: Option<PoolName>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            addresses: Ok(Vec::new()),
            pool: None,
        }
    }
}

/// Why a request for addresses cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Both the annotation and the field are set.
    #[error("service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP")]
    Both,
    /// The annotation has an entry that is no address.
    #[error("invalid metallb.io/loadBalancerIPs: {0:?}")]
    Annotation(String),
    /// `spec.loadBalancerIP` is no address.
    #[error("invalid spec.loadBalancerIP {0:?}")]
    Field(String),
}

/// `spec.ipFamilyPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FamilyPolicy {
    /// One family.
    SingleStack,
    /// Two families where there are two, one otherwise.
    PreferDualStack,
    /// Two families or nothing.
    RequireDualStack,
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
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

/// A port of a Service; two sharers of an address may not have the same.
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

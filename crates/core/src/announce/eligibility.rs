//! Which nodes may announce a Service, by any protocol, and why the others may not.
//!
//! Of an advertisement only the [`AdvertisementScope`] matters, which all protocols have. The order of the checks is that of
//! MetalLB's speaker; the first that fails is the reason.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::config::{AdvertisementScope, Pool};
use crate::{Labels, Liveness, Member, NodeName, NodeState, ServiceKey};

/// Label that excludes a Node from announcing, whatever its value (Kubernetes: "Well-Known Labels").
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Annotation that drains a Node while its value is `true`, for example before maintenance: other nodes take its addresses over
/// before it stops answering.
pub const DRAIN_ANNOTATION: &str = "herald.io/drain";

/// A Service of type `LoadBalancer`, reduced to what the speakers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.creationTimestamp`, in seconds since 1970: the oldest of several sharers decides.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.loadBalancer.ingress[].ip`, in that order.
    pub addresses: Vec<IpAddr>,
    /// Whether `ingress` has an entry that is no plain IP address.
    pub foreign_ingress: bool,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// Whether the annotation `allow-shared-ip` is there, even if empty.
    pub shares: bool,
}

/// `spec.externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficPolicy {
    /// Any node may take the traffic.
    #[default]
    Cluster,
    /// Only a node with an endpoint on it may take the traffic.
    Local,
}

/// The usable endpoints of a Service: ready, or serving while they terminate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Endpoints {
    /// Whether there is any endpoint, even on an unknown node.
    pub any: bool,
    /// The nodes that have an endpoint.
    pub nodes: BTreeSet<NodeName>,
    /// Those of the nodes that have no ready endpoint: all endpoints there serve while they terminate.
    pub terminating: BTreeSet<NodeName>,
}

impl Endpoints {
    /// Adds the endpoints of another EndpointSlice. A node is terminating if it is so in all slices.
    pub fn extend(&mut self, other: &Self) {
        let is_ready = |node: &NodeName| {
            let mut both = [&*self, other].into_iter();
            both.any(|these| these.nodes.contains(node) && !these.terminating.contains(node))
        };
        let terminating = self.terminating.union(&other.terminating);
        self.terminating = terminating.filter(|node| !is_ready(node)).cloned().collect();
        self.nodes.extend(other.nodes.iter().cloned());
        self.any |= other.any;
    }
}

/// A Kubernetes Node, reduced to what the speakers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Whether condition `NetworkUnavailable` is `True`.
    pub network_unavailable: bool,
    /// Whether the annotation [`DRAIN_ANNOTATION`] is `true`.
    pub draining: bool,
    /// `status.addresses` of the types `InternalIP` and `ExternalIP`, in ascending order.
    pub addresses: Vec<IpAddr>,
}

/// The reason why a node may not announce a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The Service has no address yet.
    NoAddress,
    /// `status.loadBalancer.ingress` has an entry that is no IP address, so another implementation manages the Service.
    InvalidAddress,
    /// No single pool contains all the addresses.
    AddressOutsidePools,
    /// The Service has no endpoint that could serve a request.
    NoEndpoints,
    /// A node has the address itself, and an announcement would cut that node off. The message names it.
    AddressOfNode(NodeName),
    /// The Service may share its address, and an advertisement selects by Service: sharers could be owned by two nodes.
    SharedAddressWithServiceSelector,
    /// No advertisement of the pool selects this Service.
    NoAdvertisement,
    /// Advertisements select the Service, but none selects the node.
    NodeNotSelected,
    /// The node has the condition `NetworkUnavailable`.
    NetworkUnavailable,
    /// The node has the label `node.kubernetes.io/exclude-from-external-load-balancers`.
    ExcludedByLabel,
    /// The node has the annotation `herald.io/drain`.
    Drained,
    /// The Service has `externalTrafficPolicy: Local`, and the node has no endpoint.
    NoLocalEndpoint,
    /// Older Services share the address, and no node may announce it for them and for this Service: with
    /// `externalTrafficPolicy: Local`, no node has an endpoint of each.
    NoCommonNode,
    /// The node may announce the Service, but not another one that shares the address.
    ExcludedBySharer,
    /// The Service has `externalTrafficPolicy: Local`, all its endpoints on the node are terminating, and other nodes have
    /// ready ones.
    OnlyTerminatingEndpoints,
    /// No speaker of the node is known, or it is down.
    NoSpeaker,
    /// The node's speaker is starting or draining.
    SpeakerNotReady(NodeState),
    /// Layer 2: the node has no interface in the subnet of the addresses, and other nodes have one.
    NotInSubnet,
    /// Layer 2: none of the interfaces that the advertisements name exists on the node and can announce.
    NoInterface(BTreeSet<String>),
    /// Layer 2: no interface that may announce has a link-local IPv6 address, which NDP needs.
    NoLinkLocalAddress,
    /// No node may announce the Service, each for a reason of its own. The message has these reasons, but not the nodes, so that a
    /// roll-out over all nodes does not change the status of each Service with each node. That a node is drained, or that its
    /// speaker restarts, is named only if the node has no other reason.
    NoCandidate,
}

impl Exclusion {
    /// Returns the CamelCase word that is the reason in the log.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoAddress => "NoAddress",
            Self::InvalidAddress => "InvalidAddress",
            Self::AddressOutsidePools => "AddressOutsidePools",
            Self::NoEndpoints => "NoEndpoints",
            Self::AddressOfNode(_) => "AddressOfNode",
            Self::SharedAddressWithServiceSelector => "SharedAddressWithServiceSelector",
            Self::NoAdvertisement => "NoAdvertisement",
            Self::NodeNotSelected => "NodeNotSelected",
            Self::NetworkUnavailable => "NetworkUnavailable",
            Self::ExcludedByLabel => "ExcludedByLabel",
            Self::Drained => "Drained",
            Self::NoLocalEndpoint => "NoLocalEndpoint",
            Self::NoCommonNode => "NoCommonNode",
            Self::ExcludedBySharer => "ExcludedBySharer",
            Self::OnlyTerminatingEndpoints => "OnlyTerminatingEndpoints",
            Self::NoSpeaker => "NoSpeaker",
            Self::SpeakerNotReady(_) => "SpeakerNotReady",
            Self::NotInSubnet => "NoLeg",
            Self::NoInterface(_) => "NoInterface",
            Self::NoLinkLocalAddress => "NoLinkLocalAddress",
            Self::NoCandidate => "NoCandidate",
        }
    }

    /// Whether the reason is the state of a node or its speaker, which passes.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NetworkUnavailable | Self::Drained | Self::NoSpeaker | Self::SpeakerNotReady(_)
        )
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the Service has no address"),
            Self::InvalidAddress => f.write_str("status.loadBalancer.ingress has an entry without a valid ip"),
            Self::AddressOutsidePools => f.write_str("no single pool contains all addresses of the Service"),
            Self::NoEndpoints => f.write_str("the Service has no ready endpoint"),
            Self::AddressOfNode(node) => write!(
                f,
                "node {node} has the address itself, and an announcement would cut it off; remove it from the pool"
            ),
            Self::SharedAddressWithServiceSelector => f.write_str(
                "the Service has the allow-shared-ip annotation and an L2Advertisement of its pool has serviceSelectors; use one of the two",
            ),
            Self::NoAdvertisement => f.write_str("no L2Advertisement selects the pool and the Service"),
            Self::NodeNotSelected => f.write_str("no L2Advertisement of the Service selects the node"),
            Self::NetworkUnavailable => f.write_str("the node has condition NetworkUnavailable"),
            Self::ExcludedByLabel => write!(f, "the node has the label {EXCLUDE_LABEL}"),
            Self::Drained => write!(f, "the node has the annotation {DRAIN_ANNOTATION}=true"),
            Self::NoLocalEndpoint => {
                f.write_str("externalTrafficPolicy is Local and the node has no ready endpoint")
            }
            Self::NoCommonNode => f.write_str(
                "no node may announce the address for this Service and for the older Services that share it",
            ),
            Self::ExcludedBySharer => {
                f.write_str("the node may not announce another Service that shares the address")
            }
            Self::OnlyTerminatingEndpoints => f.write_str(
                "externalTrafficPolicy is Local, all endpoints on the node are terminating, and other nodes have ready ones",
            ),
            Self::NoSpeaker => f.write_str("no speaker of the node is reachable"),
            Self::SpeakerNotReady(state) => write!(f, "the node's speaker is {state}"),
            Self::NotInSubnet => {
                f.write_str("the node has no interface in the subnet of the address, and other nodes have one")
            }
            Self::NoInterface(names) => {
                f.write_str("the node has none of the selected interfaces, or they are down:")?;
                names.iter().try_for_each(|name| write!(f, " {name}"))
            }
            Self::NoLinkLocalAddress => f.write_str(
                "no interface of the node that may announce has a link-local IPv6 address, which NDP needs",
            ),
            Self::NoCandidate => f.write_str("no node may announce the Service"),
        }
    }
}

/// What eligibility depends on besides the Service and the advertisements.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The valid pools.
    pub pools: &'a [Pool],
    /// The speakers; `None` without gossip, which means that every node has a speaker.
    pub members: Option<&'a BTreeMap<NodeName, Member>>,
    /// Whether nodes with [`EXCLUDE_LABEL`] announce, too.
    pub ignore_exclude_label: bool,
    /// Whether nodes with [`DRAIN_ANNOTATION`] announce, too, as by MetalLB.
    pub ignore_drain: bool,
    /// The addresses of all nodes, with the nodes that have them.
    pub node_addresses: &'a BTreeMap<IpAddr, BTreeSet<NodeName>>,
}

impl<'a> View<'a> {
    /// Returns those advertisements of a protocol that apply to a Service at one of its addresses, or why no node may announce
    /// it there.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn advertisements_of<'b, A: AsRef<AdvertisementScope>>(
        &self,
        advertisements: &'b [A],
        service: &Exposure,
        address: IpAddr,
        endpoints: &Endpoints,
    ) -> Result<Vec<&'b A>, Exclusion> {
        let pool = self.pool_at(service, address)?;
        if !endpoints.any {
            return Err(Exclusion::NoEndpoints);
        }
        let applies =
            |scope: &AdvertisementScope| scope.selects_pool(pool) && scope.selects_service(&service.labels);
        let applying: Vec<&A> = advertisements.iter().filter(|a| applies(a.as_ref())).collect();
        if applying.is_empty() {
            return Err(Exclusion::NoAdvertisement);
        }
        let selects_by_service = |scope: &AdvertisementScope| !scope.service_selectors.is_empty();
        if service.shares && applying.iter().any(|a| selects_by_service(a.as_ref())) {
            return Err(Exclusion::SharedAddressWithServiceSelector);
        }
        Ok(applying)
    }

    /// Returns the pool of a Service whose address may be announced, by any protocol.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn pool_at(&self, service: &Exposure, address: IpAddr) -> Result<&'a Pool, Exclusion> {
        if service.foreign_ingress {
            return Err(Exclusion::InvalidAddress);
        }
        if service.addresses.is_empty() {
            return Err(Exclusion::NoAddress);
        }
        let pool = self.pool_of(service)?;
        let mut nodes = self.node_addresses.get(&address).into_iter().flatten();
        if let Some(node) = nodes.next() {
            return Err(Exclusion::AddressOfNode(node.clone()));
        }
        Ok(pool)
    }

    /// Returns the pool that contains the addresses of a Service.
    pub fn pool_of(&self, service: &Exposure) -> Result<&'a Pool, Exclusion> {
        let mut pools = self.pools.iter();
        let pool = pools.find(|pool| pool.contains_all(&service.addresses));
        pool.ok_or(Exclusion::AddressOutsidePools)
    }

    /// Checks that `node` may announce a Service with these advertisements.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn may_announce<A: AsRef<AdvertisementScope>>(
        &self,
        advertisements: &[&A],
        service: &Exposure,
        endpoints: &Endpoints,
        node: &Node,
    ) -> Result<(), Exclusion> {
        let selects = |scope: &AdvertisementScope| scope.selects_node(&node.labels);
        if !advertisements.iter().any(|a| selects(a.as_ref())) {
            return Err(Exclusion::NodeNotSelected);
        }
        if node.network_unavailable {
            return Err(Exclusion::NetworkUnavailable);
        }
        if !self.ignore_exclude_label && node.labels.contains_key(EXCLUDE_LABEL) {
            return Err(Exclusion::ExcludedByLabel);
        }
        if node.draining && !self.ignore_drain {
            return Err(Exclusion::Drained);
        }
        if service.traffic_policy == TrafficPolicy::Local && !endpoints.nodes.contains(&node.name) {
            return Err(Exclusion::NoLocalEndpoint);
        }
        self.speaker(&node.name)
    }

    /// Whether the node's speaker can own anything. A suspect one can: suspicion may be wrong.
    fn speaker(&self, node: &NodeName) -> Result<(), Exclusion> {
        let Some(members) = self.members else {
            return Ok(());
        };
        match members.get(node) {
            None => Err(Exclusion::NoSpeaker),
            Some(member) if member.liveness == Liveness::Down => Err(Exclusion::NoSpeaker),
            Some(member) if member.state != NodeState::Ready => Err(Exclusion::SpeakerNotReady(member.state)),
            Some(_) => Ok(()),
        }
    }
}

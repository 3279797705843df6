//! The names, addresses and objects of a simulated cluster.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use herald_core::announce::agent::{Agent, SpeakerNode};
use herald_core::announce::eligibility::{Endpoints, Exposure, Node, TrafficPolicy};
use herald_core::announce::layer2::election::Order;
use herald_core::config::{Catalog, ConflictDetection, RawL2Advertisement, RawPool};
use herald_core::{Labels, NodeName, Prefix, ServiceKey};
use herald_l2::{Link, LinkIndex, MacAddr};
use herald_membership::LocalLink;

/// The one link of each node.
pub(crate) const LINK: LinkIndex = LinkIndex(1);

/// Returns the name of node `index`.
pub fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

fn halves(index: usize) -> [u8; 2] {
    u16::try_from(index).expect("at most 65 536").to_be_bytes()
}

/// Returns the MAC address of node `index`.
pub fn mac(index: usize) -> MacAddr {
    let [high, low] = halves(index);
    MacAddr([2, 0, 0, 0, high, low])
}

/// Returns the address of Service `service`; every third is an IPv6 address.
pub fn address(service: usize) -> IpAddr {
    let [high, low] = halves(service);
    if service % 3 == 2 {
        let low = u16::from_be_bytes([high, low]);
        return Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, low).into();
    }
    [10, 1, high, low].into()
}

/// Returns the gossip endpoint of node `index`.
pub(crate) fn endpoint(index: usize) -> SocketAddr {
    let [high, low] = halves(index);
    SocketAddr::from(([10, 0, high, low], 7946))
}

/// Returns the node that has this gossip endpoint.
pub(crate) fn index_of(endpoint: SocketAddr) -> usize {
    let IpAddr::V4(v4) = endpoint.ip() else {
        unreachable!("gossip is IPv4 here");
    };
    let [_, _, high, low] = v4.octets();
    usize::from(u16::from_be_bytes([high, low]))
}

pub(crate) fn peers(count: usize) -> BTreeMap<NodeName, SocketAddr> {
    (0..count).map(|index| (name(index), endpoint(index))).collect()
}

/// Returns the links of a node that has no link-local IPv6 address on the segment, but has one on a link to nowhere.
pub(crate) fn links_without_ipv6(index: usize) -> [Link; 2] {
    let (mut segment, mut nowhere) = (link(index), link(index));
    segment.ndp = false;
    segment.prefixes.retain(|prefix| !prefix.is_link_local());
    nowhere.index = LinkIndex(2);
    nowhere.name = "eth1".to_owned();
    [segment, nowhere]
}

pub(crate) fn link(index: usize) -> Link {
    let [high, low] = halves(index);
    let v6 = |first, last| IpAddr::from(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 1, last));
    let low16 = u16::from_be_bytes([high, low]);
    let prefixes = [
        ([10, 0, high, low].into(), 8),
        (v6(0xfc00, low16), 64),
        (v6(0xfe80, low16), 64),
    ];
    Link {
        index: LINK,
        name: "eth0".to_owned(),
        mac: mac(index),
        prefixes: prefixes
            .map(|(address, length)| Prefix { address, length })
            .to_vec(),
        arp: true,
        ndp: true,
    }
}

/// Returns the nodes that run a speaker, as the API server has them.
pub(crate) fn speaker_nodes(count: usize) -> BTreeMap<NodeName, SpeakerNode> {
    let node = |index| SpeakerNode {
        address: endpoint(index).ip(),
        is_ready: true,
    };
    (0..count).map(|index| (name(index), node(index))).collect()
}

/// Describes a link as membership reports it.
pub(crate) fn local_link(link: &Link) -> LocalLink<'_> {
    LocalLink {
        name: &link.name,
        mac: link.mac,
        prefixes: &link.prefixes,
    }
}

/// Sets pools and advertisements on an agent. The advertisements name `interfaces`; none are all.
pub(crate) fn configure(agent: &mut Agent, detection: ConflictDetection, interfaces: &[&str]) {
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".to_owned(),
        addresses: vec!["10.1.0.0/16".to_owned(), "fc00::/112".to_owned()],
        conflict_detection: detection,
        ..RawPool::default()
    }]);
    catalog.set_l2_advertisements(vec![RawL2Advertisement {
        name: "all".to_owned(),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        ..RawL2Advertisement::default()
    }]);
    agent.set_config(catalog.pools(), catalog.l2_advertisements());
}

/// Sets the objects of the API server on an agent: configuration, `nodes`, and `services` with an endpoint each.
pub(crate) fn list(agent: &mut Agent, nodes: usize, services: &[usize]) {
    configure(agent, ConflictDetection::default(), &[]);
    (0..nodes).for_each(|node| agent.set_node(self::node(node, false)));
    for &service in services {
        let key = ServiceKey::new("default", format!("s{service}"));
        agent.set_service(Exposure {
            key: key.clone(),
            created: 0,
            labels: Labels::new(),
            addresses: vec![address(service)],
            foreign_ingress: false,
            traffic_policy: TrafficPolicy::Cluster,
            shares: false,
        });
        let endpoints = Endpoints {
            any: true,
            ..Endpoints::default()
        };
        agent.set_endpoints(key, Some(endpoints.into()));
    }
}

/// Returns the Services that each node has, if only the first `known_to` nodes by rank have each Service.
pub(crate) fn known(nodes: usize, services: usize, known_to: usize) -> Vec<Vec<usize>> {
    let mut known = vec![Vec::new(); nodes];
    let names: Vec<NodeName> = (0..nodes).map(name).collect();
    for service in 0..services {
        let mut ranked: Vec<usize> = (0..nodes).collect();
        if known_to < nodes {
            ranked.sort_by_cached_key(|node| Order::new(&names[*node], address(service), 0));
        }
        for node in ranked.into_iter().take(known_to) {
            known[node].push(service);
        }
    }
    known
}

/// Which Services share the address of each Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// None.
    Alone,
    /// A second one. Both have policy Local and endpoints on three nodes, of which those on the second are ready and the others
    /// terminate.
    Twins,
    /// With each third IPv4 address an older dual-stack Service, of which the IPv6 address is that of the Service after next.
    DualStack,
}

/// Sets the Services that share an address with `services`.
pub(crate) fn share(agent: &mut Agent, nodes: usize, services: &[usize], sharing: Sharing) {
    for &service in services {
        let shared = match sharing {
            Sharing::Alone => return,
            Sharing::Twins => vec![(format!("s{service}"), 0), (format!("twin-{service}"), 1)],
            Sharing::DualStack if service % 3 == 0 => vec![(format!("both-{service}"), -1)],
            Sharing::DualStack => continue,
        };
        let own = [service, service + 1, service + 2].map(|index| name(index % nodes));
        for (key, created) in shared {
            let key = ServiceKey::new("default", key);
            let (addresses, traffic_policy) = match sharing {
                Sharing::Alone | Sharing::Twins => (vec![address(service)], TrafficPolicy::Local),
                Sharing::DualStack => (
                    vec![address(service), address(service + 2)],
                    TrafficPolicy::Cluster,
                ),
            };
            agent.set_service(Exposure {
                key: key.clone(),
                created,
                labels: Labels::new(),
                addresses,
                foreign_ingress: false,
                traffic_policy,
                shares: true,
            });
            let endpoints = Endpoints {
                any: true,
                nodes: own.iter().cloned().collect(),
                terminating: own.iter().filter(|node| **node != own[1]).cloned().collect(),
            };
            agent.set_endpoints(key, Some(endpoints.into()));
        }
    }
}

/// Returns the Node object of node `index`.
pub(crate) fn node(index: usize, draining: bool) -> Node {
    Node {
        name: name(index),
        labels: Labels::new(),
        network_unavailable: false,
        draining,
        addresses: Vec::new(),
    }
}

//! The names, addresses and objects of a simulated cluster.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use herald_core::announce::eligibility::{Endpoints, Exposure, Node, TrafficPolicy};
use herald_core::announce::layer2::ownership::Ownership;
use herald_core::config::{Catalog, RawL2Advertisement, RawPool};
use herald_core::{Labels, NodeName, Prefix, ServiceKey};
use herald_l2::{Link, LinkIndex, MacAddr};

/// The one link of each node.
pub(crate) const LINK: LinkIndex = LinkIndex(1);

/// The name of node `index`.
pub fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

fn halves(index: usize) -> [u8; 2] {
    u16::try_from(index).expect("at most 65 536").to_be_bytes()
}

/// The Ethernet address of node `index`.
pub fn mac(index: usize) -> MacAddr {
    let [high, low] = halves(index);
    MacAddr([2, 0, 0, 0, high, low])
}

/// The address of Service `service`: each third one is an IPv6 address.
pub fn address(service: usize) -> IpAddr {
    let [high, low] = halves(service);
    if service % 3 == 2 {
        let low = u16::from_be_bytes([high, low]);
        return Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, low).into();
    }
    [10, 1, high, low].into()
}

/// Where node `index` gossips.
pub(crate) fn endpoint(index: usize) -> SocketAddr {
    let [high, low] = halves(index);
    SocketAddr::from(([10, 0, high, low], 7946))
}

/// Whose gossip endpoint that is.
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

/// What node `index` of `nodes` knows from the API server: all nodes, and `services`, each with an endpoint.
pub(crate) fn ownership(index: usize, nodes: usize, services: &[usize]) -> Ownership {
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".to_owned(),
        addresses: vec!["10.1.0.0/16".to_owned(), "fc00::/112".to_owned()],
        ..RawPool::default()
    }]);
    catalog.set_l2_advertisements(vec![RawL2Advertisement {
        name: "all".to_owned(),
        ..RawL2Advertisement::default()
    }]);
    let mut ownership = Ownership::new(name(index), true, false);
    ownership.set_config(catalog.pools(), catalog.l2_advertisements());
    (0..nodes).for_each(|node| ownership.set_node(self::node(node, false)));
    for &service in services {
        let key = ServiceKey::new("default", format!("s{service}"));
        ownership.set_service(Exposure {
            key: key.clone(),
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
        ownership.set_endpoints(key, Some(endpoints));
    }
    ownership
}

/// Node `index` as the API server knows it.
pub(crate) fn node(index: usize, draining: bool) -> Node {
    Node {
        name: name(index),
        labels: Labels::new(),
        network_unavailable: false,
        draining,
    }
}

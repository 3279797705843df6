//! The time in which a speaker computes the elections after another node dies or returns, beside the simplest way without
//! state: rank all nodes for each Service again, as MetalLB does.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herald_core::announce::eligibility::{Endpoints, Exposure, Node, TrafficPolicy};
use herald_core::announce::facts::{FactChange, Facts};
use herald_core::announce::layer2::election::Order;
use herald_core::announce::layer2::ownership::Ownership;
use herald_core::{
    Catalog, Labels, Liveness, Member, NodeName, NodeState, Prefix, Profile, RawL2Advertisement, RawPool,
    ServiceKey,
};

/// Nodes and Services.
const SIZES: [(u32, u32); 3] = [(3, 10_000), (100, 1_000), (1_000, 10_000)];

fn name(n: u32) -> NodeName {
    NodeName::new(format!("node-{n}"))
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits((10 << 24) + n).into()
}

/// Returns the members, all alive except `down`.
fn members(nodes: u32, down: Option<u32>) -> Vec<Member> {
    let liveness = |n| {
        if down == Some(n) {
            Liveness::Down
        } else {
            Liveness::Alive
        }
    };
    (0..nodes)
        .map(|n| Member {
            profile: Some(Arc::new(Profile {
                subnets: Some(vec![Prefix {
                    address: address(0),
                    length: 8,
                }]),
                ..Profile::default()
            })),
            ..Member::new(name(n), liveness(n), NodeState::Ready)
        })
        .collect()
}

/// The facts and the ownership of the first node.
struct OwnNode {
    facts: Facts,
    ownership: Ownership,
}

impl OwnNode {
    fn handle_change(&mut self, change: Option<FactChange>) {
        if let Some(change) = change {
            self.ownership.handle_change(&self.facts, change);
        }
    }

    fn set_members(&mut self, members: &[Member]) {
        let change = self.facts.set_members(members);
        self.handle_change(change);
    }

    fn drain(&mut self) {
        while let Some(change) = self.ownership.poll_change(&self.facts) {
            black_box(change);
        }
    }
}

/// Returns the first node after all elections.
fn own_node(nodes: u32, services: u32) -> OwnNode {
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".into(),
        addresses: vec!["10.0.0.0/8".into()],
        ..RawPool::default()
    }]);
    catalog.set_l2_advertisement(&RawL2Advertisement {
        name: "everywhere".into(),
        ..RawL2Advertisement::default()
    });
    let mut own_node = OwnNode {
        facts: Facts::new(true, false),
        ownership: Ownership::new(name(0)),
    };
    let advertisements = catalog.l2_advertisements();
    own_node
        .ownership
        .set_advertisements(&own_node.facts, advertisements);
    let change = own_node.facts.set_pools(catalog.pools());
    own_node.handle_change(change);
    for n in 0..nodes {
        let change = own_node.facts.set_node(Node {
            name: name(n),
            labels: Labels::new(),
            network_unavailable: false,
            draining: false,
            addresses: Vec::new(),
        });
        own_node.handle_change(change);
    }
    for n in 0..services {
        let key = ServiceKey::new("default", format!("service-{n}"));
        let change = own_node.facts.set_service(Exposure {
            key: key.clone(),
            created: 0,
            labels: Labels::new(),
            addresses: vec![address(n)],
            foreign_ingress: false,
            traffic_policy: TrafficPolicy::Cluster,
            shares: false,
        });
        own_node.handle_change(change);
        let endpoints = Endpoints {
            any: true,
            ..Endpoints::default()
        };
        let change = own_node.facts.set_endpoints(key, Some(endpoints.into()));
        own_node.handle_change(change);
    }
    own_node.set_members(&members(nodes, None));
    own_node.drain();
    own_node
}

/// Measures the change from `before` to `after`, `times` times.
fn follow(own_node: &mut OwnNode, before: &[Member], after: &[Member], times: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..times {
        own_node.set_members(before);
        own_node.drain();
        let after = after.to_vec();
        let began = Instant::now();
        own_node.set_members(&after);
        own_node.drain();
        taken += began.elapsed();
    }
    taken
}

fn a_node_dies_and_returns(c: &mut Criterion) {
    let mut group = c.benchmark_group("ownership");
    group.sample_size(10);
    for (nodes, services) in SIZES {
        let size = format!("{nodes} nodes, {services} Services");
        let mut own_node = own_node(nodes, services);
        let (all, fewer) = (members(nodes, None), members(nodes, Some(1)));
        group.bench_function(BenchmarkId::new("a node dies", &size), |b| {
            b.iter_custom(|times| follow(&mut own_node, &all, &fewer, times));
        });
        group.bench_function(BenchmarkId::new("a node returns", &size), |b| {
            b.iter_custom(|times| follow(&mut own_node, &fewer, &all, times));
        });
        let names: Vec<NodeName> = (0..nodes).map(name).collect();
        group.bench_function(BenchmarkId::new("all ranked again", &size), |b| {
            b.iter(|| {
                for service in 0..services {
                    let ranks = names.iter().map(|node| Order::new(node, address(service), 0));
                    black_box(ranks.min());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, a_node_dies_and_returns);
criterion_main!(benches);

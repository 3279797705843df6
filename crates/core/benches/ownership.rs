//! The time in which a speaker computes the elections after another node dies or returns, beside the simplest way without
//! state: rank all nodes for each Service again, as MetalLB does.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use herald_core::announce::eligibility::{Endpoints, Exposure, Node, TrafficPolicy};
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

/// Returns the machine of the first node after all elections.
fn ownership(nodes: u32, services: u32) -> Ownership {
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
    let mut machine = Ownership::new(name(0), true, false);
    machine.set_config(catalog.pools(), catalog.l2_advertisements());
    for n in 0..nodes {
        machine.set_node(Node {
            name: name(n),
            labels: Labels::new(),
            network_unavailable: false,
            draining: false,
        });
    }
    for n in 0..services {
        let key = ServiceKey::new("default", format!("service-{n}"));
        machine.set_service(Exposure {
            key: key.clone(),
            labels: Labels::new(),
            addresses: vec![address(n)],
            foreign_ingress: false,
            traffic_policy: TrafficPolicy::Cluster,
            shares: false,
        });
        let endpoints = Endpoints {
            any: true,
            ..Endpoints::default()
        };
        machine.set_endpoints(key, Some(endpoints));
    }
    machine.set_members(&members(nodes, None));
    drain(&mut machine);
    machine
}

fn drain(machine: &mut Ownership) {
    while let Some(change) = machine.poll_change() {
        black_box(change);
    }
}

/// Measures the change from `before` to `after`, `times` times.
fn follow(machine: &mut Ownership, before: &[Member], after: &[Member], times: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..times {
        machine.set_members(before);
        drain(machine);
        let after = after.to_vec();
        let began = Instant::now();
        machine.set_members(&after);
        drain(machine);
        taken += began.elapsed();
    }
    taken
}

fn a_node_dies_and_returns(c: &mut Criterion) {
    let mut group = c.benchmark_group("ownership");
    group.sample_size(10);
    for (nodes, services) in SIZES {
        let size = format!("{nodes} nodes, {services} Services");
        let mut machine = ownership(nodes, services);
        let (all, fewer) = (members(nodes, None), members(nodes, Some(1)));
        group.bench_function(BenchmarkId::new("a node dies", &size), |b| {
            b.iter_custom(|times| follow(&mut machine, &all, &fewer, times));
        });
        group.bench_function(BenchmarkId::new("a node returns", &size), |b| {
            b.iter_custom(|times| follow(&mut machine, &fewer, &all, times));
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

//! The time for a decision of the allocator, beside a plain set of used addresses that is scanned from the lowest one.
//!
//! The time of a decision is from the new Service to its desired status; the removal of the Service is not measured. The scan
//! has no ledger but the set: it only finds, takes and gives back an address. `Bare` also records which Service has which
//! address, and which Services wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use herald_core::{
    AllocationOutcome, Allocator, Catalog, Port, RawPool, Service, ServiceKey, Time, Transport,
};

/// A /16 of which 99.9 % are in use.
const SLASH_16: u32 = 1 << 16;
const IN_USE: u32 = SLASH_16 - SLASH_16 / 1000;
/// Every sixteenth address of a /8: the free ones are scattered, and a list of them would be of no use.
const SCATTERED: u32 = 1 << 20;
const BURST: u32 = 10_000;

fn allocator(addresses: &str) -> Allocator {
    let mut catalog = Catalog::new();
    let pool = RawPool {
        name: "pool".into(),
        addresses: vec![addresses.into()],
        ..RawPool::default()
    };
    catalog.set_pools(vec![pool]);
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    let mut allocator = Allocator::new();
    allocator.set_catalog(&catalog, Time::ZERO);
    allocator.activate(Time::ZERO);
    allocator
}

fn service(name: &str, cluster_ip: IpAddr) -> Service {
    Service {
        cluster_ips: [cluster_ip].into_iter().collect(),
        ..Service::new(ServiceKey::new("default", name))
    }
}

/// Gives one address each to `count` Services: the first ones, or every `stride`th one of 10.0.0.0/8.
fn fill(allocator: &mut Allocator, count: u32, stride: u32, cluster_ip: IpAddr) {
    for n in 0..count {
        let mut service = service(&format!("service-{n}"), cluster_ip);
        if stride > 1 {
            let address = Ipv4Addr::from_bits((10 << 24) + n * stride);
            service.request.addresses = Ok(vec![address.into()]);
        }
        give(allocator, service);
    }
}

/// Makes one decision, as the controller does.
fn give(allocator: &mut Allocator, service: Service) -> IpAddr {
    allocator.set_service(service, Time::ZERO);
    let decision = allocator.poll_decision().expect("a decision on the new Service");
    match decision.outcome {
        AllocationOutcome::Assigned(assignment) => assignment.addresses[0],
        AllocationOutcome::Unassigned(refusal) => panic!("no address: {refusal}"),
    }
}

/// Finds the lowest free address in the simplest way: examines each one, from the lowest.
fn scan(used: &BTreeSet<u128>, addresses: u128) -> Option<u128> {
    (0..addresses).find(|address| !used.contains(address))
}

/// The simplest allocator that records which Service has which address and which Services wait: without pools, reasons and
/// quarantine.
struct Bare {
    free: BTreeSet<u128>,
    held: HashMap<ServiceKey, u128>,
    waiting: VecDeque<ServiceKey>,
}

impl Bare {
    fn of(addresses: u128) -> Self {
        Self {
            free: (0..addresses).collect(),
            held: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    fn give(&mut self, key: ServiceKey) -> Option<u128> {
        let Some(address) = self.free.pop_first() else {
            self.waiting.push_back(key);
            return None;
        };
        self.held.insert(key, address);
        Some(address)
    }

    fn leave(&mut self, key: &ServiceKey) -> Option<u128> {
        self.free.extend(self.held.remove(key));
        let next = self.waiting.pop_front()?;
        self.give(next)
    }
}

fn next_free(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next-free");
    group.throughput(Throughput::Elements(1));
    let four = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    let six = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (name, addresses, count, stride, cluster_ip) in [
        ("v4-16-99.9%", "10.0.0.0/16", IN_USE, 1, four),
        ("v4-8-scattered", "10.0.0.0/8", SCATTERED, 16, four),
        ("v6-64", "fc00::/64", IN_USE, 1, six),
    ] {
        let mut allocator = allocator(addresses);
        fill(&mut allocator, count, stride, cluster_ip);
        let service = service("one-more", cluster_ip);
        let key = service.key.clone();
        group.bench_function(BenchmarkId::new("herald", name), |bencher| {
            bencher.iter_custom(|decisions| {
                let mut taken = Duration::ZERO;
                for _ in 0..decisions {
                    let service = service.clone();
                    let start = Instant::now();
                    black_box(give(&mut allocator, service));
                    taken += start.elapsed();
                    allocator.remove_service(&key, Time::ZERO);
                }
                taken
            });
        });
        let used = (0..u128::from(count)).map(|n| n * u128::from(stride));
        let mut used: BTreeSet<u128> = used.collect();
        group.bench_function(BenchmarkId::new("scan", name), |bencher| {
            bencher.iter(|| {
                let address = scan(&used, 1 << 64).expect("not full");
                used.insert(address);
                used.remove(&address);
                black_box(address)
            });
        });
    }
    group.finish();
}

/// Ten thousand Services at once: all get addresses, all wait and get one as others leave, or all share one address.
fn burst(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("burst-10000");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    group.sample_size(10);
    let cluster_ip = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    let services = |prefix: &str| -> Vec<Service> {
        let names = (0..BURST).map(|n| format!("{prefix}-{n}"));
        names.map(|name| service(&name, cluster_ip)).collect()
    };
    let arriving = services("new");
    group.bench_function("herald/assigned", |bencher| {
        bencher.iter_batched_ref(
            || (allocator("10.0.0.0/16"), arriving.clone()),
            |(allocator, arriving)| {
                for service in arriving.drain(..) {
                    black_box(give(allocator, service));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("bare/assigned", |bencher| {
        bencher.iter_batched_ref(
            || (Bare::of(1 << 16), arriving.clone()),
            |(bare, arriving)| {
                for service in arriving.drain(..) {
                    black_box(bare.give(service.key));
                }
            },
            BatchSize::LargeInput,
        );
    });
    let holding = services("old");
    group.bench_function("herald/served-as-others-leave", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut allocator = allocator("10.0.0.0-10.0.39.15");
                for service in holding.iter().chain(&arriving) {
                    allocator.set_service(service.clone(), Time::ZERO);
                }
                while allocator.poll_decision().is_some() {}
                allocator
            },
            |allocator| {
                for service in &holding {
                    allocator.remove_service(&service.key, Time::ZERO);
                    black_box(
                        allocator
                            .poll_decision()
                            .expect("the oldest waiting Service is served"),
                    );
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("bare/served-as-others-leave", |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut bare = Bare::of(BURST.into());
                for service in holding.iter().chain(&arriving) {
                    bare.give(service.key.clone());
                }
                bare
            },
            |bare| {
                for service in &holding {
                    black_box(bare.leave(&service.key));
                }
            },
            BatchSize::LargeInput,
        );
    });
    let with_port = |(service, number): (&Service, u16)| Service {
        sharing_key: "k".into(),
        ports: BTreeSet::from([Port {
            protocol: Transport::Tcp,
            number,
        }]),
        ..service.clone()
    };
    let sharing: Vec<Service> = arriving.iter().zip(1..).map(with_port).collect();
    group.bench_function("herald/sharing-one-address", |bencher| {
        bencher.iter_batched_ref(
            || (allocator("10.0.0.1/32"), sharing.clone()),
            |(allocator, sharing)| {
                for service in sharing.drain(..) {
                    black_box(give(allocator, service));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("bare/sharing-one-address", |bencher| {
        bencher.iter_batched_ref(
            || (HashMap::new(), HashMap::new(), sharing.clone()),
            |(ports, held, sharing)| {
                for service in sharing.drain(..) {
                    for port in service.ports {
                        ports.entry(port).or_insert_with(|| service.key.clone());
                    }
                    black_box(held.insert(service.key, 1u128));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Services with one key and one port, which cannot share: each needs another address. Twice as many should need little more
/// than twice the time.
fn sharers_in_conflict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one-key-one-port");
    group.sample_size(10);
    let cluster_ip = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    for count in [2_500, 5_000, 10_000u32] {
        group.throughput(Throughput::Elements(u64::from(count)));
        let names = (0..count).map(|n| format!("service-{n}"));
        let port = Port {
            protocol: Transport::Tcp,
            number: 443,
        };
        let services: Vec<Service> = names
            .map(|name| Service {
                sharing_key: "k".into(),
                ports: BTreeSet::from([port]),
                ..service(&name, cluster_ip)
            })
            .collect();
        group.bench_function(BenchmarkId::new("herald", count), |bencher| {
            bencher.iter_batched_ref(
                || (allocator("10.0.0.0/16"), services.clone()),
                |(allocator, services)| {
                    for service in services.drain(..) {
                        black_box(give(allocator, service));
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, next_free, burst, sharers_in_conflict);
criterion_main!(benches);

//! How fast addresses are given, beside a plain set of used addresses that is scanned from the lowest.
//!
//! A decision is everything from a Service to the answer what its status must say; that the Service leaves again is
//! not counted. The scan keeps no books but the set: it only finds, takes and gives back an address.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use herald_core::{Allocator, Catalog, Outcome, Port, Protocol, RawPool, Service, ServiceKey, Time};

/// A /16 of which 99.9 % are in use.
const SLASH_16: u32 = 1 << 16;
const IN_USE: u32 = SLASH_16 - SLASH_16 / 1000;
const BURST: u32 = 10_000;

/// Bytes in use, of the whole program.
static IN_MEMORY: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

/// The system's allocator, counted.
struct Counted;

#[expect(
    unsafe_code,
    reason = "the trait of global allocators is unsafe; everything is passed on as it is"
)]
// SAFETY: every call goes unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_MEMORY.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        IN_MEMORY.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(place, layout) }
    }
}

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
        cluster_ips: vec![cluster_ip],
        ..Service::new(ServiceKey::new("default", name))
    }
}

fn fill(allocator: &mut Allocator, count: u32, cluster_ip: IpAddr) {
    for n in 0..count {
        give(allocator, service(&format!("service-{n}"), cluster_ip));
    }
}

/// One decision, as the controller asks for it.
fn give(allocator: &mut Allocator, service: Service) -> IpAddr {
    allocator.set_service(service, Time::ZERO);
    let decision = allocator.poll_decision().expect("a new Service is decided on");
    match decision.outcome {
        Outcome::Assigned(assignment) => assignment.addresses[0],
        Outcome::Unassigned(refusal) => panic!("no address: {refusal}"),
    }
}

/// The least that finds the lowest free address: look whether each is in use, from the lowest.
fn scan(used: &BTreeSet<u128>, addresses: u128) -> Option<u128> {
    (0..addresses).find(|address| !used.contains(address))
}

#[expect(clippy::print_stderr, reason = "what a benchmark measures")]
fn report_memory(name: &str, bytes: usize, services: u32) {
    let each = bytes / services as usize;
    eprintln!("{name}: {each} bytes a Service, the Service itself included");
}

fn next_free(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next-free");
    group.throughput(Throughput::Elements(1));
    let four = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    let six = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (name, addresses, count, cluster_ip) in [
        ("v4-16-99.9%", "10.0.0.0/16", IN_USE, four),
        ("v4-8", "10.0.0.0/8", IN_USE, four),
        ("v6-64", "fc00::/64", IN_USE, six),
    ] {
        let mut allocator = allocator(addresses);
        let before = IN_MEMORY.load(Ordering::Relaxed);
        fill(&mut allocator, count, cluster_ip);
        report_memory(name, IN_MEMORY.load(Ordering::Relaxed) - before, count);
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
        let mut used: BTreeSet<u128> = (0..u128::from(count)).collect();
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

/// Ten thousand Services at once: all get addresses; none does; all wait and get one as others leave.
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
            || allocator("10.0.0.0/16"),
            |allocator| {
                for service in &arriving {
                    black_box(give(allocator, service.clone()));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("scan/assigned", |bencher| {
        bencher.iter(|| {
            let mut used = BTreeSet::new();
            let mut held = BTreeMap::new();
            for service in &arriving {
                let address = scan(&used, 1 << 16).expect("not full");
                used.insert(address);
                held.insert(service.key.clone(), address);
            }
            black_box(held)
        });
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
                            .expect("the oldest that waits is served"),
                    );
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("herald/sharing-one-address", |bencher| {
        bencher.iter_batched_ref(
            || allocator("10.0.0.1/32"),
            |allocator| {
                for (service, number) in arriving.iter().zip(1..) {
                    let mut service = Service {
                        sharing_key: "k".into(),
                        ..service.clone()
                    };
                    service.ports.insert(Port {
                        protocol: Protocol::Tcp,
                        number,
                    });
                    black_box(give(allocator, service));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Services with one key and one port, which cannot share: each needs an address of its own. Twice as many
/// should take little more than twice the time.
fn sharers_in_conflict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one-key-one-port");
    group.sample_size(10);
    let cluster_ip = IpAddr::from(Ipv4Addr::new(10, 96, 0, 1));
    for count in [2_500, 5_000, 10_000u32] {
        group.throughput(Throughput::Elements(u64::from(count)));
        let names = (0..count).map(|n| format!("service-{n}"));
        let port = Port {
            protocol: Protocol::Tcp,
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
                || allocator("10.0.0.0/16"),
                |allocator| {
                    for service in &services {
                        black_box(give(allocator, service.clone()));
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

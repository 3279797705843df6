//! The memory for a Service with an address, beside a plain map from its name to the address.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use herald_core::{Allocator, Catalog, RawPool, Service, ServiceKey, Time};

const SERVICES: u32 = 65_000;

/// The bytes in use by the whole program.
static IN_MEMORY: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

/// The system's allocator, which counts the bytes in use.
struct Counted;

#[expect(
    unsafe_code,
    reason = "the trait of global allocators is unsafe; every call is passed on unchanged"
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

fn allocator() -> Allocator {
    let mut catalog = Catalog::new();
    catalog.set_pools(vec![RawPool {
        name: "pool".into(),
        addresses: vec!["10.0.0.0/8".into()],
        ..RawPool::default()
    }]);
    let mut allocator = Allocator::new();
    allocator.set_catalog(&catalog, Time::ZERO);
    allocator.activate(Time::ZERO);
    allocator
}

/// Prints how many bytes for each Service `fill` leaves in memory.
#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn report<T>(name: &str, fill: impl FnOnce() -> T) {
    let before = IN_MEMORY.load(Ordering::Relaxed);
    let kept = fill();
    let bytes = IN_MEMORY.load(Ordering::Relaxed) - before;
    println!("{name:<28}{:>8} bytes a Service", bytes / SERVICES as usize);
    drop(kept);
}

fn main() {
    let key = |n| ServiceKey::new("default", format!("service-{n}"));
    report("map from name to address", || {
        let address = |n| IpAddr::from(Ipv4Addr::from_bits(n));
        (0..SERVICES)
            .map(|n| (key(n), address(n)))
            .collect::<HashMap<_, _>>()
    });
    let service = |n| Service {
        cluster_ips: [IpAddr::from(Ipv4Addr::LOCALHOST)].into_iter().collect(),
        ..Service::new(key(n))
    };
    report("Services alone", || {
        (0..SERVICES).map(service).collect::<Vec<_>>()
    });
    report("allocator with the Services", || {
        let mut allocator = allocator();
        for n in 0..SERVICES {
            allocator.set_service(service(n), Time::ZERO);
            while allocator.poll_decision().is_some() {}
        }
        allocator
    });
}

//! The processor time until peers have been handed all routes, or one that changed, and the memory for a route.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use herald_bgp::rib_out::{NextHops, RibOut};
use herald_bgp::session::Negotiated;
use herald_bgp::wire::{
    Asn, BgpIdentifier, HoldTime, MAX_LENGTH, NextHop, Nlri, PathAttributes, UpdateFormat,
};
use herald_core::Family;

const ROUTES: u32 = 10_000;
const PEERS: u32 = 100;
const RUNS: u32 = 21;

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

fn negotiated() -> Negotiated {
    Negotiated {
        local_asn: Asn(65_001),
        peer_asn: Asn(65_000),
        peer_identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
        hold_time: HoldTime::NONE,
        keepalive: None,
        families: vec![Family::V4, Family::V6],
        format: UpdateFormat {
            four_octet_as: true,
            max_length: MAX_LENGTH,
            internal: false,
        },
        extended_next_hop: false,
        enhanced_refresh: true,
        graceful_restart: false,
        notification_restart: false,
    }
}

fn set(rib: &mut RibOut<u32>, n: u32, med: u32) {
    let mut attributes = PathAttributes::originated(Vec::new());
    attributes.med = Some(med);
    let address = Ipv4Addr::from_bits((10 << 24) + n);
    rib.set_route(Nlri::host(address.into()), Some(attributes));
}

fn filled() -> RibOut<u32> {
    let mut rib = RibOut::default();
    for n in 0..ROUTES {
        set(&mut rib, n, 100);
    }
    rib
}

fn add_peers(rib: &mut RibOut<u32>, count: u32) {
    let next_hops = NextHops {
        v4: Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 2))),
        v6: None,
    };
    for key in 0..count {
        rib.add_peer(key, &negotiated(), next_hops);
    }
}

/// Hands each peer a piece in turn until all have everything; returns the bytes.
fn send(rib: &mut RibOut<u32>, peers: u32) -> usize {
    let mut bytes = 0;
    loop {
        let pieces = (0..peers).filter_map(|key| rib.poll_messages(&key, true));
        let sent: usize = pieces.map(|piece| piece.len()).sum();
        if sent == 0 {
            return bytes;
        }
        bytes += sent;
    }
}

/// Prints the median time of `measured` after `prepare`.
#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn report<T>(name: &str, mut prepare: impl FnMut() -> T, mut measured: impl FnMut(&mut T) -> usize) {
    let mut times: Vec<Duration> = Vec::new();
    let mut bytes = 0;
    for _ in 0..RUNS {
        let mut state = prepare();
        let start = Instant::now();
        bytes = measured(&mut state);
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{name:<44}{:>10.1} us {bytes:>10} bytes",
        median.as_secs_f64() * 1e6
    );
}

#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn main() {
    for peers in [1, PEERS] {
        let prepare = || {
            let mut rib = filled();
            add_peers(&mut rib, peers);
            rib
        };
        report(&format!("{ROUTES} routes to {peers} new peers"), prepare, |rib| {
            send(rib, peers)
        });
        let mut rib = prepare();
        send(&mut rib, peers);
        let mut med = 0;
        report(
            &format!("1 of {ROUTES} routes to {peers} peers"),
            || (),
            |()| {
                med += 1;
                set(&mut rib, ROUTES / 2, med);
                send(&mut rib, peers)
            },
        );
    }
    let before = IN_MEMORY.load(Ordering::Relaxed);
    let mut rib = filled();
    add_peers(&mut rib, 1);
    send(&mut rib, 1);
    let one = IN_MEMORY.load(Ordering::Relaxed) - before;
    println!("{:<44}{:>10} bytes", "memory for a route", one / ROUTES as usize);
    add_peers(&mut rib, PEERS);
    send(&mut rib, PEERS);
    let all = IN_MEMORY.load(Ordering::Relaxed) - before;
    let for_peer = (all - one) / (PEERS as usize - 1);
    println!("{:<44}{for_peer:>10} bytes", "memory for a further peer");
}

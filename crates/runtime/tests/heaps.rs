//! Each thread has its own heap. The settings of the C library hold for the whole process, so this test has one of its own.

#![cfg(target_env = "gnu")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Barrier;

use herald_runtime::memory::{Heaps, init};

/// Heaps begin at multiples of this many bytes (`HEAP_MAX_SIZE` of glibc where addresses have 64 bits).
const HEAP: usize = 64 << 20;
/// More than processors times eight, the limit that glibc has of its own, on a machine for tests.
const THREADS: usize = 32;

#[test]
fn threads_do_not_share_heaps() {
    init(Heaps::PerThread).expect("a thread");
    let all_run = Barrier::new(THREADS);
    let heaps: BTreeSet<usize> = std::thread::scope(|scope| {
        let heap = || {
            let block = black_box(Box::new([0_u8; 2048]));
            all_run.wait();
            block.as_ptr().addr() / HEAP
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(heap)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .collect()
    });
    assert_eq!(heaps.len(), THREADS);
}

//! How many heaps the C library has, and how much memory it keeps of what was freed.

use std::io;
#[cfg(target_env = "gnu")]
use std::{thread, time::Duration};

/// How often free memory is returned to the kernel. Lists and bursts of changes leave megabytes of it; a pass takes some milliseconds.
#[cfg(target_env = "gnu")]
const TRIM_PERIOD: Duration = Duration::from_secs(30);

/// Which threads share a heap. A thread that allocates waits while another one uses its heap, also while the scheduler has
/// interrupted that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heaps {
    /// All threads use one, which takes the least memory.
    Shared,
    /// Each thread has its own, so that a thread of high priority does not wait for one of low priority.
    PerThread,
}

impl Heaps {
    /// The most heaps; more than a program has threads, if each is to have its own.
    #[cfg(target_env = "gnu")]
    const fn most(self) -> i32 {
        match self {
            Self::Shared => 1,
            Self::PerThread => 64,
        }
    }
}

/// Sets how many heaps the C library has, and makes it return what is free at the end of a heap to the kernel. Its defaults, ever
/// larger freed blocks that it keeps, suit programs that use again what they have freed. Here the lists that are parsed at the start
/// are much larger than what is kept of them. A thread returns what is free inside of the heaps from time to time.
///
/// Call it before any other thread is started, and before the priority of the calling thread is lowered: while the thread looks through
/// a heap, the one that uses the heap may wait, so it must not have a lower priority. With another C library than glibc nothing is done.
///
/// # Errors
/// When no thread can be started.
pub fn init(heaps: Heaps) -> io::Result<()> {
    #[cfg(not(target_env = "gnu"))]
    let _ = heaps;
    #[cfg(target_env = "gnu")]
    {
        set_parameters(heaps);
        let thread = thread::Builder::new().name("trim".to_owned());
        thread.spawn(|| {
            loop {
                thread::sleep(TRIM_PERIOD);
                trim();
            }
        })?;
    }
    Ok(())
}

#[cfg(target_env = "gnu")]
fn set_parameters(heaps: Heaps) {
    for (parameter, value) in [
        (libc::M_ARENA_MAX, heaps.most()),
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_MMAP_THRESHOLD, KEPT),
    ] {
        #[expect(
            unsafe_code,
            reason = "nix does not wrap it; the call takes two numbers and changes the settings of the allocator"
        )]
        let is_set = unsafe { libc::mallopt(parameter, value) };
        debug_assert_eq!(is_set, 1, "the C library knows the parameter {parameter}");
    }
}

/// Returns the free pages of all heaps to the kernel.
#[cfg(target_env = "gnu")]
fn trim() {
    #[expect(
        unsafe_code,
        reason = "nix does not wrap it; the call takes a number and frees what is free already"
    )]
    let _is_any_freed = unsafe { libc::malloc_trim(0) };
}

/// Free bytes at the end of a heap that are kept, and the size of blocks that get a mapping of their own.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 128 * 1024;

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::fs;
    use std::hint::black_box;

    use super::*;

    const BLOCK: usize = 1024;
    const BLOCKS: usize = 48 * 1024;
    /// One of so many blocks stays.
    const KEPT_BLOCKS: usize = 64;

    /// Memory of this process that is in no file, in bytes.
    fn resident() -> usize {
        let status = fs::read_to_string("/proc/self/status").expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        kibibytes.expect("the kernel tells it") * 1024
    }

    #[test]
    fn free_memory_between_blocks_that_are_used_is_returned() {
        let mut blocks: Vec<Box<[u8]>> = (0..BLOCKS).map(|_| black_box(vec![1; BLOCK].into())).collect();
        let mut index = 0;
        blocks.retain(|_| {
            index += 1;
            index % KEPT_BLOCKS == 0
        });
        let before = resident();
        trim();
        let after = resident();
        assert!(after + BLOCKS * BLOCK * 3 / 4 < before, "{before} {after}");
        assert!(blocks.iter().flatten().all(|byte| *byte == 1));
    }
}

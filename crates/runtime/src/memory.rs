//! How many heaps the C library has, and how much memory it keeps of what was freed.

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
/// are much larger than what is kept of them. Call it before any thread is started.
pub fn init(heaps: Heaps) {
    #[cfg(not(target_env = "gnu"))]
    let _ = heaps;
    #[cfg(target_env = "gnu")]
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

/// Free bytes at the end of a heap that are kept, and the size of blocks that get a mapping of their own.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 128 * 1024;

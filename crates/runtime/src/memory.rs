//! How much memory the C library keeps of what was freed.

/// Makes the C library use one heap for all threads and return what is free at its end to the kernel. Its defaults, a heap for
/// each thread and ever larger freed blocks that it keeps, suit programs that use again what they have freed. Here the lists
/// that are parsed at the start are much larger than what is kept of them. Call it before any thread is started.
pub fn init() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
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

/// Free bytes at the end of the heap that are kept, and the size of blocks that get a mapping of their own.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 128 * 1024;

//! The seeds that a test runs with.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::LazyLock;

/// Runs `test` with the seeds below `count`. The environment variable `HERALD_SIM_SEED` selects one seed, to repeat a
/// failure, and `HERALD_SIM_SEEDS` sets another count. A failure prints its seed, and `HERALD_SIM_TRACE=1` prints which
/// nodes answer for which addresses, and when.
///
/// # Panics
/// If the test does, or a variable is no number.
pub fn for_each_seed(count: u64, test: impl Fn(u64)) {
    let variable = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name}={value} is no number")),
        )
    };
    let seeds = match variable("HERALD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("HERALD_SIM_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            print_line(&format!(
                "the seed is {seed}; repeat the failure with HERALD_SIM_SEED={seed}"
            ));
            resume_unwind(panic);
        }
    }
}

/// Prints a text if the environment variable `HERALD_SIM_TRACE` is set.
pub(crate) fn trace(text: impl FnOnce() -> String) {
    static IS_ENABLED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("HERALD_SIM_TRACE").is_some());
    if *IS_ENABLED {
        print_line(&text());
    }
}

#[expect(clippy::print_stderr, reason = "a failed test prints its seed")]
fn print_line(text: &str) {
    eprintln!("{text}");
}

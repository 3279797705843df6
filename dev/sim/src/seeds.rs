//! Which seeds a test runs with.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::LazyLock;

/// Runs `test` with seeds 0 to `count`, or only with that in the environment variable `HERALD_SIM_SEED`, to see a failure
/// again; `HERALD_SIM_SEEDS` is another count. A failure tells its seed, and `HERALD_SIM_TRACE=1` who answers for what, when.
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
            say(&format!(
                "this was seed {seed}: see it again with HERALD_SIM_SEED={seed}"
            ));
            resume_unwind(panic);
        }
    }
}

/// Tells what happens if the environment variable `HERALD_SIM_TRACE` is set.
pub(crate) fn trace(text: impl FnOnce() -> String) {
    static IS_WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("HERALD_SIM_TRACE").is_some());
    if *IS_WANTED {
        say(&text());
    }
}

#[expect(clippy::print_stderr, reason = "the one thing that is told beside a panic")]
fn say(text: &str) {
    eprintln!("{text}");
}

//! Hosts on segments for tests that are not asynchronous. Every failure is a panic that names what failed.

mod host;
mod segment;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

pub use host::Host;
pub use segment::{Port, Segment};

/// How long a condition may take. It is generous because it measures nothing.
const DEADLINE: Duration = Duration::from_secs(15);

/// The pause between two polls: short beside everything that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Drives netlink for all hosts. Started at its first use, which must follow [`crate::sandbox::enter`].
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime can be built")
});

/// Runs a future to its end on the calling thread, whose network namespace its sockets belong to.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Polls `check` until it returns a value.
///
/// # Panics
/// When there is none after 15 seconds, naming `what` was awaited.
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

//! Which threads of the speaker get the processor first: those of wire and gossip, on which the peers and clients wait.

use std::sync::LazyLock;

use rustix::process::{getpriority_process, setpriority_process};

/// How far the priority of the other threads is lower (setpriority(2)): they get half of the processor time of a thread of wire or
/// gossip where both want to run. It takes no privilege to lower a priority. In a container it counts among the speaker's own
/// threads only.
const DISTANCE: i32 = 3;

/// The priority of the threads that [`lower`] is called in; none of them was lowered before.
static LOWERED: LazyLock<i32> = LazyLock::new(|| getpriority_process(None).unwrap_or_default() + DISTANCE);

/// Lowers the priority of the calling thread, and of the threads that it starts from now on.
pub(crate) fn lower() {
    if let Err(error) = setpriority_process(None, *LOWERED) {
        tracing::debug!(%error, "all threads run with the same priority");
    }
}

//! Faults in force, and their use by requests.

use std::time::Duration;

use tokio::sync::watch;

/// The faults that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FaultState {
    /// Connections are closed and new ones refused.
    pub(crate) away: bool,
    /// Counts up when all watches are to be cut off.
    pub(crate) dropped_watches: u64,
    /// The revision went back: watches from revisions of the future are accepted.
    pub(crate) restored: bool,
    /// Watches stay open but say nothing.
    pub(crate) stalled: bool,
    pub(super) delay: Option<Duration>,
    pub(super) refusals: usize,
    pub(super) refusal_code: u16,
    pub(super) conflicts: usize,
}

/// How long the next request is to wait.
pub(crate) fn delay(faults: &watch::Sender<FaultState>) -> Option<Duration> {
    faults.borrow().delay
}

/// The code with which this request is to be refused, if it is; counts it.
pub(crate) fn take_refusal(faults: &watch::Sender<FaultState>) -> Option<u16> {
    let code = faults.borrow().refusal_code;
    take(faults, |state| &mut state.refusals).then_some(code)
}

/// Whether this write is to fail with a conflict; counts it.
pub(crate) fn take_conflict(faults: &watch::Sender<FaultState>) -> bool {
    take(faults, |state| &mut state.conflicts)
}

fn take(faults: &watch::Sender<FaultState>, counter: impl Fn(&mut FaultState) -> &mut usize) -> bool {
    faults.send_if_modified(|state| {
        let left = counter(state);
        let any = *left > 0;
        *left = left.saturating_sub(1);
        any
    })
}

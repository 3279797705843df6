//! Misbehaviour on request: what a client must survive, made to happen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Shared;

/// What is wrong at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FaultState {
    /// Connections are closed and new ones refused.
    pub(crate) away: bool,
    /// Counts up when all watches are to be cut off.
    pub(crate) dropped_watches: u64,
    /// Watches stay open but say nothing.
    pub(crate) stalled: bool,
    delay: Option<Duration>,
    refusals: usize,
    refusal_code: u16,
    conflicts: usize,
}

/// Makes a running [`Server`](crate::Server) misbehave. Clones act on the same server.
#[derive(Debug, Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Goes away (closes every connection, refuses new ones) or comes back with its state intact.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    /// Cuts off every running watch, in the middle of the response.
    pub fn drop_watches(&self) {
        self.change(|state| state.dropped_watches += 1);
    }

    /// Keeps watches open without sending anything, not even their end; what happened meanwhile is
    /// sent when the stall ends.
    pub fn stall_watches(&self, stalled: bool) {
        self.change(|state| state.stalled = stalled);
    }

    /// Forgets the past: the next watch that resumes from a version seen so far gets 410 Expired.
    /// Running watches go on.
    pub fn expire_resource_versions(&self) {
        self.shared.expire();
    }

    /// Answers every request only after this time; `None` ends it.
    pub fn set_delay(&self, delay: Option<Duration>) {
        self.change(|state| state.delay = delay);
    }

    /// Refuses the next `n` requests to resources, watches included, with this HTTP status code.
    pub fn refuse_next(&self, n: usize, status_code: u16) {
        self.change(|state| {
            state.refusals = n;
            state.refusal_code = status_code;
        });
    }

    /// Answers the next `n` changes of existing objects (PUT and PATCH) with 409 Conflict.
    pub fn conflict_next(&self, n: usize) {
        self.change(|state| state.conflicts = n);
    }

    /// Behaves again. Watches that were dropped stay dropped, versions that expired stay expired.
    pub fn clear(&self) {
        self.change(|state| {
            let dropped_watches = state.dropped_watches;
            *state = FaultState {
                dropped_watches,
                ..FaultState::default()
            };
        });
    }

    fn change(&self, change: impl FnOnce(&mut FaultState)) {
        self.shared.faults.send_modify(change);
    }
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

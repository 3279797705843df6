//! Faults to inject: what a client has to survive.

pub(crate) mod state;

use std::sync::Arc;
use std::time::Duration;

use self::state::FaultState;
use crate::cluster::Backup;
use crate::shared::Shared;

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

    /// Makes a backup, as of etcd.
    pub fn backup(&self) -> Backup {
        self.shared.cluster().backup()
    }

    /// Goes back to a backup, and with it the revision. As with etcd, running watches stay open and hear of nothing before the
    /// revision that they have reached is reached again; nor do watches that resume from a revision of the future.
    pub fn restore(&self, backup: Backup) {
        self.change(|state| state.restored = true);
        self.shared.change(|cluster| cluster.restore(backup));
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

    /// Behaves again. Watches that were dropped stay dropped, versions that expired stay expired, and what was restored stays so.
    pub fn clear(&self) {
        self.change(|state| {
            let dropped_watches = state.dropped_watches;
            *state = FaultState {
                dropped_watches,
                restored: state.restored,
                ..FaultState::default()
            };
        });
    }

    fn change(&self, change: impl FnOnce(&mut FaultState)) {
        self.shared.faults.send_modify(change);
    }
}

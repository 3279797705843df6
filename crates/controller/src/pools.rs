//! Pools as the API server last showed them, and what their status should say.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::IPAddressPoolStatus;
use herald_core::PoolName;
use herald_core::ipam::Usage;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::json;

use crate::input::WrittenPool;
use crate::write::{Target, Writes, Written};

/// The pools that exist, in force or not.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    known: BTreeMap<PoolName, Known>,
    /// Those of which something has changed since they were last compared with what their status says.
    unsettled: BTreeSet<PoolName>,
}

#[derive(Debug)]
struct Known {
    reference: ObjectReference,
    /// What the status says, as far as we know.
    shown: Option<IPAddressPoolStatus>,
    writing: Option<IPAddressPoolStatus>,
}

impl Pools {
    pub(crate) fn set(&mut self, pool: &WrittenPool) {
        let known = Known {
            reference: pool.reference.clone(),
            shown: pool.status.clone(),
            writing: None,
        };
        let name = PoolName::new(pool.raw.name.clone());
        let writing = self.known.remove(&name).and_then(|before| before.writing);
        self.known.insert(name.clone(), Known { writing, ..known });
        self.unsettle(name);
    }

    pub(crate) fn remove(&mut self, name: &PoolName) {
        self.known.remove(name);
    }

    pub(crate) fn reference(&self, name: &PoolName) -> Option<&ObjectReference> {
        self.known.get(name).map(|known| &known.reference)
    }

    /// How much of a pool is in use may have changed.
    pub(crate) fn unsettle(&mut self, name: PoolName) {
        self.unsettled.insert(name);
    }

    /// The next one to be reconciled.
    pub(crate) fn poll_unsettled(&mut self) -> Option<PoolName> {
        self.unsettled.pop_first()
    }

    /// Writes the status of a pool unless it says so already. One write at a time, with a pause after each: what changes
    /// meanwhile goes into the next, so that 10 000 assignments are not 10 000 writes.
    pub(crate) fn reconcile(&mut self, name: &PoolName, usage: &Usage, writes: &mut Writes) {
        let Some(known) = self.known.get_mut(name) else {
            return;
        };
        let status = status(usage);
        if known.writing.is_none() && known.shown.as_ref() != Some(&status) {
            writes.submit(Target::Pool(name.clone()), json!({"status": status}));
            known.writing = Some(status);
        }
    }

    /// Nothing is being written any more.
    pub(crate) fn cancel_writes(&mut self) {
        self.known.values_mut().for_each(|known| known.writing = None);
        self.unsettled.extend(self.known.keys().cloned());
    }

    /// A write has ended. The next waits until the pause is over.
    pub(crate) fn handle_written(&mut self, name: &PoolName, result: &Written) {
        let Some(known) = self.known.get_mut(name) else {
            return;
        };
        self.unsettled.insert(name.clone());
        match result {
            Written::Version(_) => known.shown.clone_from(&known.writing),
            Written::PauseOver => known.writing = None,
            Written::Outdated | Written::Refused(_) | Written::Failed(_) | Written::Fenced => {}
        }
    }
}

/// Counts beyond 63 bits stop at their end, as in MetalLB.
fn status(usage: &Usage) -> IPAddressPoolStatus {
    let count = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
    IPAddressPoolStatus {
        assigned_ipv4: count(usage.assigned_v4),
        assigned_ipv6: count(usage.assigned_v6),
        available_ipv4: count(usage.available_v4),
        available_ipv6: count(usage.available_v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_counts_stop_at_63_bits() {
        let usage = Usage {
            assigned_v6: 1,
            available_v6: u128::MAX,
            ..Usage::default()
        };
        let status = status(&usage);
        assert_eq!((status.assigned_ipv6, status.available_ipv6), (1, i64::MAX));
    }
}

//! The observed pools, and the desired counts in their statuses.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::IPAddressPoolStatus;
use herald_core::PoolName;
use herald_core::ipam::Usage;
use herald_runtime::reconcile::Written;
use serde_json::{Value, json};

use crate::input::WrittenPool;

/// The pools that exist, in force or not.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    records: BTreeMap<PoolName, PoolCounts>,
    /// Pools whose desired status may differ from the observed one.
    stale: BTreeSet<PoolName>,
}

#[derive(Debug)]
struct PoolCounts {
    /// The status of the newest version that is known.
    observed: Option<IPAddressPoolStatus>,
    /// The status that was handed out to be written. It stays until the pause after the write is over.
    in_flight: Option<IPAddressPoolStatus>,
}

impl Pools {
    /// Takes a new or changed pool.
    pub(crate) fn set(&mut self, pool: &WrittenPool) {
        let name = PoolName::new(pool.raw.name.clone());
        let before = self.records.remove(&name);
        let record = PoolCounts {
            observed: pool.status.clone(),
            in_flight: before.and_then(|before| before.in_flight),
        };
        self.records.insert(name.clone(), record);
        self.stale.insert(name);
    }

    /// Takes that a pool is gone.
    pub(crate) fn remove(&mut self, name: &PoolName) {
        self.records.remove(name);
    }

    /// Takes that another number of addresses of a pool may be in use.
    pub(crate) fn handle_changed(&mut self, name: PoolName) {
        self.stale.insert(name);
    }

    /// Returns the next pool to be reconciled.
    pub(crate) fn poll_stale(&mut self) -> Option<PoolName> {
        self.stale.pop_first()
    }

    /// Returns the patch of a pool's status, unless the status is as desired. One write is in flight at a time, with a pause
    /// after it: what changes in between goes into the next one, so that 10 000 assignments are not 10 000 writes.
    pub(crate) fn reconcile(&mut self, name: &PoolName, usage: &Usage) -> Option<Value> {
        let record = self.records.get_mut(name)?;
        let status = status(usage);
        if record.in_flight.is_some() || record.observed.as_ref() == Some(&status) {
            return None;
        }
        let patch = json!({"status": status});
        record.in_flight = Some(status);
        Some(patch)
    }

    /// Takes that nothing is in flight any more.
    pub(crate) fn handle_cancelled(&mut self) {
        self.records
            .values_mut()
            .for_each(|record| record.in_flight = None);
        self.stale.extend(self.records.keys().cloned());
    }

    /// Takes how a write ended. The next one waits until the pause is over.
    pub(crate) fn handle_written(&mut self, name: &PoolName, written: &Written) {
        let Some(record) = self.records.get_mut(name) else {
            return;
        };
        if matches!(written, Written::Version(_)) {
            record.observed.clone_from(&record.in_flight);
        }
        self.stale.insert(name.clone());
    }

    /// Takes that the status of a pool may be written again.
    pub(crate) fn handle_pause_over(&mut self, name: &PoolName) {
        if let Some(record) = self.records.get_mut(name) {
            record.in_flight = None;
            self.stale.insert(name.clone());
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
    use herald_core::config::RawPool;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn pool(status: Option<IPAddressPoolStatus>) -> WrittenPool {
        WrittenPool {
            raw: RawPool {
                name: "pool".to_owned(),
                ..RawPool::default()
            },
            reference: ObjectReference::default(),
            status,
        }
    }

    fn usage(assigned: u128) -> Usage {
        Usage {
            assigned_v4: assigned,
            available_v4: 10 - assigned,
            ..Usage::default()
        }
    }

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

    #[test]
    fn one_write_is_in_flight_until_the_pause_after_it_is_over() {
        let name = PoolName::from("pool");
        let mut pools = Pools::default();
        assert_eq!(pools.reconcile(&name, &usage(1)), None);
        pools.set(&pool(None));
        assert_eq!(pools.poll_stale(), Some(name.clone()));
        let patch = pools.reconcile(&name, &usage(1)).expect("a write");
        assert_eq!(patch["status"]["assignedIPv4"], 1);
        assert_eq!(pools.reconcile(&name, &usage(2)), None);
        pools.handle_written(&name, &Written::Version(None));
        assert_eq!(pools.reconcile(&name, &usage(2)), None);
        pools.handle_pause_over(&name);
        assert_eq!(pools.poll_stale(), Some(name.clone()));
        assert_eq!(pools.reconcile(&name, &usage(1)), None);
        assert!(pools.reconcile(&name, &usage(2)).is_some());
    }

    #[test]
    fn a_status_that_is_as_desired_is_not_written_and_a_failed_write_is_repeated() {
        let name = PoolName::from("pool");
        let mut pools = Pools::default();
        pools.set(&pool(Some(status(&usage(3)))));
        assert_eq!(pools.reconcile(&name, &usage(3)), None);
        assert!(pools.reconcile(&name, &usage(4)).is_some());
        pools.handle_written(&name, &Written::Failed(String::new()));
        pools.handle_pause_over(&name);
        assert!(pools.reconcile(&name, &usage(4)).is_some());
        pools.handle_cancelled();
        assert_eq!(pools.poll_stale(), Some(name.clone()));
        assert!(pools.reconcile(&name, &usage(4)).is_some());
    }
}

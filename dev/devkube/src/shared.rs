//! What all connections share.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::counts::RequestCounts;
use crate::faults::state::FaultState;
use crate::operation::Part;

/// The cluster, its faults and the count of requests.
#[derive(Debug)]
pub(crate) struct Shared {
    cluster: Mutex<Cluster>,
    /// The faults that are in force.
    pub(crate) faults: watch::Sender<FaultState>,
    counts: Mutex<RequestCounts>,
}

impl Shared {
    /// A new cluster with the namespaces that every cluster has.
    pub(crate) fn new(history_limit: usize, node_ports: RangeInclusive<u16>) -> Self {
        let mut cluster = Cluster::new(history_limit, node_ports);
        cluster.create_first_namespaces();
        Self {
            cluster: Mutex::new(cluster),
            faults: watch::Sender::default(),
            counts: Mutex::default(),
        }
    }

    /// The cluster, to read it.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        // A panic in another request leaves a state that is still worth showing to a developer.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cluster, which wakes the watches of what was changed.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        change(&mut self.cluster())
    }

    /// Makes all versions seen so far too old to resume from.
    pub(crate) fn expire(&self) {
        self.change(|cluster| cluster.store.expire());
    }

    /// Counts a request to a resource.
    pub(crate) fn count(&self, verb: &str, plural: &str, part: Part) {
        let resource = match part {
            Part::Main => plural.to_string(),
            Part::Status => format!("{plural}/status"),
        };
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(verb, resource);
    }

    /// The requests counted so far.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

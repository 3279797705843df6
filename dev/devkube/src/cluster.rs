//! The whole state of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::kinds::{Collection, Kind, Kinds};
use crate::object::Key;
use crate::services::Allocations;
use crate::store::{Store, StoreBackup};

/// Everything that the server knows. One lock guards it; it is a development tool.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The objects.
    pub(crate) store: Store,
    /// The kinds served.
    pub(crate) kinds: Kinds,
    /// Addresses and ports that Services have.
    pub(crate) allocations: Allocations,
    /// Dependents by the owner's uid.
    pub(crate) dependents: BTreeMap<String, BTreeSet<(Collection, Key)>>,
}

/// The state of the cluster at some time.
#[derive(Debug, Clone)]
pub struct Backup {
    store: StoreBackup,
    allocations: Allocations,
    dependents: BTreeMap<String, BTreeSet<(Collection, Key)>>,
}

impl Cluster {
    /// A backup of the present state, without the kinds that are served.
    pub(crate) fn backup(&self) -> Backup {
        Backup {
            store: self.store.backup(),
            allocations: self.allocations.clone(),
            dependents: self.dependents.clone(),
        }
    }

    /// Goes back to a backup.
    pub(crate) fn restore(&mut self, backup: Backup) {
        self.store.restore(backup.store);
        self.allocations = backup.allocations;
        self.dependents = backup.dependents;
    }

    /// An empty cluster.
    pub(crate) fn new(history_limit: usize, node_ports: RangeInclusive<u16>) -> Self {
        Self {
            store: Store::new(history_limit),
            kinds: Kinds::builtin(),
            allocations: Allocations::new(node_ports),
            dependents: BTreeMap::new(),
        }
    }

    /// A built-in kind.
    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Arc<Kind> {
        self.kinds.find(group, version, plural).expect("a built-in kind")
    }
}

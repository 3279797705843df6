//! The configuration in force, and the problems of what the user wrote.

mod effect;
mod pools;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

pub use self::effect::{AdvertisingNode, Ineffective, ReportedInterfaces};
use self::pools::PoolRecords;
use super::problem::ConfigErrors;
use super::{ConfigError, L2Advertisement, Pool, Problem, RawL2Advertisement, RawPool, ResourceKind};
use crate::{Labels, PoolName};

/// The pools and advertisements in force. Resources are independent of each other: one that cannot be used is set aside,
/// its last good version stays in force, and nothing else changes.
///
/// Pools may not overlap. An edit that would overlap another pool is set aside. Of two new pools (as after a restart) the
/// one with the earlier creation time is used, then the first one by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pool_records: PoolRecords,
    l2_records: BTreeMap<String, L2AdvertisementRecord>,
    namespaces: BTreeMap<String, Labels>,
    pools: Vec<Pool>,
    l2_advertisements: Vec<L2Advertisement>,
    problems: Vec<Problem>,
    duplicates: Vec<Problem>,
}

/// A change of one resource, for [`Catalog::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// A pool is created or updated.
    ApplyPool(RawPool),
    /// A pool is deleted.
    DeletePool(PoolName),
    /// An advertisement is created or updated.
    ApplyL2Advertisement(RawL2Advertisement),
    /// An advertisement is deleted.
    DeleteL2Advertisement(String),
}

/// One advertisement: the latest version and the one in force.
#[derive(Debug, Clone)]
struct L2AdvertisementRecord {
    parsed: Result<L2Advertisement, ConfigErrors>,
    in_force: Option<L2Advertisement>,
}

impl Catalog {
    /// Creates an empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all pools. Pools that are not in `raw` are removed.
    pub fn set_pools(&mut self, raw: Vec<RawPool>) {
        self.duplicates
            .retain(|problem| problem.kind != ResourceKind::Pool);
        let mut names = BTreeSet::new();
        for raw in raw {
            if names.insert(PoolName::new(&raw.name)) {
                self.pool_records.write(&raw, &self.namespaces);
            } else {
                self.report_duplicate(ResourceKind::Pool, raw.name);
            }
        }
        self.pool_records.retain(&names);
        self.update_pools();
    }

    /// Applies changes of resources. What follows from all of them is computed once.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = ConfigChange>) {
        let (mut has_pools, mut has_advertisements) = (false, false);
        for change in changes {
            match change {
                ConfigChange::ApplyPool(raw) => {
                    has_pools = true;
                    self.pool_records.write(&raw, &self.namespaces);
                }
                ConfigChange::DeletePool(name) => {
                    has_pools = true;
                    self.pool_records.remove(&name);
                }
                ConfigChange::ApplyL2Advertisement(raw) => {
                    has_advertisements = true;
                    self.write_l2_advertisement(&raw);
                }
                ConfigChange::DeleteL2Advertisement(name) => {
                    has_advertisements = true;
                    self.l2_records.remove(&name);
                }
            }
        }
        if has_pools {
            self.update_pools();
        }
        if has_advertisements {
            self.update_l2_advertisements();
        }
    }

    /// Sets a new or changed pool.
    pub fn set_pool(&mut self, raw: &RawPool) {
        self.apply([ConfigChange::ApplyPool(raw.clone())]);
    }

    /// Removes a deleted pool.
    pub fn remove_pool(&mut self, name: &PoolName) {
        self.apply([ConfigChange::DeletePool(name.clone())]);
    }

    /// Sets all advertisements. Advertisements that are not in `raw` are removed.
    pub fn set_l2_advertisements(&mut self, raw: Vec<RawL2Advertisement>) {
        self.duplicates
            .retain(|problem| problem.kind != ResourceKind::L2Advertisement);
        let mut names = BTreeSet::new();
        for raw in raw {
            if names.insert(raw.name.clone()) {
                self.write_l2_advertisement(&raw);
            } else {
                self.report_duplicate(ResourceKind::L2Advertisement, raw.name);
            }
        }
        self.l2_records.retain(|name, _| names.contains(name));
        self.update_l2_advertisements();
    }

    /// Sets a new or changed advertisement.
    pub fn set_l2_advertisement(&mut self, raw: &RawL2Advertisement) {
        self.apply([ConfigChange::ApplyL2Advertisement(raw.clone())]);
    }

    /// Removes a deleted advertisement.
    pub fn remove_l2_advertisement(&mut self, name: &str) {
        self.apply([ConfigChange::DeleteL2Advertisement(name.into())]);
    }

    /// Sets the names and labels of all namespaces. They decide which namespaces `namespaceSelectors` select.
    pub fn set_namespaces(&mut self, namespaces: BTreeMap<String, Labels>) {
        if self.namespaces == namespaces {
            return;
        }
        self.namespaces = namespaces;
        self.resolve_namespaces();
    }

    /// Changes the labels of some namespaces; `None` removes a namespace.
    pub fn update_namespaces(&mut self, changes: impl IntoIterator<Item = (String, Option<Labels>)>) {
        let mut is_changed = false;
        for (name, labels) in changes {
            if self.namespaces.get(&name) == labels.as_ref() {
                continue;
            }
            is_changed = true;
            match labels {
                Some(labels) => self.namespaces.insert(name, labels),
                None => self.namespaces.remove(&name),
            };
        }
        if is_changed {
            self.resolve_namespaces();
        }
    }

    fn resolve_namespaces(&mut self) {
        self.pool_records.resolve_namespaces(&self.namespaces);
        self.update_pools();
    }

    /// Returns the pools in force, sorted by name.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Returns the pools that exist but have never been usable, so that no version of them is in force.
    pub fn withheld(&self) -> BTreeSet<PoolName> {
        self.pool_records.withheld()
    }

    /// Returns the advertisements in force, sorted by name.
    pub fn l2_advertisements(&self) -> &[L2Advertisement] {
        &self.l2_advertisements
    }

    /// Returns all problems, by kind, name and field.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the problems that a resource would have after `change`, and changes nothing.
    ///
    /// A pool that the catalog does not know counts as younger than all others, whatever its creation time. A deleted
    /// resource has no problems, and causes none: an advertisement may name pools that do not exist.
    pub fn check(&self, change: &ConfigChange) -> Vec<Problem> {
        match change {
            ConfigChange::ApplyPool(raw) => self.pool_records.check(raw),
            ConfigChange::ApplyL2Advertisement(raw) => {
                let before = self.l2_records.get(&raw.name);
                let record =
                    L2AdvertisementRecord::new(raw, before.and_then(|record| record.in_force.clone()));
                record.problems(&raw.name)
            }
            ConfigChange::DeletePool(_) | ConfigChange::DeleteL2Advertisement(_) => Vec::new(),
        }
    }

    /// Returns the catalog after `change`, without the namespaces, which a cluster may have thousands of: neither a problem nor the
    /// effect of a resource depends on them.
    #[must_use]
    pub fn after(&self, change: ConfigChange) -> Self {
        let mut after = Self {
            pool_records: self.pool_records.clone(),
            l2_records: self.l2_records.clone(),
            namespaces: BTreeMap::new(),
            pools: self.pools.clone(),
            l2_advertisements: self.l2_advertisements.clone(),
            problems: self.problems.clone(),
            duplicates: self.duplicates.clone(),
        };
        after.apply([change]);
        after
    }

    fn write_l2_advertisement(&mut self, raw: &RawL2Advertisement) {
        let before = self.l2_records.remove(&raw.name);
        let record = L2AdvertisementRecord::new(raw, before.and_then(|record| record.in_force));
        self.l2_records.insert(raw.name.clone(), record);
    }

    fn report_duplicate(&mut self, kind: ResourceKind, name: String) {
        self.duplicates.push(Problem {
            kind,
            name: name.clone(),
            field: String::from("metadata.name"),
            error: ConfigError::DuplicateResource { kind, name },
            older_in_force: true,
        });
    }

    fn update_pools(&mut self) {
        self.pool_records.settle();
        self.pools = self.pool_records.in_force().cloned().collect();
        self.collect_problems();
    }

    fn update_l2_advertisements(&mut self) {
        let in_force = self
            .l2_records
            .values()
            .filter_map(|record| record.in_force.clone());
        self.l2_advertisements = in_force.collect();
        self.collect_problems();
    }

    fn collect_problems(&mut self) {
        let mut problems = self.duplicates.clone();
        problems.extend(self.pool_records.problems());
        for (name, record) in &self.l2_records {
            problems.extend(record.problems(name));
        }
        problems.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        self.problems = problems;
    }
}

impl L2AdvertisementRecord {
    /// Creates the record of the latest version, after which `before` is in force if the latest one cannot be used.
    fn new(raw: &RawL2Advertisement, before: Option<L2Advertisement>) -> Self {
        let parsed = L2Advertisement::parse(raw);
        let in_force = parsed.as_ref().ok().cloned().or(before);
        Self { parsed, in_force }
    }

    fn problems(&self, name: &str) -> Vec<Problem> {
        let Err(errors) = &self.parsed else {
            return Vec::new();
        };
        Problem::all(
            ResourceKind::L2Advertisement,
            name,
            errors,
            self.in_force.is_some(),
        )
    }
}

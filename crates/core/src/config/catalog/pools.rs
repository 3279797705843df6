//! Which version of each pool is in force: pools may not overlap.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::problem::ConfigErrors;
use crate::config::range_index::RangeIndex;
use crate::config::{ConfigError, Pool, Problem, RawPool, ResourceKind};
use crate::{Labels, PoolName};

/// All pools by name.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolRecords(BTreeMap<PoolName, PoolRecord>);

/// One pool: the latest version and the one in force.
#[derive(Debug, Clone)]
struct PoolRecord {
    created: i64,
    /// The entries of `spec.addresses` as written, for messages.
    entries: Vec<String>,
    parsed: Result<Pool, ConfigErrors>,
    in_force: Option<Pool>,
    /// Why the latest version is not in force although it was parsed.
    overlap: ConfigErrors,
}

/// The order of pools: of two pools that overlap the first one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PoolAge {
    created: i64,
    name: PoolName,
}

impl PoolRecords {
    /// Records a new or changed pool. [`settle`](Self::settle) decides whether it is in force.
    pub(super) fn write(&mut self, raw: &RawPool, namespaces: &BTreeMap<String, Labels>) {
        let mut parsed = Pool::parse(raw);
        if let Ok(pool) = &mut parsed {
            pool.resolve_namespaces(namespaces);
        }
        let name = PoolName::new(&raw.name);
        let in_force = self.0.remove(&name).and_then(|record| record.in_force);
        let record = PoolRecord {
            created: raw.created,
            entries: raw.addresses.clone(),
            parsed,
            in_force,
            overlap: ConfigErrors::new(),
        };
        self.0.insert(name, record);
    }

    /// Removes a pool.
    pub(super) fn remove(&mut self, name: &PoolName) {
        self.0.remove(name);
    }

    /// Removes all pools but `names`.
    pub(super) fn retain(&mut self, names: &BTreeSet<PoolName>) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Evaluates all namespace selectors with new namespaces.
    pub(super) fn resolve_namespaces(&mut self, namespaces: &BTreeMap<String, Labels>) {
        for record in self.0.values_mut() {
            let latest = record.parsed.as_mut().ok();
            for pool in latest.into_iter().chain(&mut record.in_force) {
                pool.resolve_namespaces(namespaces);
            }
        }
    }

    /// Returns the pools in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Pool> {
        self.0.values().filter_map(|record| record.in_force.as_ref())
    }

    /// Returns the pools of which no version is in force.
    pub(super) fn withheld(&self) -> BTreeSet<PoolName> {
        let withheld = self.0.iter().filter(|(_, record)| record.in_force.is_none());
        withheld.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the problems of all pools.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let records = self.0.iter();
        records.flat_map(|(name, record)| record.problems(name))
    }

    /// Returns the problems that a pool would have after it was written.
    pub(super) fn check(&self, raw: &RawPool) -> Vec<Problem> {
        let name = PoolName::new(&raw.name);
        let raw = RawPool {
            created: self.created(&name).unwrap_or(i64::MAX),
            ..raw.clone()
        };
        let mut after = self.clone();
        // No problem depends on the namespaces.
        after.write(&raw, &BTreeMap::new());
        after.settle();
        let record = after.0.get(&name);
        record.map_or_else(Vec::new, |record| record.problems(&name))
    }

    /// Whether a pool exists, usable or not.
    pub(super) fn has(&self, name: &PoolName) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the creation time of a pool.
    pub(super) fn created(&self, name: &PoolName) -> Option<i64> {
        Some(self.0.get(name)?.created)
    }

    /// Decides which version of each pool is in force.
    pub(super) fn settle(&mut self) {
        if !self.use_all() {
            self.use_by_age();
        }
    }

    /// Puts all latest versions in force if none overlaps another one, also when pools swap their addresses.
    fn use_all(&mut self) -> bool {
        let mut index = RangeIndex::default();
        for (name, record) in &self.0 {
            let wanted = record.parsed.as_ref().ok().or(record.in_force.as_ref());
            let Some(pool) = wanted else { continue };
            if index.all_overlapping(&pool.addresses).next().is_some() {
                return false;
            }
            index.insert(&pool.addresses, name);
        }
        for record in self.0.values_mut() {
            record.overlap.clear();
            if let Ok(pool) = &record.parsed {
                record.in_force = Some(pool.clone());
            }
        }
        true
    }

    /// Puts in force what is possible: an edit if it overlaps no other pool in force, a pool without a version in force if
    /// it overlaps no older one. Examines the oldest pool first; a pool that was blocked is examined again when the pool
    /// that blocked it changes.
    fn use_by_age(&mut self) {
        let mut index = RangeIndex::default();
        let mut queue: BTreeSet<PoolAge> = BTreeSet::new();
        for (name, record) in &self.0 {
            let age = record.age(name);
            if let Some(pool) = &record.in_force {
                index.insert(&pool.addresses, &age);
            }
            queue.insert(age);
        }
        let mut blocked: BTreeMap<PoolAge, Vec<PoolAge>> = BTreeMap::new();
        while let Some(age) = queue.pop_first() {
            let Some(record) = self.0.get_mut(&age.name) else {
                continue;
            };
            let Some(wanted) = record.wanted().cloned() else {
                continue;
            };
            if let Some(other) = record.blocked_by(&wanted, &age, &index) {
                blocked.entry(other.clone()).or_default().push(age);
                continue;
            }
            if let Some(before) = record.in_force.replace(wanted.clone()) {
                index.remove(&before.addresses);
            }
            queue.extend(blocked.remove(&age).into_iter().flatten());
            let displaced: Vec<PoolAge> = index
                .all_overlapping(&wanted.addresses)
                .map(|(_, age)| age.clone())
                .collect();
            for other in displaced {
                let record = self.0.get_mut(&other.name);
                if let Some(before) = record.and_then(|record| record.in_force.take()) {
                    index.remove(&before.addresses);
                }
                queue.extend(blocked.remove(&other).into_iter().flatten());
                queue.insert(other);
            }
            index.insert(&wanted.addresses, &age);
        }
        for (name, record) in &mut self.0 {
            record.overlap = record.overlaps(name, &index);
        }
    }
}

impl PoolRecord {
    fn age(&self, name: &PoolName) -> PoolAge {
        PoolAge {
            created: self.created,
            name: name.clone(),
        }
    }

    /// Returns the latest version, if it is usable and not in force.
    fn wanted(&self) -> Option<&Pool> {
        let parsed = self.parsed.as_ref().ok();
        parsed.filter(|parsed| self.in_force.as_ref() != Some(parsed))
    }

    /// Returns the pool in force that blocks the version `wanted` of this one.
    fn blocked_by<'a>(
        &self,
        wanted: &'a Pool,
        age: &PoolAge,
        index: &'a RangeIndex<PoolAge>,
    ) -> Option<&'a PoolAge> {
        let is_edit = self.in_force.is_some();
        let mut others = index.all_overlapping(&wanted.addresses).map(|(_, other)| other);
        others.find(|other| *other != age && (is_edit || *other < age))
    }

    /// Returns what blocks the latest version, by field.
    fn overlaps(&self, name: &PoolName, index: &RangeIndex<PoolAge>) -> ConfigErrors {
        let Some(wanted) = self.wanted() else {
            return ConfigErrors::new();
        };
        let age = self.age(name);
        let ranges = wanted.addresses.ranges().iter().enumerate();
        let blocking = ranges.filter_map(|(place, range)| {
            let others = || index.all_in(range).filter(|(_, other)| *other != age);
            let older = others().find(|(_, other)| *other < age);
            Some((place, older.or_else(|| others().next())?))
        });
        blocking
            .map(|(place, (range, other))| {
                let error = ConfigError::Overlap {
                    entry: self.entries[place].clone(),
                    pool: name.clone(),
                    other: range.to_string(),
                    other_pool: other.name.clone(),
                };
                (format!("spec.addresses[{place}]"), error)
            })
            .collect()
    }

    fn problems(&self, name: &PoolName) -> Vec<Problem> {
        let errors = self.parsed.as_ref().err().unwrap_or(&self.overlap);
        Problem::all(ResourceKind::Pool, name.as_str(), errors, self.in_force.is_some())
    }
}

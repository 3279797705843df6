//! All configuration in force, and all that is wrong with what the user wrote.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::claims::Claims;
use super::selectors::Mistakes;
use super::{Advertisement, ConfigError, Pool, Problem, RawAdvertisement, RawPool, ResourceKind};
use crate::{Labels, PoolName};

/// The pools and advertisements in force. Each resource stands for itself: one that cannot be used is set
/// aside, its last good version stays, and nothing else is touched.
///
/// Pools may not overlap. An edit that would overlap another pool is set aside; of two pools that are both
/// new (as after a restart) the older by creation time, then by name, is taken.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    written_pools: BTreeMap<PoolName, WrittenPool>,
    written_advertisements: BTreeMap<String, WrittenAdvertisement>,
    namespaces: BTreeMap<String, Labels>,
    pools: Vec<Pool>,
    advertisements: Vec<Advertisement>,
    problems: Vec<Problem>,
    duplicates: Vec<Problem>,
}

#[derive(Debug, Clone)]
struct WrittenPool {
    created: i64,
    /// The entries of `spec.addresses` as written, for messages.
    entries: Vec<String>,
    parsed: Result<Pool, Mistakes>,
    in_force: Option<Pool>,
    overlap: Mistakes,
}

#[derive(Debug, Clone)]
struct WrittenAdvertisement {
    parsed: Result<Advertisement, Mistakes>,
    in_force: Option<Advertisement>,
}

impl Catalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all pools there are; those not in `raw` are gone.
    pub fn set_pools(&mut self, raw: Vec<RawPool>) {
        self.duplicates
            .retain(|problem| problem.kind != ResourceKind::Pool);
        let mut names = BTreeSet::new();
        for raw in raw {
            if names.insert(PoolName::new(&raw.name)) {
                self.write_pool(&raw);
            } else {
                self.report_duplicate(ResourceKind::Pool, raw.name);
            }
        }
        self.written_pools.retain(|name, _| names.contains(name));
        self.settle_pools();
    }

    /// Takes a new or changed pool.
    pub fn set_pool(&mut self, raw: &RawPool) {
        self.write_pool(raw);
        self.settle_pools();
    }

    /// Forgets a deleted pool.
    pub fn remove_pool(&mut self, name: &PoolName) {
        self.written_pools.remove(name);
        self.settle_pools();
    }

    /// Takes all advertisements there are; those not in `raw` are gone.
    pub fn set_advertisements(&mut self, raw: Vec<RawAdvertisement>) {
        self.duplicates
            .retain(|problem| problem.kind != ResourceKind::Advertisement);
        let mut names = BTreeSet::new();
        for raw in raw {
            if names.insert(raw.name.clone()) {
                self.write_advertisement(&raw);
            } else {
                self.report_duplicate(ResourceKind::Advertisement, raw.name);
            }
        }
        self.written_advertisements.retain(|name, _| names.contains(name));
        self.settle_advertisements();
    }

    /// Takes a new or changed advertisement.
    pub fn set_advertisement(&mut self, raw: &RawAdvertisement) {
        self.write_advertisement(raw);
        self.settle_advertisements();
    }

    /// Forgets a deleted advertisement.
    pub fn remove_advertisement(&mut self, name: &str) {
        self.written_advertisements.remove(name);
        self.settle_advertisements();
    }

    /// Takes the names and labels of all namespaces; they decide what `namespaceSelectors` mean.
    pub fn set_namespaces(&mut self, namespaces: BTreeMap<String, Labels>) {
        if self.namespaces == namespaces {
            return;
        }
        self.namespaces = namespaces;
        for written in self.written_pools.values_mut() {
            let versions = written
                .parsed
                .as_mut()
                .ok()
                .into_iter()
                .chain(&mut written.in_force);
            for pool in versions {
                pool.resolve_namespaces(&self.namespaces);
            }
        }
        self.settle_pools();
    }

    /// The pools in force, sorted by name.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Pools that exist but have never been usable, so that no version of them is in force.
    pub fn withheld(&self) -> BTreeSet<PoolName> {
        let withheld = self
            .written_pools
            .iter()
            .filter(|(_, written)| written.in_force.is_none());
        withheld.map(|(name, _)| name.clone()).collect()
    }

    /// The advertisements in force, sorted by name.
    pub fn advertisements(&self) -> &[Advertisement] {
        &self.advertisements
    }

    /// Everything that is wrong, by kind, name and field.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn write_pool(&mut self, raw: &RawPool) {
        let mut parsed = Pool::parse(raw);
        if let Ok(pool) = &mut parsed {
            pool.resolve_namespaces(&self.namespaces);
        }
        let name = PoolName::new(&raw.name);
        let in_force = self
            .written_pools
            .remove(&name)
            .and_then(|written| written.in_force);
        let written = WrittenPool {
            created: raw.created,
            entries: raw.addresses.clone(),
            parsed,
            in_force,
            overlap: Mistakes::new(),
        };
        self.written_pools.insert(name, written);
    }

    fn write_advertisement(&mut self, raw: &RawAdvertisement) {
        let older = self.written_advertisements.remove(&raw.name);
        let parsed = Advertisement::parse(raw);
        let in_force = parsed
            .as_ref()
            .ok()
            .cloned()
            .or_else(|| older.and_then(|older| older.in_force));
        let written = WrittenAdvertisement { parsed, in_force };
        self.written_advertisements.insert(raw.name.clone(), written);
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

    /// Each pass puts at least one more new version in force or is the last.
    fn settle_pools(&mut self) {
        if !self.take_all_pools() {
            while self.take_pools_by_age() {}
        }
        let in_force = self
            .written_pools
            .values()
            .filter_map(|written| written.in_force.clone());
        self.pools = in_force.collect();
        self.collect_problems();
    }

    fn settle_advertisements(&mut self) {
        let in_force = self
            .written_advertisements
            .values()
            .filter_map(|written| written.in_force.clone());
        self.advertisements = in_force.collect();
        self.collect_problems();
    }

    /// Puts everything in force when nothing overlaps, also when pools swap addresses with each other.
    fn take_all_pools(&mut self) -> bool {
        let mut claims = Claims::default();
        for (name, written) in &self.written_pools {
            let wanted = written.parsed.as_ref().ok().or(written.in_force.as_ref());
            let Some(pool) = wanted else { continue };
            if pool
                .addresses
                .ranges()
                .iter()
                .any(|range| claims.overlapping(range).is_some())
            {
                return false;
            }
            claims.insert(&pool.addresses, name);
        }
        for written in self.written_pools.values_mut() {
            written.overlap.clear();
            if let Ok(pool) = &written.parsed {
                written.in_force = Some(pool.clone());
            }
        }
        true
    }

    /// One pass over the pools, oldest first; true when it put something else in force.
    fn take_pools_by_age(&mut self) -> bool {
        let mut younger = Claims::default();
        for (name, written) in &self.written_pools {
            if let Some(pool) = &written.in_force {
                younger.insert(&pool.addresses, name);
            }
        }
        let mut by_age: Vec<_> = self.written_pools.iter_mut().collect();
        by_age.sort_by_key(|(name, written)| (written.created, *name));
        let mut taken = Claims::default();
        let mut changed = false;
        for (name, written) in by_age {
            if let Some(pool) = &written.in_force {
                younger.remove(&pool.addresses);
            }
            changed |= written.take(name, &taken, &younger);
            if let Some(pool) = &written.in_force {
                taken.insert(&pool.addresses, name);
            }
        }
        changed
    }

    fn collect_problems(&mut self) {
        let pools = self.written_pools.iter().map(|(name, written)| {
            let mistakes = written.parsed.as_ref().err().unwrap_or(&written.overlap);
            (
                ResourceKind::Pool,
                name.as_str(),
                mistakes,
                written.in_force.is_some(),
            )
        });
        let none = Mistakes::new();
        let advertisements = self.written_advertisements.iter().map(|(name, written)| {
            let mistakes = written.parsed.as_ref().err().unwrap_or(&none);
            (
                ResourceKind::Advertisement,
                name.as_str(),
                mistakes,
                written.in_force.is_some(),
            )
        });
        let mut problems = self.duplicates.clone();
        for (kind, name, mistakes, older_in_force) in pools.chain(advertisements) {
            problems.extend(mistakes.iter().map(|(field, error)| Problem {
                kind,
                name: name.to_string(),
                field: field.clone(),
                error: error.clone(),
                older_in_force,
            }));
        }
        problems.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        self.problems = problems;
    }
}

impl WrittenPool {
    /// Puts the written version in force when it overlaps none of the older pools in `taken` and, being an edit,
    /// none of the pools in force in `younger`; the last good version otherwise. True when that is a change.
    fn take(&mut self, name: &PoolName, taken: &Claims<PoolName>, younger: &Claims<PoolName>) -> bool {
        self.overlap.clear();
        let is_edit = self.in_force.is_some();
        if let Ok(pool) = &self.parsed {
            for (place, range) in pool.addresses.ranges().iter().enumerate() {
                let in_younger = || younger.overlapping(range).filter(|_| is_edit);
                let Some((other, other_pool)) = taken.overlapping(range).or_else(in_younger) else {
                    continue;
                };
                let error = ConfigError::Overlap {
                    entry: self.entries[place].clone(),
                    pool: name.clone(),
                    other: other.to_string(),
                    other_pool: other_pool.clone(),
                };
                self.overlap.push((format!("spec.addresses[{place}]"), error));
            }
            if self.overlap.is_empty() {
                let changed = self.in_force.as_ref() != Some(pool);
                self.in_force = Some(pool.clone());
                return changed;
            }
        }
        let displaced = self.in_force.take_if(|pool| {
            let ranges = pool.addresses.ranges();
            ranges.iter().any(|range| taken.overlapping(range).is_some())
        });
        displaced.is_some()
    }
}

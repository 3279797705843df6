//! All configuration in force, and all that is wrong with what the user wrote.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::range_index::RangeIndex;
use super::selectors::Mistakes;
use super::{ConfigError, L2Advertisement, Pool, Problem, RawL2Advertisement, RawPool, ResourceKind};
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
    advertisements: Vec<L2Advertisement>,
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

/// Creation time, then name: of two pools that overlap the first one stays.
type Age = (i64, PoolName);

#[derive(Debug, Clone)]
struct WrittenAdvertisement {
    parsed: Result<L2Advertisement, Mistakes>,
    in_force: Option<L2Advertisement>,
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
    pub fn set_l2_advertisements(&mut self, raw: Vec<RawL2Advertisement>) {
        self.duplicates
            .retain(|problem| problem.kind != ResourceKind::L2Advertisement);
        let mut names = BTreeSet::new();
        for raw in raw {
            if names.insert(raw.name.clone()) {
                self.write_advertisement(&raw);
            } else {
                self.report_duplicate(ResourceKind::L2Advertisement, raw.name);
            }
        }
        self.written_advertisements.retain(|name, _| names.contains(name));
        self.settle_advertisements();
    }

    /// Takes a new or changed advertisement.
    pub fn set_l2_advertisement(&mut self, raw: &RawL2Advertisement) {
        self.write_advertisement(raw);
        self.settle_advertisements();
    }

    /// Forgets a deleted advertisement.
    pub fn remove_l2_advertisement(&mut self, name: &str) {
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
    pub fn l2_advertisements(&self) -> &[L2Advertisement] {
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

    fn write_advertisement(&mut self, raw: &RawL2Advertisement) {
        let older = self.written_advertisements.remove(&raw.name);
        let parsed = L2Advertisement::parse(raw);
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

    fn settle_pools(&mut self) {
        if !self.take_all_pools() {
            self.take_pools_by_age();
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
        let mut index = RangeIndex::default();
        for (name, written) in &self.written_pools {
            let wanted = written.parsed.as_ref().ok().or(written.in_force.as_ref());
            let Some(pool) = wanted else { continue };
            if pool
                .addresses
                .ranges()
                .iter()
                .any(|range| index.overlapping(range).is_some())
            {
                return false;
            }
            index.insert(&pool.addresses, name);
        }
        for written in self.written_pools.values_mut() {
            written.overlap.clear();
            if let Ok(pool) = &written.parsed {
                written.in_force = Some(pool.clone());
            }
        }
        true
    }

    /// Puts in force what can be: an edit when nothing that is in force is in its way, a pool of which nothing is in
    /// force when nothing older is. Oldest first, and again whoever was kept out by one that gave way.
    fn take_pools_by_age(&mut self) {
        let mut index = RangeIndex::default();
        let mut turn: BTreeSet<Age> = BTreeSet::new();
        for (name, written) in &self.written_pools {
            let age = (written.created, name.clone());
            if let Some(pool) = &written.in_force {
                index.insert(&pool.addresses, &age);
            }
            turn.insert(age);
        }
        let mut kept_out: BTreeMap<Age, Vec<Age>> = BTreeMap::new();
        while let Some(age) = turn.pop_first() {
            let Some(written) = self.written_pools.get_mut(&age.1) else {
                continue;
            };
            let Some(wanted) = written.wanted().cloned() else {
                continue;
            };
            if let Some(other) = written.rival(&wanted, &age, &index) {
                kept_out.entry(other.clone()).or_default().push(age);
                continue;
            }
            if let Some(before) = written.in_force.replace(wanted.clone()) {
                index.remove(&before.addresses);
            }
            turn.extend(kept_out.remove(&age).into_iter().flatten());
            let displaced: Vec<Age> = index
                .all_overlapping(&wanted.addresses)
                .map(|(_, age)| age.clone())
                .collect();
            for other in displaced {
                let before = self
                    .written_pools
                    .get_mut(&other.1)
                    .and_then(|written| written.in_force.take());
                if let Some(before) = before {
                    index.remove(&before.addresses);
                }
                turn.extend(kept_out.remove(&other).into_iter().flatten());
                turn.insert(other);
            }
            index.insert(&wanted.addresses, &age);
        }
        for (name, written) in &mut self.written_pools {
            written.overlap = written.overlaps(name, &index);
        }
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
                ResourceKind::L2Advertisement,
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
    /// The version written, if it is usable and not in force.
    fn wanted(&self) -> Option<&Pool> {
        let parsed = self.parsed.as_ref().ok();
        parsed.filter(|parsed| self.in_force.as_ref() != Some(parsed))
    }

    /// Which pool in force keeps out the version `wanted` of this one.
    fn rival<'a>(&self, wanted: &'a Pool, age: &Age, index: &'a RangeIndex<Age>) -> Option<&'a Age> {
        let is_edit = self.in_force.is_some();
        let mut others = index.all_overlapping(&wanted.addresses).map(|(_, other)| other);
        others.find(|other| *other != age && (is_edit || *other < age))
    }

    /// What keeps out the version written, by field.
    fn overlaps(&self, name: &PoolName, index: &RangeIndex<Age>) -> Mistakes {
        let Some(wanted) = self.wanted() else {
            return Mistakes::new();
        };
        let age = (self.created, name.clone());
        let ranges = wanted.addresses.ranges().iter().enumerate();
        let in_the_way = ranges.filter_map(|(place, range)| {
            let others = || index.all_in(range).filter(|(_, other)| *other != age);
            let older = others().find(|(_, other)| *other < age);
            Some((place, older.or_else(|| others().next())?))
        });
        in_the_way
            .map(|(place, (other, (_, other_pool)))| {
                let error = ConfigError::Overlap {
                    entry: self.entries[place].clone(),
                    pool: name.clone(),
                    other: other.to_string(),
                    other_pool: other_pool.clone(),
                };
                (format!("spec.addresses[{place}]"), error)
            })
            .collect()
    }
}

//! An `L2Advertisement` that was parsed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pool::Pool;
use super::problem::{ConfigError, ConfigErrors};
use super::raw::RawL2Advertisement;
use super::selectors::{self, any_matches, empty_or_matches};
use crate::{Labels, PoolName, Selector};

/// Which pools are announced by layer 2: for which Services, from which nodes and on which interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Advertisement {
    /// `metadata.name`.
    pub name: String,
    /// Pools by name. A pool need not exist.
    pub pools: BTreeSet<PoolName>,
    /// Pools by label, in addition to `pools`.
    pub pool_selectors: Vec<Selector>,
    /// Nodes that may announce; empty is all.
    pub node_selectors: Vec<Selector>,
    /// Interfaces to announce on, sorted; empty is all.
    pub interfaces: Vec<String>,
    /// Services to announce; empty is all.
    pub service_selectors: Vec<Selector>,
    /// Preferred nodes, with their weights.
    pub preferences: Vec<(i32, Selector)>,
}

impl L2Advertisement {
    pub(super) fn parse(raw: &RawL2Advertisement) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let advertisement = Self {
            name: raw.name.clone(),
            pools: parse_pools(&raw.pools, &mut errors),
            pool_selectors: selectors::parse(
                &raw.pool_selectors,
                "ipAddressPoolSelectors",
                "ipAddressPoolSelectors",
                "invalid pool label selector",
                &mut errors,
            ),
            node_selectors: selectors::parse(
                &raw.node_selectors,
                "nodeSelectors",
                "nodeSelectors",
                "failed to parse node selector",
                &mut errors,
            ),
            interfaces: raw
                .interfaces
                .iter()
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            service_selectors: selectors::parse(
                &raw.service_selectors,
                "serviceSelectors",
                "serviceSelectors",
                "failed to parse service selector",
                &mut errors,
            ),
            preferences: parse_preferences(&raw.preferred_nodes, &mut errors),
        };
        if errors.is_empty() {
            Ok(advertisement)
        } else {
            Err(errors)
        }
    }

    /// Returns whether the pool is announced: by name, by label, or because the advertisement does not restrict the pools.
    pub fn selects_pool(&self, pool: &Pool) -> bool {
        let is_unrestricted = self.pools.is_empty() && self.pool_selectors.is_empty();
        is_unrestricted || self.pools.contains(&pool.name) || any_matches(&self.pool_selectors, &pool.labels)
    }

    /// Returns whether a node with these labels may announce.
    pub fn selects_node(&self, labels: &Labels) -> bool {
        empty_or_matches(&self.node_selectors, labels)
    }

    /// Returns whether a Service with these labels is announced.
    pub fn selects_service(&self, labels: &Labels) -> bool {
        empty_or_matches(&self.service_selectors, labels)
    }

    /// Returns the sum of the weights of all preferences that a node with these labels meets.
    pub fn score(&self, labels: &Labels) -> i64 {
        let met = self
            .preferences
            .iter()
            .filter(|(_, selector)| selector.matches(labels));
        met.map(|(weight, _)| i64::from(*weight)).sum()
    }
}

fn parse_pools(raw: &[String], errors: &mut ConfigErrors) -> BTreeSet<PoolName> {
    let mut pools = BTreeSet::new();
    for (place, name) in raw.iter().enumerate() {
        if !pools.insert(PoolName::new(name)) {
            let error = ConfigError::DuplicatePoolReference(name.clone());
            errors.push((format!("spec.ipAddressPools[{place}]"), error));
        }
    }
    pools
}

/// Parses the preferences. Two equal ones are no mistake: their weights add up.
fn parse_preferences(raw: &[(i32, crate::RawSelector)], errors: &mut ConfigErrors) -> Vec<(i32, Selector)> {
    let mut preferences = Vec::new();
    for (place, (weight, selector)) in raw.iter().enumerate() {
        match Selector::parse(selector) {
            Ok(selector) => preferences.push((*weight, selector)),
            Err(error) => {
                let context = "failed to parse preferred node selectors";
                let field = format!("spec.preferredNodeSelectors[{place}].preference");
                errors.push((field, ConfigError::Selector { context, error }));
            }
        }
    }
    preferences
}

//! What the advertisements of all protocols have in common: which pools, Services and nodes an advertisement is for.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pool::Pool;
use super::problem::{ConfigError, ConfigErrors};
use super::selectors::{self, any_matches, empty_or_matches};
use crate::{Labels, PoolName, RawSelector, Selector};

/// The pools, Services and nodes that an advertisement is for, whatever its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisementScope {
    /// Pools by name. A pool need not exist.
    pub pools: BTreeSet<PoolName>,
    /// Pools by label, in addition to `pools`.
    pub pool_selectors: Vec<Selector>,
    /// Nodes that may announce; empty is all.
    pub node_selectors: Vec<Selector>,
    /// Services to announce; empty is all.
    pub service_selectors: Vec<Selector>,
}

impl AdvertisementScope {
    /// Parses the fields that are the same in the resource of each protocol. Adds what cannot be used to `errors`.
    pub(super) fn parse(
        pools: &[String],
        pool_selectors: &[RawSelector],
        node_selectors: &[RawSelector],
        service_selectors: &[RawSelector],
        errors: &mut ConfigErrors,
    ) -> Self {
        Self {
            pools: parse_pools(pools, errors),
            pool_selectors: selectors::parse(
                pool_selectors,
                "ipAddressPoolSelectors",
                "ipAddressPoolSelectors",
                "invalid pool label selector",
                errors,
            ),
            node_selectors: selectors::parse(
                node_selectors,
                "nodeSelectors",
                "nodeSelectors",
                "failed to parse node selector",
                errors,
            ),
            service_selectors: selectors::parse(
                service_selectors,
                "serviceSelectors",
                "serviceSelectors",
                "failed to parse service selector",
                errors,
            ),
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

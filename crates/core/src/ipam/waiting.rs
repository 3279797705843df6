//! Services that wait for a release, and which of them a release may help.
//!
//! Services with the same wait key are in one class: when the oldest one of a class cannot be served, none of the class
//! can. A release therefore costs one attempt for each Service that it serves, plus one for each class that it does not
//! serve, however many Services wait.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::pool_ledger::PoolIndex;
use crate::{Family, Namespace, Port, ServiceKey};

/// Waiting Services are served in this order: creation time in seconds since 1970, then name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceAge {
    pub(super) created: i64,
    pub(super) key: ServiceKey,
}

/// What a Service waits for: everything that decides whether the Service can get it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitKey {
    /// Where the addresses may come from.
    pub(super) source: AddressSource,
    /// The families: the Service needs one address of each.
    pub(super) families: Vec<Family>,
    /// Whether an address of one of the families is sufficient.
    pub(super) any: bool,
    /// With which Services the Service may share.
    pub(super) sharing: Option<Sharing>,
    /// The pools that have a quota.
    pub(super) quotas: Vec<PoolIndex>,
    /// The Service's namespace, if quotas, sharers or requested addresses make it different from others.
    pub(super) namespace: Option<Namespace>,
    /// The Service itself, if its addresses, past or present, or its reservations make it different from all others.
    pub(super) individual: Option<Individual>,
}

/// Where the addresses of a waiting Service may come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressSource {
    /// Exactly these addresses.
    Addresses(Vec<IpAddr>),
    /// Any of these pools.
    Pools(Vec<PoolIndex>),
}

/// Sharing key, backend key, policy and ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sharing {
    pub(super) key: Arc<str>,
    pub(super) backend: String,
    pub(super) is_local: bool,
    pub(super) ports: Vec<Port>,
}

/// One Service and the addresses reserved for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Individual {
    pub(super) key: ServiceKey,
    pub(super) reserved: Vec<IpAddr>,
}

/// A release or another change that may serve a waiting Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Released {
    /// An address of the pool is free.
    Pool(PoolIndex, Family),
    /// The address has fewer or other holders, or they have fewer or other ports.
    Address(IpAddr),
    /// The same for an address that is shared under this key.
    Sharing(Arc<str>),
    /// The namespace has one address less of the pool.
    Quota(PoolIndex, Namespace),
}

/// All waiting Services, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitQueue {
    classes: BTreeMap<Arc<WaitKey>, BTreeSet<ServiceAge>>,
    /// The oldest Service of each class, under every release that may serve it.
    by_release: BTreeMap<Released, BTreeSet<ServiceAge>>,
}

impl WaitQueue {
    /// Adds a Service.
    pub(super) fn insert(&mut self, key: &Arc<WaitKey>, age: ServiceAge) {
        let class = self.classes.entry(key.clone()).or_default();
        let oldest = class.first().cloned();
        class.insert(age);
        let now_oldest = class.first().cloned();
        self.subscribe(key, oldest, now_oldest);
    }

    /// Removes a Service.
    pub(super) fn remove(&mut self, key: &WaitKey, age: &ServiceAge) {
        let Some(class) = self.classes.get_mut(key) else {
            return;
        };
        let oldest = class.first().cloned();
        class.remove(age);
        let now_oldest = class.first().cloned();
        if class.is_empty() {
            self.classes.remove(key);
        }
        self.subscribe(key, oldest, now_oldest);
    }

    /// Returns whether no Service waits.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Removes all Services.
    pub(super) fn clear(&mut self) {
        self.classes.clear();
        self.by_release.clear();
    }

    /// Returns the oldest Service that `released` may serve and that is younger than `after`.
    pub(super) fn next(&self, released: &Released, after: Option<&ServiceAge>) -> Option<ServiceAge> {
        use core::ops::Bound::{Excluded, Unbounded};
        let heads = self.by_release.get(released)?;
        let from = after.map_or(Unbounded, Excluded);
        heads.range((from, Unbounded)).next().cloned()
    }

    fn subscribe(&mut self, key: &WaitKey, old: Option<ServiceAge>, new: Option<ServiceAge>) {
        if old == new {
            return;
        }
        for released in key.releases() {
            let heads = self.by_release.entry(released.clone()).or_default();
            if let Some(old) = &old {
                heads.remove(old);
            }
            heads.extend(new.clone());
            if heads.is_empty() {
                self.by_release.remove(&released);
            }
        }
    }
}

impl WaitKey {
    /// Returns all releases that may serve a Service with this key.
    fn releases(&self) -> Vec<Released> {
        let mut releases: Vec<Released> = match &self.source {
            AddressSource::Addresses(addresses) => addresses.iter().copied().map(Released::Address).collect(),
            AddressSource::Pools(pools) => {
                let families = |&pool| {
                    self.families
                        .iter()
                        .map(move |family| Released::Pool(pool, *family))
                };
                pools.iter().flat_map(families).collect()
            }
        };
        releases.extend(
            self.sharing
                .iter()
                .map(|sharing| Released::Sharing(sharing.key.clone())),
        );
        if let Some(namespace) = &self.namespace {
            let quotas = self.quotas.iter();
            releases.extend(quotas.map(|pool| Released::Quota(*pool, namespace.clone())));
        }
        let reserved = self.individual.iter().flat_map(|individual| &individual.reserved);
        releases.extend(reserved.copied().map(Released::Address));
        releases
    }
}

//! Services that wait for something to be released, and how to find those that a release may help.
//!
//! Services that want the same are in one class: when the oldest of a class cannot be helped, none of it can.
//! So a release costs as many attempts as it helps Services, plus one for each class that it does not help,
//! however many Services wait.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{Family, Port, ServiceKey};

/// Waiting Services are served in this order: creation time in seconds, then name.
pub(super) type Age = (i64, Arc<ServiceKey>);

/// What a Service waits for; everything that decides whether it can be had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demand {
    /// Where the addresses may come from.
    pub(super) source: Source,
    /// One address of each.
    pub(super) families: Vec<Family>,
    /// Whether one of the families would do.
    pub(super) any: bool,
    /// With whom the Service shares.
    pub(super) sharing: Option<Sharing>,
    /// The Service's namespace, and of which pools it has a quota.
    pub(super) quotas: Option<(String, Vec<usize>)>,
    /// The Service, when what it has already, or what is kept for it, makes it unlike all others.
    pub(super) individual: Option<Individual>,
}

/// Where the addresses of a waiting Service may come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Exactly these.
    Addresses(Vec<IpAddr>),
    /// Any of these pools.
    Pools(Vec<usize>),
}

/// Sharing key, backend key and ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sharing {
    pub(super) key: Arc<str>,
    pub(super) backend: String,
    pub(super) ports: Vec<Port>,
}

/// One Service and the addresses reserved for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Individual {
    pub(super) key: Arc<ServiceKey>,
    pub(super) reserved: Vec<IpAddr>,
}

/// Something that was released, or that changed for the better for somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// An address of the pool is free.
    Pool(usize, Family),
    /// The holders of the address are fewer or others, or their ports are.
    Address(IpAddr),
    /// The same of an address shared under this key.
    Sharing(Arc<str>),
    /// The namespace holds one address of the pool less.
    Quota(usize, String),
}

/// All waiting Services.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    classes: BTreeMap<Arc<Demand>, BTreeSet<Age>>,
    /// The oldest of each class, under everything that may help it.
    by_topic: BTreeMap<Topic, BTreeSet<Age>>,
}

impl Waiting {
    /// Adds a Service.
    pub(super) fn insert(&mut self, demand: &Arc<Demand>, age: Age) {
        let class = self.classes.entry(demand.clone()).or_default();
        let oldest = class.first().cloned();
        class.insert(age);
        let now_oldest = class.first().cloned();
        self.subscribe(demand, oldest, now_oldest);
    }

    /// Takes a Service out.
    pub(super) fn remove(&mut self, demand: &Demand, age: &Age) {
        let Some(class) = self.classes.get_mut(demand) else {
            return;
        };
        let oldest = class.first().cloned();
        class.remove(age);
        let now_oldest = class.first().cloned();
        if class.is_empty() {
            self.classes.remove(demand);
        }
        self.subscribe(demand, oldest, now_oldest);
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.classes.clear();
        self.by_topic.clear();
    }

    /// The oldest Service that `topic` may help and that is younger than `after`.
    pub(super) fn next(&self, topic: &Topic, after: Option<&Age>) -> Option<Age> {
        use core::ops::Bound::{Excluded, Unbounded};
        let heads = self.by_topic.get(topic)?;
        let from = after.map_or(Unbounded, Excluded);
        heads.range((from, Unbounded)).next().cloned()
    }

    fn subscribe(&mut self, demand: &Demand, old: Option<Age>, new: Option<Age>) {
        if old == new {
            return;
        }
        for topic in demand.topics() {
            let heads = self.by_topic.entry(topic.clone()).or_default();
            if let Some(old) = &old {
                heads.remove(old);
            }
            heads.extend(new.clone());
            if heads.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
    }
}

impl Demand {
    fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> = match &self.source {
            Source::Addresses(addresses) => addresses.iter().copied().map(Topic::Address).collect(),
            Source::Pools(pools) => {
                let families = |&pool| self.families.iter().map(move |family| Topic::Pool(pool, *family));
                pools.iter().flat_map(families).collect()
            }
        };
        topics.extend(
            self.sharing
                .iter()
                .map(|sharing| Topic::Sharing(sharing.key.clone())),
        );
        if let Some((namespace, pools)) = &self.quotas {
            topics.extend(pools.iter().map(|pool| Topic::Quota(*pool, namespace.clone())));
        }
        let reserved = self.individual.iter().flat_map(|individual| &individual.reserved);
        topics.extend(reserved.copied().map(Topic::Address));
        topics
    }
}

//! What an address means to this node: what it has to do for each Service that uses the address.

use alloc::collections::BTreeSet;
use alloc::string::String;

use smallvec::SmallVec;

use crate::ServiceKey;

/// What this node has to do with a Service at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) duty: Duty,
    /// The interfaces that answer; `None` selects by subnet among all.
    pub(super) interfaces: Option<BTreeSet<String>>,
}

/// The duty of this node. Of several Services at one address the greatest duty counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// Another node is elected, and this node is the backup: it monitors the owner.
    Monitor,
    /// This node is elected: it answers.
    Answer,
}

/// The interests of all Services at one address, by Service. Most addresses have one.
#[derive(Debug, Default)]
pub(super) struct Interests(SmallVec<[(ServiceKey, Interest); 1]>);

/// The Services that are reached at one address, in ascending order.
pub(super) type Served = SmallVec<[ServiceKey; 1]>;

impl Interests {
    pub(super) fn insert(&mut self, service: ServiceKey, interest: Interest) {
        match self.find(&service) {
            Ok(index) => self.0[index].1 = interest,
            Err(index) => self.0.insert(index, (service, interest)),
        }
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) {
        if let Ok(index) = self.find(service) {
            self.0.remove(index);
        }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.0.iter().map(|(service, _)| service)
    }

    /// Returns the duty of this node, if it has one.
    pub(super) fn duty(&self) -> Option<Duty> {
        self.0.iter().map(|(_, interest)| interest.duty).max()
    }

    /// Returns the Services that are reached here while this node answers.
    pub(super) fn served(&self) -> Served {
        self.with_greatest_duty()
            .map(|(service, _)| service.clone())
            .collect()
    }

    /// Returns the union over all Services, or `None` as soon as one of them has no limit.
    pub(super) fn interfaces(&self) -> Option<BTreeSet<String>> {
        let mut union = BTreeSet::new();
        for (_, interest) in self.with_greatest_duty() {
            union.extend(interest.interfaces.as_ref()?.iter().cloned());
        }
        Some(union)
    }

    fn with_greatest_duty(&self) -> impl Iterator<Item = &(ServiceKey, Interest)> {
        let duty = self.duty();
        self.0
            .iter()
            .filter(move |(_, interest)| Some(interest.duty) == duty)
    }

    fn find(&self, service: &ServiceKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(key, _)| key.cmp(service))
    }
}

/// Returns the Services that are in `these` and not in `those`.
pub(super) fn only_in(these: &Served, those: &Served) -> impl Iterator<Item = ServiceKey> {
    let only = these
        .iter()
        .filter(|service| those.binary_search(service).is_err());
    only.cloned()
}

//! What an address means to this node: what it has to do for each Service that uses the address.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

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

/// The interests of all Services at one address.
#[derive(Debug, Default)]
pub(super) struct Interests(BTreeMap<ServiceKey, Interest>);

impl Interests {
    pub(super) fn insert(&mut self, service: ServiceKey, interest: Interest) {
        self.0.insert(service, interest);
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) {
        self.0.remove(service);
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.0.keys()
    }

    /// Returns the duty of this node, if it has one.
    pub(super) fn duty(&self) -> Option<Duty> {
        self.0.values().map(|interest| interest.duty).max()
    }

    /// Returns the Services that are reached here while this node answers.
    pub(super) fn served(&self) -> BTreeSet<ServiceKey> {
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

    fn with_greatest_duty(&self) -> impl Iterator<Item = (&ServiceKey, &Interest)> {
        let duty = self.duty();
        self.0
            .iter()
            .filter(move |(_, interest)| Some(interest.duty) == duty)
    }
}

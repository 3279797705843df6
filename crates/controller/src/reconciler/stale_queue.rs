//! The Services whose status has to be compared.

use std::collections::{BTreeSet, VecDeque};

use herald_core::ServiceKey;

/// Services in the order in which they became stale, each once: decisions come oldest Service first.
#[derive(Debug, Default)]
pub(super) struct StaleQueue {
    order: VecDeque<ServiceKey>,
    queued: BTreeSet<ServiceKey>,
}

impl StaleQueue {
    pub(super) fn insert(&mut self, service: ServiceKey) {
        if self.queued.insert(service.clone()) {
            self.order.push_back(service);
        }
    }

    pub(super) fn extend(&mut self, services: impl IntoIterator<Item = ServiceKey>) {
        services.into_iter().for_each(|service| self.insert(service));
    }

    pub(super) fn pop(&mut self) -> Option<ServiceKey> {
        let service = self.order.pop_front()?;
        self.queued.remove(&service);
        Some(service)
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.queued.clear();
    }
}

//! The Services whose status has to be compared.

use herald_core::{Namespace, ServiceKey};
use herald_runtime::fair_queue::FairQueue;

/// Services in the order in which they became stale, each once: decisions come oldest Service first. The namespaces take
/// turns.
#[derive(Debug, Default)]
pub(super) struct StaleQueue(FairQueue<Namespace, ServiceKey>);

impl StaleQueue {
    pub(super) fn insert(&mut self, service: ServiceKey) {
        self.0.push(service.namespace.clone(), service);
    }

    pub(super) fn extend(&mut self, services: impl IntoIterator<Item = ServiceKey>) {
        services.into_iter().for_each(|service| self.insert(service));
    }

    pub(super) fn pop(&mut self) -> Option<ServiceKey> {
        self.0.pop()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

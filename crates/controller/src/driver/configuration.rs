//! Pools, namespaces and advertisements: what is in force, and what is wrong with the rest.

use herald_api::convert;
use herald_api::reason::EventReason;
use herald_core::config::{Problem, ResourceKind};
use herald_core::{Labels, PoolName};
use herald_runtime::Update;
use herald_runtime::event::Severity;
use herald_runtime::reconcile::object::DesiredObject;
use serde_json::json;
use tracing::warn;

use super::Driver;
use crate::input::{Awaiting, WrittenAdvertisement, WrittenPool};

impl Driver {
    pub(super) fn handle_pools(&mut self, update: Update<Box<WrittenPool>>) {
        match update {
            Update::Applied(pool) => {
                self.pools.set(&pool);
                self.catalog.set_pool(&pool.raw);
            }
            Update::Deleted(key) => {
                let name = PoolName::new(key.name);
                self.pools.remove(&name);
                self.metrics.forget_pool(&name);
                self.catalog.remove_pool(&name);
            }
            Update::Synced => self.handle_listed(Awaiting::Pools),
        }
        self.config_changed();
    }

    /// Nothing is allocated by advertisements; a speaker for each node reads them, and one place tells of their mistakes.
    pub(super) fn handle_advertisements(&mut self, update: Update<Box<WrittenAdvertisement>>) {
        match update {
            Update::Applied(written) => {
                self.catalog.set_l2_advertisement(&written.raw);
                self.advertisements.insert(written.raw.name, written.reference);
            }
            Update::Deleted(key) => {
                self.catalog.remove_l2_advertisement(&key.name);
                self.advertisements.remove(&key.name);
            }
            Update::Synced => {}
        }
        self.config_changed();
    }

    pub(super) fn handle_namespaces(&mut self, update: Update<(String, Labels)>) {
        match update {
            Update::Applied((name, labels)) => {
                self.namespaces.insert(name, labels);
            }
            Update::Deleted(key) => {
                self.namespaces.remove(&key.name);
            }
            Update::Synced => self.handle_listed(Awaiting::Namespaces),
        }
        if self
            .listing
            .as_ref()
            .is_some_and(|listing| listing.awaited.contains(Awaiting::Namespaces))
        {
            return;
        }
        self.catalog.set_namespaces(self.namespaces.clone());
        self.config_changed();
    }

    fn config_changed(&mut self) {
        let now = self.now();
        self.allocator.set_catalog(&self.catalog, now);
        let problems = self.catalog.problems().to_vec();
        self.metrics.set_config(true, problems.iter().any(is_ours));
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            warn!(
                namespace = self.namespace,
                "failed to parse the configuration: {problem}"
            );
            if self.term.is_some() {
                self.tell(problem);
            }
        }
        self.problems = problems;
        self.show_state();
    }

    /// Says in the `ConfigurationState` what the active controller thinks of the pools.
    pub(super) fn show_state(&self) {
        let problems: Vec<Problem> = self
            .problems
            .iter()
            .filter(|problem| is_ours(problem))
            .cloned()
            .collect();
        let wish = self.term.map(|_| DesiredObject {
            labels: [("metallb.io/component-type".to_owned(), "controller".to_owned())].into(),
            status: json!(convert::configuration_state("poolReconcilerValid", &problems)),
        });
        self.outlets.state.send_if_modified(|shown| {
            let differs = *shown != wish;
            *shown = wish;
            differs
        });
    }

    /// Tells whoever looks at a resource what is wrong with it.
    pub(super) fn tell(&self, problem: &Problem) {
        let resource = match problem.kind {
            ResourceKind::Pool => self.pools.reference(&PoolName::new(problem.name.clone())),
            ResourceKind::L2Advertisement => self.advertisements.get(&problem.name),
        };
        if let Some(resource) = resource {
            let note = problem.to_string();
            self.outlets.events.emit(
                resource,
                Severity::Warning,
                EventReason::InvalidConfiguration.reason(),
                note,
            );
        }
    }
}

/// Whether a problem is one of the resources that the controller works with, as MetalLB's does.
fn is_ours(problem: &Problem) -> bool {
    problem.kind == ResourceKind::Pool
}

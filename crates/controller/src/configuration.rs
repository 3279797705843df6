//! Pools, advertisements and namespaces: what is in force, and the problems of the rest.

mod bgp;

use std::collections::BTreeMap;
use std::fmt::Display;

use herald_api::convert;
use herald_api::reason::EventReason;
use herald_core::config::bgp::UnlistedSource;
use herald_core::config::{Catalog, ConfigChange, Problem, ResourceKind};
use herald_core::ipam::PoolOverlap;
use herald_core::{Labels, PoolName};
use herald_runtime::event::{LONGEST_MESSAGE, Severity};
use herald_runtime::log::shorten;
use herald_runtime::reconcile::object::DesiredObject;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::json;

use crate::input::{WrittenAdvertisement, WrittenPool};
use crate::reconciler::ServiceEvent;
pub(crate) use bgp::BgpConfiguration;

/// The configuration as the watches show it. Changes take effect together, with [`apply`](Self::apply).
#[derive(Default)]
pub(crate) struct Configuration {
    /// The namespace of the resources, for the log.
    namespace: String,
    catalog: Catalog,
    /// Changes of pools and advertisements since the last [`apply`](Self::apply).
    changes: Vec<ConfigChange>,
    /// The problems at the last [`apply`](Self::apply).
    problems: Vec<Problem>,
    /// The resources that exist, for events about their problems.
    references: BTreeMap<(ResourceKind, String), ObjectReference>,
    /// Changes of namespaces since the last [`apply`](Self::apply).
    namespaces: BTreeMap<String, Option<Labels>>,
    is_changed: bool,
    /// The resources of BGP, which take effect apart from the others.
    pub(crate) bgp: BgpConfiguration,
}

impl Configuration {
    /// The empty configuration of a namespace.
    pub(crate) fn new(namespace: String) -> Self {
        Self {
            namespace,
            ..Self::default()
        }
    }

    /// The namespace of the resources.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Takes a new or changed pool.
    pub(crate) fn set_pool(&mut self, pool: &WrittenPool) {
        self.changes.push(ConfigChange::ApplyPool(pool.raw.clone()));
        self.refer(ResourceKind::Pool, &pool.raw.name, &pool.reference);
    }

    /// Takes that a pool is gone.
    pub(crate) fn remove_pool(&mut self, name: &PoolName) {
        self.changes.push(ConfigChange::DeletePool(name.clone()));
        self.unrefer(ResourceKind::Pool, name.as_str());
    }

    /// Takes a new or changed advertisement. Allocation does not depend on it, but each speaker reads it, and one place
    /// reports its problems.
    pub(crate) fn set_advertisement(&mut self, advertisement: &WrittenAdvertisement) {
        let WrittenAdvertisement { raw, reference, .. } = advertisement;
        self.changes.push(ConfigChange::ApplyL2Advertisement(raw.clone()));
        self.refer(ResourceKind::L2Advertisement, &raw.name, reference);
    }

    /// Takes that an advertisement is gone.
    pub(crate) fn remove_advertisement(&mut self, name: &str) {
        self.changes
            .push(ConfigChange::DeleteL2Advertisement(name.to_owned()));
        self.unrefer(ResourceKind::L2Advertisement, name);
    }

    /// Takes the labels of a namespace; `None` if it is gone.
    pub(crate) fn set_namespace(&mut self, name: String, labels: Option<Labels>) {
        self.namespaces.insert(name, labels);
        self.is_changed = true;
    }

    /// Takes that a kind was listed: also an empty list is a configuration.
    pub(crate) const fn handle_synced(&mut self) {
        self.is_changed = true;
    }

    /// Puts all changes in force. Returns the problems that are new, or `None` if nothing has changed.
    pub(crate) fn apply(&mut self) -> Option<Vec<Problem>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.catalog.apply(self.changes.drain(..));
        self.catalog
            .update_namespaces(std::mem::take(&mut self.namespaces));
        let problems = self.catalog.problems();
        if self.problems == problems {
            return Some(Vec::new());
        }
        let is_new = |problem: &&Problem| !self.problems.contains(problem);
        let new = problems.iter().filter(is_new).cloned().collect();
        self.problems = problems.to_vec();
        Some(new)
    }

    /// What is in force.
    pub(crate) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns an Event about each resource for each of its problems.
    pub(crate) fn events(&self) -> impl Iterator<Item = ServiceEvent> {
        let events = self.problems.iter().filter_map(|problem| self.event(problem));
        events.chain(self.bgp.events())
    }

    /// Whether a pool or a resource of BGP is set aside, or a kind of BGP could not be listed.
    pub(crate) fn is_stale(&self) -> bool {
        let is_unlisted = self.bgp.unlisted().next().is_some();
        self.problems.iter().any(is_ours) || !self.bgp.problems().is_empty() || is_unlisted
    }

    /// Returns the Event about the resource that has a problem.
    pub(crate) fn event(&self, problem: &Problem) -> Option<ServiceEvent> {
        let about = self.references.get(&(problem.kind, problem.name.clone()))?;
        Some(invalid(about, problem))
    }

    /// Returns the Event about a pool of which others use addresses.
    pub(crate) fn overlap_event(&self, overlap: &PoolOverlap) -> Option<ServiceEvent> {
        let pool = (ResourceKind::Pool, overlap.pool.as_str().to_owned());
        Some(ServiceEvent {
            about: self.references.get(&pool)?.clone(),
            severity: Severity::Warning,
            reason: EventReason::PoolOverlap.reason(),
            note: shorten(overlap, LONGEST_MESSAGE),
        })
    }

    /// Returns the desired `ConfigurationState` of the active controller.
    pub(crate) fn state(&self) -> DesiredObject {
        let problems = self.problems.iter().filter(|problem| is_ours(problem));
        let problems = problems.map(|problem| problem as &dyn Display);
        let of_bgp = self.bgp.problems().iter();
        let of_bgp = of_bgp.map(|problem| problem as &dyn Display);
        let unlisted: Vec<UnlistedSource> = self.bgp.unlisted().collect();
        let of_bgp = of_bgp.chain(unlisted.iter().map(|unlisted| unlisted as &dyn Display));
        let problems: Vec<&dyn Display> = problems.chain(of_bgp).collect();
        DesiredObject {
            labels: [("metallb.io/component-type".to_owned(), "controller".to_owned())].into(),
            status: json!(convert::configuration_state("poolReconcilerValid", &problems)),
        }
    }

    fn refer(&mut self, kind: ResourceKind, name: &str, reference: &ObjectReference) {
        self.references.insert((kind, name.to_owned()), reference.clone());
        self.is_changed = true;
    }

    fn unrefer(&mut self, kind: ResourceKind, name: &str) {
        self.references.remove(&(kind, name.to_owned()));
        self.is_changed = true;
    }
}

/// Returns the Event about a resource that has a problem.
fn invalid(about: &ObjectReference, problem: &impl ToString) -> ServiceEvent {
    ServiceEvent {
        about: about.clone(),
        severity: Severity::Warning,
        reason: EventReason::InvalidConfiguration.reason(),
        note: problem.to_string(),
    }
}

/// Whether a problem is one of the resources that the controller works with, as MetalLB's does.
fn is_ours(problem: &Problem) -> bool {
    problem.kind == ResourceKind::Pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::config::{RawL2Advertisement, RawPool};

    use crate::resources::ObservedResource;

    fn pool(name: &str, addresses: &str) -> WrittenPool {
        WrittenPool {
            raw: RawPool {
                name: name.to_owned(),
                addresses: vec![addresses.to_owned()],
                ..RawPool::default()
            },
            reference: reference(name),
            observed: ObservedResource::default(),
        }
    }

    fn reference(name: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[test]
    fn a_problem_is_reported_once_on_its_resource_and_goes_with_it() {
        let mut configuration = Configuration::default();
        assert_eq!(configuration.apply(), None);
        configuration.set_pool(&pool("good", "192.0.2.0/24"));
        assert_eq!(configuration.apply(), Some(Vec::new()));
        configuration.set_pool(&pool("broken", "192.0.2.300"));
        let problems = configuration.apply().expect("a change");
        assert_eq!(problems.len(), 1);
        let event = configuration.event(&problems[0]).expect("the pool exists");
        assert_eq!(
            (event.about, event.reason),
            (reference("broken"), "InvalidConfiguration")
        );
        assert!(configuration.is_stale());
        configuration.set_pool(&pool("good", "192.0.2.0/25"));
        assert_eq!(configuration.apply(), Some(Vec::new()));
        configuration.remove_pool(&"broken".into());
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert!(configuration.events().next().is_none() && !configuration.is_stale());
        assert_eq!(configuration.event(&problems[0]), None);
    }

    #[test]
    fn a_problem_of_an_advertisement_is_reported_but_is_not_in_the_state() {
        let mut configuration = Configuration::default();
        let advertisement = WrittenAdvertisement {
            raw: RawL2Advertisement {
                name: "twice".to_owned(),
                pools: vec!["pool".to_owned(), "pool".to_owned()],
                ..RawL2Advertisement::default()
            },
            reference: reference("twice"),
            observed: ObservedResource::default(),
        };
        configuration.set_advertisement(&advertisement);
        let problems = configuration.apply().expect("a change");
        assert!(configuration.event(&problems[0]).is_some());
        assert!(!configuration.is_stale());
        assert_eq!(configuration.state().status["result"], "Valid");
        configuration.remove_advertisement("twice");
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert!(configuration.events().next().is_none());
    }

    #[test]
    fn namespaces_that_change_together_take_effect_together() {
        let mut configuration = Configuration::default();
        configuration.set_namespace("a".to_owned(), Some(Labels::default()));
        configuration.set_namespace("b".to_owned(), Some(Labels::default()));
        configuration.set_namespace("a".to_owned(), None);
        assert_eq!(configuration.apply(), Some(Vec::new()));
        assert_eq!(configuration.apply(), None);
    }
}

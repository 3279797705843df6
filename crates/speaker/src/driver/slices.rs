//! The endpoints of each Service: those of all its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::convert::{EndpointSlice, SliceId};
use herald_core::announce::eligibility::Endpoints;
use herald_core::{NodeName, ServiceKey};
use herald_runtime::Update;

/// All EndpointSlices that name a Service.
#[derive(Debug, Default)]
pub(super) struct Slices {
    of_service: BTreeMap<ServiceKey, BTreeMap<SliceId, Endpoints>>,
    services: BTreeMap<SliceId, ServiceKey>,
}

impl Slices {
    /// Applies a change. Returns the Services whose endpoints may have changed.
    pub(super) fn update(&mut self, update: Update<EndpointSlice>) -> BTreeSet<ServiceKey> {
        match update {
            Update::Applied(slice) => self.set(slice).collect(),
            Update::Deleted(key) => {
                let id = SliceId {
                    namespace: key.namespace,
                    name: key.name,
                };
                self.remove(&id).into_iter().collect()
            }
            Update::Synced => BTreeSet::new(),
        }
    }

    /// Returns the endpoints of a Service; `None` when it has no slices.
    pub(super) fn endpoints(&self, service: &ServiceKey) -> Option<Endpoints> {
        let slices = self.of_service.get(service)?;
        let nodes = slices.values().flat_map(|e| &e.nodes);
        let is_terminating = |node: &&NodeName| {
            let mut slices = slices.values().filter(|e| e.nodes.contains(*node));
            slices.all(|e| e.terminating.contains(*node))
        };
        let terminating = slices.values().flat_map(|e| &e.terminating);
        Some(Endpoints {
            any: slices.values().any(|e| e.any),
            terminating: terminating.filter(is_terminating).cloned().collect(),
            nodes: nodes.cloned().collect(),
        })
    }

    /// Sets a slice, which counts for the Service that it names now and no longer for a Service that it named before.
    fn set(&mut self, slice: EndpointSlice) -> impl Iterator<Item = ServiceKey> + use<> {
        let moved = self.services.get(&slice.id) != slice.service.as_ref();
        let before = moved.then(|| self.remove(&slice.id)).flatten();
        if let Some(service) = &slice.service {
            self.services.insert(slice.id.clone(), service.clone());
            let slices = self.of_service.entry(service.clone()).or_default();
            slices.insert(slice.id, slice.endpoints);
        }
        before.into_iter().chain(slice.service)
    }

    fn remove(&mut self, id: &SliceId) -> Option<ServiceKey> {
        let service = self.services.remove(id)?;
        if let Some(slices) = self.of_service.get_mut(&service) {
            slices.remove(id);
            if slices.is_empty() {
                self.of_service.remove(&service);
            }
        }
        Some(service)
    }
}

#[cfg(test)]
mod tests {
    use herald_fixtures::key;

    use super::*;
    use herald_runtime::ObjectKey;

    fn slice(name: &str, service: &str, node: &str) -> EndpointSlice {
        EndpointSlice {
            id: id(name),
            service: Some(key(service)),
            endpoints: Endpoints {
                any: true,
                nodes: BTreeSet::from([node.into()]),
                terminating: BTreeSet::new(),
            },
        }
    }

    #[test]
    fn a_node_is_terminating_if_it_is_so_in_all_slices() {
        let mut slices = Slices::default();
        for (name, is_terminating) in [("v4", true), ("v6", false), ("more", true)] {
            let mut slice = slice(name, "web", "one");
            if is_terminating {
                slice.endpoints.terminating = slice.endpoints.nodes.clone();
            }
            slices.update(Update::Applied(slice));
        }
        let terminating = |slices: &Slices| slices.endpoints(&key("web")).map(|e| e.terminating.len());
        assert_eq!(terminating(&slices), Some(0));
        slices.update(Update::Deleted(gone("v6")));
        assert_eq!(terminating(&slices), Some(1));
    }

    fn id(name: &str) -> SliceId {
        SliceId {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    fn gone(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_service_has_the_endpoints_of_all_its_slices_and_of_none_that_names_another_now() {
        let mut slices = Slices::default();
        let mut changed = slices.update(Update::Applied(slice("a", "web", "one")));
        changed.extend(slices.update(Update::Applied(slice("b", "web", "two"))));
        assert_eq!(changed, BTreeSet::from([key("web")]));
        let nodes = |slices: &Slices, service: &str| slices.endpoints(&key(service)).map(|e| e.nodes.len());
        assert_eq!(nodes(&slices, "web"), Some(2));
        let changed = slices.update(Update::Applied(slice("b", "api", "two")));
        assert_eq!(changed, BTreeSet::from([key("api"), key("web")]));
        assert_eq!((nodes(&slices, "web"), nodes(&slices, "api")), (Some(1), Some(1)));
        let changed = slices.update(Update::Deleted(gone("a")));
        assert_eq!(changed, BTreeSet::from([key("web")]));
        assert_eq!(slices.update(Update::Synced), BTreeSet::new());
        assert_eq!(nodes(&slices, "web"), None);
        slices.update(Update::Deleted(gone("b")));
        assert_eq!(nodes(&slices, "api"), None);
    }
}

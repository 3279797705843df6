//! The endpoints of each Service: those of all its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use herald_api::convert::{EndpointSlice, SliceId};
use herald_core::ServiceKey;
use herald_core::announce::eligibility::Endpoints;
use herald_runtime::Update;

/// All EndpointSlices that name a Service.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// By Service and name of the slice.
    endpoints: BTreeMap<(ServiceKey, Arc<str>), Arc<Endpoints>>,
    services: BTreeMap<SliceId, ServiceKey>,
    shared: SharedEndpoints,
}

impl Slices {
    /// Applies a change. Returns the Services whose endpoints may have changed.
    pub(super) fn update(&mut self, update: Update<EndpointSlice>) -> BTreeSet<ServiceKey> {
        match update {
            Update::Applied(slice) => self.set(slice).collect(),
            Update::Deleted(key) => {
                let id = SliceId {
                    namespace: key.namespace.into(),
                    name: key.name.into(),
                };
                self.remove(&id).into_iter().collect()
            }
            Update::Synced => BTreeSet::new(),
        }
    }

    /// Returns the endpoints of a Service; `None` when it has no slices.
    pub(super) fn endpoints(&mut self, service: &ServiceKey) -> Option<Arc<Endpoints>> {
        let slices = self.endpoints.range((service.clone(), "".into())..);
        let slices = slices.take_while(|((other, _), _)| other == service);
        let mut slices = slices.map(|(_, endpoints)| endpoints);
        let mut all = Arc::clone(slices.next()?);
        let mut is_one = true;
        for other in slices {
            is_one = false;
            Arc::make_mut(&mut all).extend(other);
        }
        Some(if is_one { all } else { self.shared.share(all) })
    }

    /// Returns the copy of the names of a Service that its slices have.
    pub(super) fn known(&self, service: &ServiceKey) -> Option<&ServiceKey> {
        let mut slices = self.endpoints.range((service.clone(), "".into())..);
        let ((known, _), _) = slices.next()?;
        (known == service).then_some(known)
    }

    /// Sets a slice, which counts for the Service that it names now and no longer for a Service that it named before.
    fn set(&mut self, mut slice: EndpointSlice) -> impl Iterator<Item = ServiceKey> + use<> {
        let before = self.services.range(..&slice.id).next_back();
        let mut neighbours = before.into_iter().chain(self.services.range(&slice.id..).next());
        if let Some((neighbour, _)) = neighbours.find(|(id, _)| id.namespace == slice.id.namespace) {
            // One copy of the name of the namespace.
            slice.id.namespace.clone_from(&neighbour.namespace);
        }
        let moved = self.services.get(&slice.id) != slice.service.as_ref();
        let before = moved.then(|| self.remove(&slice.id)).flatten();
        if let Some(service) = &slice.service {
            let endpoints = self.shared.share(Arc::new(slice.endpoints));
            self.endpoints
                .insert((service.clone(), slice.id.name.clone()), endpoints);
            self.services.insert(slice.id, service.clone());
        }
        before.into_iter().chain(slice.service)
    }

    fn remove(&mut self, id: &SliceId) -> Option<ServiceKey> {
        let service = self.services.remove(id)?;
        self.endpoints.remove(&(service.clone(), id.name.clone()));
        Some(service)
    }
}

/// One copy of endpoints that are the same: thousands of Services may have theirs on the same few nodes.
#[derive(Debug, Default)]
struct SharedEndpoints {
    copies: HashSet<Arc<Endpoints>>,
    /// With more copies, those that nobody uses are dropped.
    limit: usize,
}

impl SharedEndpoints {
    /// Returns the copy of endpoints.
    fn share(&mut self, endpoints: Arc<Endpoints>) -> Arc<Endpoints> {
        if let Some(copy) = self.copies.get(&endpoints) {
            return Arc::clone(copy);
        }
        if self.copies.len() >= self.limit {
            self.copies.retain(|copy| Arc::strong_count(copy) > 1);
            self.copies.shrink_to_fit();
            self.limit = 64.max(2 * self.copies.len());
        }
        self.copies.insert(Arc::clone(&endpoints));
        endpoints
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
        let terminating = |slices: &mut Slices| slices.endpoints(&key("web")).map(|e| e.terminating.len());
        assert_eq!(terminating(&mut slices), Some(0));
        slices.update(Update::Deleted(gone("v6")));
        assert_eq!(terminating(&mut slices), Some(1));
    }

    fn id(name: &str) -> SliceId {
        SliceId {
            namespace: "default".into(),
            name: name.into(),
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
        let nodes =
            |slices: &mut Slices, service: &str| slices.endpoints(&key(service)).map(|e| e.nodes.len());
        assert_eq!(nodes(&mut slices, "web"), Some(2));
        let changed = slices.update(Update::Applied(slice("b", "api", "two")));
        assert_eq!(changed, BTreeSet::from([key("api"), key("web")]));
        assert_eq!(
            (nodes(&mut slices, "web"), nodes(&mut slices, "api")),
            (Some(1), Some(1))
        );
        let changed = slices.update(Update::Deleted(gone("a")));
        assert_eq!(changed, BTreeSet::from([key("web")]));
        assert_eq!(slices.update(Update::Synced), BTreeSet::new());
        assert_eq!(nodes(&mut slices, "web"), None);
        slices.update(Update::Deleted(gone("b")));
        assert_eq!(nodes(&mut slices, "api"), None);
    }

    #[test]
    fn slices_of_a_namespace_share_one_copy_of_its_name() {
        let mut slices = Slices::default();
        for name in ["b", "c", "a"] {
            slices.update(Update::Applied(slice(name, "web", "one")));
        }
        let namespaces: Vec<_> = slices.services.keys().map(|id| &id.namespace).collect();
        let is_one = |pair: &[&Arc<str>]| Arc::ptr_eq(pair[0], pair[1]);
        assert!(namespaces.windows(2).all(is_one));
    }

    #[test]
    fn services_with_endpoints_on_the_same_nodes_share_one_copy_which_is_dropped_with_the_last() {
        let mut slices = Slices::default();
        for number in 0..100 {
            slices.update(Update::Applied(slice("a", "web", &format!("node-{number}"))));
            slices.update(Update::Applied(slice("b", "api", &format!("node-{number}"))));
            let [web, api] = ["web", "api"].map(|name| slices.endpoints(&key(name)).expect("a slice"));
            assert!(Arc::ptr_eq(&web, &api));
        }
        assert!(slices.shared.copies.len() <= 64);
        slices.update(Update::Applied(slice("c", "web", "other")));
        let [once, again] = [(); 2].map(|()| slices.endpoints(&key("web")).expect("slices"));
        assert_eq!(once.nodes.len(), 2);
        assert!(Arc::ptr_eq(&once, &again));
    }
}

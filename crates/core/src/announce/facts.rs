//! What the speaker knows of the cluster, for any protocol.
//!
//! Each setter replaces what was known and returns the change, if there is one. Every protocol handles the change and decides
//! again what depends on it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

use super::eligibility::{Endpoints, Exposure, Node, View};
use crate::config::Pool;
use crate::member::elect_as_metallb;
use crate::{Member, NodeName, ServiceKey};

/// Pools, Services, endpoints and Nodes from the API server, and the members from gossip.
#[derive(Debug, Clone)]
pub struct Facts {
    pools: Vec<Pool>,
    nodes: BTreeMap<NodeName, Node>,
    /// The nodes that have an address: in most cases one.
    node_addresses: BTreeMap<IpAddr, BTreeSet<NodeName>>,
    members: Option<BTreeMap<NodeName, Member>>,
    /// Boxed, because a B-tree has room for almost twice as many values as it holds.
    services: BTreeMap<ServiceKey, Box<Exposure>>,
    /// The Services on each address, oldest first.
    sharers: BTreeMap<IpAddr, SmallVec<[ServiceKey; 1]>>,
    /// Many Services have their endpoints on the same nodes, and share one value.
    endpoints: BTreeMap<ServiceKey, Arc<Endpoints>>,
    ignore_exclude_label: bool,
    /// Whether the members elect as MetalLB does.
    elects_as_metallb: bool,
}

/// What a setter has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a protocol that does not handle the change keeps an old decision"]
pub enum FactChange {
    /// The pools.
    Pools,
    /// A Node that is new or differs. These are the addresses that it has now or had before, if they differ.
    Node(NodeName, Vec<IpAddr>),
    /// A Node that is gone, and its addresses.
    NodeRemoved(NodeName, Vec<IpAddr>),
    /// The members; these are the members until now.
    Members(BTreeMap<NodeName, Member>),
    /// A Service or its endpoints, or the Service is gone. These are the addresses that it has or had.
    Service(ServiceKey, Vec<IpAddr>),
}

const NO_ENDPOINTS: &Endpoints = &Endpoints {
    any: false,
    nodes: BTreeSet::new(),
    terminating: BTreeSet::new(),
};

impl Facts {
    /// Starts without knowledge. With `has_gossip` the speakers come by [`Self::set_members`]; without it every Node is assumed
    /// to have a speaker. With `ignore_exclude_label` nodes with the label
    /// [`EXCLUDE_LABEL`](super::eligibility::EXCLUDE_LABEL) announce, too.
    pub fn new(has_gossip: bool, ignore_exclude_label: bool) -> Self {
        Self {
            pools: Vec::new(),
            nodes: BTreeMap::new(),
            node_addresses: BTreeMap::new(),
            members: has_gossip.then(BTreeMap::new),
            services: BTreeMap::new(),
            sharers: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            ignore_exclude_label,
            elects_as_metallb: false,
        }
    }

    /// Replaces the pools.
    pub fn set_pools(&mut self, pools: &[Pool]) -> Option<FactChange> {
        (self.pools != pools).then(|| {
            self.pools = pools.to_vec();
            FactChange::Pools
        })
    }

    /// Adds or replaces a Node.
    pub fn set_node(&mut self, node: Node) -> Option<FactChange> {
        let before = self.nodes.get(&node.name);
        if before == Some(&node) {
            return None;
        }
        let mut changed = Vec::new();
        if before.map_or(&[][..], |before| &before.addresses) != node.addresses {
            changed = self.remove_addresses(&node.name);
            for address in &node.addresses {
                let nodes = self.node_addresses.entry(*address).or_default();
                nodes.insert(node.name.clone());
            }
            changed.extend(&node.addresses);
        }
        let name = node.name.clone();
        self.nodes.insert(name.clone(), node);
        Some(FactChange::Node(name, changed))
    }

    /// Removes a Node.
    pub fn remove_node(&mut self, name: &NodeName) -> Option<FactChange> {
        let addresses = self.remove_addresses(name);
        let (name, _) = self.nodes.remove_entry(name)?;
        Some(FactChange::NodeRemoved(name, addresses))
    }

    /// Removes the addresses of a Node, and returns them.
    fn remove_addresses(&mut self, name: &NodeName) -> Vec<IpAddr> {
        let addresses = self.nodes.get(name).map(|node| node.addresses.clone());
        for address in addresses.iter().flatten() {
            if let Some(nodes) = self.node_addresses.get_mut(address) {
                nodes.remove(name);
                if nodes.is_empty() {
                    self.node_addresses.remove(address);
                }
            }
        }
        addresses.unwrap_or_default()
    }

    /// Replaces the members. Without gossip this has no effect.
    pub fn set_members(&mut self, members: &[Member]) -> Option<FactChange> {
        let known = self.members.as_mut()?;
        self.elects_as_metallb = elect_as_metallb(members.iter());
        let next = members.iter().map(|m| (m.node.clone(), m.clone())).collect();
        Some(FactChange::Members(core::mem::replace(known, next)))
    }

    /// Adds or replaces a Service.
    pub fn set_service(&mut self, service: Exposure) -> Option<FactChange> {
        if self.service(&service.key) == Some(&service) {
            return None;
        }
        let key = service.key.clone();
        let mut addresses = self.take_service(&key).unwrap_or_default();
        for address in &service.addresses {
            let sharers = self.sharers.entry(*address).or_default();
            let is_older = |other: &ServiceKey| {
                self.services
                    .get(other)
                    .is_some_and(|other| age(other) < age(&service))
            };
            let place = sharers.partition_point(is_older);
            if sharers.get(place) != Some(&key) {
                sharers.insert(place, key.clone());
            }
        }
        addresses.extend(&service.addresses);
        self.services.insert(key.clone(), Box::new(service));
        Some(FactChange::Service(key, addresses))
    }

    /// Removes a Service that is gone or belongs to another implementation.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Option<FactChange> {
        let addresses = self.take_service(key)?;
        Some(FactChange::Service(key.clone(), addresses))
    }

    /// Removes a Service and returns its addresses.
    fn take_service(&mut self, key: &ServiceKey) -> Option<Vec<IpAddr>> {
        let service = self.services.remove(key)?;
        for address in &service.addresses {
            if let Some(sharers) = self.sharers.get_mut(address) {
                sharers.retain(|sharer| sharer != key);
                if sharers.is_empty() {
                    self.sharers.remove(address);
                }
            }
        }
        Some(service.addresses)
    }

    /// Replaces the usable endpoints of a Service; `None` when it has no EndpointSlices.
    pub fn set_endpoints(
        &mut self,
        key: ServiceKey,
        endpoints: Option<Arc<Endpoints>>,
    ) -> Option<FactChange> {
        let before = match endpoints.clone() {
            Some(endpoints) => self.endpoints.insert(key.clone(), endpoints),
            None => self.endpoints.remove(&key),
        };
        let service = self.services.get(&key).filter(|_| before != endpoints)?;
        let addresses = service.addresses.clone();
        Some(FactChange::Service(key, addresses))
    }

    /// Returns the Nodes.
    pub const fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// Returns the members; `None` without gossip.
    pub const fn members(&self) -> Option<&BTreeMap<NodeName, Member>> {
        self.members.as_ref()
    }

    /// Returns a Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Exposure> {
        self.services.get(key).map(Box::as_ref)
    }

    /// Returns the addresses that Services have, in ascending order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.sharers.keys().copied()
    }

    /// Returns the addresses that Services have, in ascending order, from this one on.
    pub fn addresses_from(&self, first: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.sharers.range(first..).map(|(address, _)| *address)
    }

    /// Returns the Services on an address, oldest first; of two that were created in the same second the first by namespace
    /// and name.
    pub fn sharers(&self, address: IpAddr) -> &[ServiceKey] {
        self.sharers.get(&address).map_or(&[], SmallVec::as_slice)
    }

    /// Returns the usable endpoints of a Service.
    pub fn endpoints(&self, service: &ServiceKey) -> &Endpoints {
        self.endpoints
            .get(service)
            .map_or(NO_ENDPOINTS, |endpoints| endpoints)
    }

    /// Returns these facts as they are with or without MetalLB's speakers on the same nodes.
    pub fn with_metallb(&self, is_beside: bool) -> Self {
        let members: Option<BTreeMap<_, _>> = self.members.as_ref().map(|members| {
            let members = members.iter();
            members
                .map(|(node, member)| (node.clone(), member.with_metallb(is_beside)))
                .collect()
        });
        Self {
            elects_as_metallb: elect_as_metallb(members.iter().flat_map(BTreeMap::values)),
            members,
            ..self.clone()
        }
    }

    /// Returns what eligibility depends on.
    pub fn view(&self) -> View<'_> {
        View {
            pools: &self.pools,
            members: self.members.as_ref(),
            ignore_exclude_label: self.ignore_exclude_label,
            ignore_drain: self.elects_as_metallb,
            node_addresses: &self.node_addresses,
        }
    }
}

/// Sorts Services by age, the oldest first.
const fn age(service: &Exposure) -> (i64, &ServiceKey) {
    (service.created, &service.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::eligibility::TrafficPolicy;
    use crate::{Labels, Liveness, NodeState};
    use alloc::string::ToString;
    use alloc::vec;

    const ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 2));

    fn node(draining: bool) -> Node {
        Node {
            name: "a".into(),
            labels: Labels::new(),
            network_unavailable: false,
            draining,
            addresses: Vec::new(),
        }
    }

    fn service() -> Exposure {
        Exposure {
            key: key(),
            created: 0,
            labels: Labels::new(),
            addresses: vec![ADDRESS],
            foreign_ingress: false,
            traffic_policy: TrafficPolicy::Cluster,
            shares: false,
        }
    }

    fn key() -> ServiceKey {
        ServiceKey::new("default", "web")
    }

    #[test]
    fn the_sharers_of_an_address_are_sorted_by_age_then_by_name() {
        let mut facts = Facts::new(false, false);
        let mut set = |name: &str, created| {
            let key = ServiceKey::new("default", name);
            let _change = facts.set_service(Exposure {
                key,
                created,
                ..service()
            });
            let names = facts.sharers(ADDRESS).iter().map(|key| key.name.clone());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(set("c", 5), "c");
        assert_eq!(set("b", 5), "b c");
        assert_eq!(set("a", 7), "b c a");
        assert_eq!(set("d", 3), "d b c a");
        assert_eq!(set("d", 9), "b c a d", "deleted and created again");
    }

    #[test]
    fn only_a_fact_that_differs_is_a_change() {
        let mut facts = Facts::new(false, false);
        assert_eq!(
            facts.set_node(node(false)),
            Some(FactChange::Node("a".into(), vec![]))
        );
        assert_eq!(facts.set_node(node(false)), None);
        assert_eq!(
            facts.set_node(node(true)),
            Some(FactChange::Node("a".into(), vec![]))
        );
        assert_eq!(
            facts.remove_node(&"a".into()),
            Some(FactChange::NodeRemoved("a".into(), vec![]))
        );
        assert_eq!(facts.remove_node(&"a".into()), None);
        assert_eq!(facts.set_pools(&[]), None);
        assert_eq!(
            facts.set_service(service()),
            Some(FactChange::Service(key(), vec![ADDRESS]))
        );
        assert_eq!(facts.set_service(service()), None);
        let both = FactChange::Service(key(), vec![ADDRESS, OTHER]);
        assert_eq!(
            facts.set_service(Exposure {
                addresses: vec![OTHER],
                ..service()
            }),
            Some(both)
        );
        assert_eq!(facts.addresses().collect::<Vec<_>>(), [OTHER]);
        assert_eq!(
            facts.remove_service(&key()),
            Some(FactChange::Service(key(), vec![OTHER]))
        );
        assert_eq!(facts.addresses().next(), None);
        assert_eq!(facts.remove_service(&key()), None);
    }

    #[test]
    fn the_nodes_that_have_an_address_are_known() {
        let mut facts = Facts::new(false, false);
        let mut set = |name: &str, addresses: &[IpAddr]| {
            let (name, addresses) = (name.into(), addresses.to_vec());
            facts.set_node(Node {
                name,
                addresses,
                ..node(false)
            })
        };
        let changed = |name: &str, addresses| Some(FactChange::Node(name.into(), addresses));
        assert_eq!(set("a", &[ADDRESS]), changed("a", vec![ADDRESS]));
        assert_eq!(set("b", &[ADDRESS]), changed("b", vec![ADDRESS]));
        assert_eq!(set("a", &[OTHER]), changed("a", vec![ADDRESS, OTHER]));
        let node_of = |facts: &Facts, address| {
            let nodes = facts.view().node_addresses.get(&address)?;
            nodes.first().map(ToString::to_string)
        };
        assert_eq!(node_of(&facts, ADDRESS), Some("b".to_string()));
        let removed = Some(FactChange::NodeRemoved("b".into(), vec![ADDRESS]));
        assert_eq!(facts.remove_node(&"b".into()), removed);
        assert_eq!(node_of(&facts, ADDRESS), None);
        assert_eq!(node_of(&facts, OTHER), Some("a".to_string()));
    }

    #[test]
    fn endpoints_are_kept_for_a_service_that_is_not_known_yet_and_are_no_change() {
        let mut facts = Facts::new(false, false);
        let endpoints = Arc::new(Endpoints {
            any: true,
            ..Endpoints::default()
        });
        assert_eq!(facts.set_endpoints(key(), Some(endpoints.clone())), None);
        let changed = FactChange::Service(key(), vec![ADDRESS]);
        assert_eq!(facts.set_service(service()), Some(changed.clone()));
        assert_eq!(facts.endpoints(&key()), &*endpoints);
        assert_eq!(facts.set_endpoints(key(), None), Some(changed));
        assert!(!facts.endpoints(&key()).any);
    }

    #[test]
    fn members_are_facts_only_with_gossip() {
        let member = Member::new("a".into(), Liveness::Alive, NodeState::Ready);
        let members = [member.clone()];
        assert_eq!(Facts::new(false, false).set_members(&members), None);
        let mut facts = Facts::new(true, false);
        let none = FactChange::Members(BTreeMap::new());
        assert_eq!(facts.set_members(&members), Some(none));
        let before = BTreeMap::from([("a".into(), member)]);
        assert_eq!(facts.set_members(&[]), Some(FactChange::Members(before)));
    }
}

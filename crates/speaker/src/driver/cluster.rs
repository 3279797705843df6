//! The watched objects of the cluster: translates their changes into inputs of the agent.

mod bgp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use herald_api::convert::{EndpointSlice, MetalLbPod, MetalLbProgram};
use herald_core::announce::agent::{Agent, SpeakerNode};
use herald_core::config::{Catalog, ConfigChange};
use herald_core::{NodeName, Pool, PoolName, ServiceKey, Time};
use herald_runtime::Update;
use herald_runtime::watch::ObjectKey;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::slices::Slices;
use crate::input::{Awaiting, Input, NamespacePod, NodeInput, ServiceInput, ServiceVersion, SpeakerPod};
use bgp::BgpResources;

/// What the driver keeps of the watched objects. The agent keeps the rest.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// The Services of this load balancer, for events.
    services: BTreeMap<ServiceKey, ServiceVersion>,
    slices: Slices,
    /// Services whose endpoints the agent may not know.
    stale_endpoints: BTreeSet<ServiceKey>,
    pods: BTreeMap<String, SpeakerPod>,
    /// The Pods of MetalLB's speaker and of frr-k8s, by name.
    metallb: BTreeMap<String, MetalLbPod>,
    /// The nodes that run a speaker, as last returned; `None` before the first time.
    peers: Option<BTreeMap<NodeName, SpeakerNode>>,
    /// Whether `peers` may differ from `pods`.
    are_peers_stale: bool,
    catalog: Catalog,
    /// Changes that the catalog does not have yet.
    changes: Vec<ConfigChange>,
    bgp: BgpResources,
    problems: Vec<String>,
    /// Whether the agent may have another configuration than the catalogs, or the problems may be others.
    is_config_stale: bool,
}

impl Cluster {
    /// Applies one change. Returns the precondition that it meets, if the first list of its kind is complete.
    pub(super) fn apply(&mut self, input: Input, agent: &mut Agent) -> Option<Awaiting> {
        match input {
            Input::Services(update) => match update {
                Update::Applied(service) => self.set_service(service, agent),
                Update::Deleted(key) => {
                    self.remove_service(&ServiceKey::new(key.namespace, key.name), agent);
                }
                Update::Synced => return Some(Awaiting::Services),
            },
            Input::Slices(mut update) => {
                if let Update::Applied(EndpointSlice {
                    service: Some(service),
                    ..
                }) = &mut update
                    && let Some((known, _)) = self.services.get_key_value(service)
                {
                    // One copy of the names.
                    service.clone_from(known);
                }
                let is_synced = matches!(update, Update::Synced);
                self.stale_endpoints.extend(self.slices.update(update));
                return is_synced.then_some(Awaiting::EndpointSlices);
            }
            Input::Nodes(update) => match update {
                Update::Applied(NodeInput { node, internal_ipv4 }) => {
                    if node.name == *agent.node() {
                        // Which peers and advertisements are used depends on its labels.
                        self.is_config_stale = true;
                        self.bgp.set_internal_ipv4(internal_ipv4);
                    }
                    agent.set_node(node);
                }
                Update::Deleted(key) => agent.remove_node(&NodeName::new(key.name)),
                Update::Synced => return Some(Awaiting::Nodes),
            },
            Input::Pools(update) => {
                self.is_config_stale = true;
                match update {
                    Update::Applied(pool) => self.changes.push(ConfigChange::ApplyPool(pool)),
                    Update::Deleted(key) => {
                        self.changes
                            .push(ConfigChange::DeletePool(PoolName::new(key.name)));
                    }
                    Update::Synced => return Some(Awaiting::Pools),
                }
            }
            Input::Advertisements(update) => {
                self.is_config_stale = true;
                match update {
                    Update::Applied(advertisement) => {
                        self.changes
                            .push(ConfigChange::ApplyL2Advertisement(advertisement));
                    }
                    Update::Deleted(key) => {
                        self.changes.push(ConfigChange::DeleteL2Advertisement(key.name));
                    }
                    Update::Synced => return Some(Awaiting::Advertisements),
                }
            }
            Input::SpeakerPods(update) => {
                self.are_peers_stale = true;
                match update {
                    Update::Applied(pod) => {
                        self.pods.insert(pod.name.clone(), pod);
                    }
                    Update::Deleted(key) => {
                        self.pods.remove(&key.name);
                    }
                    Update::Synced => return Some(Awaiting::SpeakerPods),
                }
            }
            Input::Pods(update) => match update {
                Update::Applied(NamespacePod {
                    name,
                    metallb: Some(pod),
                }) => {
                    self.metallb.insert(name, pod);
                }
                Update::Applied(NamespacePod { name, .. }) | Update::Deleted(ObjectKey { name, .. }) => {
                    self.metallb.remove(&name);
                }
                Update::Synced => return Some(Awaiting::MetalLbPods),
            },
            Input::Bgp(input) => {
                self.is_config_stale = true;
                self.bgp.update(input);
            }
        }
        None
    }

    /// Takes the time, while BGP is on. Returns whether the configuration is to be applied because of it.
    pub(super) fn handle_time(&mut self, now: Time) -> bool {
        let is_stale = self.bgp.handle_time(now);
        self.is_config_stale |= is_stale;
        is_stale
    }

    /// Hands changed endpoints to the agent.
    pub(super) fn apply_endpoints(&mut self, agent: &mut Agent) {
        for service in std::mem::take(&mut self.stale_endpoints) {
            let endpoints = self.slices.endpoints(&service);
            agent.set_endpoints(service, endpoints);
        }
    }

    /// Hands a changed configuration to the agent. Returns the problems that are new, or `None` if nothing has changed.
    pub(super) fn apply_config(&mut self, agent: &mut Agent) -> Option<Vec<String>> {
        if !std::mem::take(&mut self.is_config_stale) {
            return None;
        }
        self.catalog.apply(self.changes.drain(..));
        agent.set_config(self.catalog.pools(), self.catalog.l2_advertisements());
        self.bgp.apply(agent);
        let problems = self.catalog.problems().iter().map(ToString::to_string);
        let problems: Vec<String> = problems.chain(self.bgp.problems(agent)).collect();
        let new = problems.iter().filter(|problem| !self.problems.contains(problem));
        let new = new.cloned().collect();
        self.problems = problems;
        Some(new)
    }

    /// Returns the nodes that run a speaker, if they have changed.
    pub(super) fn poll_peers(&mut self) -> Option<&BTreeMap<NodeName, SpeakerNode>> {
        if !std::mem::take(&mut self.are_peers_stale) {
            return None;
        }
        let mut peers: BTreeMap<NodeName, SpeakerNode> = BTreeMap::new();
        for pod in self.pods.values() {
            if let Some((node, address)) = &pod.node {
                // Two Pods on one node: one of them is about to go.
                let was_ready = peers.get(node).is_some_and(|peer| peer.is_ready);
                let peer = SpeakerNode {
                    address: *address,
                    is_ready: pod.is_ready || was_ready,
                };
                peers.insert(node.clone(), peer);
            }
        }
        if self.peers.as_ref() == Some(&peers) {
            return None;
        }
        self.peers = Some(peers);
        self.peers.as_ref()
    }

    /// Returns the pools in force.
    pub(super) fn pools(&self) -> &[Pool] {
        self.catalog.pools()
    }

    /// Returns the nodes but `own` whose speaker is ready.
    pub(super) fn ready_peers(&self, own: &NodeName) -> BTreeSet<NodeName> {
        let peers = self
            .peers
            .iter()
            .flatten()
            .filter(|(node, peer)| peer.is_ready && *node != own);
        peers.map(|(node, _)| node.clone()).collect()
    }

    /// Returns the Pods of MetalLB's speaker that run or may run, with their names.
    pub(super) fn metallb(&self, now: Timestamp) -> impl Iterator<Item = (&str, &MetalLbPod)> {
        let speakers = self.metallb.iter();
        let speakers = speakers.filter(|(_, pod)| pod.program == MetalLbProgram::Speaker);
        let left = speakers.filter(move |(_, pod)| pod.is_left(now));
        left.map(|(name, pod)| (name.as_str(), pod))
    }

    /// Whether a Pod that runs or may run on a node has sessions of BGP for MetalLB: its speaker, or frr-k8s.
    pub(super) fn has_metallb_sessions(&self, node: &NodeName, now: Timestamp) -> bool {
        let mut pods = self.metallb.values();
        pods.any(|pod| pod.is_left(now) && pod.node.as_deref() == Some(node.as_str()))
    }

    /// Returns the first `InternalIP` of IPv4 that this node has.
    pub(super) const fn internal_ipv4(&self) -> Option<Ipv4Addr> {
        self.bgp.internal_ipv4()
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn service_count(&self) -> usize {
        self.services.len()
    }

    /// Returns the reference to a Service for events.
    pub(super) fn reference(&self, service: &ServiceKey) -> Option<ObjectReference> {
        let (service, version) = self.services.get_key_value(service)?;
        Some(version.reference(service))
    }

    fn set_service(&mut self, mut service: ServiceInput, agent: &mut Agent) {
        let key = &mut service.exposure.key;
        let known = self.services.get_key_value(key).map(|(known, _)| known);
        if let Some(known) = known.or_else(|| self.slices.known(key)) {
            // One copy of the names.
            key.clone_from(known);
        }
        if service.is_own_class {
            self.services
                .insert(service.exposure.key.clone(), service.version);
            agent.set_service(service.exposure);
        } else {
            self.remove_service(&service.exposure.key, agent);
        }
    }

    fn remove_service(&mut self, key: &ServiceKey, agent: &mut Agent) {
        self.services.remove(key);
        agent.remove_service(key);
    }
}

/// Returns the gossip endpoints of the speakers, which all use the same port.
pub(super) fn endpoints(
    peers: &BTreeMap<NodeName, SpeakerNode>,
    port: u16,
) -> BTreeMap<NodeName, SocketAddr> {
    let endpoint =
        |(node, peer): (&NodeName, &SpeakerNode)| (node.clone(), SocketAddr::new(peer.address, port));
    peers.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests;

//! Announcement by BGP: which routes a node's peers get, and why not.
//!
//! Each node decides for itself, without an election: whether it may announce a Service at an address, and which advertisements say
//! how. What comes out is the difference to what came out before, for each peer and prefix ([`BgpRoutes::poll_change`]).

mod attachment;
mod clash;
mod exclusion;
mod explain;
mod limits;
mod peers;
mod status;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

pub use attachment::{Unattached, attach};
use clash::Clashes;
pub use clash::LocalPrefClash;
pub use exclusion::{PeerExclusion, RouteExclusion};
pub use limits::{FamilyLimit, PrefixCounts, SessionLimits};
use limits::{LimitsByPeer, RouteCounts};
use peers::BgpPeers;
pub use peers::PeerChange;
use status::BgpStatuses;
pub use status::{BgpStatus, BgpStatusChange};

use super::eligibility::{Exclusion, Exposure, Node, View};
use super::facts::{FactChange, Facts};
use crate::config::Pool;
use crate::config::bgp::{BgpAdvertisement, BgpPeer, Communities};
use crate::{Family, NodeName, PoolName, Prefix, ServiceKey};

/// LOCAL_PREF of a route without one, for routers and for MetalLB.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// The attributes of a route that do not depend on the session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteAttributes {
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; without one it is 100.
    pub local_pref: Option<u32>,
    /// The communities.
    pub communities: Communities,
}

/// A route to a peer that differs from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChange {
    /// The name of the peer.
    pub peer: Arc<str>,
    /// The prefix.
    pub prefix: Prefix,
    /// The attributes; nothing if the route is withdrawn.
    pub attributes: Option<RouteAttributes>,
}

/// Decides which routes the peers of one node get. Exactly one task owns it.
#[derive(Debug)]
pub struct BgpRoutes {
    own_node: NodeName,
    /// MULTI_EXIT_DISC of routes whose advertisements have none.
    default_med: Option<u32>,
    advertisements: Vec<BgpAdvertisement>,
    peers: BgpPeers,
    /// The places of the advertisements that this node uses for each pool.
    attached: BTreeMap<PoolName, Vec<usize>>,
    /// The routes of each Service, in ascending order: prefix, and place among the advertisements.
    services: BTreeMap<ServiceKey, Vec<(Prefix, usize)>>,
    /// The places of the advertisements behind each prefix, each with the number of its Services.
    prefixes: BTreeMap<Prefix, SmallVec<[(usize, usize); 1]>>,
    /// The routes that may have changed, as they were when [`BgpRoutes::poll_change`] returned them last.
    stale: BTreeMap<(Prefix, Arc<str>), Option<RouteAttributes>>,
    /// What the sessions cannot have of their routes.
    limits: LimitsByPeer,
    /// How many routes each peer has by what [`BgpRoutes::poll_change`] has returned.
    counts: BTreeMap<Arc<str>, RouteCounts>,
    statuses: BgpStatuses,
    clashes: Clashes,
}

impl BgpRoutes {
    /// Starts without peers. Without `default_med` routes have no MULTI_EXIT_DISC unless their advertisement says so, as with
    /// MetalLB.
    pub fn new(own_node: NodeName, default_med: Option<u32>) -> Self {
        Self {
            own_node,
            default_med,
            advertisements: Vec::new(),
            peers: BgpPeers::default(),
            attached: BTreeMap::new(),
            services: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            stale: BTreeMap::new(),
            limits: LimitsByPeer::new(),
            counts: BTreeMap::new(),
            statuses: BgpStatuses::default(),
            clashes: Clashes::default(),
        }
    }

    /// Replaces the advertisements and peers in force. This node runs the peers that select it by its labels
    /// ([`NodePeers`](crate::config::bgp::NodePeers)). The routes of a peer that is gone are withdrawn.
    pub fn set_config<'a>(
        &mut self,
        facts: &Facts,
        advertisements: Vec<BgpAdvertisement>,
        peers: impl IntoIterator<Item = &'a BgpPeer>,
    ) {
        let peers: Vec<BgpPeer> = peers.into_iter().cloned().collect();
        if self.advertisements == advertisements && self.peers.in_force == peers {
            return;
        }
        self.peers.in_force = peers;
        self.replace(facts, advertisements);
    }

    /// Ends all sessions of this node, or begins them again.
    pub fn set_paused(&mut self, facts: &Facts, is_paused: bool) {
        if core::mem::replace(&mut self.peers.is_paused, is_paused) != is_paused {
            self.replace(facts, self.advertisements.clone());
        }
    }

    /// Withdraws all routes. The sessions stay.
    pub fn withdraw_all(&mut self, facts: &Facts) {
        self.replace(facts, Vec::new());
    }

    /// Replaces the advertisements, and the peers by those that the node has by its labels now.
    fn replace(&mut self, facts: &Facts, advertisements: Vec<BgpAdvertisement>) {
        let before: Vec<Prefix> = self.prefixes.keys().copied().collect();
        for prefix in before {
            self.mark(prefix);
        }
        self.statuses.mark(self.services.keys());
        self.clashes.mark_all();
        self.services.clear();
        self.prefixes.clear();
        self.advertisements = advertisements;
        self.peers.update(facts.nodes().get(&self.own_node));
        self.decide_all(facts);
    }

    /// Decides again what depends on a change of the facts.
    pub fn handle_change(&mut self, facts: &Facts, change: &FactChange) {
        match change {
            FactChange::Pools => self.decide_all(facts),
            FactChange::Node(node, addresses) | FactChange::NodeRemoved(node, addresses) => {
                if *node == self.own_node {
                    self.handle_own_node(facts);
                }
                for address in addresses {
                    for service in facts.sharers(*address) {
                        self.decide(facts, service);
                    }
                }
            }
            // No other node matters.
            FactChange::Members(_) => {}
            FactChange::Service(service, _) => self.decide(facts, service),
        }
    }

    fn handle_own_node(&mut self, facts: &Facts) {
        if self.peers.are_stale(facts.nodes().get(&self.own_node)) {
            self.replace(facts, self.advertisements.clone());
        } else {
            self.decide_all(facts);
        }
    }

    /// Returns the next peer of this node that differs from what was returned before.
    pub fn poll_peer(&mut self) -> Option<PeerChange> {
        let change = self.peers.poll_change()?;
        if change.peer.is_none() {
            // Not before: the session of a peer that comes back until then goes on, and reports nothing anew.
            self.limits.remove(&change.name);
        }
        Some(change)
    }

    /// Returns the next route that differs from what was returned before.
    pub fn poll_change(&mut self) -> Option<RouteChange> {
        loop {
            let ((prefix, peer), before) = self.stale.pop_first()?;
            let running = self.peers.running().get(&peer);
            let attributes = running.and_then(|peer| self.route(peer, prefix));
            if attributes != before {
                let family = Family::of(prefix.address);
                self.count(&peer, family, before.is_some(), attributes.is_some());
                return Some(RouteChange {
                    peer,
                    prefix,
                    attributes,
                });
            }
        }
    }

    fn decide_all(&mut self, facts: &Facts) {
        self.attached.clear();
        if let Some(node) = facts.nodes().get(&self.own_node) {
            for pool in facts.view().pools {
                let (places, _) = attach(&self.advertisements, pool, &node.labels);
                self.attached.insert(pool.name.clone(), places);
            }
        }
        let mut services: BTreeSet<ServiceKey> = self.services.keys().cloned().collect();
        for address in facts.addresses() {
            services.extend(facts.sharers(address).iter().cloned());
        }
        for service in services {
            self.decide(facts, &service);
        }
    }

    /// Decides the routes of a Service again.
    fn decide(&mut self, facts: &Facts, service: &ServiceKey) {
        let after = self.routes_of(facts, service);
        let before = self.services.remove(service).unwrap_or_default();
        for (prefix, place) in &before {
            if after.binary_search(&(*prefix, *place)).is_err() {
                self.remove(*prefix, *place);
            }
        }
        for (prefix, place) in &after {
            if before.binary_search(&(*prefix, *place)).is_err() {
                self.add(*prefix, *place);
            }
        }
        if !before.is_empty() || !after.is_empty() {
            self.statuses.mark([service]);
        }
        if !after.is_empty() {
            self.services.insert(service.clone(), after);
        }
    }

    /// Takes that one more Service has a prefix by an advertisement. Only the first changes a route.
    fn add(&mut self, prefix: Prefix, place: usize) {
        let counts = self.prefixes.get_mut(&prefix);
        let known = counts.and_then(|counts| counts.iter_mut().find(|(known, _)| *known == place));
        if let Some((_, services)) = known {
            *services += 1;
            return;
        }
        self.mark(prefix);
        let places = self.prefixes.entry(prefix).or_default();
        places.push((place, 1));
        self.clashes.mark(prefix, places.len());
    }

    /// Takes that one Service less has a prefix by an advertisement. Only the last changes a route.
    fn remove(&mut self, prefix: Prefix, place: usize) {
        let counts = self.prefixes.get_mut(&prefix);
        let known = counts.and_then(|counts| counts.iter_mut().find(|(known, _)| *known == place));
        if let Some((_, services)) = known.filter(|(_, services)| *services > 1) {
            *services -= 1;
            return;
        }
        self.mark(prefix);
        if let Some(counts) = self.prefixes.get_mut(&prefix) {
            counts.retain(|(known, _)| *known != place);
            self.clashes.mark(prefix, counts.len());
            if counts.is_empty() {
                self.prefixes.remove(&prefix);
            }
        }
    }

    /// Returns the routes of a Service, in ascending order.
    fn routes_of(&self, facts: &Facts, service: &ServiceKey) -> Vec<(Prefix, usize)> {
        let mut routes = Vec::new();
        let addresses = facts
            .service(service)
            .map_or(&[][..], |service| &service.addresses);
        for address in addresses {
            let Ok(places) = self.places_of(facts, service, *address) else {
                continue;
            };
            for place in places {
                let length = self.advertisements[place].length(Family::of(*address));
                routes.push((Prefix::of(*address, length), place));
            }
        }
        routes.sort();
        routes.dedup();
        routes
    }

    /// Returns the places of the advertisements by which this node announces a Service at one of its addresses.
    fn places_of(
        &self,
        facts: &Facts,
        key: &ServiceKey,
        address: IpAddr,
    ) -> Result<Vec<usize>, RouteExclusion> {
        let service = facts.service(key).ok_or(RouteExclusion::NoService)?;
        let node = facts.nodes().get(&self.own_node).ok_or(RouteExclusion::NoNode)?;
        let pool = facts.view().pool_at(service, address)?;
        let attached = self.attached.get(&pool.name).map_or(&[][..], Vec::as_slice);
        self.places_on(facts, node, pool, attached, service)
    }

    /// Returns the places of the advertisements by which a node announces a Service of a pool, of those that are attached there.
    fn places_on(
        &self,
        facts: &Facts,
        node: &Node,
        pool: &Pool,
        attached: &[usize],
        service: &Exposure,
    ) -> Result<Vec<usize>, RouteExclusion> {
        if attached.is_empty() {
            return Err(RouteExclusion::NoAdvertisementForNode);
        }
        let applies = |place: &usize| self.advertisements[*place].scope.selects_service(&service.labels);
        let places: Vec<usize> = attached.iter().copied().filter(applies).collect();
        let applying: Vec<&BgpAdvertisement> =
            places.iter().map(|place| &self.advertisements[*place]).collect();
        if applying.is_empty() {
            return Err(RouteExclusion::NoAdvertisementForService);
        }
        if let Some((one, other)) = attachment::contradiction(&applying, pool) {
            return Err(RouteExclusion::Contradiction(
                one.name.clone(),
                other.name.clone(),
            ));
        }
        let endpoints = facts.endpoints(&service.key);
        // The speaker itself decides. It needs no other, and stops its sessions when it stops. There is no election, so none that
        // has to be MetalLB's: a drained node is drained beside MetalLB as well.
        let view = View {
            members: None,
            ignore_drain: false,
            ..facts.view()
        };
        view.may_announce(&applying, service, endpoints, node)?;
        if !endpoints.any {
            return Err(Exclusion::NoEndpoints.into());
        }
        Ok(places)
    }

    /// Notes that the routes of all peers for a prefix may change.
    fn mark(&mut self, prefix: Prefix) {
        for (name, peer) in self.peers.running() {
            let key = (prefix, Arc::clone(name));
            if !self.stale.contains_key(&key) {
                let before = self.route(peer, prefix);
                self.stale.insert(key, before);
            }
        }
    }

    /// Returns the route to a peer for a prefix: all communities, the highest LOCAL_PREF and the lowest MULTI_EXIT_DISC of all
    /// Services and advertisements behind it.
    fn route(&self, peer: &BgpPeer, prefix: Prefix) -> Option<RouteAttributes> {
        let places = self.prefixes.get(&prefix)?.iter().map(|(place, _)| *place);
        let wanted = places.filter(|place| self.is_wanted(peer, prefix, *place));
        let mut advertisements = wanted.filter_map(|place| self.advertisements.get(place));
        let mut route = self.attributes(advertisements.next()?);
        for advertisement in advertisements {
            let other = self.attributes(advertisement);
            route.communities.extend(&other.communities);
            // A route without a MULTI_EXIT_DISC counts as 0 (RFC 4271 section 9.1.2.2).
            route.med = route.med.min(other.med);
            if route.local_pref != other.local_pref {
                let preference = |route: &RouteAttributes| route.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
                route.local_pref = Some(preference(&route).max(preference(&other)));
            }
        }
        Some(route)
    }

    /// Whether a peer is to have a prefix by an advertisement. Its session may have limits.
    fn is_wanted(&self, peer: &BgpPeer, prefix: Prefix, place: usize) -> bool {
        let advertisement = self.advertisements.get(place);
        peer.carries(Family::of(prefix.address))
            && advertisement.is_some_and(|one| one.selects_peer(&peer.name))
    }

    fn attributes(&self, advertisement: &BgpAdvertisement) -> RouteAttributes {
        RouteAttributes {
            med: advertisement.med.or(self.default_med),
            local_pref: advertisement.local_pref,
            communities: advertisement.communities.clone(),
        }
    }
}

//! Announcement by BGP: which routes a node's peers get, and why not.
//!
//! Each node decides for itself, without an election: whether it may announce a Service at an address, and which advertisements say
//! how. What comes out is the difference to what came out before, for each peer and prefix ([`BgpRoutes::poll_change`]).

mod attachment;
mod exclusion;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

pub use attachment::{Unattached, attach};
pub use exclusion::{PeerExclusion, RouteExclusion};

use super::eligibility::Exclusion;
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
    peers: BTreeMap<Arc<str>, BgpPeer>,
    /// The places of the advertisements that this node uses for each pool.
    attached: BTreeMap<PoolName, Vec<usize>>,
    /// The routes of each Service, in ascending order: prefix, and place among the advertisements.
    services: BTreeMap<ServiceKey, Vec<(Prefix, usize)>>,
    /// The places of the advertisements behind each prefix, each with the number of its Services.
    prefixes: BTreeMap<Prefix, SmallVec<[(usize, usize); 1]>>,
    /// The routes that may have changed, as they were when [`BgpRoutes::poll_change`] returned them last.
    stale: BTreeMap<(Prefix, Arc<str>), Option<RouteAttributes>>,
}

impl BgpRoutes {
    /// Starts without peers. Without `default_med` routes have no MULTI_EXIT_DISC unless their advertisement says so, as with
    /// MetalLB.
    pub const fn new(own_node: NodeName, default_med: Option<u32>) -> Self {
        Self {
            own_node,
            default_med,
            advertisements: Vec::new(),
            peers: BTreeMap::new(),
            attached: BTreeMap::new(),
            services: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            stale: BTreeMap::new(),
        }
    }

    /// Replaces the advertisements, and the peers of this node ([`NodePeers::running`](crate::config::bgp::NodePeers::running)). The
    /// routes of a peer that is gone are withdrawn.
    pub fn set_config<'a>(
        &mut self,
        facts: &Facts,
        advertisements: Vec<BgpAdvertisement>,
        peers: impl IntoIterator<Item = &'a BgpPeer>,
    ) {
        let peers = peers
            .into_iter()
            .map(|peer| (peer.name.as_str().into(), peer.clone()));
        let peers: BTreeMap<Arc<str>, BgpPeer> = peers.collect();
        if self.advertisements == advertisements && self.peers == peers {
            return;
        }
        let before: Vec<Prefix> = self.prefixes.keys().copied().collect();
        for prefix in before {
            self.mark(prefix);
        }
        self.services.clear();
        self.prefixes.clear();
        self.advertisements = advertisements;
        self.peers = peers;
        self.decide_all(facts);
    }

    /// Decides again what depends on a change of the facts.
    pub fn handle_change(&mut self, facts: &Facts, change: &FactChange) {
        match change {
            FactChange::Pools => self.decide_all(facts),
            FactChange::Node(node, addresses) | FactChange::NodeRemoved(node, addresses) => {
                if *node == self.own_node {
                    self.decide_all(facts);
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

    /// Returns the next route that differs from what was returned before.
    pub fn poll_change(&mut self) -> Option<RouteChange> {
        loop {
            let ((prefix, peer), before) = self.stale.pop_first()?;
            let attributes = self.peers.get(&peer).and_then(|peer| self.route(peer, prefix));
            if attributes != before {
                return Some(RouteChange {
                    peer,
                    prefix,
                    attributes,
                });
            }
        }
    }

    /// Returns the peers that get a route for a Service: what `ServiceBGPStatus` has.
    pub fn peers_of(&self, service: &ServiceKey) -> BTreeSet<&str> {
        let routes = self.services.get(service).map_or(&[][..], Vec::as_slice);
        let gets = |peer: &&BgpPeer| {
            let mut routes = routes.iter();
            routes.any(|(prefix, place)| self.is_sent(peer, *prefix, *place))
        };
        self.peers
            .values()
            .filter(gets)
            .map(|peer| peer.name.as_str())
            .collect()
    }

    /// Explains for each peer why it gets a route for a Service at one of its addresses, or why not.
    ///
    /// # Errors
    /// The reason why no peer gets one.
    pub fn explain(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Result<BTreeMap<&str, Result<Vec<Prefix>, PeerExclusion>>, RouteExclusion> {
        let places = self.places_of(facts, service, address)?;
        let family = Family::of(address);
        let of = |peer: &BgpPeer| {
            if !peer.carries(family) {
                return Err(PeerExclusion::FamilyNotCarried(family));
            }
            let advertisements = places.iter().map(|place| &self.advertisements[*place]);
            let selecting = advertisements.filter(|one| one.selects_peer(&peer.name));
            let prefixes: BTreeSet<Prefix> = selecting
                .map(|one| Prefix::of(address, one.length(family)))
                .collect();
            if prefixes.is_empty() {
                return Err(PeerExclusion::NotSelected);
            }
            Ok(prefixes.into_iter().collect())
        };
        let peers = self.peers.values();
        Ok(peers.map(|peer| (peer.name.as_str(), of(peer))).collect())
    }

    /// Returns the advertisements that this node does not use for a pool although they select both.
    pub fn unattached(&self, facts: &Facts) -> Vec<(String, Arc<str>, Unattached)> {
        let Some(node) = facts.nodes().get(&self.own_node) else {
            return Vec::new();
        };
        let of_pool = |pool: &Pool| {
            let (_, others) = attach(&self.advertisements, pool, &node.labels);
            let name = |(advertisement, reason): (&BgpAdvertisement, Unattached)| {
                (advertisement.name.clone(), pool.name.as_str().into(), reason)
            };
            others.into_iter().map(name).collect::<Vec<_>>()
        };
        facts.view().pools.iter().flat_map(of_pool).collect()
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
        self.prefixes.entry(prefix).or_default().push((place, 1));
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
        let mut view = facts.view();
        // The speaker itself decides. It needs no other, and stops its sessions when it stops. There is no election, so none that
        // has to be MetalLB's: a drained node is drained beside MetalLB as well.
        (view.members, view.ignore_drain) = (None, false);
        let endpoints = facts.endpoints(key);
        let pool = view.pool_at(service, address)?;
        let attached = self.attached.get(&pool.name).map_or(&[][..], Vec::as_slice);
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
        view.may_announce(&applying, service, endpoints, node)?;
        if !endpoints.any {
            return Err(Exclusion::NoEndpoints.into());
        }
        Ok(places)
    }

    /// Notes that the routes of all peers for a prefix may change.
    fn mark(&mut self, prefix: Prefix) {
        for (name, peer) in &self.peers {
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
        let sent = places.filter(|place| self.is_sent(peer, prefix, *place));
        let mut advertisements = sent.filter_map(|place| self.advertisements.get(place));
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

    fn is_sent(&self, peer: &BgpPeer, prefix: Prefix, place: usize) -> bool {
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

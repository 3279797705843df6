//! Why a peer gets a route, or no peer does.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use smallvec::SmallVec;

use super::{BgpRoutes, PeerExclusion, RouteExclusion, Unattached, attach};
use crate::announce::eligibility::{Exposure, Node};
use crate::announce::facts::Facts;
use crate::config::Pool;
use crate::config::bgp::{BgpAdvertisement, BgpPeer};
use crate::{Family, Prefix, ServiceKey};

impl BgpRoutes {
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
        let peers = self.peers.running().values();
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

    /// Returns how many prefixes a peer of this node gets. It looks at each of them, so do not call it often.
    pub fn prefix_count(&self, peer: &str) -> usize {
        let Some(peer) = self.peers.running().get(peer) else {
            return 0;
        };
        let is_sent = |(prefix, places): &(&Prefix, &SmallVec<[(usize, usize); 1]>)| {
            let mut places = places.iter();
            places.any(|(place, _)| self.is_sent(peer, **prefix, *place))
        };
        self.prefixes.iter().filter(is_sent).count()
    }

    /// Returns the peers that are set aside on this node, each with the older one that has its connection, by name.
    pub fn duplicates(&self) -> &[(String, String)] {
        &self.peers.duplicates
    }

    /// Returns the reasons why no node announces a Service at an address; none if a node does. `None` if no advertisement selects the
    /// pool and the Service.
    pub fn reasons_of_nodes(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Option<BTreeSet<&'static str>> {
        let service = facts.service(service)?;
        let pool = facts.view().pool_at(service, address).ok()?;
        let applies = |one: &BgpAdvertisement| {
            one.scope.selects_pool(pool) && one.scope.selects_service(&service.labels)
        };
        if !self.advertisements.iter().any(applies) {
            return None;
        }
        let mut reasons = BTreeSet::new();
        for node in facts.nodes().values() {
            match self.check_node(facts, node, pool, service, address) {
                Ok(()) => return Some(BTreeSet::new()),
                Err(exclusion) => reasons.insert(exclusion.reason()),
            };
        }
        Some(reasons)
    }

    /// Checks that a node announces a Service at an address to a peer.
    fn check_node(
        &self,
        facts: &Facts,
        node: &Node,
        pool: &Pool,
        service: &Exposure,
        address: IpAddr,
    ) -> Result<(), RouteExclusion> {
        let (attached, _) = attach(&self.advertisements, pool, &node.labels);
        let places = self.places_on(facts, node, pool, &attached, service)?;
        let gets = |peer: &BgpPeer| {
            let mut advertisements = places.iter().map(|place| &self.advertisements[*place]);
            peer.carries(Family::of(address)) && advertisements.any(|one| one.selects_peer(&peer.name))
        };
        let peers = self.peers.in_force.iter();
        let mut peers = peers.filter(|peer| peer.selects_node(&node.labels));
        peers.any(gets).then_some(()).ok_or(RouteExclusion::NoPeer)
    }
}

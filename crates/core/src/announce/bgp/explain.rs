//! Why a peer gets a route, or no peer does.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{BgpRoutes, PeerExclusion, RouteExclusion, Unattached, attach};
use crate::announce::eligibility::{Exposure, Node};
use crate::announce::facts::Facts;
use crate::config::Pool;
use crate::config::bgp::{BgpAdvertisement, BgpPeer};
use crate::{Family, NodeName, Prefix, ServiceKey};

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
        if self.peers.running().is_empty() {
            return Err(RouteExclusion::NoPeer);
        }
        let family = Family::of(address);
        let of = |peer: &BgpPeer| {
            if !peer.carries(family) {
                return Err(PeerExclusion::FamilyNotCarried(family));
            }
            let advertisements = places.iter().map(|place| &self.advertisements[*place]);
            let selecting = advertisements.filter(|one| one.selects_peer(&peer.name));
            let prefixes = selecting.map(|one| Prefix::of(address, one.length(family)));
            let prefixes: BTreeSet<Prefix> = prefixes.collect();
            let mut result = Err(PeerExclusion::NotSelected);
            let mut sendable = Vec::new();
            for prefix in prefixes {
                match self.check_session(&peer.name, prefix) {
                    Ok(()) => sendable.push(prefix),
                    Err(exclusion) => result = Err(exclusion),
                }
            }
            if sendable.is_empty() { result } else { Ok(sendable) }
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

    /// Returns the peers that are set aside on this node, each with the older one that has its connection, by name.
    pub fn duplicates(&self) -> &[(String, String)] {
        &self.peers.duplicates
    }

    /// Returns the reasons why no node announces a Service at an address, with the advertisements that contradict each other; none if
    /// a node does. All nodes return the same: what sessions cannot have is left out. `None` if no advertisement selects the pool and
    /// the Service.
    pub fn reasons_of_nodes(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Option<BTreeSet<String>> {
        self.reasons(facts, service, address, |_, _| Ok(()))
    }

    /// Returns what [`Self::reasons_of_nodes`] does, with what the sessions of this node cannot have. Those of other nodes with the same
    /// peers most likely cannot have it either. Where they can, their nodes publish that they announce the Service.
    pub fn reasons_with_limits(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Option<BTreeSet<String>> {
        self.reasons(facts, service, address, |peer, prefix| {
            self.check_session(peer, prefix)
        })
    }

    fn reasons(
        &self,
        facts: &Facts,
        service: &ServiceKey,
        address: IpAddr,
        check_session: impl Fn(&str, Prefix) -> Result<(), PeerExclusion>,
    ) -> Option<BTreeSet<String>> {
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
            match self.check_node(facts, node, pool, service, address, &check_session) {
                Ok(()) => return Some(BTreeSet::new()),
                Err(exclusion) => reasons.insert(exclusion.named_reason()),
            };
        }
        Some(reasons)
    }

    /// Returns whether nothing but its sessions keeps a node from announcing a Service at an address. All nodes return the same.
    pub fn may_announce(
        &self,
        facts: &Facts,
        node: &NodeName,
        service: &ServiceKey,
        address: IpAddr,
    ) -> bool {
        let check = |_: &str, _| Ok(());
        self.check(facts, node, service, address, check) == Some(Ok(()))
    }

    /// Returns whether this node announces a Service at an address to no peer only because none of its sessions can have it. No other
    /// node knows these.
    pub fn is_limited(&self, facts: &Facts, service: &ServiceKey, address: IpAddr) -> bool {
        let check = |peer: &str, prefix| self.check_session(peer, prefix);
        let result = || self.check(facts, &self.own_node, service, address, check);
        self.has_limits() && matches!(result(), Some(Err(RouteExclusion::Unsendable(_))))
    }

    fn check(
        &self,
        facts: &Facts,
        node: &NodeName,
        service: &ServiceKey,
        address: IpAddr,
        check_session: impl Fn(&str, Prefix) -> Result<(), PeerExclusion>,
    ) -> Option<Result<(), RouteExclusion>> {
        let (service, node) = (facts.service(service)?, facts.nodes().get(node)?);
        let pool = facts.view().pool_at(service, address).ok()?;
        Some(self.check_node(facts, node, pool, service, address, check_session))
    }

    /// Checks that a node announces a Service at an address to a peer.
    fn check_node(
        &self,
        facts: &Facts,
        node: &Node,
        pool: &Pool,
        service: &Exposure,
        address: IpAddr,
        check_session: impl Fn(&str, Prefix) -> Result<(), PeerExclusion>,
    ) -> Result<(), RouteExclusion> {
        let (attached, _) = attach(&self.advertisements, pool, &node.labels);
        let places = self.places_on(facts, node, pool, &attached, service)?;
        let family = Family::of(address);
        let peers = self.peers.in_force.iter();
        let peers = peers.filter(|peer| peer.selects_node(&node.labels) && peer.carries(family));
        let mut result = Err(RouteExclusion::NoPeer);
        for peer in peers {
            let advertisements = places.iter().map(|place| &self.advertisements[*place]);
            for advertisement in advertisements.filter(|one| one.selects_peer(&peer.name)) {
                let prefix = Prefix::of(address, advertisement.length(family));
                match check_session(&peer.name, prefix) {
                    Ok(()) => return Ok(()),
                    Err(exclusion) => result = Err(RouteExclusion::Unsendable(exclusion)),
                }
            }
        }
        result
    }
}

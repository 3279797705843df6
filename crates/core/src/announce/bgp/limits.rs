//! What the sessions of a node cannot have of the routes that their peers are to have. A session reports its own limits, because they
//! follow from what both sides negotiated, and from the interface that the connection is on.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{BgpRoutes, PeerExclusion};
use crate::announce::facts::Facts;
use crate::config::bgp::BgpPeer;
use crate::{Family, Prefix, ServiceKey};

/// Why a session cannot have the routes of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyLimit {
    /// The peer did not negotiate the family (RFC 4760 section 8).
    NotNegotiated,
    /// The node has no next hop of the family on the interface of the connection.
    NoNextHop,
}

impl FamilyLimit {
    const fn exclusion(self, family: Family) -> PeerExclusion {
        match self {
            Self::NotNegotiated => PeerExclusion::FamilyNotNegotiated(family),
            Self::NoNextHop => PeerExclusion::NoNextHop(family),
        }
    }
}

/// What a session cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionLimits {
    /// Why it cannot have IPv4 routes.
    pub v4: Option<FamilyLimit>,
    /// Why it cannot have IPv6 routes.
    pub v6: Option<FamilyLimit>,
    /// The prefixes of the routes whose attributes leave no room for them in a message.
    pub too_long: BTreeSet<Prefix>,
}

impl SessionLimits {
    /// Checks that the session can have the route for a prefix.
    pub(super) fn check(&self, prefix: Prefix) -> Result<(), PeerExclusion> {
        let family = Family::of(prefix.address);
        match self.of(family) {
            Some(limit) => Err(limit.exclusion(family)),
            None if self.too_long.contains(&prefix) => Err(PeerExclusion::RouteTooLong),
            None => Ok(()),
        }
    }

    const fn of(&self, family: Family) -> Option<FamilyLimit> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether a family has another limit than `before`, of those that the peer is to have.
    fn differs_in_families(&self, before: &Self, peer: &BgpPeer) -> bool {
        let mut carried = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| peer.carries(*family));
        carried.any(|family| self.of(family) != before.of(family))
    }
}

/// How many prefixes the peer of a session is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixCounts {
    /// Those that the session can have.
    pub sendable: usize,
    /// Those that it cannot have.
    pub unsendable: usize,
    /// Why it cannot have the first of those.
    pub reason: Option<PeerExclusion>,
}

/// How many routes a peer is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RouteCounts {
    v4: usize,
    v6: usize,
}

impl RouteCounts {
    const fn of_mut(&mut self, family: Family) -> &mut usize {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The limits of the sessions of a node, by the names of their peers. A session that has reported none has none.
pub(super) type LimitsByPeer = BTreeMap<Arc<str>, SessionLimits>;

impl BgpRoutes {
    /// Replaces what the session with a peer cannot have. It holds until the session reports something else, also while there is none:
    /// the next session most likely has the same. The routes stay as they are. Returns the Services that are concerned.
    pub fn set_limits(&mut self, facts: &Facts, peer: &Arc<str>, limits: SessionLimits) -> Vec<ServiceKey> {
        // Of a peer that was removed meanwhile nothing is to be said.
        let Some((name, running)) = self.peers.running().get_key_value(peer) else {
            return Vec::new();
        };
        let before = self.limits.get(name).cloned().unwrap_or_default();
        let concerned = if limits.differs_in_families(&before, running) {
            self.services.keys().cloned().collect()
        } else {
            let differing = before.too_long.symmetric_difference(&limits.too_long);
            self.services_with(facts, differing)
        };
        // Also those of families that the peer is not to have: it may be to have them later, and its session reports changes only.
        self.limits.insert(Arc::clone(name), limits);
        self.statuses.mark(&concerned);
        concerned
    }

    /// Returns whether a session of this node cannot have some of the routes.
    pub(in crate::announce) fn has_limits(&self) -> bool {
        self.limits
            .values()
            .any(|limits| *limits != SessionLimits::default())
    }

    /// Checks that the session with a peer can have the route for a prefix.
    pub(super) fn check_session(&self, peer: &str, prefix: Prefix) -> Result<(), PeerExclusion> {
        self.limits
            .get(peer)
            .map_or(Ok(()), |limits| limits.check(prefix))
    }

    /// Counts a route to a peer that has come or gone.
    pub(super) fn count(&mut self, peer: &Arc<str>, family: Family, was_there: bool, is_there: bool) {
        if was_there == is_there {
            return;
        }
        let counts = self.counts.entry(Arc::clone(peer)).or_default();
        let count = counts.of_mut(family);
        if is_there {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
        }
        if *counts == RouteCounts::default() {
            self.counts.remove(peer);
        }
    }

    /// Returns how many prefixes a peer of this node is to have, by the routes that [`BgpRoutes::poll_change`] has returned.
    pub fn prefix_counts(&self, peer: &str) -> PrefixCounts {
        let mut result = PrefixCounts::default();
        let Some(running) = self.peers.running().get(peer) else {
            return result;
        };
        let counts = self.counts.get(peer).copied().unwrap_or_default();
        let unlimited = SessionLimits::default();
        let limits = self.limits.get(peer).unwrap_or(&unlimited);
        for (family, count) in [(Family::V4, counts.v4), (Family::V6, counts.v6)] {
            match limits.of(family) {
                None => result.sendable += count,
                Some(limit) if count > 0 => {
                    result.unsendable += count;
                    result.reason.get_or_insert_with(|| limit.exclusion(family));
                }
                Some(_) => {}
            }
        }
        let is_too_long = |prefix: &&Prefix| limits.check(**prefix) == Err(PeerExclusion::RouteTooLong);
        let too_long = limits.too_long.iter().filter(is_too_long);
        let too_long = too_long.filter(|prefix| self.route(running, **prefix).is_some());
        let too_long = too_long.count().min(result.sendable);
        if too_long > 0 {
            result.sendable -= too_long;
            result.unsendable += too_long;
            result.reason.get_or_insert(PeerExclusion::RouteTooLong);
        }
        result
    }

    /// Returns the Services behind prefixes.
    fn services_with<'a>(
        &self,
        facts: &Facts,
        prefixes: impl Iterator<Item = &'a Prefix>,
    ) -> Vec<ServiceKey> {
        let (mut services, mut wider) = (BTreeSet::new(), BTreeSet::new());
        for prefix in prefixes {
            if prefix.is_host() {
                services.extend(facts.sharers(prefix.address));
            } else {
                wider.insert(*prefix);
            }
        }
        if !wider.is_empty() {
            let behind = self.services.iter().filter(|(_, routes)| {
                let mut routes = routes.iter();
                routes.any(|(prefix, _)| wider.contains(prefix))
            });
            services.extend(behind.map(|(service, _)| service));
        }
        services.into_iter().cloned().collect()
    }
}

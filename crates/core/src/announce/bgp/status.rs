//! What a node publishes about a Service that it announces by BGP.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::BgpRoutes;
use crate::announce::facts::Facts;
use crate::{Prefix, ServiceKey};

/// How a node announces a Service by BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpStatus {
    /// The addresses that at least one peer gets a route for, in the order of the Service.
    pub addresses: Vec<IpAddr>,
    /// The peers that get a route for the Service, by name. Whether the sessions are up does not matter, but what they cannot have does
    /// ([`SessionLimits`](super::SessionLimits)).
    pub peers: Vec<Arc<str>>,
}

/// That a node announces a Service otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpStatusChange {
    /// The Service.
    pub service: ServiceKey,
    /// How the node announced it before, if it did.
    pub before: Option<BgpStatus>,
    /// How it announces it now, if it does.
    pub after: Option<BgpStatus>,
}

/// The statuses of the Services that this node announces.
#[derive(Debug, Default)]
pub(super) struct BgpStatuses {
    published: BTreeMap<ServiceKey, BgpStatus>,
    /// Services whose status may have changed.
    stale: BTreeSet<ServiceKey>,
}

impl BgpStatuses {
    /// Notes that the statuses of these Services may have changed.
    pub(super) fn mark<'a>(&mut self, services: impl IntoIterator<Item = &'a ServiceKey>) {
        self.stale.extend(services.into_iter().cloned());
    }

    /// Returns the next status that differs from what was returned before. `status` computes it.
    pub(super) fn poll_change(
        &mut self,
        status: impl Fn(&ServiceKey) -> Option<BgpStatus>,
    ) -> Option<BgpStatusChange> {
        loop {
            let service = self.stale.pop_first()?;
            let after = status(&service);
            let before = match after.clone() {
                Some(after) => self.published.insert(service.clone(), after),
                None => self.published.remove(&service),
            };
            if before != after {
                return Some(BgpStatusChange {
                    service,
                    before,
                    after,
                });
            }
        }
    }
}

impl BgpRoutes {
    /// Returns the next status of a Service that differs from what was returned before: what `ServiceBGPStatus` has.
    pub fn poll_status(&mut self, facts: &Facts) -> Option<BgpStatusChange> {
        let mut statuses = core::mem::take(&mut self.statuses);
        let change = statuses.poll_change(|service| self.status(facts, service));
        self.statuses = statuses;
        change
    }

    fn status(&self, facts: &Facts, service: &ServiceKey) -> Option<BgpStatus> {
        let routes = self.services.get(service)?;
        let mut sent = BTreeSet::new();
        let mut peers = Vec::new();
        for (name, peer) in self.peers.running() {
            let gets = |(prefix, place): &&(Prefix, usize)| {
                self.is_wanted(peer, *prefix, *place) && self.check_session(name, *prefix).is_ok()
            };
            let before = peers.len();
            for (prefix, _) in routes.iter().filter(gets) {
                sent.insert(*prefix);
                if peers.len() == before {
                    peers.push(Arc::clone(name));
                }
            }
        }
        let is_announced = |address: &&IpAddr| sent.iter().any(|prefix| prefix.contains(**address));
        let addresses = &facts.service(service)?.addresses;
        (!peers.is_empty()).then(|| BgpStatus {
            addresses: addresses.iter().filter(is_announced).copied().collect(),
            peers,
        })
    }
}

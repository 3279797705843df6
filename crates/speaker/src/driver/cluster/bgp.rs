//! The resources of BGP, and their problems.

use std::net::Ipv4Addr;

use herald_core::Time;
use herald_core::announce::agent::Agent;
use herald_core::config::bgp::{BgpCatalog, BgpChange, BgpSource, FirstLists};

use crate::input::BgpUpdate;

/// The resources of BGP that the agent has, or is to have.
#[derive(Debug)]
pub(super) struct BgpResources {
    catalog: BgpCatalog,
    /// Changes that the catalog does not have yet.
    changes: Vec<BgpChange>,
    lists: FirstLists,
    /// The first `InternalIP` of IPv4 that this node has.
    internal_ipv4: Option<Ipv4Addr>,
    /// Whether the agent may have others than the catalog.
    is_stale: bool,
}

impl Default for BgpResources {
    fn default() -> Self {
        Self {
            catalog: BgpCatalog::default(),
            changes: Vec::new(),
            lists: FirstLists::of(BgpSource::ALL),
            internal_ipv4: None,
            is_stale: false,
        }
    }
}

impl BgpResources {
    pub(super) const fn set_internal_ipv4(&mut self, address: Option<Ipv4Addr>) {
        self.internal_ipv4 = address;
    }

    pub(super) const fn internal_ipv4(&self) -> Option<Ipv4Addr> {
        self.internal_ipv4
    }

    pub(super) fn update(&mut self, input: BgpUpdate) {
        match input {
            BgpUpdate::Changed(change) => self.changes.push(*change),
            BgpUpdate::Listed(source) => {
                self.is_stale |= self.lists.handle_listed(source);
            }
            BgpUpdate::Ignored => {}
        }
    }

    /// Takes the time. Returns whether there are other problems from now on: kinds that could not be listed.
    pub(super) fn handle_time(&mut self, now: Time) -> bool {
        let is_over = self.lists.handle_time(now);
        self.is_stale |= is_over;
        is_over
    }

    /// Hands what has changed to the agent, once all kinds are listed that can be.
    pub(super) fn apply(&mut self, agent: &mut Agent) {
        if !self.lists.are_usable() {
            return;
        }
        self.is_stale |= !self.changes.is_empty();
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.catalog.apply(self.changes.drain(..));
        let advertisements = self.catalog.advertisements().cloned().collect();
        agent.set_bgp_config(advertisements, self.catalog.peers());
    }

    /// Returns the problems of the resources, and those that they have with each other on this node.
    pub(super) fn problems(&self, agent: &Agent) -> Vec<String> {
        let unlisted = self.lists.unlisted().map(|unlisted| unlisted.to_string());
        let problems = self.catalog.problems().iter().map(ToString::to_string);
        let duplicates = agent.bgp().duplicates().iter().map(|(peer, older)| {
            format!(
                "BGPPeer {peer:?}: spec.peerAddress: the older BGPPeer {older:?} has the same connection on this node; \
                 give one of them another address, port, source address or VRF, or different nodes"
            )
        });
        let unattached = agent
            .unattached()
            .into_iter()
            .map(|(advertisement, pool, reason)| {
                format!("BGPAdvertisement {advertisement:?}: not used for IPAddressPool {pool:?}: {reason}")
            });
        let problems = unlisted.chain(problems);
        problems.chain(duplicates).chain(unattached).collect()
    }
}

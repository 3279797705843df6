//! The resources of BGP, and their problems.

use std::collections::BTreeSet;

use herald_core::announce::agent::Agent;
use herald_core::config::bgp::{BgpCatalog, BgpChange};

use crate::input::{BgpSource, BgpUpdate};

/// The resources of BGP that the agent has, or is to have.
#[derive(Debug)]
pub(super) struct BgpResources {
    catalog: BgpCatalog,
    /// Changes that the catalog does not have yet.
    changes: Vec<BgpChange>,
    /// The kinds whose first list is not complete.
    awaited: BTreeSet<BgpSource>,
    /// Whether the agent may have others than the catalog.
    is_stale: bool,
}

impl Default for BgpResources {
    fn default() -> Self {
        Self {
            catalog: BgpCatalog::default(),
            changes: Vec::new(),
            awaited: BgpSource::ALL.into(),
            is_stale: false,
        }
    }
}

impl BgpResources {
    pub(super) fn update(&mut self, input: BgpUpdate) {
        match input {
            BgpUpdate::Changed(change) => self.changes.push(*change),
            BgpUpdate::Listed(source) => {
                self.is_stale |= self.awaited.remove(&source);
            }
            BgpUpdate::Ignored => {}
        }
    }

    /// Hands what has changed to the agent, once all kinds are listed: sessions that come before their routes make routers forget
    /// the routes that they had.
    pub(super) fn apply(&mut self, agent: &mut Agent) {
        if !self.awaited.is_empty() {
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
        problems.chain(duplicates).chain(unattached).collect()
    }
}

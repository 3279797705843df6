//! BGP: each node announces for itself, whatever the others do.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Agent;
use crate::NodeName;
use crate::announce::bgp::{
    BgpRoutes, BgpStatusChange, LocalPrefClash, PeerChange, RouteChange, SessionLimits, Unattached,
};
use crate::config::bgp::{BgpAdvertisement, BgpPeer};

impl Agent {
    /// Replaces the advertisements and peers of BGP in force. This node has sessions with the peers that select it.
    pub fn set_bgp_config<'a>(
        &mut self,
        advertisements: Vec<BgpAdvertisement>,
        peers: impl IntoIterator<Item = &'a BgpPeer>,
    ) {
        if self.stop_at.is_none() {
            self.bgp.set_config(&self.facts, advertisements, peers);
            self.statuses.handle_bgp_config();
        }
    }

    /// Ends all sessions of this node, or begins them again with their routes. A node that stops begins none.
    pub fn set_bgp_paused(&mut self, is_paused: bool) {
        if is_paused || self.stop_at.is_none() {
            self.bgp.set_paused(&self.facts, is_paused);
        }
    }

    /// Replaces what the session with a peer cannot have of its routes.
    pub fn set_bgp_limits(&mut self, peer: &Arc<str>, limits: SessionLimits) {
        let concerned = self.bgp.set_limits(&self.facts, peer, limits);
        self.statuses.handle_bgp_limits(concerned);
    }

    /// Returns the next peer of this node that differs from before. Nothing comes before [`Self::start`].
    pub fn poll_bgp_peer(&mut self) -> Option<PeerChange> {
        self.has_started.then(|| self.bgp.poll_peer())?
    }

    /// Returns the next route that differs from before. Nothing comes before [`Self::start`].
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        self.has_started.then(|| self.bgp.poll_change())?
    }

    /// Returns the next Service that this node announces by BGP otherwise than before.
    pub fn poll_bgp_status(&mut self) -> Option<BgpStatusChange> {
        self.has_started.then(|| self.bgp.poll_status(&self.facts))?
    }

    /// Returns the next prefix of several Services whose advertisements have different LOCAL_PREFs, and had not before.
    pub fn poll_local_pref_clash(&mut self) -> Option<LocalPrefClash> {
        self.has_started.then(|| self.bgp.poll_clash(&self.facts))?
    }

    /// Returns the routes of BGP, which explain themselves.
    pub const fn bgp(&self) -> &BgpRoutes {
        &self.bgp
    }

    /// Returns the advertisements of BGP that this node does not use for a pool although they select both.
    pub fn unattached(&self) -> Vec<(String, Arc<str>, Unattached)> {
        self.bgp.unattached(&self.facts)
    }

    /// Returns the name of this node.
    pub const fn node(&self) -> &NodeName {
        &self.options.node
    }
}

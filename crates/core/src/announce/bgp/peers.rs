//! The peers of a node: those in force that select it, of which each connection has one.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::announce::eligibility::Node;
use crate::config::bgp::{BgpPeer, NodePeers};

/// A peer of this node that differs from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerChange {
    /// Its name.
    pub name: Arc<str>,
    /// The peer; nothing if this node has no session with it any more.
    pub peer: Option<Box<BgpPeer>>,
}

/// The peers that one node runs.
pub(super) type RunningPeers = BTreeMap<Arc<str>, BgpPeer>;

/// The peers in force, and those of them that this node runs.
#[derive(Debug, Default)]
pub(super) struct BgpPeers {
    /// Those of all nodes.
    pub(super) in_force: Vec<BgpPeer>,
    /// Whether this node has no sessions for now.
    pub(super) is_paused: bool,
    running: RunningPeers,
    /// The names of those that are set aside on this node, each with the older one that has its connection.
    pub(super) duplicates: Vec<(String, String)>,
    /// Those that may have changed, as they were when [`Self::poll_change`] returned them last.
    stale: BTreeMap<Arc<str>, Option<BgpPeer>>,
}

impl BgpPeers {
    /// Returns the peers that this node runs.
    pub(super) const fn running(&self) -> &RunningPeers {
        &self.running
    }

    /// Whether the node runs others than by its labels now.
    pub(super) fn are_stale(&self, node: Option<&Node>) -> bool {
        self.select(node).0 != self.running
    }

    /// Selects the peers that the node runs from now on.
    pub(super) fn update(&mut self, node: Option<&Node>) {
        let (running, duplicates) = self.select(node);
        let before = core::mem::replace(&mut self.running, running);
        self.duplicates = duplicates;
        for name in self.running.keys() {
            if !before.contains_key(name) {
                self.stale.entry(Arc::clone(name)).or_insert(None);
            }
        }
        for (name, peer) in before {
            self.stale.entry(name).or_insert(Some(peer));
        }
    }

    /// Returns the next peer that differs from what was returned before. Those that are gone come first: another one may have the same
    /// connection, which a router takes only once.
    pub(super) fn poll_change(&mut self) -> Option<PeerChange> {
        loop {
            let gone = self.stale.keys().find(|name| !self.running.contains_key(*name));
            let gone = gone.cloned().and_then(|name| self.stale.remove_entry(&name));
            let (name, before) = gone.or_else(|| self.stale.pop_first())?;
            let now = self.running.get(&name);
            if now != before.as_ref() {
                let peer = now.cloned().map(Box::new);
                return Some(PeerChange { name, peer });
            }
        }
    }

    fn select(&self, node: Option<&Node>) -> (RunningPeers, Vec<(String, String)>) {
        let node = node.filter(|_| !self.is_paused);
        let peers = node.map(|node| NodePeers::of(&self.in_force, &node.labels));
        let peers = peers.unwrap_or_default();
        let running = peers.running.into_iter();
        let duplicates = peers.duplicates.into_iter();
        (
            running
                .map(|peer| (peer.name.as_str().into(), peer.clone()))
                .collect(),
            duplicates
                .map(|(peer, older)| (peer.name.clone(), older.name.clone()))
                .collect(),
        )
    }
}

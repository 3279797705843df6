//! Which nodes are connected.

use std::collections::{BTreeMap, BTreeSet};

use crate::pause::Pause;

/// Which nodes receive what which others send, on the wire or by gossip.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The part of the network that each node is in, by index; if empty, all are in one part.
    pub parts: Vec<u8>,
    /// Share of frames or datagrams that is lost.
    pub loss: f64,
    /// Pairs of nodes: nothing that the first sends reaches the second.
    pub mute: BTreeSet<(usize, usize)>,
}

impl Network {
    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        self.parts.get(from) == self.parts.get(to) && !self.mute.contains(&(from, to))
    }
}

/// Returns whether two nodes receive each other's frames, and have all their threads to handle them.
pub(crate) fn are_connected(
    wire: &Network,
    paused: &BTreeMap<usize, Pause>,
) -> impl Fn(usize, usize) -> bool {
    let runs = |node| !paused.contains_key(&node);
    move |one, other| runs(one) && runs(other) && wire.passes(one, other) && wire.passes(other, one)
}

//! Interfaces: which the advertisements name, and which have a link-local IPv6 address.

use herald_core::config::ConflictDetection;

use super::World;
use crate::catalog;

impl World {
    /// Makes the advertisements name the interface on the segment.
    pub fn select_interface(&mut self) {
        for index in 0..self.nodes.len() {
            if let Some(node) = &mut self.nodes[index] {
                catalog::configure(&mut node.agent, ConflictDetection::default(), &["eth0"]);
            }
            self.run_node(index);
        }
    }

    /// Removes the link-local IPv6 address of a node on the segment, which keeps one on another interface, or sets it again.
    pub fn set_ipv6(&mut self, index: usize, has_ipv6: bool) {
        if has_ipv6 {
            self.set_links(index, &[catalog::link(index)]);
        } else {
            self.set_links(index, &catalog::links_without_ipv6(index));
        }
    }
}

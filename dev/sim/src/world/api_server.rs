//! The API server: whether it answers, and what it says of nodes.

use super::World;
use crate::catalog;

impl World {
    /// Sets whether the API server answers. Nodes learn of what changed meanwhile when it answers again.
    pub fn set_api(&mut self, answers: bool) {
        self.api = answers;
        if answers {
            for index in 0..self.nodes.len() {
                self.apply_drained(index);
            }
        }
    }

    /// Sets or removes the annotation that drains a node.
    pub fn set_drained(&mut self, index: usize, is_drained: bool) {
        if is_drained {
            self.drained.insert(index);
        } else {
            self.drained.remove(&index);
        }
        if self.api {
            (0..self.nodes.len()).for_each(|node| self.apply_drained(node));
        }
    }

    fn apply_drained(&mut self, index: usize) {
        if let Some(node) = &mut self.nodes[index] {
            node.has_lists = true;
            for other in 0..self.timeouts.len() {
                node.agent
                    .set_node(catalog::node(other, self.drained.contains(&other)));
            }
            self.run_node(index);
        }
    }
}

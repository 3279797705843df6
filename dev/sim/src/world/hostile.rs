//! Faults that are meant: a foreign host on the segment, and members that are misled about others.

use std::rc::Rc;

use herald_core::config::ConflictDetection;
use rand::RngExt as _;

use super::{Event, World};
use crate::adversary::{self, Adversary};
use crate::catalog::{self, address, mac, name};
use crate::node::Lie;

impl World {
    /// Attaches a foreign host, or removes it.
    pub fn set_adversary(&mut self, adversary: Option<Adversary>) {
        let is_new = self.adversary.is_none() && adversary.is_some();
        self.adversary = adversary;
        if is_new {
            self.push(self.now, Event::Adversary);
        }
    }

    pub(super) fn run_adversary(&mut self) {
        let Some(adversary) = self.adversary.clone() else {
            return;
        };
        let address = address(self.rng.random_range(0..self.services));
        let (frame, pause) = adversary.act(address, self.nodes.len(), &mut self.rng);
        self.send_foreign_frame(&frame);
        self.push(self.now + pause, Event::Adversary);
    }

    /// A foreign host announces the address of a Service once with the MAC address of a node.
    pub fn forge_claim(&mut self, service: usize, node: usize) {
        self.send_foreign_frame(&adversary::claim(address(service), mac(node)));
    }

    pub(super) fn send_foreign_frame(&mut self, frame: &[u8]) {
        let shared: Rc<[u8]> = frame.into();
        for to in 0..self.nodes.len() {
            if !self.unplugged.contains(&to) {
                let due = self.now + self.latency();
                self.push(due, Event::Frame(to, shared.clone()));
            }
        }
    }

    /// Sets what the pools say about foreign hosts.
    pub fn set_conflict_detection(&mut self, detection: ConflictDetection) {
        for index in 0..self.nodes.len() {
            if let Some(node) = &mut self.nodes[index] {
                catalog::configure(&mut node.agent, detection, &[]);
            }
            self.run_node(index);
        }
    }

    /// Makes a node believe for ever, or no longer, that another one has this state.
    pub fn set_lie(&mut self, index: usize, about: usize, lie: Option<Lie>) {
        if let Some(node) = &mut self.nodes[index] {
            node.set_lie(name(about), lie);
        }
        self.run_node(index);
    }
}

//! The begin and the end of a time beside MetalLB.

use super::Takeover;
use super::machine::Stage;
use crate::Time;

impl Takeover {
    /// Records whether Pods of MetalLB's speaker exist, ready or not: then each claim is contradicted at once.
    pub const fn set_has_metallb(&mut self, has_metallb: bool) {
        self.peers.set_has_metallb(has_metallb);
    }

    /// Records whether MetalLB's speakers run on these nodes, too (`machine::beside`). When they have ended, no machine answers
    /// any more for what this node has left to them, so it probes for these addresses at once.
    pub fn set_beside_metallb(&mut self, is_beside: bool) {
        let was_beside = self.peers.is_beside_metallb();
        self.peers.set_beside_metallb(is_beside);
        if !was_beside || is_beside {
            return;
        }
        let machines = self.machines.iter_mut();
        for (address, machine) in machines.filter(|(_, machine)| machine.stage() == Stage::Deferred) {
            if let Some(before) = machine.due() {
                self.timeouts.remove(&(before, *address));
            }
            machine.forget_metallb();
            machine.set_due(Time::ZERO);
            self.timeouts.insert((Time::ZERO, *address));
        }
    }
}

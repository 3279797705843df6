//! What the node that answers for an address does with the claims of other machines.

use super::{AddressMachine, Context};
use crate::announce::layer2::Command;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::interest::Duty;
use crate::{MacAddr, NodeName, ServiceKey};

impl AddressMachine {
    /// Handles the announcement of an active address by another machine.
    pub(super) fn handle_claim(
        &mut self,
        mac: MacAddr,
        outranks: &dyn Fn(&NodeName, &ServiceKey) -> bool,
        ctx: &mut Context<'_>,
    ) {
        let Some(peer) = ctx.peers.get(mac) else {
            if ctx.identify(mac).is_none() {
                ctx.report(AddressEvent::Challenged(mac));
            }
            return ctx.order(Command::Defend(ctx.address));
        };
        if self.duty() == Some(Duty::Monitor) {
            // Perhaps the owner is back. It gets the address back as soon as it answers.
            self.monitor.handle_claim();
            return self.check(Some(mac), ctx);
        }
        // A peer that gossip reaches knows or will soon learn that this node is elected: its claim crossed ours. Or the
        // claim was the last frame of a peer that has left since.
        if !peer.is_lost() {
            return ctx.order(Command::Defend(ctx.address));
        }
        let has_better_rank = self
            .interests
            .services()
            .next()
            .is_some_and(|service| outranks(&peer.node, service));
        if has_better_rank || ctx.peers.is_minority() {
            let node = peer.node.clone();
            ctx.order(Command::Withdraw(ctx.address));
            ctx.report(AddressEvent::Preempted(node));
            // The claim may have been the last frame of a peer that has died since.
            self.probe(ctx);
        } else {
            ctx.order(Command::Defend(ctx.address));
        }
    }
}

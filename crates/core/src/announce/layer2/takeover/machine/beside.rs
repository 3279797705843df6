//! What the elected node does while MetalLB's speakers run on the same nodes: no node announces an address that the MetalLB of
//! another node answers for.
//!
//! ```text
//!   a peer that is alive answers      it says that it does not announce the address: MetalLB answers, so wait
//!                                     it says that it does: its speaker answers, which stops when this node announces
//!   the node of another peer answers  wait; report it only if the peer is lost, as speakers that start or stop are usual
//! ```

use super::attempt::MetalLbAnswer;
use super::{AddressMachine, Context};
use crate::NodeName;
use crate::announce::layer2::takeover::RETRY;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::peers::Peer;

impl AddressMachine {
    /// Handles the answer of a peer's node.
    pub(super) fn handle_answer_beside_metallb(&mut self, peer: Peer, ctx: &mut Context<'_>) {
        if peer.is_lost() {
            return self.defer_to(peer.node, ctx);
        }
        if self.is_announced_by(&peer.node, ctx) {
            return self.activate(ctx);
        }
        if peer.is_alive() && peer.can_reply {
            ctx.ask_claimant(&peer.node);
        }
        let attempt = self.attempt();
        (attempt.conflict, attempt.deferral) = (None, None);
        let known = attempt.metallb.take().filter(|answer| answer.node == peer.node);
        attempt.metallb = known.or(Some(MetalLbAnswer {
            node: peer.node,
            is_reported: false,
        }));
        self.defer_for(RETRY, ctx);
    }

    /// Handles the reply of a peer that keeps the address.
    pub(super) fn handle_reply_of_keeper(&mut self, peer: &NodeName, announces: bool, ctx: &mut Context<'_>) {
        if !ctx.peers.is_beside_metallb() {
            if !announces {
                self.activate(ctx);
            }
            return;
        }
        if self.is_announced_by(peer, ctx) {
            return self.activate(ctx);
        }
        let metallb = self.attempt().metallb.as_mut();
        // MetalLB elects a node on which the speaker starts or stops as before.
        if let Some(answer) = metallb.filter(|answer| answer.node == *peer && !announces)
            && ctx.peers.is_usable(peer)
            && !core::mem::replace(&mut answer.is_reported, true)
        {
            ctx.report(AddressEvent::AnsweredByMetalLb(peer.clone()));
        }
    }

    /// Forgets which machines answered beside MetalLB: what they still answer for is found anew, and reported.
    pub(in crate::announce::layer2::takeover) fn forget_metallb(&mut self) {
        let attempt = self.attempt();
        (attempt.metallb, attempt.conflict) = (None, None);
    }

    /// Whether a living peer has said lately that it announces the address.
    fn is_announced_by(&self, peer: &NodeName, ctx: &Context<'_>) -> bool {
        let reply = self.recent_reply(peer, ctx.now);
        reply.is_some_and(|reply| reply.announces) && ctx.peers.is_living(peer)
    }
}

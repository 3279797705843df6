//! What the node that answers for an address does with the claims of other machines.
//!
//! ```text
//!   a foreign host                     contradict
//!   a living peer                      contradict, and ask the peer: it says twice that it does not announce it: a forged claim
//!                                                                    it does, for 4 s: a dispute, the first by name stays
//!   a lost peer, here the minority     stop and probe again
//!   a lost peer, here the majority     contradict, and ask the peer: it announces the address and has the better rank:
//!                                                                    stop at its next claim and probe again
//! ```

use alloc::boxed::Box;
use core::time::Duration;

use super::rivalry::{DisputeStage, REPLY_VALIDITY, Rivalry};
use super::{AddressMachine, Context, Reply, Stage};
use crate::announce::layer2::Command;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::interest::Duty;
use crate::announce::layer2::takeover::peers::Peer;
use crate::{MacAddr, NodeName, ServiceKey, Time};

/// How long after a change of the role here the claims of a living peer that does not announce the address are no news: longer
/// than a handover, and than the announcements that follow a take-over.
const SETTLING: Duration = Duration::from_secs(10);

/// So soon after a change of the role here, the claim of a living peer is one of the handover and needs no query.
const HANDOVER_CROSSING: Duration = Duration::from_millis(500);

/// How long frames and datagrams of two peers may cross.
const CROSSING: Duration = Duration::from_millis(100);

/// How long it counts that a peer said not to announce the address: two rounds of the refresh, which is a minute apart.
const DENIAL_VALIDITY: Duration = Duration::from_secs(130);

/// When the loser of a dispute probes again.
pub(super) const DISPUTE_RETRY: Duration = Duration::from_secs(1);

impl AddressMachine {
    /// Handles the announcement of an active address by another machine.
    pub(super) fn handle_claim(
        &mut self,
        mac: MacAddr,
        outranks: &dyn Fn(&NodeName, &ServiceKey) -> bool,
        ctx: &mut Context<'_>,
    ) {
        let Some(peer) = ctx.peers.get(mac).cloned() else {
            if ctx.identify(mac).is_none() && self.rivalry().poll_challenge(ctx.now) {
                ctx.report(AddressEvent::Challenged(mac));
            }
            return ctx.defend();
        };
        if self.duty() == Some(Duty::Monitor) {
            // Perhaps the owner is back. It gets the address back as soon as it answers.
            if self.monitor.handle_claim(ctx.now) {
                self.check(Some(mac), ctx);
            }
            return;
        }
        if peer.is_lost() {
            return self.handle_claim_of_lost(&peer, outranks, ctx);
        }
        // A peer that gossip reaches knows or will soon learn that this node is elected: its claim crossed ours. Or the
        // claim was the last frame of a peer that has left since.
        let has_crossed = ctx.now.saturating_since(self.changed) < HANDOVER_CROSSING;
        let reply = self.recent_reply(&peer.node, ctx.now);
        let is_forged = !has_crossed && !peer.is_down() && reply.is_some_and(|reply| !reply.announces);
        if is_forged && !ctx.peers.has_metallb() {
            ctx.order(Command::DefendAgainstForged(ctx.address));
        } else {
            ctx.defend();
        }
        if !has_crossed && !peer.is_down() {
            self.ask_claimant(&peer, mac, ctx);
        }
    }

    /// Handles the claim of a peer that gossip has lost.
    fn handle_claim_of_lost(
        &mut self,
        peer: &Peer,
        outranks: &dyn Fn(&NodeName, &ServiceKey) -> bool,
        ctx: &mut Context<'_>,
    ) {
        let has_better_rank = self
            .interests
            .services()
            .next()
            .is_some_and(|service| outranks(&peer.node, service));
        let reply = self.recent_reply(&peer.node, ctx.now);
        let is_proven = reply.is_some_and(|reply| reply.announces);
        let counts = match (reply, ctx.peers.is_minority()) {
            (Some(Reply { announces: false, .. }), _) => false,
            (Some(_) | None, true) => true,
            // If the peer is in the minority, it stops as soon as it receives our defence.
            (Some(reply), false) => has_better_rank && ctx.now.saturating_since(reply.at) >= CROSSING,
            // A machine that uses the MAC address of a dead peer looks the same.
            (None, false) => has_better_rank && !peer.needs_proof,
        };
        if !counts || !is_proven && !self.rivalry().may_yield(ctx.now) {
            ctx.defend();
            return ctx.ask_lost(peer);
        }
        let node = peer.node.clone();
        self.rivalry().is_yielding = true;
        ctx.order(Command::Withdraw(ctx.address));
        ctx.report(AddressEvent::Preempted(node));
        // The claim may have been the last frame of a peer that has died since.
        self.probe(ctx);
    }

    /// Asks a living peer that claims the address whether it announces it.
    fn ask_claimant(&mut self, peer: &Peer, mac: MacAddr, ctx: &mut Context<'_>) {
        if !peer.can_reply || ctx.peers.queries.is_unreachable(&peer.node, ctx.now) {
            self.report_forged(mac, &peer.node, ctx);
        }
        if peer.can_reply && self.rivalry().may_ask(&peer.node, ctx.now) && ctx.ask_claimant(&peer.node) {
            self.rivalry().handle_asked(&peer.node, mac, ctx.now);
        }
    }

    /// Reports that a machine claims the address with the MAC address of a living peer, which does not announce it.
    fn report_forged(&mut self, mac: MacAddr, node: &NodeName, ctx: &mut Context<'_>) {
        let is_settled = ctx.now.saturating_since(self.changed) >= SETTLING;
        // An acting owner announces the address although it does not say so.
        let is_acting = ctx.peers.get(mac).is_some_and(|peer| peer.reports_unresponsive);
        if is_settled && !is_acting && self.rivalry().poll_forged(ctx.now) {
            let node = node.clone();
            ctx.report(if ctx.peers.is_beside_metallb() {
                AddressEvent::AnsweredByMetalLb(node)
            } else {
                AddressEvent::ForeignClaim { mac, node }
            });
        }
    }

    /// Handles the reply of a peer whether it announces the address.
    pub(super) fn handle_reply(&mut self, peer: &NodeName, announces: bool, ctx: &mut Context<'_>) {
        let denied = self.reply.as_ref().filter(|reply| {
            let age = ctx.now.saturating_since(reply.at);
            reply.peer == *peer && !reply.announces && age <= DENIAL_VALIDITY
        });
        let denied = denied.map(|reply| reply.at);
        self.reply = Some(Box::new(Reply {
            peer: peer.clone(),
            announces,
            at: ctx.now,
        }));
        if announces {
            ctx.history.record(ctx.address, ctx.now);
        }
        match self.stage {
            Stage::Active if self.duty() == Some(Duty::Answer) => {
                self.handle_reply_of_claimant(peer, announces, denied, ctx);
            }
            Stage::Deferred if self.is_deferred_to(peer) => self.handle_reply_of_keeper(peer, announces, ctx),
            Stage::Idle
            | Stage::Monitoring
            | Stage::Probing
            | Stage::Deferred
            | Stage::Active
            | Stage::HandingOver { .. } => {}
        }
    }

    /// Handles the reply of a peer that was asked because of a claim. It denied the address before at `denied`, if it did.
    fn handle_reply_of_claimant(
        &mut self,
        peer: &NodeName,
        announces: bool,
        denied: Option<Time>,
        ctx: &mut Context<'_>,
    ) {
        match self.rivalry().handle_reply(peer, announces, ctx.now) {
            DisputeStage::Claimed(at) => self.due = Some(at),
            DisputeStage::Proven => self.settle_dispute(peer, ctx),
            DisputeStage::None => {
                // The first claim may have been the last one before a handover.
                let claim = self.rivalry().claimed_by(peer);
                let claim = claim.filter(|(_, at)| denied.is_some_and(|denied| *at >= denied + CROSSING));
                if let Some((mac, _)) = claim {
                    self.report_forged(mac, peer, ctx);
                }
            }
        }
    }

    /// Asks the other side of a dispute again.
    pub(super) fn continue_dispute(&mut self, ctx: &mut Context<'_>) {
        if let Some((peer, next)) = self.rivalry().poll_dispute(ctx.now) {
            ctx.ask_rival(&peer);
            self.due = Some(next);
        }
    }

    /// Ends a dispute with a living peer. Both come to the same result whatever else they know, so the names decide.
    fn settle_dispute(&mut self, peer: &NodeName, ctx: &mut Context<'_>) {
        if self.rivalry().poll_disputed(ctx.now) {
            ctx.report(AddressEvent::Disputed(peer.clone()));
        }
        self.due = None;
        if ctx.peers.has_precedence_over(peer) {
            return;
        }
        ctx.order(Command::Withdraw(ctx.address));
        self.attempt().lost_to = Some(peer.clone());
        self.defer_for(DISPUTE_RETRY, ctx);
        self.update_served(ctx);
    }

    /// Returns what a peer has replied lately.
    pub(super) fn recent_reply(&self, peer: &NodeName, now: Time) -> Option<&Reply> {
        let reply = self.reply.as_deref().filter(|reply| reply.peer == *peer);
        reply.filter(|reply| now.saturating_since(reply.at) <= REPLY_VALIDITY)
    }

    pub(super) fn rivalry(&mut self) -> &mut Rivalry {
        self.rivalry.get_or_insert_default()
    }
}

//! What the backup of an address does: it monitors the owner and answers instead of an unresponsive one.

use core::time::Duration;

use super::{AddressMachine, Context, Stage};
use crate::MacAddr;
use crate::announce::layer2::takeover::Effect;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::monitor::Unanswered;
use crate::announce::layer2::{Command, ProbeResult};

impl AddressMachine {
    /// Monitors the owner from now on.
    pub(super) fn monitor(&mut self, ctx: &mut Context<'_>) {
        self.due = None;
        self.attempt = None;
        self.stage = Stage::Monitoring;
        self.monitor.reset();
        self.update_served(ctx);
    }

    /// Asks `target`, or all machines, once.
    pub(super) fn check(&self, target: Option<MacAddr>, ctx: &mut Context<'_>) {
        if matches!(self.stage, Stage::Monitoring | Stage::Active) {
            let announcement = self.announcement(ctx.address);
            ctx.order(Command::Check { announcement, target });
        }
    }

    /// Handles the result of a check of an address that another node is elected for.
    pub(super) fn handle_checked(&mut self, result: ProbeResult, ctx: &mut Context<'_>) {
        match result {
            ProbeResult::Answered(mac) => self.handle_owner_answer(mac, ctx),
            ProbeResult::Unanswered { last_frame } => self.handle_unanswered(last_frame, ctx),
            // The result of a probe that was over.
            ProbeResult::Silence | ProbeResult::NoLink | ProbeResult::Contended(_) => {}
        }
    }

    fn handle_owner_answer(&mut self, mac: MacAddr, ctx: &mut Context<'_>) {
        let peer = ctx.peers.get(mac).map(|peer| peer.node.clone());
        let is_owner = peer.is_some() && peer == self.owner;
        let was_unheard = self.monitor.handle_answer(is_owner.then_some(mac));
        self.due = None;
        let Some(peer) = peer else { return };
        if is_owner {
            ctx.peers.handle_answer(&peer);
            ctx.history.record(ctx.address, ctx.now);
        }
        if was_unheard {
            ctx.report(AddressEvent::OwnerRecovered(peer.clone()));
        }
        if self.stage == Stage::Active {
            // The owner takes over before this node stops: the reminder makes it announce the address.
            ctx.report(AddressEvent::OwnerRecovered(peer));
            self.hand_over(ctx);
            ctx.order(Command::Defend(ctx.address));
        }
    }

    fn handle_unanswered(&mut self, last_frame: Option<Duration>, ctx: &mut Context<'_>) {
        if self.stage == Stage::Active {
            if self.monitor.poll_contradiction(ctx.now) {
                ctx.order(Command::Defend(ctx.address));
            }
            return;
        }
        match self.monitor.handle_unanswered(last_frame, ctx.now) {
            Unanswered::Recheck(at) => self.due = Some(at),
            Unanswered::Unresponsive => {
                let Some(owner) = &self.owner else { return };
                if ctx.peers.has_answered(owner) {
                    self.probe(ctx);
                } else if self.monitor.handle_unheard() {
                    ctx.report(AddressEvent::OwnerUnheard(owner.clone()));
                }
            }
            Unanswered::Inconclusive => {}
        }
    }

    /// Handles the result of the probe before this node becomes the acting owner.
    pub(super) fn handle_probed_as_backup(&mut self, result: ProbeResult, ctx: &mut Context<'_>) {
        match result {
            ProbeResult::Silence => self.act_as_owner(ctx),
            // Another machine has the address, or is about to take it; or it was this node that heard nothing.
            ProbeResult::Answered(_) | ProbeResult::Contended(_) | ProbeResult::NoLink => self.monitor(ctx),
            ProbeResult::Unanswered { .. } => {}
        }
    }

    fn act_as_owner(&mut self, ctx: &mut Context<'_>) {
        self.activate(ctx);
        let Some(owner) = self.owner.clone() else {
            return;
        };
        ctx.report(AddressEvent::OwnerUnresponsive(owner));
        if let Some(after) = self.monitor.poll_takeover(ctx.now) {
            ctx.effects.push_back(Effect::TookOver(ctx.address, after));
        }
    }
}

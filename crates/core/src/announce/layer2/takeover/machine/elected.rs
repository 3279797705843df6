//! What the elected node does with answers to its probes and with the claims of other machines.

use core::time::Duration;

use super::{AddressMachine, Context, ForeignHost, Stage};
use crate::announce::layer2::takeover::RETRY;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::interest::Duty;
use crate::announce::layer2::{Command, ProbeResult};
use crate::config::ConflictDetection;
use crate::{MacAddr, NodeName, ServiceKey};

/// A foreign host is asked again after one second, two, four, and then every five: soon enough after it was unplugged, and
/// seldom enough for ten thousand addresses.
const CONFLICT_RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// Bounds of the random pause after which a contender probes again (RFC 5227 section 2.1.1 has seconds; a probe here takes
/// a tenth of a second).
const CONTENTION: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(400)];

impl AddressMachine {
    /// Handles the result of a probe for an address that this node is elected for.
    pub(super) fn handle_probed(&mut self, result: ProbeResult, ctx: &mut Context<'_>) {
        let mac = match result {
            ProbeResult::Silence | ProbeResult::NoLink => return self.activate(ctx),
            // The result of a check that was in progress when the probe began.
            ProbeResult::Unanswered { .. } => return,
            ProbeResult::Answered(mac) | ProbeResult::Contended(mac) => mac,
        };
        let is_contender = matches!(result, ProbeResult::Contended(_));
        let Some(peer) = ctx.peers.get(mac) else {
            return if is_contender {
                let pause = ctx.random.duration_between(CONTENTION);
                self.defer_for(pause, ctx);
            } else {
                self.handle_foreign_host(mac, ctx);
            };
        };
        // A peer that is alive and not elected stops as soon as it receives our announcement.
        if peer.is_alive() {
            return self.activate(ctx);
        }
        let node = peer.node.clone();
        if ctx.peers.is_grace_over(mac, ctx.now) {
            ctx.report(AddressEvent::TakeoverForced(node));
            return self.activate(ctx);
        }
        if is_contender {
            // Of two peers that know each other one continues, and the other leaves it the time for that.
            return if ctx.peers.has_precedence_over(&node) {
                self.probe(ctx);
            } else {
                let [_, longest] = CONTENTION;
                self.defer_for(longest, ctx);
            };
        }
        self.defer_to(node, ctx);
    }

    fn handle_foreign_host(&mut self, mac: MacAddr, ctx: &mut Context<'_>) {
        if let Some(until) = ctx.identify(mac) {
            return self.defer_for(until.saturating_since(ctx.now), ctx);
        }
        match self.detection {
            ConflictDetection::Off => return self.activate(ctx),
            ConflictDetection::Warn => {
                ctx.report(AddressEvent::Duplicate(mac));
                return self.activate(ctx);
            }
            ConflictDetection::Enforce => {}
        }
        let seen = self.foreign_host.filter(|host| host.mac == mac);
        let repeats = seen.map_or(0, |host| host.repeats + 1);
        self.foreign_host = Some(ForeignHost { mac, repeats });
        let pause = CONFLICT_RETRY.get(repeats).or(CONFLICT_RETRY.last());
        self.defer_for(pause.copied().unwrap_or(RETRY), ctx);
        if seen.is_none() {
            ctx.report(AddressEvent::Conflict(mac));
        }
    }

    fn defer_to(&mut self, node: NodeName, ctx: &mut Context<'_>) {
        self.defer_for(RETRY, ctx);
        let was_conflict = self.foreign_host.take().is_some();
        if self.deferred_to.as_ref() != Some(&node) {
            self.deferred_to = Some(node.clone());
            ctx.report(AddressEvent::Deferred(node));
        }
        if was_conflict {
            ctx.report(AddressEvent::Resolved);
        }
    }

    /// Probes again after `pause`.
    fn defer_for(&mut self, pause: Duration, ctx: &Context<'_>) {
        self.stage = Stage::Deferred;
        self.due = Some(ctx.now + pause);
    }

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

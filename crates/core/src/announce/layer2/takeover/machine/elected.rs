//! What the elected node does with the results of its probes.

use core::time::Duration;

use super::attempt::{Conflict, Deferral, TakeoverAttempt};
use super::claimed::DISPUTE_RETRY;
use super::{AddressMachine, Context, Stage};
use crate::announce::layer2::ProbeResult;
use crate::announce::layer2::takeover::RETRY;
use crate::announce::layer2::takeover::event::AddressEvent;
use crate::announce::layer2::takeover::peers::Peer;
use crate::config::ConflictDetection;
use crate::{MacAddr, NodeName, Time};

/// A foreign host is asked again after one second, two, four, and then every five: soon enough after it was unplugged, and
/// seldom enough for ten thousand addresses.
const CONFLICT_RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// When a foreign host that answers for the first time is asked again, to find out whether its MAC address is stable.
const STABILITY_RETRY: Duration = Duration::from_millis(250);

/// How long a peer that is down and of a version that answers no queries can keep the address by its announcements, against the
/// majority; and how long one that is starting can keep it, which answers for no address itself.
const DEFERRAL_LIMIT: Duration = Duration::from_secs(10);

/// Users are told when a peer that is down keeps the address for longer.
const REPORTED_DELAY: Duration = Duration::from_secs(5);

/// How long a report of a conflict waits until the machine is identified. One machine is asked at a time, for all addresses, so
/// many of them could keep others waiting.
const IDENTIFICATION_LIMIT: Duration = Duration::from_secs(2);

/// Shortest time between two reports of a conflict whose foreign host has changed.
const CONFLICT_REPORT: Duration = Duration::from_secs(60);

/// Bounds of the random pause after which a contender probes again (RFC 5227 section 2.1.1 has seconds; a probe here takes
/// a tenth of a second).
const CONTENTION: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(400)];

impl AddressMachine {
    /// Handles the result of a probe for an address that this node is elected for.
    pub(super) fn handle_probed(&mut self, result: ProbeResult, ctx: &mut Context<'_>) {
        self.note_yielded(result, ctx.now);
        match result {
            ProbeResult::Silence => self.activate(ctx),
            ProbeResult::NoLink => {
                // No client reaches this node, so it has not replaced the owner before. It probes when it has a link.
                self.owner = None;
                self.activate(ctx);
            }
            // The result of a check that was in progress when the probe began.
            ProbeResult::Unanswered { .. } => {}
            ProbeResult::Answered(mac) => match ctx.peers.get(mac).cloned() {
                Some(peer) if ctx.peers.is_beside_metallb() => self.handle_answer_beside_metallb(peer, ctx),
                None => self.handle_foreign_answer(mac, ctx),
                Some(peer) if peer.is_alive() => self.handle_answer_of_living(&peer, ctx),
                Some(peer) => self.handle_answer_of_doubted(peer, mac, ctx),
            },
            ProbeResult::Contended(mac) => match ctx.peers.get(mac).cloned() {
                None => self.handle_foreign_contender(mac, ctx),
                Some(peer) if peer.is_alive() => self.activate(ctx),
                Some(peer) => self.handle_doubted_contender(&peer, mac, ctx),
            },
        }
    }

    /// Records whether any machine is there after this node left the address to a lost peer.
    fn note_yielded(&mut self, result: ProbeResult, now: Time) {
        let Some(rivalry) = &mut self.rivalry else { return };
        match result {
            ProbeResult::Unanswered { .. } => {}
            ProbeResult::Silence | ProbeResult::NoLink => rivalry.handle_yielded(false, now),
            ProbeResult::Answered(_) | ProbeResult::Contended(_) => rivalry.handle_yielded(true, now),
        }
    }

    /// Handles the answer of a peer that is alive. If it is not elected, it stops as soon as it receives our announcement. But
    /// if this node has lost a dispute, the peer keeps the address until it says that it does not announce it. A peer that is
    /// starting announces nothing, so another program on its node answers; if this cluster announced the address lately, only a
    /// machine that uses the peer's MAC address does.
    fn handle_answer_of_living(&mut self, peer: &Peer, ctx: &mut Context<'_>) {
        if peer.is_starting && !ctx.history.is_recent(ctx.address, ctx.now) {
            let since = *self.attempt().starting_since.get_or_insert(ctx.now);
            if ctx.now.saturating_since(since) < DEFERRAL_LIMIT {
                return self.defer_for(RETRY, ctx);
            }
        }
        let says_no = self
            .recent_reply(&peer.node, ctx.now)
            .is_some_and(|reply| !reply.announces);
        let lost_to = self.attempt.as_mut().and_then(|attempt| attempt.lost_to.as_mut());
        match lost_to {
            Some(lost_to) if !says_no && !ctx.peers.has_precedence_over(&peer.node) => {
                lost_to.clone_from(&peer.node);
                ctx.ask_rival(&peer.node);
                self.defer_for(DISPUTE_RETRY, ctx);
            }
            Some(_) | None => {
                // The peer took it over from the owner before, if that failed.
                self.owner = None;
                self.activate(ctx);
            }
        }
    }

    /// Handles the answer of a peer that is suspect or down.
    fn handle_answer_of_doubted(&mut self, peer: Peer, mac: MacAddr, ctx: &mut Context<'_>) {
        // The machine that answers is another one, or the peer is about to stop.
        if self
            .recent_reply(&peer.node, ctx.now)
            .is_some_and(|reply| !reply.announces)
        {
            return self.activate(ctx);
        }
        let deferral = self
            .attempt
            .as_ref()
            .and_then(|attempt| attempt.deferral.as_ref());
        let is_limit_over =
            deferral.is_some_and(|deferral| ctx.now.saturating_since(deferral.since) >= DEFERRAL_LIMIT);
        if ctx.peers.is_grace_over(mac, is_limit_over, ctx.now) {
            ctx.report(AddressEvent::TakeoverForced(peer.node));
            return self.activate(ctx);
        }
        ctx.ask_lost(&peer);
        self.defer_to(peer.node, ctx);
    }

    /// Handles a probe of a peer that is suspect or down.
    fn handle_doubted_contender(&mut self, peer: &Peer, mac: MacAddr, ctx: &mut Context<'_>) {
        let left = self.attempt().wait_left(ctx.now);
        if left.is_zero() || ctx.peers.is_grace_over(mac, false, ctx.now) {
            return self.activate(ctx);
        }
        // Of two peers that know each other one continues, and the other leaves it the time for that.
        if ctx.peers.has_precedence_over(&peer.node) {
            return self.probe(ctx);
        }
        let [_, longest] = CONTENTION;
        self.defer_for(longest.min(left), ctx);
    }

    /// Handles a probe of a foreign host. Such a host has no address yet, and this node is elected: what the host may still
    /// do is to announce the address at once, if this pool enforces that no other machine does. Where clients use the address,
    /// the announcement makes the host choose another one (RFC 5227 section 2.1.1).
    fn handle_foreign_contender(&mut self, mac: MacAddr, ctx: &mut Context<'_>) {
        if self.detection == ConflictDetection::Off {
            return self.activate(ctx);
        }
        let left = self.attempt().wait_left(ctx.now);
        self.report_contention(mac, ctx);
        if !self.is_enforced(ctx) || left.is_zero() {
            return self.activate(ctx);
        }
        let pause = ctx.random.duration_between(CONTENTION);
        self.defer_for(pause.min(left), ctx);
    }

    /// Handles the answer of a machine that is no peer as far as this node knows.
    fn handle_foreign_answer(&mut self, mac: MacAddr, ctx: &mut Context<'_>) {
        let is_stable = self.attempt().handle_foreign_answer(mac, ctx.now);
        // Beside MetalLB, the machine may be a node with only MetalLB's speaker.
        let keeps = ctx.peers.is_beside_metallb() || self.is_enforced(ctx);
        if let Some(pause) = self.identify(mac, keeps && is_stable, ctx) {
            return self.defer_for(pause, ctx);
        }
        match self.detection {
            _ if keeps => self.handle_conflict(mac, is_stable, ctx),
            ConflictDetection::Off => self.activate(ctx),
            ConflictDetection::Warn | ConflictDetection::Enforce => {
                ctx.report(AddressEvent::Duplicate(mac));
                self.activate(ctx);
            }
        }
    }

    /// Whether a foreign host may keep the address: the pool says so, and this cluster did not announce the address lately.
    fn is_enforced(&self, ctx: &Context<'_>) -> bool {
        self.detection == ConflictDetection::Enforce && !ctx.history.is_recent(ctx.address, ctx.now)
    }

    /// Asks a machine which node it is. Returns how long the take-over waits for that. A machine that would keep the address as a
    /// foreign host is asked before that, unless others are asked for too long. Otherwise one machine is asked, and only during the
    /// conflict wait: a foreign host can use any number of MAC addresses.
    fn identify(&mut self, mac: MacAddr, would_keep: bool, ctx: &mut Context<'_>) -> Option<Duration> {
        let attempt = self.attempt();
        let left = attempt.wait_left(ctx.now);
        let is_other = attempt.identified.is_some_and(|asked| asked != mac);
        let since = attempt.identifying_since.unwrap_or(ctx.now);
        let is_over = if would_keep {
            ctx.now.saturating_since(since) >= IDENTIFICATION_LIMIT
        } else {
            is_other || left.is_zero()
        };
        if is_over {
            return None;
        }
        let pause = ctx.identify(mac)?.saturating_since(ctx.now);
        attempt.identified.get_or_insert(mac);
        if !would_keep {
            return Some(pause.min(left));
        }
        attempt.identifying_since.get_or_insert(since);
        Some(pause)
    }

    /// Handles the answer of a foreign host where the pool enforces that no other machine has the address.
    fn handle_conflict(&mut self, mac: MacAddr, is_stable: bool, ctx: &mut Context<'_>) {
        let attempt = self.attempt();
        let before = attempt.conflict;
        if before.is_none() && !is_stable {
            // A host has one MAC address, or a few. So this is none, or it is not known yet whether it is.
            let left = attempt.answers_left(ctx.now);
            if left.is_zero() {
                self.report_contention(mac, ctx);
                return self.activate(ctx);
            }
            return self.defer_for(STABILITY_RETRY.min(left), ctx);
        }
        let kept = before.filter(|before| {
            before.mac == mac || ctx.now.saturating_since(before.reported) < CONFLICT_REPORT
        });
        if kept.is_none() {
            ctx.report(AddressEvent::Conflict(mac));
        }
        let repeats = before.map_or(0, |before| before.repeats + 1);
        (attempt.deferral, attempt.metallb, attempt.identifying_since) = (None, None, None);
        attempt.conflict = Some(Conflict {
            mac: kept.map_or(mac, |kept| kept.mac),
            repeats,
            reported: kept.map_or(ctx.now, |kept| kept.reported),
        });
        // Beside MetalLB the machine may be a node with only MetalLB's speaker, which may end at any time.
        let pauses = CONFLICT_RETRY.get(repeats).or(CONFLICT_RETRY.last());
        let pause = pauses.filter(|_| !ctx.peers.is_beside_metallb());
        self.defer_for(pause.copied().unwrap_or(RETRY), ctx);
    }

    /// Reports once that a foreign host delays the take-over.
    fn report_contention(&mut self, mac: MacAddr, ctx: &mut Context<'_>) {
        let attempt = self.attempt();
        if !core::mem::replace(&mut attempt.is_contention_reported, true) {
            ctx.report(AddressEvent::Contended(mac));
        }
    }

    /// Leaves the address to a peer that is suspect or down, and probes again later.
    pub(super) fn defer_to(&mut self, node: NodeName, ctx: &mut Context<'_>) {
        self.defer_for(RETRY, ctx);
        let attempt = self.attempt();
        attempt.handle_deferral(ctx.peers.is_minority(), ctx.now);
        attempt.metallb = None;
        let was_conflict = attempt.conflict.take().is_some();
        let before = attempt.deferral.take();
        let mut deferral = Deferral {
            since: before.as_ref().map_or(ctx.now, |before| before.since),
            is_delay_reported: before.as_ref().is_some_and(|before| before.is_delay_reported),
            node,
        };
        if before.is_none_or(|before| before.node != deferral.node) {
            ctx.report(AddressEvent::Deferred(deferral.node.clone()));
        }
        if was_conflict {
            ctx.report(AddressEvent::Resolved);
        }
        let is_long = ctx.now.saturating_since(deferral.since) >= REPORTED_DELAY;
        if is_long && !core::mem::replace(&mut deferral.is_delay_reported, is_long) {
            ctx.report(AddressEvent::Delayed(deferral.node.clone()));
        }
        attempt.deferral = Some(deferral);
    }

    /// Whether a peer keeps the address from this node, as far as this node can tell.
    pub(super) fn is_deferred_to(&self, peer: &NodeName) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| {
            let deferral = attempt.deferral.as_ref().map(|deferral| &deferral.node);
            let metallb = attempt.metallb.as_ref().map(|answer| &answer.node);
            [attempt.lost_to.as_ref(), deferral, metallb].contains(&Some(peer))
        })
    }

    /// Probes again after `pause`.
    pub(super) fn defer_for(&mut self, pause: Duration, ctx: &Context<'_>) {
        self.stage = Stage::Deferred;
        self.due = Some(ctx.now + pause);
    }

    /// Returns what other machines did since this node first probed for the address.
    pub(super) fn attempt(&mut self) -> &mut TakeoverAttempt {
        self.attempt.get_or_insert_with(|| TakeoverAttempt::new().into())
    }
}

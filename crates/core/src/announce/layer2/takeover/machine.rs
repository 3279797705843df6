//! The take-over machine of one address.
//!
//! ```text
//!          elected            silence, or only a peer that will stop
//!   Idle ───────────► Probing ───────────────────────────────────────► Active
//!                      │   ▲ ▲   a lost peer of better rank claims,     │ │ ▲
//!                      │   │ └────────── or this node was away ─────────┘ │ │ elected again
//!                      ▼   │ later                   another node elected ▼ │
//!           Deferred: a peer that is down answers,                  HandingOver ──► Idle or Monitoring:
//!                     a foreign host answers (conflict),                            its claim arrives,
//!                     another machine probes, too,                                  or the time is over
//!                     a living peer has won a dispute,
//!                     a peer that is starting answers,
//!                     any node answers beside MetalLB
//!
//!          backup             several checks unanswered             silence
//!   Idle ───────────► Monitoring ───────────────────────► Probing ──────────► Active as the acting owner
//!                      ▲  └──┘ answered                     │ answered          │ the owner answers again
//!                      └────────────────────────────────────┴─── HandingOver ◄──┘
//! ```
//!
//! A Service that is gone, or that no node may announce, ends every stage at once. `tests/table.txt` has every stage with every
//! event.

mod attempt;
mod backup;
mod beside;
mod claimed;
mod context;
mod elected;
mod interests;
mod rivalry;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

use super::event::AddressEvent;
use super::interest::{Duty, Interest, Interests, Served, only_in};
use super::monitor::Monitor;
use super::{Effect, HANDOVER_LIMIT, HANDOVER_REMINDER};
use crate::announce::layer2::{Announcement, Command, ProbeResult};
use crate::config::ConflictDetection;
use crate::{MacAddr, NodeName, ServiceKey, Time};
use attempt::TakeoverAttempt;
pub(super) use context::{Context, Xorshift};
use rivalry::Rivalry;

/// State of one address on this node.
#[derive(Debug)]
pub(super) struct AddressMachine {
    interests: Interests,
    /// The other node that is elected, or was elected before this node until this node answers.
    owner: Option<NodeName>,
    monitor: Monitor,
    /// The Services for which [`Effect::Gained`] was emitted.
    served: Served,
    detection: ConflictDetection,
    stage: Stage,
    /// When [`Event::Timeout`] is due.
    due: Option<Time>,
    /// What other machines did about a take-over in progress; most meet none.
    attempt: Option<Box<TakeoverAttempt>>,
    /// The peers that claim the address, too; most are claimed by none.
    rivalry: Option<Box<Rivalry>>,
    /// The last reply of a peer whether it announces the address; most were never asked about.
    reply: Option<Box<Reply>>,
    /// When stage or duty last changed.
    changed: Time,
    /// When this node lost its part in a Service to a node that has to announce the address before this one stops.
    passed_on: BTreeMap<ServiceKey, Time>,
}

/// What a peer says of the address.
#[derive(Debug)]
struct Reply {
    peer: NodeName,
    /// Whether it announces the address.
    announces: bool,
    at: Time,
}

/// What this node does about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: no Service uses the address here.
    Idle,
    /// Another node is elected and answers, as far as its backup here knows.
    Monitoring,
    /// This node asks whether any machine answers.
    Probing,
    /// Another machine answers, or probes, too. This node probes again when due.
    Deferred,
    /// This node answers.
    Active,
    /// Another node is elected. This node answers until the other announces the address, but no longer than this.
    HandingOver { until: Time },
}

impl Stage {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Monitoring => "Monitoring",
            Self::Probing => "Probing",
            Self::Deferred => "Deferred",
            Self::Active => "Active",
            Self::HandingOver { .. } => "HandingOver",
        }
    }
}

/// What happens to an address.
pub(super) enum Event<'a> {
    /// The role of this node for a Service has changed.
    Interest {
        /// The Service.
        service: &'a ServiceKey,
        /// What this node has to do for it now; `None` is nothing.
        interest: Option<(Interest, ConflictDetection)>,
        /// The other node that is elected, now or before.
        owner: Option<&'a NodeName>,
        /// Whether another node is elected now, which has to announce the address before this node stops.
        is_passed_on: bool,
    },
    /// A probe or a check has ended.
    Probed(ProbeResult),
    /// The machine with this MAC address announces the address.
    Claimed {
        mac: MacAddr,
        /// Whether a node has a better rank than this node for a Service.
        outranks: &'a dyn Fn(&NodeName, &ServiceKey) -> bool,
    },
    /// A peer has replied to a query whether it announces the address.
    Replied {
        /// The peer.
        peer: &'a NodeName,
        /// Whether it does.
        announces: bool,
    },
    /// It is this address' turn to be checked.
    Check,
    /// The time that [`AddressMachine::due`] named has come.
    Timeout,
    /// This node was away (unplugged), so another node may have taken over.
    Absence,
}

impl AddressMachine {
    /// Creates a machine that does nothing yet.
    pub(super) fn new() -> Self {
        Self {
            interests: Interests::default(),
            owner: None,
            monitor: Monitor::new(),
            served: Served::new(),
            detection: ConflictDetection::Enforce,
            stage: Stage::Idle,
            due: None,
            attempt: None,
            rivalry: None,
            reply: None,
            changed: Time::ZERO,
            passed_on: BTreeMap::new(),
        }
    }

    /// Advances the machine.
    pub(super) fn handle(&mut self, event: Event<'_>, ctx: &mut Context<'_>) {
        let before = (self.stage, self.duty());
        self.advance(event, ctx);
        if before != (self.stage, self.duty()) {
            self.changed = ctx.now;
        }
    }

    fn advance(&mut self, event: Event<'_>, ctx: &mut Context<'_>) {
        match event {
            Event::Interest {
                service,
                interest,
                owner,
                is_passed_on,
            } => {
                let (duty, interfaces) = (self.duty(), self.interests.interfaces());
                self.passed_on.remove(service);
                if interest.is_none() && is_passed_on && self.answers() {
                    self.pass_on(service, ctx.now);
                }
                self.set_interest(service, interest, owner);
                let is_demoted = duty == Some(Duty::Answer) && self.duty() == Some(Duty::Monitor);
                let is_changed = interfaces != self.interests.interfaces();
                self.follow_interests(is_demoted, is_changed, ctx);
                if self.stage == Stage::Active && self.duty() == Some(Duty::Answer) {
                    // What it takes again later, after an absence for example, it takes from no other node.
                    self.owner = None;
                }
            }
            Event::Probed(result) => match (self.stage, self.duty()) {
                (Stage::Probing, Some(Duty::Answer)) => self.handle_probed(result, ctx),
                (Stage::Probing, Some(Duty::Monitor)) => self.handle_probed_as_backup(result, ctx),
                (Stage::Monitoring | Stage::Active, Some(Duty::Monitor)) => self.handle_checked(result, ctx),
                (
                    Stage::Idle
                    | Stage::Monitoring
                    | Stage::Probing
                    | Stage::Deferred
                    | Stage::Active
                    | Stage::HandingOver { .. },
                    _,
                ) => {}
            },
            Event::Claimed { mac, outranks } => match self.stage {
                Stage::Active => self.handle_claim(mac, outranks, ctx),
                Stage::HandingOver { .. } if ctx.peers.get(mac).is_some() => self.finish_handover(ctx),
                Stage::Idle
                | Stage::Monitoring
                | Stage::Probing
                | Stage::Deferred
                | Stage::HandingOver { .. } => {}
            },
            Event::Replied { peer, announces } => self.handle_reply(peer, announces, ctx),
            Event::Check => self.check(self.monitor.target(), ctx),
            Event::Timeout => {
                self.due = None;
                match self.stage {
                    Stage::Deferred => self.probe(ctx),
                    Stage::HandingOver { until } if until <= ctx.now => self.finish_handover(ctx),
                    Stage::HandingOver { until } => {
                        ctx.order(Command::Defend(ctx.address));
                        self.due = Some(until.min(ctx.now + HANDOVER_REMINDER));
                    }
                    Stage::Active if self.duty() == Some(Duty::Answer) => self.continue_dispute(ctx),
                    Stage::Monitoring | Stage::Active => self.check(None, ctx),
                    Stage::Idle | Stage::Probing => {}
                }
            }
            Event::Absence => self.handle_absence(ctx),
        }
    }

    fn handle_absence(&mut self, ctx: &mut Context<'_>) {
        // The machine that answers may be a peer that has taken over meanwhile.
        ctx.history.forget(ctx.address);
        match self.stage {
            Stage::Active if ctx.verification => {
                ctx.order(Command::Withdraw(ctx.address));
                self.probe(ctx);
            }
            Stage::Active => ctx.order(Command::Announce(self.announcement(ctx.address))),
            Stage::HandingOver { .. } => self.finish_handover(ctx),
            Stage::Idle | Stage::Monitoring | Stage::Probing | Stage::Deferred => {}
        }
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns when stage or duty last changed.
    pub(super) const fn changed(&self) -> Time {
        self.changed
    }

    pub(super) const fn due(&self) -> Option<Time> {
        self.due
    }

    /// Whether this node answers for the address.
    pub(super) const fn answers(&self) -> bool {
        matches!(self.stage, Stage::Active | Stage::HandingOver { .. })
    }

    /// Returns the unresponsive owner that this node answers for.
    pub(super) fn acting_for(&self) -> Option<&NodeName> {
        let is_acting = self.stage == Stage::Active && self.duty() == Some(Duty::Monitor);
        self.owner.as_ref().filter(|_| is_acting)
    }

    /// Whether this node is the backup and monitors `owner` without a check being due.
    pub(super) fn is_calmly_monitoring(&self, owner: &NodeName) -> bool {
        self.stage == Stage::Monitoring && self.due.is_none() && self.owner.as_ref() == Some(owner)
    }

    /// Makes [`Event::Timeout`] due at `due`.
    pub(super) const fn set_due(&mut self, due: Time) {
        self.due = Some(due);
    }

    pub(super) fn duty(&self) -> Option<Duty> {
        self.interests.duty()
    }

    /// Returns the Services that use the address.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.interests.services()
    }

    /// Returns the peer that is down and keeps the address.
    pub(super) fn deferred_to(&self) -> Option<&NodeName> {
        let deferral = self.attempt.as_ref()?.deferral.as_ref();
        deferral.map(|deferral| &deferral.node)
    }

    /// Returns what keeps the address from being announced by its elected owner, as far as this node knows.
    pub(super) fn obstacle(&self) -> Option<AddressEvent> {
        match (self.stage, self.duty()) {
            (_, None | Some(Duty::Answer)) => self.attempt.as_ref()?.obstacle(),
            (Stage::Active, Some(Duty::Monitor)) => self.owner.clone().map(AddressEvent::OwnerUnresponsive),
            (_, Some(Duty::Monitor)) => {
                let owner = self.owner.clone().filter(|_| self.monitor.is_unheard());
                owner.map(AddressEvent::OwnerUnheard)
            }
        }
    }

    /// Asks whether any machine answers, unless this node never asks.
    fn probe(&mut self, ctx: &mut Context<'_>) {
        if !ctx.verification {
            return self.activate(ctx);
        }
        self.due = None;
        self.stage = Stage::Probing;
        self.update_served(ctx);
        ctx.order(Command::Probe(self.announcement(ctx.address)));
    }

    /// Answers from now on.
    fn activate(&mut self, ctx: &mut Context<'_>) {
        self.stage = Stage::Active;
        self.due = None;
        let attempt = self.attempt.take();
        let was_conflict = attempt.is_some_and(|attempt| attempt.conflict.is_some());
        let is_elected = self.duty() == Some(Duty::Answer);
        let predecessor = self.owner.take_if(|_| is_elected);
        ctx.order(Command::Announce(self.announcement(ctx.address)));
        self.update_served(ctx);
        if was_conflict {
            ctx.report(AddressEvent::Resolved);
        }
        if let Some(since) = predecessor.and_then(|node| ctx.peers.doubted_since(&node)) {
            let after = ctx.now.saturating_since(since);
            ctx.effects.push_back(Effect::TookOver(ctx.address, after));
        }
    }

    /// Answers until the elected node announces the address.
    fn hand_over(&mut self, ctx: &mut Context<'_>) {
        self.stage = Stage::HandingOver {
            until: ctx.now + HANDOVER_LIMIT,
        };
        self.due = Some(ctx.now + HANDOVER_REMINDER);
        self.update_served(ctx);
    }

    /// Stops answering: the elected node has announced the address, or did not do so in time.
    fn finish_handover(&mut self, ctx: &mut Context<'_>) {
        ctx.order(Command::Withdraw(ctx.address));
        match self.duty() {
            Some(_) => self.monitor(ctx),
            None => self.release(ctx),
        }
    }

    /// Leaves the address, because no Service here uses it.
    fn release(&mut self, ctx: &mut Context<'_>) {
        self.stage = Stage::Idle;
        self.passed_on.clear();
        self.due = None;
        self.attempt = None;
        self.update_served(ctx);
    }

    /// Emits which Services are reached here from now on, and which no longer.
    fn update_served(&mut self, ctx: &mut Context<'_>) {
        let served = if self.stage == Stage::Active {
            self.interests.served()
        } else {
            Served::new()
        };
        let before = core::mem::replace(&mut self.served, served);
        let lost = only_in(&before, &self.served);
        ctx.effects
            .extend(lost.map(|service| Effect::Lost(service, ctx.address)));
        let gained = only_in(&self.served, &before);
        ctx.effects
            .extend(gained.map(|service| Effect::Gained(service, ctx.address)));
    }

    fn announcement(&self, address: IpAddr) -> Announcement {
        Announcement {
            address,
            interfaces: self.interests.interfaces(),
        }
    }
}

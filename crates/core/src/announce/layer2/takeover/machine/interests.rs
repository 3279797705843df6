//! What the address means to this node: a changed role, and what follows from it.

use super::{AddressMachine, Context, Stage};
use crate::announce::layer2::Command;
use crate::announce::layer2::takeover::HANDOVER_LIMIT;
use crate::announce::layer2::takeover::interest::{Duty, Interest};
use crate::announce::layer2::takeover::monitor::Monitor;
use crate::config::ConflictDetection;
use crate::{NodeName, ServiceKey, Time};

impl AddressMachine {
    /// Replaces what this node has to do for a Service at the address.
    pub(super) fn set_interest(
        &mut self,
        service: &ServiceKey,
        interest: Option<(Interest, ConflictDetection)>,
        owner: Option<&NodeName>,
    ) {
        let Some((interest, detection)) = interest else {
            return self.interests.remove(service);
        };
        self.interests.insert(service.clone(), interest);
        self.detection = detection;
        if self.owner.as_ref() != owner {
            self.monitor = Monitor::new();
            self.owner = owner.cloned().or_else(|| self.owner.take());
        }
    }

    /// Does what follows from changed interests.
    pub(super) fn follow_interests(&mut self, is_demoted: bool, is_changed: bool, ctx: &mut Context<'_>) {
        match (self.stage, self.duty()) {
            (Stage::Idle | Stage::Monitoring, Some(Duty::Answer)) => self.probe(ctx),
            (Stage::Idle, Some(Duty::Monitor)) => self.stage = Stage::Monitoring,
            (Stage::Monitoring, Some(Duty::Monitor)) | (Stage::Idle, None) => {}
            (Stage::Probing, Some(Duty::Answer)) if is_changed => self.probe(ctx),
            (Stage::Probing, Some(Duty::Monitor)) if is_demoted => {
                ctx.order(Command::CancelProbe(ctx.address));
                self.monitor(ctx);
            }
            (Stage::Probing | Stage::Deferred, Some(Duty::Answer))
            | (Stage::Probing, Some(Duty::Monitor)) => {}
            (Stage::Monitoring | Stage::Probing, None) => {
                ctx.order(Command::CancelProbe(ctx.address));
                self.release(ctx);
            }
            (Stage::Deferred, Some(Duty::Monitor)) => self.monitor(ctx),
            (Stage::Deferred, None) => self.release(ctx),
            (Stage::Active, Some(Duty::Monitor)) if is_demoted => self.hand_over(ctx),
            (Stage::Active, Some(_)) => {
                if is_changed {
                    ctx.order(Command::Announce(self.announcement(ctx.address)));
                }
                self.update_served(ctx);
            }
            (Stage::Active, None) if self.is_passed_on(ctx.now) => self.hand_over(ctx),
            (Stage::HandingOver { .. }, Some(Duty::Answer)) => {
                self.stage = Stage::Active;
                ctx.order(Command::Announce(self.announcement(ctx.address)));
                self.due = None;
                self.update_served(ctx);
            }
            (Stage::HandingOver { .. }, Some(Duty::Monitor)) => {}
            (Stage::HandingOver { .. }, None) if self.is_passed_on(ctx.now) => {}
            (Stage::Active | Stage::HandingOver { .. }, None) => {
                ctx.order(Command::Withdraw(ctx.address));
                self.release(ctx);
            }
        }
    }

    /// Records that the next owner of a Service has to announce the address before this node stops.
    pub(super) fn pass_on(&mut self, service: &ServiceKey, now: Time) {
        self.passed_on.retain(|_, since| is_awaited(*since, now));
        self.passed_on.insert(service.clone(), now);
    }

    /// Whether the next owner of a Service has to announce the address before this node stops.
    fn is_passed_on(&self, now: Time) -> bool {
        self.passed_on.values().any(|since| is_awaited(*since, now))
    }
}

fn is_awaited(since: Time, now: Time) -> bool {
    now.saturating_since(since) < HANDOVER_LIMIT
}

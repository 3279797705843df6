//! What an address is to this node: one that it is elected for, one that it watches as the owner's deputy, or none.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::net::IpAddr;

use super::{Announcement, Effect, Holding, Holdings, NUDGE, Stage, Watch, YIELD};
use crate::announce::layer2::ownership::{Claim, Verdict};
use crate::config::ConflictDetection;
use crate::{ServiceKey, Time};

/// What this node has to do with a Service at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interest {
    role: Role,
    /// The interfaces that answer; `None` is all that fit.
    interfaces: Option<BTreeSet<String>>,
}

/// The part of this node; of several Services at one address the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Another node is elected, and this one comes next.
    Deputy,
    /// This node is elected.
    Taker,
}

impl Interest {
    /// Whether this node is elected.
    pub(super) fn is_elected(&self) -> bool {
        self.role == Role::Taker
    }
}

impl Holdings {
    /// A verdict has changed.
    pub fn set_verdict(
        &mut self,
        service: &ServiceKey,
        before: Option<&Verdict>,
        after: Option<&Verdict>,
        now: Time,
    ) {
        let old = before
            .and_then(|verdict| self.part(verdict))
            .map(|(_, claim)| claim);
        let new = after.and_then(|verdict| self.part(verdict));
        let owner = after.and_then(Verdict::owner).or(before.and_then(Verdict::owner));
        // Somebody else is elected who has to be heard before it is left alone.
        let passed_on = self.verification && after.is_some_and(|verdict| verdict.owner().is_some());
        let kept = new.map_or(&[][..], |(_, claim)| &claim.addresses);
        let gone = old.map_or(&[][..], |claim| &claim.addresses).iter();
        for address in gone.filter(|address| !kept.contains(address)) {
            self.change(*address, passed_on, now, |holding| {
                holding.interests.remove(service);
            });
        }
        for address in kept {
            let Some((role, claim)) = new else { continue };
            self.addresses.entry(*address).or_insert_with(Holding::new);
            self.change(*address, passed_on, now, |holding| {
                let interfaces = claim.interfaces.clone();
                holding
                    .interests
                    .insert(service.clone(), Interest { role, interfaces });
                holding.detection = claim.conflict_detection;
                if holding.owner.as_ref() != owner {
                    holding.watch = Watch::default();
                    holding.owner = owner.cloned().or_else(|| holding.owner.take());
                }
            });
        }
    }

    /// What this node is to do by a verdict. Nobody is watched where nobody is asked.
    fn part<'a>(&self, verdict: &'a Verdict) -> Option<(Role, &'a Claim)> {
        match verdict {
            Verdict::Owner(claim) | Verdict::Heir { claim, .. } => Some((Role::Taker, claim)),
            Verdict::Deputy { claim, .. } => self.verification.then_some((Role::Deputy, claim)),
            Verdict::Standby { .. } | Verdict::Unowned(_) => None,
        }
    }

    /// Changes what an address is to this node, and does what follows.
    fn change(&mut self, address: IpAddr, passed_on: bool, now: Time, change: impl FnOnce(&mut Holding)) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let (role, interfaces) = (holding.role(), holding.interfaces());
        change(holding);
        let is_demoted = role == Some(Role::Taker) && holding.role() == Some(Role::Deputy);
        let is_changed = interfaces != holding.interfaces();
        match (holding.stage, holding.role()) {
            (Stage::Watching, Some(Role::Taker)) => self.probe(address, now),
            (Stage::Watching, Some(Role::Deputy)) => {}
            (Stage::Watching, None) => self.stop(address),
            (Stage::Probing, Some(Role::Taker)) if is_changed => self.probe(address, now),
            (Stage::Probing, Some(Role::Deputy)) if is_demoted => {
                self.effects.push_back(Effect::StopProbe(address));
                self.watch(address);
            }
            (Stage::Probing | Stage::Waiting, Some(Role::Taker)) | (Stage::Probing, Some(Role::Deputy)) => {}
            (Stage::Probing, None) => self.stop(address),
            (Stage::Waiting, Some(Role::Deputy)) => self.watch(address),
            (Stage::Waiting, None) => self.forget(address),
            (Stage::Holding, Some(Role::Deputy)) if is_demoted => self.yield_to_owner(address, now),
            (Stage::Holding, Some(_)) => {
                let announcement = is_changed.then(|| holding.announcement(address));
                self.effects.extend(announcement.map(Effect::Announce));
                self.tell(address);
            }
            (Stage::Holding, None) if passed_on => self.yield_to_owner(address, now),
            (Stage::Yielding { .. }, Some(Role::Taker)) => {
                holding.stage = Stage::Holding;
                let announcement = holding.announcement(address);
                self.effects.push_back(Effect::Announce(announcement));
                self.set_due(address, None);
                self.tell(address);
            }
            (Stage::Yielding { .. }, Some(Role::Deputy)) => {}
            (Stage::Yielding { .. }, None) if passed_on => {}
            (Stage::Holding | Stage::Yielding { .. }, None) => {
                self.effects.push_back(Effect::Withdraw(address));
                self.forget(address);
            }
        }
        let role = self.addresses.get(&address).and_then(Holding::role);
        self.rounds.set(address, role == Some(Role::Deputy), now);
    }

    /// Answers on until the one that is elected is heard.
    pub(super) fn yield_to_owner(&mut self, address: IpAddr, now: Time) {
        if let Some(holding) = self.addresses.get_mut(&address) {
            holding.stage = Stage::Yielding { until: now + YIELD };
            self.set_due(address, Some(now + NUDGE));
            self.tell(address);
        }
    }

    /// The one that is elected was heard, or had its time: answers no more.
    pub(super) fn end_yielding(&mut self, address: IpAddr) {
        self.effects.push_back(Effect::Withdraw(address));
        match self.addresses.get(&address).and_then(Holding::role) {
            Some(_) => self.watch(address),
            None => self.forget(address),
        }
    }

    /// Asks no more, and wants nothing.
    fn stop(&mut self, address: IpAddr) {
        self.effects.push_back(Effect::StopProbe(address));
        self.forget(address);
    }

    /// Tells who is reached at an address from now on, and who no longer.
    pub(super) fn tell(&mut self, address: IpAddr) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let served = holding.served();
        let told = core::mem::replace(&mut holding.told, served.clone());
        let lost = told.difference(&served).cloned();
        self.effects
            .extend(lost.map(|service| Effect::Lost(service, address)));
        let gained = served.difference(&told).cloned();
        self.effects
            .extend(gained.map(|service| Effect::Gained(service, address)));
        let is_stand_in = holding.stage == Stage::Holding && holding.role() == Some(Role::Deputy);
        match &holding.owner {
            Some(owner) if is_stand_in => {
                self.stand_ins.insert(address, owner.clone());
            }
            Some(_) | None => {
                self.stand_ins.remove(&address);
            }
        }
    }
}

impl Holding {
    const fn new() -> Self {
        Self {
            interests: BTreeMap::new(),
            owner: None,
            watch: Watch::new(),
            told: BTreeSet::new(),
            detection: ConflictDetection::Enforce,
            stage: Stage::Watching,
            due: None,
            stranger: None,
            deferred_to: None,
        }
    }

    /// The part of this node, if it has any.
    pub(super) fn role(&self) -> Option<Role> {
        self.interests.values().map(|interest| interest.role).max()
    }

    /// Those that are reached here.
    fn served(&self) -> BTreeSet<ServiceKey> {
        let role = self.role().filter(|_| self.stage == Stage::Holding);
        let served = self
            .interests
            .iter()
            .filter(|(_, interest)| Some(interest.role) == role);
        served.map(|(service, _)| service.clone()).collect()
    }

    pub(super) fn announcement(&self, address: IpAddr) -> Announcement {
        Announcement {
            address,
            interfaces: self.interfaces(),
        }
    }

    /// The union over all Services, or all (`None`) as soon as one of them has no limit.
    fn interfaces(&self) -> Option<BTreeSet<String>> {
        let role = self.role();
        let mut union = BTreeSet::new();
        for interest in self
            .interests
            .values()
            .filter(|interest| Some(interest.role) == role)
        {
            union.extend(interest.interfaces.as_ref()?.iter().cloned());
        }
        Some(union)
    }
}

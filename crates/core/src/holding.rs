//! For which addresses this node answers: one machine an address.
//!
//! Elections go by gossip, and gossip may be wrong or cut off; the wire knows better. So whoever is elected asks first
//! whether somebody answers already, and whoever is no longer elected answers on until it hears its successor.
//!
//! ```text
//!           elected             silence, or only somebody who will yield
//!   (none) ─────────► Probing ◄─────────────────────────────────────────► Holding
//!                      │   ▲   a lost fellow that comes first claims it    │  ▲
//!                      │   │ later                             another one │  │ elected again
//!                      ▼   │                                    is elected ▼  │
//!                 Deferred: a fellow that gossip lost answers            Yielding
//!                 Conflict: a stranger answers                              │ its claim is heard, or too late
//!                 Contended: somebody else asks, too                        ▼
//!                                                                        (none)
//! ```
//!
//! A Service that is gone, or that nobody may own, leaves every state at once.
//!
//! The wire's word has a limit: fabrics with ARP suppression and proxies answer for the dead. When most speakers agree
//! that one is dead, its answers count for [`PATIENCE`] only; its announcements, which nobody makes for it, count on.

mod fellow;
mod report;
#[cfg(test)]
mod tests;
mod transition;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use fellow::Fellows;
pub use report::Report;

use crate::config::ConflictDetection;
use crate::ownership::Verdict;
use crate::{Member, NodeName, ServiceKey, Time};

/// For so long the answers of a speaker count that most others take for dead. Long enough for a speaker that was cut off
/// for a moment to be heard of again, short enough for an outage that somebody else's proxy prolongs.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Whoever is no longer elected answers on for its successor to probe and announce itself, which takes some 150 ms, or
/// with many thousands of addresses some seconds.
pub const YIELD: Duration = Duration::from_secs(5);

/// Whoever is no longer elected and does not hear its successor says that it is still there, every so often. A successor
/// that believes it has been the owner all the time, because it was cut off for a moment, announces itself then.
const NUDGE: Duration = Duration::from_millis(500);

/// From one look at who answers instead of us to the next.
const RETRY: Duration = Duration::from_millis(500);

/// An address, and where it is answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The address.
    pub address: IpAddr,
    /// Names of the interfaces that answer; `None` is all that fit.
    pub interfaces: Option<BTreeSet<String>>,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Nobody answers.
    Silence,
    /// A machine with this Ethernet address answers or announces itself.
    Answered([u8; 6]),
    /// Another machine probes for the same address.
    Contended([u8; 6]),
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Find out who answers, and tell [`Holdings::handle_probed`].
    Probe(Announcement),
    /// Never mind.
    StopProbe(IpAddr),
    /// Answer from now on, and announce it; a changed set of interfaces replaces the one before.
    Announce(Announcement),
    /// Answer no more.
    Withdraw(IpAddr),
    /// Announce an address once more, because somebody else announces it or should.
    Defend(IpAddr),
    /// Announce a held address as if it had just been claimed.
    Reannounce(IpAddr),
    /// This node answers for a Service at this address now.
    Gained(ServiceKey, IpAddr),
    /// It no longer does.
    Lost(ServiceKey, IpAddr),
    /// Something that users should know.
    Report(IpAddr, Report),
}

/// Holds addresses on behalf of Services. Owned by value by exactly one task.
#[derive(Debug)]
pub struct Holdings {
    /// Whether the wire is asked at all.
    verification: bool,
    addresses: BTreeMap<IpAddr, Holding>,
    fellows: Fellows,
    due: BTreeSet<(Time, IpAddr)>,
    effects: VecDeque<Effect>,
    random: u64,
}

#[derive(Debug)]
struct Holding {
    /// Who is to be reached at the address, and on which interfaces.
    wanted: BTreeMap<ServiceKey, Option<BTreeSet<String>>>,
    detection: ConflictDetection,
    stage: Stage,
    /// What is to happen to it next, and when.
    due: Option<Time>,
    /// A stranger that has it, and how often it was seen.
    stranger: Option<([u8; 6], usize)>,
    /// A fellow that keeps it, as reported.
    deferred_to: Option<NodeName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Probing,
    /// Somebody else has it; probed again when due.
    Waiting,
    Holding,
    /// Another one is elected, and has until then to announce itself.
    Yielding {
        until: Time,
    },
}

impl Holdings {
    /// Holds nothing. Without `verification` an address is answered for as soon as this node is elected, and no longer
    /// than it is; the pauses after which contenders try again are drawn from `seed`.
    pub fn new(verification: bool, seed: u64) -> Self {
        Self {
            verification,
            addresses: BTreeMap::new(),
            fellows: Fellows::default(),
            due: BTreeSet::new(),
            effects: VecDeque::new(),
            random: seed | 1,
        }
    }

    /// What gossip says of the speakers, `me` among them, after the verdicts that follow from it. Those that were cut off
    /// do not know who answers, nor do the clients on their side.
    pub fn set_members(&mut self, members: &[Member], me: &NodeName, now: Time) {
        if !self.fellows.set(members, me, now) {
            return;
        }
        let held = self
            .addresses
            .iter()
            .filter(|(_, holding)| holding.stage == Stage::Holding);
        self.effects
            .extend(held.map(|(address, _)| Effect::Reannounce(*address)));
    }

    /// This node was out of the world for a while, asleep or paused: others may have taken over. It asks before it
    /// answers on.
    pub fn reverify(&mut self) {
        if !self.verification {
            return;
        }
        for (address, stage) in self.stages() {
            match stage {
                Stage::Holding => {
                    self.withdraw(address);
                    self.probe(address);
                }
                Stage::Yielding { .. } => {
                    self.withdraw(address);
                    self.forget(address);
                }
                Stage::Probing | Stage::Waiting => {}
            }
        }
    }

    /// A verdict has changed.
    pub fn set_verdict(
        &mut self,
        service: &ServiceKey,
        before: Option<&Verdict>,
        after: Option<&Verdict>,
        now: Time,
    ) {
        let (old, new) = (addresses(before), addresses(after));
        let passed_on = self.verification && matches!(after, Some(Verdict::Standby(_)));
        for address in old.iter().filter(|address| !new.contains(address)) {
            self.release(service, *address, passed_on, now);
        }
        for address in new {
            let claim = after.and_then(Verdict::claim);
            let interfaces = claim.and_then(|claim| claim.interfaces.clone());
            let detection = claim.map(|claim| claim.conflict_detection).unwrap_or_default();
            self.want(service, *address, interfaces, detection);
        }
    }

    /// A probe has ended.
    pub fn handle_probed(&mut self, address: IpAddr, probed: Probed, now: Time) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        if holding.stage != Stage::Probing {
            return;
        }
        let (Probed::Answered(mac) | Probed::Contended(mac)) = probed else {
            return self.hold(address);
        };
        let Some(fellow) = self.fellows.get(mac) else {
            return match probed {
                Probed::Contended(_) => self.contend(address, now),
                Probed::Answered(_) | Probed::Silence => self.find_stranger(address, mac, now),
            };
        };
        // Whoever is alive and not elected yields when it hears us.
        if fellow.is_alive() {
            return self.hold(address);
        }
        let node = fellow.node.clone();
        if self.fellows.is_overruled(mac, now) {
            self.report(address, Report::Overruled(node));
            return self.hold(address);
        }
        if let Probed::Contended(_) = probed {
            return self.contend(address, now);
        }
        self.defer(address, node, now);
    }

    /// Another machine announces an address. `outranks` tells whether a node is preferred to this one for a Service
    /// ([`crate::ownership::Ownership::outranks`]).
    pub fn handle_claim(
        &mut self,
        address: IpAddr,
        mac: [u8; 6],
        outranks: impl Fn(&NodeName, &ServiceKey) -> bool,
        now: Time,
    ) {
        self.fellows.heard(mac, now);
        let Some(holding) = self.addresses.get(&address) else {
            return;
        };
        let fellow = self.fellows.get(mac);
        match (holding.stage, fellow) {
            (Stage::Holding, None) => {
                self.report(address, Report::Challenged(mac));
                self.effects.push_back(Effect::Defend(address));
            }
            // Gossip connects us, so it knows or is about to learn that we are elected: a claim made before crossed ours.
            (Stage::Holding, Some(fellow)) if !fellow.is_down() => {
                self.effects.push_back(Effect::Defend(address));
            }
            (Stage::Holding, Some(fellow)) => {
                let service = holding.wanted.keys().next();
                let comes_first = service.is_some_and(|service| outranks(&fellow.node, service));
                if comes_first || self.fellows.is_minority() {
                    let node = fellow.node.clone();
                    self.withdraw(address);
                    self.report(address, Report::Yielded(node));
                    // This may have been the last word of one that has said good-bye since.
                    self.probe(address);
                } else {
                    self.effects.push_back(Effect::Defend(address));
                }
            }
            (Stage::Yielding { .. }, Some(_)) => {
                self.withdraw(address);
                self.forget(address);
            }
            (Stage::Yielding { .. }, None) | (Stage::Probing | Stage::Waiting, _) => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((at, address)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(holding) = self.addresses.get_mut(&address) else {
                continue;
            };
            holding.due = None;
            match holding.stage {
                Stage::Waiting => self.probe(address),
                Stage::Yielding { until } if until <= now => {
                    self.withdraw(address);
                    self.forget(address);
                }
                Stage::Yielding { until } => {
                    self.effects.push_back(Effect::Defend(address));
                    self.set_due(address, Some(until.min(now + NUDGE)));
                }
                Stage::Probing | Stage::Holding => {}
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether nothing is answered for.
    pub fn is_empty(&self) -> bool {
        let answers = |holding: &Holding| matches!(holding.stage, Stage::Holding | Stage::Yielding { .. });
        !self.addresses.values().any(answers)
    }

    /// The Services that are to be reached at an address.
    pub fn services_of(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        let holding = self.addresses.get(&address);
        holding.into_iter().flat_map(|holding| holding.wanted.keys())
    }

    /// The machine that keeps an address from being announced, if it is none of ours.
    pub fn stranger(&self, address: IpAddr) -> Option<[u8; 6]> {
        self.addresses.get(&address)?.stranger.map(|(mac, _)| mac)
    }

    fn want(
        &mut self,
        service: &ServiceKey,
        address: IpAddr,
        interfaces: Option<BTreeSet<String>>,
        detection: ConflictDetection,
    ) {
        let is_new = !self.addresses.contains_key(&address);
        let holding = self.addresses.entry(address).or_insert_with(Holding::new);
        holding.detection = detection;
        let before = holding.interfaces();
        let is_gained = holding.wanted.insert(service.clone(), interfaces).is_none();
        let is_changed = before != holding.interfaces();
        match holding.stage {
            _ if is_new => self.probe(address),
            Stage::Probing if is_changed => self.probe(address),
            Stage::Probing | Stage::Waiting => {}
            Stage::Holding | Stage::Yielding { .. } => {
                holding.stage = Stage::Holding;
                let announcement = is_changed.then(|| holding.announcement(address));
                self.effects.extend(announcement.map(Effect::Announce));
                if is_gained {
                    self.effects.push_back(Effect::Gained(service.clone(), address));
                }
                self.set_due(address, None);
            }
        }
    }

    fn release(&mut self, service: &ServiceKey, address: IpAddr, passed_on: bool, now: Time) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let before = holding.interfaces();
        if holding.wanted.remove(service).is_none() {
            return;
        }
        if holding.stage == Stage::Holding {
            self.effects.push_back(Effect::Lost(service.clone(), address));
        }
        if !holding.wanted.is_empty() {
            if holding.stage == Stage::Holding && before != holding.interfaces() {
                let announcement = holding.announcement(address);
                self.effects.push_back(Effect::Announce(announcement));
            }
            return;
        }
        match holding.stage {
            Stage::Holding if passed_on => {
                holding.stage = Stage::Yielding { until: now + YIELD };
                self.set_due(address, Some(now + NUDGE));
            }
            Stage::Holding | Stage::Yielding { .. } => {
                self.effects.push_back(Effect::Withdraw(address));
                self.forget(address);
            }
            Stage::Probing => {
                self.effects.push_back(Effect::StopProbe(address));
                self.forget(address);
            }
            Stage::Waiting => self.forget(address),
        }
    }
}

impl Holding {
    const fn new() -> Self {
        Self {
            wanted: BTreeMap::new(),
            detection: ConflictDetection::Enforce,
            stage: Stage::Probing,
            due: None,
            stranger: None,
            deferred_to: None,
        }
    }

    fn announcement(&self, address: IpAddr) -> Announcement {
        Announcement {
            address,
            interfaces: self.interfaces(),
        }
    }

    /// The union over all Services, or all (`None`) as soon as one of them has no limit.
    fn interfaces(&self) -> Option<BTreeSet<String>> {
        let mut union = BTreeSet::new();
        for interfaces in self.wanted.values() {
            union.extend(interfaces.as_ref()?.iter().cloned());
        }
        Some(union)
    }
}

fn addresses(verdict: Option<&Verdict>) -> &[IpAddr] {
    verdict
        .and_then(Verdict::claim)
        .map_or(&[], |claim| &claim.addresses)
}

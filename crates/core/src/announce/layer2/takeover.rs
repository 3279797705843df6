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
//! Who comes next after the owner is its deputy, and asks every few seconds whether the owner answers (`deputy`):
//!
//! ```text
//!           deputy                   several questions unanswered               silence
//!   (none) ────────► Watching ─────────────────────────────────────► Probing ───────────► Holding, in the owner's stead
//!                      ▲  └──┘ answered                                 │ answered           │ the owner answers again
//!                      └────────────────────────────────────────────────┴──── Yielding ◄─────┘
//! ```
//!
//! Who has lost others by gossip calls for them on the wire (`call`), so that a wire that heals is noticed without gossip.
//!
//! The wire's word has a limit: fabrics with ARP suppression and proxies answer for the dead. When most speakers agree
//! that one is dead, its answers count for [`PATIENCE`] only; its announcements, which nobody makes for it, count on.

mod backup;
mod event;
mod heal_beacon;
mod identify;
mod interest;
mod peers;
#[cfg(test)]
mod tests;
mod transition;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::IpAddr;
use core::time::Duration;

use backup::{Rounds, Watch};
pub use event::Report;
use heal_beacon::Calls;
use identify::Introductions;
use interest::{Interest, Role};
use peers::Fellows;

use super::{Announcement, ProbeResult};
use crate::config::ConflictDetection;
use crate::{MacAddr, Member, NodeName, ServiceKey, Time};

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

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Find out who answers, and tell [`Holdings::handle_probed`].
    Probe(Announcement),
    /// Ask once whether somebody answers, that machine alone if it is given, and tell [`Holdings::handle_probed`].
    Check(Announcement, Option<MacAddr>),
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
    /// An address was taken from an owner that had failed, so long after the first sign of that.
    TookOver(IpAddr, Duration),
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
    introductions: Introductions,
    due: BTreeSet<(Time, IpAddr)>,
    rounds: Rounds,
    calls: Calls,
    /// Addresses that are answered for although somebody else is elected, and who that is.
    stand_ins: BTreeMap<IpAddr, NodeName>,
    effects: VecDeque<Effect>,
    random: u64,
}

#[derive(Debug)]
struct Holding {
    /// Who is to be reached at the address, and what this node has to do with it.
    interests: BTreeMap<ServiceKey, Interest>,
    /// Who should answer for it, or should have before this node was elected.
    owner: Option<NodeName>,
    watch: Watch,
    /// For whom [`Effect::Gained`] was told.
    told: BTreeSet<ServiceKey>,
    detection: ConflictDetection,
    stage: Stage,
    /// What is to happen to it next, and when.
    due: Option<Time>,
    /// A stranger that has it, and how often it was seen.
    stranger: Option<(MacAddr, usize)>,
    /// A fellow that keeps it, as reported.
    deferred_to: Option<NodeName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Another one is elected and answers, as far as its deputy here knows.
    Watching,
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
            introductions: Introductions::default(),
            due: BTreeSet::new(),
            rounds: Rounds::default(),
            calls: Calls::default(),
            stand_ins: BTreeMap::new(),
            effects: VecDeque::new(),
            random: seed | 1,
        }
    }

    /// What gossip says of the speakers, `me` among them, after the verdicts that follow from it. Those that were cut off
    /// do not know who answers, nor do the clients on their side.
    pub fn set_members(&mut self, members: &[Member], me: &NodeName, now: Time) {
        if self.fellows.set(members, me, &self.introductions, now) {
            self.reannounce_all_but(None);
        }
        self.set_calls(now);
    }

    /// This node was out of the world for a while, asleep, paused or cut off: others may have taken over. It asks before it
    /// answers on, if it asks at all, which it tells.
    pub fn reverify(&mut self, now: Time) -> bool {
        if !self.verification {
            return false;
        }
        for (address, stage) in self.stages() {
            match stage {
                Stage::Holding => {
                    self.effects.push_back(Effect::Withdraw(address));
                    self.probe(address, now);
                }
                Stage::Yielding { .. } => self.end_yielding(address),
                Stage::Watching | Stage::Probing | Stage::Waiting => {}
            }
        }
        true
    }

    /// A probe or a check has ended.
    pub fn handle_probed(&mut self, address: IpAddr, probed: ProbeResult, now: Time) {
        self.meet(address, probed, now);
        let Some(holding) = self.addresses.get(&address) else {
            return;
        };
        match (holding.stage, holding.role()) {
            (Stage::Probing, Some(Role::Taker)) => self.handle_answer(address, probed, now),
            (Stage::Probing, Some(Role::Deputy)) => self.handle_last_answer(address, probed, now),
            (Stage::Watching | Stage::Holding, Some(Role::Deputy)) => {
                self.handle_checked(address, probed, now);
            }
            (
                Stage::Watching | Stage::Probing | Stage::Waiting | Stage::Holding | Stage::Yielding { .. },
                _,
            ) => {}
        }
    }

    /// What came of probing for an address that this node was elected for.
    fn handle_answer(&mut self, address: IpAddr, probed: ProbeResult, now: Time) {
        let mac = match probed {
            ProbeResult::Silence | ProbeResult::NoLink => return self.hold(address, now),
            // Of a check that was under way when the probe began.
            ProbeResult::Unanswered { .. } => return,
            ProbeResult::Answered(mac) | ProbeResult::Contended(mac) => mac,
        };
        let is_contender = matches!(probed, ProbeResult::Contended(_));
        let Some(fellow) = self.fellows.get(mac) else {
            return if is_contender {
                self.contend(address, now);
            } else {
                self.find_stranger(address, mac, now);
            };
        };
        // Whoever is alive and not elected yields when it hears us.
        if fellow.is_alive() {
            return self.hold(address, now);
        }
        let node = fellow.node.clone();
        if self.fellows.is_overruled(mac, now) {
            self.report(address, Report::Overruled(node));
            return self.hold(address, now);
        }
        if is_contender {
            return self.contend_with(address, &node, now);
        }
        self.defer(address, node, now);
    }

    /// Another machine announces an address. `outranks` tells whether a node is preferred to this one for a Service
    /// ([`crate::announce::layer2::ownership::Ownership::outranks`]).
    pub fn handle_claim(
        &mut self,
        address: IpAddr,
        mac: MacAddr,
        outranks: impl Fn(&NodeName, &ServiceKey) -> bool,
        now: Time,
    ) {
        if self.fellows.heard(mac, now) {
            self.reannounce_all_but(Some(address));
        }
        let Some(holding) = self.addresses.get(&address) else {
            return;
        };
        let fellow = self.fellows.get(mac);
        match (holding.stage, fellow) {
            (Stage::Holding, None) => {
                if self.introduce(mac, now).is_none() {
                    self.report(address, Report::Challenged(mac));
                }
                self.effects.push_back(Effect::Defend(address));
            }
            // The one that is elected is back, perhaps.
            (Stage::Holding, Some(_)) if holding.role() == Some(Role::Deputy) => {
                self.doubt_claim(address, mac)
            }
            // Gossip connects us, so it knows or is about to learn that we are elected: a claim made before crossed ours. Or it
            // was the last word of one that has said good-bye since.
            (Stage::Holding, Some(fellow)) if !fellow.is_lost() => {
                self.effects.push_back(Effect::Defend(address));
            }
            (Stage::Holding, Some(fellow)) => {
                let service = holding.interests.keys().next();
                let comes_first = service.is_some_and(|service| outranks(&fellow.node, service));
                if comes_first || self.fellows.is_minority() {
                    let node = fellow.node.clone();
                    self.effects.push_back(Effect::Withdraw(address));
                    self.report(address, Report::Yielded(node));
                    // This may have been the last word of one that has died since.
                    self.probe(address, now);
                } else {
                    self.effects.push_back(Effect::Defend(address));
                }
            }
            (Stage::Yielding { .. }, Some(_)) => self.end_yielding(address),
            (Stage::Yielding { .. }, None) | (Stage::Watching | Stage::Probing | Stage::Waiting, _) => {}
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
                Stage::Waiting => self.probe(address, now),
                Stage::Yielding { until } if until <= now => self.end_yielding(address),
                Stage::Yielding { until } => {
                    self.effects.push_back(Effect::Defend(address));
                    self.set_due(address, Some(until.min(now + NUDGE)));
                }
                Stage::Watching | Stage::Holding => self.check(address, None),
                Stage::Probing => {}
            }
        }
        while let Some(address) = self.rounds.poll_next(now) {
            self.check_in_turn(address);
        }
        self.call(now);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = self.due.first().map(|(at, _)| *at);
        let others = [self.rounds.next_due(), self.next_call()];
        due.into_iter().chain(others.into_iter().flatten()).min()
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
        holding.into_iter().flat_map(|holding| holding.interests.keys())
    }

    /// How many fellows answer that gossip has lost.
    pub fn deferred(&self) -> usize {
        let nodes = self
            .addresses
            .values()
            .filter_map(|holding| holding.deferred_to.as_ref());
        nodes
            .filter(|node| self.fellows.is_down(node))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The nodes that should answer and do not, so that this one does in their stead.
    pub fn silent(&self) -> BTreeSet<&NodeName> {
        self.stand_ins.values().collect()
    }

    /// The machine that keeps an address from being announced, if it is none of ours.
    pub fn stranger(&self, address: IpAddr) -> Option<MacAddr> {
        self.addresses.get(&address)?.stranger.map(|(mac, _)| mac)
    }
}

//! The deputy of an address asks every now and then whether its owner answers, and answers in its stead if it does not.
//!
//! Gossip can be well while an owner is deaf or dumb: its thread hangs, a filter drops ARP, a fabric has lost a rule. Who
//! finds that out must be sure that it is not deaf itself. So a deputy acts only
//!
//! * when the owner has answered some question of it before, so that questions and answers do get through between the two,
//! * after [`SILENT`] questions without an answer, while it heard others on the wire since the first of them,
//! * and after a full probe, like everybody who takes an address.
//!
//! It goes on asking while it answers in the owner's stead. When the owner answers again, or announces the address and then
//! answers, it is called and takes over before the deputy stops, like anybody who returns. An owner that announces but does
//! not answer is contradicted, now and then.

use alloc::collections::BTreeSet;
use core::net::IpAddr;
use core::time::Duration;

use super::{Effect, Holdings, ProbeResult, Report, Stage};
use crate::{MacAddr, NodeName, Time};

/// Each address is asked for once in this time, if there are few.
const ROUND: Duration = Duration::from_secs(5);

/// Questions are asked a few at a time, so that neither side wakes up for each.
const TURN: Duration = Duration::from_millis(200);

/// No more than fifty questions a second, whatever their number: of ten thousand addresses on three nodes each is asked for
/// once a minute. That is enough, as one silent address makes all others of its owner suspicious.
const QUESTIONS: u32 = 10;

/// From one unanswered question to the next: longer than an answer takes where the processor is busy.
const AGAIN: Duration = Duration::from_millis(300);

/// So many questions in a row remain unanswered by chance once in 400 000 times where 2 % of all frames are lost, and the
/// probe that follows is as sure again by itself.
const SILENT: u8 = 4;

/// An owner that announces an address but does not answer is contradicted so often at most.
const CONTRADICTION: Duration = Duration::from_secs(5);

/// How the owner of one address has answered lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// The owner's machine, once it has answered: it alone is asked then.
    mac: Option<MacAddr>,
    /// Questions in a row without an answer, and since when.
    unanswered: u8,
    since: Option<Time>,
    /// It announces the address, and has not been contradicted since.
    is_announced: bool,
    contradicted: Option<Time>,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self {
            mac: None,
            unanswered: 0,
            since: None,
            is_announced: false,
            contradicted: None,
        }
    }
}

/// Whose turn it is, of all addresses that are watched.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    watched: BTreeSet<IpAddr>,
    /// The one that was asked for last.
    last: Option<IpAddr>,
    /// When the next turn begins, and how many questions are left in this one.
    next: Option<Time>,
    left: u32,
}

impl Rounds {
    /// Whether `address` is watched.
    pub(super) fn set(&mut self, address: IpAddr, is_watched: bool, now: Time) {
        if is_watched {
            self.watched.insert(address);
            self.next.get_or_insert(now + ROUND);
        } else {
            self.watched.remove(&address);
        }
        if self.watched.is_empty() {
            (self.next, self.left) = (None, 0);
        }
    }

    pub(super) const fn next_due(&self) -> Option<Time> {
        self.next
    }

    /// Whose turn it is at `now`, one after the other.
    pub(super) fn poll_next(&mut self, now: Time) -> Option<IpAddr> {
        if self.left == 0 {
            if self.next? > now {
                return None;
            }
            let count = u32::try_from(self.watched.len()).unwrap_or(u32::MAX).max(1);
            let turns = (ROUND.as_nanos() / TURN.as_nanos()) as u32;
            self.left = count.div_ceil(turns).min(QUESTIONS);
            self.next = Some(now + (ROUND * self.left / count).max(TURN));
        }
        self.left -= 1;
        let after = self
            .last
            .map(|last| (core::ops::Bound::Excluded(last), core::ops::Bound::Unbounded));
        let next = after.and_then(|after| self.watched.range(after).next());
        self.last = next.or(self.watched.first()).copied();
        self.last
    }
}

impl Holdings {
    /// Watches the owner from now on.
    pub(super) fn watch(&mut self, address: IpAddr) {
        self.set_due(address, None);
        if let Some(holding) = self.addresses.get_mut(&address) {
            holding.stage = Stage::Watching;
            holding.watch.unanswered = 0;
            holding.watch.since = None;
            self.tell(address);
        }
    }

    /// Asks once: the owner alone if everything is as it should be, or everybody.
    pub(super) fn check_in_turn(&mut self, address: IpAddr) {
        let watch = self.addresses.get(&address).map(|holding| &holding.watch);
        let to = watch
            .filter(|watch| watch.unanswered == 0)
            .and_then(|watch| watch.mac);
        self.check(address, to);
    }

    pub(super) fn check(&mut self, address: IpAddr, to: Option<MacAddr>) {
        let Some(holding) = self.addresses.get(&address) else {
            return;
        };
        if matches!(holding.stage, Stage::Watching | Stage::Holding) {
            let announcement = holding.announcement(address);
            self.effects.push_back(Effect::Check(announcement, to));
        }
    }

    /// What came of a question about an address that another one is elected for.
    pub(super) fn handle_checked(&mut self, address: IpAddr, probed: ProbeResult, now: Time) {
        match probed {
            ProbeResult::Answered(mac) => self.handle_owner_answers(address, mac, now),
            ProbeResult::Unanswered { heard } => self.handle_unanswered(address, heard, now),
            // Of a probe that was over.
            ProbeResult::Silence | ProbeResult::NoLink | ProbeResult::Contended(_) => {}
        }
    }

    fn handle_owner_answers(&mut self, address: IpAddr, mac: MacAddr, now: Time) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let fellow = self.fellows.get(mac).map(|fellow| fellow.node.clone());
        let is_owner = fellow.is_some() && fellow == holding.owner;
        holding.watch.mac = is_owner.then_some(mac);
        holding.watch.unanswered = 0;
        holding.watch.since = None;
        let stage = holding.stage;
        self.set_due(address, None);
        let Some(fellow) = fellow else { return };
        if is_owner {
            self.fellows.answered(&fellow);
        }
        if stage == Stage::Holding {
            // It takes over before we stop: calling it makes it announce itself.
            self.report(address, Report::Relieved(fellow));
            self.yield_to_owner(address, now);
            self.effects.push_back(Effect::Defend(address));
        }
    }

    fn handle_unanswered(&mut self, address: IpAddr, heard: Option<Duration>, now: Time) {
        let Some(holding) = self.addresses.get_mut(&address) else {
            return;
        };
        let watch = &mut holding.watch;
        if holding.stage == Stage::Holding {
            let is_due = watch
                .contradicted
                .is_none_or(|at| now.saturating_since(at) >= CONTRADICTION);
            if watch.is_announced && is_due {
                watch.is_announced = false;
                watch.contradicted = Some(now);
                self.effects.push_back(Effect::Defend(address));
            }
            return;
        }
        watch.unanswered = watch.unanswered.saturating_add(1);
        let since = *watch.since.get_or_insert(now);
        if watch.unanswered < SILENT {
            return self.set_due(address, Some(now + AGAIN));
        }
        // Who heard nobody since then may be deaf itself.
        let has_heard = heard.is_some_and(|ago| now.saturating_since(since) > ago);
        let owner = holding.owner.as_ref();
        if has_heard && owner.is_some_and(|owner| self.fellows.has_answered(owner)) {
            self.probe(address, now);
        }
    }

    /// What came of the probe before an address is answered for in the owner's stead.
    pub(super) fn handle_last_answer(&mut self, address: IpAddr, probed: ProbeResult, now: Time) {
        match probed {
            ProbeResult::Silence | ProbeResult::NoLink => self.stand_in(address, now),
            // Somebody has it, or is about to take it.
            ProbeResult::Answered(_) | ProbeResult::Contended(_) => self.watch(address),
            ProbeResult::Unanswered { .. } => {}
        }
    }

    fn stand_in(&mut self, address: IpAddr, now: Time) {
        let Some(holding) = self.addresses.get(&address) else {
            return;
        };
        let (owner, since) = (holding.owner.clone(), holding.watch.since);
        let is_first = !self
            .stand_ins
            .values()
            .any(|silent| Some(silent) == owner.as_ref());
        self.hold(address, now);
        let Some(owner) = owner else { return };
        if is_first {
            self.suspect_others_of(&owner, now);
        }
        self.report(address, Report::StoodIn(owner));
        let since = since.unwrap_or(now);
        self.effects
            .push_back(Effect::TookOver(address, now.saturating_since(since)));
    }

    /// An owner that does not answer for one address may not do so for any.
    fn suspect_others_of(&mut self, owner: &NodeName, now: Time) {
        let is_theirs = |address: &&IpAddr| {
            let holding = self.addresses.get(*address);
            holding.is_some_and(|h| {
                h.stage == Stage::Watching && h.due.is_none() && h.owner.as_ref() == Some(owner)
            })
        };
        let theirs: alloc::vec::Vec<IpAddr> = self.rounds.watched.iter().filter(is_theirs).copied().collect();
        for address in theirs {
            self.set_due(address, Some(now));
        }
    }

    /// Somebody announces an address that is answered for here in the owner's stead. It has it back as soon as it answers.
    pub(super) fn doubt_claim(&mut self, address: IpAddr, mac: MacAddr) {
        if let Some(holding) = self.addresses.get_mut(&address) {
            holding.watch.is_announced = true;
            self.check(address, Some(mac));
        }
    }
}

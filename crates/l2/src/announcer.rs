//! Answers for the addresses that this node owns, and announces them.
//!
//! ```text
//!                announce            rounds at 0, 0.1, 1.1 ... 4.4 s          every `refresh`
//!   (not held) -----------> Burst ---------------------------------> Held ---------------------+
//!       ^                     ^                                       |  ^                     |
//!       |                     +------- a link appears, reannounce ----+  +--------- round -----+
//!       +------- withdraw ----+---------------------------------------+
//! ```
//!
//! Answers do not wait for any of this: an address is answered for from `announce` to `withdraw`. Nor does a burst end
//! when the address is defended between its rounds.

mod answer;
mod defence;
mod membership;
mod round;
mod schedule;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashSet;
use herald_core::Time;

pub use answer::{Answer, Ignored};
pub use defence::Claim;
use defence::Defence;
pub use membership::GroupChange;
use membership::Memberships;
use round::Round;
use schedule::{Burst, BurstSchedule};

use crate::link::LinkTable;
use crate::pace::Pace;
use crate::received::{Received, Sighting};
use crate::{Link, MacAddr};

/// A frame to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// Index of the link that it goes out on.
    pub link: u32,
    /// The address that it is about.
    pub address: IpAddr,
    /// Its length in the buffer.
    pub length: usize,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a frame that was not asked for is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A probe or a check.
    Question,
    /// An announcement of an active address.
    Announcement,
}

/// Which addresses are answered for on which links, and when they are announced next.
#[derive(Debug)]
pub struct Announcer {
    links: LinkTable,
    held: BTreeMap<IpAddr, ActiveAddress>,
    /// Which address is answered for on which link: all that a request needs, in one probe however many there are.
    /// Never iterated, so its order decides nothing.
    answering: HashSet<(u32, IpAddr)>,
    schedule: BurstSchedule,
    pace: Pace,
    /// Of the answers that go to everybody, by link.
    answers_to_all: BTreeMap<u32, Pace>,
    round: Option<Round>,
    /// Addresses to be defended.
    defences: VecDeque<IpAddr>,
    /// Who else announces which held address. One for each address, so that nobody can fill it.
    claims: BTreeMap<IpAddr, MacAddr>,
    memberships: Memberships,
}

#[derive(Debug)]
struct ActiveAddress {
    interfaces: Option<BTreeSet<String>>,
    /// Indices of the links that answer, ascending.
    links: Vec<u32>,
    burst: Burst,
    defence: Defence,
}

impl Announcer {
    /// Holds nothing yet. A burst over, addresses are announced again every `refresh`, give or take a tenth,
    /// drawn from `seed` so that they spread out; `None` is never.
    pub fn new(refresh: Option<Duration>, seed: u64) -> Self {
        Self {
            links: LinkTable::new(),
            held: BTreeMap::new(),
            answering: HashSet::new(),
            schedule: BurstSchedule::new(refresh, seed),
            pace: Pace::unasked(),
            answers_to_all: BTreeMap::new(),
            round: None,
            defences: VecDeque::new(),
            claims: BTreeMap::new(),
            memberships: Memberships::new(),
        }
    }

    /// Replaces the links that can be used. Where an address gains a link or a link's Ethernet address
    /// changes, the address is announced anew, since nobody there knows it yet.
    pub fn set_links(&mut self, links: Vec<Link>, now: Time) {
        let renewed = self.links.replace(links);
        self.answers_to_all
            .retain(|index, _| self.links.get(*index).is_some());
        let mut restart = Vec::new();
        for (address, held) in &mut self.held {
            let before = core::mem::take(&mut held.links);
            held.links = self.links.select(*address, held.interfaces.as_ref());
            self.memberships.change(*address, &before, &held.links);
            rebind(&mut self.answering, *address, &before, &held.links);
            let gains = |index: &u32| renewed.contains(index) || !before.contains(index);
            if held.links.iter().any(gains) {
                restart.push(*address);
            }
        }
        for address in restart {
            self.restart(address, now);
        }
    }

    /// Answers for `address` from now on, on `interfaces` (see [`crate::select`]), and announces it. The same
    /// announcement again changes nothing.
    pub fn announce(&mut self, address: IpAddr, interfaces: Option<BTreeSet<String>>, now: Time) {
        let before = match self.held.get(&address) {
            Some(held) if held.interfaces == interfaces => return,
            Some(held) => held.links.clone(),
            None => Vec::new(),
        };
        let links = self.links.select(address, interfaces.as_ref());
        self.memberships.change(address, &before, &links);
        rebind(&mut self.answering, address, &before, &links);
        let gained = links.iter().any(|index| !before.contains(index));
        if let Some(held) = self.held.get_mut(&address) {
            held.interfaces = interfaces;
            held.links = links;
        } else {
            let burst = Burst::idle();
            let defence = Defence::default();
            let held = ActiveAddress {
                interfaces,
                links,
                burst,
                defence,
            };
            self.held.insert(address, held);
        }
        if gained {
            self.restart(address, now);
        }
    }

    /// Announces a held address as if it had just been claimed.
    pub fn reannounce(&mut self, address: IpAddr, now: Time) {
        self.restart(address, now);
    }

    /// Announces a held address once more, because another machine announces it too (RFC 5227 §2.4). Does nothing if
    /// that was done less than 400 ms ago.
    pub fn defend(&mut self, address: IpAddr, now: Time) {
        if let Some(held) = self.held.get_mut(&address)
            && held.defence.begin(now)
        {
            self.defences.push_back(address);
        }
    }

    /// Answers for `address` no more. Nothing is sent: the next owner's announcements do the rest.
    pub fn withdraw(&mut self, address: IpAddr) {
        if let Some(held) = self.held.remove(&address) {
            self.claims.remove(&address);
            self.memberships.change(address, &held.links, &[]);
            rebind(&mut self.answering, address, &held.links, &[]);
            self.schedule.cancel(address, &held.burst);
        }
    }

    /// Answers for nothing any more.
    pub fn withdraw_all(&mut self) {
        let held: Vec<IpAddr> = self.held.keys().copied().collect();
        held.into_iter().for_each(|address| self.withdraw(address));
    }

    /// Whether `address` is answered for, and on which links.
    pub fn links_of(&self, address: IpAddr) -> Option<&[u32]> {
        self.held.get(&address).map(|held| held.links.as_slice())
    }

    /// The addresses that are answered for on a link: only frames that name one of them matter to
    /// [`Announcer::handle_received`].
    pub fn addresses_on(&self, link: u32) -> impl Iterator<Item = IpAddr> + Clone {
        let held = self.held.iter();
        let here = held.filter(move |(_, held)| held.links.contains(&link));
        here.map(|(address, _)| *address)
    }

    /// Whether a link is used.
    pub(crate) fn has_link(&self, link: u32) -> bool {
        self.links.get(link).is_some()
    }

    /// Decides about a frame that was received on a link, and writes the answer to `answer`. Whether it is answered or
    /// not, the frame may be a [`Claim`].
    ///
    /// # Errors
    /// The reason why the frame is not answered.
    ///
    /// # Panics
    /// If the frame is answered and `answer` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub fn handle_received(
        &mut self,
        link: u32,
        received: &Received,
        answer: &mut [u8],
        now: Time,
    ) -> Result<Answer, Ignored> {
        let link = self.links.get(link).ok_or(Ignored::UnknownLink)?;
        if let Some(Sighting::Claims(address, mac)) = received.sighting()
            && self.answering.contains(&(link.index, address))
            && received.is_of_another(mac, &self.links)
        {
            self.claims.insert(address, mac);
        }
        let answers = |address: IpAddr| {
            if self.answering.contains(&(link.index, address)) {
                return Ok(());
            }
            let elsewhere = self.held.contains_key(&address);
            Err(if elsewhere {
                Ignored::OtherLink
            } else {
                Ignored::NotOurs
            })
        };
        let allowed = || {
            let pace = self.answers_to_all.entry(link.index);
            let pace = pace.or_insert_with(Pace::answers_to_all);
            if pace.ready() > now {
                return Err(Ignored::TooMany);
            }
            pace.spend(now);
            Ok(())
        };
        answer::answer(link, received, answers, allowed, answer)
    }

    /// Writes the next announcement that is due to `frame`, which must have room for
    /// [`crate::wire::MAX_FRAME_LENGTH`] bytes. Call it until it returns `None`.
    pub fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        if self.pace.ready() > now {
            return None;
        }
        loop {
            let Some(round) = &mut self.round else {
                self.round = Some(self.next_round(now)?);
                continue;
            };
            let links = self.held.get(&round.address).map_or(&[][..], |held| &held.links);
            if let Some(transmission) = round.next(links, &self.links, frame) {
                self.pace.spend(now);
                return Some(transmission);
            }
            self.round = None;
        }
    }

    /// When [`Announcer::poll_transmit`] has something to send next, possibly already.
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = if self.round.is_some() || !self.defences.is_empty() {
            Some(Time::ZERO)
        } else {
            self.schedule.next()
        };
        due.map(|due| due.max(self.pace.ready()))
    }

    /// Which held address another machine announces, next. Of several that announce one address the last is told.
    pub fn poll_claim(&mut self) -> Option<Claim> {
        let (address, mac) = self.claims.pop_first()?;
        Some(Claim { address, mac })
    }

    /// Which solicited-node group to join or leave next.
    pub fn poll_group(&mut self) -> Option<GroupChange> {
        self.memberships.poll()
    }

    fn restart(&mut self, address: IpAddr, now: Time) {
        if let Some(held) = self.held.get_mut(&address) {
            self.schedule.cancel(address, &held.burst);
            held.burst = Burst::starting(now);
            self.schedule.add(address, &held.burst);
        }
    }

    fn next_round(&mut self, now: Time) -> Option<Round> {
        let Some(address) = self.schedule.pop(now) else {
            return self.next_defence(now);
        };
        if let Some(held) = self.held.get_mut(&address) {
            held.burst = self.schedule.following(held.burst, now);
            self.schedule.add(address, &held.burst);
        }
        Some(Round::new(address))
    }

    /// Defences come last, since whoever claims many addresses would otherwise keep others from being announced at all.
    fn next_defence(&mut self, now: Time) -> Option<Round> {
        loop {
            let address = self.defences.pop_front()?;
            // An address that was withdrawn since then may be held again, and has been announced for that.
            if let Some(held) = self.held.get_mut(&address)
                && held.defence.end(now)
            {
                return Some(Round::new(address));
            }
        }
    }
}

/// `address` is answered for on `after` instead of `before`.
fn rebind(answering: &mut HashSet<(u32, IpAddr)>, address: IpAddr, before: &[u32], after: &[u32]) {
    for link in before {
        answering.remove(&(*link, address));
    }
    answering.extend(after.iter().map(|link| (*link, address)));
}

//! The announcer: answers for the active addresses of this node, and announces them.
//!
//! ```text
//!               announce           rounds at 0, 0.1, 1.1 ... 4.4 s           every `refresh`
//!   (inactive) -----------> Burst --------------------------------> Steady --------------------+
//!       ^                     ^                                       |  ^                     |
//!       |                     +------- a link appears, reannounce ----+  +--------- round -----+
//!       +------- withdraw ----+---------------------------------------+
//! ```
//!
//! Answers do not depend on these states: an address is answered for from `announce` to `withdraw`. A defence between
//! the rounds of a burst does not end the burst.

mod answer;
mod defence;
mod groups;
mod round;
mod schedule;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Bound;
use core::time::Duration;

use hashbrown::HashSet;
use herald_core::{Time, queue};

pub use answer::{Answer, Ignored};
pub use defence::Claim;
use defence::{Claims, Defence};
pub use groups::GroupChange;
use groups::GroupMemberships;
use round::Round;
use schedule::{Burst, BurstSchedule};

use crate::link::LinkTable;
use crate::pace::Pace;
use crate::received::{ReceivedFrame, Sighting};
use crate::{Link, LinkIndex};

/// A frame to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// Index of the link to send it on.
    pub link: LinkIndex,
    /// The address that the frame is about.
    pub address: IpAddr,
    /// Length of the frame in the buffer.
    pub length: usize,
    /// What the frame is for.
    pub purpose: Purpose,
}

/// What an unsolicited frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A probe or a check.
    Question,
    /// An announcement of an active address.
    Announcement,
}

/// The active addresses, the links that answer for them, and when they are announced next.
#[derive(Debug)]
pub struct Announcer {
    links: LinkTable,
    active: BTreeMap<IpAddr, ActiveAddress>,
    /// Which address is answered for on which link: all that a request needs, in one look-up however many there are.
    /// Never iterated, so its order decides nothing.
    answering: HashSet<(LinkIndex, IpAddr)>,
    schedule: BurstSchedule,
    pace: Pace,
    /// The pace of answers that go to all nodes, by link.
    answers_to_all: BTreeMap<LinkIndex, Pace>,
    round: Option<Round>,
    /// Addresses to be defended, and when.
    defences: BTreeSet<(Time, IpAddr)>,
    claims: Claims,
    /// Addresses whose first announcement was sent, which is not reported yet.
    announced: VecDeque<IpAddr>,
    groups: GroupMemberships,
}

#[derive(Debug)]
struct ActiveAddress {
    interfaces: Option<BTreeSet<String>>,
    /// Indices of the links that answer, ascending.
    links: Vec<LinkIndex>,
    burst: Burst,
    defence: Defence,
    /// Whether an announcement was sent.
    is_announced: bool,
}

impl Announcer {
    /// Creates an announcer without active addresses. After its burst an address is announced every `refresh`, give or
    /// take a tenth, drawn from `seed` so that the addresses spread out; `None` is never.
    pub fn new(refresh: Option<Duration>, seed: u64) -> Self {
        Self {
            links: LinkTable::new(),
            active: BTreeMap::new(),
            answering: HashSet::new(),
            schedule: BurstSchedule::new(refresh, seed),
            pace: Pace::unsolicited(),
            answers_to_all: BTreeMap::new(),
            round: None,
            defences: BTreeSet::new(),
            claims: Claims::default(),
            announced: VecDeque::new(),
            groups: GroupMemberships::new(),
        }
    }

    /// Replaces the links that can be used. Where an address gains a link, or a link gets another MAC address, the burst
    /// of the address starts again, because no machine on that link knows it yet.
    pub fn set_links(&mut self, links: Vec<Link>, now: Time) {
        let renewed = self.links.replace(links);
        self.answers_to_all
            .retain(|index, _| self.links.get(*index).is_some());
        let mut restart = Vec::new();
        for (address, active) in &mut self.active {
            let before = core::mem::take(&mut active.links);
            active.links = self.links.select(*address, active.interfaces.as_ref());
            self.groups.change(*address, &before, &active.links);
            rebind(&mut self.answering, *address, &before, &active.links);
            let gains = |index: &LinkIndex| renewed.contains(index) || !before.contains(index);
            if active.links.iter().any(gains) {
                restart.push(*address);
            }
        }
        for address in restart {
            self.restart(address, now);
        }
    }

    /// Starts to answer for `address` on `interfaces` (see [`crate::select`]), and announces it. The same announcement
    /// again changes nothing.
    pub fn announce(&mut self, address: IpAddr, interfaces: Option<BTreeSet<String>>, now: Time) {
        let before = match self.active.get(&address) {
            Some(active) if active.interfaces == interfaces => return,
            Some(active) => active.links.clone(),
            None => Vec::new(),
        };
        let links = self.links.select(address, interfaces.as_ref());
        self.groups.change(address, &before, &links);
        rebind(&mut self.answering, address, &before, &links);
        let gained = links.iter().any(|index| !before.contains(index));
        if let Some(active) = self.active.get_mut(&address) {
            active.interfaces = interfaces;
            active.links = links;
        } else {
            let burst = Burst::idle();
            let defence = Defence::default();
            let active = ActiveAddress {
                interfaces,
                links,
                burst,
                defence,
                is_announced: false,
            };
            self.active.insert(address, active);
        }
        if gained {
            self.restart(address, now);
        }
    }

    /// Starts the burst of each address again, from `at` on, whose claim by another machine was not polled yet.
    pub(crate) fn reannounce_claimed(&mut self, at: Time) {
        let claimed: Vec<IpAddr> = self.claims.addresses().collect();
        claimed.into_iter().for_each(|address| self.restart(address, at));
    }

    /// Starts the burst of an active address again.
    pub fn reannounce(&mut self, address: IpAddr, now: Time) {
        self.restart(address, now);
    }

    /// Stops answering for `address`. Sends nothing: the announcements of the next owner update the caches.
    pub fn withdraw(&mut self, address: IpAddr) {
        if let Some(active) = self.active.remove(&address) {
            self.claims.remove(address);
            self.groups.change(address, &active.links, &[]);
            rebind(&mut self.answering, address, &active.links, &[]);
            self.schedule.cancel(address, &active.burst);
            if let Some(due) = active.defence.due() {
                self.defences.remove(&(due, address));
            }
        }
    }

    /// Stops answering for all addresses.
    pub fn withdraw_all(&mut self) {
        let active: Vec<IpAddr> = self.active.keys().copied().collect();
        active.into_iter().for_each(|address| self.withdraw(address));
    }

    /// The links that answer for `address`, ascending; `None` when it is not announced.
    pub fn links_of(&self, address: IpAddr) -> Option<&[LinkIndex]> {
        self.active.get(&address).map(|active| active.links.as_slice())
    }

    /// The addresses that are answered for on a link. Frames that name no such address change nothing here.
    pub fn addresses_on(&self, link: LinkIndex) -> impl Iterator<Item = IpAddr> + Clone {
        let active = self.active.iter();
        let here = active.filter(move |(_, active)| active.links.contains(&link));
        here.map(|(address, _)| *address)
    }

    /// Returns the address and link that follow `last` in the order of all addresses and of the links that answer for them.
    pub(crate) fn next_answering(&self, last: Option<(IpAddr, LinkIndex)>) -> Option<(IpAddr, &Link)> {
        let from = last.map_or(Bound::Unbounded, |(address, _)| Bound::Included(address));
        self.active
            .range((from, Bound::Unbounded))
            .find_map(|(address, active)| {
                let asked = last.filter(|(last, _)| last == address).map(|(_, link)| link);
                let next = active.links.iter().find(|link| Some(**link) > asked)?;
                Some((*address, self.links.get(*next)?))
            })
    }

    /// Whether a link is used.
    pub(crate) fn has_link(&self, link: LinkIndex) -> bool {
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
        link: LinkIndex,
        received: &ReceivedFrame,
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
            let elsewhere = self.active.contains_key(&address);
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

    /// Writes the next announcement that is due to `frame`. Returns `None` when nothing is due or the pace allows no
    /// frame at `now`.
    ///
    /// # Panics
    /// If an announcement is due and `frame` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        if self.pace.ready() > now {
            return None;
        }
        loop {
            let Some(round) = &mut self.round else {
                self.round = Some(self.next_round(now)?);
                continue;
            };
            let links = self
                .active
                .get(&round.address)
                .map_or(&[][..], |active| &active.links);
            if let Some(transmission) = round.next(links, &self.links, frame) {
                self.pace.spend(now);
                self.note_announced(transmission.address);
                return Some(transmission);
            }
            self.round = None;
        }
    }

    /// When [`Announcer::poll_transmit`] has a frame next, possibly already.
    pub fn poll_timeout(&self) -> Option<Time> {
        let round = self.round.as_ref().map(|_| Time::ZERO);
        let defence = self.defences.first().map(|(due, _)| *due);
        let due = [round, defence, self.schedule.next()].into_iter().flatten().min();
        due.map(|due| due.max(self.pace.ready()))
    }

    /// Returns the next claim to an active address. Of several claims to one address, the last one is returned. Addresses
    /// take turns, so that claims to some of them do not hide those to others.
    pub fn poll_claim(&mut self) -> Option<Claim> {
        self.claims.poll()
    }

    /// Returns the next active address whose first announcement was sent.
    pub fn poll_announced(&mut self) -> Option<IpAddr> {
        let active = &self.active;
        // An address that was withdrawn since then may be active again, and not announced yet.
        let is_announced = |address: &IpAddr| active.get(address).is_some_and(|active| active.is_announced);
        core::iter::from_fn(|| queue::pop(&mut self.announced)).find(is_announced)
    }

    /// Whether [`Announcer::poll_announced`] may have an address.
    pub(crate) fn is_announced_unreported(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Returns the next solicited-node group to join or to leave.
    pub fn poll_group(&mut self) -> Option<GroupChange> {
        self.groups.poll()
    }

    fn note_announced(&mut self, address: IpAddr) {
        if let Some(active) = self.active.get_mut(&address)
            && !core::mem::replace(&mut active.is_announced, true)
        {
            self.announced.push_back(address);
        }
    }

    fn restart(&mut self, address: IpAddr, now: Time) {
        if let Some(active) = self.active.get_mut(&address) {
            self.schedule.cancel(address, &active.burst);
            active.burst = Burst::starting(now);
            self.schedule.add(address, &active.burst);
        }
    }

    fn next_round(&mut self, now: Time) -> Option<Round> {
        let Some(address) = self.schedule.pop(now) else {
            return self.next_defence(now);
        };
        if let Some(active) = self.active.get_mut(&address) {
            active.burst = self.schedule.following(active.burst, now);
            self.schedule.add(address, &active.burst);
        }
        Some(Round::new(address))
    }

    /// Defences come last: a machine that claims many addresses would otherwise prevent all announcements of others.
    fn next_defence(&mut self, now: Time) -> Option<Round> {
        let (_, address) = *self.defences.first().filter(|(due, _)| *due <= now)?;
        self.defences.pop_first();
        self.active.get_mut(&address)?.defence.end(now);
        Some(Round::new(address))
    }
}

/// Moves the answers for `address` from the links `before` to the links `after`.
fn rebind(
    answering: &mut HashSet<(LinkIndex, IpAddr)>,
    address: IpAddr,
    before: &[LinkIndex],
    after: &[LinkIndex],
) {
    for link in before {
        answering.remove(&(*link, address));
    }
    answering.extend(after.iter().map(|link| (*link, address)));
}

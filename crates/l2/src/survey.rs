//! The survey: which machines answer for which addresses.
//!
//! ```text
//!           begin            all were asked            an address without answer may be asked again
//!   (none) ───────► Asking ────────────────► Listening ─────────────────────────────────────────────► Asking
//!                    │  ▲                        │
//!                    └──┘ the next address       └─► the result: nothing is left to ask
//!                         after `GAP`
//! ```
//!
//! A survey decides nothing and changes nothing. It asks as any host does before it sends a packet: by an ARP request from an
//! address of this node (RFC 826), or by a neighbour solicitation from its link-local address (RFC 4861 section 7.2.2). All
//! that neighbours learn from it is true. It sends no probes (RFC 5227 section 2.1.1, RFC 4862 section 5.4): a machine that probes for
//! the same address would take this node for a contender, and a host that has just got an IPv6 address would give it up. Some proxies,
//! as that of Linux, do not answer probes, either.
//!
//! The agent hears nothing of a survey. The answers that it causes are no claims to addresses of this node, and the prober does not
//! get them. An address for which the agent begins something leaves the survey at once.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use herald_core::{Family, Prefix, Time};

use crate::link::LinkTable;
use crate::prober::question::request;
use crate::received::ReceivedFrame;
use crate::{Link, LinkIndex, MacAddr, Purpose, Transmission};

/// From one question to the next: 50 frames a second, which is less than what one host causes that looks for its neighbours.
const GAP: Duration = Duration::from_millis(20);

/// From the last question of a round to its end. A machine that is busy answers within some 100 ms, and Linux answers as a proxy after
/// up to 0.8 s.
const WAIT: Duration = Duration::from_secs(1);

/// The machines that are kept for one address: two are a fault already.
const MOST_MACHINES: usize = 8;

/// A question of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurveyQuestion {
    /// The address that is asked for.
    pub address: IpAddr,
    /// Where to ask.
    pub link: LinkIndex,
    /// The address of this node to ask from, of the same family.
    pub source: IpAddr,
    /// How often to ask at most, until a machine answers.
    pub rounds: u32,
}

/// The addresses that were asked for, and the machines that answered.
pub type SurveyAnswers = BTreeMap<IpAddr, BTreeSet<MacAddr>>;

/// A link that a survey can ask on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyLink {
    /// The link.
    pub index: LinkIndex,
    /// Whether IPv4 addresses can be asked for.
    pub arp: bool,
    /// Whether IPv6 addresses can be asked for.
    pub ndp: bool,
    /// The addresses of this node on the link that the kernel may choose as source addresses, with the lengths of their subnets.
    pub sources: Vec<Prefix>,
}

/// Returns where to ask for an address, and the address to ask from; `None` if no subnet of this node has the address. The longest
/// subnet counts, then the lowest index, as for announcements ([`crate::select`]).
pub fn vantage(address: IpAddr, links: &[SurveyLink]) -> Option<(LinkIndex, IpAddr)> {
    let of_link = |link: &SurveyLink| {
        let resolves = match address {
            IpAddr::V4(_) => link.arp,
            IpAddr::V6(_) => link.ndp,
        };
        let subnets = link.sources.iter().filter(|own| own.contains(address));
        let subnet = subnets.max_by_key(|own| own.length).filter(|_| resolves)?;
        let source = match address {
            IpAddr::V4(_) => subnet.address,
            IpAddr::V6(_) => link.sources.iter().map(|own| own.address).find(is_link_local)?,
        };
        let has_it = link.sources.iter().any(|own| own.address == address);
        (!has_it).then_some((subnet.length, core::cmp::Reverse(link.index), source))
    };
    let (_, index, source) = links.iter().filter_map(of_link).max()?;
    Some((index.0, source))
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The questions of one survey, and their answers.
#[derive(Debug)]
pub(crate) struct Survey {
    links: LinkTable,
    is_under_way: bool,
    questions: BTreeMap<IpAddr, SurveyEntry>,
    /// The addresses that are still to be asked for in this round.
    queue: VecDeque<IpAddr>,
    /// How many rounds are complete.
    rounds: u32,
    /// When the last question was sent, also that of an earlier survey.
    sent: Option<Time>,
}

#[derive(Debug)]
struct SurveyEntry {
    question: SurveyQuestion,
    /// When it was asked last.
    at: Option<Time>,
    machines: BTreeSet<MacAddr>,
}

impl Survey {
    pub(crate) const fn new() -> Self {
        Self {
            links: LinkTable::new(),
            is_under_way: false,
            questions: BTreeMap::new(),
            queue: VecDeque::new(),
            rounds: 0,
            sent: None,
        }
    }

    /// Begins a survey, which takes the place of another one. Questions whose source is of another family are left out.
    pub(crate) fn begin(&mut self, questions: Vec<SurveyQuestion>) {
        self.cancel();
        self.is_under_way = true;
        let fitting = |question: &SurveyQuestion| Family::of(question.source) == Family::of(question.address);
        for question in questions.into_iter().filter(fitting) {
            let asked = SurveyEntry {
                question,
                at: None,
                machines: BTreeSet::new(),
            };
            if self.questions.insert(question.address, asked).is_none() {
                self.queue.push_back(question.address);
            }
        }
    }

    /// Ends the survey without a result.
    pub(crate) fn cancel(&mut self) {
        self.is_under_way = false;
        self.questions.clear();
        self.queue.clear();
        self.rounds = 0;
    }

    /// Leaves an address out of the survey, as if it had not been asked for.
    pub(crate) fn forget(&mut self, address: IpAddr) {
        self.questions.remove(&address);
    }

    /// Replaces the links. What was asked on a link that is gone or has another MAC address is left out.
    pub(crate) fn set_links(&mut self, links: Vec<Link>) {
        let renewed = self.links.replace(links);
        let table = &self.links;
        self.questions.retain(|_, asked| {
            let link = asked.question.link;
            table.get(link).is_some() && !renewed.contains(&link)
        });
    }

    /// The addresses of the survey that are asked for on a link.
    pub(crate) fn addresses_on(&self, link: LinkIndex) -> impl Iterator<Item = IpAddr> + Clone {
        let here = self
            .questions
            .iter()
            .filter(move |(_, asked)| asked.question.link == link);
        here.map(|(address, _)| *address)
    }

    /// Takes the answer to a question. Returns whether the frame is one that the survey has caused, so that it means nothing to
    /// others.
    pub(crate) fn handle_received(&mut self, link: LinkIndex, received: &ReceivedFrame, now: Time) -> bool {
        if !self.is_under_way {
            return false;
        }
        let Some((address, mac)) = received.reply() else {
            return false;
        };
        let is_to_us = self
            .links
            .get(link)
            .is_some_and(|own| received.destination == own.mac);
        let Some(asked) = self.questions.get_mut(&address).filter(|_| is_to_us) else {
            return false;
        };
        let Some(at) = asked.at.filter(|_| asked.question.link == link) else {
            return false;
        };
        if !received.is_of_another(mac, &self.links) {
            return false;
        }
        if asked.machines.len() < MOST_MACHINES {
            asked.machines.insert(mac);
        }
        now - at < WAIT
    }

    /// Writes the next question that is due to `frame`.
    ///
    /// # Panics
    /// If a question is due and `frame` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub(crate) fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        if !self.is_under_way || self.due() > now {
            return None;
        }
        while let Some(address) = self.queue.pop_front() {
            let Some(asked) = self.questions.get_mut(&address) else {
                continue;
            };
            let Some(link) = self.links.get(asked.question.link) else {
                continue;
            };
            asked.at = Some(now);
            self.sent = Some(now);
            return Some(Transmission {
                link: link.index,
                address,
                length: request(address, asked.question.source, link.mac, frame),
                purpose: Purpose::Question,
            });
        }
        None
    }

    /// Returns the answers once there is nothing left to ask. All received frames must have been handled before.
    pub(crate) fn poll_result(&mut self, now: Time) -> Option<SurveyAnswers> {
        if !self.is_under_way || !self.queue.is_empty() || self.due() > now {
            return None;
        }
        self.rounds += 1;
        let again = self
            .questions
            .values()
            .filter(|asked| asked.machines.is_empty() && asked.question.rounds > self.rounds);
        self.queue = again.map(|asked| asked.question.address).collect();
        if !self.queue.is_empty() {
            return None;
        }
        let questions = core::mem::take(&mut self.questions);
        self.cancel();
        let asked = questions.into_iter().filter(|(_, asked)| asked.at.is_some());
        Some(asked.map(|(address, asked)| (address, asked.machines)).collect())
    }

    /// When [`Self::poll_transmit`] or [`Self::poll_result`] has something next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.is_under_way.then(|| self.due())
    }

    fn due(&self) -> Time {
        let pause = if self.queue.is_empty() { WAIT } else { GAP };
        self.sent.map_or(Time::ZERO, |sent| sent + pause)
    }
}

#[cfg(test)]
mod tests;

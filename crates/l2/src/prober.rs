//! Finds out whether an address is taken (RFC 5227 §2.1.1 for IPv4, RFC 4862 §5.4 for IPv6).
//!
//! ```text
//!            probe              a frame may leave             all were sent               nothing was heard
//!   (none) ─────────► Waiting ───────────────────► Asking ───────────────────► Listening ───────────────────► Silence
//!                        ▲                          │  ▲                                   or Contended
//!                        │                          └──┘ again after `interval`
//!                        │
//!   in every stage ──────┴ a link is gained, probed again; somebody has the address: Answered; no link is left: NoLink
//! ```
//!
//! All links that would answer for the address ([`crate::select`]) are asked, each time.
//!
//! A check is less: one question, of a station that has an address to be answered at and not of one that wants to take what
//! it asks for, so that it disturbs nobody who probes. It can be put to one machine alone (RFC 1122 §2.3.2.1, RFC 4861 §7.3.3).
//!
//! Answers come without further ado: an ARP reply goes to the station that asked, and an advertisement that answers an
//! IPv6 probe goes to all nodes (RFC 4861 §7.2.4), so that no group has to be joined for it. Others' IPv6 probes, in
//! contrast, go to the solicited-node group of the address: only who has joined it can rely on hearing contenders.

mod question;
mod schedule;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use herald_core::Time;
use herald_core::announce::layer2::ProbeResult;
use question::{check, question};
use schedule::{ProbeSchedule, ProbeStage};

use crate::link::LinkTable;
use crate::pace::Pace;
use crate::received::{Received, Sighting};
use crate::{Link, MacAddr, Purpose, Transmission};

/// How often it is asked, and how long an answer may take.
///
/// By default three times, 30 ms apart, and another 30 ms: RFC 5227 takes four to seven seconds, for whatever network
/// there may be, but on the LANs of a cluster an answer takes less than a millisecond, or some more where the processor is
/// busy. Three in a row are lost once in some ten thousand times on a network that loses 2 % of all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTiming {
    /// How many questions are sent on each link.
    pub questions: NonZeroU32,
    /// From one question to the next.
    pub interval: Duration,
    /// From the last question to the verdict.
    pub wait: Duration,
}

impl Default for ProbeTiming {
    fn default() -> Self {
        const LAN: Duration = Duration::from_millis(30);
        const THREE: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
        Self {
            questions: THREE,
            interval: LAN,
            wait: LAN,
        }
    }
}

/// How long an answer to a check may take. Nothing hurries, and a busy machine is no silent one.
const CHECK_WAIT: Duration = Duration::from_millis(100);

/// Probes for addresses, as many at a time as the pace of frames allows.
#[derive(Debug)]
pub struct Prober {
    timing: ProbeTiming,
    links: LinkTable,
    probes: BTreeMap<IpAddr, Probe>,
    schedule: ProbeSchedule,
    pace: Pace,
    /// Not yet told of. Never of an address that is being probed.
    found: BTreeMap<IpAddr, ProbeResult>,
    /// Addresses that were checked and may be again, and the links on which.
    watched: BTreeMap<IpAddr, Vec<u32>>,
    /// When another machine was last heard, by link.
    heard: BTreeMap<u32, Time>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Probe,
    /// That machine alone, if it is known.
    Check(Option<MacAddr>),
}

#[derive(Debug)]
struct Probe {
    kind: Kind,
    interfaces: Option<BTreeSet<String>>,
    /// Indices of the links that are asked, ascending.
    links: Vec<u32>,
    /// How many times all links were asked.
    rounds: u32,
    /// The highest link asked in the round under way.
    asked: Option<u32>,
    /// When the next round or the verdict is due.
    due: Time,
    contender: Option<MacAddr>,
}

impl Prober {
    /// Probes for nothing yet.
    pub const fn new(timing: ProbeTiming) -> Self {
        Self {
            timing,
            links: LinkTable::new(),
            probes: BTreeMap::new(),
            schedule: ProbeSchedule::new(),
            pace: Pace::unasked(),
            found: BTreeMap::new(),
            watched: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Replaces the links that can be used. A probe goes on without a link that has gone, and starts anew where it gains
    /// one, or one has got another Ethernet address: who would answer there was not asked.
    pub fn set_links(&mut self, links: Vec<Link>, now: Time) {
        let renewed = self.links.replace(links);
        self.heard.retain(|index, _| self.links.get(*index).is_some());
        let mut restart = Vec::new();
        for (address, probe) in &mut self.probes {
            let links = self.links.select(*address, probe.interfaces.as_ref());
            let gains = |index: &u32| renewed.contains(index) || !probe.links.contains(index);
            if links.is_empty() || links.iter().any(gains) {
                restart.push(*address);
            }
            probe.links = links;
        }
        for address in restart {
            if let Some(probe) = self.end(address) {
                self.begin(address, probe.kind, probe.interfaces, now);
            }
        }
    }

    /// Finds out who has `address`, on `interfaces` (see [`crate::select`]). Starts anew if that is being found out
    /// already, and what was found before is forgotten.
    pub fn probe(&mut self, address: IpAddr, interfaces: Option<BTreeSet<String>>, now: Time) {
        self.watched.remove(&address);
        self.begin(address, Kind::Probe, interfaces, now);
    }

    /// Asks once whether anybody has `address`, or whether the machine `to` has. Found is [`ProbeResult::Answered`],
    /// [`ProbeResult::Unanswered`] or [`ProbeResult::NoLink`]. Does nothing while the address is probed for.
    pub fn check(
        &mut self,
        address: IpAddr,
        interfaces: Option<BTreeSet<String>>,
        to: Option<MacAddr>,
        now: Time,
    ) {
        let is_probed = self
            .probes
            .get(&address)
            .is_some_and(|probe| probe.kind == Kind::Probe);
        if !is_probed {
            self.begin(address, Kind::Check(to), interfaces, now);
            let links = self.probes.get(&address).map(|probe| probe.links.clone());
            self.watched.insert(address, links.unwrap_or_default());
        }
    }

    fn begin(&mut self, address: IpAddr, kind: Kind, interfaces: Option<BTreeSet<String>>, now: Time) {
        self.drop_question(address);
        let links = self.links.select(address, interfaces.as_ref());
        if links.is_empty() {
            self.found.insert(address, ProbeResult::NoLink);
            return;
        }
        let probe = Probe {
            kind,
            interfaces,
            links,
            rounds: 0,
            asked: None,
            due: now,
            contender: None,
        };
        self.schedule.add(address, probe.stage(&self.timing), probe.due);
        self.probes.insert(address, probe);
    }

    /// Nothing is sent for `address` any more, nothing is found, and it is not expected to be checked again.
    pub fn cancel(&mut self, address: IpAddr) {
        self.drop_question(address);
        self.watched.remove(&address);
    }

    fn drop_question(&mut self, address: IpAddr) {
        self.end(address);
        self.found.remove(&address);
    }

    /// Whether `address` was checked and may be again.
    pub fn is_monitored(&self, address: IpAddr) -> bool {
        self.watched.contains_key(&address)
    }

    /// The addresses that are asked for on a link, or may be soon: only frames that name one of them matter to
    /// [`Prober::handle_received`]. Those that are checked every now and then are among them between two checks, too, so
    /// that the set does not change with each, and so that others who ask for them are heard.
    pub fn addresses_on(&self, link: u32) -> impl Iterator<Item = IpAddr> + Clone {
        let probed = self.probes.iter().map(|(address, probe)| (address, &probe.links));
        let asked = probed.chain(&self.watched);
        let here = asked.filter(move |(_, links)| links.contains(&link));
        here.map(|(address, _)| *address)
    }

    /// Notes that a frame arrived on a link: a link on which frames of other machines arrive is not deaf.
    pub fn handle_arrival(&mut self, link: u32, frame: &[u8], now: Time) {
        let source = frame
            .get(6..12)
            .and_then(|source| <[u8; 6]>::try_from(source).ok());
        if source.is_some_and(|source| !self.links.is_own(MacAddr(source))) {
            self.heard.insert(link, now);
        }
    }

    /// Ends a probe, or notes a contender, if the frame that was received on a link shows another machine at a probed
    /// address. Every frame since [`Prober::probe`] counts, not only an answer to a question.
    pub fn handle_received(&mut self, link: u32, received: &Received) {
        // Most of the time nothing is probed, and then a frame costs next to nothing.
        if self.probes.is_empty() {
            return;
        }
        let Some(sighting) = received.sighting() else {
            return;
        };
        let (Sighting::Claims(address, mac) | Sighting::Probes(address, mac)) = sighting;
        let Some(probe) = self.probes.get_mut(&address) else {
            return;
        };
        if !probe.links.contains(&link) || !received.is_of_another(mac, &self.links) {
            return;
        }
        match sighting {
            Sighting::Claims(..) => {
                self.end(address);
                self.found.insert(address, ProbeResult::Answered(mac));
            }
            Sighting::Probes(..) => {
                probe.contender.get_or_insert(mac);
            }
        }
    }

    /// Writes the next question that is due to `frame`, which must have room for [`crate::wire::MAX_FRAME_LENGTH`]
    /// bytes. Call it until it returns `None`.
    pub fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        if self.pace.ready() > now {
            return None;
        }
        loop {
            let address = self.schedule.question(now)?;
            let Some(probe) = self.probes.get_mut(&address) else {
                unreachable!("what is scheduled is being probed");
            };
            self.schedule
                .remove(address, probe.stage(&self.timing), probe.due);
            let link = probe.ask(&self.timing, now);
            self.schedule.add(address, probe.stage(&self.timing), probe.due);
            // None when the rest of a round's links has gone.
            if let Some(link) = link.and_then(|index| self.links.get(index)) {
                self.pace.spend(now);
                let length = match probe.kind {
                    Kind::Probe => question(address, link.mac, frame),
                    Kind::Check(to) => check(address, link, to, frame),
                };
                return Some(Transmission {
                    link: link.index,
                    address,
                    length,
                    purpose: Purpose::Question,
                });
            }
        }
    }

    /// What has been found out next. Received frames must have been handled before: one that waits may be the answer.
    pub fn poll_result(&mut self, now: Time) -> Option<(IpAddr, ProbeResult)> {
        if let Some(found) = self.found.pop_first() {
            return Some(found);
        }
        let address = self.schedule.verdict(now)?;
        let Some(probe) = self.end(address) else {
            unreachable!("what is scheduled is being probed");
        };
        let finding = match (probe.kind, probe.contender) {
            (Kind::Probe, Some(contender)) => ProbeResult::Contended(contender),
            (Kind::Probe, None) => ProbeResult::Silence,
            (Kind::Check(_), _) => ProbeResult::Unanswered {
                heard: probe
                    .links
                    .iter()
                    .filter_map(|link| self.heard.get(link))
                    .max()
                    .map(|at| now - *at),
            },
        };
        Some((address, finding))
    }

    /// When [`Prober::poll_transmit`] or [`Prober::poll_result`] has something next, possibly already.
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.found.is_empty() {
            return Some(Time::ZERO);
        }
        self.schedule.next(self.pace.ready())
    }

    fn end(&mut self, address: IpAddr) -> Option<Probe> {
        let probe = self.probes.remove(&address)?;
        self.schedule
            .remove(address, probe.stage(&self.timing), probe.due);
        Some(probe)
    }
}

impl Probe {
    const fn stage(&self, timing: &ProbeTiming) -> ProbeStage {
        match self.rounds {
            0 => ProbeStage::Waiting,
            rounds if matches!(self.kind, Kind::Probe) && rounds < timing.questions.get() => {
                ProbeStage::Asking
            }
            _ => ProbeStage::Listening,
        }
    }

    /// Takes the next link to be asked, at `now`. Time counts from the last question of a round, when it really leaves.
    fn ask(&mut self, timing: &ProbeTiming, now: Time) -> Option<u32> {
        let mut remaining = self.links.iter().filter(|link| Some(**link) > self.asked);
        let next = remaining.next().copied();
        if remaining.next().is_some() {
            self.asked = next;
            return next;
        }
        self.asked = None;
        self.rounds += 1;
        self.due = match (self.stage(timing), self.kind) {
            (ProbeStage::Waiting | ProbeStage::Asking, _) => now + timing.interval,
            (ProbeStage::Listening, Kind::Probe) => now + timing.wait,
            (ProbeStage::Listening, Kind::Check(_)) => now + CHECK_WAIT,
        };
        next
    }
}

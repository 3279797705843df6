//! The prober: finds out whether an address is taken (RFC 5227 section 2.1.1 for IPv4, RFC 4862 section 5.4 for IPv6).
//!
//! ```text
//!            probe             the pace allows it             all were sent               no answer arrived
//!   (none) ─────────► Waiting ───────────────────► Asking ───────────────────► Listening ───────────────────► Silence
//!                        ▲                          │  ▲                                   or Contended
//!                        │                          └──┘ again after `interval`
//!                        │
//!   in every stage ──────┴ a link is gained: again from the start; a machine has the address: Answered; no link is left: NoLink
//! ```
//!
//! Each round asks on all links that would answer for the address ([`crate::select`]).
//!
//! A check is a single question. It has the address of this node as its source, so that other machines that probe do not
//! take it for a contender. It can be sent to one machine alone (RFC 1122 section 2.3.2.1, RFC 4861 section 7.3.3).
//!
//! Answers arrive without joining a group: an ARP reply goes to the station that asked, and an advertisement that
//! answers an IPv6 probe goes to all nodes (RFC 4861 section 7.2.4). IPv6 probes of other machines, in contrast, go to
//! the solicited-node group of the address: only a member of it receives the probes of contenders for sure.

mod late_answer;
pub(crate) mod question;
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
use crate::received::{ReceivedFrame, Sighting};
use crate::{Link, LinkIndex, MacAddr, Purpose, Transmission};

/// How many questions a probe asks, and how long an answer may take.
///
/// The default is three questions, 30 ms apart, and another 30 ms. RFC 5227 takes four to seven seconds to suit any
/// network, but on the LAN of a cluster an answer takes less than a millisecond, or some more where the processor is
/// busy. Three in a row are lost once in some ten thousand times on a network that loses 2 % of all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTiming {
    /// How many questions are sent on each link.
    pub questions: NonZeroU32,
    /// Time between two questions.
    pub interval: Duration,
    /// Time from the last question to the result.
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

/// How long an answer to a check may take. A check is not urgent, and a busy machine is not an unresponsive one.
const CHECK_WAIT: Duration = Duration::from_millis(100);

/// The probes and checks under way, as many at a time as the pace of frames allows.
#[derive(Debug)]
pub struct Prober {
    timing: ProbeTiming,
    links: LinkTable,
    probes: BTreeMap<IpAddr, Probe>,
    schedule: ProbeSchedule,
    pace: Pace,
    /// Results that were not polled yet. Never of an address that is being probed.
    results: BTreeMap<IpAddr, ProbeResult>,
    /// Addresses that were checked and may be checked again, with their links.
    monitored: BTreeMap<IpAddr, Vec<LinkIndex>>,
    /// Addresses whose last check was not answered in time.
    unanswered: BTreeSet<IpAddr>,
    /// When the last frame of another machine arrived, by link.
    arrivals: BTreeMap<LinkIndex, Time>,
}

/// What a question is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Probe,
    /// Asks the machine with this MAC address alone, or all.
    Check(Option<MacAddr>),
}

#[derive(Debug)]
struct Probe {
    kind: Kind,
    interfaces: Option<BTreeSet<String>>,
    /// Indices of the links that are asked, ascending.
    links: Vec<LinkIndex>,
    /// How many rounds are complete.
    rounds: u32,
    /// The highest link asked in the current round.
    asked: Option<LinkIndex>,
    /// When the next round or the result is due.
    due: Time,
    contender: Option<MacAddr>,
}

impl Prober {
    /// Creates a prober without probes.
    pub const fn new(timing: ProbeTiming) -> Self {
        Self {
            timing,
            links: LinkTable::new(),
            probes: BTreeMap::new(),
            schedule: ProbeSchedule::new(),
            pace: Pace::unsolicited(),
            results: BTreeMap::new(),
            monitored: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            arrivals: BTreeMap::new(),
        }
    }

    /// Replaces the links that can be used. A probe goes on without a link that is gone. It starts again when it gains a
    /// link or a link gets another MAC address, because the machines there were not asked.
    pub fn set_links(&mut self, links: Vec<Link>, now: Time) {
        let renewed = self.links.replace(links);
        self.arrivals.retain(|index, _| self.links.get(*index).is_some());
        let mut restart = Vec::new();
        for (address, probe) in &mut self.probes {
            let links = self.links.select(*address, probe.interfaces.as_ref());
            let gains = |index: &LinkIndex| renewed.contains(index) || !probe.links.contains(index);
            if links.is_empty() || links.iter().any(gains) {
                restart.push(*address);
            }
            probe.links = links;
        }
        self.restart(restart, now);
    }

    /// Starts all probes again, because their answers may have been lost.
    pub(crate) fn restart_probes(&mut self, now: Time) {
        let probes = self.probes.iter();
        let probed = probes.filter(|(_, probe)| probe.kind == Kind::Probe);
        let probed = probed.map(|(address, _)| *address).collect();
        self.restart(probed, now);
    }

    fn restart(&mut self, addresses: Vec<IpAddr>, now: Time) {
        for address in addresses {
            if let Some(probe) = self.end(address) {
                self.begin(address, probe.kind, probe.interfaces, now);
            }
        }
    }

    /// Starts a probe for `address` on `interfaces` (see [`crate::select`]). A probe under way starts again, and a
    /// result that was not polled is dropped.
    pub fn probe(&mut self, address: IpAddr, interfaces: Option<BTreeSet<String>>, now: Time) {
        self.monitored.remove(&address);
        self.begin(address, Kind::Probe, interfaces, now);
    }

    /// Asks once whether any machine, or the machine `target`, has `address`. The result is [`ProbeResult::Answered`],
    /// [`ProbeResult::Unanswered`] or [`ProbeResult::NoLink`]; an answer that comes later is another result. Does nothing while the
    /// address is probed for.
    pub fn check(
        &mut self,
        address: IpAddr,
        interfaces: Option<BTreeSet<String>>,
        target: Option<MacAddr>,
        now: Time,
    ) {
        let is_probed = self
            .probes
            .get(&address)
            .is_some_and(|probe| probe.kind == Kind::Probe);
        if !is_probed {
            self.begin(address, Kind::Check(target), interfaces, now);
            let links = self.probes.get(&address).map(|probe| probe.links.clone());
            self.monitored.insert(address, links.unwrap_or_default());
        }
    }

    fn begin(&mut self, address: IpAddr, kind: Kind, interfaces: Option<BTreeSet<String>>, now: Time) {
        self.drop_question(address);
        let links = self.links.select(address, interfaces.as_ref());
        if links.is_empty() {
            self.results.insert(address, ProbeResult::NoLink);
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

    /// Cancels the probe and the checks of `address`, drops their result, and ends the monitoring of the address.
    pub fn cancel(&mut self, address: IpAddr) {
        self.drop_question(address);
        self.monitored.remove(&address);
    }

    fn drop_question(&mut self, address: IpAddr) {
        self.end(address);
        self.results.remove(&address);
        self.unanswered.remove(&address);
    }

    /// Whether `address` was checked and may be checked again.
    pub fn is_monitored(&self, address: IpAddr) -> bool {
        self.monitored.contains_key(&address)
    }

    /// Whether `address` is being probed or checked, or may be checked again.
    pub(crate) fn concerns(&self, address: IpAddr) -> bool {
        self.probes.contains_key(&address) || self.is_monitored(address)
    }

    /// The addresses that are probed, checked or monitored on a link. Frames that name no such address change nothing
    /// here. Monitored addresses are among them between two checks, too, so that the set does not change with each
    /// check, and so that probes of other machines for them are received.
    pub fn addresses_on(&self, link: LinkIndex) -> impl Iterator<Item = IpAddr> + Clone {
        let probed = self.probes.iter().map(|(address, probe)| (address, &probe.links));
        let asked = probed.chain(&self.monitored);
        let here = asked.filter(move |(_, links)| links.contains(&link));
        here.map(|(address, _)| *address)
    }

    /// Notes that a frame arrived on a link: a link on which frames of other machines arrive is not deaf.
    pub fn handle_arrival(&mut self, link: LinkIndex, frame: &[u8], now: Time) {
        let source = frame
            .get(6..12)
            .and_then(|source| <[u8; 6]>::try_from(source).ok());
        if source.is_some_and(|source| !self.links.is_own(MacAddr(source))) {
            self.arrivals.insert(link, now);
        }
    }

    /// Ends a probe, or notes a contender, if the frame that was received on a link shows another machine at a probed
    /// address. Every frame since [`Prober::probe`] counts, not only an answer to a question.
    pub fn handle_received(&mut self, link: LinkIndex, received: &ReceivedFrame) {
        // Most of the time nothing is probed, and then a frame costs next to nothing.
        if self.probes.is_empty() && self.unanswered.is_empty() {
            return;
        }
        let Some(sighting) = received.sighting() else {
            return;
        };
        let (Sighting::Claims(address, mac) | Sighting::Probes(address, mac)) = sighting;
        let Some(probe) = self.probes.get_mut(&address) else {
            if matches!(sighting, Sighting::Claims(..)) {
                self.handle_late_answer(link, received, address, mac);
            }
            return;
        };
        if !probe.links.contains(&link) || !received.is_of_another(mac, &self.links) {
            return;
        }
        match sighting {
            Sighting::Claims(..) => {
                self.end(address);
                self.results.insert(address, ProbeResult::Answered(mac));
            }
            Sighting::Probes(..) => {
                probe.contender.get_or_insert(mac);
            }
        }
    }

    /// Writes the next question that is due to `frame`. Returns `None` when nothing is due or the pace allows no frame
    /// at `now`.
    ///
    /// # Panics
    /// If a question is due and `frame` is shorter than [`crate::wire::MAX_FRAME_LENGTH`].
    pub fn poll_transmit(&mut self, frame: &mut [u8], now: Time) -> Option<Transmission> {
        if self.pace.ready() > now {
            return None;
        }
        loop {
            let address = self.schedule.question(now)?;
            let Some(probe) = self.probes.get_mut(&address) else {
                unreachable!("a scheduled address is being probed");
            };
            self.schedule
                .remove(address, probe.stage(&self.timing), probe.due);
            let link = probe.ask(&self.timing, now);
            self.schedule.add(address, probe.stage(&self.timing), probe.due);
            // None when the remaining links of a round are gone.
            if let Some(link) = link.and_then(|index| self.links.get(index)) {
                self.pace.spend(now);
                let length = match probe.kind {
                    Kind::Probe => question(address, link.mac, frame),
                    Kind::Check(target) => check(address, link, target, frame),
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

    /// Returns the next result. All received frames must have been handled before: one that waits may be the answer.
    pub fn poll_result(&mut self, now: Time) -> Option<(IpAddr, ProbeResult)> {
        if let Some(result) = self.results.pop_first() {
            return Some(result);
        }
        let address = self.schedule.result(now)?;
        let Some(probe) = self.end(address) else {
            unreachable!("a scheduled address is being probed");
        };
        if matches!(probe.kind, Kind::Check(_)) {
            self.unanswered.insert(address);
        }
        let result = match (probe.kind, probe.contender) {
            (Kind::Probe, Some(contender)) => ProbeResult::Contended(contender),
            (Kind::Probe, None) => ProbeResult::Silence,
            (Kind::Check(_), _) => ProbeResult::Unanswered {
                last_frame: probe
                    .links
                    .iter()
                    .filter_map(|link| self.arrivals.get(link))
                    .max()
                    .map(|at| now - *at),
            },
        };
        Some((address, result))
    }

    /// When [`Prober::poll_transmit`] or [`Prober::poll_result`] has something next, possibly already.
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.results.is_empty() {
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

    /// Returns the next link to be asked, at `now`. Time counts from when the last question of a round is really sent.
    fn ask(&mut self, timing: &ProbeTiming, now: Time) -> Option<LinkIndex> {
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

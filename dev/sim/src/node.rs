//! One speaker: the machines, joined as the real shells join them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use herald_core::announce::layer2::ownership::Ownership;
use herald_core::announce::layer2::takeover::{Effect, Holdings};
use herald_core::announce::layer2::{Command, WireEvent};
use herald_core::member::reporter;
use herald_core::{Member, NodeName, NodeState, ServiceKey, Time};
use herald_l2::Station;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_membership::identity::Epoch;
use herald_membership::{LocalLink, Membership, Timings};

use crate::catalog::{self, LINK, name};
use crate::seeds::trace;

/// As the speaker's.
const REFRESH: Duration = Duration::from_secs(60);

/// How long a speaker that goes waits for its successors, as the driver does.
const HANDOVER: Duration = Duration::from_millis(1500);

/// One life of a speaker's process.
pub(crate) struct Node {
    me: NodeName,
    membership: Membership,
    members: Arc<[Member]>,
    pub(crate) ownership: Ownership,
    holdings: Holdings,
    station: Station,
    /// Whether its lists are complete. Until they are, and it has joined, it decides nothing.
    pub(crate) has_lists: bool,
    is_ready: bool,
    is_silent: bool,
    silent: Vec<u32>,
    /// Until when it answers on, once it was told to stop.
    leaving: Option<Time>,
}

/// What a node does to the world.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// What is answered for from now on, and what no longer.
    pub(crate) answers: Vec<(IpAddr, bool)>,
}

impl Node {
    pub(crate) fn start(
        index: usize,
        count: usize,
        ownership: Ownership,
        epoch: Epoch,
        seed: u64,
        now: Time,
    ) -> Self {
        let endpoint = catalog::endpoint(index);
        let mut membership = Membership::new(name(index), endpoint, epoch, Timings::FAST, seed);
        let link = catalog::link(index);
        let local = LocalLink {
            name: &link.name,
            mac: link.mac,
            prefixes: &link.prefixes,
        };
        membership.set_links(&[local], now);
        membership.set_expected_peers(catalog::peers(count), now);
        let mut holdings = Holdings::new(true, seed);
        let peers = catalog::peers(count).into_iter();
        holdings.set_nodes(peers.map(|(node, endpoint)| (node, endpoint.ip())).collect(), now);
        let mut station = Station::new(Some(REFRESH), seed);
        station.set_links(vec![link], now);
        Self {
            me: name(index),
            membership,
            members: Arc::default(),
            ownership,
            holdings,
            station,
            has_lists: false,
            is_ready: false,
            is_silent: false,
            silent: Vec::new(),
            leaving: None,
        }
    }

    pub(crate) fn handle_frame(&mut self, frame: &[u8], now: Time, output: &mut Output) {
        let mut answer = [0; MAX_FRAME_LENGTH];
        if let Ok(answered) = self.station.handle_frame(LINK, frame, &mut answer, now) {
            output.frames.push(answer[..answered.length].to_vec());
        }
    }

    pub(crate) fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr, now: Time) {
        // What is refused changes nothing, as what the network lost.
        let _refused = self.membership.handle_datagram(datagram, from, now);
    }

    /// The process did not run for long enough that others may have taken over.
    pub(crate) fn handle_pause(&mut self) {
        self.station.handle_pause();
    }

    /// Whether it answers for an address.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        self.station.links_of(address).is_some()
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(crate) fn leave(&mut self, now: Time) {
        self.membership.set_state(NodeState::Draining, now);
        self.leaving = Some(now + HANDOVER);
    }

    /// Does what is due. False when it has left.
    pub(crate) fn run(&mut self, now: Time, output: &mut Output) -> bool {
        if self
            .leaving
            .is_some_and(|until| until <= now || self.holdings.is_empty())
        {
            self.leaving = Some(Time::ZERO);
            self.membership.leave(now);
            self.station.handle_command(Command::WithdrawAll, now);
            self.transmit_datagrams(output);
            return false;
        }
        if self.membership.poll_timeout().is_some_and(|due| due <= now) {
            self.membership.handle_timeout(now);
        }
        while self.membership.poll_event().is_some() {}
        self.become_ready(now);
        self.follow_members(now);
        self.holdings.handle_timeout(now);
        self.hear(now);
        self.drain(now, output);
        self.transmit(now, output);
        // What was found or claimed just now.
        self.hear(now);
        self.drain(now, output);
        self.transmit(now, output);
        self.transmit_datagrams(output);
        true
    }

    pub(crate) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let due = [
            self.membership.poll_timeout(),
            self.holdings.poll_timeout(),
            self.station.poll_timeout(),
            self.leaving,
        ];
        due.into_iter().flatten().min().map(|due| due.max(now))
    }

    fn become_ready(&mut self, now: Time) {
        if !self.is_ready && self.has_lists && self.membership.joined() {
            self.is_ready = true;
            self.membership.set_state(NodeState::Ready, now);
        }
    }

    fn follow_members(&mut self, now: Time) {
        if Arc::ptr_eq(&self.members, self.membership.members()) {
            return;
        }
        self.members = self.membership.members().clone();
        trace(|| format!("{:?}: {} sees {}", now.elapsed(), self.me, told(&self.members)));
        self.ownership.set_members(self.members.to_vec());
        self.drain_verdicts(now);
        self.holdings.set_members(&self.members, &self.me, now);
        let is_silent = reporter(&self.members, &self.me).is_some();
        if is_silent && !std::mem::replace(&mut self.is_silent, is_silent) {
            self.membership.handle_reported_unresponsive(now);
        }
        self.is_silent = is_silent;
    }

    fn drain_verdicts(&mut self, now: Time) {
        while self.is_ready
            && let Some(change) = self.ownership.poll_change()
        {
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            self.holdings.set_verdict(&change.service, before, after, now);
        }
    }

    /// What the wire told.
    fn hear(&mut self, now: Time) {
        while let Some(event) = self.station.poll_event(now) {
            match event {
                WireEvent::Probed(address, result) => self.holdings.handle_probed(address, result, now),
                WireEvent::Claimed(address, mac) => {
                    let ownership = &self.ownership;
                    let outranks = |node: &NodeName, service: &ServiceKey| ownership.outranks(node, service);
                    self.holdings.handle_claim(address, mac, outranks, now);
                }
                WireEvent::Paused => {
                    self.holdings.reverify(now);
                }
            }
        }
    }

    fn drain(&mut self, now: Time, output: &mut Output) {
        self.drain_verdicts(now);
        while self.is_ready
            && let Some(effect) = self.holdings.poll_effect()
        {
            self.carry_out(effect, now, output);
        }
        let silent: Vec<u32> = self.holdings.silent().into_iter().map(NodeName::tag).collect();
        if silent.iter().ne(&self.silent) {
            self.silent.clone_from(&silent);
            self.membership.set_unresponsive(silent, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Time, output: &mut Output) {
        let command = match effect {
            Effect::Probe(announcement) => Command::Probe(announcement),
            Effect::Check(announcement, target) => Command::Check { announcement, target },
            Effect::StopProbe(address) => Command::CancelProbe(address),
            Effect::Announce(announcement) => {
                output.answers.push((announcement.address, true));
                Command::Announce(announcement)
            }
            Effect::Withdraw(address) => {
                output.answers.push((address, false));
                Command::Withdraw(address)
            }
            Effect::Defend(address) => Command::Defend(address),
            Effect::Reannounce(address) => Command::Reannounce(address),
            Effect::Gained(..) | Effect::Lost(..) | Effect::TookOver(..) | Effect::Report(..) => return,
        };
        self.station.handle_command(command, now);
    }

    fn transmit(&mut self, now: Time, output: &mut Output) {
        let mut frame = [0; MAX_FRAME_LENGTH];
        while let Some(sent) = self.station.poll_transmit(&mut frame, now) {
            output.frames.push(frame[..sent.length].to_vec());
        }
        while self.station.poll_group().is_some() {}
    }

    fn transmit_datagrams(&mut self, output: &mut Output) {
        while let Some(datagram) = self.membership.poll_transmit() {
            output.datagrams.push(datagram);
        }
    }
}

fn told(members: &[Member]) -> String {
    let returns = |member: &Member| member.profile.as_ref().map(|profile| profile.flaps);
    let told = members
        .iter()
        .map(|m| format!("{} {} {} {:?}", m.node, m.liveness, m.state, returns(m)));
    told.collect::<Vec<_>>().join(", ")
}

//! One speaker: agent, station and membership, with frames and datagrams in place of sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use herald_core::announce::agent::{Agent, AgentReport, Options};
use herald_core::announce::layer2::ownership::Interfaces;
use herald_core::announce::layer2::{Announcement, Command};
use herald_core::{Features, Liveness, Member, NodeName, NodeState, Time};
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::{Link, Station};
use herald_membership::identity::Epoch;
use herald_membership::{LocalLink, Membership, MembershipEvent, Timings};

use crate::catalog::{self, LINK, name};
use crate::pause::{Part, Pause};
use crate::seeds::trace;

/// The default of the speaker's `--refresh-interval`.
const REFRESH: Duration = Duration::from_secs(60);

/// What a node is made to believe of another one, as if a member had lied.
#[derive(Debug, Clone, Copy)]
pub struct Lie {
    /// Whether the other node lives.
    pub liveness: Liveness,
    /// What it reports of itself.
    pub state: NodeState,
}

/// One process of a speaker.
pub(crate) struct Node {
    membership: Membership,
    /// The members by membership.
    members: Arc<[Member]>,
    /// What the agent believes of other members instead, and whether that has changed.
    lies: BTreeMap<NodeName, Lie>,
    has_new_lies: bool,
    pub(crate) agent: Agent,
    station: Station,
    /// What the agent has sent to threads that do not run.
    commands: VecDeque<Command>,
    reports: VecDeque<AgentReport>,
    /// Whether the lists of the API server are complete. The agent does not start before.
    pub(crate) has_lists: bool,
    is_stopping: bool,
}

/// What a node sends, and what has changed in what it answers for.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// Addresses that the node answers for from now on (true), or no longer (false).
    pub(crate) answers: Vec<(IpAddr, bool)>,
}

impl Node {
    /// Starts the speaker of node `index` of `count`. Its agent has only the speakers' nodes.
    pub(crate) fn start(index: usize, count: usize, epoch: Epoch, seed: u64, now: Time) -> Self {
        let membership = Membership::new(name(index), catalog::endpoint(index), epoch, Timings::FAST, seed);
        let mut agent = Agent::new(Options {
            node: name(index),
            has_gossip: true,
            ignore_exclude_label: false,
            takeover_verification: true,
            has_bgp: true,
            default_med: None,
            seed,
        });
        agent.set_speaker_nodes(catalog::speaker_nodes(count), now);
        let mut node = Self {
            membership,
            members: Arc::default(),
            lies: BTreeMap::new(),
            has_new_lies: false,
            agent,
            station: Station::new(Some(REFRESH), seed),
            commands: VecDeque::new(),
            reports: VecDeque::new(),
            has_lists: false,
            is_stopping: false,
        };
        node.set_links(&[catalog::link(index)], now);
        node.membership.set_expected_peers(catalog::peers(count), now);
        node
    }

    /// Makes the speaker one of the version that reports no features.
    pub(crate) fn become_old(&mut self, now: Time) {
        self.membership.set_features(Features::NONE, now);
    }

    /// Makes the agent believe this of a member from now on; `None` is what membership knows.
    pub(crate) fn set_lie(&mut self, about: NodeName, lie: Option<Lie>) {
        match lie {
            Some(lie) => self.lies.insert(about, lie),
            None => self.lies.remove(&about),
        };
        self.has_new_lies = true;
    }

    /// Returns the members as the agent is to have them.
    fn believed(&self) -> Arc<[Member]> {
        if self.lies.is_empty() {
            return self.members.clone();
        }
        let members = self.members.iter().cloned().map(|mut member| {
            if let Some(lie) = self.lies.get(&member.node) {
                (member.liveness, member.state) = (lie.liveness, lie.state);
            }
            member
        });
        members.collect()
    }

    /// Replaces the interfaces of the node that can announce.
    pub(crate) fn set_links(&mut self, links: &[Link], now: Time) {
        let facts: Vec<LocalLink<'_>> = links.iter().map(catalog::local_link).collect();
        self.membership.set_links(&facts, now);
        let names = |links: &mut dyn Iterator<Item = &Link>| -> BTreeSet<String> {
            links.map(|link| link.name.clone()).collect()
        };
        let interfaces = Interfaces {
            names: names(&mut links.iter()),
            ipv6: names(&mut links.iter().filter(|link| link.ndp)),
        };
        self.agent.set_interfaces(interfaces, now);
        while let Some(command) = self.agent.poll_command() {
            self.station.handle_command(command, now);
        }
        self.station.set_links(links.to_vec(), now);
    }

    pub(crate) fn handle_frame(&mut self, frame: &[u8], now: Time, output: &mut Output) {
        let mut answer = [0; MAX_FRAME_LENGTH];
        if let Ok(answered) = self.station.handle_frame(LINK, frame, &mut answer, now) {
            output.frames.push(answer[..answered.length].to_vec());
        }
    }

    pub(crate) fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr, now: Time) {
        // A refused datagram changes nothing, like a lost one.
        let _refused = self.membership.handle_datagram(datagram, from, now);
    }

    /// Handles the end of a pause that was so long that other nodes may have taken over.
    pub(crate) fn handle_pause(&mut self, pause: Duration, has_lost_frames: bool, now: Time) {
        self.station.handle_pause(pause, has_lost_frames, now);
    }

    /// Whether the node answers for an address.
    pub(crate) fn answers(&self, address: IpAddr) -> bool {
        self.station.links_of(address).is_some()
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    pub(crate) fn stop(&mut self, now: Time) {
        self.is_stopping = true;
        self.agent.handle_shutdown(false, now);
    }

    /// Does what is due, by the threads that run. Returns whether the speaker keeps running.
    pub(crate) fn run(&mut self, pause: Option<&Pause>, now: Time, output: &mut Output) -> bool {
        let runs = |part| pause.is_none_or(|pause| pause.since(part).is_none());
        if runs(Part::Agent) && self.agent.has_stopped(now) {
            self.membership.leave(now);
            self.station.handle_command(Command::WithdrawAll, now);
            self.transmit_datagrams(output);
            return false;
        }
        if runs(Part::Gossip) && self.membership.poll_timeout().is_some_and(|due| due <= now) {
            self.membership.handle_timeout(now);
        }
        if runs(Part::Agent) {
            self.follow_members(now);
            self.agent.handle_timeout(now);
        }
        // The second pass handles what follows from the frames and commands of the first.
        for _ in 0..2 {
            if runs(Part::Agent) {
                while runs(Part::Wire)
                    && let Some(event) = self.station.poll_event(now)
                {
                    self.agent.handle_wire(event, now);
                }
                self.agent.decide(now);
                self.drain_agent();
            }
            if runs(Part::Wire) {
                self.carry_out(now, output);
                self.transmit(now, output);
            }
            if runs(Part::Gossip) {
                self.report(now);
            }
        }
        if runs(Part::Gossip) {
            self.transmit_datagrams(output);
        }
        true
    }

    fn follow_members(&mut self, now: Time) {
        while let Some(event) = self.membership.poll_event() {
            self.handle_event(event, now);
        }
        if self.has_lists && self.membership.joined() {
            self.agent.start();
        }
        let is_news = !Arc::ptr_eq(&self.members, self.membership.members());
        if core::mem::take(&mut self.has_new_lies) || is_news {
            self.members = self.membership.members().clone();
            trace(|| format!("{:?}: {}", now.elapsed(), describe(&self.members)));
            self.agent.set_members(self.believed(), now);
        }
    }

    fn handle_event(&mut self, event: MembershipEvent, now: Time) {
        match event {
            MembershipEvent::Queried { peer, address } => self.agent.handle_query(peer, address),
            MembershipEvent::Answered {
                peer,
                address,
                announces,
            } => self.agent.handle_reply(&peer, address, announces, now),
            MembershipEvent::Liveness { .. }
            | MembershipEvent::Rejoined
            | MembershipEvent::Superseded
            | MembershipEvent::Isolated
            | MembershipEvent::Irregular(_) => {}
        }
    }

    pub(crate) fn poll_timeout(&self, pause: Option<&Pause>, now: Time) -> Option<Time> {
        let due = [
            (Part::Gossip, self.membership.poll_timeout()),
            (Part::Agent, self.agent.poll_timeout()),
            (Part::Wire, self.station.poll_timeout()),
        ];
        let runs = |part| pause.is_none_or(|pause| pause.since(part).is_none());
        let due = due
            .into_iter()
            .filter_map(|(part, due)| due.filter(|_| runs(part)));
        due.min().map(|due| due.max(now))
    }

    fn drain_agent(&mut self) {
        while let Some(command) = self.agent.poll_command() {
            self.commands.push_back(command);
        }
        while let Some(report) = self.agent.poll_report() {
            self.reports.push_back(report);
        }
        while self.agent.poll_event().is_some() {}
        while self.agent.poll_status().is_some() {}
    }

    fn carry_out(&mut self, now: Time, output: &mut Output) {
        while let Some(command) = self.commands.pop_front() {
            match &command {
                Command::Announce(Announcement { address, .. }) => output.answers.push((*address, true)),
                Command::Withdraw(address) => output.answers.push((*address, false)),
                Command::WithdrawAll
                | Command::Reannounce(_)
                | Command::Defend(_)
                | Command::DefendAgainstForged(_)
                | Command::DefendAtOnce(_)
                | Command::Probe(_)
                | Command::Check { .. }
                | Command::CancelProbe(_) => {}
            }
            self.station.handle_command(command, now);
        }
    }

    fn report(&mut self, now: Time) {
        while let Some(report) = self.reports.pop_front() {
            match report {
                AgentReport::State(state) => self.membership.set_state(state, now),
                AgentReport::Unresponsive(nodes) => self.membership.set_unresponsive(nodes, now),
                AgentReport::Features(features) => self.membership.set_features(features, now),
                AgentReport::Flapped => self.membership.handle_flap(now),
                AgentReport::ReportedUnresponsive => self.membership.handle_reported_unresponsive(now),
                AgentReport::QueryPeer { peer, address } => self.membership.query(peer, address, now),
                AgentReport::ReplyToPeer {
                    peer,
                    address,
                    announces,
                } => self.membership.answer(peer, address, announces, now),
            }
        }
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

fn describe(members: &[Member]) -> String {
    let flaps = |member: &Member| member.profile.as_ref().map(|profile| profile.flaps);
    let described = members
        .iter()
        .map(|m| format!("{} {} {} {:?}", m.node, m.liveness, m.state, flaps(m)));
    described.collect::<Vec<_>>().join(", ")
}

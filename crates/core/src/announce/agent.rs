//! The agent of a node: which addresses does it announce?
//!
//! Its inputs are the objects of the API server, the members and the events of the wire. It joins eligibility, election,
//! take-over, reachability, draining and the routes of BGP. It sends commands to the station ([`Command`]), reports to membership what
//! peers have to know ([`AgentReport`]), and emits what users have to know ([`AgentEvent`], [`AnnouncementStatus`]).
//!
//! ```text
//!   set_service, set_node, set_config, ...  ─►┌───────┐─► poll_command  ─► station
//!   set_members                             ─►│ Agent │─► poll_report   ─► membership
//!   handle_wire                             ─►│       │─► poll_event    ─► events, metrics, logs
//!   handle_timeout, handle_shutdown         ─►│       │─► poll_status   ─► ServiceL2Status
//!   set_bgp_config                          ─►└───────┘─► poll_bgp_peer, poll_route, poll_bgp_status
//! ```
//!
//! Nothing leaves the agent before [`Agent::start`]: a speaker whose lists are not complete owns nothing.

mod beside;
mod bgp;
mod network_check;
mod output;
mod peer_view;
mod query;
mod reporters;
mod shutdown;
mod stage;
mod status;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::net::IpAddr;

pub use beside::ElectionDifference;
pub use output::{AgentEvent, AgentReport};
use peer_view::PeerView;
pub use peer_view::SpeakerNode;
pub use shutdown::DRAIN_LIMIT;
pub use stage::AddressStage;
pub use status::AnnouncementStatus;
use status::StatusFacts;

use super::bgp::BgpRoutes;
use super::eligibility::{Endpoints, Exclusion, Exposure, Node};
use super::facts::{FactChange, Facts};
use super::layer2::ownership::{Interfaces, Ownership};
use super::layer2::takeover::{Effect, Takeover};
use super::layer2::{Command, WireEvent};
use crate::config::{L2Advertisement, Pool};
use crate::member::reporter;
use crate::{Member, NodeName, NodeState, ServiceKey, Time, queue};

/// How an agent behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of this node.
    pub node: NodeName,
    /// Whether there is a membership. Without it every Node is assumed to have a speaker.
    pub has_gossip: bool,
    /// Whether nodes with the label [`EXCLUDE_LABEL`](super::eligibility::EXCLUDE_LABEL) announce, too.
    pub ignore_exclude_label: bool,
    /// Whether an address is probed before it is announced.
    pub takeover_verification: bool,
    /// Whether this speaker speaks BGP.
    pub has_bgp: bool,
    /// MULTI_EXIT_DISC of the routes whose BGPAdvertisements have none.
    pub default_med: Option<u32>,
    /// Feeds the random pauses of contenders.
    pub seed: u64,
}

/// Decides what one node announces. Exactly one task owns it.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    has_started: bool,
    /// When the speaker ends at the latest, after [`Agent::handle_shutdown`].
    stop_at: Option<Time>,
    facts: Facts,
    ownership: Ownership,
    takeover: Takeover,
    bgp: BgpRoutes,
    peers: PeerView,
    statuses: StatusFacts,
    commands: VecDeque<Command>,
    reports: VecDeque<AgentReport>,
    events: VecDeque<AgentEvent>,
}

impl Agent {
    /// Creates an agent that knows nothing and announces nothing.
    pub fn new(options: Options) -> Self {
        let node = options.node.clone();
        Self {
            facts: Facts::new(options.has_gossip, options.ignore_exclude_label),
            ownership: Ownership::new(node.clone()),
            bgp: BgpRoutes::new(node.clone(), options.default_med),
            takeover: Takeover::new(node, options.takeover_verification, options.seed),
            options,
            has_started: false,
            stop_at: None,
            peers: PeerView {
                is_stale: true,
                ..PeerView::default()
            },
            statuses: StatusFacts::default(),
            commands: VecDeque::new(),
            reports: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Adds or replaces a Service of this load balancer.
    pub fn set_service(&mut self, service: Exposure) {
        self.statuses.handle_service(&service);
        let change = self.facts.set_service(service);
        self.handle_change(change);
    }

    /// Removes a Service that is gone or of another implementation.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        let change = self.facts.remove_service(key);
        self.handle_change(change);
    }

    /// Replaces the usable endpoints of a Service; `None` when it has no EndpointSlices.
    pub fn set_endpoints(&mut self, key: ServiceKey, endpoints: Option<Arc<Endpoints>>) {
        let change = self.facts.set_endpoints(key, endpoints);
        self.handle_change(change);
    }

    /// Adds or replaces a Node.
    pub fn set_node(&mut self, node: Node) {
        let change = self.facts.set_node(node);
        self.handle_change(change);
    }

    /// Removes a Node.
    pub fn remove_node(&mut self, name: &NodeName) {
        let change = self.facts.remove_node(name);
        self.handle_change(change);
    }

    /// Replaces pools and advertisements.
    pub fn set_config(&mut self, pools: &[Pool], advertisements: &[L2Advertisement]) {
        let change = self.facts.set_pools(pools);
        self.handle_change(change);
        self.ownership.set_advertisements(&self.facts, advertisements);
    }

    /// Replaces the nodes that run a speaker, as the API server has them.
    pub fn set_speaker_nodes(&mut self, nodes: BTreeMap<NodeName, SpeakerNode>, now: Time) {
        let addresses = |nodes: &BTreeMap<NodeName, SpeakerNode>| -> BTreeMap<NodeName, IpAddr> {
            nodes
                .iter()
                .map(|(name, node)| (name.clone(), node.address))
                .collect()
        };
        self.peers.is_stale = true;
        let before = core::mem::replace(&mut self.peers.nodes, nodes);
        let now_known = addresses(&self.peers.nodes);
        if addresses(&before) != now_known {
            self.takeover.set_nodes(now_known, now);
        }
    }

    /// Replaces the interfaces that can announce here.
    ///
    /// Another node may have taken over from a node that was unplugged and is back. It withdraws all addresses and probes
    /// them again, and its peers learn that it flapped. The commands that are queued then have to reach the station before
    /// its links change: with a link it would announce its addresses at once.
    pub fn set_interfaces(&mut self, interfaces: Interfaces, now: Time) {
        let before = self.ownership.interfaces();
        let was_unplugged = before.is_some_and(|before| before.names.is_empty());
        let is_back = was_unplugged && !interfaces.names.is_empty();
        self.ownership.set_interfaces(&self.facts, interfaces);
        if is_back {
            self.report(AgentReport::Flapped);
            if self.options.takeover_verification {
                self.commands.push_back(Command::WithdrawAll);
                self.takeover.handle_absence(now);
            }
        }
    }

    /// Replaces the members.
    pub fn set_members(&mut self, members: Arc<[Member]>, now: Time) {
        let change = self.facts.set_members(&members);
        self.handle_change(change);
        // Roles first: the take-over of an address needs to know which node is elected instead of a member that is gone.
        self.apply_roles(now);
        self.takeover.set_members(&members, now);
        self.peers.members = members;
        self.peers.is_stale = true;
        let reporter = reporter(&self.peers.members, &self.options.node).cloned();
        let was_reported = core::mem::replace(&mut self.peers.is_reported, reporter.is_some());
        if let Some(reporter) = reporter.filter(|_| !was_reported) {
            // This node cannot see that it does not answer, so it reports it of itself: peers then prefer others.
            self.report(AgentReport::ReportedUnresponsive);
            self.events.push_back(AgentEvent::ReportedUnresponsive(reporter));
        }
    }

    /// Handles what the station reports.
    pub fn handle_wire(&mut self, event: WireEvent, now: Time) {
        match event {
            WireEvent::Probed(address, result) => self.takeover.handle_probed(address, result, now),
            WireEvent::Claimed(address, mac) => {
                let (ownership, facts) = (&self.ownership, &self.facts);
                let outranks =
                    |node: &NodeName, service: &ServiceKey| ownership.outranks(facts, node, service, address);
                self.takeover.handle_claim(address, mac, outranks, now);
            }
            WireEvent::Announced(address) => {
                let services = self.takeover.services_of(address);
                self.statuses.handle_announcement(address, services);
            }
        }
    }

    /// Starts to announce: all lists are complete, and gossip has tried to join. A second call has no effect.
    pub fn start(&mut self) {
        if !core::mem::replace(&mut self.has_started, true) {
            self.report(AgentReport::State(NodeState::Ready));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.takeover.handle_timeout(now);
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            self.takeover.poll_timeout(),
            self.peers.reachability.poll_timeout(),
            self.stop_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Decides what follows from all inputs so far. Call it after each input, before the outputs are polled.
    pub fn decide(&mut self, now: Time) {
        if !self.has_started {
            return;
        }
        self.apply_roles(now);
        while let Some(effect) = self.takeover.poll_effect() {
            self.apply(effect);
        }
        self.statuses
            .update_reporters(&self.facts, &self.options.node, self.bgp.has_limits());
        self.report_unresponsive();
        self.update_reachability(now);
    }

    /// Returns the next command for the station.
    pub fn poll_command(&mut self) -> Option<Command> {
        queue::pop(&mut self.commands)
    }

    /// Returns the next report for membership.
    pub fn poll_report(&mut self) -> Option<AgentReport> {
        queue::pop(&mut self.reports)
    }

    /// Returns the next event for users and operators.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        queue::pop(&mut self.events)
    }

    /// Returns the next Service whose status may have changed, with that status; `None` if this node has none to publish.
    pub fn poll_status(&mut self) -> Option<(ServiceKey, Option<AnnouncementStatus>)> {
        loop {
            let service = self.statuses.poll_stale()?;
            if let Some(status) = self.status(&service) {
                return Some((service, status));
            }
        }
    }

    /// Returns the Services that use an address.
    pub fn services_of(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.takeover.services_of(address)
    }

    /// Whether gossip is blocked; `None` as long as a speaker that has just started cannot know.
    pub fn is_gossip_blocked(&self) -> Option<bool> {
        self.peers.reachability.is_blocked()
    }

    /// Explains the election of an address as far as one of its Services is concerned ([`Ownership::explain`]).
    ///
    /// # Errors
    /// The reason why no node can be a candidate.
    pub fn explain(
        &self,
        service: &ServiceKey,
        address: IpAddr,
    ) -> Result<BTreeMap<&NodeName, Result<i64, Exclusion>>, Exclusion> {
        self.ownership.explain(&self.facts, service, address)
    }

    /// Hands a change of the facts to the protocols.
    fn handle_change(&mut self, change: Option<FactChange>) {
        let Some(change) = change else { return };
        self.statuses.handle_change(&change);
        self.bgp.handle_change(&self.facts, &change);
        self.ownership.handle_change(&self.facts, change);
    }

    /// Hands changed roles to the take-over.
    fn apply_roles(&mut self, now: Time) {
        while self.has_started
            && let Some(change) = self.ownership.poll_change(&self.facts)
        {
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            self.takeover
                .set_role(&change.service, change.address, before, after, now);
            let service = self.facts.service(&change.service);
            self.statuses.handle_role(&change, service);
            let event = AgentEvent::RoleChanged(change.service, change.address, change.after);
            self.events.push_back(event);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Command(command) => {
                self.statuses.handle_command(&command);
                self.commands.push_back(command);
            }
            Effect::Gained(service, address) => {
                let is_first = self.statuses.gain(&service, address);
                self.peers.is_stale = true;
                self.events.push_back(AgentEvent::Announced {
                    service,
                    address,
                    is_first,
                });
            }
            Effect::Lost(service, address) => {
                self.statuses.lose(&service, address);
                self.events.push_back(AgentEvent::Withdrawn(service, address));
            }
            Effect::QueryPeer(peer, address) => self.report(AgentReport::QueryPeer { peer, address }),
            Effect::TookOver(address, after) => self.events.push_back(AgentEvent::TookOver(address, after)),
            Effect::Event(address, event) => {
                self.peers.is_stale = true;
                if event.concerns_users() {
                    self.statuses.handle_event(self.takeover.services_of(address));
                }
                self.events.push_back(AgentEvent::Address(address, event));
            }
        }
    }

    fn report(&mut self, report: AgentReport) {
        if self.options.has_gossip {
            self.reports.push_back(report);
        }
    }

    /// Reports to membership which nodes do not answer on the wire.
    fn report_unresponsive(&mut self) {
        let unresponsive = self.takeover.unresponsive();
        if !unresponsive.iter().copied().eq(&self.peers.unresponsive) {
            self.peers.unresponsive = unresponsive.into_iter().cloned().collect();
            let tags = self.peers.unresponsive.iter().map(NodeName::tag).collect();
            self.report(AgentReport::Unresponsive(tags));
        }
    }

    /// Compares membership with the wire and the API server.
    fn update_reachability(&mut self, now: Time) {
        if !self.options.has_gossip {
            return;
        }
        let before = self.peers.reachability.is_blocked();
        if core::mem::take(&mut self.peers.is_stale) {
            let counts = self.peers.counts(&self.options.node, self.takeover.deferred());
            self.peers.reachability.set(counts, now);
        }
        self.peers.reachability.poll_change(now);
        let after = self.peers.reachability.is_blocked();
        if before != after {
            self.events.push_back(AgentEvent::GossipBlocked { before, after });
        }
    }
}

#[cfg(test)]
mod tests;

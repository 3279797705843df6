//! The driver: the task that feeds the agent from watches, gossip and the wire, and carries out its outputs.

mod beside;
mod bgp;
mod checks;
mod cluster;
mod configuration;
mod events;
mod log;
mod notice;
mod slices;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use herald_api::ServiceL2Status;
use herald_core::announce::agent::{Agent, AgentReport, Options};
use herald_core::announce::layer2::ownership::Interfaces;
use herald_core::{Member, NodeName, Time};
use herald_netio::Interface;
use herald_runtime::Shutdown;
use herald_runtime::admin::StateRequest;
use herald_runtime::event::Events;
use herald_runtime::health::Beat;
use herald_runtime::readiness::Awaited;
use herald_runtime::reconcile::object::DesiredObject;
use prometheus::Registry;
use regex::Regex;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::gossip::{self, Gossip};
use crate::input::{Awaiting, Input};
use crate::metrics::Metrics;
use crate::moves::Moves;
use crate::status::Statuses;
use crate::wire::{self, Wire, WireEvent};
use crate::{Args, sleep_until};
use beside::BesideMetalLb;
pub(crate) use bgp::BgpSessions;
pub(crate) use checks::CheckRequest;
use checks::NetworkChecks;
use cluster::Cluster;

/// Inputs and events that are handled before the agent decides. It decides once for all of them, which matters when
/// thousands of objects are listed.
const BATCH: usize = 256;
/// The driver comes round at least so often: its beat.
const PULSE: Duration = Duration::from_secs(1);

/// The task that owns the agent.
pub(crate) struct Driver {
    node: NodeName,
    gossip_port: u16,
    agent: Agent,
    cluster: Cluster,
    awaited: Awaited<Awaiting>,
    has_started: bool,
    /// The zero of the agent's time.
    zero: Instant,
    handles: Handles,
    metrics: Metrics,
    moves: Moves,
    checks: NetworkChecks,
    /// For a speaker that may run beside MetalLB.
    beside: Option<BesideMetalLb>,
}

/// The other tasks and threads of the speaker.
pub(crate) struct Handles {
    pub(crate) wire: Wire,
    pub(crate) gossip: Option<Gossip>,
    pub(crate) events: Events,
    pub(crate) statuses: Statuses<ServiceL2Status>,
    pub(crate) bgp: Option<BgpSessions>,
    /// The `ConfigurationState` of this speaker.
    pub(crate) state: watch::Sender<Option<DesiredObject>>,
    /// Names of interfaces that never announce.
    pub(crate) exclude: Vec<Regex>,
}

/// What clients of HTTP ask for.
pub(crate) struct ClientRequests {
    pub(crate) states: mpsc::Receiver<StateRequest>,
    pub(crate) checks: mpsc::Receiver<CheckRequest>,
}

impl Handles {
    /// Stops writing statuses, or writes again all that differ.
    fn set_paused(&self, is_paused: bool) {
        self.statuses.set_paused(is_paused);
        if let Some(bgp) = &self.bgp {
            bgp.set_paused(is_paused);
        }
    }
}

impl Driver {
    pub(crate) fn new(
        node: NodeName,
        args: &Args,
        handles: Handles,
        awaited: Awaited<Awaiting>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let has_gossip = handles.gossip.is_some();
        let options = Options {
            node: node.clone(),
            has_gossip,
            ignore_exclude_label: args.ignore_exclude_lb,
            takeover_verification: args.takeover_verification,
            has_bgp: args.bgp,
            default_med: args.bgp_med.0,
            seed: rand::random(),
        };
        let mut agent = Agent::new(options);
        if args.beside_metallb {
            agent.set_beside_metallb(true);
            agent.set_has_metallb(true);
            agent.set_bgp_paused(true);
            handles.set_paused(true);
        }
        Ok(Self {
            metrics: Metrics::register(&node, registry)?,
            agent,
            beside: args.beside_metallb.then(BesideMetalLb::start),
            node,
            gossip_port: args.ml_bindport,
            cluster: Cluster::default(),
            awaited,
            has_started: false,
            zero: Instant::now(),
            handles,
            moves: Moves::default(),
            checks: NetworkChecks::default(),
        })
    }

    /// Runs until shutdown is requested, then hands the addresses over.
    ///
    /// # Errors
    /// When the gossip thread or the wire thread has ended. The peers take over then, as after a crash.
    ///
    /// # Cancel safety
    /// Not cancel safe: when the future is dropped, the peers are not notified. All branches of the loop are cancel safe.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Vec<Input>>,
        mut interfaces: mpsc::UnboundedReceiver<Vec<Interface>>,
        requests: ClientRequests,
        mut shutdown: Shutdown,
        beat: Beat,
    ) -> anyhow::Result<()> {
        let ClientRequests {
            mut states,
            mut checks,
        } = requests;
        let mut members = self
            .handles
            .gossip
            .as_ref()
            .map(|gossip| mark_changed(gossip.members()));
        let mut joined = self
            .handles
            .gossip
            .as_ref()
            .map(|gossip| mark_changed(gossip.joined()));
        let mut wire_failed = Box::pin(self.handles.wire.failed());
        let mut bgp_failed = Box::pin(bgp::failed(self.handles.bgp.as_ref()));
        let mut wire_events = self
            .handles
            .wire
            .take_events()
            .context("wire events are taken once")?;
        let mut new_inputs = Vec::with_capacity(BATCH);
        let mut new_events: Vec<WireEvent> = Vec::with_capacity(BATCH);
        let mut is_stopping = false;
        let mut pulse = tokio::time::interval(PULSE);
        loop {
            beat.beat();
            let due = self.agent.poll_timeout().map(|due| self.zero + due.elapsed());
            tokio::select! {
                1.. = inputs.recv_many(&mut new_inputs, BATCH) => {
                    self.metrics.updates.inc_by(new_inputs.len() as u64);
                    new_inputs.drain(..).flatten().for_each(|input| self.handle_input(input));
                }
                Some(interfaces) = interfaces.recv() => self.handle_interfaces(interfaces),
                1.. = wire_events.recv_many(&mut new_events, BATCH) => {
                    let now = self.now();
                    new_events.drain(..).for_each(|event| self.agent.handle_wire(event, now));
                }
                Some(report) = bgp::next_report(&mut self.handles.bgp) => self.handle_bgp_report(report),
                Some(message) = gossip::next_message(&mut self.handles.gossip) => {
                    let now = self.now();
                    if let Some(message) = self.take_check_answer(message) {
                        message.apply(&mut self.agent, now);
                    }
                }
                members = changed(&mut members) => match members {
                    Some(members) => self.handle_members(members),
                    None => bail!("the gossip thread ended"),
                },
                Some(_) = changed(&mut joined) => {}
                Some(request) = states.recv() => {
                    self.answer(request);
                    continue;
                }
                Some(request) = checks.recv() => {
                    self.begin_checks(request);
                    self.advance_checks();
                    continue;
                }
                () = self.checks.progressed(self.zero) => {
                    self.advance_checks();
                    continue;
                }
                _ = pulse.tick() => {
                    self.log_differences();
                    self.update_bgp_prefixes();
                    let is_config_stale = self.handle_bgp_time();
                    // A Pod of MetalLB counts as gone some time after its deletion.
                    if !self.follow_metallb() && !is_config_stale {
                        continue;
                    }
                }
                () = sleep_until(due) => self.agent.handle_timeout(self.now()),
                error = &mut wire_failed => return Err(error),
                error = &mut bgp_failed => return Err(error),
                () = shutdown.requested(), if !is_stopping => {
                    is_stopping = true;
                    self.agent.handle_shutdown(self.is_metallb_here(), self.now());
                }
            }
            if joined.as_ref().is_some_and(|joined| *joined.borrow()) {
                self.awaited.meet(Awaiting::Gossip);
            }
            self.follow_metallb();
            self.start_if_ready();
            self.carry_out();
            if self.agent.has_stopped(self.now()) {
                break;
            }
        }
        if let Some(gossip) = self.handles.gossip {
            gossip.leave().await;
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    fn handle_input(&mut self, input: Input) {
        if let Some(met) = self.cluster.apply(input, &mut self.agent) {
            self.awaited.meet(met);
        }
    }

    /// Hands over what follows from all inputs so far: peers, endpoints and configuration.
    fn apply_inputs(&mut self) {
        let now = self.now();
        if !self.awaited.contains(Awaiting::SpeakerPods)
            && let Some(peers) = self.cluster.poll_peers()
        {
            self.agent.set_speaker_nodes(peers.clone(), now);
            if let Some(gossip) = &self.handles.gossip {
                gossip.set_peers(cluster::endpoints(peers, self.gossip_port));
            }
        }
        self.cluster.apply_endpoints(&mut self.agent);
        if let Some(new_problems) = self.cluster.apply_config(&mut self.agent) {
            for problem in new_problems {
                warn!("failed to parse the configuration: {problem}");
            }
            self.metrics.set_config(!self.cluster.problems().is_empty());
            self.publish_state();
        }
    }

    fn handle_members(&mut self, members: Arc<[Member]>) {
        let now = self.now();
        self.agent.set_members(members, now);
    }

    fn handle_interfaces(&mut self, interfaces: Vec<Interface>) {
        let links = wire::links(&interfaces, &self.handles.exclude);
        let with_ipv6 = links.iter().filter(|link| link.ndp);
        let announcing = Interfaces {
            ipv6: with_ipv6.map(|link| link.name.clone()).collect(),
            names: links.iter().map(|link| link.name.clone()).collect(),
        };
        if let Some(gossip) = &self.handles.gossip {
            gossip.set_links(links);
        }
        let now = self.now();
        self.agent.set_interfaces(announcing, now);
        self.send();
        if let Some(bgp) = &self.handles.bgp {
            bgp.set_interfaces(&interfaces);
        }
        self.checks.set_interfaces(interfaces.clone());
        self.handles.wire.set_interfaces(interfaces);
        self.publish_state();
        self.awaited.meet(Awaiting::Interfaces);
    }

    fn start_if_ready(&mut self) {
        if self.awaited.is_empty() && !self.has_started {
            self.has_started = true;
            info!(services = self.cluster.service_count(), "ready");
            self.agent.start();
            self.handles.statuses.handle_start();
            if let Some(bgp) = &self.handles.bgp {
                bgp.handle_start();
            }
        }
    }

    /// Lets the agent decide and carries out the results.
    fn carry_out(&mut self) {
        self.apply_inputs();
        self.agent.decide(self.now());
        self.send();
        self.carry_out_bgp();
        while let Some(event) = self.agent.poll_event() {
            self.handle_event(&event);
        }
        while let Some((service, status)) = self.agent.poll_status() {
            self.handles.statuses.set(service, status);
        }
    }

    /// Sends what the agent reports to membership, then its commands to the wire thread, which may take some time when they
    /// are thousands.
    fn send(&mut self) {
        while let Some(report) = self.agent.poll_report() {
            self.report(report);
        }
        let commands = std::iter::from_fn(|| self.agent.poll_command());
        self.handles.wire.send_all(commands);
    }

    fn report(&self, report: AgentReport) {
        let Some(gossip) = &self.handles.gossip else {
            return;
        };
        match report {
            AgentReport::State(state) => gossip.set_state(state),
            AgentReport::Unresponsive(nodes) => gossip.set_unresponsive(nodes),
            AgentReport::Features(features) => gossip.set_features(features),
            AgentReport::Flapped => gossip.handle_flap(),
            AgentReport::ReportedUnresponsive => gossip.handle_reported_unresponsive(),
            AgentReport::QueryPeer { peer, address } => gossip.query(peer, address),
            AgentReport::ReplyToPeer {
                peer,
                address,
                announces,
            } => gossip.answer(peer, address, announces),
        }
    }
}

/// Marks the current value as changed, so that [`changed`] returns it first.
fn mark_changed<T>(mut receiver: watch::Receiver<T>) -> watch::Receiver<T> {
    receiver.mark_changed();
    receiver
}

/// Returns the next value of a watch channel; `None` when the sender is dropped. Never returns without a channel.
async fn changed<T: Clone>(receiver: &mut Option<watch::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver
            .changed()
            .await
            .ok()
            .map(|()| receiver.borrow_and_update().clone()),
        None => std::future::pending().await,
    }
}

//! The driver: owns ownership, and tells the wire task what to answer for.

mod outcome;
mod slices;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use herald_api::convert::{self, EndpointSlice};
use herald_core::announce::eligibility::Node;
use herald_core::announce::layer2::ownership::Ownership;
use herald_core::announce::layer2::reachability::Reach;
use herald_core::announce::layer2::takeover::Holdings;
use herald_core::config::{Catalog, Problem};
use herald_core::{Member, NodeName, NodeState, PoolName, ServiceKey, Time};
use herald_netio::Interface;
use herald_runtime::event::Events;
use herald_runtime::readiness::{Awaited, Readiness};
use herald_runtime::reconcile::object::DesiredObject;
use herald_runtime::{Shutdown, Update};
use k8s_openapi::api::core::v1::ObjectReference;
use prometheus::Registry;
use regex::Regex;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::Args;
use crate::gossip::Gossip;
use crate::input::{self, Awaiting, Input, Peer, Seen};
use crate::metrics::Metrics;
use crate::status::Statuses;
use crate::wire::{self, Command, Wire, WireEvent};
use slices::Slices;

/// How long a speaker that goes away answers on at most, after it has said so, for its successors to announce themselves:
/// that takes them some 150 ms, and longer if they are many thousands of addresses. Less than the two seconds that MetalLB's
/// manifests grant a speaker.
const HANDOVER: Duration = Duration::from_millis(1500);

pub(crate) struct Driver {
    node: NodeName,
    gossip_port: u16,
    catalog: Catalog,
    ownership: Ownership,
    holdings: Holdings,
    /// What is answered for, by Service.
    announced: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Services whose `ServiceL2Status` may have to say something else.
    unshown: BTreeSet<ServiceKey>,
    /// Whether any interface could be used when they were looked at last.
    is_linked: bool,
    members: Arc<[Member]>,
    reach: Reach,
    /// Whether [`Driver::others`] may have changed.
    is_reach_stale: bool,
    /// Whether a peer says that this node does not answer on the wire.
    is_silent: bool,
    /// The nodes that this one answers for although they live, as told by gossip.
    silent: BTreeSet<NodeName>,
    started: Instant,
    services: BTreeMap<ServiceKey, ObjectReference>,
    slices: Slices,
    peers: BTreeMap<String, Peer>,
    /// Where the speakers' nodes are, as gossip was told last.
    expected: Option<BTreeMap<NodeName, IpAddr>>,
    problems: Vec<Problem>,
    /// Until it is empty, nothing is owned.
    awaited: Awaited<Awaiting>,
    is_ready: bool,
    parts: Parts,
    metrics: Metrics,
}

/// What the driver works with.
pub(crate) struct Parts {
    pub(crate) wire: Wire,
    pub(crate) gossip: Option<Gossip>,
    pub(crate) events: Events,
    pub(crate) statuses: Statuses,
    /// Our `ConfigurationState`.
    pub(crate) state: watch::Sender<Option<DesiredObject>>,
    /// Interfaces never to announce on.
    pub(crate) exclude: Vec<Regex>,
}

impl Driver {
    pub(crate) fn new(
        node: NodeName,
        args: &Args,
        parts: Parts,
        readiness: &Readiness,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let mut awaited = Awaiting::ALWAYS.to_vec();
        if parts.gossip.is_some() {
            awaited.extend(Awaiting::GOSSIP);
        }
        Ok(Self {
            metrics: Metrics::register(&node, registry)?,
            ownership: Ownership::new(node.clone(), parts.gossip.is_some(), args.ignore_exclude_lb),
            node,
            gossip_port: args.ml_bindport,
            catalog: Catalog::new(),
            holdings: Holdings::new(args.takeover_verification, rand::random()),
            announced: BTreeMap::new(),
            unshown: BTreeSet::new(),
            is_linked: false,
            members: Arc::default(),
            reach: Reach::default(),
            is_reach_stale: true,
            is_silent: false,
            silent: BTreeSet::new(),
            started: Instant::now(),
            services: BTreeMap::new(),
            slices: Slices::default(),
            peers: BTreeMap::new(),
            expected: None,
            problems: Vec::new(),
            awaited: readiness.require(awaited),
            is_ready: false,
            parts,
        })
    }

    /// Runs until the program is told to stop, then hands over.
    ///
    /// # Errors
    /// When a thread that this speaker cannot do without has ended. Its peers take over then, as after a crash.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut interfaces: mpsc::UnboundedReceiver<Vec<Interface>>,
        mut shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let mut members = self.parts.gossip.as_ref().map(|gossip| unseen(gossip.members()));
        let mut joined = self.parts.gossip.as_ref().map(|gossip| unseen(gossip.joined()));
        let mut wire_failed = Box::pin(self.parts.wire.failed());
        let mut heard = self.parts.wire.take_events().context("the wire is heard once")?;
        let mut until = None;
        loop {
            let due = self.poll_timeout().map(|due| self.started + due.elapsed());
            tokio::select! {
                Some(input) = inputs.recv() => self.handle_input(input),
                Some(interfaces) = interfaces.recv() => self.handle_interfaces(interfaces),
                Some(heard) = heard.recv() => self.handle_heard(heard),
                members = changed(&mut members) => match members {
                    Some(members) => self.handle_members(members),
                    None => bail!("the gossip thread ended"),
                },
                Some(_) = changed(&mut joined) => {}
                () = sleep_until(due) => self.holdings.handle_timeout(self.now()),
                error = &mut wire_failed => return Err(error),
                () = shutdown.requested(), if until.is_none() => until = Some(self.begin_to_leave()),
                () = sleep_until(until) => break,
            }
            let has_joined = joined.as_ref().is_none_or(|joined| *joined.borrow());
            self.become_ready(has_joined);
            self.drain();
            self.look_around();
            if until.is_some() && self.holdings.is_empty() {
                break;
            }
        }
        if let Some(gossip) = self.parts.gossip {
            gossip.leave().await;
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time::since_zero(self.started.elapsed())
    }

    /// Successors announce themselves first; then this node stops answering. Returns until when it waits for them.
    fn begin_to_leave(&self) -> Instant {
        match &self.parts.gossip {
            Some(gossip) => {
                gossip.set_state(NodeState::Draining);
                Instant::now() + HANDOVER
            }
            None => Instant::now(),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let due = self.holdings.poll_timeout().into_iter();
        due.chain(self.reach.poll_timeout()).min()
    }

    fn handle_members(&mut self, members: Arc<[Member]>) {
        self.ownership.set_members(members.to_vec());
        self.drain();
        self.holdings.set_members(&members, &self.node, self.now());
        self.members = members;
        self.is_reach_stale = true;
        self.hear_of_silence();
    }

    fn handle_heard(&mut self, heard: WireEvent) {
        let now = self.now();
        match heard {
            WireEvent::Probed(address, finding) => {
                self.holdings.handle_probed(address, finding, now);
            }
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

    fn become_ready(&mut self, joined: bool) {
        if joined {
            self.awaited.meet(Awaiting::Gossip);
        }
        if self.is_ready || !self.awaited.is_empty() {
            return;
        }
        self.is_ready = true;
        info!(services = self.services.len(), "ready");
        if let Some(gossip) = &self.parts.gossip {
            gossip.set_state(NodeState::Ready);
        }
    }

    fn handle_input(&mut self, input: Input) {
        self.metrics.updates.inc();
        match input {
            Input::Services(update) => self.handle_services(update),
            Input::Slices(update) => self.handle_slices(update),
            Input::Nodes(update) => self.handle_nodes(update),
            Input::Pools(update) => {
                match update {
                    Update::Applied(pool) => self.catalog.set_pool(&pool),
                    Update::Deleted(key) => self.catalog.remove_pool(&PoolName::new(key.name)),
                    Update::Synced => self.awaited.meet(Awaiting::Pools),
                }
                self.config_changed();
            }
            Input::Advertisements(update) => {
                match update {
                    Update::Applied(advertisement) => self.catalog.set_l2_advertisement(&advertisement),
                    Update::Deleted(key) => self.catalog.remove_l2_advertisement(&key.name),
                    Update::Synced => self.awaited.meet(Awaiting::Advertisements),
                }
                self.config_changed();
            }
            Input::Peers(update) => self.handle_peers(update),
        }
    }

    fn handle_services(&mut self, update: Update<Seen>) {
        match update {
            Update::Applied(seen) => self.set_service(seen),
            Update::Deleted(key) => self.remove_service(&ServiceKey::new(&key.namespace, &key.name)),
            Update::Synced => self.awaited.meet(Awaiting::Services),
        }
    }

    fn set_service(&mut self, seen: Seen) {
        if seen.ours {
            self.services.insert(seen.exposure.key.clone(), seen.reference);
            self.ownership.set_service(seen.exposure);
        } else {
            self.remove_service(&seen.exposure.key);
        }
    }

    fn remove_service(&mut self, key: &ServiceKey) {
        self.services.remove(key);
        self.ownership.remove_service(key);
    }

    fn handle_slices(&mut self, update: Update<EndpointSlice>) {
        if matches!(update, Update::Synced) {
            self.awaited.meet(Awaiting::EndpointSlices);
        }
        for service in self.slices.update(update) {
            let endpoints = self.slices.endpoints(&service);
            self.ownership.set_endpoints(service, endpoints);
        }
    }

    fn handle_nodes(&mut self, update: Update<Node>) {
        match update {
            Update::Applied(node) => self.ownership.set_node(node),
            Update::Deleted(key) => self.ownership.remove_node(&NodeName::new(key.name)),
            Update::Synced => self.awaited.meet(Awaiting::Nodes),
        }
    }

    fn handle_peers(&mut self, update: Update<Peer>) {
        self.is_reach_stale = true;
        match update {
            Update::Applied(peer) => {
                self.peers.insert(peer.pod.clone(), peer);
            }
            Update::Deleted(key) => {
                self.peers.remove(&key.name);
            }
            Update::Synced => self.awaited.meet(Awaiting::SpeakerPods),
        }
        if self.awaited.contains(Awaiting::SpeakerPods) {
            return;
        }
        if let Some(gossip) = &self.parts.gossip {
            let nodes: BTreeMap<NodeName, IpAddr> =
                self.peers.values().filter_map(|peer| peer.at.clone()).collect();
            // Pods tell much else.
            if self.expected.as_ref() != Some(&nodes) {
                gossip.set_peers(input::endpoints(&nodes, self.gossip_port));
                self.holdings.set_nodes(nodes.clone(), self.now());
                self.expected = Some(nodes);
            }
        }
    }

    fn handle_interfaces(&mut self, interfaces: Vec<Interface>) {
        let links = wire::links(&interfaces, &self.parts.exclude);
        let names: BTreeSet<String> = links.iter().map(|link| link.name.clone()).collect();
        self.ownership.set_interfaces(names);
        let is_linked = !links.is_empty();
        if let Some(gossip) = &self.parts.gossip {
            gossip.set_links(links);
            if is_linked && !self.is_linked && !self.awaited.contains(Awaiting::Interfaces) {
                gossip.handle_flap();
            }
        }
        if is_linked && !self.is_linked && self.holdings.reverify(self.now()) {
            // Whoever was cut off does not know who has taken over. The wire task would announce at once what it holds.
            self.parts.wire.send(Command::WithdrawAll);
        }
        self.is_linked = is_linked;
        self.parts.wire.set_interfaces(interfaces);
        self.awaited.meet(Awaiting::Interfaces);
    }

    fn config_changed(&mut self) {
        self.ownership
            .set_config(self.catalog.pools(), self.catalog.l2_advertisements());
        let problems = self.catalog.problems().to_vec();
        self.metrics.set_config(!problems.is_empty());
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            warn!("failed to parse the configuration: {problem}");
        }
        self.problems = problems;
        self.show_state();
    }

    /// Says in the `ConfigurationState` what this speaker thinks of pools and advertisements, once it knows both.
    fn show_state(&self) {
        if self.awaited.contains(Awaiting::Pools) || self.awaited.contains(Awaiting::Advertisements) {
            return;
        }
        let mut status = convert::configuration_state("configReconcilerValid", &self.problems);
        if let Some(is_blocked) = self.reach.is_blocked() {
            let obstacle = is_blocked.then(|| self.gossip_obstacle());
            let condition = convert::gossip_reachable(obstacle.as_deref());
            status.conditions.push(condition);
        }
        let wish = DesiredObject {
            labels: [
                ("metallb.io/component-type".to_owned(), "speaker".to_owned()),
                ("metallb.io/node-name".to_owned(), self.node.to_string()),
            ]
            .into(),
            status: json!(status),
        };
        self.parts.state.send_if_modified(|shown| {
            let differs = shown.as_ref() != Some(&wish);
            *shown = Some(wish);
            differs
        });
    }

    /// Carries out every verdict that the last mutation changed, and whatever else it led to; nothing before all is known.
    fn drain(&mut self) {
        if !self.is_ready {
            return;
        }
        while let Some(change) = self.ownership.poll_change() {
            let (service, before, after) = (&change.service, change.before.as_ref(), change.after.as_ref());
            let now = self.now();
            self.holdings.set_verdict(service, before, after, now);
            self.tell(service, after);
            self.unshown.insert(change.service);
        }
        while let Some(effect) = self.holdings.poll_effect() {
            self.carry_out(effect);
        }
        while let Some(service) = self.unshown.pop_first() {
            self.show_status(service);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A watched variable whose present value counts as a change.
fn unseen<T>(mut receiver: watch::Receiver<T>) -> watch::Receiver<T> {
    receiver.mark_changed();
    receiver
}

/// The next value of a watched variable, `None` when its writer is gone; never, if there is none.
async fn changed<T: Clone>(watched: &mut Option<watch::Receiver<T>>) -> Option<T> {
    match watched {
        Some(receiver) => receiver
            .changed()
            .await
            .ok()
            .map(|()| receiver.borrow_and_update().clone()),
        None => std::future::pending().await,
    }
}

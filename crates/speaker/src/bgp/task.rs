//! The loop of the BGP thread: drives the peers with commands, bytes and time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_bgp::ribs_out::RibsOut;
use herald_core::Time;
use herald_netio::{Interface, Poller};
use herald_runtime::health::Beat;
use tokio::sync::mpsc::UnboundedSender;

use super::context::PeerContext;
use super::metrics::BgpMetrics;
use super::peer::PeerShell;
use super::{BgpCommand, BgpReport, PeerSettings};

/// Commands done before connections are looked at again: a KEEPALIVE is delayed by these at most.
const CHORES: usize = 1024;
/// The longest wait, so that the beat is not missed.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest message (RFC 8654) fits.
const BUFFER: usize = 1 << 16;

/// Input of the BGP thread.
pub(super) enum BgpInput {
    /// The commands of one decision follow.
    DecisionBegins,
    /// Decided at this moment.
    Command(BgpCommand, Instant),
    /// All commands of a decision were there.
    DecisionEnds,
    Interfaces(Vec<Interface>),
}

/// State of the BGP thread.
pub(super) struct BgpTask {
    inputs: Receiver<BgpInput>,
    context: PeerContext,
    peers: BTreeMap<Arc<str>, PeerShell>,
    next_token: u64,
    seed: u64,
    zero: Instant,
}

/// Whether there is more of the same to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputProgress {
    More,
    Idle,
    Stop,
}

impl BgpTask {
    pub(super) fn new(
        poller: Poller,
        inputs: Receiver<BgpInput>,
        reports: UnboundedSender<BgpReport>,
        metrics: BgpMetrics,
        seed: u64,
    ) -> Self {
        Self {
            inputs,
            context: PeerContext {
                poller,
                reports,
                routes: RibsOut::default(),
                metrics,
                interfaces: Vec::new(),
                buffer: vec![0; BUFFER],
            },
            peers: BTreeMap::new(),
            next_token: 0,
            seed,
            zero: Instant::now(),
        }
    }

    /// Works until the handle is dropped.
    pub(super) fn run(mut self, beat: &Beat) -> anyhow::Result<()> {
        loop {
            beat.beat();
            let progress = self.handle_inputs();
            let now = self.now();
            self.context.routes.handle_timeout(now);
            for peer in self.peers.values_mut() {
                if progress == InputProgress::Stop {
                    peer.stop(now);
                }
                peer.handle_timeout(&mut self.context, now);
                peer.drive(&mut self.context, now);
            }
            if progress == InputProgress::Stop {
                return Ok(());
            }
            let timeout = self.timeout(progress);
            let ready = self.context.poller.wait(Some(timeout));
            let ready: Vec<u64> = ready.context("cannot wait for connections")?.collect();
            let now = self.now();
            for token in ready {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.token() == token) {
                    peer.handle_ready(&mut self.context, now);
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    fn timeout(&self, progress: InputProgress) -> Duration {
        if progress == InputProgress::More {
            return Duration::ZERO;
        }
        let peers = self.peers.values().filter_map(PeerShell::poll_timeout);
        let due = peers.chain(self.context.routes.poll_timeout()).min();
        due.map_or(LONGEST_WAIT, |due| (due - self.now()).min(LONGEST_WAIT))
    }

    fn handle_inputs(&mut self) -> InputProgress {
        for _ in 0..CHORES {
            match self.inputs.try_recv() {
                Ok(BgpInput::DecisionBegins) => self.context.routes.begin_decision(),
                Ok(BgpInput::DecisionEnds) => self.context.routes.end_decision(),
                Ok(BgpInput::Command(command, decided)) => self.handle_command(command, decided),
                Ok(BgpInput::Interfaces(interfaces)) => {
                    self.context.interfaces = interfaces;
                    let now = self.now();
                    for peer in self.peers.values_mut() {
                        peer.handle_interfaces(&mut self.context, now);
                    }
                }
                Err(TryRecvError::Empty) => return InputProgress::Idle,
                Err(TryRecvError::Disconnected) => return InputProgress::Stop,
            }
        }
        InputProgress::More
    }

    fn handle_command(&mut self, command: BgpCommand, decided: Instant) {
        let now = self.now();
        match command {
            BgpCommand::SetPeer(name, settings) => self.set_peer(name, *settings, now),
            BgpCommand::RemovePeer(name) => {
                if let Some(mut peer) = self.peers.remove(&name) {
                    peer.remove(now);
                    peer.drive(&mut self.context, now);
                    self.context.metrics.remove(&name);
                    self.context.routes.forget(&name);
                }
            }
            BgpCommand::SetRoute(change) => {
                if let Some(peer) = self.peers.get_mut(&change.peer) {
                    peer.handle_route(decided);
                }
                let is_last = change.attributes.is_none() && !self.peers.contains_key(&change.peer);
                let peer = Arc::clone(&change.peer);
                self.context.routes.set_route(change, now);
                if is_last {
                    self.context.routes.forget(&peer);
                }
            }
        }
    }

    fn set_peer(&mut self, name: Arc<str>, settings: PeerSettings, now: Time) {
        let labels = |settings: &PeerSettings| (settings.label(), settings.dial.device.clone());
        let (label, vrf) = labels(&settings);
        if let Some(peer) = self.peers.get_mut(&name) {
            if labels(peer.settings()) != (label.clone(), vrf.clone()) {
                peer.set_metrics(self.context.metrics.add(&name, label, vrf.as_deref()));
            }
            peer.set(settings, now);
            peer.handle_interfaces(&mut self.context, now);
            return;
        }
        let metrics = self.context.metrics.add(&name, label, vrf.as_deref());
        let token = self.next_token;
        self.next_token += 1;
        let seed = self.seed.wrapping_add(token);
        self.context.routes.add_peer(&name);
        let mut peer = PeerShell::new(Arc::clone(&name), settings, metrics, token, seed, now);
        peer.handle_interfaces(&mut self.context, now);
        self.peers.insert(name, peer);
    }
}

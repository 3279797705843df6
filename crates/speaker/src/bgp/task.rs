//! The loop of the BGP thread: drives the peers with commands, bytes and time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_core::Time;
use herald_netio::{Interface, Poller};
use herald_runtime::health::Beat;
use tokio::sync::mpsc::UnboundedSender;

use super::metrics::BgpMetrics;
use super::peer::PeerShell;
use super::{BgpCommand, BgpReport, PeerSettings};

/// Commands done before connections are looked at again: a KEEPALIVE is delayed by these at most.
const CHORES: usize = 256;
/// The longest wait, so that the beat is not missed.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest message (RFC 8654) fits.
const BUFFER: usize = 1 << 16;

/// Input of the BGP thread.
pub(super) enum BgpInput {
    Command(BgpCommand),
    Interfaces(Vec<Interface>),
}

/// State of the BGP thread.
pub(super) struct BgpTask {
    inputs: Receiver<BgpInput>,
    reports: UnboundedSender<BgpReport>,
    metrics: BgpMetrics,
    peers: BTreeMap<Arc<str>, PeerShell>,
    next_token: u64,
    interfaces: Vec<Interface>,
    received: Vec<u8>,
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
        inputs: Receiver<BgpInput>,
        reports: UnboundedSender<BgpReport>,
        metrics: BgpMetrics,
        seed: u64,
    ) -> Self {
        Self {
            inputs,
            reports,
            metrics,
            peers: BTreeMap::new(),
            next_token: 0,
            interfaces: Vec::new(),
            received: vec![0; BUFFER],
            seed,
            zero: Instant::now(),
        }
    }

    /// Works until the handle is dropped.
    pub(super) fn run(mut self, mut poller: Poller, beat: &Beat) -> anyhow::Result<()> {
        loop {
            beat.beat();
            let progress = self.handle_inputs(&poller);
            let now = self.now();
            if progress == InputProgress::Stop {
                for peer in self.peers.values_mut() {
                    peer.stop(now);
                }
            }
            for peer in self.peers.values_mut() {
                peer.handle_timeout(now);
                peer.drive(&poller, &self.reports, now);
            }
            if progress == InputProgress::Stop {
                return Ok(());
            }
            let timeout = self.timeout(progress);
            let ready = poller
                .wait(Some(timeout))
                .context("cannot wait for connections")?;
            let now = Time::since_zero(self.zero.elapsed());
            for token in ready {
                if let Some(peer) = self.peers.values_mut().find(|peer| peer.token() == token) {
                    peer.handle_ready(&mut self.received, &self.interfaces, now);
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
        let due = self.peers.values().filter_map(PeerShell::poll_timeout).min();
        due.map_or(LONGEST_WAIT, |due| (due - self.now()).min(LONGEST_WAIT))
    }

    fn handle_inputs(&mut self, poller: &Poller) -> InputProgress {
        for _ in 0..CHORES {
            match self.inputs.try_recv() {
                Ok(BgpInput::Command(command)) => self.handle_command(command, poller),
                Ok(BgpInput::Interfaces(interfaces)) => {
                    self.interfaces = interfaces;
                    for peer in self.peers.values_mut() {
                        peer.set_interfaces(&self.interfaces);
                    }
                }
                Err(TryRecvError::Empty) => return InputProgress::Idle,
                Err(TryRecvError::Disconnected) => return InputProgress::Stop,
            }
        }
        InputProgress::More
    }

    fn handle_command(&mut self, command: BgpCommand, poller: &Poller) {
        let now = self.now();
        match command {
            BgpCommand::SetPeer(name, settings) => {
                let labels = |settings: &PeerSettings| (settings.dial.peer, settings.dial.device.clone());
                let (address, vrf) = labels(&settings);
                let add = || self.metrics.add(&name, address, vrf.as_deref());
                if let Some(peer) = self.peers.get_mut(&name) {
                    if labels(peer.settings()) != (address, vrf.clone()) {
                        peer.set_metrics(add());
                    }
                    peer.set(*settings, now);
                } else {
                    let metrics = add();
                    let token = self.next_token;
                    self.next_token += 1;
                    let seed = self.seed.wrapping_add(token);
                    let peer = PeerShell::new(Arc::clone(&name), *settings, metrics, token, seed, now);
                    self.peers.insert(name, peer);
                }
            }
            BgpCommand::RemovePeer(name) => {
                if let Some(mut peer) = self.peers.remove(&name) {
                    peer.remove(now);
                    peer.drive(poller, &self.reports, now);
                    self.metrics.remove(&name);
                }
            }
            BgpCommand::SetRoute(change) => {
                if let Some(peer) = self.peers.get_mut(&change.peer) {
                    peer.set_route(change);
                }
            }
        }
    }
}

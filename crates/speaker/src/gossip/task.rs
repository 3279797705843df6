//! The thread that owns the socket and the membership.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use herald_core::{Liveness, Member, NodeName, NodeState, Time};
use herald_l2::Link;
use herald_membership::codec::Rejection;
use herald_membership::codec::seal::Seal;
use herald_membership::{LocalLink, Membership, MembershipEvent};
use herald_netio::Poller;
use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

use super::allowance::Allowance;
use super::metrics::Metrics;

/// What the rest of the speaker asks of the thread.
pub(super) enum Command {
    SetPeers(BTreeMap<NodeName, SocketAddr>),
    SetState(NodeState),
    SetLinks(Vec<Link>),
    SetUnresponsive(Vec<u32>),
    /// This node was out of the world.
    Flap,
    /// A peer found that this node does not answer on the wire.
    ReportedUnresponsive,
    /// Say good-bye, then tell that it is done, then stop.
    Leave(oneshot::Sender<()>),
}

/// Everything that the thread owns.
pub(super) struct Task {
    pub(super) socket: UdpSocket,
    pub(super) seal: Seal,
    pub(super) membership: Membership,
    pub(super) metrics: Metrics,
    pub(super) commands: Receiver<Command>,
    pub(super) members: watch::Sender<Arc<[Member]>>,
    pub(super) joined: watch::Sender<bool>,
    /// What datagrams of unknown senders may cost.
    pub(super) strangers: Allowance,
    pub(super) zero: Instant,
}

/// Datagrams taken in before timers get their turn, even in a flood.
const DRAIN: usize = 512;

impl Task {
    /// Runs until it has left, or until the [`super::Gossip`] was dropped: then it falls silent like a crash. Only
    /// `poller` waits here, which knows the socket.
    pub(super) fn run(mut self, mut poller: Poller) {
        let mut buffer = [0; 2048];
        let mut left = None;
        loop {
            // First, and whatever the poller said: after a stall the answers lie in the socket, while the timers say that they
            // never came.
            self.drain_socket(&mut buffer);
            loop {
                match self.commands.try_recv() {
                    Ok(command) => left = self.obey(command).or(left),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.membership.handle_timeout(self.now());
            self.report_events();
            self.flush();
            self.publish();
            if self.membership.has_left() {
                break;
            }
            let due = self.membership.poll_timeout();
            let timeout = due.map(|due| due.saturating_since(self.now()));
            if let Err(error) = poller.wait(timeout) {
                warn!(%error, "cannot wait for gossip datagrams");
                return;
            }
        }
        if let Some(left) = left {
            // Whoever asked may have stopped waiting; we are gone either way.
            let _gone = left.send(());
        }
    }

    fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    fn obey(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        let now = self.now();
        match command {
            Command::SetPeers(peers) => self.membership.set_expected_peers(peers, now),
            Command::SetState(state) => self.membership.set_state(state, now),
            Command::SetLinks(links) => {
                let links: Vec<LocalLink<'_>> = links.iter().map(local_link).collect();
                self.membership.set_links(&links, now);
            }
            Command::SetUnresponsive(nodes) => self.membership.set_unresponsive(nodes, now),
            Command::Flap => self.membership.handle_flap(now),
            Command::ReportedUnresponsive => self.membership.handle_reported_unresponsive(now),
            Command::Leave(left) => {
                self.membership.leave(now);
                return Some(left);
            }
        }
        None
    }

    fn drain_socket(&mut self, buffer: &mut [u8]) {
        for _ in 0..DRAIN {
            match self.socket.recv_from(buffer) {
                Ok((length, from)) => self.take_in(&buffer[..length], from),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(%error, "receiving a gossip datagram failed");
                    return;
                }
            }
        }
    }

    fn take_in(&mut self, datagram: &[u8], from: SocketAddr) {
        self.metrics.received.inc();
        let now = self.now();
        let result = self
            .open(datagram, from, now)
            .and_then(|content| self.membership.handle_datagram(&content, from, now));
        if let Err(rejection) = result {
            self.metrics.rejected(rejection);
            debug!(%from, reason = rejection.as_str(), "gossip datagram dropped: {rejection}");
        }
    }

    fn open(&mut self, datagram: &[u8], from: SocketAddr, now: Time) -> Result<Vec<u8>, Rejection> {
        if self.seal.must_derive(datagram) && !self.membership.is_peer(from) && !self.strangers.poll_use(now)
        {
            return Err(Rejection::Flood);
        }
        self.seal.open(datagram)
    }

    fn flush(&mut self) {
        while let Some((to, content)) = self.membership.poll_transmit() {
            let datagram = match self.seal.seal(&content) {
                Ok(datagram) => datagram,
                Err(error) => {
                    self.metrics.send_failed();
                    warn!(%error, "sealing a gossip datagram failed");
                    continue;
                }
            };
            match self.socket.send_to(&datagram, to) {
                Ok(_) => self.metrics.sent.inc(),
                Err(error) => {
                    self.metrics.send_failed();
                    debug!(%to, %error, "sending a gossip datagram failed");
                }
            }
        }
    }

    fn report_events(&mut self) {
        while let Some(event) = self.membership.poll_event() {
            if event.ends_session() {
                self.start_session();
            }
            match event {
                MembershipEvent::Liveness { node, from, to } => self.report_liveness(&node, from, to),
                MembershipEvent::Rejoined => {
                    self.metrics.rejoins.inc();
                    warn!("the peers had declared this speaker down; it is back");
                }
                MembershipEvent::Overtaken => warn!(
                    "the peers know a later start of this speaker: the clock went back, or a second speaker \
                     uses this node's name"
                ),
                MembershipEvent::Alone => info!("the last peer is gone"),
                MembershipEvent::Irregular(error) => warn!(error, "gossip stumbled"),
            }
        }
    }

    fn report_liveness(&self, node: &NodeName, from: Option<Liveness>, to: Liveness) {
        match (from, to) {
            (_, Liveness::Suspect) => {
                self.metrics.suspicions.inc();
                info!(%node, "speaker suspected to be dead");
            }
            (Some(Liveness::Suspect), Liveness::Alive) => {
                self.metrics.false_suspicions.inc();
                info!(%node, "suspected speaker is alive");
            }
            (_, Liveness::Alive) => info!(%node, "speaker is up"),
            (None, Liveness::Down) => debug!(%node, "speaker expected"),
            (Some(_), Liveness::Down) => info!(%node, "speaker is down"),
        }
    }

    fn start_session(&mut self) {
        if let Err(error) = self.seal.start_session() {
            warn!(%error, "going on with the old gossip session");
        }
    }

    /// Tells the rest of the speaker what changed, and only that.
    fn publish(&self) {
        let members = self.membership.members();
        self.members.send_if_modified(|published| {
            let changed = !Arc::ptr_eq(published, members);
            if changed {
                *published = members.clone();
                self.metrics.set_members(members);
            }
            changed
        });
        let joined = self.membership.joined();
        self.joined
            .send_if_modified(|published| std::mem::replace(published, joined) != joined);
    }
}

/// What peers learn of a link.
fn local_link(link: &Link) -> LocalLink<'_> {
    LocalLink {
        name: &link.name,
        mac: link.mac,
        prefixes: &link.prefixes,
    }
}

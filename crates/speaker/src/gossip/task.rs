//! The thread that owns the socket and the membership.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use herald_core::{Features, Liveness, Member, NodeName, NodeState, Time};
use herald_l2::Link;
use herald_membership::codec::Rejection;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::{LocalLink, Membership, MembershipEvent};
use herald_netio::Poller;
use herald_runtime::health::Beat;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::PeerMessage;
use super::metrics::GossipMetrics;
use super::new_sessions::NewSessions;
use super::random::Random;

/// The longest wait for datagrams, so that the thread shows a sign of life.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A request of the rest of the speaker to the thread.
pub(super) enum GossipCommand {
    SetPeers(BTreeMap<NodeName, SocketAddr>),
    SetState(NodeState),
    SetLinks(Vec<Link>),
    SetUnresponsive(Vec<u32>),
    SetFeatures(Features),
    /// This node was cut off and is back.
    Flap,
    /// A peer reports that this node does not answer on the wire.
    ReportedUnresponsive,
    /// Ask a peer whether it announces an address.
    Query(NodeName, IpAddr),
    /// Answer a peer whether this node announces an address.
    Answer(NodeName, IpAddr, bool),
    /// Leave the cluster, confirm it, then stop.
    Leave(oneshot::Sender<()>),
}

/// Everything that the thread owns.
pub(super) struct GossipTask {
    pub(super) socket: UdpSocket,
    pub(super) seal: Seal,
    pub(super) secrets: watch::Receiver<Vec<Secret>>,
    pub(super) membership: Membership,
    pub(super) metrics: GossipMetrics,
    pub(super) commands: Receiver<GossipCommand>,
    pub(super) members: watch::Sender<Arc<[Member]>>,
    pub(super) joined: watch::Sender<bool>,
    pub(super) peer_messages: mpsc::Sender<PeerMessage>,
    /// Limits the work for datagrams of unknown sessions.
    pub(super) new_sessions: NewSessions,
    pub(super) random: Random,
    pub(super) zero: Instant,
}

/// Datagrams that are handled before the timers, even in a flood.
const BATCH: usize = 512;

impl GossipTask {
    /// Runs until it has left, or until the [`super::Gossip`] was dropped: then it stops without leaving, like a crash. It
    /// waits only in `poller`, which knows the socket.
    pub(super) fn run(mut self, mut poller: Poller, beat: &Beat) {
        let mut buffer = [0; 2048];
        let mut left = None;
        loop {
            beat.beat();
            self.follow_secrets();
            // First, and whatever woke the poller: after a stall the answers are in the socket, while the timers say that they
            // never came.
            self.drain_socket(&mut buffer);
            loop {
                match self.commands.try_recv() {
                    Ok(command) => left = self.handle_command(command).or(left),
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
            let timeout = due.map_or(LONGEST_WAIT, |due| {
                due.saturating_since(self.now()).min(LONGEST_WAIT)
            });
            if let Err(error) = poller.wait(Some(timeout)) {
                warn!(%error, "cannot wait for gossip datagrams");
                return;
            }
        }
        if let Some(left) = left {
            // The caller may have stopped waiting; this member has left either way.
            let _gone = left.send(());
        }
    }

    fn now(&self) -> Time {
        Time::since_zero(self.zero.elapsed())
    }

    /// Returns where to confirm a leave.
    fn handle_command(&mut self, command: GossipCommand) -> Option<oneshot::Sender<()>> {
        let now = self.now();
        match command {
            GossipCommand::SetPeers(peers) => self.membership.set_expected_peers(peers, now),
            GossipCommand::SetState(state) => self.membership.set_state(state, now),
            GossipCommand::SetLinks(links) => {
                let links: Vec<LocalLink<'_>> = links.iter().map(local_link).collect();
                self.membership.set_links(&links, now);
            }
            GossipCommand::SetUnresponsive(nodes) => self.membership.set_unresponsive(nodes, now),
            GossipCommand::SetFeatures(features) => self.membership.set_features(features, now),
            GossipCommand::Flap => self.membership.handle_flap(now),
            GossipCommand::ReportedUnresponsive => self.membership.handle_reported_unresponsive(now),
            GossipCommand::Query(peer, address) => self.membership.query(peer, address, now),
            GossipCommand::Answer(peer, address, announces) => {
                self.membership.answer(peer, address, announces, now);
            }
            GossipCommand::Leave(left) => {
                self.membership.leave(now);
                return Some(left);
            }
        }
        None
    }

    fn follow_secrets(&mut self) {
        // Without a sender the keys stay as they are.
        if !self.secrets.has_changed().unwrap_or(false) {
            return;
        }
        match self.random.bytes() {
            Ok(session) => {
                let secrets = self.secrets.borrow_and_update().clone();
                self.seal.set_secrets(secrets, session);
            }
            Err(error) => warn!(%error, "going on with the old gossip keys"),
        }
    }

    fn drain_socket(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match self.socket.recv_from(buffer) {
                Ok((length, from)) => self.handle_datagram(&buffer[..length], from),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(%error, "receiving a gossip datagram failed");
                    return;
                }
            }
        }
    }

    fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        self.metrics.received.inc();
        let now = self.now();
        let result = self
            .open(datagram, from, now)
            .and_then(|content| self.membership.handle_datagram(&content, from, now));
        if let Err(rejection) = result {
            self.metrics.rejected(rejection);
            debug!(%from, reason = rejection.reason(), "gossip datagram dropped: {rejection}");
        }
    }

    fn open(&mut self, datagram: &[u8], from: SocketAddr, now: Time) -> Result<Vec<u8>, Rejection> {
        if self.seal.must_derive(datagram)
            && !self
                .new_sessions
                .poll_use(from, self.membership.is_peer(from), now)
        {
            return Err(Rejection::Flood);
        }
        self.seal.open(datagram)
    }

    fn flush(&mut self) {
        while let Some((to, content)) = self.membership.poll_transmit() {
            let nonce = match self.random.bytes() {
                Ok(nonce) => nonce,
                Err(error) => {
                    self.metrics.send_failed();
                    warn!(%error, "sealing a gossip datagram failed");
                    continue;
                }
            };
            let datagram = self.seal.seal(&content, nonce);
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
                MembershipEvent::Superseded => warn!(
                    "the peers know a later start of this speaker: the clock went back, or a second speaker \
                     uses this node's name"
                ),
                MembershipEvent::Queried { peer, address } => {
                    self.pass_on(PeerMessage::Queried { peer, address });
                }
                MembershipEvent::Answered {
                    peer,
                    address,
                    announces,
                } => {
                    self.pass_on(PeerMessage::Answered {
                        peer,
                        address,
                        announces,
                    });
                }
                MembershipEvent::Isolated => info!("the last peer is gone"),
                MembershipEvent::Irregular(error) => warn!(error, "the SWIM library refused a call"),
            }
        }
    }

    fn pass_on(&self, message: PeerMessage) {
        if let Err(error) = self.peer_messages.try_send(message) {
            debug!(%error, "a message of a peer is lost");
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
        match self.random.bytes() {
            Ok(session) => self.seal.start_session(session),
            Err(error) => warn!(%error, "going on with the old gossip session"),
        }
    }

    /// Publishes what changed to the rest of the speaker.
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

/// Returns what peers learn of a link.
fn local_link(link: &Link) -> LocalLink<'_> {
    LocalLink {
        name: &link.name,
        mac: link.mac,
        prefixes: &link.prefixes,
    }
}

#[cfg(test)]
mod tests {
    use herald_core::{MacAddr, Prefix};

    use super::*;

    #[test]
    fn peers_learn_name_mac_address_and_subnets_of_a_link() {
        let link = Link {
            index: herald_l2::LinkIndex(7),
            name: "eth0".to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            prefixes: vec![Prefix {
                address: [192, 0, 2, 1].into(),
                length: 24,
            }],
            arp: true,
            ndp: false,
        };
        let local = local_link(&link);
        assert_eq!((local.name, local.mac), ("eth0", link.mac));
        assert_eq!(local.prefixes, link.prefixes);
    }
}

//! The shell of membership: socket, clock, keys and metrics.
//!
//! [`Gossip`] is the handle. A thread of its own drives [`Membership`], so that no burst from the API server delays an
//! answer to a probe.

pub(crate) mod keys;
mod metrics;
mod new_sessions;
mod random;
mod task;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use herald_core::announce::agent::Agent;
use herald_core::{Features, Member, NodeName, NodeState, Time};
use herald_l2::Link;
use herald_membership::codec::report;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::identity::Epoch;
use herald_membership::{Membership, Timings};
use herald_netio::{Mailbox, Poller};
use herald_runtime::health::Beat;
use tokio::sync::{mpsc, oneshot, watch};

use metrics::GossipMetrics;
use new_sessions::NewSessions;
use random::Random;
use task::{GossipCommand, GossipTask};

/// The settings of gossip.
#[derive(Debug, Clone)]
pub(crate) struct GossipOptions {
    /// The node's name, the same as in Kubernetes.
    pub(crate) node: NodeName,
    /// The address to listen at, and that peers send to: an address of this node, not the unspecified one.
    pub(crate) bind: SocketAddr,
    /// The shared keys: the first one seals, all open. Without a key, gossip is neither secret nor authentic. The thread
    /// follows their changes within a second.
    pub(crate) secrets: watch::Receiver<Vec<Secret>>,
    /// How fast a failure is detected.
    pub(crate) timings: Timings,
}

/// A running gossip thread. Dropping it stops the thread without leaving the cluster, as a crash does.
pub(crate) struct Gossip {
    commands: Mailbox<GossipCommand>,
    members: watch::Receiver<Arc<[Member]>>,
    joined: watch::Receiver<bool>,
    peer_messages: mpsc::Receiver<PeerMessage>,
    /// The address of the socket, with the port that the system chose if [`GossipOptions::bind`] has none.
    #[cfg(test)]
    address: SocketAddr,
}

/// What a peer asks of this node, or answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PeerMessage {
    /// The peer asks whether this node announces an address; answer with [`Gossip::answer`].
    Queried { peer: NodeName, address: IpAddr },
    /// The peer has answered [`Gossip::query`].
    Answered {
        peer: NodeName,
        address: IpAddr,
        announces: bool,
    },
}

impl PeerMessage {
    /// Hands the message to the agent.
    pub(crate) fn apply(self, agent: &mut Agent, now: Time) {
        match self {
            Self::Queried { peer, address } => agent.handle_query(peer, address),
            Self::Answered {
                peer,
                address,
                announces,
            } => agent.handle_reply(&peer, address, announces, now),
        }
    }
}

/// Returns the next message of a peer; `None` when the gossip thread has ended. Never returns without gossip.
///
/// # Cancel safety
/// Cancel safe: no message is lost when the future is dropped.
pub(crate) async fn next_message(gossip: &mut Option<Gossip>) -> Option<PeerMessage> {
    match gossip {
        Some(gossip) => gossip.peer_messages.recv().await,
        None => std::future::pending().await,
    }
}

/// Messages of peers that may wait; further ones are lost, as on the network. More than membership admits in a second from
/// three peers.
const WAITING_MESSAGES: usize = 512;

/// Commands that may wait. There are some at the start and at each change of the node or its peers, and the thread handles
/// them after each few hundred datagrams.
const WAITING_COMMANDS: usize = 1024;

/// How long [`Gossip::leave`] waits for the leave messages, which take some 60 ms.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(300);

impl Gossip {
    /// Binds the socket and starts the thread.
    ///
    /// # Errors
    /// If the address cannot be bound, or the metrics are registered already.
    pub(crate) fn start(
        options: GossipOptions,
        registry: &prometheus::Registry,
        beat: Beat,
    ) -> anyhow::Result<Self> {
        let GossipOptions {
            node,
            bind,
            mut secrets,
            timings,
        } = options;
        ensure!(
            (1..=report::MAX_NODE).contains(&node.as_str().len()),
            "the node's name {:?} must have 1 to {} bytes",
            node.as_str(),
            report::MAX_NODE
        );
        ensure!(
            !bind.ip().is_unspecified(),
            "gossip cannot listen on {bind}: peers send to this address, so it must be one of this node's"
        );
        let keys = secrets.borrow_and_update().clone();
        if keys.is_empty() {
            tracing::warn!("gossip runs without a key: every host on the network can read and forge it");
        }
        let metrics = GossipMetrics::register(registry)?;
        let socket = listen(bind).with_context(|| format!("cannot listen for gossip on UDP {bind}"))?;
        let address = socket.local_addr()?;
        let random = Random::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "orders the lives of a speaker over restarts of its node"
        )]
        let now = SystemTime::now();
        let epoch = Epoch::at(since_1970(now), rand::random());
        let membership = Membership::new(node, address, epoch, timings, rand::random());
        let seal = Seal::new(keys, random.bytes()?);
        let poller = Poller::new().context("cannot wait for gossip")?;
        poller
            .add(&socket, SOCKET)
            .context("cannot watch the gossip socket")?;
        let (commands, receiver) = poller.mailbox(WAITING_COMMANDS);
        let (members, members_receiver) = watch::channel(membership.members().clone());
        let (joined, joined_receiver) = watch::channel(false);
        let (peer_messages, peer_messages_receiver) = mpsc::channel(WAITING_MESSAGES);
        metrics.set_members(membership.members());
        let task = GossipTask {
            socket,
            seal,
            secrets,
            membership,
            metrics,
            commands: receiver,
            members,
            joined,
            peer_messages,
            new_sessions: NewSessions::new(),
            random,
            zero: Instant::now(),
        };
        std::thread::Builder::new()
            .name("gossip".to_owned())
            .spawn(move || task.run(poller, &beat))
            .context("cannot start the gossip thread")?;
        Ok(Self {
            commands,
            members: members_receiver,
            joined: joined_receiver,
            peer_messages: peer_messages_receiver,
            #[cfg(test)]
            address,
        })
    }

    /// Replaces the expected peers: node name and gossip address of each speaker that Kubernetes knows. The name of this
    /// node is ignored. Joining starts with the first call.
    pub(crate) fn set_peers(&self, peers: BTreeMap<NodeName, SocketAddr>) {
        self.send(GossipCommand::SetPeers(peers));
    }

    /// Reports the state of this speaker; [`NodeState::Starting`] at first.
    pub(crate) fn set_state(&self, state: NodeState) {
        self.send(GossipCommand::SetState(state));
    }

    /// Reports the links of this node: MAC addresses, subnets and interfaces ([`Membership::set_links`]).
    pub(crate) fn set_links(&self, links: Vec<Link>) {
        self.send(GossipCommand::SetLinks(links));
    }

    /// Reports the nodes ([`NodeName::tag`]) that do not answer on the wire although they are alive, so that this one is
    /// their acting owner; four are reported.
    pub(crate) fn set_unresponsive(&self, unresponsive: Vec<u32>) {
        self.send(GossipCommand::SetUnresponsive(unresponsive));
    }

    /// Reports what this speaker can do; what its version knows at first.
    pub(crate) fn set_features(&self, features: Features) {
        self.send(GossipCommand::SetFeatures(features));
    }

    /// Counts a flap: this node was cut off, for example unplugged, and is back. A node that flaps ranks after all others.
    pub(crate) fn handle_flap(&self) {
        self.send(GossipCommand::Flap);
    }

    /// Counts flaps because a peer reports that this node does not answer on the wire: other nodes are preferred for a while.
    pub(crate) fn handle_reported_unresponsive(&self) {
        self.send(GossipCommand::ReportedUnresponsive);
    }

    /// Asks a peer whether it announces an address. The answer is a [`PeerMessage::Answered`], if the peer is reachable.
    pub(crate) fn query(&self, peer: NodeName, address: IpAddr) {
        self.send(GossipCommand::Query(peer, address));
    }

    /// Answers [`PeerMessage::Queried`].
    pub(crate) fn answer(&self, peer: NodeName, address: IpAddr, announces: bool) {
        self.send(GossipCommand::Answer(peer, address, announces));
    }

    /// The members in order of their names. It changes only when a member changed, and is closed when the thread has ended.
    ///
    /// The list has this member, all known members that are not down, and the expected peers. An expected peer that is not
    /// there is [`herald_core::Liveness::Down`] with its last report; [`NodeState::Starting`] if it never reported.
    pub(crate) fn members(&self) -> watch::Receiver<Arc<[Member]>> {
        self.members.clone()
    }

    /// Whether a first attempt to join is over: all expected peers answered, or some did and the rest had a
    /// quarter of a second, or [`Timings::join_timeout`] has passed since the first [`Gossip::set_peers`], or
    /// no peer is expected. Stays true.
    pub(crate) fn joined(&self) -> watch::Receiver<bool> {
        self.joined.clone()
    }

    /// Leaves the cluster, so that peers see this member down at once, and stops. Takes 60 ms, 300 ms at most.
    pub(crate) async fn leave(self) {
        let (done, left) = oneshot::channel();
        self.send(GossipCommand::Leave(done));
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!("the gossip thread did not leave the cluster in time");
        }
    }

    fn send(&self, command: GossipCommand) {
        // When the thread has ended, the receiver of the members sees it.
        self.commands.send(command);
    }
}

/// The token of the socket in the poller, which waits for nothing else.
const SOCKET: u64 = 0;

/// Room for datagrams that arrive while the process stalls: the answers of a large cluster, or a flood among which the
/// authentic datagrams must not be lost.
const RECEIVE_BUFFER: usize = 4 << 20;

fn listen(bind: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(bind)?;
    socket.set_nonblocking(true)?;
    // The kernel gives at most net.core.rmem_max; gossip works with less.
    if let Err(error) = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::warn!(%error, "gossip goes on with the default receive buffer");
    }
    Ok(socket)
}

/// Returns the time since 1970; zero for a clock that is set to an earlier time.
fn since_1970(clock: SystemTime) -> Duration {
    clock.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod loopback;

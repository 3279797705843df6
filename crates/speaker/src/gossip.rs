//! Membership: which speakers are there, and what each says of itself.
//!
//! [`Gossip`] is the handle; a thread of its own does the work, so that no burst from the API server ever delays
//! an answer to a probe. `task` drives [`Membership`], which decides without clock or socket.

mod allowance;
mod metrics;
mod task;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use herald_core::{Member, NodeName, NodeState};
use herald_l2::Link;
use herald_membership::codec::report;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::identity::Epoch;
use herald_membership::{Membership, Timings};
use herald_netio::{Mailbox, Poller};
use tokio::sync::{oneshot, watch};

use allowance::Allowance;
use metrics::Metrics;
use task::{Command, Task};

/// How a speaker takes part in gossip.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name, the same as in Kubernetes.
    pub node: NodeName,
    /// Where to listen, and where peers send to: an address of this node, not the unspecified one.
    pub bind: SocketAddr,
    /// The shared keys: the first seals, any opens. Without any, gossip is neither secret nor authentic.
    pub secrets: Vec<Secret>,
    /// How fast death is noticed.
    pub timings: Timings,
}

/// A running gossip thread. Dropping it stops the thread without a good-bye, which peers take for a crash.
pub struct Gossip {
    commands: Mailbox<Command>,
    members: watch::Receiver<Arc<[Member]>>,
    joined: watch::Receiver<bool>,
    address: SocketAddr,
}

/// Commands that may wait. There are some at the start and at each change of the node or its peers, and the thread takes
/// them after each few hundred datagrams.
const WAITING_COMMANDS: usize = 1024;

/// How long [`Gossip::leave`] waits for the good-byes; saying them takes some 60 ms.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(300);

impl Gossip {
    /// Binds the socket and starts the thread.
    ///
    /// # Errors
    /// If the address cannot be bound, or the metrics are registered already.
    pub fn start(options: Options, registry: &prometheus::Registry) -> anyhow::Result<Self> {
        let Options {
            node,
            bind,
            secrets,
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
            "gossip cannot listen on {bind}: peers are told this address, so it must be one of this node's"
        );
        if secrets.is_empty() {
            tracing::warn!("gossip runs without a key: anybody on the network can read and forge it");
        }
        let metrics = Metrics::register(registry)?;
        let socket = listen(bind).with_context(|| format!("cannot listen for gossip on UDP {bind}"))?;
        let address = socket.local_addr()?;
        let epoch = Epoch::at(SystemTime::now(), rand::random());
        let membership = Membership::new(node, address, epoch, timings, rand::random());
        let seal = Seal::new(secrets)?;
        let poller = Poller::new().context("cannot wait for gossip")?;
        poller
            .add(&socket, SOCKET)
            .context("cannot watch the gossip socket")?;
        let (commands, receiver) = poller.mailbox(WAITING_COMMANDS);
        let (members, members_receiver) = watch::channel(membership.members().clone());
        let (joined, joined_receiver) = watch::channel(false);
        metrics.set_members(membership.members());
        let task = Task {
            socket,
            seal,
            membership,
            metrics,
            commands: receiver,
            members,
            joined,
            strangers: Allowance::default(),
            zero: Instant::now(),
        };
        std::thread::Builder::new()
            .name("gossip".to_owned())
            .spawn(|| task.run(poller))
            .context("cannot start the gossip thread")?;
        Ok(Self {
            commands,
            members: members_receiver,
            joined: joined_receiver,
            address,
        })
    }

    /// Where this speaker listens; tells the port when [`Options::bind`] left it to the system.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whom to expect: node name and gossip address of every speaker that Kubernetes knows of. Replaces what was
    /// set before; our own name is ignored. Joining starts with the first call.
    pub fn set_peers(&self, peers: BTreeMap<NodeName, SocketAddr>) {
        self.tell(Command::SetPeers(peers));
    }

    /// What this speaker says of its state; [`NodeState::Starting`] at first.
    pub fn set_state(&self, state: NodeState) {
        self.tell(Command::SetState(state));
    }

    /// What can announce on this node: peers learn from which hardware addresses it answers, in which subnets it has a leg
    /// and by which interfaces ([`Membership::set_links`]).
    pub fn set_links(&self, links: Vec<Link>) {
        self.tell(Command::SetLinks(links));
    }

    /// Which nodes ([`NodeName::tag`]) do not answer on the wire although they live, so that this one does in their stead;
    /// peers learn four.
    pub fn set_unresponsive(&self, unresponsive: Vec<u32>) {
        self.tell(Command::SetUnresponsive(unresponsive));
    }

    /// This node was out of the world, unplugged for example, and is back. If that happens again and again, it is given
    /// addresses after all others.
    pub fn handle_flap(&self) {
        self.tell(Command::Flap);
    }

    /// A peer found that this node does not answer on the wire: others are preferred for a while.
    pub fn handle_reported_unresponsive(&self) {
        self.tell(Command::ReportedUnresponsive);
    }

    /// The members in order of their names, ourselves always among them. It changes only when something changed,
    /// and is closed when the thread has ended.
    ///
    /// Listed are ourselves, everybody heard of who is not down, and everybody expected. Who is expected and not there is
    /// [`herald_core::Liveness::Down`] and as it said last; [`NodeState::Starting`] if it was never heard of.
    pub fn members(&self) -> watch::Receiver<Arc<[Member]>> {
        self.members.clone()
    }

    /// Whether a first attempt to join is over: everybody expected answered, or somebody did and the rest had a
    /// quarter of a second, or [`Timings::join_timeout`] has passed since the first [`Gossip::set_peers`], or
    /// nobody is expected. Stays true.
    pub fn joined(&self) -> watch::Receiver<bool> {
        self.joined.clone()
    }

    /// Says good-bye, so that peers see us down at once, and stops. Takes 60 ms, 300 ms at most.
    pub async fn leave(self) {
        let (done, left) = oneshot::channel();
        self.tell(Command::Leave(done));
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!("the gossip thread did not say good-bye in time");
        }
    }

    fn tell(&self, command: Command) {
        // When the thread has ended, whoever watches the members sees that.
        self.commands.send(command);
    }
}

/// The socket's token in the poller, which waits for nothing else.
const SOCKET: u64 = 0;

/// Room for what arrives while the process gets no time: the answers of a large cluster, or a flood of datagrams of
/// which the good ones are not to be lost.
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

#[cfg(test)]
mod loopback;

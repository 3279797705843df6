//! Which stand-ins are alive.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// The port of memberlist.
const PORT: u16 = 7946;
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// After how long without a sign of life a member counts as dead: what memberlist took after SIGKILL.
const DEATH: Duration = Duration::from_secs(5);
const ALIVE: &str = "alive ";
const LEFT: &str = "left ";

/// The members as one of them knows them. Until it joins, it knows itself alone.
pub(super) struct Membership {
    node: String,
    socket: UdpSocket,
    peers: Vec<SocketAddr>,
    /// When the others were heard last; this node's own time is never used.
    members: BTreeMap<String, Instant>,
    join_at: Instant,
    next_heartbeat: Instant,
}

impl Membership {
    pub(super) async fn new(
        node: &str,
        address: IpAddr,
        peers: Vec<IpAddr>,
        join_at: Instant,
    ) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((address, PORT)).await;
        let peers = peers.into_iter().map(|peer| SocketAddr::new(peer, PORT));
        Ok(Self {
            node: node.to_owned(),
            socket: socket.context("cannot bind the port of memberlist")?,
            peers: peers.collect(),
            members: BTreeMap::from([(node.to_owned(), join_at)]),
            join_at,
            next_heartbeat: join_at,
        })
    }

    /// The names of the members.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> + Clone {
        self.members.keys()
    }

    /// Waits for a datagram. Returns whether it changed the members.
    pub(super) async fn receive(&mut self) -> anyhow::Result<bool> {
        let mut datagram = [0; 512];
        let length = match self.socket.recv(&mut datagram).await {
            Ok(length) => length,
            // A peer that does not run yet.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(false),
            Err(error) => return Err(error).context("cannot receive"),
        };
        let now = Instant::now();
        let text = String::from_utf8_lossy(&datagram[..length]);
        if now < self.join_at {
            return Ok(false);
        }
        if let Some(node) = text.strip_prefix(ALIVE) {
            let is_new = self.members.insert(node.to_owned(), now).is_none();
            if is_new {
                // So that the member that is new there learns of this one at once, as by a join.
                self.next_heartbeat = now;
            }
            return Ok(is_new);
        }
        let node = text.strip_prefix(LEFT);
        Ok(node.is_some_and(|node| self.members.remove(node).is_some()))
    }

    /// Sends a sign of life if it is time. Returns whether a member counts as dead now.
    pub(super) async fn handle_time(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT;
            self.send(ALIVE).await;
        }
        let before = self.members.len();
        self.members
            .retain(|node, heard| *node == self.node || now.duration_since(*heard) < DEATH);
        self.members.len() != before
    }

    /// Sends the other speakers the message that this one leaves.
    pub(super) async fn leave(&self) {
        self.send(LEFT).await;
    }

    async fn send(&self, what: &str) {
        let text = format!("{what}{}", self.node);
        for peer in &self.peers {
            // A peer that cannot be reached is not alive either.
            let _ = self.socket.send_to(text.as_bytes(), peer).await;
        }
    }
}

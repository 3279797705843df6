//! The link of an unnumbered peer: finds the router there, and makes this node known to it.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use herald_bgp::link_router::{ALL_ROUTERS, LinkRouter, RouterMessage};
use herald_core::Time;
use herald_netio::{Interface, Poller, RouterDiscoverySocket};
use ipnet::IpNet;
use tracing::{debug, warn};

/// Messages read before others have their turn.
const READS: usize = 16;

/// An interface by name, which may be missing for a time.
pub(super) struct PeerLink {
    name: String,
    router: LinkRouter,
    /// The socket, and the index of the interface that it is bound to.
    socket: Option<(RouterDiscoverySocket, u32)>,
}

impl PeerLink {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            router: LinkRouter::default(),
            socket: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Begins when the interface is there and has a link-local address, and ends when it is gone. `token` stands for its socket.
    pub(super) fn update(&mut self, interfaces: &[Interface], poller: &Poller, token: u64, now: Time) {
        let usable = interfaces
            .iter()
            .find(|interface| interface.name == self.name && is_usable(interface))
            .map(|interface| interface.index);
        if usable == self.socket.as_ref().map(|(_, index)| *index) {
            return;
        }
        self.socket = None;
        self.router.stop();
        if let Some(index) = usable {
            match self.open(index, poller, token) {
                Ok(socket) => {
                    self.socket = Some((socket, index));
                    self.router.start(now);
                }
                Err(error) => warn!(interface = self.name, "cannot look for the router: {error}"),
            }
        }
    }

    fn open(&self, index: u32, poller: &Poller, token: u64) -> std::io::Result<RouterDiscoverySocket> {
        let socket = RouterDiscoverySocket::open(index, &self.name, ALL_ROUTERS)?;
        poller.add(&socket, token)?;
        Ok(socket)
    }

    /// Reads what has arrived. Returns whether there is another router than before.
    pub(super) fn handle_ready(&mut self, now: Time) -> bool {
        let mut is_other = false;
        for _ in 0..READS {
            let Some((socket, _)) = &self.socket else { break };
            match socket.receive() {
                Ok(Some(message)) => {
                    if let Some(parsed) = RouterMessage::parse(&message.bytes, message.hop_limit) {
                        is_other |= self.router.handle(parsed, message.source, now);
                    }
                }
                Ok(None) => break,
                // The interface went down; its next report says what becomes of it.
                Err(error) => {
                    debug!(interface = self.name, "cannot receive: {error}");
                    break;
                }
            }
        }
        is_other
    }

    /// Sends what is due.
    pub(super) fn drive(&mut self, now: Time) {
        while let Some(message) = self.router.poll_message(now) {
            let (group, bytes) = message.encode();
            if let Some((socket, _)) = &self.socket
                && let Err(error) = socket.send(group, bytes)
            {
                // It is sent again later.
                debug!(interface = self.name, ?message, "cannot send: {error}");
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.router.poll_timeout()
    }

    /// Returns where the router takes connections at this port.
    pub(super) fn router(&self, port: u16) -> Option<SocketAddr> {
        let (_, index) = self.socket.as_ref()?;
        let router = self.router.router()?;
        Some(SocketAddrV6::new(router, port, 0, *index).into())
    }
}

/// Whether the interface is up and has a link-local address that can be a source.
fn is_usable(interface: &Interface) -> bool {
    let is_link_local = |address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let mut addresses = interface.preferred.iter().map(IpNet::addr);
    interface.up && interface.running && addresses.any(is_link_local)
}

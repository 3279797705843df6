//! The link of an unnumbered peer: finds the router there, and makes this node known to it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use herald_bgp::link_router::{ALL_ROUTERS, LinkRouter, RouterMessage};
use herald_core::Time;
use herald_netio::{DialError, Interface, Poller, RouterDiscoverySocket};
use ipnet::IpNet;
use tracing::{debug, warn};

/// Messages read before others have their turn.
const READS: usize = 16;

/// An interface by name, which may be missing for a time.
pub(super) struct PeerLink {
    name: String,
    router: LinkRouter,
    /// Whether the node has the interface.
    is_there: bool,
    /// The own addresses: another program of this node may advertise them.
    own: Vec<Ipv6Addr>,
    /// The socket, and the index of the interface that it is bound to.
    socket: Option<(RouterDiscoverySocket, u32)>,
}

impl PeerLink {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            router: LinkRouter::default(),
            is_there: false,
            own: Vec::new(),
            socket: None,
        }
    }

    /// Begins when the interface is there and has a link-local address, and ends when it is gone. `token` stands for its socket.
    pub(super) fn update(&mut self, interfaces: &[Interface], poller: &Poller, token: u64, now: Time) {
        let found = interfaces.iter().find(|interface| interface.name == self.name);
        self.is_there = found.is_some();
        self.own = found.into_iter().flat_map(addresses_v6).collect();
        let usable = found.filter(|interface| is_usable(interface));
        let usable = usable.map(|interface| interface.index);
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

    /// Reads what has arrived. Returns whether there is a router where none was known before.
    pub(super) fn handle_ready(&mut self, now: Time) -> bool {
        let mut is_found = false;
        for _ in 0..READS {
            let Some((socket, _)) = &self.socket else { break };
            match socket.receive() {
                Ok(Some(message)) => {
                    let parsed = RouterMessage::parse(&message.bytes, message.hop_limit);
                    if let Some(parsed) = parsed.filter(|_| !self.own.contains(&message.source)) {
                        is_found |= self.router.handle(parsed, message.source, now);
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
        is_found
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

    /// Notes that an attempt at a session failed: the next one is with another router, if one was heard.
    pub(super) fn handle_failure(&mut self) {
        self.router.handle_failure();
    }

    /// Returns where the router takes connections at this port.
    pub(super) fn router(&self, port: u16) -> Result<SocketAddr, DialError> {
        if !self.is_there {
            return Err(DialError::Device(self.name.clone()));
        }
        let index = self.socket.as_ref().map(|(_, index)| *index);
        let router = self.router.router().zip(index);
        let router = router.map(|(router, index)| SocketAddrV6::new(router, port, 0, index).into());
        router.ok_or_else(|| DialError::NoRouter(self.name.clone()))
    }
}

/// Whether the interface is up and has a link-local address that can be a source.
fn is_usable(interface: &Interface) -> bool {
    let mut preferred = interface.preferred.iter().filter_map(v6_of);
    interface.up && interface.running && preferred.any(|address| address.is_unicast_link_local())
}

fn addresses_v6(interface: &Interface) -> impl Iterator<Item = Ipv6Addr> {
    interface.addresses.iter().filter_map(v6_of)
}

fn v6_of(net: &IpNet) -> Option<Ipv6Addr> {
    match net.addr() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

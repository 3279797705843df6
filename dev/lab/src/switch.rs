//! The segment: a bridge in a namespace of its own, and the machines plugged into it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use herald_netns::{Links, MacAddr, Netns, Peer};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::plan;
use crate::role::pod::Greeting;
use crate::role::probe;
use crate::sniffer::Sniffer;

/// The bridge's name in the switch's namespace.
const BRIDGE: &str = "br0";
/// The bridge of machines that are cut off from the others, but not from each other.
const ISLAND: &str = "br1";
/// The name of every machine's link, in its own namespace.
pub const LINK: &str = "eth0";

/// The switch that all machines hang on, and the network namespace that it lives in.
pub struct Switch {
    netns: Arc<Netns>,
    links: Links,
}

impl Switch {
    /// Makes the switch, itself reachable at [`plan::switch`].
    pub async fn new() -> anyhow::Result<Self> {
        let netns = Netns::new("switch")?;
        let links = netns.set_up().await?;
        for bridge in [BRIDGE, ISLAND] {
            links.add_bridge(bridge, plan::mac(plan::switch())).await?;
        }
        for address in plan::switch() {
            links
                .add_address(BRIDGE, address, plan::prefix_length(address))
                .await?;
        }
        Ok(Self {
            netns: Arc::new(netns),
            links,
        })
    }

    /// The switch's own namespace.
    pub fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// Records from now on which machine answers for which address.
    pub async fn sniff(&self) -> anyhow::Result<Sniffer> {
        let mut segments = Vec::new();
        for bridge in [BRIDGE, ISLAND] {
            self.links.set_promiscuous(bridge).await?;
            segments.push(self.links.index(bridge).await?);
        }
        self.netns.run(move || Sniffer::start(&segments)).await
    }

    /// Cuts a machine off from all machines that are not cut off, or reunites it with them.
    pub async fn set_cut_off(&self, host: &Host, cut_off: bool) -> anyhow::Result<()> {
        let bridge = if cut_off { ISLAND } else { BRIDGE };
        self.links.set_bridge(&host.port.name, bridge).await
    }

    /// Makes a machine with these addresses and plugs it in.
    pub async fn attach(&self, name: &str, addresses: [IpAddr; 2]) -> anyhow::Result<Host> {
        self.attach_as(name, plan::mac(addresses), addresses).await
    }

    /// The same, with an Ethernet address that may be another machine's.
    pub async fn attach_as(&self, name: &str, mac: MacAddr, addresses: [IpAddr; 2]) -> anyhow::Result<Host> {
        let netns = Netns::new(name)?;
        let links = netns.set_up().await?;
        let peer = Peer {
            name: LINK,
            mac,
            namespace: netns.as_raw_fd(),
        };
        self.links.add_port(name, BRIDGE, peer).await?;
        for address in addresses {
            links
                .add_address(LINK, address, plan::prefix_length(address))
                .await?;
        }
        links.set_up(LINK, true).await?;
        Ok(Host {
            links,
            mac,
            addresses,
            port: Port {
                name: name.to_owned(),
                links: self.links.clone(),
            },
            netns,
        })
    }
}

/// A machine of the lab: a network namespace with one link into the switch.
pub struct Host {
    links: Links,
    mac: MacAddr,
    addresses: [IpAddr; 2],
    port: Port,
    netns: Netns,
}

impl AsRef<Netns> for Host {
    fn as_ref(&self) -> &Netns {
        &self.netns
    }
}

/// The switch's end of a machine's cable.
struct Port {
    name: String,
    links: Links,
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        self.netns.name()
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Netlink inside it.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The Ethernet address of its link.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its addresses on the segment, IPv4 first.
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.addresses
    }

    /// Sends one datagram to the discard port of `address`, so that the kernel resolves it.
    pub async fn poke(&self, address: IpAddr) -> anyhow::Result<()> {
        let own = self.addresses[usize::from(address.is_ipv6())];
        let sent = self
            .netns
            .run(move || UdpSocket::bind((own, 0))?.send_to(&[], (address, 9)))
            .await;
        sent.map(drop)
            .with_context(|| format!("{} cannot send to {address}", self.name()))
    }

    /// Opens a TCP connection from this machine.
    pub async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.netns.run(move || match target {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        });
        socket.await?.connect(target).await
    }

    /// Asks `target` over HTTP which pod answers there.
    pub async fn ask(&self, target: SocketAddr) -> anyhow::Result<Greeting> {
        let stream = self
            .connect(target)
            .await
            .with_context(|| format!("cannot connect to {target}"))?;
        probe::ask(stream, target).await
    }

    /// Sends a datagram and waits for an answer, at most half a second.
    pub async fn exchange_datagram(&self, target: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
        let own = self.addresses[usize::from(target.is_ipv6())];
        let socket = self.netns.run(move || {
            let socket = UdpSocket::bind((own, 0))?;
            socket.set_nonblocking(true)?;
            tokio::net::UdpSocket::from_std(socket)
        });
        let socket = socket.await?;
        socket.connect(target).await?;
        socket.send(payload).await?;
        let mut answer = vec![0; 1500];
        let length = timeout(Duration::from_millis(500), socket.recv(&mut answer)).await??;
        answer.truncate(length);
        Ok(answer)
    }

    /// Pulls its cable, or plugs it in again.
    pub async fn set_plugged(&self, plugged: bool) -> anyhow::Result<()> {
        let set = self.port.links.set_up(&self.port.name, plugged).await;
        set.with_context(|| format!("the switch port of {}", self.name()))
    }
}

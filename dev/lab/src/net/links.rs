//! Links, addresses, routes and neighbours of one namespace, by rtnetlink.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;

use anyhow::{Context, anyhow};
use futures::{StreamExt, TryStreamExt};
use herald_l2::MacAddr;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// The routing table in which the kernel looks for its own addresses (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;

/// `errno(3)`: there is no such entry.
const ENOENT: i32 = nix::errno::Errno::ENOENT as i32;

/// One entry of the kernel's neighbour table: what ARP or NDP taught it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The network address that was asked for.
    pub address: IpAddr,
    /// The Ethernet address learnt; `None` while the question is open or nobody answered.
    pub mac: Option<MacAddr>,
    /// Reachable, stale, failed and so on, as `ip neigh` shows it.
    pub state: NeighbourState,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            Some(mac) => write!(f, "{} lladdr {mac} {:?}", self.address, self.state),
            None => write!(f, "{} {:?}", self.address, self.state),
        }
    }
}

/// The end of a veth pair that goes into another namespace.
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The namespace, see [`super::Netns::as_raw_fd`].
    pub namespace: RawFd,
}

/// A netlink connection to one namespace.
#[derive(Clone)]
pub struct Links {
    handle: rtnetlink::Handle,
}

impl Links {
    /// Wraps the handle of a connection that something else drives.
    pub fn new(handle: rtnetlink::Handle) -> Self {
        Self { handle }
    }

    /// The index of the link called `name`.
    pub async fn index(&self, name: &str) -> anyhow::Result<u32> {
        let found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute()
            .try_next()
            .await;
        let link = found.with_context(|| format!("cannot look up link {name}"))?;
        link.map(|link| link.header.index)
            .ok_or_else(|| anyhow!("there is no link {name}"))
    }

    /// Adds a bridge that forwards from the first frame on (no spanning tree). Without an Ethernet address of its own it
    /// would have the lowest of its ports', and another one whenever a port is added.
    pub async fn add_bridge(&self, name: &str, mac: MacAddr) -> anyhow::Result<()> {
        let bridge = LinkBridge::new(name).address(mac.0.to_vec()).up().build();
        let added = self.handle.link().add(bridge).execute().await;
        added.with_context(|| format!("cannot add bridge {name}"))
    }

    /// Adds a veth pair: `name` here, as a port of bridge `master`, and up; the other end in the peer's namespace.
    pub async fn add_port(&self, name: &str, master: &str, peer: Peer<'_>) -> anyhow::Result<()> {
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.name)
            .address(peer.mac.0.to_vec())
            .append_extra_attribute(LinkAttribute::NetNsFd(peer.namespace))
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new(name, peer.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .controller(self.index(master).await?)
            .up()
            .build();
        let added = self.handle.link().add(pair).execute().await;
        added.with_context(|| format!("cannot add veth pair {name}"))
    }

    /// Makes a bridge hand everything that crosses it to its own machine, too.
    pub async fn set_promiscuous(&self, bridge: &str) -> anyhow::Result<()> {
        let change = LinkUnspec::new_with_name(bridge).promiscuous(true).build();
        let set = self.handle.link().set(change).execute().await;
        set.with_context(|| format!("cannot set link {bridge} promiscuous"))
    }

    /// Moves a port to another bridge.
    pub async fn set_bridge(&self, port: &str, bridge: &str) -> anyhow::Result<()> {
        let change = LinkUnspec::new_with_name(port).controller(self.index(bridge).await?);
        let set = self.handle.link().set(change.build()).execute().await;
        set.with_context(|| format!("cannot move port {port} to bridge {bridge}"))
    }

    /// Sets a link up, or down: the other end of a veth pair then loses its carrier, as by a pulled cable.
    pub async fn set_up(&self, name: &str, up: bool) -> anyhow::Result<()> {
        let link = LinkUnspec::new_with_name(name);
        let change = if up { link.up() } else { link.down() };
        let set = self.handle.link().set(change.build()).execute().await;
        set.with_context(|| format!("cannot set link {name} {}", if up { "up" } else { "down" }))
    }

    /// Gives a link an address, usable at once: IPv6 duplicate address detection (RFC 4862 section 5.4) would
    /// hold it back for a second, and here nobody else has it.
    pub async fn add_address(&self, link: &str, address: IpAddr, prefix_length: u8) -> anyhow::Result<()> {
        let mut request = self
            .handle
            .address()
            .add(self.index(link).await?, address, prefix_length);
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let added = request.execute().await;
        added.with_context(|| format!("cannot add {address}/{prefix_length} to {link}"))
    }

    /// Routes one address through a gateway.
    pub async fn add_route(&self, to: IpAddr, gateway: IpAddr) -> anyhow::Result<()> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, host_prefix(to))?
            .gateway(gateway)?
            .build();
        let added = self.handle.route().add(route).execute().await;
        added.with_context(|| format!("cannot route {to} via {gateway}"))
    }

    /// Makes the kernel take packets for `address` as its own, although no link has the address: so it
    /// neither answers ARP (with `arp_ignore=1`) nor NDP for it. Doing so twice changes nothing.
    pub async fn accept_locally(&self, address: IpAddr) -> anyhow::Result<()> {
        let route = self.local_route(address).await?;
        let added = self.handle.route().add(route).replace().execute().await;
        added.with_context(|| format!("cannot route {address} to the machine itself"))
    }

    /// Undoes [`Self::accept_locally`].
    pub async fn stop_accepting(&self, address: IpAddr) -> anyhow::Result<()> {
        let route = self.local_route(address).await?;
        let removed = self.handle.route().del(route).execute().await;
        removed.with_context(|| format!("cannot remove the local route of {address}"))
    }

    async fn local_route(&self, address: IpAddr) -> anyhow::Result<RouteMessage> {
        let scope = if address.is_ipv4() {
            RouteScope::Host
        } else {
            RouteScope::Universe
        };
        Ok(RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, host_prefix(address))?
            .output_interface(self.index("lo").await?)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .scope(scope)
            .build())
    }

    /// Tells the kernel for good which Ethernet address a neighbour has, so that it never asks.
    pub async fn pin_neighbour(&self, link: &str, address: IpAddr, mac: MacAddr) -> anyhow::Result<()> {
        let request = self.handle.neighbours().add(self.index(link).await?, address);
        let pinned = request.link_layer_address(&mac.0).replace().execute().await;
        pinned.with_context(|| format!("cannot pin neighbour {address}"))
    }

    /// Removes what the kernel knows of a neighbour, so that it asks anew.
    pub async fn forget_neighbour(&self, link: &str, address: IpAddr) -> anyhow::Result<()> {
        let index = self.index(link).await?;
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        message
            .attributes
            .push(NeighbourAttribute::Destination(match address {
                IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
            }));
        match self.handle.neighbours().del(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -ENOENT => Ok(()),
            outcome => outcome.with_context(|| format!("cannot forget neighbour {address}")),
        }
    }

    /// The neighbour table: every address of either family that was resolved, or tried to.
    pub async fn neighbours(&self) -> anyhow::Result<Vec<Neighbour>> {
        let mut table = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut entries = self
                .handle
                .neighbours()
                .get()
                .set_address_family(family)
                .execute();
            while let Some(entry) = entries.next().await {
                table.extend(neighbour(&entry.context("cannot read the neighbour table")?));
            }
        }
        table.sort_by_key(|entry| entry.address);
        Ok(table)
    }

    /// The neighbour table's entry for `address`.
    pub async fn neighbour(&self, address: IpAddr) -> anyhow::Result<Option<Neighbour>> {
        let table = self.neighbours().await?;
        Ok(table.into_iter().find(|entry| entry.address == address))
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `None` for entries that stand for no neighbour: multicast, broadcast and loopback (`NOARP`).
fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.state == NeighbourState::Noarp {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) = attribute {
            address = Some(IpAddr::V4(*v4));
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) = attribute {
            address = Some(IpAddr::V6(*v6));
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = bytes.as_slice().try_into().ok().map(MacAddr);
        }
    }
    Some(Neighbour {
        address: address?,
        mac,
        state: message.header.state,
    })
}

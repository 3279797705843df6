//! Links, addresses, routes and neighbours of one namespace, by rtnetlink. All methods fail when the kernel refuses.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use herald_core::MacAddr;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// The routing table in which the kernel looks for its own addresses (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;

/// `errno(3)`: there is no such entry.
const ENOENT: i32 = nix::errno::Errno::ENOENT as i32;

/// One entry of the kernel's neighbour table, which ARP or NDP filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The network address.
    pub address: IpAddr,
    /// The Ethernet address; `None` while the address is being resolved or when no machine answered.
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

    /// The link called `name`, with all its attributes.
    pub async fn link(&self, name: &str) -> anyhow::Result<LinkMessage> {
        let found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute()
            .try_next()
            .await;
        let link = found.with_context(|| format!("cannot look up link {name}"))?;
        link.with_context(|| format!("there is no link {name}"))
    }

    /// The index of the link called `name`.
    pub async fn index(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.link(name).await?.header.index)
    }

    /// The Ethernet address of the link called `name`.
    pub async fn mac(&self, name: &str) -> anyhow::Result<MacAddr> {
        let attributes = self.link(name).await?.attributes;
        let mac = attributes.into_iter().find_map(|attribute| {
            let LinkAttribute::Address(mac) = attribute else {
                return None;
            };
            mac.try_into().ok().map(MacAddr)
        });
        mac.with_context(|| format!("link {name} has no Ethernet address"))
    }

    /// Adds any kind of link.
    pub async fn add(&self, link: LinkMessage) -> anyhow::Result<()> {
        let added = self.handle.link().add(link).execute().await;
        added.context("cannot add a link")
    }

    /// Changes attributes that every link has (`RTM_SETLINK`): state, name, Ethernet address, bridge.
    pub async fn set(&self, change: LinkMessage) -> anyhow::Result<()> {
        let set = self.handle.link().set(change).execute().await;
        set.context("cannot set a link")
    }

    /// Changes attributes that only this kind of link has (`RTM_NEWLINK`), e.g. the ageing time of a bridge.
    pub async fn change(&self, change: LinkMessage) -> anyhow::Result<()> {
        let changed = self.handle.link().change(change).execute().await;
        changed.context("cannot change a link")
    }

    /// Removes the link called `name`.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let deleted = self.handle.link().del(self.index(name).await?).execute().await;
        deleted.with_context(|| format!("cannot delete link {name}"))
    }

    /// Adds a bridge that forwards from the first frame on (no spanning tree). Without `mac` it would have the lowest Ethernet
    /// address of its ports, and another one when a port is added.
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

    /// Makes a bridge pass all frames that cross it to its own machine, too.
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

    /// Sets a link up, or down: the other end of a veth pair then loses its carrier, as when its cable is pulled.
    pub async fn set_up(&self, name: &str, up: bool) -> anyhow::Result<()> {
        let link = LinkUnspec::new_with_name(name);
        let change = if up { link.up() } else { link.down() };
        let set = self.handle.link().set(change.build()).execute().await;
        set.with_context(|| format!("cannot set link {name} {}", if up { "up" } else { "down" }))
    }

    /// Adds an address to a link, usable at once. IPv6 duplicate address detection (RFC 4862 section 5.4) would delay it by a
    /// second, and no other machine has it.
    pub async fn add_address(&self, link: &str, address: IpAddr, prefix_length: u8) -> anyhow::Result<()> {
        self.add_address_with(AddressFlags::Nodad, link, address, prefix_length)
            .await
    }

    /// Adds an address to a link and leaves duplicate address detection on.
    pub async fn add_address_with_dad(
        &self,
        link: &str,
        address: IpAddr,
        prefix_length: u8,
    ) -> anyhow::Result<()> {
        self.add_address_with(AddressFlags::empty(), link, address, prefix_length)
            .await
    }

    async fn add_address_with(
        &self,
        flags: AddressFlags,
        link: &str,
        address: IpAddr,
        prefix_length: u8,
    ) -> anyhow::Result<()> {
        let index = self.index(link).await?;
        let mut request = self.handle.address().add(index, address, prefix_length);
        if address.is_ipv6() && flags.contains(AddressFlags::Nodad) {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let added = request.execute().await;
        added.with_context(|| format!("cannot add {address}/{prefix_length} to {link}"))
    }

    /// The flags of an address, if the host has it.
    pub async fn address_flags(&self, address: IpAddr) -> anyhow::Result<Option<AddressFlags>> {
        let mut found = self.handle.address().get().set_address_filter(address).execute();
        let message = found.try_next().await.context("cannot list addresses")?;
        let mut attributes = message.into_iter().flat_map(|message| message.attributes);
        Ok(attributes.find_map(|attribute| {
            let AddressAttribute::Flags(flags) = attribute else {
                return None;
            };
            Some(flags)
        }))
    }

    /// Routes a prefix to a link, without a gateway. `protocol` is where the route comes from.
    pub async fn add_link_route(
        &self,
        link: &str,
        prefix: IpNet,
        protocol: RouteProtocol,
    ) -> anyhow::Result<()> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.network(), prefix.prefix_len())?
            .output_interface(self.index(link).await?)
            .scope(RouteScope::Link)
            .protocol(protocol)
            .build();
        let added = self.handle.route().add(route).execute().await;
        added.with_context(|| format!("cannot route {prefix} to {link}"))
    }

    /// Routes one address through a gateway.
    pub async fn add_route(&self, to: IpAddr, gateway: IpAddr) -> anyhow::Result<()> {
        self.add_network_route(IpNet::new(to, host_prefix(to))?, gateway)
            .await
    }

    /// Routes a prefix through a gateway.
    pub async fn add_network_route(&self, to: IpNet, gateway: IpAddr) -> anyhow::Result<()> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.network(), to.prefix_len())?
            .gateway(gateway)?
            .build();
        let added = self.handle.route().add(route).execute().await;
        added.with_context(|| format!("cannot route {to} via {gateway}"))
    }

    /// Makes the kernel accept packets for `address` although no link has the address: so it answers neither ARP (with
    /// `arp_ignore=1`) nor NDP for it. A second call changes nothing.
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

    /// Adds a permanent entry to the neighbour table, so that the kernel never resolves `address`.
    pub async fn pin_neighbour(&self, link: &str, address: IpAddr, mac: MacAddr) -> anyhow::Result<()> {
        let request = self.handle.neighbours().add(self.index(link).await?, address);
        let pinned = request.link_layer_address(&mac.0).replace().execute().await;
        pinned.with_context(|| format!("cannot pin neighbour {address}"))
    }

    /// Removes an entry from the neighbour table, so that the kernel resolves `address` again.
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

    /// The neighbour table: every address of either family that is resolved or being resolved.
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

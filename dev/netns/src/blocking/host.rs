//! A host: a network namespace and netlink in it.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::RawFd;

use ipnet::IpNet;
use netlink_packet_route::address::AddressFlags;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteProtocol;
use rtnetlink::LinkUnspec;

use super::{block_on, wait_for};
use crate::{Capture, Links, MacAddr, Netns};

/// A host that ends with this value. Ethernet addresses are bytes, as they stand in frames.
pub struct Host {
    netns: Netns,
    links: Links,
}

impl AsRef<Netns> for Host {
    fn as_ref(&self) -> &Netns {
        &self.netns
    }
}

impl Host {
    /// Makes a host without any interface that is up. IPv6 addresses are usable on it at once.
    #[expect(clippy::new_without_default, reason = "it makes a namespace")]
    pub fn new() -> Self {
        let netns = Netns::new("host").expect("network namespaces are needed");
        let links = block_on(async {
            // Link-local addresses are usable at once; no other machine has them here.
            netns.set_sysctl("net/ipv6/conf/default/accept_dad", "0").await?;
            netns.links().await
        });
        let links = links.expect("the namespace can be set up");
        Self { netns, links }
    }

    /// Runs `job` in the host's namespace; threads that it starts live there, too.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.netns.run_blocking(job)
    }

    /// Netlink in the host, for what this type has no method for.
    pub fn links(&self) -> &Links {
        &self.links
    }

    pub(super) fn namespace(&self) -> RawFd {
        self.netns.as_raw_fd()
    }

    /// Starts a capture on `interface`.
    pub fn capture(&self, interface: &'static str) -> Capture {
        self.run(move || Capture::on(interface))
            .expect("the interface can be captured")
    }

    /// Adds any kind of link.
    pub fn add_link(&self, link: LinkMessage) {
        block_on(self.links.add(link)).expect("the link can be added");
    }

    /// Changes attributes that every link has.
    pub fn set_link(&self, change: LinkMessage) {
        block_on(self.links.set(change)).expect("the link can be changed");
    }

    /// Removes an interface.
    pub fn delete_link(&self, interface: &str) {
        block_on(self.links.delete(interface)).expect("the link can be deleted");
    }

    /// Makes `port` a port of the bridge or bond, or a member of the VRF, with the name `controller`.
    pub fn set_controller(&self, port: &str, controller: &str) {
        let index = self.index(controller);
        self.set_link(LinkUnspec::new_with_name(port).controller(index).build());
    }

    /// Adds an address and a prefix length, usable at once.
    pub fn add_address(&self, interface: &str, address: &str) {
        let net: IpNet = address.parse().expect("an address and a prefix length");
        let added = self.links.add_address(interface, net.addr(), net.prefix_len());
        block_on(added).expect("the address can be added");
    }

    /// Adds an address and leaves duplicate address detection on.
    pub fn add_address_with_dad(&self, interface: &str, address: &str) {
        let net: IpNet = address.parse().expect("an address and a prefix length");
        let added = self
            .links
            .add_address_with_dad(interface, net.addr(), net.prefix_len());
        block_on(added).expect("the address can be added");
    }

    /// The flags of an address, if the host has it.
    pub fn address_flags(&self, address: IpAddr) -> Option<AddressFlags> {
        block_on(self.links.address_flags(address)).expect("addresses can be listed")
    }

    /// Adds a route without a gateway.
    pub fn add_route(&self, interface: &str, prefix: &str) {
        let prefix: IpNet = prefix.parse().expect("an address and a prefix length");
        let route = self
            .links
            .add_link_route(interface, prefix, RouteProtocol::Static);
        block_on(route).expect("the route can be added");
    }

    /// Adds the route to a prefix that a router advertised.
    pub fn add_advertised_route(&self, interface: &str, prefix: &str) {
        let prefix: IpNet = prefix.parse().expect("an address and a prefix length");
        let route = self.links.add_link_route(interface, prefix, RouteProtocol::Ra);
        block_on(route).expect("the route can be added");
    }

    /// Adds a permanent entry to the neighbour table.
    pub fn set_neighbour(&self, interface: &str, address: IpAddr, mac: [u8; 6]) {
        let pinned = self.links.pin_neighbour(interface, address, MacAddr(mac));
        block_on(pinned).expect("the entry can be made");
    }

    /// Sets an interface up or down.
    pub fn set_up(&self, interface: &str, up: bool) {
        block_on(self.links.set_up(interface, up)).expect("the link can be changed");
    }

    /// The index of an interface.
    pub fn index(&self, interface: &str) -> u32 {
        block_on(self.links.index(interface)).expect("the interface exists")
    }

    /// The Ethernet address of an interface.
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        block_on(self.links.mac(interface))
            .expect("the interface has an Ethernet address")
            .0
    }

    /// Gives an interface another Ethernet address.
    pub fn set_mac(&self, interface: &str, mac: [u8; 6]) {
        let link = LinkUnspec::new_with_name(interface).address(mac.to_vec());
        self.set_link(link.build());
    }

    /// Sends a datagram to `address`, so that the kernel resolves it.
    pub fn send_to(&self, address: IpAddr) {
        self.run(move || {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).expect("a socket can be made");
            // The kernel may report that the host was unreachable before; it tries again nevertheless.
            let _ = socket.send_to(b"x", (address, 9));
        });
    }

    /// The Ethernet address that the neighbour table has for `address`.
    pub fn neighbour(&self, address: IpAddr) -> Option<[u8; 6]> {
        let entry = block_on(self.links.neighbour(address)).expect("neighbours can be listed");
        Some(entry?.mac?.0)
    }

    /// Sends to `address` until the neighbour table has it.
    pub fn resolve(&self, address: IpAddr) -> [u8; 6] {
        wait_for(&format!("{address} is resolved"), || {
            self.send_to(address);
            self.neighbour(address)
        })
    }
}

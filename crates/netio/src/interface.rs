//! A network interface as the kernel describes it, and whether it can carry announcements.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network interface of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index. Unlike a name, it is not given to another interface later.
    pub index: u32,
    /// Name, such as `eth0`.
    pub name: String,
    /// Ethernet address; `None` when the interface has none (tunnels, point-to-point links).
    pub mac: Option<[u8; 6]>,
    /// `IFF_UP`: the administrator switched the interface on.
    pub up: bool,
    /// `IFF_RUNNING`: the link has a carrier and frames can flow.
    pub running: bool,
    /// `IFF_NOARP`: the interface does not resolve addresses.
    pub noarp: bool,
    /// `IFF_BROADCAST`: the interface has a broadcast address.
    pub broadcast: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// The kind of interface that this one is a port of.
    pub master: Option<Master>,
    /// Addresses of the interface with their prefix lengths, ascending.
    pub addresses: Vec<IpNet>,
    /// Those that the kernel chooses as source address by itself, in its order: neither tentative nor deprecated (RFC 4862 section
    /// 5.5.4), temporary (RFC 8981) or secondary, and of IPv4 only those with global scope.
    pub preferred: Vec<IpNet>,
    /// Destinations of its on-link routes, which have no gateway, ascending.
    pub routes: Vec<IpNet>,
    /// Destinations of on-link IPv6 routes that a router may have advertised (RFC 4861 section 6.3.4), ascending: any host on
    /// the segment can send such an advertisement. Those of the interface's own subnets may be among them.
    pub advertised: Vec<IpNet>,
}

/// The kind of interface that another one is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Master {
    /// A bridge: frames belong to the bridge interface.
    Bridge,
    /// A bond or a team: frames belong to the bond interface.
    Bond,
    /// A VRF: a routing domain; frames still belong to the port.
    Vrf,
    /// An unknown kind, such as an Open vSwitch datapath.
    Other,
}

/// The reason why an interface cannot carry announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unusable {
    /// `IFF_LOOPBACK`.
    #[error("is a loopback interface")]
    Loopback,
    /// No `IFF_UP`.
    #[error("is down")]
    Down,
    /// No `IFF_RUNNING`.
    #[error("has no carrier")]
    NoCarrier,
    /// A port of a bridge, bond, team or unknown master.
    #[error("is a port of a {}", match .0 {
        Master::Bridge => "bridge",
        Master::Bond => "bond",
        Master::Vrf => "VRF",
        Master::Other => "switch",
    })]
    Port(Master),
    /// `IFF_NOARP`.
    #[error("does not resolve addresses (NOARP)")]
    NoArp,
    /// No Ethernet address.
    #[error("has no Ethernet address")]
    NoMac,
    /// Neither ARP nor NDP can work on it.
    #[error("neither broadcasts nor has an IPv6 link-local address")]
    NoProtocol,
}

impl Interface {
    /// Returns the Ethernet address with which this interface announces, or the reason why it cannot.
    ///
    /// The frames of a port belong to its master: if the port answered as well, the address of the master would seem to move
    /// to the port. A VRF only separates routing, so its ports answer like any interface.
    pub fn usable(&self) -> Result<[u8; 6], Unusable> {
        if self.loopback {
            return Err(Unusable::Loopback);
        }
        if !self.up {
            return Err(Unusable::Down);
        }
        if let Some(master @ (Master::Bridge | Master::Bond | Master::Other)) = self.master {
            return Err(Unusable::Port(master));
        }
        if self.noarp {
            return Err(Unusable::NoArp);
        }
        let Some(mac) = self.mac else {
            return Err(Unusable::NoMac);
        };
        if !self.running {
            return Err(Unusable::NoCarrier);
        }
        if !self.resolves_v4() && !self.resolves_v6() {
            return Err(Unusable::NoProtocol);
        }
        Ok(mac)
    }

    /// Returns whether IPv4 addresses can be announced here. The interface needs no IPv4 address of its own.
    pub const fn resolves_v4(&self) -> bool {
        self.broadcast
    }

    /// Returns whether IPv6 addresses can be announced here: IPv6 runs on an interface iff it has a link-local address.
    pub fn resolves_v6(&self) -> bool {
        self.addresses
            .iter()
            .any(|a| matches!(a.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet() -> Interface {
        Interface {
            index: 2,
            name: "eth0".into(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            running: true,
            noarp: false,
            broadcast: true,
            loopback: false,
            master: None,
            addresses: vec!["192.0.2.1/24".parse().expect("prefix")],
            preferred: Vec::new(),
            routes: Vec::new(),
            advertised: Vec::new(),
        }
    }

    #[test]
    fn a_plain_ethernet_interface_is_usable() {
        assert_eq!(ethernet().usable(), Ok([2, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn each_reason_is_reported() {
        type Change = fn(&mut Interface);
        let table: [(Change, Unusable); 9] = [
            (|i| i.loopback = true, Unusable::Loopback),
            (|i| i.up = false, Unusable::Down),
            (|i| i.running = false, Unusable::NoCarrier),
            (|i| i.noarp = true, Unusable::NoArp),
            (|i| i.mac = None, Unusable::NoMac),
            (|i| i.broadcast = false, Unusable::NoProtocol),
            (
                |i| i.master = Some(Master::Bridge),
                Unusable::Port(Master::Bridge),
            ),
            (|i| i.master = Some(Master::Bond), Unusable::Port(Master::Bond)),
            (|i| i.master = Some(Master::Other), Unusable::Port(Master::Other)),
        ];
        for (change, expected) in table {
            let mut interface = ethernet();
            change(&mut interface);
            assert_eq!(interface.usable(), Err(expected));
        }
    }

    #[test]
    fn a_port_of_a_vrf_answers_like_any_interface() {
        let mut port = ethernet();
        port.master = Some(Master::Vrf);
        assert!(port.usable().is_ok());
    }

    #[test]
    fn ipv6_needs_a_link_local_address_and_ipv4_needs_broadcast_only() {
        let mut interface = ethernet();
        assert!(interface.resolves_v4() && !interface.resolves_v6());
        interface.addresses = vec!["fe80::1/64".parse().expect("prefix")];
        interface.broadcast = false;
        assert!(!interface.resolves_v4() && interface.resolves_v6());
        assert!(interface.usable().is_ok());
    }
}

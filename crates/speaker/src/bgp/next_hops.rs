//! The next hops of routes to a peer: this node, as the peer reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_bgp::rib_out::NextHops;
use herald_bgp::wire::NextHop;
use herald_netio::Interface;

/// Returns the next hops over a connection between these addresses. That of the family of the connection is its own address. That
/// of the other family is the first address of the same interface: without one there is none.
pub(super) fn next_hops(local: IpAddr, peer: IpAddr, interfaces: &[Interface]) -> NextHops {
    let has_local = |interface: &&Interface| interface.addresses.iter().any(|net| net.addr() == local);
    let interface = interfaces.iter().find(has_local);
    let addresses = || {
        let nets = interface.into_iter().flat_map(|interface| &interface.addresses);
        nets.map(|net| net.addr())
    };
    let mut v4 = addresses().filter_map(v4_of);
    let mut global = addresses()
        .filter_map(v6_of)
        .filter(|v6| !v6.is_unicast_link_local());
    let link_local = addresses()
        .filter_map(v6_of)
        .find(Ipv6Addr::is_unicast_link_local);
    // RFC 2545 section 3: only a peer on the same link gets the link-local address.
    let is_on_link = interface
        .into_iter()
        .flat_map(|interface| interface.addresses.iter().chain(&interface.routes))
        .any(|net| net.contains(&peer));
    let link_local = link_local.filter(|_| is_on_link);
    match local {
        IpAddr::V4(local) => NextHops {
            v4: Some(NextHop::V4(local)),
            v6: global.next().map(|global| NextHop::V6 { global, link_local }),
        },
        IpAddr::V6(local) => NextHops {
            v4: v4.next().map(NextHop::V4),
            v6: Some(NextHop::V6 {
                global: local,
                link_local: link_local.filter(|link_local| *link_local != local),
            }),
        },
    }
}

const fn v4_of(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

const fn v6_of(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        let nets = addresses
            .iter()
            .map(|net| net.parse().expect("an address and a length"));
        Interface {
            index: 1,
            name: name.into(),
            mac: None,
            up: true,
            running: true,
            noarp: false,
            broadcast: true,
            loopback: false,
            master: None,
            addresses: nets.collect(),
            routes: Vec::new(),
            advertised: Vec::new(),
        }
    }

    fn hops(local: &str, peer: &str) -> (Option<String>, Option<(String, Option<String>)>) {
        let interfaces = [
            interface("lo", &["127.0.0.1/8", "2001:db8:ffff::1/128"]),
            interface(
                "eth0",
                &["192.0.2.1/24", "192.0.2.9/24", "2001:db8::1/64", "fe80::1/64"],
            ),
            interface("eth1", &["198.51.100.1/24", "fe80::2/64"]),
            interface("eth2", &["2001:db8:2::1/64"]),
        ];
        let hops = next_hops(
            local.parse().expect("an address"),
            peer.parse().expect("an address"),
            &interfaces,
        );
        let text = |hop| match hop {
            NextHop::V4(address) => (address.to_string(), None),
            NextHop::V6 { global, link_local } => {
                (global.to_string(), link_local.map(|address| address.to_string()))
            }
        };
        (hops.v4.map(|hop| text(hop).0), hops.v6.map(text))
    }

    #[test]
    fn the_interface_of_the_connection_has_the_next_hops() {
        let text = |text: &str| Some(text.to_owned());
        let both =
            |global: &str, link_local: Option<&str>| Some((global.to_owned(), link_local.map(str::to_owned)));
        for (local, peer, v4, v6) in [
            (
                "192.0.2.9",
                "192.0.2.254",
                text("192.0.2.9"),
                both("2001:db8::1", Some("fe80::1")),
            ),
            (
                "192.0.2.9",
                "203.0.113.1",
                text("192.0.2.9"),
                both("2001:db8::1", None),
            ),
            (
                "2001:db8::1",
                "2001:db8::ff",
                text("192.0.2.1"),
                both("2001:db8::1", Some("fe80::1")),
            ),
            (
                "2001:db8::1",
                "2001:db8:9::1",
                text("192.0.2.1"),
                both("2001:db8::1", None),
            ),
            ("fe80::1", "fe80::ff", text("192.0.2.1"), both("fe80::1", None)),
            ("198.51.100.1", "198.51.100.2", text("198.51.100.1"), None),
            (
                "2001:db8:2::1",
                "2001:db8:2::2",
                None,
                both("2001:db8:2::1", None),
            ),
            // The interfaces are not known yet.
            ("203.0.113.7", "203.0.113.8", text("203.0.113.7"), None),
        ] {
            assert_eq!(hops(local, peer), (v4, v6), "{local} {peer}");
        }
    }
}

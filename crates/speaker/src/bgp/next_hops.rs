//! The next hops of routes to a peer: this node, as the peer reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_bgp::rib_out::NextHops;
use herald_bgp::wire::NextHop;
use herald_netio::Interface;
use ipnet::IpNet;

/// Returns the next hops over a connection between these addresses.
///
/// That of the family of the connection is its own address. That of the other family is an address of the interface of the
/// connection, the one that the kernel would choose as source there: the first of its [preferred ones](Interface::preferred), those
/// with a subnet before those without. The interface is one that is up and has the own address, not a loopback interface: the one with
/// a subnet or an on-link route that covers the peer, or else one that resolves addresses, or else any. An interface that resolves
/// none (a dummy, a tunnel) lends no address without a subnet: proxies and routers keep addresses of Services there. Where no address is
/// left, there is no next hop of that family.
pub(super) fn next_hops(local: IpAddr, peer: IpAddr, interfaces: &[Interface]) -> NextHops {
    let is_on_link = |interface: &Interface| {
        let mut nets = interface.addresses.iter().chain(&interface.routes);
        nets.any(|net| net.contains(&peer))
    };
    let interface = interfaces
        .iter()
        .filter(|interface| interface.up && !interface.loopback && has(interface, local))
        .min_by_key(|interface| (!is_on_link(interface), interface.noarp));
    let sources: Vec<IpAddr> = interface.map(sources).unwrap_or_default();
    let mut v4 = sources.iter().copied().filter_map(v4_of);
    let v6 = || sources.iter().copied().filter_map(v6_of);
    let mut global = v6().filter(|v6| !v6.is_unicast_link_local());
    // RFC 2545 section 3: only a peer on the same link gets the link-local address.
    let link_local = v6()
        .find(Ipv6Addr::is_unicast_link_local)
        .filter(|_| interface.is_some_and(is_on_link));
    match local {
        IpAddr::V4(local) => NextHops {
            v4: Some(NextHop::V4(local)),
            v6: global.next().map(|global| NextHop::V6 { global, link_local }),
        },
        IpAddr::V6(local) => NextHops {
            v4: v4.next().map(NextHop::V4),
            v6: Some(NextHop::V6 {
                global: local,
                // RFC 2545 section 3 has a link-local address behind a global one. That of an interface may be another one.
                link_local: link_local.filter(|_| !local.is_unicast_link_local()),
            }),
        },
    }
}

fn has(interface: &Interface, address: IpAddr) -> bool {
    interface.addresses.iter().any(|net| net.addr() == address)
}

/// Returns the addresses that may be a next hop, the best one first.
fn sources(interface: &Interface) -> Vec<IpAddr> {
    let is_alone = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
    let (alone, with_subnet): (Vec<&IpNet>, Vec<&IpNet>) = interface.preferred.iter().partition(is_alone);
    let alone = alone.into_iter().filter(|_| !interface.noarp);
    with_subnet.into_iter().chain(alone).map(IpNet::addr).collect()
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

/// Whether the node does not have an address any more. Before the first list of interfaces that is not known.
pub(super) fn is_gone(local: IpAddr, interfaces: &[Interface]) -> bool {
    let mut addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
    !interfaces.is_empty() && !addresses.any(|net| net.addr() == local)
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
            addresses: nets.clone().collect(),
            preferred: nets.collect(),
            routes: Vec::new(),
            advertised: Vec::new(),
        }
    }

    fn hops(local: &str, peer: &str) -> (Option<String>, Option<(String, Option<String>)>) {
        let dummy = |name: &str, addresses: &[&str]| Interface {
            noarp: true,
            ..interface(name, addresses)
        };
        let mut lo = interface("lo", &["127.0.0.1/8", "203.0.113.9/32", "2001:db8:ffff::1/128"]);
        lo.loopback = true;
        // A temporary address, and one that is not used for new connections any more.
        let mut eth3 = interface(
            "eth3",
            &[
                "10.3.0.1/24",
                "2001:db8:3::a/64",
                "2001:db8:3::b/64",
                "2001:db8:3::c/64",
            ],
        );
        eth3.preferred = vec!["2001:db8:3::c/64".parse().expect("an address and a length")];
        let mut down = dummy("kube-ipvs0", &["192.0.2.9/32", "2001:db8:80::1/128"]);
        down.up = false;
        let interfaces = [
            lo,
            down,
            dummy(
                "dummy0",
                &["192.0.2.9/32", "2001:db8:81::1/128", "2001:db8:81::2/64"],
            ),
            dummy("dummy1", &["10.4.0.1/32", "2001:db8:82::1/128"]),
            eth3,
            // The address of a Service stands before the own one.
            interface(
                "eth4",
                &["10.5.0.1/24", "2001:db8:83::80/128", "2001:db8:83::1/64"],
            ),
            interface("eth5", &["10.6.0.1/24", "2001:db8:84::80/128"]),
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
            // Neither loopback, nor a dummy while another interface has the address, lends the other next hop.
            ("203.0.113.9", "192.0.2.254", text("203.0.113.9"), None),
            ("10.4.0.1", "192.0.2.254", text("10.4.0.1"), None),
            (
                "10.3.0.1",
                "10.3.0.254",
                text("10.3.0.1"),
                both("2001:db8:3::c", None),
            ),
            (
                "2001:db8:3::a",
                "2001:db8:3::ff",
                None,
                both("2001:db8:3::a", None),
            ),
            (
                "10.5.0.1",
                "10.5.0.254",
                text("10.5.0.1"),
                both("2001:db8:83::1", None),
            ),
            (
                "10.6.0.1",
                "10.6.0.254",
                text("10.6.0.1"),
                both("2001:db8:84::80", None),
            ),
            // The interfaces are not known yet.
            ("203.0.113.7", "203.0.113.8", text("203.0.113.7"), None),
        ] {
            assert_eq!(hops(local, peer), (v4, v6), "{local} {peer}");
        }
    }
}

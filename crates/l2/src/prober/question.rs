//! The frames that ask whether an address is taken.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{Solicitation, solicited_node};
use crate::{Link, MacAddr};

/// Writes the question for `address` from the station `mac` to `frame`, and returns its length.
pub(super) fn question(address: IpAddr, mac: MacAddr, frame: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => arp_probe(address, mac, frame),
        IpAddr::V6(address) => solicitation(address, mac, frame),
    }
}

/// Writes the question whether `to`, or anybody, has `address`, from a station on `link` that wants to reach it.
pub(super) fn check(address: IpAddr, link: &Link, to: Option<MacAddr>, frame: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => arp_request(address, link, to, frame),
        IpAddr::V6(address) => match link_local(link) {
            Some(source) => neighbour_solicitation(address, source, link.mac, to, frame),
            None => solicitation(address, link.mac, frame),
        },
    }
}

/// RFC 826, to one machine as RFC 1122 §2.3.2.1 has it: "unicast poll". Without an address of our own it is a probe, whose
/// answer comes all the same.
fn arp_request(address: Ipv4Addr, link: &Link, to: Option<MacAddr>, frame: &mut [u8]) -> usize {
    let own = link.prefixes.iter().filter_map(|prefix| match prefix.address {
        IpAddr::V4(own) => Some((prefix.contains(address.into()), own)),
        IpAddr::V6(_) => None,
    });
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: link.mac,
        sender_ip: own.max().map_or(Ipv4Addr::UNSPECIFIED, |(_, own)| own),
        target_mac: to.unwrap_or(MacAddr::ZERO),
        target_ip: address,
    };
    arp.emit(to.unwrap_or(MacAddr::BROADCAST), link.mac, frame)
}

/// RFC 4861 §7.2.2, and to one machine §7.3.3. The answer goes to us alone.
fn neighbour_solicitation(
    address: Ipv6Addr,
    source: Ipv6Addr,
    mac: MacAddr,
    to: Option<MacAddr>,
    frame: &mut [u8],
) -> usize {
    let destination = if to.is_some() {
        address
    } else {
        solicited_node(address)
    };
    let solicitation = Solicitation {
        source,
        destination,
        target: address,
        link_address: Some(mac),
    };
    solicitation.emit(to.unwrap_or_else(|| MacAddr::multicast(destination)), mac, frame)
}

fn link_local(link: &Link) -> Option<Ipv6Addr> {
    link.prefixes.iter().find_map(|prefix| match prefix.address {
        IpAddr::V6(own) if own.is_unicast_link_local() => Some(own),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    })
}

/// RFC 5227 §2.1.1: a broadcast request without a sender address, so that it changes nobody's cache.
fn arp_probe(address: Ipv4Addr, mac: MacAddr, frame: &mut [u8]) -> usize {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: MacAddr::ZERO,
        target_ip: address,
    };
    arp.emit(MacAddr::BROADCAST, mac, frame)
}

/// RFC 4862 §5.4.2: from nobody, to the group of whoever has the address.
fn solicitation(address: Ipv6Addr, mac: MacAddr, frame: &mut [u8]) -> usize {
    let group = solicited_node(address);
    let solicitation = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination: group,
        target: address,
        link_address: None,
    };
    solicitation.emit(MacAddr::multicast(group), mac, frame)
}

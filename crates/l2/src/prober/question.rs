//! The questions whether an address is taken.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{Solicitation, solicited_node};
use crate::{Link, MacAddr};

/// Writes a question of a probe for `address` from the station `mac` to `frame`, and returns its length.
pub(super) fn question(address: IpAddr, mac: MacAddr, frame: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => arp_probe(address, mac, frame),
        IpAddr::V6(address) => solicitation(address, mac, frame),
    }
}

/// Writes a check whether `target`, or any machine, has `address`, from this node on `link`, and returns its length.
pub(crate) fn check(address: IpAddr, link: &Link, target: Option<MacAddr>, frame: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => arp_request(address, link, target, frame),
        IpAddr::V6(address) => match link_local(link) {
            Some(source) => neighbour_solicitation(address, source, link.mac, target, frame),
            None => solicitation(address, link.mac, frame),
        },
    }
}

/// Writes the question of a host that is about to send a packet to `address` from its own address `source` of the same family, and
/// returns its length.
pub(crate) fn request(address: IpAddr, source: IpAddr, mac: MacAddr, frame: &mut [u8]) -> usize {
    match (address, source) {
        (IpAddr::V4(target_ip), IpAddr::V4(sender_ip)) => {
            let arp = Arp {
                operation: Operation::Request,
                sender_mac: mac,
                sender_ip,
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            arp.emit(MacAddr::BROADCAST, mac, frame)
        }
        (IpAddr::V6(address), IpAddr::V6(source)) => {
            neighbour_solicitation(address, source, mac, None, frame)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("the source has the family of the address")
        }
    }
}

/// RFC 826, to one machine as the "unicast poll" of RFC 1122 section 2.3.2.1. Without an IPv4 address on the link it is
/// a probe, which is answered, too.
fn arp_request(address: Ipv4Addr, link: &Link, target: Option<MacAddr>, frame: &mut [u8]) -> usize {
    let own = link.prefixes.iter().filter_map(|prefix| match prefix.address {
        IpAddr::V4(own) => Some((prefix.contains(address.into()), own)),
        IpAddr::V6(_) => None,
    });
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: link.mac,
        sender_ip: own.max().map_or(Ipv4Addr::UNSPECIFIED, |(_, own)| own),
        target_mac: target.unwrap_or(MacAddr::ZERO),
        target_ip: address,
    };
    arp.emit(target.unwrap_or(MacAddr::BROADCAST), link.mac, frame)
}

/// RFC 4861 section 7.2.2, and to one machine section 7.3.3. The answer is unicast.
fn neighbour_solicitation(
    address: Ipv6Addr,
    source: Ipv6Addr,
    mac: MacAddr,
    target: Option<MacAddr>,
    frame: &mut [u8],
) -> usize {
    let destination = if target.is_some() {
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
    solicitation.emit(
        target.unwrap_or_else(|| MacAddr::multicast(destination)),
        mac,
        frame,
    )
}

fn link_local(link: &Link) -> Option<Ipv6Addr> {
    link.prefixes.iter().find_map(|prefix| match prefix.address {
        IpAddr::V6(own) if own.is_unicast_link_local() => Some(own),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    })
}

/// RFC 5227 section 2.1.1: a broadcast request without a sender address, so that it changes no cache.
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

/// RFC 4862 section 5.4.2: from the unspecified address to the solicited-node group of the address.
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

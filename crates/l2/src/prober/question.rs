//! The frames that ask whether an address is taken.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::MacAddr;
use crate::wire::arp::{Arp, Operation};
use crate::wire::ndp::{Solicitation, solicited_node};

/// Writes the question for `address` from the station `mac` to `frame`, and returns its length.
pub(super) fn question(address: IpAddr, mac: MacAddr, frame: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => arp_probe(address, mac, frame),
        IpAddr::V6(address) => solicitation(address, mac, frame),
    }
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

//! Frames of other machines, and the prober's own as smoltcp parses them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use herald_l2::MacAddr;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Solicitation, solicited_node};
use smoltcp::wire as oracle;
use std::time::Duration;

use super::{Simulation, V4, V6, link, mac};

pub(crate) fn frame(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut buffer = [0; MAX_FRAME_LENGTH];
    let length = emit(&mut buffer);
    buffer[..length].to_vec()
}

pub(crate) fn arp(
    operation: Operation,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
    sender: MacAddr,
) -> Vec<u8> {
    let arp = Arp {
        operation,
        sender_mac: sender,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    frame(|buffer| arp.emit(MacAddr::BROADCAST, sender, buffer))
}

/// An advertisement that `target` is at `mac`, in a frame from `source`.
pub(crate) fn advertisement(
    target: Ipv6Addr,
    mac: Option<MacAddr>,
    source: MacAddr,
    solicited: bool,
) -> Vec<u8> {
    let advertisement = Advertisement {
        source: target,
        destination: if solicited { V6 } else { ALL_NODES },
        router: false,
        solicited,
        overriding: false,
        target,
        link_address: mac,
    };
    let destination = MacAddr::multicast(advertisement.destination);
    frame(|buffer| advertisement.emit(destination, source, buffer))
}

pub(crate) fn solicitation(source: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let destination = solicited_node(target);
    let solicitation = Solicitation {
        source,
        destination,
        target,
        link_address: None,
    };
    frame(|buffer| solicitation.emit(MacAddr::multicast(destination), mac, buffer))
}

/// A frame that shows that a machine has `address`, or probes for it.
pub(crate) fn sign(address: IpAddr, has: bool, mac: MacAddr) -> Vec<u8> {
    let unspecified = Ipv4Addr::UNSPECIFIED;
    match (address, has) {
        (IpAddr::V4(v4), true) => arp(Operation::Reply, v4, V4, mac),
        (IpAddr::V4(v4), false) => arp(Operation::Request, unspecified, v4, mac),
        (IpAddr::V6(v6), true) => advertisement(v6, Some(mac), mac, false),
        (IpAddr::V6(v6), false) => solicitation(Ipv6Addr::UNSPECIFIED, v6, mac),
    }
}

#[test]
fn smoltcp_reads_an_arp_probe() {
    let mut simulation = Simulation::new(vec![link(2)]);
    simulation.probe(V4);
    let sent = simulation.run(Duration::ZERO);
    let frame = oracle::EthernetFrame::new_checked(&sent[0].frame).expect("a frame");
    assert_eq!(frame.src_addr(), oracle::EthernetAddress(mac(2).0));
    assert_eq!(frame.dst_addr(), oracle::EthernetAddress::BROADCAST);
    let packet = oracle::ArpPacket::new_checked(frame.payload()).expect("a packet");
    let expected = oracle::ArpRepr::EthernetIpv4 {
        operation: oracle::ArpOperation::Request,
        source_hardware_addr: oracle::EthernetAddress(mac(2).0),
        source_protocol_addr: Ipv4Addr::UNSPECIFIED,
        target_hardware_addr: oracle::EthernetAddress([0; 6]),
        target_protocol_addr: V4,
    };
    assert_eq!(oracle::ArpRepr::parse(&packet), Ok(expected));
}

#[test]
fn smoltcp_reads_a_solicitation_for_duplicate_address_detection() {
    let mut simulation = Simulation::new(vec![link(2)]);
    simulation.probe(V6);
    let sent = simulation.run(Duration::ZERO);
    let frame = oracle::EthernetFrame::new_checked(&sent[0].frame).expect("a frame");
    assert_eq!(frame.src_addr(), oracle::EthernetAddress(mac(2).0));
    assert_eq!(
        frame.dst_addr(),
        oracle::EthernetAddress([0x33, 0x33, 0xff, 0, 0, 1])
    );
    let ip = oracle::Ipv6Packet::new_checked(frame.payload()).expect("a packet");
    assert_eq!(
        (ip.src_addr(), ip.dst_addr(), ip.hop_limit()),
        (Ipv6Addr::UNSPECIFIED, solicited_node(V6), 255)
    );
    let icmp = oracle::Icmpv6Packet::new_checked(ip.payload()).expect("a message");
    let checked = smoltcp::phy::ChecksumCapabilities::default();
    let expected = oracle::NdiscRepr::NeighborSolicit {
        target_addr: V6,
        lladdr: None,
    };
    assert_eq!(
        oracle::Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &checked),
        Ok(oracle::Icmpv6Repr::Ndisc(expected))
    );
}

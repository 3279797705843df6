//! The codec: round trips, comparison with smoltcp, and arbitrary bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use herald_l2::MacAddr;
use herald_l2::wire::arp::{self, Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_l2::wire::ndp::{ALL_NODES, Advertisement, Ndp, Solicitation, solicited_node};
use herald_l2::wire::{MAX_FRAME_LENGTH, Malformed};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as oracle;

const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const RECEIVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<[u8; 4]>().prop_map(Ipv4Addr::from)
}

fn unicast_v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 15]>().prop_map(|rest| {
        let mut octets = [0x20; 16];
        octets[1..].copy_from_slice(&rest);
        Ipv6Addr::from(octets)
    })
}

prop_compose! {
    fn arps()(
        reply: bool, sender_mac in mac(), sender_ip in v4(), target_mac in mac(), target_ip in v4(),
    ) -> Arp {
        let operation = if reply { Operation::Reply } else { Operation::Request };
        Arp { operation, sender_mac, sender_ip, target_mac, target_ip }
    }
}

prop_compose! {
    fn solicitations()(
        probe: bool, source in unicast_v6(), target in unicast_v6(), mac in proptest::option::of(mac()),
    ) -> Solicitation {
        Solicitation {
            source: if probe { Ipv6Addr::UNSPECIFIED } else { source },
            destination: solicited_node(target),
            target,
            link_address: mac.filter(|_| !probe),
        }
    }
}

prop_compose! {
    fn advertisements()(
        router: bool, solicited: bool, overriding: bool, source in unicast_v6(), asker in unicast_v6(),
        target in unicast_v6(), link_address in proptest::option::of(mac()),
    ) -> Advertisement {
        let destination = if solicited { asker } else { ALL_NODES };
        Advertisement { source, destination, router, solicited, overriding, target, link_address }
    }
}

fn emitted(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    // What was in the buffer before must not show.
    let mut buffer = [0xa5; MAX_FRAME_LENGTH];
    let length = emit(&mut buffer);
    buffer[..length].to_vec()
}

fn lladdr(mac: Option<MacAddr>) -> Option<oracle::RawHardwareAddress> {
    mac.map(|mac| oracle::RawHardwareAddress::from_bytes(&mac.0))
}

fn oracle_ndp(frame: &[u8]) -> oracle::NdiscRepr<'_> {
    let ethernet = oracle::EthernetFrame::new_checked(frame).expect("a frame");
    assert_eq!(ethernet.ethertype(), oracle::EthernetProtocol::Ipv6);
    let ip = oracle::Ipv6Packet::new_checked(&frame[14..]).expect("a packet");
    assert_eq!(
        (ip.hop_limit(), ip.next_header()),
        (255, oracle::IpProtocol::Icmpv6)
    );
    let icmp = oracle::Icmpv6Packet::new_checked(&frame[54..]).expect("a message");
    let checked = ChecksumCapabilities::default();
    let repr = oracle::Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &checked);
    let Ok(oracle::Icmpv6Repr::Ndisc(repr)) = repr else {
        panic!("not neighbour discovery: {repr:?}");
    };
    repr
}

/// A message emitted by smoltcp, in a frame.
fn oracle_frame(source: Ipv6Addr, destination: Ipv6Addr, repr: oracle::NdiscRepr<'_>) -> Vec<u8> {
    let repr = oracle::Icmpv6Repr::Ndisc(repr);
    let length = repr.buffer_len();
    let mut bytes = vec![0; 54 + length];
    let mut frame = oracle::EthernetFrame::new_unchecked(&mut bytes);
    frame.set_src_addr(oracle::EthernetAddress(SENDER.0));
    frame.set_dst_addr(oracle::EthernetAddress(RECEIVER.0));
    frame.set_ethertype(oracle::EthernetProtocol::Ipv6);
    let header = oracle::Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: oracle::IpProtocol::Icmpv6,
        payload_len: length,
        hop_limit: 255,
    };
    header.emit(&mut oracle::Ipv6Packet::new_unchecked(&mut bytes[14..]));
    let mut packet = oracle::Icmpv6Packet::new_unchecked(&mut bytes[54..]);
    repr.emit(
        &source,
        &destination,
        &mut packet,
        &ChecksumCapabilities::default(),
    );
    bytes
}

proptest! {
    #[test]
    fn arp_survives_a_round_trip(arp in arps(), destination in mac(), source in mac()) {
        let bytes = emitted(|buffer| arp.emit(destination, source, buffer));
        let frame = Frame::parse(&bytes).expect("a frame");
        prop_assert_eq!((frame.destination, frame.source), (destination, source));
        prop_assert_eq!(frame.ether_type, EtherType::Arp);
        prop_assert_eq!(Arp::parse(frame.payload), Ok(arp));
        prop_assert_eq!(bytes.len(), arp::FRAME_LENGTH);
        prop_assert!(bytes[42..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn smoltcp_reads_the_same_arp(arp in arps()) {
        let bytes = emitted(|buffer| arp.emit(RECEIVER, SENDER, buffer));
        let packet = oracle::ArpPacket::new_checked(&bytes[14..]).expect("a packet");
        let expected = oracle::ArpRepr::EthernetIpv4 {
            operation: match arp.operation {
                Operation::Request => oracle::ArpOperation::Request,
                Operation::Reply => oracle::ArpOperation::Reply,
            },
            source_hardware_addr: oracle::EthernetAddress(arp.sender_mac.0),
            source_protocol_addr: arp.sender_ip,
            target_hardware_addr: oracle::EthernetAddress(arp.target_mac.0),
            target_protocol_addr: arp.target_ip,
        };
        prop_assert_eq!(oracle::ArpRepr::parse(&packet), Ok(expected));
        let mut written = [0; arp::PACKET_LENGTH];
        expected.emit(&mut oracle::ArpPacket::new_unchecked(&mut written));
        prop_assert_eq!(&bytes[14..42], &written[..]);
    }

    #[test]
    fn a_solicitation_survives_a_round_trip(solicitation in solicitations()) {
        let bytes = emitted(|buffer| solicitation.emit(RECEIVER, SENDER, buffer));
        let frame = Frame::parse(&bytes).expect("a frame");
        prop_assert_eq!(Ndp::parse(frame.payload), Ok(Ndp::Solicitation(solicitation)));
        let expected = oracle::NdiscRepr::NeighborSolicit {
            target_addr: solicitation.target,
            lladdr: lladdr(solicitation.link_address),
        };
        prop_assert_eq!(oracle_ndp(&bytes), expected);
        prop_assert_eq!(oracle_frame(solicitation.source, solicitation.destination, expected), bytes);
    }

    #[test]
    fn an_advertisement_survives_a_round_trip(advertisement in advertisements()) {
        let bytes = emitted(|buffer| advertisement.emit(RECEIVER, SENDER, buffer));
        let frame = Frame::parse(&bytes).expect("a frame");
        prop_assert_eq!(Ndp::parse(frame.payload), Ok(Ndp::Advertisement(advertisement)));
        let mut flags = oracle::NdiscNeighborFlags::empty();
        flags.set(oracle::NdiscNeighborFlags::ROUTER, advertisement.router);
        flags.set(oracle::NdiscNeighborFlags::SOLICITED, advertisement.solicited);
        flags.set(oracle::NdiscNeighborFlags::OVERRIDE, advertisement.overriding);
        let expected = oracle::NdiscRepr::NeighborAdvert {
            flags,
            target_addr: advertisement.target,
            lladdr: lladdr(advertisement.link_address),
        };
        prop_assert_eq!(oracle_ndp(&bytes), expected);
        prop_assert_eq!(oracle_frame(advertisement.source, advertisement.destination, expected), bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::parse(&bytes);
        let _ = Arp::parse(&bytes);
        let _ = Ndp::parse(&bytes);
    }

    /// Reaches code that random bytes do not reach: a valid message with arbitrary options and the right checksum.
    #[test]
    fn arbitrary_options_are_parsed_or_refused_without_a_panic(
        target in unicast_v6(), source in unicast_v6(), options in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let parsed = Ndp::parse(&with_options(source, target, &options));
        prop_assert!(matches!(parsed, Ok(Ndp::Solicitation(_)) | Err(Malformed::Invalid)), "{:?}", parsed);
    }

    #[test]
    fn a_flipped_bit_never_changes_a_solicitation_unnoticed(
        solicitation in solicitations(), bit in 0_usize..8 * 64,
    ) {
        let bytes = emitted(|buffer| solicitation.emit(RECEIVER, SENDER, buffer));
        let mut payload = bytes[14..].to_vec();
        let byte = bit / 8;
        prop_assume!(byte < payload.len());
        // No checksum covers traffic class and flow label, and the codec ignores them.
        prop_assume!(byte > 3);
        payload[byte] ^= 1 << (bit % 8);
        prop_assert!(Ndp::parse(&payload).is_err());
    }

    #[test]
    fn a_cut_frame_is_refused(solicitation in solicitations(), arp in arps(), length in 0_usize..MAX_FRAME_LENGTH) {
        let bytes = emitted(|buffer| solicitation.emit(RECEIVER, SENDER, buffer));
        prop_assume!(length < bytes.len() - 14);
        prop_assert_eq!(Ndp::parse(&bytes[14..14 + length]), Err(Malformed::Truncated));
        let bytes = emitted(|buffer| arp.emit(RECEIVER, SENDER, buffer));
        let cut = length.min(arp::PACKET_LENGTH - 1);
        prop_assert_eq!(Arp::parse(&bytes[14..14 + cut]), Err(Malformed::Truncated));
    }
}

/// An IPv6 packet with a solicitation for `target` from `source` that has these bytes as options.
fn with_options(source: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let destination = solicited_node(target);
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat();
    let mut packet = oracle::Icmpv6Packet::new_unchecked(&mut message);
    packet.fill_checksum(&source, &destination);
    let mut bytes = vec![0; 40];
    let header = oracle::Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: oracle::IpProtocol::Icmpv6,
        payload_len: message.len(),
        hop_limit: 255,
    };
    header.emit(&mut oracle::Ipv6Packet::new_unchecked(&mut bytes));
    bytes.extend(message);
    bytes
}

const TARGET: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
const ASKER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn link_address(options: &[u8]) -> Result<Option<MacAddr>, Malformed> {
    match Ndp::parse(&with_options(ASKER, TARGET, options))? {
        Ndp::Solicitation(solicitation) => Ok(solicitation.link_address),
        Ndp::Advertisement(_) => unreachable!("a solicitation was sent"),
    }
}

#[test]
fn the_solicited_node_group_has_the_last_24_bits() {
    assert_eq!(
        solicited_node(TARGET),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456)
    );
}

#[test]
fn the_source_link_layer_address_is_found_among_other_options() {
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let long = [200, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let own = [1, 1, 2, 0, 0, 0, 0, 9];
    let target_option = [2, 1, 9, 9, 9, 9, 9, 9];
    let all = [&nonce[..], &long, &target_option, &own].concat();
    assert_eq!(link_address(&all), Ok(Some(MacAddr([2, 0, 0, 0, 0, 9]))));
    assert_eq!(link_address(&nonce), Ok(None));
    assert_eq!(link_address(&[]), Ok(None));
}

#[test]
fn broken_options_make_the_message_invalid() {
    let zero_length = [1, 0, 2, 0, 0, 0, 0, 9];
    let too_long = [1, 2, 2, 0, 0, 0, 0, 9];
    let one_byte = [1, 1, 2, 0, 0, 0, 0, 9, 1];
    for options in [&zero_length[..], &too_long, &one_byte] {
        assert_eq!(link_address(options), Err(Malformed::Invalid), "{options:?}");
    }
}

#[test]
fn a_probe_names_no_link_layer_address_and_goes_to_the_group() {
    let probe = |options: &[u8]| Ndp::parse(&with_options(Ipv6Addr::UNSPECIFIED, TARGET, options));
    assert!(probe(&[]).is_ok());
    assert_eq!(probe(&[1, 1, 2, 0, 0, 0, 0, 9]), Err(Malformed::Invalid));
    let elsewhere = Solicitation {
        source: Ipv6Addr::UNSPECIFIED,
        destination: ALL_NODES,
        target: TARGET,
        link_address: None,
    };
    let bytes = emitted(|buffer| elsewhere.emit(RECEIVER, SENDER, buffer));
    assert_eq!(Ndp::parse(&bytes[14..]), Err(Malformed::Invalid));
}

#[test]
fn a_packet_that_crossed_a_router_is_refused() {
    let mut packet = with_options(ASKER, TARGET, &[]);
    packet[7] = 254;
    assert_eq!(Ndp::parse(&packet), Err(Malformed::HopLimit));
}

#[test]
fn a_multicast_target_is_refused() {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);
    assert_eq!(
        Ndp::parse(&with_options(ASKER, group, &[])),
        Err(Malformed::Invalid)
    );
}

#[test]
fn a_solicited_advertisement_to_a_group_is_refused() {
    let advertisement = Advertisement {
        source: TARGET,
        destination: ALL_NODES,
        router: false,
        solicited: true,
        overriding: true,
        target: TARGET,
        link_address: Some(SENDER),
    };
    let bytes = emitted(|buffer| advertisement.emit(RECEIVER, SENDER, buffer));
    assert_eq!(Ndp::parse(&bytes[14..]), Err(Malformed::Invalid));
}

#[test]
fn other_messages_and_protocols_are_distinguished() {
    let mut echo = with_options(ASKER, TARGET, &[]);
    echo[40] = 128;
    echo[42..44].fill(0);
    let mut message = oracle::Icmpv6Packet::new_unchecked(&mut echo[40..]);
    message.fill_checksum(&ASKER, &solicited_node(TARGET));
    assert_eq!(Ndp::parse(&echo), Err(Malformed::NotNeighborDiscovery));
    let mut udp = with_options(ASKER, TARGET, &[]);
    udp[6] = 17;
    assert_eq!(Ndp::parse(&udp), Err(Malformed::NotIcmpv6));
}

#[test]
fn arp_of_other_networks_is_refused() {
    let arp = Arp {
        operation: Operation::Request,
        sender_mac: SENDER,
        sender_ip: Ipv4Addr::new(192, 0, 2, 1),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(192, 0, 2, 2),
    };
    let valid = emitted(|buffer| arp.emit(RECEIVER, SENDER, buffer));
    // Hardware type, protocol type, both lengths, and the operation (RARP is 3).
    for (place, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3)] {
        let mut packet = valid[14..].to_vec();
        packet[place] = value;
        assert_eq!(Arp::parse(&packet), Err(Malformed::Arp), "byte {place}");
    }
}

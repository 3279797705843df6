//! Neighbour solicitations and advertisements (RFC 4861) in IPv6 on Ethernet (RFC 2464).

use core::net::Ipv6Addr;

use pnet_base::core_net::Ipv6Addr as PnetIpv6Addr;
use pnet_packet::ethernet::EtherTypes;
use pnet_packet::icmpv6::ndp::{
    Icmpv6Codes, MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NeighborAdvertFlags,
    NeighborAdvertPacket, NeighborSolicitPacket,
};
use pnet_packet::icmpv6::{Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet_packet::util::ipv6_checksum;

use super::ethernet::{self, HEADER_LENGTH};
use super::{MacAddr, Malformed};

/// The longest emitted frame: Ethernet and IPv6 headers, the message and one link-layer address option.
pub const MAX_FRAME_LENGTH: usize = HEADER_LENGTH + IPV6_LENGTH + MESSAGE_LENGTH + OPTION_LENGTH;

/// `ff02::1`, every node on the segment.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// RFC 4861 section 7.1: a packet that still has the highest hop limit cannot have crossed a router.
const HOP_LIMIT: u8 = 255;
const IPV6_LENGTH: usize = 40;
const MESSAGE_LENGTH: usize = 24;
/// A link-layer address option for Ethernet, one unit of eight bytes.
const OPTION_LENGTH: usize = 8;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Where the checksum stands in an ICMPv6 message, in 16-bit words.
const CHECKSUM_WORD: usize = 1;

/// Returns the group that solicitations for `address` are sent to (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    let low = u16::from_be_bytes([octets[14], octets[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | octets[13] as u16, low)
}

/// A neighbour discovery message about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ndp {
    /// Asks which machine has the target.
    Solicitation(Solicitation),
    /// Says that the target is at this link-layer address.
    Advertisement(Advertisement),
}

/// A neighbour solicitation (RFC 4861 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// IPv6 source; `::` when it is a duplicate address detection probe (RFC 4862 section 5.4).
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// The source link-layer address option.
    pub link_address: Option<MacAddr>,
}

/// A neighbour advertisement (RFC 4861 section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Router flag: the sender is a router.
    pub router: bool,
    /// Solicited flag: the message answers a solicitation.
    pub solicited: bool,
    /// Override flag: the message replaces an entry of a cache.
    pub overriding: bool,
    /// The address that is advertised.
    pub target: Ipv6Addr,
    /// The target link-layer address option.
    pub link_address: Option<MacAddr>,
}

impl Ndp {
    /// Parses the payload of an Ethernet frame; padding behind the packet is ignored.
    ///
    /// # Errors
    /// When RFC 4861 section 7.1.1 or 7.1.2 says that a receiver discards the message silently.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let ip = Ipv6Packet::new(payload).ok_or(Malformed::Truncated)?;
        if ip.get_version() != 6 || ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
            return Err(Malformed::NotIcmpv6);
        }
        let end = IPV6_LENGTH + usize::from(ip.get_payload_length());
        let message = payload.get(IPV6_LENGTH..end).ok_or(Malformed::Truncated)?;
        let icmp = Icmpv6Packet::new(message).ok_or(Malformed::Truncated)?;
        if ip.get_hop_limit() != HOP_LIMIT {
            return Err(Malformed::HopLimit);
        }
        let (source, destination) = (ip.get_source(), ip.get_destination());
        let checksum = ipv6_checksum(
            message,
            CHECKSUM_WORD,
            &[],
            &source,
            &destination,
            IpNextHeaderProtocols::Icmpv6,
        );
        if icmp.get_checksum() != checksum {
            return Err(Malformed::Checksum);
        }
        let kind = icmp.get_icmpv6_type();
        if kind != Icmpv6Types::NeighborSolicit && kind != Icmpv6Types::NeighborAdvert {
            return Err(Malformed::NotNeighborDiscovery);
        }
        if message.len() < MESSAGE_LENGTH {
            return Err(Malformed::Truncated);
        }
        if icmp.get_icmpv6_code() != Icmpv6Codes::NoCode {
            return Err(Malformed::Invalid);
        }
        let (source, destination) = (source.octets().into(), destination.octets().into());
        if kind == Icmpv6Types::NeighborSolicit {
            Solicitation::parse(source, destination, message).map(Self::Solicitation)
        } else {
            Advertisement::parse(source, destination, message).map(Self::Advertisement)
        }
    }
}

impl Solicitation {
    fn parse(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Result<Self, Malformed> {
        let packet = NeighborSolicitPacket::new(message).ok_or(Malformed::Truncated)?;
        let target: Ipv6Addr = packet.get_target_addr().octets().into();
        let link_address = link_address(SOURCE_LINK_ADDRESS, &message[MESSAGE_LENGTH..])?;
        // RFC 4861 section 7.1.1: a probe goes to the solicited-node group and names no link-layer address.
        let probe = source.is_unspecified();
        let valid_probe = destination == solicited_node(target) && link_address.is_none();
        if target.is_multicast() || source.is_multicast() || (probe && !valid_probe) {
            return Err(Malformed::Invalid);
        }
        Ok(Self {
            source,
            destination,
            target,
            link_address,
        })
    }

    /// Writes the frame to the front of `frame` and returns its length.
    ///
    /// # Panics
    /// If `frame` is shorter than the emitted frame, which has at most [`MAX_FRAME_LENGTH`] bytes.
    pub fn emit(&self, destination: MacAddr, source: MacAddr, frame: &mut [u8]) -> usize {
        let length = message_length(self.link_address);
        let frame = &mut frame[..HEADER_LENGTH + IPV6_LENGTH + length];
        let payload = ethernet::emit(frame, destination, source, EtherTypes::Ipv6);
        let message = emit_ipv6(payload, self.source, self.destination);
        emit_link_address(SOURCE_LINK_ADDRESS, self.link_address, message);
        let Some(mut packet) = MutableNeighborSolicitPacket::new(message) else {
            unreachable!("the message has its length");
        };
        packet.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        packet.set_icmpv6_code(Icmpv6Codes::NoCode);
        packet.set_reserved(0);
        packet.set_target_addr(PnetIpv6Addr::from(self.target.octets()));
        emit_checksum(message, self.source, self.destination);
        HEADER_LENGTH + IPV6_LENGTH + length
    }
}

impl Advertisement {
    fn parse(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Result<Self, Malformed> {
        let packet = NeighborAdvertPacket::new(message).ok_or(Malformed::Truncated)?;
        let target: Ipv6Addr = packet.get_target_addr().octets().into();
        let link_address = link_address(TARGET_LINK_ADDRESS, &message[MESSAGE_LENGTH..])?;
        let has = |flag| packet.get_flags() & flag != 0;
        let solicited = has(NeighborAdvertFlags::Solicited);
        // RFC 4861 section 7.1.2: an advertisement to a group answers no solicitation.
        if target.is_multicast() || (destination.is_multicast() && solicited) {
            return Err(Malformed::Invalid);
        }
        Ok(Self {
            source,
            destination,
            router: has(NeighborAdvertFlags::Router),
            solicited,
            overriding: has(NeighborAdvertFlags::Override),
            target,
            link_address,
        })
    }

    /// Writes the frame to the front of `frame` and returns its length.
    ///
    /// # Panics
    /// If `frame` is shorter than the emitted frame, which has at most [`MAX_FRAME_LENGTH`] bytes.
    pub fn emit(&self, destination: MacAddr, source: MacAddr, frame: &mut [u8]) -> usize {
        let length = message_length(self.link_address);
        let frame = &mut frame[..HEADER_LENGTH + IPV6_LENGTH + length];
        let payload = ethernet::emit(frame, destination, source, EtherTypes::Ipv6);
        let message = emit_ipv6(payload, self.source, self.destination);
        emit_link_address(TARGET_LINK_ADDRESS, self.link_address, message);
        let Some(mut packet) = MutableNeighborAdvertPacket::new(message) else {
            unreachable!("the message has its length");
        };
        packet.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
        packet.set_icmpv6_code(Icmpv6Codes::NoCode);
        packet.set_flags(self.flags());
        packet.set_reserved(0);
        packet.set_target_addr(PnetIpv6Addr::from(self.target.octets()));
        emit_checksum(message, self.source, self.destination);
        HEADER_LENGTH + IPV6_LENGTH + length
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(self.router, NeighborAdvertFlags::Router)
            | flag(self.solicited, NeighborAdvertFlags::Solicited)
            | flag(self.overriding, NeighborAdvertFlags::Override)
    }
}

const fn message_length(link_address: Option<MacAddr>) -> usize {
    match link_address {
        Some(_) => MESSAGE_LENGTH + OPTION_LENGTH,
        None => MESSAGE_LENGTH,
    }
}

/// Returns the first option of this kind. Parsed by hand: `pnet_packet` computes the length of an option in eight bits,
/// which panics or wraps for some options that a sender can choose.
fn link_address(kind: u8, mut options: &[u8]) -> Result<Option<MacAddr>, Malformed> {
    let mut found = None;
    while let [option, units, ..] = *options {
        let length = usize::from(units) * OPTION_LENGTH;
        // RFC 4861 section 4.6: an option of length zero makes the whole packet invalid.
        if length == 0 || length > options.len() {
            return Err(Malformed::Invalid);
        }
        if let (true, None, [_, _, mac @ ..]) = (option == kind, found, &options[..OPTION_LENGTH]) {
            found = <[u8; 6]>::try_from(mac).ok().map(MacAddr);
        }
        options = &options[length..];
    }
    // A single byte is not an option.
    if options.is_empty() {
        Ok(found)
    } else {
        Err(Malformed::Invalid)
    }
}

fn emit_link_address(kind: u8, link_address: Option<MacAddr>, message: &mut [u8]) {
    if let Some(mac) = link_address {
        let option = &mut message[MESSAGE_LENGTH..];
        option[0] = kind;
        option[1] = 1;
        option[2..].copy_from_slice(&mac.0);
    }
}

/// Writes the IPv6 header to the front of `payload` and returns the rest.
///
/// # Panics
/// If `payload` is shorter than [`IPV6_LENGTH`].
fn emit_ipv6(payload: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) -> &mut [u8] {
    let (header, message) = payload.split_at_mut(IPV6_LENGTH);
    let Some(mut packet) = MutableIpv6Packet::new(header) else {
        unreachable!("a header has the length of a header");
    };
    packet.set_version(6);
    packet.set_traffic_class(0);
    packet.set_flow_label(0);
    let Ok(length) = u16::try_from(message.len()) else {
        unreachable!("a message has at most 32 bytes");
    };
    packet.set_payload_length(length);
    packet.set_next_header(IpNextHeaderProtocols::Icmpv6);
    packet.set_hop_limit(HOP_LIMIT);
    packet.set_source(PnetIpv6Addr::from(source.octets()));
    packet.set_destination(PnetIpv6Addr::from(destination.octets()));
    message
}

fn emit_checksum(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    let checksum = ipv6_checksum(
        message,
        CHECKSUM_WORD,
        &[],
        &PnetIpv6Addr::from(source.octets()),
        &PnetIpv6Addr::from(destination.octets()),
        IpNextHeaderProtocols::Icmpv6,
    );
    let Some(mut packet) = MutableIcmpv6Packet::new(message) else {
        unreachable!("the message has its length");
    };
    packet.set_checksum(checksum);
}

//! ARP for IPv4 on Ethernet (RFC 826).

use core::net::Ipv4Addr;

use pnet_base::core_net::Ipv4Addr as PnetIpv4Addr;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::EtherTypes;

use super::ethernet::{self, MIN_FRAME_LENGTH};
use super::{MacAddr, Malformed};

/// Length of an emitted frame, padding included.
pub const FRAME_LENGTH: usize = MIN_FRAME_LENGTH;

/// Length of a packet: the fixed part and two Ethernet and IPv4 addresses.
pub const PACKET_LENGTH: usize = 28;

/// Operation of an ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Asks which machine has the target address.
    Request,
    /// Says that the sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// `ar$sha`.
    pub sender_mac: MacAddr,
    /// `ar$spa`; 0.0.0.0 in a probe (RFC 5227 section 1.1).
    pub sender_ip: Ipv4Addr,
    /// `ar$tha`.
    pub target_mac: MacAddr,
    /// `ar$tpa`.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Parses the payload of an Ethernet frame; padding behind the packet is ignored.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] and [`Malformed::Arp`].
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let packet = ArpPacket::new(payload).ok_or(Malformed::Truncated)?;
        let ethernet_and_ipv4 = packet.get_hardware_type() == ArpHardwareTypes::Ethernet
            && packet.get_protocol_type() == EtherTypes::Ipv4
            && packet.get_hw_addr_len() == 6
            && packet.get_proto_addr_len() == 4;
        if !ethernet_and_ipv4 {
            return Err(Malformed::Arp);
        }
        let operation = match packet.get_operation() {
            ArpOperations::Request => Operation::Request,
            ArpOperations::Reply => Operation::Reply,
            _ => return Err(Malformed::Arp),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(packet.get_sender_hw_addr().octets()),
            sender_ip: packet.get_sender_proto_addr().octets().into(),
            target_mac: MacAddr(packet.get_target_hw_addr().octets()),
            target_ip: packet.get_target_proto_addr().octets().into(),
        })
    }

    /// Writes the packet with its Ethernet header, padded, to the front of `frame`, and returns [`FRAME_LENGTH`].
    ///
    /// # Panics
    /// If `frame` is shorter than [`FRAME_LENGTH`].
    pub fn emit(&self, destination: MacAddr, source: MacAddr, frame: &mut [u8]) -> usize {
        let frame = &mut frame[..FRAME_LENGTH];
        let payload = ethernet::emit(frame, destination, source, EtherTypes::Arp);
        let (packet, padding) = payload.split_at_mut(PACKET_LENGTH);
        padding.fill(0);
        let Some(mut packet) = MutableArpPacket::new(packet) else {
            unreachable!("a packet has the length of a packet");
        };
        packet.set_hardware_type(ArpHardwareTypes::Ethernet);
        packet.set_protocol_type(EtherTypes::Ipv4);
        packet.set_hw_addr_len(6);
        packet.set_proto_addr_len(4);
        packet.set_operation(match self.operation {
            Operation::Request => ArpOperations::Request,
            Operation::Reply => ArpOperations::Reply,
        });
        packet.set_sender_hw_addr(self.sender_mac.0.into());
        packet.set_sender_proto_addr(PnetIpv4Addr::from(self.sender_ip.octets()));
        packet.set_target_hw_addr(self.target_mac.0.into());
        packet.set_target_proto_addr(PnetIpv4Addr::from(self.target_ip.octets()));
        FRAME_LENGTH
    }
}

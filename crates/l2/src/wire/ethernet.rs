//! Ethernet II frames (RFC 894, IEEE 802.3 and 802.1Q).

use pnet_packet::Packet;
use pnet_packet::ethernet::{EtherType as PnetEtherType, EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet_packet::vlan::VlanPacket;

use super::{MacAddr, Malformed};

/// Length of an untagged header.
pub const HEADER_LENGTH: usize = 14;

/// The shortest frame that Ethernet carries, without its checksum; shorter ones are padded with zeroes.
pub const MIN_FRAME_LENGTH: usize = 60;

/// Protocol of the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EtherType {
    /// PnetEtherType 0x0806.
    Arp,
    /// PnetEtherType 0x86dd.
    Ipv6,
    /// Any other EtherType.
    Other(u16),
}

/// A parsed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Destination MAC address.
    pub destination: MacAddr,
    /// Source MAC address.
    pub source: MacAddr,
    /// Protocol of the payload.
    pub ether_type: EtherType,
    /// The bytes after the header, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Parses a frame. A priority tag (VLAN 0) belongs to the interface itself and is skipped; frames of other VLANs
    /// belong to the VLAN interfaces on top of this one.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] and [`Malformed::Vlan`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let packet = EthernetPacket::new(bytes).ok_or(Malformed::Truncated)?;
        let mut ethertype = packet.get_ethertype();
        let mut payload = &bytes[HEADER_LENGTH..];
        if ethertype == EtherTypes::Vlan {
            let tag = VlanPacket::new(payload).ok_or(Malformed::Truncated)?;
            if tag.get_vlan_identifier() != 0 {
                return Err(Malformed::Vlan);
            }
            ethertype = tag.get_ethertype();
            payload = &payload[VlanPacket::minimum_packet_size()..];
        }
        let ether_type = match ethertype {
            EtherTypes::Arp => EtherType::Arp,
            EtherTypes::Ipv6 => EtherType::Ipv6,
            PnetEtherType(other) => EtherType::Other(other),
        };
        Ok(Self {
            destination: MacAddr(packet.get_destination().octets()),
            source: MacAddr(packet.get_source().octets()),
            ether_type,
            payload,
        })
    }
}

/// Writes an untagged header to the front of `frame` and returns the rest.
///
/// # Panics
/// If `frame` is shorter than [`HEADER_LENGTH`].
pub(super) fn emit(
    frame: &mut [u8],
    destination: MacAddr,
    source: MacAddr,
    ethertype: PnetEtherType,
) -> &mut [u8] {
    let (header, payload) = frame.split_at_mut(HEADER_LENGTH);
    let Some(mut packet) = MutableEthernetPacket::new(header) else {
        unreachable!("a header has the length of a header");
    };
    packet.set_destination(destination.0.into());
    packet.set_source(source.0.into());
    packet.set_ethertype(ethertype);
    debug_assert!(packet.payload().is_empty());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];

    fn frame(rest: &[u8]) -> alloc::vec::Vec<u8> {
        [&HEADER[..], rest].concat()
    }

    #[test]
    fn an_untagged_frame_is_parsed() {
        let bytes = frame(&[0x08, 0x06, 1, 2, 3]);
        let parsed = Frame::parse(&bytes).expect("valid");
        assert_eq!(parsed.destination, MacAddr::BROADCAST);
        assert_eq!(parsed.source, MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(parsed.ether_type, EtherType::Arp);
        assert_eq!(parsed.payload, [1, 2, 3]);
    }

    #[test]
    fn a_priority_tag_is_skipped_and_a_vlan_tag_is_refused() {
        let priority = frame(&[0x81, 0x00, 0xe0, 0x00, 0x86, 0xdd, 7]);
        let parsed = Frame::parse(&priority).expect("valid");
        assert_eq!((parsed.ether_type, parsed.payload), (EtherType::Ipv6, &[7][..]));
        let vlan = frame(&[0x81, 0x00, 0x00, 0x0a, 0x08, 0x06, 7]);
        assert_eq!(Frame::parse(&vlan), Err(Malformed::Vlan));
    }

    #[test]
    fn short_frames_are_refused() {
        for length in 0..HEADER_LENGTH {
            assert_eq!(Frame::parse(&frame(&[8, 6])[..length]), Err(Malformed::Truncated));
        }
        assert_eq!(Frame::parse(&frame(&[0x81, 0x00, 0])), Err(Malformed::Truncated));
    }
}

//! The codec: frames are parsed into plain values and emitted from them.
//!
//! # Panics
//! `parse` never panics, whatever the bytes. `emit` writes to the front of a buffer and panics only if the buffer is
//! shorter than the emitted frame: [`arp::FRAME_LENGTH`] for ARP, at most [`ndp::MAX_FRAME_LENGTH`] for NDP. A buffer
//! of [`MAX_FRAME_LENGTH`] bytes is always long enough.

pub mod arp;
pub mod ethernet;
pub mod ndp;

pub use herald_core::MacAddr;

/// Length of the longest frame that is emitted.
pub const MAX_FRAME_LENGTH: usize = ndp::MAX_FRAME_LENGTH;

/// Why bytes cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Malformed {
    /// The frame is shorter than its headers say.
    #[error("truncated frame")]
    Truncated,
    /// The source is not the address of a station: a group, or all zeroes.
    #[error("frame from no station's address")]
    Source,
    /// The frame has the tag of a VLAN, which belongs to another interface.
    #[error("frame of another VLAN")]
    Vlan,
    /// The ARP packet is not for Ethernet and IPv4, or neither request nor reply.
    #[error("ARP packet other than an Ethernet/IPv4 request or reply")]
    Arp,
    /// The frame has no IPv6 packet that carries ICMPv6 directly.
    #[error("not an ICMPv6 packet")]
    NotIcmpv6,
    /// The ICMPv6 message is neither a solicitation nor an advertisement.
    #[error("not a neighbour solicitation or advertisement")]
    NotNeighborDiscovery,
    /// RFC 4861 section 7.1: the hop limit is not 255, so the packet crossed a router.
    #[error("hop limit is not 255")]
    HopLimit,
    /// RFC 4861 section 7.1: the ICMP checksum does not match.
    #[error("wrong ICMPv6 checksum")]
    Checksum,
    /// RFC 4861 section 7.1: a code other than zero, a multicast target, a broken option, or a combination of
    /// source, destination and options that the RFC forbids.
    #[error("invalid neighbour discovery message")]
    Invalid,
}

//! Frames as they are on the wire: parsed into plain values and emitted from them.
//!
//! Parsing never panics, whatever the bytes. Emitting panics only when the buffer is shorter than the
//! emitted length, which the caller knows beforehand ([`arp::FRAME_LENGTH`], [`ndp::MAX_FRAME_LENGTH`]).

pub mod arp;
pub mod ethernet;
pub mod ndp;

pub use herald_core::MacAddr;

/// A buffer of this many bytes holds every frame that is emitted here.
pub const MAX_FRAME_LENGTH: usize = ndp::MAX_FRAME_LENGTH;

/// Why bytes are not a frame that is understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its headers say.
    #[error("truncated frame")]
    Truncated,
    /// Sent from an address that is no station's: a group, or all zeroes.
    #[error("frame from no station's address")]
    Source,
    /// Tagged with a VLAN that is not this interface's.
    #[error("frame of another VLAN")]
    Vlan,
    /// ARP that is not Ethernet and IPv4, or neither request nor reply.
    #[error("ARP packet other than an Ethernet/IPv4 request or reply")]
    Arp,
    /// Not an IPv6 packet that carries ICMPv6 directly.
    #[error("not an ICMPv6 packet")]
    NotIcmpv6,
    /// A message other than the one asked for.
    #[error("not a neighbour solicitation or advertisement")]
    NotNeighborDiscovery,
    /// RFC 4861 §7.1: the hop limit is not 255, so the packet crossed a router.
    #[error("hop limit is not 255")]
    HopLimit,
    /// RFC 4861 §7.1: the ICMP checksum does not match.
    #[error("wrong ICMPv6 checksum")]
    Checksum,
    /// RFC 4861 §7.1: a code other than zero, a multicast target, a broken option, or a combination of
    /// source, destination and options that the RFC forbids.
    #[error("invalid neighbour discovery message")]
    Invalid,
}

//! Path attributes (RFC 4271 section 5) that a route has besides its next hop.

mod as_path;
mod fault;

use alloc::vec::Vec;

pub use as_path::{AsPath, Segment, SegmentKind};
pub use fault::{AttributeFault, Consequence, FaultKind};
pub use herald_core::bgp::{Asn, Community, LargeCommunity};

use super::reader::Reader;

pub(super) const ORIGIN: u8 = 1;
pub(super) const AS_PATH: u8 = 2;
pub(super) const NEXT_HOP: u8 = 3;
pub(super) const MULTI_EXIT_DISC: u8 = 4;
pub(super) const LOCAL_PREF: u8 = 5;
pub(super) const ATOMIC_AGGREGATE: u8 = 6;
pub(super) const AGGREGATOR: u8 = 7;
pub(super) const COMMUNITIES: u8 = 8;
pub(super) const ORIGINATOR_ID: u8 = 9;
pub(super) const CLUSTER_LIST: u8 = 10;
pub(super) const MP_REACH_NLRI: u8 = 14;
pub(super) const MP_UNREACH_NLRI: u8 = 15;
pub(super) const EXTENDED_COMMUNITIES: u8 = 16;
pub(super) const AS4_PATH: u8 = 17;
pub(super) const AS4_AGGREGATOR: u8 = 18;
pub(super) const LARGE_COMMUNITIES: u8 = 32;

/// Attribute flags (RFC 4271 section 4.3).
pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// ORIGIN (RFC 4271 section 5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The route is from inside the AS.
    Igp,
    /// The route was learned by EGP (RFC 904).
    Egp,
    /// The route was learned otherwise.
    Incomplete,
}

impl Origin {
    pub(super) const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Igp),
            1 => Some(Self::Egp),
            2 => Some(Self::Incomplete),
            _ => None,
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Igp => 0,
            Self::Egp => 1,
            Self::Incomplete => 2,
        }
    }
}

/// The path attributes of a route that do not depend on the connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH; empty towards peers of the own AS.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC (RFC 4271 section 5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF, which only peers of the own AS get (section 5.1.5); without a value they get 100.
    pub local_pref: Option<u32>,
    /// Communities, ascending and without duplicates when they are sent.
    pub communities: Vec<Community>,
    /// Large communities, likewise (RFC 8092 section 5).
    pub large_communities: Vec<LargeCommunity>,
}

impl PathAttributes {
    /// Returns the attributes of a route that is announced by its own AS, with an AS_PATH of these numbers.
    pub fn originated(as_path: Vec<Asn>) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::sequence(as_path),
            med: None,
            local_pref: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
        }
    }
}

/// Appends the flags, type and length of an attribute and its value.
pub(super) fn emit(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend([flags, kind, length]),
        Err(_) => {
            out.extend([flags | EXTENDED_LENGTH, kind]);
            // A longer value makes the message too long, which its end notices.
            out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

pub(super) fn communities(value: &[u8]) -> Option<Vec<Community>> {
    let mut reader = Reader::new(value);
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(Community(reader.u16()?, reader.u16()?));
    }
    // RFC 7606 section 7.8: a non-zero multiple of four bytes.
    (!all.is_empty()).then_some(all)
}

pub(super) fn large_communities(value: &[u8]) -> Option<Vec<LargeCommunity>> {
    let mut reader = Reader::new(value);
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(LargeCommunity(reader.u32()?, reader.u32()?, reader.u32()?));
    }
    // RFC 8092 section 6: a non-zero multiple of twelve bytes.
    (!all.is_empty()).then_some(all)
}

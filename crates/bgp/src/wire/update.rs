//! UPDATE: routes that are announced and withdrawn (RFC 4271 section 4.3, RFC 4760).

mod parse;

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use herald_core::Family;

use super::attribute::{self, AttributeFault, PathAttributes};
use super::capability::AfiSafi;
use super::error::TooLong;
use super::header::{self, MessageType};
use super::nlri::Nlri;

/// What routers take for LOCAL_PREF where nothing is configured.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// What a session negotiated about its UPDATE messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateFormat {
    /// AS numbers have four octets (RFC 6793 section 4.1).
    pub four_octet_as: bool,
    /// Bytes of the longest message.
    pub max_length: usize,
    /// The peer is of the own AS, so both sides send LOCAL_PREF.
    pub internal: bool,
}

/// Where packets for a prefix go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; for IPv4 prefixes too, if the peer understands that (RFC 8950).
    V6 {
        /// The global address. On a link without one, the link-local address (RFC 2545 section 3).
        global: Ipv6Addr,
        /// The link-local address, towards a peer on the same link.
        link_local: Option<Ipv6Addr>,
    },
}

/// Prefixes with a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    /// The next hop of all of them.
    pub next_hop: NextHop,
    /// The prefixes.
    pub nlri: Vec<Nlri>,
}

/// An UPDATE of a peer. Routes of families other than IPv4 and IPv6 unicast are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateMessage {
    /// The routes that the peer withdraws, and those that count as withdrawn because of a fault (RFC 7606 section 2).
    pub withdrawn: Vec<Nlri>,
    /// The routes that it announces.
    pub reachable: Vec<Reachable>,
    /// The attributes of the announced routes; nothing if there are none.
    pub attributes: Option<PathAttributes>,
    /// What is wrong with attributes.
    pub faults: Vec<AttributeFault>,
    /// The peer has sent all routes of this family (RFC 4724 section 2).
    pub end_of_rib: Option<AfiSafi>,
}

/// The reason why a route cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsendableRoute {
    /// Its attributes leave no room for a prefix.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// An IPv6 prefix has an IPv4 next hop.
    #[error("an IPv6 prefix needs an IPv6 next hop")]
    NextHop,
}

/// How prefixes stand in an UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// In the fields of RFC 4271 section 4.3, which are for IPv4.
    Ipv4,
    /// In MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760 section 3).
    Multiprotocol(Family),
}

impl Encoding {
    /// Returns how prefixes of `family` with this next hop stand in an UPDATE.
    ///
    /// # Errors
    /// If they cannot have it.
    pub const fn of(family: Family, next_hop: NextHop) -> Result<Self, UnsendableRoute> {
        match (family, next_hop) {
            (Family::V4, NextHop::V4(_)) => Ok(Self::Ipv4),
            (Family::V6, NextHop::V4(_)) => Err(UnsendableRoute::NextHop),
            (family, NextHop::V6 { .. }) => Ok(Self::Multiprotocol(family)),
        }
    }

    const fn family(self) -> Family {
        match self {
            Self::Ipv4 => Family::V4,
            Self::Multiprotocol(family) => family,
        }
    }
}

/// Appends an UPDATE that announces as many of the prefixes as fit, from the first on and as long as they are of its family.
/// Returns how many.
///
/// # Errors
/// If not even the first fits, or cannot have the next hop; then nothing is appended.
pub fn emit_reachable(
    out: &mut Vec<u8>,
    attributes: &PathAttributes,
    next_hop: NextHop,
    nlri: &[Nlri],
    format: &UpdateFormat,
) -> Result<usize, UnsendableRoute> {
    let Some(first) = nlri.first() else {
        return Ok(0);
    };
    let encoding = Encoding::of(first.family(), next_hop)?;
    let mut rest = Vec::new();
    emit_attributes(&mut rest, attributes, next_hop, encoding, format);
    let start = header::begin(out, MessageType::Update);
    // No withdrawn routes.
    out.extend([0, 0]);
    out.extend([0, 0]);
    let attributes_at = out.len();
    let mut count = 0;
    match encoding {
        Encoding::Ipv4 => {
            out.append(&mut rest);
            let length = out.len() - attributes_at;
            out[attributes_at - 2..attributes_at].copy_from_slice(&wire_length(length));
            count = emit_nlri(out, nlri, Family::V4, start + format.max_length);
        }
        Encoding::Multiprotocol(family) => {
            // RFC 7606 section 5.1: MP_REACH_NLRI comes first.
            let value_at = begin_multiprotocol(out, attribute::MP_REACH_NLRI, family);
            emit_next_hop(out, next_hop);
            // Reserved.
            out.push(0);
            if let Some(end) = (start + format.max_length).checked_sub(rest.len()) {
                count = emit_nlri(out, nlri, family, end);
            }
            let length = out.len() - value_at;
            out[value_at - 2..value_at].copy_from_slice(&wire_length(length));
            out.append(&mut rest);
            let length = out.len() - attributes_at;
            out[attributes_at - 2..attributes_at].copy_from_slice(&wire_length(length));
        }
    }
    if count == 0 {
        let length = out.len() - start + first.wire_length();
        out.truncate(start);
        return Err(TooLong { length }.into());
    }
    header::end(out, start, format.max_length)?;
    Ok(count)
}

/// Appends an UPDATE that withdraws as many of the prefixes as fit, from the first on and as long as they are of the family.
/// Returns how many; nothing is appended if there are none.
pub fn emit_withdrawn(out: &mut Vec<u8>, encoding: Encoding, nlri: &[Nlri], format: &UpdateFormat) -> usize {
    let family = encoding.family();
    let start = out.len();
    let end = start + format.max_length;
    let count = match encoding {
        Encoding::Ipv4 => {
            header::begin(out, MessageType::Update);
            out.extend([0, 0]);
            let withdrawn_at = out.len();
            // Two bytes are left for the length of the attributes.
            let count = emit_nlri(out, nlri, family, end - 2);
            header::set_length(out, withdrawn_at);
            out.extend([0, 0]);
            count
        }
        Encoding::Multiprotocol(family) => emit_unreach(out, family, nlri, end),
    };
    if count == 0 || header::end(out, start, format.max_length).is_err() {
        out.truncate(start);
        return 0;
    }
    count
}

/// Appends End-of-RIB of a family (RFC 4724 section 2).
pub fn emit_end_of_rib(out: &mut Vec<u8>, family: Family) {
    let start = out.len();
    match family {
        Family::V4 => {
            header::begin(out, MessageType::Update);
            out.extend([0; 4]);
        }
        Family::V6 => {
            emit_unreach(out, family, &[], usize::MAX);
        }
    }
    header::end_fixed(out, start);
}

/// Appends header and attributes of an UPDATE with nothing but MP_UNREACH_NLRI.
fn emit_unreach(out: &mut Vec<u8>, family: Family, nlri: &[Nlri], end: usize) -> usize {
    header::begin(out, MessageType::Update);
    out.extend([0, 0]);
    out.extend([0, 0]);
    let attributes_at = out.len();
    let value_at = begin_multiprotocol(out, attribute::MP_UNREACH_NLRI, family);
    let count = emit_nlri(out, nlri, family, end);
    header::set_length(out, value_at);
    header::set_length(out, attributes_at);
    count
}

/// Appends flags, type, two bytes of length and family of a multiprotocol attribute; returns where its value starts.
fn begin_multiprotocol(out: &mut Vec<u8>, kind: u8, family: Family) -> usize {
    out.extend([attribute::OPTIONAL | attribute::EXTENDED_LENGTH, kind, 0, 0]);
    let value_at = out.len();
    let family = AfiSafi::unicast(family);
    out.extend(family.afi.to_be_bytes());
    out.push(family.safi);
    value_at
}

fn emit_next_hop(out: &mut Vec<u8>, next_hop: NextHop) {
    match next_hop {
        NextHop::V4(address) => {
            out.push(4);
            out.extend(address.octets());
        }
        NextHop::V6 { global, link_local } => {
            out.push(if link_local.is_some() { 32 } else { 16 });
            out.extend(global.octets());
            out.extend(link_local.iter().flat_map(Ipv6Addr::octets));
        }
    }
}

/// Appends prefixes of the family while they end at `end` or before; returns how many.
fn emit_nlri(out: &mut Vec<u8>, nlri: &[Nlri], family: Family, end: usize) -> usize {
    let mut count = 0;
    for prefix in nlri {
        if prefix.family() != family || out.len() + prefix.wire_length() > end {
            break;
        }
        prefix.emit(out);
        count += 1;
    }
    count
}

/// Appends the attributes but MP_REACH_NLRI, in ascending order.
fn emit_attributes(
    out: &mut Vec<u8>,
    attributes: &PathAttributes,
    next_hop: NextHop,
    encoding: Encoding,
    format: &UpdateFormat,
) {
    use attribute::{OPTIONAL, TRANSITIVE, emit};
    emit(out, TRANSITIVE, attribute::ORIGIN, &[attributes.origin.code()]);
    let as_path = attributes.as_path.value(format.four_octet_as);
    emit(out, TRANSITIVE, attribute::AS_PATH, &as_path);
    if let (Encoding::Ipv4, NextHop::V4(address)) = (encoding, next_hop) {
        emit(out, TRANSITIVE, attribute::NEXT_HOP, &address.octets());
    }
    if let Some(med) = attributes.med {
        emit(out, OPTIONAL, attribute::MULTI_EXIT_DISC, &med.to_be_bytes());
    }
    // RFC 4271 section 5.1.5: it always goes to internal peers, and never to others.
    if format.internal {
        let local_pref = attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
        emit(out, TRANSITIVE, attribute::LOCAL_PREF, &local_pref.to_be_bytes());
    }
    let mut value = Vec::new();
    for community in &attributes.communities {
        value.extend(community.0.to_be_bytes());
        value.extend(community.1.to_be_bytes());
    }
    if !value.is_empty() {
        emit(out, OPTIONAL | TRANSITIVE, attribute::COMMUNITIES, &value);
    }
    // RFC 6793 section 4.2.2: only towards a peer without four-octet AS numbers, and only if one does not fit into two.
    if !format.four_octet_as && attributes.as_path.needs_four_octets() {
        let path = attributes.as_path.value(true);
        emit(out, OPTIONAL | TRANSITIVE, attribute::AS4_PATH, &path);
    }
    value.clear();
    for community in &attributes.large_communities {
        for part in [community.0, community.1, community.2] {
            value.extend(part.to_be_bytes());
        }
    }
    if !value.is_empty() {
        emit(out, OPTIONAL | TRANSITIVE, attribute::LARGE_COMMUNITIES, &value);
    }
}

/// A length that does not fit belongs to a message that is too long, and is not sent.
fn wire_length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

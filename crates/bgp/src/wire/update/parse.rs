//! Parses an UPDATE, with the error handling of RFC 7606.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use herald_core::Family;

use super::super::attribute::{
    self, AsPath, AttributeFault, Community, Consequence, FaultKind, LargeCommunity, Origin, PathAttributes,
};
use super::super::capability::AfiSafi;
use super::super::error::BadUpdate;
use super::super::nlri::Nlri;
use super::super::reader::Reader;
use super::{NextHop, Reachable, UpdateFormat, UpdateMessage};

impl UpdateMessage {
    /// Parses the body of an UPDATE.
    pub(in super::super) fn parse(body: &[u8], format: &UpdateFormat) -> Result<Self, BadUpdate> {
        let mut reader = Reader::new(body);
        // RFC 7606 section 3 b: without these lengths, the prefixes cannot be found.
        let withdrawn = reader.prefixed_u16().ok_or(BadUpdate::Lengths)?;
        let attributes = reader.prefixed_u16().ok_or(BadUpdate::Lengths)?;
        let nlri = Nlri::parse_all(Family::V4, reader.rest()).ok_or(BadUpdate::Network)?;
        let mut parser = Parser::new(*format);
        parser.withdrawn = Nlri::parse_all(Family::V4, withdrawn).ok_or(BadUpdate::Network)?;
        parser.parse_attributes(attributes)?;
        let is_empty = withdrawn.is_empty() && nlri.is_empty();
        let end_of_rib = match parser.only_unreach {
            _ if !is_empty => None,
            None if attributes.is_empty() => Some(AfiSafi::unicast(Family::V4)),
            family => family,
        };
        Ok(Self {
            end_of_rib,
            ..parser.finish(nlri)
        })
    }
}

/// What was read of the attributes so far.
struct Parser {
    format: UpdateFormat,
    /// The types that occurred.
    seen: [u64; 4],
    faults: Vec<AttributeFault>,
    withdrawn: Vec<Nlri>,
    multiprotocol: Option<Reachable>,
    /// The family of an MP_UNREACH_NLRI without prefixes, while no other attribute occurred.
    only_unreach: Option<AfiSafi>,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    as4_path: Option<AsPath>,
    next_hop: Option<Ipv4Addr>,
    med: Option<u32>,
    local_pref: Option<u32>,
    communities: Vec<Community>,
    large_communities: Vec<LargeCommunity>,
}

impl Parser {
    fn new(format: UpdateFormat) -> Self {
        Self {
            format,
            seen: [0; 4],
            faults: Vec::new(),
            withdrawn: Vec::new(),
            multiprotocol: None,
            only_unreach: None,
            read: Read::default(),
        }
    }

    fn parse_attributes(&mut self, bytes: &[u8]) -> Result<(), BadUpdate> {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        loop {
            let rest = reader.rest();
            let Some(flags) = reader.u8() else {
                break;
            };
            let kind = reader.u8();
            let value = if flags & attribute::EXTENDED_LENGTH == 0 {
                kind.and_then(|_| reader.prefixed_u8())
            } else {
                kind.and_then(|_| reader.prefixed_u16())
            };
            let (Some(kind), Some(value)) = (kind, value) else {
                // RFC 7606 section 4: the prefixes are found, but not all of their attributes.
                let attribute = kind.unwrap_or(0);
                self.fault(attribute, FaultKind::Truncated, Consequence::Withdraw);
                break;
            };
            count += 1;
            let attribute = &rest[..rest.len() - reader.rest().len()];
            self.parse_attribute(flags, kind, value, attribute)?;
        }
        if count != 1 || !self.faults.is_empty() {
            self.only_unreach = None;
        }
        Ok(())
    }

    /// Parses an attribute, which is `whole` with flags, type and length.
    fn parse_attribute(&mut self, flags: u8, kind: u8, value: &[u8], whole: &[u8]) -> Result<(), BadUpdate> {
        if self.has_seen(kind) {
            // RFC 7606 section 3 g: two of these end the session, of others the first counts.
            if matches!(kind, attribute::MP_REACH_NLRI | attribute::MP_UNREACH_NLRI) {
                return Err(BadUpdate::Twice(kind));
            }
            self.fault(kind, FaultKind::Duplicate, Consequence::Discard);
            return Ok(());
        }
        let class = flags & (attribute::OPTIONAL | attribute::TRANSITIVE);
        match class_of(kind) {
            None if class & attribute::OPTIONAL == 0 => {
                let attribute = whole.to_vec();
                return Err(BadUpdate::WellKnown { kind, attribute });
            }
            // Routes are not passed on, so unknown optional attributes have no effect.
            None => return Ok(()),
            // RFC 7606 section 3 c. The attribute is read nevertheless, because it may have the prefixes.
            Some(expected) if expected != class => {
                self.fault(kind, FaultKind::Flags, Consequence::Withdraw);
            }
            Some(_) => {}
        }
        let malformed = || {
            let attribute = whole.to_vec();
            BadUpdate::Multiprotocol { kind, attribute }
        };
        match kind {
            attribute::MP_REACH_NLRI => return self.parse_reach(value).ok_or_else(malformed),
            attribute::MP_UNREACH_NLRI => return self.parse_unreach(value).ok_or_else(malformed),
            _ => {}
        }
        if let Err((fault, consequence)) = self.parse_value(kind, value) {
            self.fault(kind, fault, consequence);
        }
        Ok(())
    }

    /// Parses an attribute without prefixes (RFC 7606 section 7).
    fn parse_value(&mut self, kind: u8, value: &[u8]) -> Result<(), (FaultKind, Consequence)> {
        const WITHDRAW: (FaultKind, Consequence) = (FaultKind::Malformed, Consequence::Withdraw);
        const DISCARD: (FaultKind, Consequence) = (FaultKind::Malformed, Consequence::Discard);
        const NOT_ALLOWED: (FaultKind, Consequence) = (FaultKind::NotAllowed, Consequence::Discard);
        let (internal, four) = (self.format.internal, self.format.four_octet_as);
        let read = &mut self.read;
        let number = || {
            <[u8; 4]>::try_from(value)
                .map(u32::from_be_bytes)
                .map_err(|_| WITHDRAW)
        };
        match kind {
            attribute::ORIGIN => {
                let [code] = *value else {
                    return Err(WITHDRAW);
                };
                read.origin = Some(Origin::of(code).ok_or(WITHDRAW)?);
            }
            attribute::AS_PATH => read.as_path = Some(AsPath::parse(value, four).ok_or(WITHDRAW)?),
            attribute::NEXT_HOP => read.next_hop = Some(Ipv4Addr::from_bits(number()?)),
            attribute::MULTI_EXIT_DISC => read.med = Some(number()?),
            // Section 7.5: from another AS it is ignored, whatever it is.
            attribute::LOCAL_PREF if !internal => return Err(NOT_ALLOWED),
            attribute::LOCAL_PREF => read.local_pref = Some(number()?),
            attribute::ATOMIC_AGGREGATE if !value.is_empty() => return Err(DISCARD),
            attribute::AGGREGATOR if value.len() != if four { 8 } else { 6 } => return Err(DISCARD),
            attribute::COMMUNITIES => read.communities = attribute::communities(value).ok_or(WITHDRAW)?,
            attribute::ORIGINATOR_ID | attribute::CLUSTER_LIST if !internal => return Err(NOT_ALLOWED),
            attribute::ORIGINATOR_ID => {
                number()?;
            }
            attribute::CLUSTER_LIST if value.is_empty() || !value.len().is_multiple_of(4) => {
                return Err(WITHDRAW);
            }
            attribute::EXTENDED_COMMUNITIES if value.is_empty() || !value.len().is_multiple_of(8) => {
                return Err(WITHDRAW);
            }
            // RFC 6793 section 4.1: a peer that sends four octets anyway must not send these.
            attribute::AS4_PATH | attribute::AS4_AGGREGATOR if four => return Err(NOT_ALLOWED),
            // RFC 6793 section 6.
            attribute::AS4_PATH => read.as4_path = Some(AsPath::parse(value, true).ok_or(DISCARD)?),
            attribute::AS4_AGGREGATOR if value.len() != 8 => return Err(DISCARD),
            attribute::LARGE_COMMUNITIES => {
                read.large_communities = attribute::large_communities(value).ok_or(WITHDRAW)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Parses MP_REACH_NLRI (RFC 4760 section 3). Nothing if the prefixes cannot be found.
    fn parse_reach(&mut self, value: &[u8]) -> Option<()> {
        let mut reader = Reader::new(value);
        let (afi, safi) = (reader.u16()?, reader.u8()?);
        let next_hop = reader.prefixed_u8()?;
        let _reserved = reader.u8()?;
        let Some(family) = AfiSafi { afi, safi }.family() else {
            return Some(());
        };
        // RFC 7606 section 7.11: the length of the next hop has to be one that the family allows.
        let next_hop = parse_next_hop(family, next_hop)?;
        let nlri = Nlri::parse_all(family, reader.rest())?;
        self.multiprotocol = Some(Reachable { next_hop, nlri });
        Some(())
    }

    /// Parses MP_UNREACH_NLRI (RFC 4760 section 4). Nothing if the prefixes cannot be found.
    fn parse_unreach(&mut self, value: &[u8]) -> Option<()> {
        let mut reader = Reader::new(value);
        let (afi, safi) = (reader.u16()?, reader.u8()?);
        let family = AfiSafi { afi, safi };
        self.only_unreach = reader.is_empty().then_some(family);
        if let Some(family) = family.family() {
            self.withdrawn.extend(Nlri::parse_all(family, reader.rest())?);
        }
        Some(())
    }

    fn has_seen(&mut self, kind: u8) -> bool {
        let (word, bit) = (usize::from(kind / 64), 1 << (kind % 64));
        let had = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        had
    }

    fn fault(&mut self, attribute: u8, kind: FaultKind, consequence: Consequence) {
        self.faults.push(AttributeFault {
            attribute,
            kind,
            consequence,
        });
    }

    fn finish(mut self, nlri: Vec<Nlri>) -> UpdateMessage {
        let has_nlri = !nlri.is_empty();
        let mut reachable = Vec::new();
        if has_nlri {
            // Without a next hop, the fault below withdraws the prefixes.
            let address = self.read.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let next_hop = NextHop::V4(address);
            reachable.push(Reachable { next_hop, nlri });
        }
        reachable.extend(self.multiprotocol.take().filter(|reach| !reach.nlri.is_empty()));
        if !reachable.is_empty() {
            self.check_mandatory(has_nlri);
        }
        let read = self.read;
        let withdraw = |fault: &AttributeFault| fault.consequence == Consequence::Withdraw;
        let attributes = match (read.origin, read.as_path) {
            (Some(origin), Some(as_path)) if !self.faults.iter().any(withdraw) && !reachable.is_empty() => {
                Some(PathAttributes {
                    origin,
                    as_path: match read.as4_path {
                        Some(four) => as_path.merge(four),
                        None => as_path,
                    },
                    med: read.med,
                    local_pref: read.local_pref,
                    communities: read.communities,
                    large_communities: read.large_communities,
                })
            }
            _ => None,
        };
        if attributes.is_none() {
            let routes = reachable.drain(..).flat_map(|reach| reach.nlri);
            self.withdrawn.extend(routes);
        }
        UpdateMessage {
            withdrawn: self.withdrawn,
            reachable,
            attributes,
            faults: self.faults,
            end_of_rib: None,
        }
    }

    /// RFC 7606 section 3 d. An attribute that has another fault is not missing.
    fn check_mandatory(&mut self, has_nlri: bool) {
        let next_hop = has_nlri.then_some(attribute::NEXT_HOP);
        let mandatory = [Some(attribute::ORIGIN), Some(attribute::AS_PATH), next_hop];
        for kind in mandatory.into_iter().flatten() {
            if !self.has_seen(kind) {
                self.fault(kind, FaultKind::Missing, Consequence::Withdraw);
            }
        }
    }
}

/// Returns the next hop if its length is right: RFC 2545 section 3, RFC 4760 section 3, RFC 8950 section 3.
fn parse_next_hop(family: Family, bytes: &[u8]) -> Option<NextHop> {
    if let (Family::V4, Ok(v4)) = (family, <[u8; 4]>::try_from(bytes)) {
        return Some(NextHop::V4(v4.into()));
    }
    let mut reader = Reader::new(bytes);
    let global = Ipv6Addr::from(reader.array::<16>()?);
    let link_local = if reader.is_empty() {
        None
    } else {
        Some(Ipv6Addr::from(reader.array::<16>()?))
    };
    reader.is_empty().then_some(NextHop::V6 { global, link_local })
}

/// Returns the flags Optional and Transitive that an attribute has to have; nothing if the attribute is unknown.
const fn class_of(kind: u8) -> Option<u8> {
    match kind {
        attribute::ORIGIN
        | attribute::AS_PATH
        | attribute::NEXT_HOP
        | attribute::LOCAL_PREF
        | attribute::ATOMIC_AGGREGATE => Some(attribute::TRANSITIVE),
        attribute::MULTI_EXIT_DISC
        | attribute::ORIGINATOR_ID
        | attribute::CLUSTER_LIST
        | attribute::MP_REACH_NLRI
        | attribute::MP_UNREACH_NLRI => Some(attribute::OPTIONAL),
        attribute::AGGREGATOR
        | attribute::COMMUNITIES
        | attribute::EXTENDED_COMMUNITIES
        | attribute::AS4_PATH
        | attribute::AS4_AGGREGATOR
        | attribute::LARGE_COMMUNITIES => Some(attribute::OPTIONAL | attribute::TRANSITIVE),
        _ => None,
    }
}

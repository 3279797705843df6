//! Capabilities (RFC 5492): what a side can do.

use alloc::vec::Vec;

use herald_core::Family;

use super::attribute::Asn;
use super::error::TooLong;
use super::reader::Reader;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ENHANCED_ROUTE_REFRESH: u8 = 70;

/// Flags in front of the restart time (RFC 4724 section 3, RFC 8538 section 2).
const RESTARTED: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0fff;
/// RFC 4724 section 3: the flag of a family.
const FORWARDING: u8 = 0x80;

const UNICAST: u8 = 1;

/// An address family and a subsequent address family (RFC 4760 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    /// The address family identifier.
    pub afi: u16,
    /// The subsequent address family identifier.
    pub safi: u8,
}

impl AfiSafi {
    /// Returns the unicast routes of a family.
    pub const fn unicast(family: Family) -> Self {
        Self {
            afi: afi(family),
            safi: UNICAST,
        }
    }

    /// Returns the family if these are its unicast routes.
    pub const fn family(self) -> Option<Family> {
        match (self.afi, self.safi) {
            (1, UNICAST) => Some(Family::V4),
            (2, UNICAST) => Some(Family::V6),
            _ => None,
        }
    }
}

/// Returns the address family identifier.
pub(super) const fn afi(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// A family in the graceful restart capability (RFC 4724 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartFamily {
    /// The family.
    pub family: AfiSafi,
    /// The F bit: packets were forwarded while the sender restarted.
    pub forwarding: bool,
}

/// A capability.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// The sender exchanges routes of this family (RFC 4760 section 8).
    Multiprotocol(AfiSafi),
    /// The sender answers ROUTE-REFRESH (RFC 2918 section 2).
    RouteRefresh,
    /// The sender marks begin and end of an answer (RFC 7313 section 3.1).
    EnhancedRouteRefresh,
    /// The sender understands messages of up to 65 535 bytes (RFC 8654 section 3).
    ExtendedMessage,
    /// The sender's AS number; it understands four-octet ones (RFC 6793 section 3).
    FourOctetAs(Asn),
    /// Routes of the first family may have a next hop of the second (RFC 8950 section 4).
    ExtendedNextHop(Vec<(AfiSafi, u16)>),
    /// The sender keeps routes while a peer restarts (RFC 4724 section 3).
    GracefulRestart {
        /// The R bit: the sender has restarted.
        restarted: bool,
        /// The N bit: routes survive a NOTIFICATION, too (RFC 8538 section 2).
        notification: bool,
        /// Seconds until the sender is back after a restart, at most 4095.
        time: u16,
        /// The families; none if the sender only helps its peers.
        families: Vec<RestartFamily>,
    },
    /// Anything else, and a capability above with a value of another form.
    Unknown {
        /// The number of the capability.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

impl Capability {
    /// Parses the value of an optional parameter: capabilities in a row. Returns nothing if a length exceeds it.
    pub(super) fn parse_all(bytes: &[u8], all: &mut Vec<Self>) -> Option<()> {
        let mut reader = Reader::new(bytes);
        while let Some(code) = reader.u8() {
            let value = reader.prefixed_u8()?;
            all.push(Self::parse(code, value).unwrap_or_else(|| Self::Unknown {
                code,
                value: value.to_vec(),
            }));
        }
        Some(())
    }

    fn parse(code: u8, value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let parsed = match code {
            MULTIPROTOCOL => {
                let afi = reader.u16()?;
                // A receiver ignores the reserved byte.
                let _reserved = reader.u8()?;
                let safi = reader.u8()?;
                Self::Multiprotocol(AfiSafi { afi, safi })
            }
            ROUTE_REFRESH => Self::RouteRefresh,
            ENHANCED_ROUTE_REFRESH => Self::EnhancedRouteRefresh,
            EXTENDED_MESSAGE => Self::ExtendedMessage,
            FOUR_OCTET_AS => Self::FourOctetAs(Asn(reader.u32()?)),
            EXTENDED_NEXT_HOP => {
                let mut encodings = Vec::new();
                while !reader.is_empty() {
                    let afi = reader.u16()?;
                    // RFC 8950 section 4: the SAFI has two bytes here.
                    let safi = u8::try_from(reader.u16()?).ok()?;
                    encodings.push((AfiSafi { afi, safi }, reader.u16()?));
                }
                Self::ExtendedNextHop(encodings)
            }
            GRACEFUL_RESTART => {
                let flags = reader.u16()?;
                let mut families = Vec::new();
                while !reader.is_empty() {
                    let (afi, safi, flags) = (reader.u16()?, reader.u8()?, reader.u8()?);
                    families.push(RestartFamily {
                        family: AfiSafi { afi, safi },
                        forwarding: flags & FORWARDING != 0,
                    });
                }
                Self::GracefulRestart {
                    restarted: flags & RESTARTED != 0,
                    notification: flags & NOTIFICATION != 0,
                    time: flags & RESTART_TIME,
                    families,
                }
            }
            _ => return None,
        };
        reader.is_empty().then_some(parsed)
    }

    /// Appends code, length and value.
    pub(crate) fn emit(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend([self.code(), 0]);
        let start = out.len();
        match self {
            Self::Multiprotocol(family) => {
                out.extend(family.afi.to_be_bytes());
                out.extend([0, family.safi]);
            }
            Self::RouteRefresh | Self::EnhancedRouteRefresh | Self::ExtendedMessage => {}
            Self::FourOctetAs(asn) => out.extend(asn.0.to_be_bytes()),
            Self::ExtendedNextHop(encodings) => {
                for (family, next_hop) in encodings {
                    out.extend(family.afi.to_be_bytes());
                    out.extend(u16::from(family.safi).to_be_bytes());
                    out.extend(next_hop.to_be_bytes());
                }
            }
            Self::GracefulRestart {
                restarted,
                notification,
                time,
                families,
            } => {
                let flag = |set: bool, flag: u16| if set { flag } else { 0 };
                let flags = flag(*restarted, RESTARTED) | flag(*notification, NOTIFICATION);
                out.extend((flags | (*time).min(RESTART_TIME)).to_be_bytes());
                for family in families {
                    out.extend(family.family.afi.to_be_bytes());
                    out.extend([family.family.safi, if family.forwarding { FORWARDING } else { 0 }]);
                }
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value),
        }
        let length = out.len() - start;
        out[start - 1] = u8::try_from(length).map_err(|_| TooLong { length })?;
        Ok(())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::GracefulRestart { .. } => GRACEFUL_RESTART,
            Self::Unknown { code, .. } => *code,
        }
    }
}

//! OPEN (RFC 4271 section 4.2).

use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::attribute::Asn;
use super::capability::Capability;
use super::error::{OpenError, TooLong};
use super::header::{self, MAX_LENGTH, MessageType};
use super::reader::Reader;

const VERSION: u8 = 4;
/// The optional parameter that carries capabilities (RFC 5492 section 4).
const CAPABILITIES: u8 = 2;
/// RFC 9072 section 2: as length and as the type of the first parameter, extended lengths follow.
const EXTENDED: u8 = 255;

/// A BGP identifier: four octets that differ within an AS and are not zero (RFC 6286 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BgpIdentifier(Ipv4Addr);

impl BgpIdentifier {
    /// Returns the identifier; nothing if it is zero.
    pub fn new(address: Ipv4Addr) -> Option<Self> {
        (!address.is_unspecified()).then_some(Self(address))
    }
}

impl fmt::Display for BgpIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hold time: 0, which means none, or at least 3 s (RFC 4271 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

impl HoldTime {
    /// No hold timer and no KEEPALIVE messages.
    pub const NONE: Self = Self(0);

    /// Returns the hold time; nothing for 1 and 2 s.
    pub fn new(seconds: u16) -> Option<Self> {
        (seconds == 0 || seconds >= 3).then_some(Self(seconds))
    }

    /// Returns the time after which a silent peer is lost; nothing if there is no limit.
    pub fn duration(self) -> Option<Duration> {
        (self.0 > 0).then(|| Duration::from_secs(self.0.into()))
    }
}

/// An OPEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The two-octet field "My Autonomous System". [`Open::asn`] is the AS number.
    pub my_as: u16,
    /// The proposed hold time.
    pub hold_time: HoldTime,
    /// The identifier.
    pub identifier: BgpIdentifier,
    /// The capabilities, of all parameters.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Returns an OPEN of `asn`, which the capabilities name too.
    pub fn new(
        asn: Asn,
        hold_time: HoldTime,
        identifier: BgpIdentifier,
        mut capabilities: Vec<Capability>,
    ) -> Self {
        capabilities.push(Capability::FourOctetAs(asn));
        Self {
            my_as: asn.two_octets(),
            hold_time,
            identifier,
            capabilities,
        }
    }

    /// Returns the AS number: of the capability (RFC 6793 section 4.1), or else of the field.
    pub fn asn(&self) -> Asn {
        self.four_octet_as().unwrap_or_else(|| Asn(self.my_as.into()))
    }

    /// Returns the AS number of the four-octet AS capability.
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            Capability::Multiprotocol(_)
            | Capability::RouteRefresh
            | Capability::EnhancedRouteRefresh
            | Capability::ExtendedMessage
            | Capability::ExtendedNextHop(_)
            | Capability::GracefulRestart { .. }
            | Capability::Unknown { .. } => None,
        })
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or(OpenError::Truncated)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let my_as = reader.u16().ok_or(OpenError::Truncated)?;
        let hold_time = reader.u16().ok_or(OpenError::Truncated)?;
        let identifier = reader.array::<4>().ok_or(OpenError::Truncated)?;
        let length = reader.u8().ok_or(OpenError::Truncated)?;
        let mut capabilities = Vec::new();
        parameters(length, reader, &mut capabilities)?;
        Ok(Self {
            my_as,
            hold_time: HoldTime::new(hold_time).ok_or(OpenError::HoldTime(hold_time))?,
            identifier: BgpIdentifier::new(identifier.into()).ok_or(OpenError::Identifier)?,
            capabilities,
        })
    }

    /// Appends the message: the capabilities in one parameter, with the extended length (RFC 9072) if they need it.
    ///
    /// # Errors
    /// If a capability or the message is too long; then nothing is appended.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            capability.emit(&mut capabilities)?;
        }
        let start = header::begin(out, MessageType::Open);
        out.push(VERSION);
        out.extend(self.my_as.to_be_bytes());
        out.extend(self.hold_time.0.to_be_bytes());
        out.extend(self.identifier.0.octets());
        let length = capabilities.len();
        match (u8::try_from(length + 2), u16::try_from(length + 3)) {
            _ if length == 0 => out.push(0),
            // The length 255 would announce the extended form.
            (Ok(parameters), _) if parameters < EXTENDED => {
                out.extend([parameters, CAPABILITIES, parameters - 2]);
            }
            (_, Ok(parameters)) => {
                out.extend([EXTENDED, EXTENDED]);
                out.extend(parameters.to_be_bytes());
                out.push(CAPABILITIES);
                out.extend((parameters - 3).to_be_bytes());
            }
            (_, Err(_)) => {
                out.truncate(start);
                return Err(TooLong { length });
            }
        }
        out.extend(capabilities);
        header::end(out, start, MAX_LENGTH)
    }
}

/// Parses the optional parameters, which are the rest of the message.
fn parameters(
    length: u8,
    mut reader: Reader<'_>,
    capabilities: &mut Vec<Capability>,
) -> Result<(), OpenError> {
    // RFC 9072 section 2: the type of the first parameter decides, whatever the length is, unless that is zero.
    let is_extended = length > 0 && reader.rest().first() == Some(&EXTENDED);
    let parameters = if is_extended {
        reader.take(1).and_then(|_| reader.prefixed_u16())
    } else {
        reader.take(usize::from(length))
    };
    let parameters = parameters
        .filter(|_| reader.is_empty())
        .ok_or(OpenError::Truncated)?;
    let mut reader = Reader::new(parameters);
    while let Some(kind) = reader.u8() {
        let value = if is_extended {
            reader.prefixed_u16()
        } else {
            reader.prefixed_u8()
        };
        let value = value.ok_or(OpenError::Truncated)?;
        if kind != CAPABILITIES {
            return Err(OpenError::OptionalParameter(kind));
        }
        Capability::parse_all(value, capabilities).ok_or(OpenError::Truncated)?;
    }
    Ok(())
}

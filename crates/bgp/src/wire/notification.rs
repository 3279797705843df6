//! NOTIFICATION: why a session ends (RFC 4271 sections 4.5 and 6).

use alloc::vec::Vec;
use core::fmt;

use super::error::{MessageError, TooLong};
use super::header::{self, HEADER_LENGTH, MAX_LENGTH, MessageType};
use super::reader::Reader;

/// Most bytes of data in a message that is not extended.
pub const MAX_DATA: usize = MAX_LENGTH - HEADER_LENGTH - 2;

/// Most bytes of a shutdown communication (RFC 9003 section 2).
pub const MAX_COMMUNICATION: usize = 255;

/// Defines an enum of subcodes from name, number and the text of the RFC.
macro_rules! subcodes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!($text, " (", stringify!($code), ").")] $variant,)+
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the number on the wire.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            fn of(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

subcodes! {
    /// Subcodes of Message Header Error (RFC 4271 section 6.1).
    HeaderSubcode {
        Unspecific = 0, "Unspecific";
        ConnectionNotSynchronized = 1, "Connection Not Synchronized";
        BadMessageLength = 2, "Bad Message Length";
        BadMessageType = 3, "Bad Message Type";
    }
}

subcodes! {
    /// Subcodes of OPEN Message Error (RFC 4271 section 6.2, RFC 5492 section 5, RFC 9234 section 4.2).
    OpenSubcode {
        Unspecific = 0, "Unspecific";
        UnsupportedVersionNumber = 1, "Unsupported Version Number";
        BadPeerAs = 2, "Bad Peer AS";
        BadBgpIdentifier = 3, "Bad BGP Identifier";
        UnsupportedOptionalParameter = 4, "Unsupported Optional Parameter";
        UnacceptableHoldTime = 6, "Unacceptable Hold Time";
        UnsupportedCapability = 7, "Unsupported Capability";
        RoleMismatch = 11, "Role Mismatch";
    }
}

subcodes! {
    /// Subcodes of UPDATE Message Error (RFC 4271 section 6.3).
    UpdateSubcode {
        Unspecific = 0, "Unspecific";
        MalformedAttributeList = 1, "Malformed Attribute List";
        UnrecognizedWellKnownAttribute = 2, "Unrecognized Well-known Attribute";
        MissingWellKnownAttribute = 3, "Missing Well-known Attribute";
        AttributeFlagsError = 4, "Attribute Flags Error";
        AttributeLengthError = 5, "Attribute Length Error";
        InvalidOriginAttribute = 6, "Invalid ORIGIN Attribute";
        InvalidNextHopAttribute = 8, "Invalid NEXT_HOP Attribute";
        OptionalAttributeError = 9, "Optional Attribute Error";
        InvalidNetworkField = 10, "Invalid Network Field";
        MalformedAsPath = 11, "Malformed AS_PATH";
    }
}

subcodes! {
    /// Subcodes of Finite State Machine Error (RFC 6608 section 3).
    FsmSubcode {
        Unspecific = 0, "Unspecified Error";
        OpenSent = 1, "Receive Unexpected Message in OpenSent State";
        OpenConfirm = 2, "Receive Unexpected Message in OpenConfirm State";
        Established = 3, "Receive Unexpected Message in Established State";
    }
}

subcodes! {
    /// Subcodes of Cease (RFC 4486 section 3, RFC 8538 section 3, RFC 9384 section 3).
    CeaseSubcode {
        Unspecific = 0, "Unspecific";
        MaximumPrefixes = 1, "Maximum Number of Prefixes Reached";
        AdministrativeShutdown = 2, "Administrative Shutdown";
        PeerDeconfigured = 3, "Peer De-configured";
        AdministrativeReset = 4, "Administrative Reset";
        ConnectionRejected = 5, "Connection Rejected";
        OtherConfigurationChange = 6, "Other Configuration Change";
        ConnectionCollision = 7, "Connection Collision Resolution";
        OutOfResources = 8, "Out of Resources";
        HardReset = 9, "Hard Reset";
        BfdDown = 10, "BFD Down";
    }
}

subcodes! {
    /// Subcodes of ROUTE-REFRESH Message Error (RFC 7313 section 5).
    RefreshSubcode {
        InvalidMessageLength = 1, "Invalid Message Length";
    }
}

/// The error code with its subcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// A header was wrong.
    MessageHeader(HeaderSubcode),
    /// An OPEN was wrong.
    Open(OpenSubcode),
    /// An UPDATE was wrong.
    Update(UpdateSubcode),
    /// Nothing was heard for the hold time.
    HoldTimerExpired,
    /// A message came in a state that does not expect it.
    FiniteStateMachine(FsmSubcode),
    /// The sender ends the session, and nothing was wrong.
    Cease(CeaseSubcode),
    /// A ROUTE-REFRESH was wrong.
    RouteRefresh(RefreshSubcode),
    /// Nothing could be sent for the send hold time (RFC 9687 section 3.4).
    SendHoldTimerExpired,
    /// A code, or a subcode of a known code, that no RFC above defines.
    Other {
        /// The error code.
        code: u8,
        /// The subcode.
        subcode: u8,
    },
}

impl ErrorCode {
    /// Returns what the two numbers mean.
    pub fn of(code: u8, subcode: u8) -> Self {
        let known = match code {
            1 => HeaderSubcode::of(subcode).map(Self::MessageHeader),
            2 => OpenSubcode::of(subcode).map(Self::Open),
            3 => UpdateSubcode::of(subcode).map(Self::Update),
            4 => (subcode == 0).then_some(Self::HoldTimerExpired),
            5 => FsmSubcode::of(subcode).map(Self::FiniteStateMachine),
            6 => CeaseSubcode::of(subcode).map(Self::Cease),
            7 => RefreshSubcode::of(subcode).map(Self::RouteRefresh),
            8 => (subcode == 0).then_some(Self::SendHoldTimerExpired),
            _ => None,
        };
        known.unwrap_or(Self::Other { code, subcode })
    }

    /// Returns code and subcode on the wire.
    pub const fn codes(self) -> (u8, u8) {
        match self {
            Self::MessageHeader(subcode) => (1, subcode.code()),
            Self::Open(subcode) => (2, subcode.code()),
            Self::Update(subcode) => (3, subcode.code()),
            Self::HoldTimerExpired => (4, 0),
            Self::FiniteStateMachine(subcode) => (5, subcode.code()),
            Self::Cease(subcode) => (6, subcode.code()),
            Self::RouteRefresh(subcode) => (7, subcode.code()),
            Self::SendHoldTimerExpired => (8, 0),
            Self::Other { code, subcode } => (code, subcode),
        }
    }
}

impl fmt::Display for ErrorCode {
    /// Writes the names of RFC 4271, as in "OPEN Message Error: Bad Peer AS".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MessageHeader(subcode) => write!(f, "Message Header Error: {subcode}"),
            Self::Open(subcode) => write!(f, "OPEN Message Error: {subcode}"),
            Self::Update(subcode) => write!(f, "UPDATE Message Error: {subcode}"),
            Self::HoldTimerExpired => f.write_str("Hold Timer Expired"),
            Self::FiniteStateMachine(subcode) => write!(f, "Finite State Machine Error: {subcode}"),
            Self::Cease(subcode) => write!(f, "Cease: {subcode}"),
            Self::RouteRefresh(subcode) => write!(f, "ROUTE-REFRESH Message Error: {subcode}"),
            Self::SendHoldTimerExpired => f.write_str("Send Hold Timer Expired"),
            Self::Other { code, subcode } => write!(f, "error {code}, subcode {subcode}"),
        }
    }
}

/// A NOTIFICATION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub error: ErrorCode,
    /// The data that the error defines.
    pub data: Vec<u8>,
}

impl Notification {
    /// Returns one with this data.
    pub const fn new(error: ErrorCode, data: Vec<u8>) -> Self {
        Self { error, data }
    }

    /// Returns a Cease with a text for the administrator of the peer (RFC 9003). Only Administrative Shutdown and Administrative
    /// Reset carry it. The text is cut after [`MAX_COMMUNICATION`] bytes, between two characters.
    pub fn cease(subcode: CeaseSubcode, text: &str) -> Self {
        let mut data = Vec::new();
        if has_communication(subcode) {
            let text = &text[..text.floor_char_boundary(MAX_COMMUNICATION)];
            let Ok(length) = u8::try_from(text.len()) else {
                unreachable!("cut to 255 bytes");
            };
            data.push(length);
            data.extend_from_slice(text.as_bytes());
        }
        Self::new(ErrorCode::Cease(subcode), data)
    }

    /// Returns the Hard Reset that carries this NOTIFICATION (RFC 8538 section 3): a peer that does graceful restart then keeps
    /// no stale routes.
    pub fn into_hard_reset(self) -> Self {
        let (code, subcode) = self.error.codes();
        let mut data = Vec::from([code, subcode]);
        data.extend(self.data);
        Self::new(ErrorCode::Cease(CeaseSubcode::HardReset), data)
    }

    /// Returns the NOTIFICATION in a Hard Reset (RFC 8538 section 3), or this one.
    pub fn reason(&self) -> Self {
        match (self.error, self.data.as_slice()) {
            (ErrorCode::Cease(CeaseSubcode::HardReset), [code, subcode, data @ ..]) => {
                Self::new(ErrorCode::of(*code, *subcode), data.to_vec())
            }
            _ => self.clone(),
        }
    }

    /// Returns the text for the administrator (RFC 9003 section 2), if there is one and it is UTF-8.
    pub fn communication(&self) -> Option<&str> {
        let ErrorCode::Cease(subcode) = self.error else {
            return None;
        };
        let text = Reader::new(&self.data).prefixed_u8()?;
        core::str::from_utf8(text)
            .ok()
            .filter(|text| has_communication(subcode) && !text.is_empty())
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let [code, subcode, data @ ..] = body else {
            return Err(MessageError::Notification);
        };
        Ok(Self::new(ErrorCode::of(*code, *subcode), data.to_vec()))
    }

    /// Appends the message.
    ///
    /// # Errors
    /// If there are more than [`MAX_DATA`] bytes of data.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let start = header::begin(out, MessageType::Notification);
        let (code, subcode) = self.error.codes();
        out.extend([code, subcode]);
        out.extend_from_slice(&self.data);
        header::end(out, start, MAX_LENGTH)
    }
}

impl fmt::Display for Notification {
    /// Writes the error, and what the peer wrote about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        write!(f, "{}", self.error)?;
        if reason != *self {
            write!(f, " ({})", reason.error)?;
        }
        match reason.communication() {
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}

const fn has_communication(subcode: CeaseSubcode) -> bool {
    matches!(
        subcode,
        CeaseSubcode::AdministrativeShutdown | CeaseSubcode::AdministrativeReset
    )
}

//! What can be wrong with a message, and the NOTIFICATION that answers it (RFC 4271 section 6).

use alloc::vec::Vec;

use super::notification::{
    ErrorCode, HeaderSubcode, Notification, OpenSubcode, RefreshSubcode, UpdateSubcode,
};

/// A message to send would exceed the longest message of the session, or a part of it the longest such part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is too long for the session")]
pub struct TooLong {
    /// The bytes that it would have.
    pub length: usize,
}

/// The reason why a message ends the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The header is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An OPEN is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An UPDATE is wrong in a way that RFC 7606 does not confine to its routes.
    #[error(transparent)]
    Update(#[from] BadUpdate),
    /// A ROUTE-REFRESH is wrong.
    #[error(transparent)]
    RouteRefresh(#[from] RefreshError),
    /// A NOTIFICATION is too short. RFC 4271 section 6.4: nothing answers it.
    #[error("the NOTIFICATION is cut short")]
    Notification,
}

impl MessageError {
    /// Returns the answer; none to a NOTIFICATION.
    pub fn notification(&self) -> Option<Notification> {
        match self {
            Self::Header(error) => Some(error.notification()),
            Self::Open(error) => Some(error.notification()),
            Self::Update(error) => Some(error.notification()),
            Self::RouteRefresh(error) => Some(error.notification()),
            Self::Notification => None,
        }
    }
}

/// What is wrong with a header (RFC 4271 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The marker is not all ones.
    #[error("the marker of a message is not 16 bytes of ones")]
    NotSynchronized,
    /// No message of its type has this length.
    #[error("no message of its type has {0} bytes")]
    Length(u16),
    /// No message has this type.
    #[error("there is no message of type {0}")]
    Type(u8),
}

impl HeaderError {
    /// Returns the answer.
    pub fn notification(self) -> Notification {
        let (subcode, data) = match self {
            Self::NotSynchronized => (HeaderSubcode::ConnectionNotSynchronized, Vec::new()),
            Self::Length(length) => (HeaderSubcode::BadMessageLength, length.to_be_bytes().to_vec()),
            Self::Type(kind) => (HeaderSubcode::BadMessageType, Vec::from([kind])),
        };
        Notification::new(ErrorCode::MessageHeader(subcode), data)
    }
}

/// What is wrong with an OPEN by itself (RFC 4271 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The version is not 4.
    #[error("the OPEN has version {0}, not 4")]
    Version(u8),
    /// The hold time is 1 or 2 s.
    #[error("the OPEN has a hold time of {0} s; 0 or at least 3 s would be right")]
    HoldTime(u16),
    /// RFC 6286 section 2.1: the BGP identifier is zero.
    #[error("the OPEN has BGP identifier 0.0.0.0")]
    Identifier,
    /// An optional parameter is neither capabilities nor known.
    #[error("the OPEN has an unknown optional parameter, {0}")]
    OptionalParameter(u8),
    /// A length exceeds what is left.
    #[error("the OPEN's optional parameters are cut short")]
    Truncated,
}

impl OpenError {
    /// Returns the answer.
    pub fn notification(self) -> Notification {
        let (subcode, data) = match self {
            // The largest version that this side supports.
            Self::Version(_) => (OpenSubcode::UnsupportedVersionNumber, Vec::from([0, 4])),
            Self::HoldTime(_) => (OpenSubcode::UnacceptableHoldTime, Vec::new()),
            Self::Identifier => (OpenSubcode::BadBgpIdentifier, Vec::new()),
            Self::OptionalParameter(_) => (OpenSubcode::UnsupportedOptionalParameter, Vec::new()),
            Self::Truncated => (OpenSubcode::Unspecific, Vec::new()),
        };
        Notification::new(ErrorCode::Open(subcode), data)
    }
}

/// What is wrong with an UPDATE as a whole; mistakes in attributes are faults of an [`UpdateMessage`](super::UpdateMessage).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUpdate {
    /// The lengths of withdrawn routes and attributes exceed the message (RFC 4271 section 6.3).
    #[error("the lengths in the UPDATE exceed it")]
    Lengths,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI occurs twice (RFC 7606 section 3 g).
    #[error("the UPDATE has attribute {0} twice")]
    Twice(u8),
    /// A prefix is longer than its family allows or than the bytes that are left (RFC 7606 section 5.3).
    #[error("a prefix in the UPDATE is longer than its family allows, or cut short")]
    Network,
    /// The prefixes of MP_REACH_NLRI or MP_UNREACH_NLRI cannot be found (RFC 7606 section 3 j).
    #[error("attribute {kind} of the UPDATE is malformed")]
    Multiprotocol {
        /// The type.
        kind: u8,
        /// Flags, type, length and value.
        attribute: Vec<u8>,
    },
    /// An attribute that is not optional is unknown (RFC 4271 section 6.3).
    #[error("the UPDATE has an unknown well-known attribute, {kind}")]
    WellKnown {
        /// The type.
        kind: u8,
        /// Flags, type, length and value.
        attribute: Vec<u8>,
    },
}

impl BadUpdate {
    /// Returns the answer, with the attribute if the attribute is what is wrong (RFC 4271 section 6.3).
    pub fn notification(&self) -> Notification {
        let (subcode, attribute) = match self {
            Self::Lengths | Self::Twice(_) => (UpdateSubcode::MalformedAttributeList, &[][..]),
            Self::Network => (UpdateSubcode::InvalidNetworkField, &[][..]),
            Self::Multiprotocol { attribute, .. } => (UpdateSubcode::OptionalAttributeError, &attribute[..]),
            Self::WellKnown { attribute, .. } => {
                (UpdateSubcode::UnrecognizedWellKnownAttribute, &attribute[..])
            }
        };
        let mut data = attribute.to_vec();
        // The attribute can be of an extended message, and the answer is not one.
        data.truncate(super::notification::MAX_DATA);
        Notification::new(ErrorCode::Update(subcode), data)
    }
}

/// A ROUTE-REFRESH has another length than 23 bytes (RFC 7313 section 5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ROUTE-REFRESH has {} bytes behind its header, not 4", body.len())]
pub struct RefreshError {
    /// What followed the header.
    pub body: Vec<u8>,
}

impl RefreshError {
    /// Returns the error that this is for a peer without enhanced route refresh, and for other subtypes than BoRR and EoRR.
    pub fn header_error(&self) -> HeaderError {
        let length = super::HEADER_LENGTH + self.body.len();
        HeaderError::Length(u16::try_from(length).unwrap_or(u16::MAX))
    }

    /// Returns the answer to a peer with enhanced route refresh, which carries the whole message.
    pub fn notification(&self) -> Notification {
        // RFC 7313 section 5 defines the error of these two subtypes only.
        if !matches!(self.body.get(2), Some(1 | 2)) {
            return self.header_error().notification();
        }
        let mut data = Vec::new();
        let start = super::header::begin(&mut data, super::MessageType::RouteRefresh);
        data.extend_from_slice(&self.body);
        // The message was received, so its length fits into the header.
        let _fits = super::header::end(&mut data, start, super::EXTENDED_MAX_LENGTH);
        // The answer has to fit into a message that is not extended.
        data.truncate(super::notification::MAX_DATA);
        Notification::new(
            ErrorCode::RouteRefresh(RefreshSubcode::InvalidMessageLength),
            data,
        )
    }
}

//! The messages of BGP-4 (RFC 4271 section 4).
//!
//! What a peer sends is read by [`frame`] and [`BgpMessage::parse`], which never panic, whatever the bytes are, and whose
//! errors name the NOTIFICATION to answer with. What is sent is appended to a `Vec<u8>`, whole messages only.
//!
//! ```text
//!  0                               16       18     19
//!  | marker: 16 bytes of ones      | length | type | body ...
//! ```

pub mod attribute;
pub mod capability;
mod counts;
mod error;
mod header;
mod nlri;
pub mod notification;
mod open;
mod reader;
mod route_refresh;
pub mod update;

#[cfg(test)]
mod tests;

pub use attribute::{AsPath, Asn, Community, LargeCommunity, Origin, PathAttributes, Segment, SegmentKind};
pub use capability::{AfiSafi, Capability, RestartFamily};
pub use counts::MessageCounts;
pub use error::{BadUpdate, HeaderError, MessageError, OpenError, RefreshError, TooLong};
pub use header::{EXTENDED_MAX_LENGTH, HEADER_LENGTH, MAX_LENGTH, MessageType, RawMessage, frame};
pub use nlri::Nlri;
pub use notification::Notification;
pub use open::{BgpIdentifier, HoldTime, Open};
pub use route_refresh::{RefreshSubtype, RouteRefresh};
pub use update::{NextHop, UpdateFormat, UpdateMessage};

/// A message of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BgpMessage {
    /// Opens a session (RFC 4271 section 4.2).
    Open(Open),
    /// Announces and withdraws routes (section 4.3).
    Update(UpdateMessage),
    /// Ends the session (section 4.5).
    Notification(Notification),
    /// Shows that the peer is alive (section 4.4).
    Keepalive,
    /// Asks for all routes of a family (RFC 2918).
    RouteRefresh(RouteRefresh),
}

impl BgpMessage {
    /// Parses the body of a message. `format` is what the session negotiated; only an UPDATE depends on it.
    ///
    /// # Errors
    /// If the session has to end because of it.
    pub fn parse(frame: RawMessage<'_>, format: &UpdateFormat) -> Result<Self, MessageError> {
        match frame.kind {
            MessageType::Open => Ok(Self::Open(Open::parse(frame.body)?)),
            MessageType::Update => Ok(Self::Update(UpdateMessage::parse(frame.body, format)?)),
            MessageType::Notification => Ok(Self::Notification(Notification::parse(frame.body)?)),
            MessageType::Keepalive => Ok(Self::Keepalive),
            MessageType::RouteRefresh => Ok(Self::RouteRefresh(RouteRefresh::parse(frame.body)?)),
        }
    }
}

/// Appends a KEEPALIVE (RFC 4271 section 4.4).
pub fn emit_keepalive(out: &mut alloc::vec::Vec<u8>) {
    let start = header::begin(out, MessageType::Keepalive);
    header::end_fixed(out, start);
}

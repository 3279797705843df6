//! The header of a message (RFC 4271 section 4.1) and where a message ends in a stream.

use alloc::vec::Vec;

use super::error::{HeaderError, TooLong};

/// Bytes of the header, and of a KEEPALIVE.
pub const HEADER_LENGTH: usize = 19;
/// Bytes of the longest message without extended messages (RFC 4271 section 4).
pub const MAX_LENGTH: usize = 4096;
/// Bytes of the longest message with extended messages (RFC 8654 section 3).
pub const EXTENDED_MAX_LENGTH: usize = 65_535;

const MARKER: [u8; 16] = [0xff; 16];
const LENGTH_AT: usize = 16;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageType {
    /// OPEN.
    Open,
    /// UPDATE.
    Update,
    /// NOTIFICATION.
    Notification,
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918 section 3).
    RouteRefresh,
}

impl MessageType {
    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// Returns whether a whole message of this type may have `length` bytes (RFC 4271 section 6.1). A ROUTE-REFRESH of another
    /// length has an error of its own (RFC 7313 section 5).
    fn allows(self, length: usize, max_length: usize) -> bool {
        match self {
            // RFC 8654 section 3: OPEN and KEEPALIVE are never extended.
            Self::Open => (29..=MAX_LENGTH).contains(&length),
            Self::Update => (23..=max_length).contains(&length),
            Self::Notification => (21..=max_length).contains(&length),
            Self::Keepalive => length == HEADER_LENGTH,
            Self::RouteRefresh => (HEADER_LENGTH..=max_length).contains(&length),
        }
    }
}

/// A whole message: its type and what follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// The type of the message.
    pub kind: MessageType,
    /// The bytes behind the header.
    pub body: &'a [u8],
}

impl RawMessage<'_> {
    /// Returns how many bytes of the stream the message takes.
    pub const fn length(&self) -> usize {
        HEADER_LENGTH + self.body.len()
    }
}

/// Returns the first message of a stream, or nothing if it is not whole yet. `max_length` is [`MAX_LENGTH`], or
/// [`EXTENDED_MAX_LENGTH`] after this side offered extended messages.
///
/// # Errors
/// As soon as the header is known to be wrong (RFC 4271 section 6.1).
pub fn frame(stream: &[u8], max_length: usize) -> Result<Option<RawMessage<'_>>, HeaderError> {
    let marker = &stream[..stream.len().min(MARKER.len())];
    if marker.iter().any(|byte| *byte != 0xff) {
        return Err(HeaderError::NotSynchronized);
    }
    let Some(header) = stream.first_chunk::<HEADER_LENGTH>() else {
        return Ok(None);
    };
    let length = u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]);
    let Some(kind) = MessageType::of(header[LENGTH_AT + 2]) else {
        return Err(HeaderError::Type(header[LENGTH_AT + 2]));
    };
    if !kind.allows(usize::from(length), max_length) {
        return Err(HeaderError::Length(length));
    }
    let body = stream.get(HEADER_LENGTH..usize::from(length));
    Ok(body.map(|body| RawMessage { kind, body }))
}

/// Appends a header and returns where the message starts.
pub(super) fn begin(out: &mut Vec<u8>, kind: MessageType) -> usize {
    let start = out.len();
    out.extend(MARKER);
    out.extend([0, 0, kind.code()]);
    start
}

/// Writes the length of the message that starts at `start` and ends the bytes; removes it if it is too long.
pub(super) fn end(out: &mut Vec<u8>, start: usize, max_length: usize) -> Result<(), TooLong> {
    let length = out.len() - start;
    let Some(wire) = u16::try_from(length).ok().filter(|_| length <= max_length) else {
        out.truncate(start);
        return Err(TooLong { length });
    };
    out[start + LENGTH_AT..start + LENGTH_AT + 2].copy_from_slice(&wire.to_be_bytes());
    Ok(())
}

/// As [`end`], for a message whose length does not depend on its content.
///
/// # Panics
/// If the message has more than [`MAX_LENGTH`] bytes.
pub(super) fn end_fixed(out: &mut Vec<u8>, start: usize) {
    end(out, start, MAX_LENGTH).expect("the longest such message is shorter than any limit");
}

/// Writes the number of bytes behind `at` into the two bytes before it.
///
/// # Panics
/// If there are more than a message can have: the caller bounds the message first.
pub(super) fn set_length(out: &mut [u8], at: usize) {
    let length = u16::try_from(out.len() - at).expect("the caller bounds the message");
    out[at - 2..at].copy_from_slice(&length.to_be_bytes());
}

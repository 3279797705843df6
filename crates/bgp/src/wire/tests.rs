//! Round trips, the oracle, and what malformed messages are answered with.

mod errors;
mod examples;
mod hostile;
mod oracle;
mod round_trip;
mod strategies;

use std::vec::Vec;

use super::*;

/// What a session of modern routers of two ASes has.
const MODERN: UpdateFormat = UpdateFormat {
    four_octet_as: true,
    max_length: MAX_LENGTH,
    internal: false,
};

/// The message that `bytes` are.
fn parse(bytes: &[u8], format: &UpdateFormat) -> Result<BgpMessage, MessageError> {
    let frame = frame(bytes, EXTENDED_MAX_LENGTH)?.expect("a whole message");
    assert_eq!(frame.length(), bytes.len(), "one message");
    BgpMessage::parse(frame, format)
}

fn parse_update(bytes: &[u8], format: &UpdateFormat) -> UpdateMessage {
    match parse(bytes, format) {
        Ok(BgpMessage::Update(update)) => update,
        other => panic!("not an UPDATE: {other:?}"),
    }
}

/// A message from hexadecimal digits with any blanks.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("a digit")).expect("below 16"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A message with this type and body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_LENGTH + body.len()).expect("short");
    let mut message = std::vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// An UPDATE of withdrawn routes, attributes and prefixes.
fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in [withdrawn, attributes] {
        body.extend(u16::try_from(part.len()).expect("short").to_be_bytes());
        body.extend(part);
    }
    body.extend(nlri);
    message(2, &body)
}

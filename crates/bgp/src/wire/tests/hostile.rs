//! Any bytes: nothing panics, and what is refused has an answer that can be sent.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::{format, open, routes};
use super::*;
use crate::wire::update::emit_reachable;

fn digest(bytes: &[u8], format: &UpdateFormat) {
    match frame(bytes, format.max_length) {
        Ok(None) => {}
        Ok(Some(frame)) => match BgpMessage::parse(frame, format) {
            Ok(_) => {}
            Err(error) => answerable(&error),
        },
        Err(error) => answerable(&error.into()),
    }
}

fn answerable(error: &MessageError) {
    match error.notification() {
        Some(answer) => answer.emit(&mut Vec::new()).expect("short enough"),
        None => assert_eq!(*error, MessageError::Notification),
    }
}

proptest! {
    #[test]
    fn any_bytes_behind_a_marker_are_digested(bytes in vec(any::<u8>(), 0..200), format in format()) {
        digest(&[&[0xff; 16][..], &bytes].concat(), &format);
    }

    #[test]
    fn any_body_is_digested(kind in 0..7_u8, body in vec(any::<u8>(), 0..500), format in format()) {
        digest(&message(kind, &body), &format);
    }

    #[test]
    fn a_damaged_update_is_digested(
        (attributes, next_hop, nlri) in routes(),
        format in format(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = Vec::new();
        emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &format).expect("fits");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        digest(&bytes, &format);
    }

    #[test]
    fn a_damaged_open_is_digested(
        open in open(0..40),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = Vec::new();
        open.emit(&mut bytes).expect("short");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        digest(&bytes, &MODERN);
    }

    #[test]
    fn a_stream_is_cut_into_the_same_messages_wherever_it_is_read(
        kinds in vec(any::<bool>(), 1..6),
        chunk in 1..40_usize,
    ) {
        let mut stream = Vec::new();
        for refresh in &kinds {
            if *refresh {
                stream.extend(message(5, &[0, 1, 0, 1]));
            } else {
                emit_keepalive(&mut stream);
            }
        }
        let (mut received, mut found) = (Vec::new(), Vec::new());
        for part in stream.chunks(chunk) {
            received.extend(part);
            while let Some(frame) = frame(&received, MAX_LENGTH).expect("valid") {
                found.push(frame.kind == MessageType::RouteRefresh);
                let length = frame.length();
                received.drain(..length);
            }
        }
        prop_assert_eq!(found, kinds);
        prop_assert!(received.is_empty());
    }
}

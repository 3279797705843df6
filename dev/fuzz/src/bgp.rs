//! Any bytes from a BGP peer.

use herald_bgp::wire::{
    BgpMessage, EXTENDED_MAX_LENGTH, MAX_LENGTH, UpdateFormat, UpdateMessage, frame,
    update::{Encoding, emit_reachable, emit_withdrawn},
};

/// The first byte says what the session negotiated, the others are its stream. Checks that
/// * what ends the session has an answer that can be sent;
/// * an OPEN, a NOTIFICATION and the routes of an UPDATE that were read are written and read as the same.
///
/// # Panics
/// If a check fails.
pub fn bgp(bytes: &[u8]) {
    let Some((negotiated, mut stream)) = bytes.split_first() else {
        return;
    };
    let format = UpdateFormat {
        four_octet_as: negotiated & 1 != 0,
        internal: negotiated & 2 != 0,
        max_length: if negotiated & 4 == 0 {
            MAX_LENGTH
        } else {
            EXTENDED_MAX_LENGTH
        },
    };
    loop {
        let parsed = match frame(stream, format.max_length) {
            Ok(None) => return,
            Ok(Some(frame)) => {
                stream = &stream[frame.length()..];
                BgpMessage::parse(frame, &format)
            }
            Err(error) => Err(error.into()),
        };
        match parsed {
            Ok(message) => write_again(&message, &format),
            Err(error) => {
                if let Some(answer) = error.notification() {
                    answer.emit(&mut Vec::new()).expect("an answer can be sent");
                }
                return;
            }
        }
    }
}

fn write_again(message: &BgpMessage, format: &UpdateFormat) {
    let mut bytes = Vec::new();
    match message {
        // A value can be longer when it is written in another form.
        BgpMessage::Open(open) => {
            if open.emit(&mut bytes).is_err() {
                return;
            }
        }
        BgpMessage::Notification(notification) => {
            if notification.emit(&mut bytes).is_err() {
                return;
            }
        }
        BgpMessage::RouteRefresh(refresh) => refresh.emit(&mut bytes),
        BgpMessage::Keepalive => return,
        BgpMessage::Update(update) => return write_routes_again(update, format),
    }
    assert_eq!(read(&bytes, format), *message);
}

fn write_routes_again(update: &UpdateMessage, format: &UpdateFormat) {
    for family in [herald_core::Family::V4, herald_core::Family::V6] {
        let withdrawn: Vec<_> = update
            .withdrawn
            .iter()
            .copied()
            .filter(|nlri| nlri.family() == family)
            .collect();
        let mut bytes = Vec::new();
        let count = emit_withdrawn(&mut bytes, Encoding::Multiprotocol(family), &withdrawn, format);
        if count > 0 {
            let BgpMessage::Update(again) = read(&bytes, format) else {
                panic!("an UPDATE is read as another message");
            };
            assert_eq!(again.withdrawn, withdrawn[..count]);
        }
    }
    let Some(attributes) = &update.attributes else {
        return;
    };
    for reachable in &update.reachable {
        let mut bytes = Vec::new();
        let Ok(count) = emit_reachable(
            &mut bytes,
            attributes,
            reachable.next_hop,
            &reachable.nlri,
            format,
        ) else {
            continue;
        };
        let BgpMessage::Update(again) = read(&bytes, format) else {
            panic!("an UPDATE is read as another message");
        };
        assert_eq!(again.reachable[0].nlri, reachable.nlri[..count]);
        let again = again.attributes.expect("routes have attributes");
        assert_eq!((again.med, again.origin), (attributes.med, attributes.origin));
        assert_eq!(again.communities, attributes.communities);
    }
}

fn read(bytes: &[u8], format: &UpdateFormat) -> BgpMessage {
    let frame = frame(bytes, EXTENDED_MAX_LENGTH)
        .expect("what was written has a header")
        .expect("what was written is whole");
    BgpMessage::parse(frame, format).expect("what was written can be read")
}

//! What is written is read again as the same.

use std::vec::Vec;

use proptest::prelude::*;

use super::strategies::{capability, format, notification, open, routes};
use super::*;
use crate::wire::update::{Encoding, Reachable, emit_end_of_rib, emit_reachable, emit_withdrawn};
use herald_core::Family;

proptest! {
    #[test]
    fn an_open_is_read_as_it_was_written(open in open(0..12)) {
        let mut bytes = Vec::new();
        open.emit(&mut bytes).expect("short");
        prop_assert_eq!(parse(&bytes, &MODERN), Ok(BgpMessage::Open(open)));
    }

    #[test]
    fn an_open_with_many_capabilities_uses_the_extended_length(open in open(100..140)) {
        let mut bytes = Vec::new();
        open.emit(&mut bytes).expect("at most 4096 bytes");
        if bytes.len() > 29 + 255 {
            // RFC 9072 section 2.
            prop_assert_eq!(&bytes[28..30], &[255, 255]);
        }
        prop_assert_eq!(parse(&bytes, &MODERN), Ok(BgpMessage::Open(open)));
    }

    #[test]
    fn an_open_that_is_too_long_is_not_written(capability in capability()) {
        let open = Open::new(Asn(1), HoldTime::NONE, identifier(), std::vec![capability; 3000]);
        let mut bytes = std::vec![7];
        prop_assert!(open.emit(&mut bytes).is_err());
        prop_assert_eq!(bytes, &[7]);
    }

    #[test]
    fn a_notification_is_read_as_it_was_written(notification in notification()) {
        let mut bytes = Vec::new();
        notification.emit(&mut bytes).expect("short");
        prop_assert_eq!(parse(&bytes, &MODERN), Ok(BgpMessage::Notification(notification)));
    }

    #[test]
    fn a_route_refresh_is_read_as_it_was_written(afi: u16, safi: u8, subtype in 0..5_u8) {
        let body = [&afi.to_be_bytes()[..], &[subtype, safi]].concat();
        let bytes = message(5, &body);
        let Ok(BgpMessage::RouteRefresh(refresh)) = parse(&bytes, &MODERN) else {
            panic!("refused");
        };
        prop_assert_eq!(refresh.family, AfiSafi { afi, safi });
        let mut again = Vec::new();
        refresh.emit(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn routes_are_read_as_they_were_written((attributes, next_hop, nlri) in routes(), format in format()) {
        let (mut read, mut rest) = (Vec::<Nlri>::new(), &nlri[..]);
        while !rest.is_empty() {
            let mut bytes = Vec::new();
            let count = emit_reachable(&mut bytes, &attributes, next_hop, rest, &format).expect("fits");
            prop_assert!(bytes.len() <= format.max_length);
            let update = parse_update(&bytes, &format);
            prop_assert_eq!(&update.faults, &[]);
            let expected = PathAttributes {
                local_pref: format.internal.then(|| attributes.local_pref.unwrap_or(100)),
                ..attributes.clone()
            };
            prop_assert_eq!(update.attributes, Some(expected));
            prop_assert_eq!(update.withdrawn, &[]);
            let [Reachable { next_hop: hop, nlri }] = &update.reachable[..] else {
                panic!("one next hop");
            };
            prop_assert_eq!(*hop, next_hop);
            prop_assert_eq!(nlri.len(), count);
            read.extend(nlri);
            rest = &rest[count..];
        }
        prop_assert_eq!(read, nlri);
    }

    #[test]
    fn withdrawals_are_read_as_they_were_written((_, next_hop, nlri) in routes(), format in format()) {
        let encoding = Encoding::of(nlri[0].family(), next_hop).expect("a possible next hop");
        let mut bytes = Vec::new();
        prop_assert_eq!(emit_withdrawn(&mut bytes, encoding, &nlri, &format), nlri.len());
        let expected = UpdateMessage { withdrawn: nlri, ..UpdateMessage::default() };
        prop_assert_eq!(parse_update(&bytes, &format), expected);
    }

    #[test]
    fn a_full_message_has_no_room_for_another_prefix(
        (attributes, next_hop, nlri) in routes(),
        format in format(),
        withdraws: bool,
    ) {
        // Enough for several messages.
        let many = nlri.repeat(20_000 / nlri.len());
        let mut bytes = Vec::new();
        let count = if withdraws {
            let encoding = Encoding::of(nlri[0].family(), next_hop).expect("a possible next hop");
            emit_withdrawn(&mut bytes, encoding, &many, &format)
        } else {
            emit_reachable(&mut bytes, &attributes, next_hop, &many, &format).expect("fits")
        };
        prop_assert!(bytes.len() <= format.max_length);
        if let Some(next) = many.get(count) {
            prop_assert!(bytes.len() + next.wire_length() > format.max_length);
        }
    }
}

fn identifier() -> BgpIdentifier {
    BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero")
}

#[test]
fn end_of_rib_names_its_family() {
    for family in [Family::V4, Family::V6] {
        let mut bytes = Vec::new();
        emit_end_of_rib(&mut bytes, family);
        let update = parse_update(&bytes, &MODERN);
        let expected = UpdateMessage {
            end_of_rib: Some(AfiSafi::unicast(family)),
            ..UpdateMessage::default()
        };
        assert_eq!(update, expected);
    }
}

#[test]
fn a_keepalive_is_a_header() {
    let mut bytes = Vec::new();
    emit_keepalive(&mut bytes);
    assert_eq!(bytes.len(), HEADER_LENGTH);
    assert_eq!(parse(&bytes, &MODERN), Ok(BgpMessage::Keepalive));
}

#[test]
fn attributes_that_fill_a_message_are_not_sent() {
    let nlri = [Nlri::host([192, 0, 2, 1].into())];
    let mut attributes = PathAttributes::originated(std::vec![Asn(1)]);
    attributes.communities = (0..1012).map(|n| Community(1, n)).collect();
    let mut bytes = std::vec![7];
    let next_hop = NextHop::V4([192, 0, 2, 254].into());
    emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &MODERN).expect_err("too long");
    assert_eq!(bytes, [7]);
    attributes.communities.pop();
    let count = emit_reachable(&mut Vec::new(), &attributes, next_hop, &nlri, &MODERN);
    assert_eq!(count, Ok(1));
    attributes.communities = (0..30_000).map(|n| Community(1, n)).collect();
    emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &MODERN).expect_err("too long");
    assert_eq!(bytes, [7]);
}

#[test]
fn an_ipv6_prefix_cannot_have_an_ipv4_next_hop() {
    let nlri = [Nlri::host([0xfc00, 0, 0, 0, 0, 0, 0, 1].into())];
    let attributes = PathAttributes::originated(std::vec![Asn(1)]);
    let next_hop = NextHop::V4([192, 0, 2, 254].into());
    let result = emit_reachable(&mut Vec::new(), &attributes, next_hop, &nlri, &MODERN);
    assert_eq!(result, Err(update::UnsendableRoute::NextHop));
}

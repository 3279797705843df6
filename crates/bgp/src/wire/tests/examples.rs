//! Messages of other programs, and what this crate writes byte for byte.

use std::string::ToString;
use std::vec::Vec;

use herald_core::Family;

use super::*;
use crate::wire::notification::{CeaseSubcode, ErrorCode};
use crate::wire::update::emit_reachable;

/// The OPEN of MetalLB's native mode.
#[test]
fn the_open_of_metallb_is_read() {
    let bytes = hex(
        "ffffffffffffffffffffffffffffffff 0031 01 04 fdea 005a b9ecf027 14 02 12
        01040001 0001 01040002 0001 4104 0000fdea",
    );
    let Ok(BgpMessage::Open(open)) = parse(&bytes, &MODERN) else {
        panic!("refused");
    };
    assert_eq!(open.asn(), Asn(65_002));
    assert_eq!(open.hold_time, HoldTime::new(90).expect("long enough"));
    assert_eq!(open.identifier.to_string(), "185.236.240.39");
    let family = |family| Capability::Multiprotocol(AfiSafi::unicast(family));
    let expected = [
        family(Family::V4),
        family(Family::V6),
        Capability::FourOctetAs(Asn(65_002)),
    ];
    assert_eq!(open.capabilities, expected);
    let mut written = Vec::new();
    open.emit(&mut written).expect("short");
    assert_eq!(written, bytes);
}

#[test]
fn an_as_number_of_four_octets_stands_in_the_capability() {
    let identifier = BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero");
    let open = Open::new(Asn(4_200_000_000), HoldTime::NONE, identifier, Vec::new());
    assert_eq!(open.my_as, 23_456);
    assert_eq!(open.asn(), Asn(4_200_000_000));
}

#[test]
fn attributes_stand_in_ascending_order_and_local_pref_goes_to_internal_peers_only() {
    let mut attributes = PathAttributes::originated(std::vec![Asn(65_001)]);
    attributes.med = Some(100);
    attributes.communities = std::vec![Community(65_535, 0)];
    attributes.large_communities = std::vec![LargeCommunity(1, 2, 3)];
    let nlri = [
        Nlri::host([192, 0, 2, 1].into()),
        Nlri::new([198, 51, 100, 7].into(), 24).expect("a length of IPv4"),
    ];
    let next_hop = NextHop::V4([192, 0, 2, 254].into());
    let internal = UpdateFormat {
        internal: true,
        ..MODERN
    };
    // RFC 4271 section 5.1.5: internal peers always get it, others never.
    for (format, local_pref, expected) in [
        (MODERN, Some(200), ""),
        (MODERN, None, ""),
        (internal, Some(200), "400504 000000c8"),
        (internal, None, "400504 00000064"),
    ] {
        attributes.local_pref = local_pref;
        let mut bytes = Vec::new();
        let count = emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &format);
        assert_eq!(count, Ok(2));
        let before = "400101 00  400206 0201 0000fde9  400304 c00002fe  800404 00000064";
        let behind = "c00804 ffff0000  c0200c 000000010000000200000003";
        let attributes = hex(&[before, expected, behind].concat());
        assert_eq!(bytes, update(&[], &attributes, &hex("20 c0000201  18 c63364")));
    }
}

/// RFC 2545 section 3 and RFC 7606 section 5.1.
#[test]
fn ipv6_routes_stand_in_the_first_attribute_with_both_next_hops() {
    let attributes = PathAttributes::originated(Vec::new());
    let nlri = [Nlri::new([0xfc00, 0, 0, 1, 0, 0, 0, 1].into(), 64).expect("a length of IPv6")];
    let next_hop = NextHop::V6 {
        global: [0xfc00, 0, 0, 0, 0, 0, 0, 2].into(),
        link_local: Some([0xfe80, 0, 0, 0, 0, 0, 0, 2].into()),
    };
    let mut bytes = Vec::new();
    assert_eq!(
        emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &MODERN),
        Ok(1)
    );
    let expected = update(
        &[],
        &hex(
            "900e002e 0002 01 20 fc000000000000000000000000000002 fe800000000000000000000000000002
            00 40 fc00000000000001  400101 00  400200",
        ),
        &[],
    );
    assert_eq!(bytes, expected);
}

#[test]
fn a_shutdown_communication_is_cut_between_two_characters() {
    let text = "é".repeat(200);
    let notification = Notification::cease(CeaseSubcode::AdministrativeShutdown, &text);
    assert_eq!(notification.communication(), Some(&text[..254]));
    // Other Ceases have no text.
    let other = Notification::cease(CeaseSubcode::OtherConfigurationChange, &text);
    assert_eq!((other.data.len(), other.communication()), (0, None));
}

#[test]
fn a_hard_reset_carries_the_reason() {
    let shutdown = Notification::cease(CeaseSubcode::AdministrativeShutdown, "maintenance");
    let reset = shutdown.clone().into_hard_reset();
    assert_eq!(reset.error, ErrorCode::Cease(CeaseSubcode::HardReset));
    assert_eq!(reset.reason(), shutdown);
    let text = "Cease: Hard Reset (Cease: Administrative Shutdown): \"maintenance\"";
    assert_eq!(reset.to_string(), text);
    assert_eq!(
        shutdown.to_string(),
        "Cease: Administrative Shutdown: \"maintenance\""
    );
}

#[test]
fn every_error_code_is_read_as_it_is_written() {
    for code in 0..=u8::MAX {
        for subcode in 0..=u8::MAX {
            assert_eq!(ErrorCode::of(code, subcode).codes(), (code, subcode));
        }
    }
}

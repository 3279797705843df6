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

/// Rows W2 to W5: OPEN messages of Arista EOS and other routers. Returns what the capabilities are written as.
#[track_caller]
fn assert_open(
    row: &str,
    bytes: &[u8],
    asn: u32,
    hold: u16,
    identifier: &str,
    expected: &[Capability],
) -> Vec<u8> {
    let Ok(BgpMessage::Open(open)) = parse(bytes, &MODERN) else {
        panic!("{row} is refused");
    };
    assert_eq!(open.asn(), Asn(asn), "{row}");
    assert_eq!(open.hold_time, HoldTime::new(hold).expect("long enough"), "{row}");
    assert_eq!(open.identifier.to_string(), identifier, "{row}");
    assert_eq!(open.capabilities, expected, "{row}");
    let mut written = Vec::new();
    open.emit(&mut written).expect("short");
    written
}

#[test]
fn the_opens_of_other_routers_are_read() {
    let header = "ffffffffffffffffffffffffffffffff";
    let bytes = |rest: &str| hex(&[header, rest].concat());
    let family = |safi| Capability::Multiprotocol(AfiSafi { afi: 1, safi });
    let restart = |time| Capability::GracefulRestart {
        restarted: false,
        notification: false,
        time,
        families: Vec::new(),
    };
    let unknown = |code, value: &str| Capability::Unknown {
        code,
        value: hex(value),
    };
    let w2 = bytes("002b 01 04 fde9 00b4 b9ecf040 0e 02 0c 01040001 0001 0200 400200b4");
    let expected = [family(1), Capability::RouteRefresh, restart(180)];
    let written = assert_open("W2", &w2, 65_001, 180, "185.236.240.64", &expected);
    assert_eq!(written, w2);
    let w3 = bytes(
        "0041 01 04 0001 00b4 0a010101 24 02 22 0104 00010001 0104 00010004 0200 4002 012c 4104 00000001
        4508 0001 0101 0001 0401",
    );
    let expected = [
        family(1),
        family(4),
        Capability::RouteRefresh,
        restart(300),
        Capability::FourOctetAs(Asn(1)),
        unknown(69, "0001010100010401"),
    ];
    let written = assert_open("W3", &w3, 1, 180, "10.1.1.1", &expected);
    assert_eq!(written, w3);
    let w4 = bytes("0025 01 04 fc1f 0028 c0a81241 08 02 06 4104 0000fc1f");
    let expected = [Capability::FourOctetAs(Asn(64_543))];
    let written = assert_open("W4", &w4, 64_543, 40, "192.168.18.65", &expected);
    assert_eq!(written, w4);
    // Each capability has a parameter of its own, and is written into one with the others (RFC 5492 section 4).
    let w5 =
        bytes("0035 01 04 fc1f 00b4 c0a81001 18 02 06 010400010001 02 02 8000 02 02 0200 02 06 41040000fc1f");
    let expected = [
        family(1),
        unknown(128, ""),
        Capability::RouteRefresh,
        Capability::FourOctetAs(Asn(64_543)),
    ];
    let written = assert_open("W5", &w5, 64_543, 180, "192.168.16.1", &expected);
    let joined = bytes("002f 01 04 fc1f 00b4 c0a81001 12 02 10 010400010001 8000 0200 41040000fc1f");
    assert_eq!(written, joined);
}

/// Row W6: an UPDATE of MetalLB's native mode for a peer that knows AS numbers of two octets only.
#[test]
fn the_update_for_a_peer_with_as_numbers_of_two_octets_is_that_of_metallb() {
    let mut attributes = PathAttributes::originated(std::vec![Asn(65_000)]);
    attributes.local_pref = Some(100);
    attributes.communities = std::vec![Community(0, 1234), Community(0, 2345)];
    let nlri = [Nlri::new([172, 16, 0, 0].into(), 24).expect("a length of IPv4")];
    let old = UpdateFormat {
        four_octet_as: false,
        ..MODERN
    };
    let next_hop = NextHop::V4([192, 168, 123, 10].into());
    let mut bytes = Vec::new();
    assert_eq!(
        emit_reachable(&mut bytes, &attributes, next_hop, &nlri, &old),
        Ok(1)
    );
    let expected = hex("400101 00  400204 0201 fde8  400304 c0a87b0a  c00808 000004d2 00000929");
    assert_eq!(bytes, update(&[], &expected, &hex("18 ac1000")));
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

//! What is wrong with a message, and what follows from it.

use std::vec::Vec;

use super::*;
use crate::wire::attribute::{AttributeFault, Consequence, FaultKind};
use crate::wire::notification::{ErrorCode, HeaderSubcode, OpenSubcode, RefreshSubcode, UpdateSubcode};

const INTERNAL: UpdateFormat = UpdateFormat {
    internal: true,
    ..MODERN
};
const OLD: UpdateFormat = UpdateFormat {
    four_octet_as: false,
    ..MODERN
};

const ORIGIN: &str = "40 01 01 00";
const AS_PATH: &str = "40 02 06 02 01 00 00 fd e9";
const NEXT_HOP: &str = "40 03 04 c0 00 02 fe";
/// 192.0.2.1/32.
const NLRI: &str = "20 c0 00 02 01";

fn answer(bytes: &[u8]) -> (ErrorCode, Vec<u8>) {
    let frame = frame(bytes, MAX_LENGTH)
        .map(|frame| frame.expect("whole"))
        .map_err(MessageError::from);
    let error = frame
        .and_then(|frame| BgpMessage::parse(frame, &MODERN))
        .expect_err("wrong");
    let answer = error.notification().expect("an answer");
    (answer.error, answer.data)
}

#[test]
fn a_wrong_header_has_the_answer_of_rfc_4271_section_6_1() {
    let header = |subcode| ErrorCode::MessageHeader(subcode);
    let mut unsynchronized = message(4, &[]);
    unsynchronized[15] = 0xfe;
    assert_eq!(
        answer(&unsynchronized),
        (header(HeaderSubcode::ConnectionNotSynchronized), std::vec![])
    );
    let bad_type = answer(&message(6, &[]));
    assert_eq!(bad_type, (header(HeaderSubcode::BadMessageType), std::vec![6]));
    for (kind, body) in [(1, 9), (1, 4078), (2, 3), (2, 4078), (3, 1), (4, 1)] {
        let bytes = message(kind, &std::vec![0; body]);
        let length = u16::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        assert_eq!(
            answer(&bytes),
            (header(HeaderSubcode::BadMessageLength), length),
            "{kind} {body}"
        );
    }
    // RFC 8654: an UPDATE may be extended, a KEEPALIVE and an OPEN may not.
    let extended = message(2, &[0; 4078]);
    assert!(frame(&extended, EXTENDED_MAX_LENGTH).expect("allowed").is_some());
    assert!(frame(&message(1, &[0; 4078]), EXTENDED_MAX_LENGTH).is_err());
}

#[test]
fn an_incomplete_message_is_waited_for_and_a_wrong_marker_is_not() {
    let whole = message(5, &[0, 1, 0, 1]);
    for length in 0..whole.len() {
        assert_eq!(frame(&whole[..length], MAX_LENGTH), Ok(None), "{length}");
    }
    assert_eq!(
        frame(b"GET / HTTP/1.1", MAX_LENGTH),
        Err(HeaderError::NotSynchronized)
    );
}

#[test]
fn a_wrong_open_has_the_answer_of_rfc_4271_section_6_2() {
    for (body, subcode, data) in [
        (
            "03 fde9 005a c0000201 00",
            OpenSubcode::UnsupportedVersionNumber,
            &[0, 4][..],
        ),
        ("04 fde9 0001 c0000201 00", OpenSubcode::UnacceptableHoldTime, &[]),
        ("04 fde9 0002 c0000201 00", OpenSubcode::UnacceptableHoldTime, &[]),
        ("04 fde9 005a 00000000 00", OpenSubcode::BadBgpIdentifier, &[]),
        (
            "04 fde9 005a c0000201 02 01 00",
            OpenSubcode::UnsupportedOptionalParameter,
            &[],
        ),
        // A parameter, a capability and the whole are longer than what is left.
        ("04 fde9 005a c0000201 02 02 01", OpenSubcode::Unspecific, &[]),
        (
            "04 fde9 005a c0000201 04 02 02 02 01",
            OpenSubcode::Unspecific,
            &[],
        ),
        (
            "04 fde9 005a c0000201 05 02 02 02 00",
            OpenSubcode::Unspecific,
            &[],
        ),
        // Bytes that belong to no parameter.
        ("04 fde9 005a c0000201 00 02", OpenSubcode::Unspecific, &[]),
    ] {
        let expected = (ErrorCode::Open(subcode), data.to_vec());
        assert_eq!(answer(&message(1, &hex(body))), expected, "{body}");
    }
}

#[test]
fn optional_parameters_may_have_the_extended_length_of_rfc_9072() {
    // The length in the old place counts only by not being zero.
    for length in ["ff", "01"] {
        let body = ["04 fde9 005a c0000201", length, "ff 0005 02 0002 02 00"].concat();
        let Ok(BgpMessage::Open(open)) = parse(&message(1, &hex(&body)), &MODERN) else {
            panic!("refused");
        };
        assert_eq!(open.capabilities, [Capability::RouteRefresh]);
    }
}

#[test]
fn capabilities_may_be_spread_over_parameters_repeated_and_malformed() {
    // Two parameters; route refresh twice; a multiprotocol capability of three bytes.
    let body = "04 fde9 005a c0000201 0f 02 02 02 00 02 09 02 00 01 03 00 01 00 46 00";
    let Ok(BgpMessage::Open(open)) = parse(&message(1, &hex(body)), &MODERN) else {
        panic!("refused");
    };
    let malformed = Capability::Unknown {
        code: 1,
        value: std::vec![0, 1, 0],
    };
    let (refresh, enhanced) = (Capability::RouteRefresh, Capability::EnhancedRouteRefresh);
    assert_eq!(open.capabilities, [refresh.clone(), refresh, malformed, enhanced]);
}

#[test]
fn a_route_refresh_of_another_length_is_answered_with_itself_if_it_begins_or_ends_an_answer() {
    let enhanced = ErrorCode::RouteRefresh(RefreshSubcode::InvalidMessageLength);
    let plain = ErrorCode::MessageHeader(HeaderSubcode::BadMessageLength);
    for subtype in 0..=3 {
        let bytes = message(5, &[0, 1, subtype, 1, 0]);
        let expected = if matches!(subtype, 1 | 2) {
            (enhanced, bytes.clone())
        } else {
            (plain, std::vec![0, 24])
        };
        assert_eq!(answer(&bytes), expected);
    }
    assert_eq!(answer(&message(5, &[0, 1])), (plain, std::vec![0, 21]));
}

#[test]
fn an_update_whose_prefixes_cannot_be_found_ends_the_session() {
    let attributes = hex(&[ORIGIN, AS_PATH, NEXT_HOP].concat());
    for (bytes, subcode) in [
        // The lengths of withdrawn routes and of attributes exceed the message.
        (message(2, &[0, 1, 0, 0]), UpdateSubcode::MalformedAttributeList),
        (message(2, &[0, 0, 0, 1]), UpdateSubcode::MalformedAttributeList),
        (
            message(2, &[0, 9, 0, 0, 0]),
            UpdateSubcode::MalformedAttributeList,
        ),
        // A prefix of 33 bits; one that is cut short.
        (
            update(&[], &attributes, &hex("21 c0 00 02 01 00")),
            UpdateSubcode::InvalidNetworkField,
        ),
        (
            update(&[], &attributes, &hex("20 c0 00 02")),
            UpdateSubcode::InvalidNetworkField,
        ),
        (
            update(&hex("20 c0 00 02"), &[], &[]),
            UpdateSubcode::InvalidNetworkField,
        ),
        // MP_REACH_NLRI: too short, with a next hop of five bytes, with a prefix of 129 bits.
        (
            update(&[], &hex("80 0e 02 00 02"), &[]),
            UpdateSubcode::OptionalAttributeError,
        ),
        (
            update(&[], &hex("80 0e 0a 00 02 01 05 01 02 03 04 05 00"), &[]),
            UpdateSubcode::OptionalAttributeError,
        ),
        (
            update(&[], &hex("80 0f 04 00 02 01 81"), &[]),
            UpdateSubcode::OptionalAttributeError,
        ),
        // Two of MP_UNREACH_NLRI.
        (
            update(&[], &hex("80 0f 03 00 02 01 80 0f 03 00 02 01"), &[]),
            UpdateSubcode::MalformedAttributeList,
        ),
        // An unknown attribute that is not optional.
        (
            update(&[], &hex("40 c8 00"), &[]),
            UpdateSubcode::UnrecognizedWellKnownAttribute,
        ),
    ] {
        // RFC 4271 section 6.3: of these two the answer carries the attribute, which is all that is behind the lengths here.
        let is_with_attribute = matches!(
            subcode,
            UpdateSubcode::OptionalAttributeError | UpdateSubcode::UnrecognizedWellKnownAttribute
        );
        let data = if is_with_attribute {
            &bytes[HEADER_LENGTH + 4..]
        } else {
            &[]
        };
        let expected = (ErrorCode::Update(subcode), data.to_vec());
        assert_eq!(answer(&bytes), expected, "{bytes:02x?}");
    }
}

/// The faults of the routes of `NLRI` with these attributes. Checks that they are withdrawn if a fault says so, and only then.
fn faults(attributes: &str, format: &UpdateFormat) -> Vec<AttributeFault> {
    let parsed = parse_update(&update(&[], &hex(attributes), &hex(NLRI)), format);
    let nlri = Nlri::host([192, 0, 2, 1].into());
    let withdraw = parsed
        .faults
        .iter()
        .any(|fault| fault.consequence == Consequence::Withdraw);
    assert_eq!(parsed.withdrawn == [nlri], withdraw, "{attributes}");
    assert_eq!(parsed.attributes.is_none(), withdraw, "{attributes}");
    assert_eq!(parsed.reachable.is_empty(), withdraw, "{attributes}");
    parsed.faults
}

#[test]
fn a_fault_of_an_attribute_costs_its_routes_or_the_attribute_but_not_the_session() {
    use Consequence::{Discard, Withdraw};
    use FaultKind::{Duplicate, Flags, Malformed, Missing, NotAllowed, Truncated};
    let rest = [AS_PATH, NEXT_HOP].concat();
    let all = [ORIGIN, AS_PATH, NEXT_HOP].concat();
    let with = |attribute: &str| [&all, attribute].concat();
    for (attributes, format, expected) in [
        (all.clone(), MODERN, None),
        // RFC 7606 section 3 d.
        (rest.clone(), MODERN, Some((1, Missing, Withdraw))),
        ([ORIGIN, NEXT_HOP].concat(), MODERN, Some((2, Missing, Withdraw))),
        ([ORIGIN, AS_PATH].concat(), MODERN, Some((3, Missing, Withdraw))),
        // Section 3 c.
        (
            ["c0 01 01 00", &rest].concat(),
            MODERN,
            Some((1, Flags, Withdraw)),
        ),
        (with("40 08 04 00 01 00 02"), MODERN, Some((8, Flags, Withdraw))),
        // Section 3 g.
        (with("40 01 01 01"), MODERN, Some((1, Duplicate, Discard))),
        // Section 4.
        (with("80 04 04 00 00 00"), MODERN, Some((4, Truncated, Withdraw))),
        (with("80"), MODERN, Some((0, Truncated, Withdraw))),
        // Section 7.1: ORIGIN.
        (
            ["40 01 01 03", &rest].concat(),
            MODERN,
            Some((1, Malformed, Withdraw)),
        ),
        (
            ["40 01 02 00 00", &rest].concat(),
            MODERN,
            Some((1, Malformed, Withdraw)),
        ),
        // Section 7.2: AS_PATH with an unknown segment, one without numbers, one that is cut short.
        (
            [ORIGIN, NEXT_HOP, "40 02 06 05 01 00 00 fd e9"].concat(),
            MODERN,
            Some((2, Malformed, Withdraw)),
        ),
        (
            [ORIGIN, NEXT_HOP, "40 02 02 02 00"].concat(),
            MODERN,
            Some((2, Malformed, Withdraw)),
        ),
        (
            [ORIGIN, NEXT_HOP, "40 02 06 02 02 00 00 fd e9"].concat(),
            MODERN,
            Some((2, Malformed, Withdraw)),
        ),
        (
            [ORIGIN, NEXT_HOP, "40 02 03 02 01 00"].concat(),
            MODERN,
            Some((2, Malformed, Withdraw)),
        ),
        // Sections 7.3 to 7.5: NEXT_HOP, MULTI_EXIT_DISC, LOCAL_PREF.
        (
            [ORIGIN, AS_PATH, "40 03 03 c0 00 02"].concat(),
            MODERN,
            Some((3, Malformed, Withdraw)),
        ),
        (with("80 04 03 00 00 00"), MODERN, Some((4, Malformed, Withdraw))),
        (
            with("40 05 04 00 00 00 64"),
            MODERN,
            Some((5, NotAllowed, Discard)),
        ),
        (with("40 05 04 00 00 00 64"), INTERNAL, None),
        (
            with("40 05 03 00 00 00"),
            INTERNAL,
            Some((5, Malformed, Withdraw)),
        ),
        // Sections 7.6 and 7.7: ATOMIC_AGGREGATE, AGGREGATOR.
        (with("40 06 01 00"), MODERN, Some((6, Malformed, Discard))),
        (with("40 06 00"), MODERN, None),
        (
            with("c0 07 06 fd e9 c0 00 02 01"),
            MODERN,
            Some((7, Malformed, Discard)),
        ),
        // Section 7.8: communities.
        (with("c0 08 03 00 01 00"), MODERN, Some((8, Malformed, Withdraw))),
        (with("c0 08 00"), MODERN, Some((8, Malformed, Withdraw))),
        (with("c0 08 04 00 01 00 02"), MODERN, None),
        // Sections 7.9 and 7.10: ORIGINATOR_ID, CLUSTER_LIST.
        (
            with("80 09 04 01 01 01 01"),
            MODERN,
            Some((9, NotAllowed, Discard)),
        ),
        (
            with("80 09 03 01 01 01"),
            INTERNAL,
            Some((9, Malformed, Withdraw)),
        ),
        (
            with("80 0a 04 01 01 01 01"),
            MODERN,
            Some((10, NotAllowed, Discard)),
        ),
        (
            with("80 0a 03 01 01 01"),
            INTERNAL,
            Some((10, Malformed, Withdraw)),
        ),
        // Section 7.14: extended communities.
        (
            with("c0 10 07 00 02 00 01 00 00 00"),
            MODERN,
            Some((16, Malformed, Withdraw)),
        ),
        // RFC 6793 sections 4.1 and 6.
        (
            with("c0 11 06 02 01 00 00 fd e9"),
            MODERN,
            Some((17, NotAllowed, Discard)),
        ),
        // RFC 8092 section 6.
        (
            with("c0 20 0b 00 00 00 01 00 00 00 01 00 00 00"),
            MODERN,
            Some((32, Malformed, Withdraw)),
        ),
        // Unknown optional attributes, transitive or not.
        (with("c0 c8 03 01 02 03"), MODERN, None),
        (with("80 c9 03 01 02 03"), MODERN, None),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(attribute, kind, consequence)| AttributeFault {
                attribute,
                kind,
                consequence,
            })
            .collect();
        assert_eq!(faults(&attributes, &format), expected, "{attributes}");
    }
}

#[test]
fn a_malformed_as4_path_is_ignored_and_a_good_one_completes_the_path() {
    let path = |as_path: &str, as4_path: &str| {
        let attributes = hex(&[ORIGIN, as_path, NEXT_HOP, as4_path].concat());
        let parsed = parse_update(&update(&[], &attributes, &hex(NLRI)), &OLD);
        (parsed.attributes.expect("routes").as_path, parsed.faults.len())
    };
    let sequence = |numbers: &[u32]| AsPath::sequence(numbers.iter().copied().map(Asn).collect());
    // 1 23456 3, of which the last two are known in full.
    let three = "40 02 08 02 03 00 01 5b a0 00 03";
    let two = "c0 11 0a 02 02 00 01 00 00 00 00 00 03";
    assert_eq!(path(three, two), (sequence(&[1, 65_536, 3]), 0));
    assert_eq!(path(three, "c0 11 03 02 01 00"), (sequence(&[1, 23_456, 3]), 1));
    // RFC 6793 section 4.2.3: longer than AS_PATH.
    assert_eq!(path("40 02 04 02 01 5b a0", two), (sequence(&[23_456]), 0));
}

#[test]
fn routes_of_other_families_are_left_out() {
    // VPN-IPv4 (RFC 4364), with something behind the next hop.
    let reach = "80 0e 08 00 01 80 00 00 01 02 03";
    let attributes = hex(&[ORIGIN, AS_PATH, reach].concat());
    let parsed = parse_update(&update(&[], &attributes, &[]), &MODERN);
    assert_eq!(parsed, UpdateMessage::default());
}

#[test]
fn of_an_attribute_of_an_extended_message_the_answer_has_as_much_as_fits() {
    let mut attribute = hex("50 c8 27 10");
    attribute.resize(4 + 10_000, 7);
    let error = parse(&update(&[], &attribute, &[]), &MODERN).expect_err("unknown, and not optional");
    let answer = error.notification().expect("an answer");
    assert_eq!(answer.data, attribute[..notification::MAX_DATA]);
    answer.emit(&mut Vec::new()).expect("it fits");
}

//! What this crate writes, the crate `netgauze-bgp-pkt` reads as the same, and the reverse.

use std::net::IpAddr;
use std::string::ToString;
use std::vec::Vec;

use herald_core::Family;
use ipnet::{Ipv4Net, Ipv6Net};
use netgauze_bgp_pkt as oracle;
use netgauze_bgp_pkt::capabilities as caps;
use netgauze_bgp_pkt::iana::RouteRefreshSubcode;
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::notification as notices;
use netgauze_bgp_pkt::open::{BgpOpenMessage, BgpOpenMessageParameter};
use netgauze_bgp_pkt::path_attribute as attrs;
use netgauze_bgp_pkt::path_attribute::{PathAttribute, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::{AddressFamily, AddressType};
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::{format, nlri, open, routes};
use super::*;
use crate::wire::notification::{CeaseSubcode, ErrorCode, FsmSubcode, HeaderSubcode, OpenSubcode};
use crate::wire::update::{Encoding, emit_end_of_rib, emit_reachable, emit_withdrawn};

/// Both directions: the oracle reads `bytes` as `expected`, and this crate reads what the oracle writes as it reads `bytes`.
fn compare(bytes: &[u8], expected: &oracle::BgpMessage, format: &UpdateFormat) {
    let mut context = BgpParsingContext::asn2_default();
    context.set_asn4(format.four_octet_as);
    let read = oracle::BgpMessage::parse(&mut SliceReader::new(bytes), &mut context)
        .unwrap_or_else(|error| panic!("the oracle refuses {bytes:02x?}: {error}"));
    assert_eq!(read, *expected, "{bytes:02x?}");
    let mut written = Vec::new();
    expected.write(&mut written).expect("a vector takes all");
    assert_eq!(parse(&written, format), parse(bytes, format), "{written:02x?}");
}

fn address_type(family: AfiSafi) -> AddressType {
    match family.family().expect("unicast") {
        Family::V4 => AddressType::Ipv4Unicast,
        Family::V6 => AddressType::Ipv6Unicast,
    }
}

fn capability(capability: &Capability) -> caps::BgpCapability {
    use caps::BgpCapability as Theirs;
    match capability {
        Capability::Multiprotocol(family) => Theirs::MultiProtocolExtensions(
            caps::MultiProtocolExtensionsCapability::new(address_type(*family)),
        ),
        Capability::RouteRefresh => Theirs::RouteRefresh,
        Capability::EnhancedRouteRefresh => Theirs::EnhancedRouteRefresh,
        Capability::ExtendedMessage => Theirs::ExtendedMessage,
        Capability::FourOctetAs(asn) => Theirs::FourOctetAs(caps::FourOctetAsCapability::new(asn.0)),
        Capability::ExtendedNextHop(encodings) => {
            let theirs: Vec<_> = encodings
                .iter()
                .map(|(family, afi)| {
                    let afi = AddressFamily::try_from(*afi).expect("IPv4 or IPv6");
                    caps::ExtendedNextHopEncoding::new(address_type(*family), afi)
                })
                .collect();
            Theirs::ExtendedNextHopEncoding(caps::ExtendedNextHopEncodingCapability::new(theirs))
        }
        Capability::GracefulRestart {
            restarted,
            notification,
            time,
            families,
        } => {
            let theirs: Vec<_> = families
                .iter()
                .map(|family| {
                    caps::GracefulRestartAddressFamily::new(family.forwarding, address_type(family.family))
                })
                .collect();
            Theirs::GracefulRestartCapability(caps::GracefulRestartCapability::new(
                *restarted,
                *notification,
                *time,
                theirs,
            ))
        }
        Capability::Unknown { code, value } => {
            Theirs::Unrecognized(caps::UnrecognizedCapability::new(*code, value.clone()))
        }
    }
}

fn v4(nlri: &Nlri) -> Ipv4UnicastAddress {
    let prefix = nlri.prefix();
    let IpAddr::V4(address) = prefix.address else {
        panic!("an IPv6 prefix");
    };
    let net = Ipv4Net::new(address, prefix.length).expect("a length of IPv4");
    Ipv4UnicastAddress::new_no_path_id(Ipv4Unicast::from_net(net).expect("unicast"))
}

fn v6(nlri: &Nlri) -> Ipv6UnicastAddress {
    let prefix = nlri.prefix();
    let IpAddr::V6(address) = prefix.address else {
        panic!("an IPv4 prefix");
    };
    let net = Ipv6Net::new(address, prefix.length).expect("a length of IPv6");
    Ipv6UnicastAddress::new(None, Ipv6Unicast::from_net(net).expect("unicast"))
}

fn segment(segment: &Segment) -> (attrs::AsPathSegmentType, Vec<u32>) {
    let kind = match segment.kind {
        SegmentKind::Set => attrs::AsPathSegmentType::AsSet,
        SegmentKind::Sequence => attrs::AsPathSegmentType::AsSequence,
        SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => panic!("not generated"),
    };
    (kind, segment.numbers.iter().map(|asn| asn.0).collect())
}

fn as4_segments(path: &AsPath) -> Vec<attrs::As4PathSegment> {
    let theirs = path.0.iter().map(segment);
    theirs
        .map(|(kind, numbers)| attrs::As4PathSegment::new(kind, numbers))
        .collect()
}

fn as2_segments(path: &AsPath) -> Vec<attrs::As2PathSegment> {
    let two = |number: u32| u16::try_from(number).unwrap_or(23_456);
    let theirs = path.0.iter().map(segment);
    theirs
        .map(|(kind, numbers)| {
            attrs::As2PathSegment::new(kind, numbers.into_iter().map(two).collect::<Vec<_>>())
        })
        .collect()
}

/// An attribute with the flags that the message has to have.
fn attribute(optional: bool, transitive: bool, extended: bool, value: PathAttributeValue) -> PathAttribute {
    PathAttribute::from(optional, transitive, false, extended, value).expect("the flags of its type")
}

fn reach(next_hop: NextHop, nlri: &[Nlri]) -> PathAttribute {
    let NextHop::V6 { global, link_local } = next_hop else {
        panic!("a next hop of the classic encoding");
    };
    let theirs = match nlri[0].family() {
        Family::V4 => attrs::MpReach::Ipv4Unicast {
            next_hop: global.into(),
            next_hop_local: link_local,
            nlri: nlri.iter().map(v4).collect(),
        },
        Family::V6 => attrs::MpReach::Ipv6Unicast {
            next_hop_global: global,
            next_hop_local: link_local,
            nlri: nlri.iter().map(v6).collect(),
        },
    };
    attribute(true, false, true, PathAttributeValue::MpReach(theirs))
}

/// The attributes that the specification (RFC 4271 section 5, RFC 6793, RFC 7606 section 5.1) asks for, in its order.
fn attributes(
    attributes: &PathAttributes,
    next_hop: NextHop,
    nlri: &[Nlri],
    format: &UpdateFormat,
) -> Vec<PathAttribute> {
    let mut all = Vec::new();
    let classic = match next_hop {
        NextHop::V4(address) => Some(address),
        NextHop::V6 { .. } => {
            all.push(reach(next_hop, nlri));
            None
        }
    };
    let origin = match attributes.origin {
        Origin::Igp => attrs::Origin::IGP,
        Origin::Egp => attrs::Origin::EGP,
        Origin::Incomplete => attrs::Origin::Incomplete,
    };
    all.push(attribute(false, true, false, PathAttributeValue::Origin(origin)));
    let as_path = if format.four_octet_as {
        attrs::AsPath::as4_path_segments(as4_segments(&attributes.as_path))
    } else {
        attrs::AsPath::as2_path_segments(as2_segments(&attributes.as_path))
    };
    all.push(attribute(false, true, false, PathAttributeValue::AsPath(as_path)));
    if let Some(address) = classic {
        let value = PathAttributeValue::NextHop(attrs::NextHop::new(address));
        all.push(attribute(false, true, false, value));
    }
    if let Some(med) = attributes.med {
        let value = PathAttributeValue::MultiExitDiscriminator(attrs::MultiExitDiscriminator::new(med));
        all.push(attribute(true, false, false, value));
    }
    if format.internal {
        let local_pref = attributes.local_pref.unwrap_or(100);
        let value = PathAttributeValue::LocalPreference(attrs::LocalPreference::new(local_pref));
        all.push(attribute(false, true, false, value));
    }
    if !attributes.communities.is_empty() {
        let theirs: Vec<_> = attributes
            .communities
            .iter()
            .map(|community| {
                oracle::community::Community::new(u32::from(community.0) << 16 | u32::from(community.1))
            })
            .collect();
        let is_extended = theirs.len() * 4 > 255;
        let value = PathAttributeValue::Communities(attrs::Communities::new(theirs));
        all.push(attribute(true, true, is_extended, value));
    }
    let has_large_number = |segment: &Segment| segment.numbers.iter().any(|asn| asn.0 > 65_535);
    if !format.four_octet_as && attributes.as_path.0.iter().any(has_large_number) {
        let path = attrs::As4Path::new(as4_segments(&attributes.as_path));
        all.push(attribute(true, true, false, PathAttributeValue::As4Path(path)));
    }
    if !attributes.large_communities.is_empty() {
        let theirs: Vec<_> = attributes
            .large_communities
            .iter()
            .map(|large| oracle::community::LargeCommunity::new(large.0, large.1, large.2))
            .collect();
        let is_extended = theirs.len() * 12 > 255;
        let value = PathAttributeValue::LargeCommunities(attrs::LargeCommunities::new(theirs));
        all.push(attribute(true, true, is_extended, value));
    }
    all
}

proptest! {
    #[test]
    fn it_reads_an_open_as_the_same(open in open(0..6)) {
        let mut bytes = Vec::new();
        open.emit(&mut bytes).expect("short");
        // It does not know RFC 9072.
        prop_assume!(bytes.get(28) != Some(&255));
        let theirs: Vec<_> = open.capabilities.iter().map(capability).collect();
        let parameters = if theirs.is_empty() {
            Vec::new()
        } else {
            std::vec![BgpOpenMessageParameter::new_capabilities(theirs)]
        };
        let hold_time = open.hold_time.duration().map_or(0, |time| time.as_secs());
        let expected = BgpOpenMessage::new(
            open.my_as,
            u16::try_from(hold_time).expect("16 bits"),
            open.identifier.to_string().parse().expect("an address"),
            parameters,
        );
        // Of several numbers it takes the last, this crate the first.
        if open.capabilities.iter().filter(|one| matches!(one, Capability::FourOctetAs(_))).count() <= 1 {
            prop_assert_eq!(open.asn(), Asn(expected.my_asn4()));
        }
        compare(&bytes, &oracle::BgpMessage::Open(expected), &MODERN);
    }

    #[test]
    fn it_reads_routes_as_the_same((ours, next_hop, nlri) in routes(), format in format()) {
        let mut bytes = Vec::new();
        let count = emit_reachable(&mut bytes, &ours, next_hop, &nlri, &format).expect("fits");
        let nlri = &nlri[..count];
        let classic: Vec<_> = match next_hop {
            NextHop::V4(_) => nlri.iter().map(v4).collect(),
            NextHop::V6 { .. } => Vec::new(),
        };
        let expected = BgpUpdateMessage::new(Vec::new(), attributes(&ours, next_hop, nlri, &format), classic);
        compare(&bytes, &oracle::BgpMessage::Update(expected), &format);
    }

    #[test]
    fn it_reads_withdrawals_as_the_same(
        four in vec(nlri(Family::V4), 1..50),
        six in vec(nlri(Family::V6), 1..50),
    ) {
        let unreach = |theirs| attribute(true, false, true, PathAttributeValue::MpUnreach(theirs));
        let of_four: Vec<_> = four.iter().map(v4).collect();
        let reach4 = attrs::MpUnreach::Ipv4Unicast { nlri: of_four.clone().into() };
        let reach6 = attrs::MpUnreach::Ipv6Unicast { nlri: six.iter().map(v6).collect() };
        let none = Vec::<PathAttribute>::new;
        for (encoding, nlri, expected) in [
            (Encoding::Ipv4, &four, BgpUpdateMessage::new(of_four, none(), Vec::new())),
            (
                Encoding::Multiprotocol(Family::V4),
                &four,
                BgpUpdateMessage::new(Vec::new(), std::vec![unreach(reach4)], Vec::new()),
            ),
            (
                Encoding::Multiprotocol(Family::V6),
                &six,
                BgpUpdateMessage::new(Vec::new(), std::vec![unreach(reach6)], Vec::new()),
            ),
        ] {
            let mut bytes = Vec::new();
            prop_assert_eq!(emit_withdrawn(&mut bytes, encoding, nlri, &MODERN), nlri.len());
            compare(&bytes, &oracle::BgpMessage::Update(expected), &MODERN);
        }
    }

    #[test]
    fn it_reads_a_shutdown_communication_as_the_same(text in ".{0,300}") {
        let ours = Notification::cease(CeaseSubcode::AdministrativeShutdown, &text);
        let mut bytes = Vec::new();
        ours.emit(&mut bytes).expect("short");
        let value = ours.data.clone().into();
        let expected = notices::CeaseError::AdministrativeShutdown { value };
        let expected = notices::BgpNotificationMessage::CeaseError(expected);
        compare(&bytes, &oracle::BgpMessage::Notification(expected), &MODERN);
    }
}

#[test]
fn it_reads_end_of_rib_as_the_same() {
    for (family, theirs) in [
        (Family::V4, AddressType::Ipv4Unicast),
        (Family::V6, AddressType::Ipv6Unicast),
    ] {
        let mut bytes = Vec::new();
        emit_end_of_rib(&mut bytes, family);
        let mut context = BgpParsingContext::default();
        let read = oracle::BgpMessage::parse(&mut SliceReader::new(&bytes), &mut context);
        let Ok(oracle::BgpMessage::Update(update)) = &read else {
            panic!("{read:?}");
        };
        assert_eq!(update.end_of_rib(), Some(theirs));
        compare(&bytes, &oracle::BgpMessage::Update(update.clone()), &MODERN);
    }
}

#[test]
fn it_reads_route_refreshes_and_keepalives_as_the_same() {
    for (subtype, theirs) in [
        (RefreshSubtype::Request, RouteRefreshSubcode::NormalRequest),
        (
            RefreshSubtype::Begin,
            RouteRefreshSubcode::BeginningOfRouteRefresh,
        ),
        (RefreshSubtype::End, RouteRefreshSubcode::EndOfRouteRefresh),
    ] {
        let family = AfiSafi::unicast(Family::V6);
        let mut bytes = Vec::new();
        RouteRefresh { family, subtype }.emit(&mut bytes);
        let expected = oracle::route_refresh::BgpRouteRefreshMessage::new(AddressType::Ipv6Unicast, theirs);
        compare(&bytes, &oracle::BgpMessage::RouteRefresh(expected), &MODERN);
    }
    let mut bytes = Vec::new();
    emit_keepalive(&mut bytes);
    compare(&bytes, &oracle::BgpMessage::KeepAlive, &MODERN);
}

#[test]
fn it_reads_errors_as_the_same() {
    use notices::BgpNotificationMessage as Theirs;
    let value = || std::boxed::Box::from([1, 2]);
    for (error, expected) in [
        (
            ErrorCode::MessageHeader(HeaderSubcode::BadMessageLength),
            Theirs::MessageHeaderError(notices::MessageHeaderError::BadMessageLength { value: value() }),
        ),
        (
            ErrorCode::Open(OpenSubcode::BadPeerAs),
            Theirs::OpenMessageError(notices::OpenMessageError::BadPeerAs { value: value() }),
        ),
        (
            ErrorCode::Open(OpenSubcode::UnacceptableHoldTime),
            Theirs::OpenMessageError(notices::OpenMessageError::UnacceptableHoldTime { value: value() }),
        ),
        (
            ErrorCode::HoldTimerExpired,
            Theirs::HoldTimerExpiredError(notices::HoldTimerExpiredError::Unspecific {
                sub_code: 0,
                value: value(),
            }),
        ),
        (
            ErrorCode::FiniteStateMachine(FsmSubcode::OpenConfirm),
            Theirs::FiniteStateMachineError(
                notices::FiniteStateMachineError::ReceiveUnexpectedMessageInOpenConfirmState {
                    value: value(),
                },
            ),
        ),
        (
            ErrorCode::Cease(CeaseSubcode::ConnectionCollision),
            Theirs::CeaseError(notices::CeaseError::ConnectionCollisionResolution { value: value() }),
        ),
        (
            ErrorCode::Cease(CeaseSubcode::HardReset),
            Theirs::CeaseError(notices::CeaseError::HardReset { value: value() }),
        ),
        (
            ErrorCode::Cease(CeaseSubcode::BfdDown),
            Theirs::CeaseError(notices::CeaseError::BfdDown { value: value() }),
        ),
    ] {
        let mut bytes = Vec::new();
        Notification::new(error, std::vec![1, 2])
            .emit(&mut bytes)
            .expect("short");
        compare(&bytes, &oracle::BgpMessage::Notification(expected), &MODERN);
    }
}

//! Any values of the messages that this crate sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use herald_core::Family;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::notification::{CeaseSubcode, ErrorCode};
use super::super::*;

pub(super) fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..65_536_u32, any::<u32>()].prop_map(Asn)
}

/// Unicast prefixes: the oracle refuses multicast ones.
pub(super) fn nlri(family: Family) -> BoxedStrategy<Nlri> {
    let prefix = |address: IpAddr, length| Nlri::new(address, length).expect("a length of the family");
    match family {
        Family::V4 => (0x0100_0000..0xe000_0000_u32, 8..=32_u8)
            .prop_map(move |(bits, length)| prefix(Ipv4Addr::from_bits(bits).into(), length))
            .boxed(),
        Family::V6 => (any::<u128>(), 0..=128_u8)
            .prop_map(move |(bits, length)| prefix(Ipv6Addr::from_bits(bits >> 1).into(), length))
            .boxed(),
    }
}

pub(super) fn next_hop_v6() -> impl Strategy<Value = NextHop> {
    (any::<Ipv6Addr>(), any::<Option<Ipv6Addr>>())
        .prop_map(|(global, link_local)| NextHop::V6 { global, link_local })
}

/// A family and a next hop that its prefixes can have.
pub(super) fn hop() -> impl Strategy<Value = (Family, NextHop)> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| (Family::V4, NextHop::V4(address))),
        next_hop_v6().prop_map(|next_hop| (Family::V4, next_hop)),
        next_hop_v6().prop_map(|next_hop| (Family::V6, next_hop)),
    ]
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![Just(SegmentKind::Set), Just(SegmentKind::Sequence)];
    let segment = (kind, vec(asn(), 1..5)).prop_map(|(kind, numbers)| Segment { kind, numbers });
    prop_oneof![
        vec(asn(), 0..3).prop_map(AsPath::sequence),
        vec(segment, 0..4).prop_map(AsPath),
    ]
}

pub(super) fn attributes() -> impl Strategy<Value = PathAttributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let community = any::<(u16, u16)>().prop_map(|(a, b)| Community(a, b));
    let large = any::<(u32, u32, u32)>().prop_map(|(a, b, c)| LargeCommunity(a, b, c));
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>());
    // More than 63 communities need the extended length.
    let communities = (vec(community, 0..80), vec(large, 0..30));
    (origin, as_path(), numbers, communities).prop_map(|(origin, as_path, numbers, communities)| {
        PathAttributes {
            origin,
            as_path,
            med: numbers.0,
            local_pref: numbers.1,
            communities: communities.0,
            large_communities: communities.1,
        }
    })
}

/// A route's attributes, next hop and prefixes.
pub(super) fn routes() -> impl Strategy<Value = (PathAttributes, NextHop, Vec<Nlri>)> {
    (attributes(), hop()).prop_flat_map(|(attributes, (family, next_hop))| {
        (Just(attributes), Just(next_hop), vec(nlri(family), 1..60))
    })
}

pub(super) fn format() -> impl Strategy<Value = UpdateFormat> {
    (
        any::<bool>(),
        prop_oneof![Just(MAX_LENGTH), Just(EXTENDED_MAX_LENGTH)],
        any::<bool>(),
    )
        .prop_map(|(four_octet_as, max_length, internal)| UpdateFormat {
            four_octet_as,
            max_length,
            internal,
        })
}

pub(super) fn family() -> impl Strategy<Value = AfiSafi> {
    prop_oneof![Just(Family::V4), Just(Family::V6)].prop_map(AfiSafi::unicast)
}

pub(super) fn capability() -> impl Strategy<Value = Capability> {
    let restart_family =
        (family(), any::<bool>()).prop_map(|(family, forwarding)| RestartFamily { family, forwarding });
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::ExtendedMessage),
        asn().prop_map(Capability::FourOctetAs),
        vec((family(), 1..=2_u16), 0..3).prop_map(Capability::ExtendedNextHop),
        (
            any::<bool>(),
            any::<bool>(),
            0..4096_u16,
            vec(restart_family, 0..3)
        )
            .prop_map(
                |(restarted, notification, time, families)| Capability::GracefulRestart {
                    restarted,
                    notification,
                    time,
                    families,
                }
            ),
        // 100 to 127 is not assigned.
        (100..128_u8, vec(any::<u8>(), 0..40)).prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

pub(super) fn open(capabilities: std::ops::Range<usize>) -> impl Strategy<Value = Open> {
    let hold_time = (3..=u16::MAX).prop_map(|seconds| HoldTime::new(seconds).expect("at least 3"));
    // The oracle refuses identifiers that are no unicast addresses.
    let identifier = (1..0xe000_0000_u32)
        .prop_map(|bits| BgpIdentifier::new(Ipv4Addr::from_bits(bits)).expect("not zero"));
    let hold_time = prop_oneof![Just(HoldTime::NONE), hold_time];
    (
        any::<u16>(),
        hold_time,
        identifier,
        vec(capability(), capabilities),
    )
        .prop_map(|(my_as, hold_time, identifier, capabilities)| Open {
            my_as,
            hold_time,
            identifier,
            capabilities,
        })
}

pub(super) fn notification() -> impl Strategy<Value = Notification> {
    let cease = (prop::sample::select(CeaseSubcode::ALL), ".{0,300}")
        .prop_map(|(subcode, text)| Notification::cease(subcode, &text));
    let other = (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..100))
        .prop_map(|(code, subcode, data)| Notification::new(ErrorCode::of(code, subcode), data));
    prop_oneof![
        cease.clone(),
        cease.prop_map(Notification::into_hard_reset),
        other
    ]
}

//! The profile of a member, the part of a report that the first versions did not have.
//!
//! ```text
//! flaps: u8 | unresponsive: u8 | unresponsive x tag: u32 | subnets: u8, 255 for too many | subnets x ( length: u8 | network )
//!     | interfaces: u8, 255 for too many | interfaces x tag: u32 | features: u32
//!     | IPv6 interfaces: u8, 255 for too many | IPv6 interfaces x tag: u32
//! ```
//!
//! The length of an IPv6 prefix has its highest bit set, and a length of 128 is encoded as 127; a network has as many bytes
//! as its length needs. Versions that do not know the profile ignore it, and this version ignores what follows the profile.
//! Interfaces, then features and the interfaces with a link-local IPv6 address were added later than the rest: a profile may end
//! before each of them. That counts as too many interfaces and as no features.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use herald_core::name::tag;
use herald_core::{Features, Prefix, Profile};

/// Unresponsive nodes in a profile.
pub const MAX_UNRESPONSIVE: usize = 4;

/// Subnets in a profile; a node with more reports that it is in all subnets.
pub const MAX_SUBNETS: usize = 16;

/// Interfaces in a profile; a node with more reports that it has all interfaces.
pub const MAX_INTERFACES: usize = 32;

/// Bytes of the features.
const FEATURES: usize = 4;

/// Bytes of the largest profile with neither subnets nor interfaces.
pub const MIN_ROOM: usize = 1 + 1 + 4 * MAX_UNRESPONSIVE + 1 + 1 + FEATURES + 1;

const TOO_MANY: u8 = u8::MAX;

/// Returns the subnets in the form of a profile: each once, in order, by its first address; `None` if they are too many.
pub fn subnets(prefixes: impl IntoIterator<Item = Prefix>) -> Option<Vec<Prefix>> {
    let mut subnets: Vec<Prefix> = prefixes.into_iter().map(network).collect();
    subnets.sort_unstable();
    subnets.dedup();
    (subnets.len() <= MAX_SUBNETS).then_some(subnets)
}

/// Returns the interfaces with these names in the form of a profile; `None` if they are too many.
pub fn interfaces<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Vec<u32>> {
    let mut tags: Vec<u32> = names.into_iter().map(tag).collect();
    tags.sort_unstable();
    tags.dedup();
    (tags.len() <= MAX_INTERFACES).then_some(tags)
}

/// Emits the bytes that [`parse`] takes, at most `room`, which is [`MIN_ROOM`] at least. Subnets for which there is no room
/// count as too many, and so do interfaces.
pub fn emit(profile: &Profile, room: usize) -> Vec<u8> {
    let unresponsive = &profile.unresponsive[..profile.unresponsive.len().min(MAX_UNRESPONSIVE)];
    let mut bytes = vec![profile.flaps, unresponsive.len() as u8];
    bytes.extend(unresponsive.iter().flat_map(|tag| tag.to_be_bytes()));
    let subnets = profile.subnets.as_ref();
    let subnets = subnets.filter(|subnets| subnets.len() <= MAX_SUBNETS);
    let subnets = subnets.map(|subnets| (subnets.len(), subnets.iter().flat_map(emit_subnet).collect()));
    append(&mut bytes, subnets, room - 1 - FEATURES - 1);
    append(
        &mut bytes,
        emit_tags(profile.interfaces.as_ref()),
        room - FEATURES - 1,
    );
    bytes.extend(profile.features.bits().to_be_bytes());
    append(&mut bytes, emit_tags(profile.ipv6_interfaces.as_ref()), room);
    bytes
}

fn emit_tags(tags: Option<&Vec<u32>>) -> Option<(usize, Vec<u8>)> {
    let tags = tags.filter(|tags| tags.len() <= MAX_INTERFACES)?;
    Some((
        tags.len(),
        tags.iter().flat_map(|tag| tag.to_be_bytes()).collect(),
    ))
}

/// Appends the length of a list and the list, or the mark for too many if there is no room.
fn append(bytes: &mut Vec<u8>, list: Option<(usize, Vec<u8>)>, room: usize) {
    match list.filter(|(_, encoded)| bytes.len() + 1 + encoded.len() <= room) {
        Some((count, encoded)) => {
            bytes.push(count as u8);
            bytes.extend(encoded);
        }
        None => bytes.push(TOO_MANY),
    }
}

/// Parses what [`emit`] returned; `None` if it is malformed.
pub fn parse(bytes: &[u8]) -> Option<Profile> {
    let mut bytes = bytes.iter().copied();
    let flaps = bytes.next()?;
    let count = bytes
        .next()
        .filter(|count| usize::from(*count) <= MAX_UNRESPONSIVE)?;
    let unresponsive = tags(&mut bytes, count)?;
    let subnets = match bytes.next()? {
        TOO_MANY => None,
        count if usize::from(count) <= MAX_SUBNETS => Some(
            (0..count)
                .map(|_| parse_subnet(&mut bytes))
                .collect::<Option<Vec<Prefix>>>()?,
        ),
        _ => return None,
    };
    let interfaces = parse_tags(&mut bytes)?;
    let features = match bytes.len() {
        0 => Features::NONE,
        _ => Features::from_bits(u32::from_be_bytes(take(&mut bytes, FEATURES)?)),
    };
    let ipv6_interfaces = parse_tags(&mut bytes)?;
    Some(Profile {
        subnets,
        flaps,
        unresponsive,
        interfaces,
        features,
        ipv6_interfaces,
    })
}

/// Parses the interfaces, which a profile may end before; `None` if they are malformed.
fn parse_tags(bytes: &mut impl Iterator<Item = u8>) -> Option<Option<Vec<u32>>> {
    match bytes.next() {
        None | Some(TOO_MANY) => Some(None),
        Some(count) if usize::from(count) <= MAX_INTERFACES => tags(bytes, count).map(Some),
        Some(_) => None,
    }
}

fn tags(bytes: &mut impl Iterator<Item = u8>, count: u8) -> Option<Vec<u32>> {
    (0..count)
        .map(|_| take(bytes, 4).map(u32::from_be_bytes))
        .collect()
}

/// Emits a prefix: the highest bit of the first byte separates IPv6 from IPv4, whose lengths end at 32.
fn emit_subnet(prefix: &Prefix) -> Vec<u8> {
    let used = usize::from(prefix.length.div_ceil(8));
    match network(*prefix).address {
        IpAddr::V4(v4) => [&[prefix.length][..], &v4.octets()[..used]].concat(),
        IpAddr::V6(v6) if prefix.length == 128 => [&[V6 | FULL][..], &v6.octets()].concat(),
        IpAddr::V6(v6) => [&[V6 | prefix.length][..], &v6.octets()[..used]].concat(),
    }
}

const V6: u8 = 128;
/// Encodes a length of 128, which seven bits cannot hold; no subnet with clients has a prefix of 127 bits.
const FULL: u8 = 127;

fn parse_subnet(bytes: &mut impl Iterator<Item = u8>) -> Option<Prefix> {
    let head = bytes.next()?;
    let prefix = if head < V6 {
        let length = Some(head).filter(|length| *length <= 32)?;
        let octets: [u8; 4] = take(bytes, usize::from(length.div_ceil(8)))?;
        Prefix {
            address: octets.into(),
            length,
        }
    } else {
        let length = match head & !V6 {
            FULL => 128,
            length => length,
        };
        let octets: [u8; 16] = take(bytes, usize::from(length.div_ceil(8)))?;
        Prefix {
            address: octets.into(),
            length,
        }
    };
    Some(network(prefix))
}

/// Takes the next `count` bytes and fills up with zeroes.
fn take<const N: usize>(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<[u8; N]> {
    let mut taken = [0; N];
    for place in taken.get_mut(..count)? {
        *place = bytes.next()?;
    }
    Some(taken)
}

/// Returns the same subnet by its first address.
fn network(prefix: Prefix) -> Prefix {
    let length = u32::from(prefix.length);
    let address = match prefix.address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    };
    Prefix { address, ..prefix }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let v4 = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(octets, length)| (IpAddr::from(octets), length));
        let lengths = prop_oneof![0_u8..=126, Just(128)];
        let v6 = (any::<[u8; 16]>(), lengths).prop_map(|(octets, length)| (IpAddr::from(octets), length));
        prop_oneof![v4, v6].prop_map(|(address, length)| Prefix { address, length })
    }

    pub(in super::super) fn any_profile() -> impl Strategy<Value = Profile> {
        let subnets = proptest::option::of(proptest::collection::vec(any_prefix(), 0..=MAX_SUBNETS));
        let unresponsive = proptest::collection::vec(any::<u32>(), 0..=MAX_UNRESPONSIVE);
        let interfaces = || proptest::option::of(proptest::collection::vec(any::<u32>(), 0..=MAX_INTERFACES));
        let features = any::<u32>().prop_map(Features::from_bits);
        let lists = (subnets, interfaces(), interfaces());
        (lists, any::<u8>(), unresponsive, features).prop_map(
            |((prefixes, interfaces, ipv6_interfaces), flaps, unresponsive, features)| Profile {
                subnets: prefixes.and_then(super::subnets),
                flaps,
                unresponsive,
                interfaces,
                features,
                ipv6_interfaces,
            },
        )
    }

    proptest! {
        #[test]
        fn an_emitted_profile_parses_to_the_same_whatever_follows(profile in any_profile(), more: Vec<u8>) {
            let mut bytes = emit(&profile, usize::MAX);
            bytes.extend(more);
            prop_assert_eq!(parse(&bytes), Some(profile));
        }

        #[test]
        fn lists_that_do_not_fit_count_as_too_many(profile in any_profile(), room in MIN_ROOM..400) {
            let bytes = emit(&profile, room);
            prop_assert!(bytes.len() <= room);
            let parsed = parse(&bytes).expect("well-formed");
            let expected = Profile {
                subnets: profile.subnets.clone().filter(|_| parsed.subnets.is_some()),
                interfaces: profile.interfaces.clone().filter(|_| parsed.interfaces.is_some()),
                ipv6_interfaces: profile.ipv6_interfaces.clone().filter(|_| parsed.ipv6_interfaces.is_some()),
                ..profile
            };
            prop_assert_eq!(parsed, expected);
        }

        #[test]
        fn a_truncated_profile_is_refused(profile in any_profile(), cut: prop::sample::Index) {
            let bytes = emit(&profile, usize::MAX);
            let cut = cut.index(bytes.len());
            let third = Profile { ipv6_interfaces: None, ..profile };
            let second = Profile { features: Features::NONE, ..third.clone() };
            let first = Profile { interfaces: None, ..second.clone() };
            // Cut before the features or one of the lists of interfaces, it is a profile of a version that had none.
            let ends = [
                (emit(&first, usize::MAX).len() - 1 - FEATURES - 1, first),
                (emit(&second, usize::MAX).len() - FEATURES - 1, second),
                (emit(&third, usize::MAX).len() - 1, third),
            ];
            let expected = ends.into_iter().find(|(end, _)| *end == cut).map(|(_, profile)| profile);
            prop_assert_eq!(parse(&bytes[..cut]), expected);
        }

        #[test]
        fn parsing_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _parsed = parse(&bytes);
        }
    }

    #[test]
    fn each_subnet_is_listed_once_and_too_many_are_not_listed() {
        let prefix = |address: [u8; 4]| Prefix {
            address: address.into(),
            length: 24,
        };
        let listed = subnets([
            prefix([192, 0, 2, 9]),
            prefix([10, 0, 0, 1]),
            prefix([192, 0, 2, 7]),
        ]);
        assert_eq!(listed, Some(vec![prefix([10, 0, 0, 0]), prefix([192, 0, 2, 0])]));
        assert_eq!(subnets((0..17).map(|i| prefix([10, 0, i, 0]))), None);
        let names: Vec<String> = (0..33).map(|i| format!("eth{i}")).collect();
        let listed =
            |count: usize| interfaces(names[..count].iter().map(String::as_str)).map(|tags| tags.len());
        assert_eq!((listed(0), listed(32), listed(33)), (Some(0), Some(32), None));
    }
}

//! Where a member stands and how it has fared, the part of a report that the first versions did not have.
//!
//! ```text
//! returns: u8 | silent: u8 | silent x tag: u32 | legs: u8, 255 for too many | legs x ( length: u8 | network )
//!     | interfaces: u8, 255 for too many | interfaces x tag: u32
//! ```
//!
//! The length of an IPv6 prefix has its highest bit set, and a length of 128 is told as 127; a network has as many bytes as its length needs. Readers of a version that
//! does not know of this leave it alone, and so must readers of this version leave alone what follows. The interfaces came
//! later than the rest: a profile may end before them, which counts as too many.

use std::net::IpAddr;

use herald_core::name::tag;
use herald_core::{Prefix, Profile};

/// Silent nodes in a profile.
pub const MAX_SILENT: usize = 4;

/// Subnets in a profile; a node with more says that it has a leg everywhere.
pub const MAX_LEGS: usize = 16;

/// Interfaces in a profile; a node with more says that it has all.
pub const MAX_INTERFACES: usize = 32;

/// Bytes of the largest profile that names neither subnets nor interfaces.
pub const MIN_ROOM: usize = 1 + 1 + 4 * MAX_SILENT + 1 + 1;

const TOO_MANY: u8 = u8::MAX;

/// The subnets as they travel: each once, in order, by its first address; `None` if they are too many.
pub fn legs(prefixes: impl IntoIterator<Item = Prefix>) -> Option<Vec<Prefix>> {
    let mut legs: Vec<Prefix> = prefixes.into_iter().map(first).collect();
    legs.sort_unstable();
    legs.dedup();
    (legs.len() <= MAX_LEGS).then_some(legs)
}

/// The interfaces as they travel, by their names: `None` if they are too many.
pub fn interfaces<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Vec<u32>> {
    let mut tags: Vec<u32> = names.into_iter().map(tag).collect();
    tags.sort_unstable();
    tags.dedup();
    (tags.len() <= MAX_INTERFACES).then_some(tags)
}

/// The bytes that [`parse`] reads, at most `room`, which is [`MIN_ROOM`] at least. Subnets for which there is no room are
/// too many, and so are interfaces.
pub fn emit(profile: &Profile, room: usize) -> Vec<u8> {
    let silent = &profile.unresponsive[..profile.unresponsive.len().min(MAX_SILENT)];
    let mut bytes = vec![profile.flaps, silent.len() as u8];
    bytes.extend(silent.iter().flat_map(|tag| tag.to_be_bytes()));
    let legs = profile.subnets.as_ref().filter(|legs| legs.len() <= MAX_LEGS);
    let legs = legs.map(|legs| (legs.len(), legs.iter().flat_map(leg).collect()));
    append(&mut bytes, legs, room - 1);
    let tags = profile
        .interfaces
        .as_ref()
        .filter(|tags| tags.len() <= MAX_INTERFACES);
    let tags = tags.map(|tags| {
        (
            tags.len(),
            tags.iter().flat_map(|tag| tag.to_be_bytes()).collect(),
        )
    });
    append(&mut bytes, tags, room);
    bytes
}

/// Appends a list, its length first, or that it is too long for `room`.
fn append(bytes: &mut Vec<u8>, list: Option<(usize, Vec<u8>)>, room: usize) {
    match list.filter(|(_, encoded)| bytes.len() + 1 + encoded.len() <= room) {
        Some((count, encoded)) => {
            bytes.push(count as u8);
            bytes.extend(encoded);
        }
        None => bytes.push(TOO_MANY),
    }
}

/// Reads what [`emit`] wrote; `None` if it makes no sense.
pub fn parse(bytes: &[u8]) -> Option<Profile> {
    let mut bytes = bytes.iter().copied();
    let returns = bytes.next()?;
    let count = bytes.next().filter(|count| usize::from(*count) <= MAX_SILENT)?;
    let silent = tags(&mut bytes, count)?;
    let legs = match bytes.next()? {
        TOO_MANY => None,
        count if usize::from(count) <= MAX_LEGS => Some(
            (0..count)
                .map(|_| read_leg(&mut bytes))
                .collect::<Option<Vec<Prefix>>>()?,
        ),
        _ => return None,
    };
    let interfaces = match bytes.next() {
        None | Some(TOO_MANY) => None,
        Some(count) if usize::from(count) <= MAX_INTERFACES => Some(tags(&mut bytes, count)?),
        Some(_) => return None,
    };
    Some(Profile {
        subnets: legs,
        flaps: returns,
        unresponsive: silent,
        interfaces,
    })
}

fn tags(bytes: &mut impl Iterator<Item = u8>, count: u8) -> Option<Vec<u32>> {
    (0..count)
        .map(|_| take(bytes, 4).map(u32::from_be_bytes))
        .collect()
}

/// An IPv4 prefix has a length up to 32, an IPv6 one is told by the highest bit.
fn leg(prefix: &Prefix) -> Vec<u8> {
    let used = usize::from(prefix.length.div_ceil(8));
    match first(*prefix).address {
        IpAddr::V4(v4) => [&[prefix.length][..], &v4.octets()[..used]].concat(),
        IpAddr::V6(v6) if prefix.length == 128 => [&[V6 | FULL][..], &v6.octets()].concat(),
        IpAddr::V6(v6) => [&[V6 | prefix.length][..], &v6.octets()[..used]].concat(),
    }
}

const V6: u8 = 128;
/// Stands for a length of 128, which seven bits cannot hold; no prefix of 127 bits gives its node a subnet of clients.
const FULL: u8 = 127;

fn read_leg(bytes: &mut impl Iterator<Item = u8>) -> Option<Prefix> {
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
    Some(first(prefix))
}

/// The next `count` bytes, and zeroes behind them.
fn take<const N: usize>(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<[u8; N]> {
    let mut taken = [0; N];
    for place in taken.get_mut(..count)? {
        *place = bytes.next()?;
    }
    Some(taken)
}

/// The same subnet by its first address.
fn first(prefix: Prefix) -> Prefix {
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
    use proptest::prelude::*;

    use super::*;

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        let v4 = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(octets, length)| (IpAddr::from(octets), length));
        let lengths = prop_oneof![0_u8..=126, Just(128)];
        let v6 = (any::<[u8; 16]>(), lengths).prop_map(|(octets, length)| (IpAddr::from(octets), length));
        prop_oneof![v4, v6].prop_map(|(address, length)| Prefix { address, length })
    }

    pub(in super::super) fn any_profile() -> impl Strategy<Value = Profile> {
        let legs = proptest::option::of(proptest::collection::vec(any_prefix(), 0..=MAX_LEGS));
        let silent = proptest::collection::vec(any::<u32>(), 0..=MAX_SILENT);
        let interfaces = proptest::option::of(proptest::collection::vec(any::<u32>(), 0..=MAX_INTERFACES));
        (legs, any::<u8>(), silent, interfaces).prop_map(|(prefixes, returns, silent, interfaces)| Profile {
            subnets: prefixes.and_then(super::legs),
            flaps: returns,
            unresponsive: silent,
            interfaces,
        })
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_back_whatever_follows(profile in any_profile(), more: Vec<u8>) {
            let mut bytes = emit(&profile, usize::MAX);
            bytes.extend(more);
            prop_assert_eq!(parse(&bytes), Some(profile));
        }

        #[test]
        fn what_does_not_fit_is_too_much_to_tell(profile in any_profile(), room in MIN_ROOM..400) {
            let bytes = emit(&profile, room);
            prop_assert!(bytes.len() <= room);
            let read = parse(&bytes).expect("reads");
            let told = Profile {
                subnets: profile.subnets.clone().filter(|_| read.subnets.is_some()),
                interfaces: profile.interfaces.clone().filter(|_| read.interfaces.is_some()),
                ..profile
            };
            prop_assert_eq!(read, told);
        }

        #[test]
        fn a_profile_cut_short_is_refused(profile in any_profile(), cut: prop::sample::Index) {
            let bytes = emit(&profile, usize::MAX);
            let cut = cut.index(bytes.len());
            let before = Profile { interfaces: None, ..profile };
            // Cut before the interfaces it is one of the version that knew nothing of them.
            let whole = emit(&before, usize::MAX).len() - 1;
            prop_assert_eq!(parse(&bytes[..cut]), (cut == whole).then_some(before));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _read = parse(&bytes);
        }
    }

    #[test]
    fn each_subnet_is_told_once_and_too_many_are_not_told() {
        let prefix = |address: [u8; 4]| Prefix {
            address: address.into(),
            length: 24,
        };
        let told = legs([
            prefix([192, 0, 2, 9]),
            prefix([10, 0, 0, 1]),
            prefix([192, 0, 2, 7]),
        ]);
        assert_eq!(told, Some(vec![prefix([10, 0, 0, 0]), prefix([192, 0, 2, 0])]));
        assert_eq!(legs((0..17).map(|i| prefix([10, 0, i, 0]))), None);
        let names: Vec<String> = (0..33).map(|i| format!("eth{i}")).collect();
        let told =
            |count: usize| interfaces(names[..count].iter().map(String::as_str)).map(|tags| tags.len());
        assert_eq!((told(0), told(32), told(33)), (Some(0), Some(32), None));
    }
}

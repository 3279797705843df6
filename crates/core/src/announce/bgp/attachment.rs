//! Which advertisements are used for a pool on a node.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::address::AddressRange;
use crate::config::Pool;
use crate::config::bgp::BgpAdvertisement;
use crate::{Family, Labels};

/// The reason why an advertisement is not used for a pool on a node, although it selects both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unattached {
    /// Its prefixes would be wider than the entries of the pool, and attract traffic for addresses outside of it.
    #[error(
        "invalid aggregation length {length}: prefix {longest} in this pool is more specific than the aggregation length for addresses {entry}"
    )]
    WiderThanPool {
        /// The aggregation length.
        length: u8,
        /// The length of the widest prefix of the entry.
        longest: u8,
        /// The entry of the pool.
        entry: AddressRange,
    },
    /// An older advertisement says another LOCAL_PREF for the same routes.
    #[error(
        "invalid local preference: the older BGPAdvertisement {0:?} has another one for the same routes; give both the same localPref, or different peers, nodes, pools or aggregation lengths"
    )]
    LocalPref(String),
}

/// Returns the places of the advertisements that are used for a pool on a node with these labels, oldest first, and the others that
/// select both.
pub fn attach<'a>(
    advertisements: &'a [BgpAdvertisement],
    pool: &Pool,
    labels: &Labels,
) -> (Vec<usize>, Vec<(&'a BgpAdvertisement, Unattached)>) {
    let scope = |(_, advertisement): &(usize, &BgpAdvertisement)| {
        advertisement.scope.selects_pool(pool) && advertisement.scope.selects_node(labels)
    };
    let mut selecting: Vec<_> = advertisements.iter().enumerate().filter(scope).collect();
    selecting.sort_by_key(|(_, advertisement)| (advertisement.created, &advertisement.name));
    let mut used = Vec::new();
    let mut others = Vec::new();
    for (place, advertisement) in selecting {
        let contradicts = |older: &&BgpAdvertisement| {
            is_unconditional(older, advertisement) && contradicts(older, advertisement, pool)
        };
        let contradicted = used
            .iter()
            .map(|place: &usize| &advertisements[*place])
            .find(contradicts);
        let contradicted = contradicted.map(|older| Unattached::LocalPref(older.name.clone()));
        match wider_than_pool(advertisement, pool).or(contradicted) {
            None => used.push(place),
            Some(reason) => others.push((advertisement, reason)),
        }
    }
    (used, others)
}

/// Returns two advertisements that say different LOCAL_PREFs for the same routes, if there are any.
pub(super) fn contradiction<'a>(
    advertisements: &[&'a BgpAdvertisement],
    pool: &Pool,
) -> Option<(&'a BgpAdvertisement, &'a BgpAdvertisement)> {
    let mut pairs = advertisements.iter().enumerate().flat_map(|(place, one)| {
        let others = advertisements[place + 1..].iter();
        others.map(move |other| (*one, *other))
    });
    pairs.find(|(one, other)| contradicts(one, other, pool))
}

fn is_unconditional(one: &BgpAdvertisement, other: &BgpAdvertisement) -> bool {
    one.scope.service_selectors.is_empty() && other.scope.service_selectors.is_empty()
}

/// Both are for the same pool and node.
fn contradicts(one: &BgpAdvertisement, other: &BgpAdvertisement, pool: &Pool) -> bool {
    let has = |family| {
        pool.addresses
            .ranges()
            .iter()
            .any(|range| range.family() == family)
    };
    let same_routes = |family| has(family) && one.length(family) == other.length(family);
    let same_peers = one.peers.is_empty() || other.peers.is_empty() || !one.peers.is_disjoint(&other.peers);
    one.local_pref != other.local_pref && same_peers && (same_routes(Family::V4) || same_routes(Family::V6))
}

fn wider_than_pool(advertisement: &BgpAdvertisement, pool: &Pool) -> Option<Unattached> {
    pool.addresses.ranges().iter().find_map(|entry| {
        let length = advertisement.length(entry.family());
        let longest = widest_prefix(entry);
        let entry = *entry;
        (longest > length).then_some(Unattached::WiderThanPool {
            length,
            longest,
            entry,
        })
    })
}

/// Returns the length of the widest prefix in a range.
fn widest_prefix(range: &AddressRange) -> u8 {
    let (first, last, width) = match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits().into(), last.to_bits().into(), 32),
        (first, last) => (bits(first), bits(last), 128),
    };
    let contains_prefix = |length: &u8| {
        let Some(size) = 1_u128.checked_shl(u32::from(width - length)) else {
            return first == 0 && last == u128::MAX;
        };
        let start = first.checked_next_multiple_of(size);
        start.is_some_and(|start| start <= last && last - start >= size - 1)
    };
    (0..width).find(contains_prefix).unwrap_or(width)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_prefix_of_a_range_is_found() {
        for (range, expected) in [
            ("10.0.0.0/24", 24),
            ("10.0.0.1-10.0.0.1", 32),
            ("10.0.0.128-10.0.1.5", 25),
            ("10.0.0.1-10.0.0.2", 32),
            ("10.0.0.1-10.0.0.3", 31),
            ("0.0.0.0/0", 0),
            ("255.255.255.255-255.255.255.255", 32),
            ("fc00::/64", 64),
            ("fc00::1-fc00::1", 128),
            ("::/0", 0),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                127,
            ),
        ] {
            let range: AddressRange = range.parse().expect("a range");
            assert_eq!(widest_prefix(&range), expected, "{range}");
        }
    }
}

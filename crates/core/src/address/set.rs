//! The addresses of a pool: disjoint ranges in the order in which the user wrote them.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::{AddressRange, address, bits, is_buggy};
use crate::Family;

/// Disjoint ranges of both families. Each address has a position within its family, counted through the ranges in their
/// order: Services get the free address with the lowest position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressSet {
    ranges: Vec<AddressRange>,
    v4: Layout,
    v6: Layout,
}

/// The number of addresses of each family, at most [`Capacity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// The number of IPv4 addresses.
    pub v4: u128,
    /// The number of IPv6 addresses.
    pub v6: u128,
}

impl Capacity {
    /// The highest number that is counted: the greatest signed number of 64 bits, as in MetalLB.
    pub const MAX: u128 = i64::MAX as u128;

    /// Returns the number of addresses of one family.
    pub const fn of(&self, family: Family) -> u128 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Returns the number of addresses of both families.
    pub const fn total(&self) -> u128 {
        let sum = self.v4 + self.v6;
        if sum < Self::MAX { sum } else { Self::MAX }
    }
}

/// Two ranges that have addresses in common, by their places in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The place of the earlier range.
    pub earlier: usize,
    /// The place of the later range.
    pub later: usize,
}

/// The ranges of one family, in order of position and in order of address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Layout {
    by_position: Vec<Run>,
    by_address: Vec<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Position of `first`.
    start: u128,
    first: u128,
    last: u128,
}

impl AddressSet {
    /// Creates a set of ranges in the user's order.
    ///
    /// # Errors
    /// Every range that overlaps an earlier one, with the first such earlier range.
    pub fn new(ranges: Vec<AddressRange>) -> Result<Self, Vec<Overlap>> {
        let overlaps = overlaps(&ranges);
        if !overlaps.is_empty() {
            return Err(overlaps);
        }
        let layout = |family| Layout::new(ranges.iter().filter(|range| range.family() == family));
        Ok(Self {
            v4: layout(Family::V4),
            v6: layout(Family::V6),
            ranges,
        })
    }

    /// Returns the ranges in the user's order.
    pub fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Returns whether `address` is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.position(address).is_some()
    }

    /// Returns the position of `address` among the addresses of its family.
    pub fn position(&self, address: IpAddr) -> Option<u128> {
        self.layout(Family::of(address)).position(bits(address))
    }

    /// Returns the address of `family` at `position`.
    pub fn at(&self, family: Family, position: u128) -> Option<IpAddr> {
        let bits = self.layout(family).at(position)?;
        Some(address(family, bits))
    }

    /// Returns the highest position of `family`; `None` if the set has no address of it.
    pub fn last_position(&self, family: Family) -> Option<u128> {
        let run = self.layout(family).by_position.last()?;
        Some(run.start + (run.last - run.first))
    }

    /// Returns the number of addresses; with `avoid_buggy` without those for which [`is_buggy`] is true.
    pub fn capacity(&self, avoid_buggy: bool) -> Capacity {
        let mut capacity = Capacity::default();
        for range in &self.ranges {
            let usable = if range.is_huge() {
                Capacity::MAX
            } else {
                range.size() - if avoid_buggy { range.buggy() } else { 0 }
            };
            let sum = match range.family() {
                Family::V4 => &mut capacity.v4,
                Family::V6 => &mut capacity.v6,
            };
            *sum = sum.saturating_add(usable).min(Capacity::MAX);
        }
        capacity
    }

    /// Returns whether `address` is in the set and may be given out.
    pub fn owns(&self, address: IpAddr, avoid_buggy: bool) -> bool {
        self.contains(address) && !(avoid_buggy && is_buggy(address))
    }

    const fn layout(&self, family: Family) -> &Layout {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl Layout {
    fn new<'a>(ranges: impl Iterator<Item = &'a AddressRange>) -> Self {
        let mut start = 0;
        let mut by_position = Vec::new();
        for range in ranges {
            by_position.push(Run {
                start,
                first: range.first,
                last: range.last,
            });
            // Only the range of all addresses of a family can wrap, and then it is the only one.
            start = start.wrapping_add(range.last - range.first).wrapping_add(1);
        }
        let mut by_address = by_position.clone();
        by_address.sort_by_key(|run| run.first);
        Self {
            by_position,
            by_address,
        }
    }

    fn position(&self, bits: u128) -> Option<u128> {
        let after = self.by_address.partition_point(|run| run.first <= bits);
        let run = self.by_address[..after].last()?;
        (bits <= run.last).then(|| run.start + (bits - run.first))
    }

    fn at(&self, position: u128) -> Option<u128> {
        let after = self.by_position.partition_point(|run| run.start <= position);
        let run = self.by_position[..after].last()?;
        let bits = run.first.checked_add(position - run.start)?;
        (bits <= run.last).then_some(bits)
    }
}

/// Returns all overlaps, in one pass over the ranges in order of address: a range overlaps if it starts before the highest
/// end so far.
fn overlaps(ranges: &[AddressRange]) -> Vec<Overlap> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&place| (ranges[place], place));
    let mut furthest: Option<usize> = None;
    let mut found = Vec::new();
    for place in order {
        let Some(other) = furthest else {
            furthest = Some(place);
            continue;
        };
        if ranges[other].overlaps(&ranges[place]) {
            found.push(Overlap {
                earlier: other.min(place),
                later: other.max(place),
            });
        }
        if ranges[other].family() != ranges[place].family() || ranges[other].last < ranges[place].last {
            furthest = Some(place);
        }
    }
    found.sort_by_key(|overlap| (overlap.later, overlap.earlier));
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(entries: &[&str]) -> AddressSet {
        AddressSet::new(entries.iter().map(|e| e.parse().expect("a range")).collect()).expect("disjoint")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn positions_follow_the_order_written_not_the_order_of_addresses() {
        let set = set(&["10.0.1.0/30", "fc00::/126", "10.0.0.0/31"]);
        assert_eq!(set.position(ip("10.0.1.3")), Some(3));
        assert_eq!(set.position(ip("10.0.0.0")), Some(4));
        assert_eq!(set.position(ip("fc00::2")), Some(2));
        assert_eq!(set.position(ip("10.0.0.2")), None);
        assert_eq!(set.at(Family::V4, 5), Some(ip("10.0.0.1")));
        assert_eq!(set.at(Family::V4, 6), None);
        assert_eq!(set.last_position(Family::V4), Some(5));
    }

    #[test]
    fn a_set_may_be_all_of_ipv6() {
        let set = set(&["::/0"]);
        assert_eq!(set.last_position(Family::V6), Some(u128::MAX));
        assert_eq!(
            set.at(Family::V6, u128::MAX),
            Some(address(Family::V6, u128::MAX))
        );
        assert_eq!(set.capacity(false).v6, Capacity::MAX);
        assert_eq!(set.last_position(Family::V4), None);
    }

    #[test]
    fn avoided_addresses_do_not_count_as_capacity() {
        let both = set(&["1.2.3.0/24", "2.3.4.128/25"]);
        assert_eq!(both.capacity(false).total(), 384);
        assert_eq!(both.capacity(true).total(), 381);
        let mixed = set(&["1.2.3.0/31", "1000::/127"]);
        assert_eq!(mixed.capacity(true), Capacity { v4: 1, v6: 2 });
    }

    #[test]
    fn the_capacity_of_huge_ranges_saturates_in_any_order() {
        let set = set(&["::/1", "8000::/1", "10.0.0.0/30"]);
        let v6 = Capacity::MAX;
        assert_eq!(set.capacity(false), Capacity { v4: 4, v6 });
        assert_eq!(set.capacity(false).total(), Capacity::MAX);
    }

    #[test]
    fn a_prefix_with_62_host_bits_counts_as_the_most_that_is_counted_as_in_metallb() {
        let most = Capacity::MAX;
        for (entry, v6) in [
            ("fc00::/64", most),
            ("fc00::/66", most),
            ("fc00::/67", 1 << 61),
            // Ranges count as the prefixes that they consist of.
            ("fc00::-fc00::3fff:ffff:ffff:ffff", most),
            ("fc00::1-fc00::4000:0:0:0", (1 << 62)),
            ("fc00::1-fc00::7fff:ffff:ffff:ffff", most),
        ] {
            assert_eq!(set(&[entry]).capacity(false).v6, v6, "{entry}");
        }
    }

    #[test]
    fn every_overlapping_range_is_found() {
        let ranges = [
            "10.0.0.0/16",
            "10.0.1.0/24",
            "11.0.0.0/8",
            "10.0.255.0-10.1.0.5",
            "::/0",
        ];
        let ranges = ranges.iter().map(|e| e.parse().expect("a range")).collect();
        let found = AddressSet::new(ranges).expect_err("overlaps");
        let places: Vec<_> = found.iter().map(|o| (o.earlier, o.later)).collect();
        assert_eq!(places, [(0, 1), (0, 3)]);
    }

    proptest! {
        #[test]
        fn position_and_address_are_inverse(starts in prop::collection::btree_set(0u32..64, 1..8), seed in any::<u64>()) {
            let mut starts: Vec<u32> = starts.into_iter().collect();
            // Any order is valid: rotate by the seed.
            let turn = seed as usize % starts.len();
            starts.rotate_left(turn);
            let ranges = starts.iter().map(|s| AddressRange {
                family: Family::V4, first: u128::from(s * 16), last: u128::from(s * 16 + s % 16),
            });
            let set = AddressSet::new(ranges.collect()).expect("disjoint by construction");
            let last = set.last_position(Family::V4).expect("not empty");
            prop_assert_eq!(set.capacity(false).v4, last + 1);
            for position in 0..=last {
                let address = set.at(Family::V4, position).expect("within");
                prop_assert_eq!(set.position(address), Some(position));
            }
        }

        #[test]
        fn overlaps_are_found_exactly_when_there_are_some(pairs in prop::collection::vec((0u128..200, 0u128..20), 1..12)) {
            let ranges: Vec<_> = pairs
                .iter()
                .map(|(first, length)| AddressRange { family: Family::V6, first: *first, last: first + length })
                .collect();
            let any = (0..ranges.len()).any(|a| (0..a).any(|b| ranges[a].overlaps(&ranges[b])));
            prop_assert_eq!(AddressSet::new(ranges).is_err(), any);
        }
    }
}

//! Sets of addresses that are small enough for a socket filter.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A set of addresses of one family: all addresses that it was built from, and as few others as its size allows.
///
/// An IPv6 address is compared by its last 32 bits: a filter compares so many at once, and they are more than the last 24,
/// which a foreign address must share with one of ours for its solicited-node group to be delivered at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilterRanges {
    /// Ascending, neither overlapping nor adjacent.
    ranges: Vec<RangeInclusive<u32>>,
}

impl FilterRanges {
    /// Builds a set of `addresses` of `most` ranges at most. If there were more, the narrowest gaps between them are closed.
    ///
    /// # Panics
    /// When `most` is zero.
    pub(crate) fn covering(addresses: impl IntoIterator<Item = IpAddr>, most: usize) -> Self {
        assert!(most > 0, "an address needs a range");
        let mut keys: Vec<u32> = addresses.into_iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let (widest, mut spare) = closed(&keys, most);
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for key in keys {
            let step = ranges.last().map(|last| key - last.end());
            let stays_open = step == Some(widest) && spare > 0;
            spare -= usize::from(stays_open);
            match ranges.last_mut() {
                Some(last) if step <= Some(widest) && !stays_open => *last = *last.start()..=key,
                _ => ranges.push(key..=key),
            }
        }
        Self { ranges }
    }

    /// Returns whether `address` is in the set.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let key = key(address);
        let behind = self.ranges.partition_point(|range| *range.start() <= key);
        behind > 0 && *self.ranges[behind - 1].end() >= key
    }

    /// Returns where ranges begin and end by turns, ascending: a value is in the set iff an odd number of bounds are not above it.
    pub(crate) fn bounds(&self) -> Vec<u32> {
        let ends = |range: &RangeInclusive<u32>| [Some(*range.start()), range.end().checked_add(1)];
        self.ranges.iter().flat_map(ends).flatten().collect()
    }
}

/// Returns the part of an address that a filter compares.
const fn key(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

/// Returns the widest step between two keys that has to lie within a range so that there are `most` ranges at most, and how
/// many steps of that width may stay open.
fn closed(keys: &[u32], most: usize) -> (u32, usize) {
    const ADJACENT: u32 = 1;
    let steps = keys.windows(2).map(|pair| pair[1] - pair[0]);
    let mut gaps: Vec<u32> = steps.filter(|step| *step > ADJACENT).collect();
    if gaps.len() < most {
        return (ADJACENT, 0);
    }
    let (wider, widest, _) = gaps.select_nth_unstable_by(most - 1, |a, b| b.cmp(a));
    let open = wider.iter().filter(|gap| **gap > *widest).count();
    (*widest, most - 1 - open)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn covering(keys: &[u32], most: usize) -> FilterRanges {
        FilterRanges::covering(keys.iter().map(|key| Ipv4Addr::from_bits(*key).into()), most)
    }

    #[test]
    fn adjacent_addresses_share_a_range_and_the_narrowest_gaps_are_closed_first() {
        let keys = [10, 11, 12, 20, 100, 103, u32::MAX];
        let all = [10..=12, 20..=20, 100..=100, 103..=103, u32::MAX..=u32::MAX];
        assert_eq!(covering(&keys, 9).ranges, all);
        assert_eq!(covering(&keys, 5).ranges, all);
        assert_eq!(
            covering(&keys, 4).ranges,
            [10..=12, 20..=20, 100..=103, u32::MAX..=u32::MAX]
        );
        assert_eq!(covering(&keys, 2).ranges, [10..=103, u32::MAX..=u32::MAX]);
        assert_eq!(covering(&keys, 1).ranges, [10..=u32::MAX]);
        assert_eq!(covering(&[], 1).ranges, []);
    }

    #[test]
    fn as_many_gaps_of_equal_width_stay_open_as_possible() {
        assert_eq!(
            covering(&[10, 20, 30, 40, 99], 3).ranges,
            [10..=10, 20..=40, 99..=99]
        );
    }

    #[test]
    fn the_last_range_may_have_no_end() {
        assert_eq!(covering(&[0, u32::MAX], 2).bounds(), [0, 1, u32::MAX]);
    }

    #[test]
    fn ipv6_addresses_are_compared_by_their_last_32_bits() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let ranges = FilterRanges::covering([ip("2001:db8::1:2")], 8);
        assert!(ranges.contains(ip("2001:db8::1:2")));
        assert!(ranges.contains(ip("fe80::7:0:1:2")));
        assert!(!ranges.contains(ip("2001:db8::2:2")));
    }

    proptest! {
        #[test]
        fn no_address_is_missing_and_none_is_added_without_need(
            keys in btree_set(prop_oneof![0..300_u32, any::<u32>()], 0..200),
            most in 1..60_usize,
        ) {
            let list: Vec<u32> = keys.iter().copied().collect();
            let ranges = covering(&list, most);
            prop_assert!(ranges.ranges.len() <= most);
            prop_assert!(ranges.ranges.windows(2).all(|two| two[0].end() + 1 < *two[1].start()));
            for key in &keys {
                prop_assert!(ranges.contains(Ipv4Addr::from_bits(*key).into()));
            }
            let runs = list.windows(2).filter(|two| two[1] - two[0] > 1).count() + 1;
            prop_assert_eq!(ranges.ranges.len(), runs.min(most).min(list.len()));
            if runs <= most {
                let sizes = ranges.ranges.iter().map(|range| u64::from(range.end() - range.start()) + 1);
                prop_assert_eq!(sizes.sum::<u64>(), list.len() as u64);
            }
        }

        #[test]
        fn contains_agrees_with_the_bounds(
            keys in btree_set(0..40_u32, 0..30),
            asked in 0..50_u32,
        ) {
            let list: Vec<u32> = keys.iter().copied().collect();
            let ranges = covering(&list, 64);
            let passed = ranges.bounds().iter().filter(|bound| **bound <= asked).count();
            prop_assert_eq!(passed % 2 == 1, keys.contains(&asked));
            prop_assert_eq!(ranges.contains(Ipv4Addr::from_bits(asked).into()), keys.contains(&asked));
        }
    }
}

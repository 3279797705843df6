//! The index of ranges: finds the owner of an address in logarithmic time, also among ten thousand pools.

use alloc::collections::BTreeMap;

use core::net::IpAddr;

use crate::address::{AddressRange, AddressSet};

/// Disjoint ranges, each with its owner.
#[derive(Debug, Clone)]
pub(crate) struct RangeIndex<O> {
    /// The range and its owner, by the first address of the range.
    ranges: BTreeMap<IpAddr, (AddressRange, O)>,
}

impl<O> Default for RangeIndex<O> {
    fn default() -> Self {
        Self {
            ranges: BTreeMap::new(),
        }
    }
}

impl<O: Clone> RangeIndex<O> {
    /// Adds all of `addresses`, which must not overlap any range in the index.
    pub(crate) fn insert(&mut self, addresses: &AddressSet, owner: &O) {
        for range in addresses.ranges() {
            self.ranges.insert(range.first(), (*range, owner.clone()));
        }
    }

    /// Removes all of `addresses`.
    pub(crate) fn remove(&mut self, addresses: &AddressSet) {
        for range in addresses.ranges() {
            self.ranges.remove(&range.first());
        }
    }

    /// Returns a range that has addresses in common with `range`; the last one, if there are several.
    pub(crate) fn overlapping(&self, range: &AddressRange) -> Option<&(AddressRange, O)> {
        self.all_in(range).next()
    }

    /// Returns all ranges that have addresses in common with `range`, the last one first.
    pub(crate) fn all_in<'a>(&'a self, range: &AddressRange) -> impl Iterator<Item = &'a (AddressRange, O)> {
        let range = *range;
        let up_to = self.ranges.range(..=range.last()).rev().map(|(_, entry)| entry);
        up_to.take_while(move |entry| entry.0.overlaps(&range))
    }

    /// Returns all ranges that have addresses in common with `addresses`.
    pub(crate) fn all_overlapping<'a>(
        &'a self,
        addresses: &'a AddressSet,
    ) -> impl Iterator<Item = &'a (AddressRange, O)> {
        addresses.ranges().iter().flat_map(|range| self.all_in(range))
    }

    /// Returns the owner of the range that contains `address`.
    pub(crate) fn find(&self, address: IpAddr) -> Option<&O> {
        Some(&self.overlapping(&AddressRange::single(address))?.1)
    }
}

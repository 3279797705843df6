//! Which pool has which range: found in logarithmic time, so that ten thousand pools are no trouble.

use alloc::collections::BTreeMap;

use core::net::IpAddr;

use crate::address::{AddressRange, AddressSet};

/// Disjoint ranges, each with its claimant.
#[derive(Debug, Clone)]
pub(crate) struct Claims<C> {
    /// First address to the range and its claimant.
    ranges: BTreeMap<IpAddr, (AddressRange, C)>,
}

impl<C> Default for Claims<C> {
    fn default() -> Self {
        Self {
            ranges: BTreeMap::new(),
        }
    }
}

impl<C: Clone> Claims<C> {
    /// Claims all of `addresses`, which must be free.
    pub(crate) fn insert(&mut self, addresses: &AddressSet, claimant: &C) {
        for range in addresses.ranges() {
            self.ranges.insert(range.first(), (*range, claimant.clone()));
        }
    }

    /// Gives up all of `addresses`.
    pub(crate) fn remove(&mut self, addresses: &AddressSet) {
        for range in addresses.ranges() {
            self.ranges.remove(&range.first());
        }
    }

    /// A claimed range that has addresses in common with `range`; the last one, where there are several.
    pub(crate) fn overlapping(&self, range: &AddressRange) -> Option<&(AddressRange, C)> {
        self.all_in(range).next()
    }

    /// All claimed ranges that have addresses in common with `range`, the last one first.
    pub(crate) fn all_in<'a>(&'a self, range: &AddressRange) -> impl Iterator<Item = &'a (AddressRange, C)> {
        let range = *range;
        let up_to = self.ranges.range(..=range.last()).rev().map(|(_, claim)| claim);
        up_to.take_while(move |claim| claim.0.overlaps(&range))
    }

    /// The same for all ranges of `addresses`.
    pub(crate) fn all_overlapping<'a>(
        &'a self,
        addresses: &'a AddressSet,
    ) -> impl Iterator<Item = &'a (AddressRange, C)> {
        addresses.ranges().iter().flat_map(|range| self.all_in(range))
    }

    /// Who claims `address`.
    pub(crate) fn claimant(&self, address: IpAddr) -> Option<&C> {
        Some(&self.overlapping(&AddressRange::single(address))?.1)
    }
}

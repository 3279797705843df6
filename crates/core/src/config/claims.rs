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
        let (_, claim) = self.ranges.range(..=range.last()).next_back()?;
        claim.0.overlaps(range).then_some(claim)
    }

    /// Who claims `address`.
    pub(crate) fn claimant(&self, address: IpAddr) -> Option<&C> {
        Some(&self.overlapping(&AddressRange::single(address))?.1)
    }
}

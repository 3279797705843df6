//! Finding addresses for a Service that does not name them.

use core::net::IpAddr;

use super::books::Books;
use super::claim::Claimant;
use super::need::Need;
use crate::{Addresses, Family, Service, Time};

/// Which free addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// Those that have rested.
    Rested,
    /// All.
    All,
}

/// A search on behalf of one Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) claimant: Claimant<'a>,
    pub(super) service: &'a Service,
    pub(super) need: &'a Need,
    pub(super) now: Time,
}

impl Search<'_> {
    /// The best addresses of all pools that the Service gets without asking.
    ///
    /// Pools with `serviceAllocation` come before all others, with priorities in order. A pair counts for more
    /// than priority among each of the two. Rest counts among pools of one priority, and never for more.
    pub(super) fn everywhere(&self, books: &mut Books) -> Option<(Addresses, usize)> {
        for set in 0..2 {
            for families in self.need.stages() {
                for tier in 0..books.unasked()[set].len() {
                    if let Some(found) = self.in_tier(books, families, set, tier) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    fn in_tier(
        &self,
        books: &mut Books,
        families: &[Family],
        set: usize,
        tier: usize,
    ) -> Option<(Addresses, usize)> {
        for supply in [Supply::Rested, Supply::All] {
            for place in 0..books.unasked()[set][tier].len() {
                let number = books.unasked()[set][tier][place];
                if books.pool(number).pool.allows(self.service)
                    && let Some(found) = self.in_pool(books, number, families, supply)
                {
                    return Some((found, number));
                }
            }
        }
        None
    }

    /// The best addresses of one pool, whatever of the Service's need can be met there.
    pub(super) fn in_one(&self, books: &mut Books, number: usize) -> Option<Addresses> {
        let stages = self.need.stages();
        stages.iter().find_map(|families| {
            let rested = self.in_pool(books, number, families, Supply::Rested);
            rested.or_else(|| self.in_pool(books, number, families, Supply::All))
        })
    }

    /// One address of each of `families` from one pool, within the namespace's quota.
    fn in_pool(
        &self,
        books: &mut Books,
        number: usize,
        families: &[Family],
        supply: Supply,
    ) -> Option<Addresses> {
        match books.pool(number).quota_left(&self.claimant.key.namespace) {
            left if left >= families.len() as u64 => self.each(books, number, families, supply, |_| true),
            0 => self.each(books, number, families, supply, |_| false),
            // One more address of two: the other must be one that the namespace holds already.
            _ => families
                .iter()
                .find_map(|new| self.each(books, number, families, supply, |family| family == *new)),
        }
    }

    fn each(
        &self,
        books: &mut Books,
        number: usize,
        families: &[Family],
        supply: Supply,
        may_be_new: impl Fn(Family) -> bool,
    ) -> Option<Addresses> {
        let address = |family: &Family| {
            let supply = may_be_new(*family).then_some(supply);
            self.address(books, number, *family, supply)
        };
        families.iter().map(address).collect()
    }

    /// An address of `family`: one reserved for the Service, else the first that is free or can be shared, in
    /// the order of the pool. Without `supply` only one that the Service's namespace holds already.
    fn address(
        &self,
        books: &mut Books,
        number: usize,
        family: Family,
        supply: Option<Supply>,
    ) -> Option<IpAddr> {
        let reserved = books.pool(number).reserved_for(self.claimant.key).iter().copied();
        let mut reserved = reserved.filter(|address| Family::of(*address) == family);
        if let Some(address) = reserved.find(|address| self.may_hold(books, *address, supply)) {
            return Some(address);
        }
        let now = self.now;
        let free = supply.and_then(|_| books.pool_mut(number).first_free(family, now));
        let shared = self.first_shared(books, number, family, free, supply);
        let resting = || {
            let book = books.pool(number);
            let position = book
                .shelf(family)
                .first_resting()
                .filter(|_| supply == Some(Supply::All))?;
            book.pool.addresses.at(family, position)
        };
        let free = || books.pool(number).pool.addresses.at(family, free?);
        shared.or_else(free).or_else(resting)
    }

    /// The first shared address before position `before` that the Service may join.
    fn first_shared(
        &self,
        books: &mut Books,
        number: usize,
        family: Family,
        before: Option<u128>,
        supply: Option<Supply>,
    ) -> Option<IpAddr> {
        if self.claimant.sharing.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let position = books.first_open(&self.claimant, number, family, (from, before))?;
            let pool = &books.pool(number).pool;
            let address = pool.addresses.at(family, position)?;
            let owner = pool.reservations.get(&address);
            let is_open = owner.is_none_or(|owner| *owner == **self.claimant.key);
            if is_open && self.may_hold(books, address, supply) {
                return Some(address);
            }
            from = position.checked_add(1)?;
        }
    }

    fn may_hold(&self, books: &Books, address: IpAddr, supply: Option<Supply>) -> bool {
        let namespace = &self.claimant.key.namespace;
        let is_held = || {
            books
                .occupancy(address)
                .is_some_and(|occupancy| occupancy.reaches(namespace))
        };
        books.admits(&self.claimant, address).is_ok() && (supply.is_some() || is_held())
    }
}

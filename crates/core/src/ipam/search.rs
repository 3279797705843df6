//! The search for addresses for a Service that does not request particular ones.

use core::net::IpAddr;

use super::ledger::Ledger;
use super::occupancy::Requester;
use super::pool_ledger::PoolIndex;
use super::requirement::FamilyRequirement;
use super::shared_addresses::PositionRange;
use crate::{Addresses, Family, Pool, Service, Time};

/// Which free addresses a search may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Supply {
    /// Those that are not in quarantine.
    OutOfQuarantine,
    /// Those that are not used externally.
    NotInExternalUse,
    /// All of them.
    All,
}

/// Better supplies come first. An address that is used externally is worse than one of any other pool.
const SUPPLIES: [&[Supply]; 2] = [
    &[Supply::OutOfQuarantine, Supply::NotInExternalUse],
    &[Supply::All],
];

/// A search on behalf of one Service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) requester: Requester<'a>,
    pub(super) service: &'a Service,
    pub(super) requirement: &'a FamilyRequirement,
    /// Addresses that the Service had last.
    pub(super) past: &'a [IpAddr],
    pub(super) now: Time,
}

impl Search<'_> {
    /// Returns the best addresses of all pools that auto-assign addresses to the Service.
    ///
    /// Pools with `serviceAllocation` (scoped pools) come before all others, in order of priority. Within each of the two
    /// groups, one address of each family is more important than the priority of the pool; the priority is more important
    /// than the quarantine of an address. Addresses that Services use externally are the last, whatever their pool.
    pub(super) fn everywhere(&self, ledger: &mut Ledger) -> Option<(Addresses, PoolIndex)> {
        for supplies in SUPPLIES {
            for set in 0..2 {
                for families in self.requirement.stages() {
                    for tier in 0..ledger.auto_assigning()[set].len() {
                        if let Some(found) = self.in_tier(ledger, families, set, tier, supplies) {
                            return Some(found);
                        }
                    }
                }
            }
        }
        None
    }

    fn in_tier(
        &self,
        ledger: &mut Ledger,
        families: &[Family],
        set: usize,
        tier: usize,
        supplies: &[Supply],
    ) -> Option<(Addresses, PoolIndex)> {
        for supply in supplies.iter().copied() {
            for place in 0..ledger.auto_assigning()[set][tier].len() {
                let index = ledger.auto_assigning()[set][tier][place];
                if ledger.pool(index).pool.allows(self.service)
                    && let Some(found) = self.in_pool(ledger, index, families, supply)
                {
                    return Some((found, index));
                }
            }
        }
        None
    }

    /// Returns the best addresses of one pool for the families that the Service needs.
    pub(super) fn in_one(&self, ledger: &mut Ledger, index: PoolIndex) -> Option<Addresses> {
        let stages = self.requirement.stages();
        let mut attempts = SUPPLIES.into_iter().flat_map(|supplies| {
            let of_stage = move |families| supplies.iter().map(move |supply| (families, *supply));
            stages.iter().flat_map(of_stage)
        });
        attempts.find_map(|(families, supply)| self.in_pool(ledger, index, families, supply))
    }

    /// Returns one address of each of `families` from one pool, within the namespace's quota.
    fn in_pool(
        &self,
        ledger: &mut Ledger,
        index: PoolIndex,
        families: &[Family],
        supply: Supply,
    ) -> Option<Addresses> {
        match ledger.pool(index).quota_left(&self.requester.key.namespace) {
            left if left >= families.len() as u64 => self.each(ledger, index, families, supply, |_| true),
            0 => self.each(ledger, index, families, supply, |_| false),
            // The quota allows one more address of two: the namespace must have the other one already.
            _ => families
                .iter()
                .find_map(|new| self.each(ledger, index, families, supply, |family| family == *new)),
        }
    }

    fn each(
        &self,
        ledger: &mut Ledger,
        index: PoolIndex,
        families: &[Family],
        supply: Supply,
        may_be_new: impl Fn(Family) -> bool,
    ) -> Option<Addresses> {
        let address = |family: &Family| {
            let supply = may_be_new(*family).then_some(supply);
            self.address(ledger, index, *family, supply)
        };
        families.iter().map(address).collect()
    }

    /// Returns an address of `family`: one that is reserved for the Service, otherwise the one that it had last, otherwise the
    /// first one in the order of the pool that is free or can be shared. Without `supply` only an address that the Service's namespace has already.
    fn address(
        &self,
        ledger: &mut Ledger,
        index: PoolIndex,
        family: Family,
        supply: Option<Supply>,
    ) -> Option<IpAddr> {
        let reserved = ledger
            .pool(index)
            .reserved_for(self.requester.key)
            .iter()
            .copied();
        let mut reserved = reserved.filter(|address| Family::of(*address) == family);
        if let Some(address) = reserved.find(|address| self.may_have(ledger, *address, supply)) {
            return Some(address);
        }
        let mut past = self.past.iter().copied();
        let is_past = |address: &IpAddr| {
            let pool = &ledger.pool(index).pool;
            Family::of(*address) == family
                && pool.owns(*address)
                && self.is_unreserved(pool, *address)
                && !ledger.is_used_beside(*address, self.requester.key)
        };
        if let Some(address) =
            past.find(|address| is_past(address) && self.may_have(ledger, *address, supply))
        {
            return Some(address);
        }
        let now = self.now;
        let free = supply.and_then(|_| ledger.pool_mut(index).first_free(family, now));
        let shared = self.first_shared(ledger, index, family, free, supply);
        let pool = ledger.pool(index);
        let list = pool.free_list(family);
        let quarantined = || {
            list.first_in_quarantine()
                .filter(|_| supply >= Some(Supply::NotInExternalUse))
        };
        let external = || {
            list.first_in_external_use()
                .filter(|_| supply == Some(Supply::All))
        };
        let at = |position| pool.pool.addresses.at(family, position);
        let unshared = || at(free.or_else(quarantined).or_else(external)?);
        shared.or_else(unshared)
    }

    /// Returns the first shared address before position `before` that the Service may share.
    fn first_shared(
        &self,
        ledger: &mut Ledger,
        index: PoolIndex,
        family: Family,
        before: Option<u128>,
        supply: Option<Supply>,
    ) -> Option<IpAddr> {
        if self.requester.sharing.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let range = PositionRange { from, before };
            let position = ledger.first_open(&self.requester, index, family, range)?;
            let pool = &ledger.pool(index).pool;
            let address = pool.addresses.at(family, position)?;
            if self.is_unreserved(pool, address) && self.may_have(ledger, address, supply) {
                return Some(address);
            }
            from = position.checked_add(1)?;
        }
    }

    /// Returns whether `address` is not reserved for another Service.
    fn is_unreserved(&self, pool: &Pool, address: IpAddr) -> bool {
        let owner = pool.reservations.get(&address);
        owner.is_none_or(|owner| owner == self.requester.key)
    }

    fn may_have(&self, ledger: &Ledger, address: IpAddr, supply: Option<Supply>) -> bool {
        let namespace = &self.requester.key.namespace;
        let has_namespace = || {
            ledger
                .occupancy(address)
                .is_some_and(|occupancy| occupancy.reaches(namespace))
        };
        ledger.admits_new(&self.requester, address).is_ok() && (supply.is_some() || has_namespace())
    }
}

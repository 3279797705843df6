//! The ledger of address usage: records which Services use which address of which pool, decides nothing.

mod external;
mod release;
mod tenancy;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashMap;

use super::decision::Usage;
use super::external::ExternalUsers;
use super::occupancy::{Occupancy, Requester, SharedOccupancy, SharingGroup};
use super::past_assignments::PastAssignments;
use super::pool_ledger::{PoolIndex, PoolLedger};
use super::quarantine::Quarantined;
use super::refusal::Refusal;
use super::shared_addresses::PositionRange;
use super::waiting::Released;
use crate::config::RangeIndex;
use crate::{Family, Pool, PoolName, ServiceKey, Time};

/// All pools and all addresses in use.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// How long a released address is kept from other Services.
    quarantine: Duration,
    /// Sorted by name.
    pools: Vec<PoolLedger>,
    by_range: RangeIndex<PoolIndex>,
    /// Auto-assigning pools with `serviceAllocation`, in tiers of equal priority; pools without a priority are last.
    scoped: Vec<Vec<PoolIndex>>,
    /// The other auto-assigning pools, in one tier.
    unscoped: Vec<Vec<PoolIndex>>,
    /// The holders of each address in use.
    occupied: HashMap<IpAddr, Occupancy>,
    /// The quarantine of addresses that are free, but in no free list: no pool has them, they are reserved or used externally.
    aside: BTreeMap<IpAddr, Quarantined>,
    /// Addresses in use that were taken out of quarantine: the end of the claim ([`Quarantined::claim_end`]).
    interrupted: HashMap<IpAddr, Time>,
    external: ExternalUsers,
    /// Addresses in pools that were reported as used externally.
    reported: BTreeSet<IpAddr>,
    /// Whether there may be others.
    has_news: bool,
    pub(super) past: PastAssignments,
    /// Whether a Service waits. If none does, releases need not be recorded.
    pub(super) is_awaited: bool,
    /// The releases since waiting Services were last served.
    pub(super) released: BTreeSet<Released>,
    /// Pools of which an address was taken or given back since they were last polled.
    changed: Vec<PoolIndex>,
}

impl Ledger {
    /// Creates a ledger without pools.
    pub(super) fn new(quarantine: Duration) -> Self {
        Self {
            quarantine,
            pools: Vec::new(),
            by_range: RangeIndex::default(),
            scoped: Vec::new(),
            unscoped: Vec::new(),
            occupied: HashMap::new(),
            aside: BTreeMap::new(),
            interrupted: HashMap::new(),
            external: ExternalUsers::default(),
            reported: BTreeSet::new(),
            has_news: false,
            past: PastAssignments::default(),
            is_awaited: false,
            released: BTreeSet::new(),
            changed: Vec::new(),
        }
    }

    /// Replaces the pools. The holders of each address stay as they are.
    pub(super) fn set_pools(&mut self, pools: &[Pool], now: Time) {
        let mut quarantined = core::mem::take(&mut self.aside);
        let in_pools = self.pools.iter().flat_map(PoolLedger::quarantined);
        quarantined.extend(in_pools.map(|(address, quarantined)| (address, quarantined.clone())));
        quarantined.retain(|_, quarantined| quarantined.end > now);
        self.pools = pools.iter().cloned().map(PoolLedger::new).collect();
        self.pools.sort_by(|a, b| a.pool.name.cmp(&b.pool.name));
        self.changed = (0..self.pools.len()).map(PoolIndex).collect();
        self.by_range = RangeIndex::default();
        for (place, ledger) in self.pools.iter().enumerate() {
            self.by_range.insert(&ledger.pool.addresses, &PoolIndex(place));
        }
        self.order_pools();
        let mut occupied = core::mem::take(&mut self.occupied);
        for (address, occupancy) in &mut occupied {
            self.take(*address, occupancy);
        }
        self.occupied = occupied;
        for address in self.external.addresses() {
            self.update_external_use(address);
        }
        self.has_news = true;
        for (address, quarantined) in quarantined {
            self.set_quarantine(address, quarantined);
        }
        self.released.clear();
    }

    /// Returns all quarantines, those that have ended included.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (IpAddr, &Quarantined)> {
        let aside = self
            .aside
            .iter()
            .map(|(address, quarantined)| (*address, quarantined));
        self.pools.iter().flat_map(PoolLedger::quarantined).chain(aside)
    }

    /// Returns all pools, sorted by name.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(|ledger| &ledger.pool)
    }

    /// Returns whether there is no pool.
    pub(super) fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Returns the pool at `index`.
    pub(super) fn pool(&self, index: PoolIndex) -> &PoolLedger {
        &self.pools[index.0]
    }

    /// Returns the pool at `index`.
    pub(super) fn pool_mut(&mut self, index: PoolIndex) -> &mut PoolLedger {
        &mut self.pools[index.0]
    }

    /// Returns the index of the pool `name`.
    pub(super) fn find(&self, name: &PoolName) -> Option<PoolIndex> {
        let place = self.pools.binary_search_by(|ledger| ledger.pool.name.cmp(name));
        place.ok().map(PoolIndex)
    }

    /// Returns the pool that gives out all of `addresses`, if there is one.
    pub(super) fn pool_of(&self, addresses: &[IpAddr]) -> Option<PoolIndex> {
        let index = *self.by_range.find(*addresses.first()?)?;
        let pool = &self.pool(index).pool;
        let owns_all = addresses.iter().all(|address| pool.owns(*address));
        owns_all.then_some(index)
    }

    /// Returns the auto-assigning pools in two groups: scoped by `serviceAllocation`, then unscoped. A group has tiers of
    /// equal priority; a tier is in order of name.
    pub(super) const fn auto_assigning(&self) -> [&Vec<Vec<PoolIndex>>; 2] {
        [&self.scoped, &self.unscoped]
    }

    /// Returns how many addresses of a pool are in use.
    pub(super) fn usage(&self, name: &PoolName) -> Option<Usage> {
        self.find(name).map(|index| self.pool(index).usage())
    }

    /// Returns the next pool whose usage may have changed since this function last returned it.
    pub(super) fn poll_changed_pool(&mut self) -> Option<PoolName> {
        let index = self.changed.pop()?;
        let ledger = self.pool_mut(index);
        ledger.is_changed = false;
        Some(ledger.pool.name.clone())
    }

    fn note_change(&mut self, index: PoolIndex) {
        if !core::mem::replace(&mut self.pool_mut(index).is_changed, true) {
            self.changed.push(index);
        }
    }

    /// Returns the holders of `address`.
    pub(super) fn occupancy(&self, address: IpAddr) -> Option<&Occupancy> {
        self.occupied.get(&address)
    }

    /// Returns the first shared address in `range` of a pool that `requester` may share, as far as the sharing scope of the
    /// pool is concerned, and where the ports of `requester` are not in use.
    pub(super) fn first_open(
        &mut self,
        requester: &Requester<'_>,
        index: PoolIndex,
        family: Family,
        range: PositionRange,
    ) -> Option<u128> {
        let PoolLedger { pool, v4, v6, .. } = &mut self.pools[index.0];
        let list = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let occupied = &self.occupied;
        let groups = SharingGroup::of_requester(requester, pool);
        let first = |group: &SharingGroup<'_>| {
            list.shared_in(group)?
                .first_open(range, requester.ports, |position, port| {
                    let address = pool.addresses.at(family, position);
                    let occupancy = address.and_then(|address| occupied.get(&address));
                    occupancy
                        .and_then(Occupancy::shared)
                        .is_some_and(|shared| shared.uses(port))
                })
        };
        groups.iter().flatten().filter_map(first).min()
    }

    /// Checks whether `requester`, which has `address` already, may have it together with its other holders.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn admits(&self, requester: &Requester<'_>, address: IpAddr) -> Result<(), Refusal> {
        self.occupied
            .get(&address)
            .map_or(Ok(()), |occupancy| occupancy.admits(requester, address))
    }

    /// Records `requester`, which [`Self::admits`] must have admitted, as a holder of `address`.
    pub(super) fn occupy(&mut self, requester: &Requester<'_>, address: IpAddr) {
        let namespace = &requester.key.namespace;
        if let Some(occupancy) = self.occupied.get_mut(&address) {
            let is_new = !occupancy.reaches(namespace);
            occupancy.join(requester);
            if let Some(index) = self.by_range.find(address) {
                let ledger = &mut self.pools[index.0];
                if is_new {
                    ledger.count_namespace(namespace, true);
                }
                if let Some(shared) = occupancy.shared_mut() {
                    ledger.list_shared(address, shared);
                }
            }
        } else {
            let mut occupancy = Occupancy::new(requester);
            self.take(address, &mut occupancy);
            self.occupied.insert(address, occupancy);
        }
    }

    /// Removes `key` from the holders of `address`. The address is free at once when it has no other holder.
    pub(super) fn vacate(&mut self, key: &ServiceKey, address: IpAddr) {
        let Some(occupancy) = self.occupied.get_mut(&address) else {
            return;
        };
        let freed = occupancy.leave(key);
        let stays_in_namespace = freed.is_some() && occupancy.reaches(&key.namespace);
        let owner = self.by_range.find(address).copied();
        if let Some(index) = owner.filter(|_| !stays_in_namespace) {
            self.pools[index.0].count_namespace(&key.namespace, false);
        }
        let ledger = owner.map(|index| &mut self.pools[index.0]);
        let place = ledger.and_then(|ledger| {
            let position = ledger.pool.addresses.position(address)?;
            Some((ledger, position))
        });
        if let Some(freed) = freed {
            if let (Some((ledger, position)), Some(shared)) = (place, occupancy.shared_mut()) {
                let list = ledger.free_list_mut(Family::of(address));
                for group in shared.listed() {
                    list.open(&group, position, &freed);
                }
                ledger.list_shared(address, shared);
            }
            return;
        }
        let Some(occupancy) = self.occupied.remove(&address) else {
            return;
        };
        let (Some(index), Some((ledger, position))) = (owner, place) else {
            return;
        };
        let is_usable = ledger.pool.owns(address) && !ledger.pool.reservations.contains_key(&address);
        let list = ledger.free_list_mut(Family::of(address));
        list.give(position, is_usable);
        for group in occupancy.shared().into_iter().flat_map(SharedOccupancy::listed) {
            list.unshare(&group, position);
        }
        self.note_change(index);
    }

    /// Takes `address`, which had no holder or is of a new pool, off the free list of its pool.
    fn take(&mut self, address: IpAddr, occupancy: &mut Occupancy) {
        if let Some(shared) = occupancy.shared_mut() {
            shared.unlist();
        }
        let Some(&index) = self.by_range.find(address) else {
            return;
        };
        let ledger = &mut self.pools[index.0];
        let Some(position) = ledger.pool.addresses.position(address) else {
            return;
        };
        let quarantined = ledger.free_list_mut(Family::of(address)).take(position);
        if let Some(quarantined) = quarantined.or_else(|| self.aside.remove(&address)) {
            self.interrupted.insert(address, quarantined.claim_end);
        }
        if let Some(shared) = occupancy.shared_mut() {
            ledger.list_shared(address, shared);
        }
        if ledger.pool.quota_per_namespace.is_some() {
            for namespace in occupancy.namespaces() {
                ledger.count_namespace(namespace, true);
            }
        }
        self.note_change(index);
    }

    fn order_pools(&mut self) {
        let mut tiers: BTreeMap<u32, Vec<PoolIndex>> = BTreeMap::new();
        let mut unscoped = Vec::new();
        for (place, ledger) in self.pools.iter().enumerate() {
            let Pool {
                auto_assign: true,
                allocation,
                ..
            } = &ledger.pool
            else {
                continue;
            };
            match allocation {
                Some(allocation) => {
                    let tier = allocation.priority.unwrap_or(u32::MAX);
                    tiers.entry(tier).or_default().push(PoolIndex(place));
                }
                None => unscoped.push(PoolIndex(place)),
            }
        }
        self.scoped = tiers.into_values().collect();
        self.unscoped = Vec::from([unscoped]);
    }
}

//! The ledger of one pool.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::decision::Usage;
use super::free_list::FreeList;
use super::occupancy::SharedOccupancy;
use super::quarantine::Quarantined;
use crate::{Family, Pool, ServiceKey, Time};

/// The place of a pool in the ledger, until the pools change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolIndex(pub(super) usize);

/// A pool and its use.
#[derive(Debug, Clone)]
pub(super) struct PoolLedger {
    pub(super) pool: Pool,
    pub(super) v4: FreeList,
    pub(super) v6: FreeList,
    /// Reserved addresses by Service.
    reserved: BTreeMap<ServiceKey, Vec<IpAddr>>,
    /// The number of distinct addresses of each namespace; counted only if there is a quota.
    by_namespace: BTreeMap<String, u64>,
    /// Whether the usage may have changed since it was last reported.
    pub(super) is_changed: bool,
}

impl PoolLedger {
    /// Creates the ledger of a pool of which no address is in use.
    pub(super) fn new(pool: Pool) -> Self {
        let mut reserved: BTreeMap<ServiceKey, Vec<IpAddr>> = BTreeMap::new();
        for (address, owner) in &pool.reservations {
            reserved.entry(owner.clone()).or_default().push(*address);
        }
        Self {
            v4: FreeList::new(&pool, Family::V4),
            v6: FreeList::new(&pool, Family::V6),
            reserved,
            by_namespace: BTreeMap::new(),
            is_changed: true,
            pool,
        }
    }

    /// Returns the free list of `family`.
    pub(super) const fn free_list(&self, family: Family) -> &FreeList {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// Returns the free list of `family`.
    pub(super) const fn free_list_mut(&mut self, family: Family) -> &mut FreeList {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Returns the addresses of this pool that are reserved for `key`.
    pub(super) fn reserved_for(&self, key: &ServiceKey) -> &[IpAddr] {
        self.reserved.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns how many more addresses of this pool `namespace` may have.
    pub(super) fn quota_left(&self, namespace: &str) -> u64 {
        let used = self.by_namespace.get(namespace).copied().unwrap_or_default();
        self.pool
            .quota_per_namespace
            .map_or(u64::MAX, |quota| quota.saturating_sub(used))
    }

    /// Returns whether an address of `family` is free, in quarantine or not.
    pub(super) fn has_free(&mut self, family: Family, now: Time) -> bool {
        let list = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        list.has_free(&self.pool, now)
    }

    /// Returns the lowest free position of `family` that is not in quarantine.
    pub(super) fn first_free(&mut self, family: Family, now: Time) -> Option<u128> {
        let list = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        list.first_free(&self.pool, now)
    }

    /// Returns how many addresses are in use.
    pub(super) fn usage(&self) -> Usage {
        let capacity = self.pool.capacity();
        Usage {
            assigned_v4: self.v4.assigned,
            assigned_v6: self.v6.assigned,
            available_v4: capacity.v4.saturating_sub(self.v4.assigned),
            available_v6: capacity.v6.saturating_sub(self.v6.assigned),
            capacity,
        }
    }

    /// Counts one address `more` or less for `namespace`.
    pub(super) fn count_namespace(&mut self, namespace: &str, more: bool) {
        if self.pool.quota_per_namespace.is_none() {
            return;
        }
        let used = self.by_namespace.entry(namespace.to_string()).or_default();
        if more {
            *used += 1;
        } else {
            *used -= 1;
        }
        if *used == 0 {
            self.by_namespace.remove(namespace);
        }
    }

    /// Lists the shared `address` for the Services that may share it now.
    pub(super) fn list_shared(&mut self, address: IpAddr, shared: &mut SharedOccupancy) {
        if shared.is_listed_for(&self.pool) {
            return;
        }
        let Some(position) = self.pool.addresses.position(address) else {
            return;
        };
        let list = match Family::of(address) {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        for group in shared.listed() {
            list.unshare(&group, position);
        }
        shared.list_for(&self.pool);
        for group in shared.listed() {
            list.share(&group, position);
        }
    }

    /// Returns the addresses in quarantine.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = (IpAddr, &Quarantined)> {
        let lists = [&self.v4, &self.v6].into_iter();
        lists.flat_map(move |list| list.quarantined(&self.pool))
    }
}

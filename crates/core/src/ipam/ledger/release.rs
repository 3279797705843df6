//! What follows when an address is released: its quarantine, and what waiting Services may get.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Ledger;
use crate::ipam::occupancy::Occupancy;
use crate::ipam::quarantine::Quarantined;
use crate::ipam::waiting::Released;
use crate::{Family, ServiceKey, Time};

impl Ledger {
    /// Puts `address`, which `key` released, in quarantine from now on if it is free: until its end only a Service of the
    /// same namespace that requests the address, or one that finds no other address, gets it.
    pub(in crate::ipam) fn quarantine(&mut self, address: IpAddr, key: &ServiceKey, now: Time) {
        if self.occupied.contains_key(&address) {
            return;
        }
        let end = now + self.quarantine;
        let before = self.interrupted.remove(&address);
        let before = before.or_else(|| self.quarantine_of(address).map(|before| before.claim_end));
        let quarantined = Quarantined {
            end,
            claim_end: before.filter(|before| *before > now).unwrap_or(end),
            last: key.clone(),
        };
        self.set_quarantine(address, quarantined);
    }

    pub(in crate::ipam) fn set_quarantine(&mut self, address: IpAddr, quarantined: Quarantined) {
        let in_pool = self.by_range.find(address).and_then(|index| {
            let ledger = &mut self.pools[index.0];
            let position = ledger.pool.addresses.position(address)?;
            ledger
                .pool
                .owns(address)
                .then(|| (ledger.free_list_mut(Family::of(address)), position))
        });
        let left = match in_pool {
            Some((list, position)) => list.quarantine(position, quarantined),
            None => Some(quarantined),
        };
        if let Some(quarantined) = left.filter(|_| !self.occupied.contains_key(&address)) {
            self.aside.insert(address, quarantined);
        }
    }

    /// Returns the quarantine of `address`, which may have ended.
    pub(super) fn quarantine_of(&self, address: IpAddr) -> Option<&Quarantined> {
        let in_pool = self.by_range.find(address).and_then(|index| {
            let ledger = self.pool(*index);
            let position = ledger.pool.addresses.position(address)?;
            ledger.free_list(Family::of(address)).quarantine_of(position)
        });
        in_pool.or_else(|| self.aside.get(&address))
    }

    /// Records for waiting Services that the namespace of `key` has more of the pool of `address`, or released more of it: its
    /// claims to other addresses in quarantine may have become void ([`Self::allows_request`]).
    pub(in crate::ipam) fn note_claims(&mut self, key: &ServiceKey, address: IpAddr) {
        let Some(index) = self.by_range.find(address).filter(|_| self.is_awaited) else {
            return;
        };
        let ledger = self.pool(*index);
        if ledger.pool.quota_per_namespace.is_none() {
            return;
        }
        let of_namespace = ledger
            .quarantined()
            .filter(|(_, quarantined)| quarantined.last.namespace == key.namespace);
        let claimed: Vec<IpAddr> = of_namespace.map(|(address, _)| address).collect();
        self.released.extend(claimed.into_iter().map(Released::Address));
    }

    /// Records for waiting Services that `key` released `address`, or a part of what it used of it.
    pub(in crate::ipam) fn note_release(&mut self, key: &ServiceKey, address: IpAddr) {
        if !self.is_awaited {
            return;
        }
        self.released.insert(Released::Address(address));
        let occupancy = self.occupied.get(&address);
        if let Some(shared) = occupancy.and_then(Occupancy::shared) {
            self.released.insert(Released::Sharing(shared.sharing.clone()));
        }
        let Some(&index) = self.by_range.find(address) else {
            return;
        };
        if occupancy.is_none() {
            self.released.insert(Released::Pool(index, Family::of(address)));
        }
        if self.pool(index).pool.quota_per_namespace.is_some() {
            self.released
                .insert(Released::Quota(index, key.namespace.clone()));
        }
    }

    /// Records for Services that wait to share that `address` is about to be shared under the key `sharing`.
    pub(in crate::ipam) fn note_sharing(&mut self, address: IpAddr, sharing: &Arc<str>) {
        if self.is_awaited {
            self.released.insert(Released::Address(address));
            self.released.insert(Released::Sharing(sharing.clone()));
        }
    }

    /// Returns whether `released` may still serve a Service.
    pub(in crate::ipam) fn offers(&mut self, released: &Released, now: Time) -> bool {
        match released {
            Released::Pool(index, family) => self.pool_mut(*index).has_free(*family, now),
            Released::Address(_) | Released::Sharing(_) | Released::Quota(..) => true,
        }
    }
}

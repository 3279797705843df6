//! Addresses that are used without the allocator.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Ledger;
use crate::ipam::decision::Note;
use crate::ipam::external::{ExternalUser, PoolOverlap};
use crate::ipam::waiting::Released;
use crate::{Family, Pool, PoolName, ServiceKey};

impl Ledger {
    /// Replaces the addresses of `user`. Returns those that it uses now and did not before, or the other way round.
    pub(in crate::ipam) fn set_external_user(
        &mut self,
        user: ExternalUser,
        addresses: &[IpAddr],
    ) -> Vec<IpAddr> {
        let changed = self.external.set(user, addresses);
        for address in &changed {
            self.update_external_use(*address);
        }
        changed
    }

    /// Whether a node, or another Service than `key` without the allocator, uses `address`.
    pub(in crate::ipam) fn is_used_beside(&self, address: IpAddr, key: &ServiceKey) -> bool {
        self.external.user_beside(address, |other| other == key).is_some()
    }

    /// Records in the pool of `address` whether it is used externally.
    pub(super) fn update_external_use(&mut self, address: IpAddr) {
        let is_used = self.external.is_used(address);
        if is_used {
            self.has_news = true;
        } else {
            self.reported.remove(&address);
        }
        let Some(&index) = self.by_range.find(address) else {
            return;
        };
        let family = Family::of(address);
        let pool = &self.pool(index).pool;
        let Some(position) = pool.addresses.position(address) else {
            return;
        };
        if self.pool(index).free_list(family).is_in_external_use(position) == is_used {
            return;
        }
        let is_usable = pool.owns(address) && !pool.reservations.contains_key(&address);
        let is_free = is_usable && !self.occupied.contains_key(&address);
        let quarantined = self.quarantine_of(address).cloned();
        self.aside.remove(&address);
        let list = self.pool_mut(index).free_list_mut(family);
        list.set_external_use(position, is_used, is_free);
        if let Some(quarantined) = quarantined {
            self.set_quarantine(address, quarantined);
        }
        if self.is_awaited {
            self.released.insert(Released::Address(address));
            self.released.insert(Released::Pool(index, family));
        }
    }

    /// Returns the notes on those of `addresses`, which the Service `key` has, that others use externally.
    pub(in crate::ipam) fn external_notes(&self, addresses: &[IpAddr], key: &ServiceKey) -> Vec<Note> {
        let note = |address: &IpAddr| {
            let user = self.external.user_beside(*address, |other| other == key)?;
            Some(Note::UsedExternally {
                address: *address,
                user: user.clone(),
                service: key.clone(),
            })
        };
        addresses.iter().filter_map(note).collect()
    }

    /// Returns the addresses of nodes that `pool` gives out.
    pub(in crate::ipam) fn node_overlap(&self, pool: &Pool) -> Option<PoolOverlap> {
        let mut overlap: Option<PoolOverlap> = None;
        let addresses = self.external.addresses().into_iter();
        for address in addresses.filter(|address| pool.owns(*address)) {
            let user = self.external.user_beside(address, |_| true);
            if let Some(user) = user {
                let overlap = overlap.get_or_insert_with(|| PoolOverlap::new(pool.name.clone()));
                overlap.add(address, user);
            }
        }
        overlap
    }

    /// Returns a pool with addresses that are used externally and were not when this function last returned it.
    pub(in crate::ipam) fn poll_overlap(&mut self) -> Option<PoolOverlap> {
        if !self.has_news {
            return None;
        }
        let mut overlap: Option<PoolOverlap> = None;
        for address in self.external.addresses() {
            let Some(index) = self.by_range.find(address) else {
                continue;
            };
            let pool: &PoolName = &self.pool(*index).pool.name;
            let is_holder = |key: &ServiceKey| {
                let occupancy = self.occupied.get(&address);
                occupancy.is_some_and(|occupancy| occupancy.has_holder(key))
            };
            let Some(user) = self.external.user_beside(address, is_holder) else {
                continue;
            };
            if overlap.as_ref().is_some_and(|overlap| overlap.pool != *pool)
                || self.reported.contains(&address)
            {
                continue;
            }
            overlap
                .get_or_insert_with(|| PoolOverlap::new(pool.clone()))
                .add(address, user);
            self.reported.insert(address);
        }
        self.has_news = overlap.is_some();
        overlap
    }
}

//! The free list of one pool and family: which positions (see [`crate::AddressSet`]) are free, in quarantine, shared or used
//! without the allocator.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use core::net::IpAddr;

use super::occupancy::SharingGroup;
use super::quarantine::{Quarantine, Quarantined};
use super::shared_addresses::SharedAddresses;
use crate::address::{FreeSet, is_buggy};
use crate::{Family, Pool, Port, Time};

/// The free addresses of one family in one pool.
#[derive(Debug, Clone)]
pub(super) struct FreeList {
    family: Family,
    /// Free, not in quarantine and not used externally. May contain addresses to avoid: they are removed when a search meets
    /// them, so that a /8 needs no list of them.
    free: FreeSet,
    /// Free, in quarantine and not used externally.
    quarantine: Quarantine,
    /// Used externally, free or not.
    external: BTreeSet<u128>,
    /// Free, and used externally.
    last_resort: BTreeSet<u128>,
    /// Shared addresses by sharing key, then by backend key, then by namespace (see [`SharingGroup`]).
    shared: BTreeMap<String, BTreeMap<String, BTreeMap<String, SharedAddresses>>>,
    /// Number of distinct addresses in use.
    pub(super) assigned: u128,
}

impl FreeList {
    /// Creates a list in which all addresses of `family` in `pool` are free except reserved ones.
    pub(super) fn new(pool: &Pool, family: Family) -> Self {
        let mut free = FreeSet::up_to(pool.addresses.last_position(family));
        for address in pool
            .reservations
            .keys()
            .filter(|address| Family::of(**address) == family)
        {
            if let Some(position) = pool.addresses.position(*address) {
                free.take(position);
            }
        }
        Self {
            family,
            free,
            quarantine: Quarantine::default(),
            external: BTreeSet::new(),
            last_resort: BTreeSet::new(),
            shared: BTreeMap::new(),
            assigned: 0,
        }
    }

    /// Returns the lowest free position that is not in quarantine.
    pub(super) fn first_free(&mut self, pool: &Pool, now: Time) -> Option<u128> {
        while let Some(position) = self.quarantine.pop_ended(now) {
            self.free.give(position);
        }
        loop {
            let position = self.free.first()?;
            let avoided = pool.avoid_buggy && pool.addresses.at(self.family, position).is_none_or(is_buggy);
            if !avoided {
                return Some(position);
            }
            self.free.take(position);
        }
    }

    /// Returns the position whose quarantine ends first.
    pub(super) fn first_in_quarantine(&self) -> Option<u128> {
        self.quarantine.first()
    }

    /// Returns the lowest free position that is used externally.
    pub(super) fn first_in_external_use(&self) -> Option<u128> {
        self.last_resort.first().copied()
    }

    /// Returns whether a position is free, in quarantine or not, that may be given out.
    pub(super) fn has_free(&mut self, pool: &Pool, now: Time) -> bool {
        !self.quarantine.is_empty() || !self.last_resort.is_empty() || self.first_free(pool, now).is_some()
    }

    /// Takes `position`: it is in use. Returns its quarantine.
    pub(super) fn take(&mut self, position: u128) -> Option<Quarantined> {
        self.assigned += 1;
        let quarantined = self.quarantine.remove(position);
        if quarantined.is_none() && !self.last_resort.remove(&position) {
            self.free.take(position);
        }
        quarantined
    }

    /// Records whether `position` is used externally. `is_free` is whether the pool could give it out otherwise.
    pub(super) fn set_external_use(&mut self, position: u128, is_used: bool, is_free: bool) {
        match is_used {
            true => self.external.insert(position),
            false => self.external.remove(&position),
        };
        if is_free {
            self.quarantine.remove(position);
            self.last_resort.remove(&position);
            self.free.take(position);
            self.free_up(position);
        }
    }

    /// Whether `position` is used externally.
    pub(super) fn is_in_external_use(&self, position: u128) -> bool {
        self.external.contains(&position)
    }

    fn free_up(&mut self, position: u128) {
        if self.is_in_external_use(position) {
            self.last_resort.insert(position);
        } else {
            self.free.give(position);
        }
    }

    /// Gives back `position`, which was taken. It becomes free only if `is_usable`, which is false for an address that
    /// the pool does not give to every Service.
    pub(super) fn give(&mut self, position: u128, is_usable: bool) {
        self.assigned -= 1;
        if is_usable {
            self.free_up(position);
        }
    }

    /// Puts `position` in quarantine if it is free and not used externally, whatever its quarantine was before. Returns the
    /// quarantine if not.
    pub(super) fn quarantine(&mut self, position: u128, quarantined: Quarantined) -> Option<Quarantined> {
        let is_free = self.free.take(position) || self.quarantine.get(position).is_some();
        if !is_free {
            return Some(quarantined);
        }
        self.quarantine.insert(position, quarantined);
        None
    }

    /// Returns the quarantine of `position`, unless it is used externally.
    pub(super) fn quarantine_of(&self, position: u128) -> Option<&Quarantined> {
        self.quarantine.get(position)
    }

    /// Returns the addresses in quarantine.
    pub(super) fn quarantined<'a>(
        &'a self,
        pool: &'a Pool,
    ) -> impl Iterator<Item = (IpAddr, &'a Quarantined)> {
        let positions = self.quarantine.iter();
        positions.filter_map(|(position, quarantined)| {
            Some((pool.addresses.at(self.family, position)?, quarantined))
        })
    }

    /// Records that `position` is shared in `group`.
    pub(super) fn share(&mut self, group: &SharingGroup<'_>, position: u128) {
        let backends = self.shared.entry(group.sharing.to_string()).or_default();
        let namespaces = backends.entry(group.backend.to_string()).or_default();
        namespaces
            .entry(group.namespace.to_string())
            .or_default()
            .add(position);
    }

    /// Records that `position` is no longer shared in `group`.
    pub(super) fn unshare(&mut self, group: &SharingGroup<'_>, position: u128) {
        let Some(backends) = self.shared.get_mut(group.sharing) else {
            return;
        };
        if let Some(namespaces) = backends.get_mut(group.backend) {
            if let Some(shared) = namespaces.get_mut(group.namespace) {
                shared.remove(position);
                if shared.is_empty() {
                    namespaces.remove(group.namespace);
                }
            }
            if namespaces.is_empty() {
                backends.remove(group.backend);
            }
        }
        if backends.is_empty() {
            self.shared.remove(group.sharing);
        }
    }

    /// Records that `ports` are no longer in use at `position`, which stays shared.
    pub(super) fn open(&mut self, group: &SharingGroup<'_>, position: u128, ports: &[Port]) {
        if let Some(shared) = self.shared_in(group) {
            shared.open(position, ports);
        }
    }

    /// Returns the addresses that are shared in `group`.
    pub(super) fn shared_in(&mut self, group: &SharingGroup<'_>) -> Option<&mut SharedAddresses> {
        let backends = self.shared.get_mut(group.sharing)?;
        backends.get_mut(group.backend)?.get_mut(group.namespace)
    }
}

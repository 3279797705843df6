//! The free list of one pool and family: which positions (see [`crate::AddressSet`]) are free, in quarantine or shared.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::net::IpAddr;

use super::quarantine::Quarantine;
use super::shared_addresses::SharedAddresses;
use crate::address::{FreeSet, is_buggy};
use crate::{Family, Pool, Port, Time};

/// The free addresses of one family in one pool.
#[derive(Debug, Clone)]
pub(super) struct FreeList {
    family: Family,
    /// Free and not in quarantine. May contain addresses to avoid: they are removed when a search meets them, so that a
    /// /8 needs no list of them.
    free: FreeSet,
    /// Free and in quarantine.
    quarantine: Quarantine,
    /// Shared addresses by sharing key, then by backend key.
    shared: BTreeMap<String, BTreeMap<String, SharedAddresses>>,
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

    /// Returns whether a position is free, in quarantine or not.
    pub(super) fn has_free(&mut self, pool: &Pool, now: Time) -> bool {
        !self.quarantine.is_empty() || self.first_free(pool, now).is_some()
    }

    /// Takes `position`: it is in use.
    pub(super) fn take(&mut self, position: u128) {
        if !self.quarantine.remove(position) {
            self.free.take(position);
        }
        self.assigned += 1;
    }

    /// Gives back `position`, which was taken. It becomes free only if `is_usable`, which is false for an address that
    /// the pool does not give to every Service.
    pub(super) fn give(&mut self, position: u128, is_usable: bool) {
        self.assigned -= 1;
        if is_usable {
            self.free.give(position);
        }
    }

    /// Puts `position`, if it is free, in quarantine until `end`, whatever its quarantine was before.
    pub(super) fn quarantine(&mut self, position: u128, end: Time) {
        if self.free.take(position) || self.quarantine.contains(position) {
            self.quarantine.insert(position, end);
        }
    }

    /// Returns the addresses in quarantine with the times when it ends.
    pub(super) fn quarantined<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = (IpAddr, Time)> + 'a {
        let positions = self.quarantine.iter();
        positions.filter_map(|(position, end)| Some((pool.addresses.at(self.family, position)?, end)))
    }

    /// Records that `position` is shared.
    pub(super) fn share(&mut self, sharing: &str, backend: &str, position: u128) {
        let backends = self.shared.entry(sharing.to_string()).or_default();
        backends.entry(backend.to_string()).or_default().add(position);
    }

    /// Records that `position` is no longer shared.
    pub(super) fn unshare(&mut self, sharing: &str, backend: &str, position: u128) {
        let Some(backends) = self.shared.get_mut(sharing) else {
            return;
        };
        if let Some(shared) = backends.get_mut(backend) {
            shared.remove(position);
            if shared.is_empty() {
                backends.remove(backend);
            }
        }
        if backends.is_empty() {
            self.shared.remove(sharing);
        }
    }

    /// Records that `ports` are no longer in use at `position`, which stays shared.
    pub(super) fn open(&mut self, sharing: &str, backend: &str, position: u128, ports: &[Port]) {
        if let Some(shared) = self.shared_under(sharing, backend) {
            shared.open(position, ports);
        }
    }

    /// Returns the addresses that are shared under these keys.
    pub(super) fn shared_under(&mut self, sharing: &str, backend: &str) -> Option<&mut SharedAddresses> {
        self.shared.get_mut(sharing)?.get_mut(backend)
    }
}

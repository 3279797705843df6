//! The free addresses of one family in one pool.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use core::net::IpAddr;

use super::sharers::Sharers;
use crate::address::{FreeSet, is_buggy};
use crate::{Family, Pool, Port, Time};

/// Positions (see [`crate::AddressSet`]) that are free, that rest, and that are shared.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    family: Family,
    /// May still have addresses to avoid: they are struck off when first met, so that a /8 needs no list of them.
    free: FreeSet,
    /// Given back not long ago: until when each rests, and the same by time.
    resting: BTreeMap<u128, Time>,
    resting_by_time: BTreeSet<(Time, u128)>,
    /// Shared addresses by sharing key, then backend key.
    shared: BTreeMap<String, BTreeMap<String, Sharers>>,
    /// Distinct addresses in use.
    pub(super) assigned: u128,
}

impl Shelf {
    /// Everything of `family` in `pool` is free, but for what is reserved.
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
            resting: BTreeMap::new(),
            resting_by_time: BTreeSet::new(),
            shared: BTreeMap::new(),
            assigned: 0,
        }
    }

    /// The lowest free position that has rested.
    pub(super) fn first_free(&mut self, pool: &Pool, now: Time) -> Option<u128> {
        while let Some(&(until, position)) = self.resting_by_time.first().filter(|(until, _)| *until <= now) {
            self.resting_by_time.remove(&(until, position));
            self.resting.remove(&position);
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

    /// The position that has rested longest.
    pub(super) fn first_resting(&self) -> Option<u128> {
        self.resting_by_time.first().map(|(_, position)| *position)
    }

    /// Whether a position is free, rested or not.
    pub(super) fn has_free(&mut self, pool: &Pool, now: Time) -> bool {
        !self.resting.is_empty() || self.first_free(pool, now).is_some()
    }

    /// Takes `position` off the free ones.
    pub(super) fn take(&mut self, position: u128) {
        if let Some(until) = self.resting.remove(&position) {
            self.resting_by_time.remove(&(until, position));
        } else {
            self.free.take(position);
        }
        self.assigned += 1;
    }

    /// Gives back `position`, which was taken; it is free again only when it may be given to anybody.
    pub(super) fn give(&mut self, position: u128, to_anybody: bool) {
        self.assigned -= 1;
        if to_anybody {
            self.free.give(position);
        }
    }

    /// Lets `position` rest until `until`, if it is free; the latest word counts.
    pub(super) fn rest(&mut self, position: u128, until: Time) {
        if let Some(until) = self.resting.remove(&position) {
            self.resting_by_time.remove(&(until, position));
        } else if !self.free.take(position) {
            return;
        }
        self.resting.insert(position, until);
        self.resting_by_time.insert((until, position));
    }

    /// The resting addresses and until when they rest.
    pub(super) fn resting<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = (IpAddr, Time)> + 'a {
        let addresses = self.resting.iter();
        addresses.filter_map(|(position, until)| Some((pool.addresses.at(self.family, *position)?, *until)))
    }

    /// Records that `position` is shared.
    pub(super) fn share(&mut self, sharing: &str, backend: &str, position: u128) {
        let backends = self.shared.entry(sharing.to_string()).or_default();
        backends.entry(backend.to_string()).or_default().add(position);
    }

    /// Forgets that `position` is shared.
    pub(super) fn unshare(&mut self, sharing: &str, backend: &str, position: u128) {
        let Some(backends) = self.shared.get_mut(sharing) else {
            return;
        };
        if let Some(sharers) = backends.get_mut(backend) {
            sharers.remove(position);
            if sharers.is_empty() {
                backends.remove(backend);
            }
        }
        if backends.is_empty() {
            self.shared.remove(sharing);
        }
    }

    /// Records that `ports` are no longer in use at `position`, which stays shared.
    pub(super) fn open(&mut self, sharing: &str, backend: &str, position: u128, ports: &[Port]) {
        if let Some(sharers) = self.shared_under(sharing, backend) {
            sharers.open(position, ports);
        }
    }

    /// What is shared under these keys.
    pub(super) fn shared_under(&mut self, sharing: &str, backend: &str) -> Option<&mut Sharers> {
        self.shared.get_mut(sharing)?.get_mut(backend)
    }
}

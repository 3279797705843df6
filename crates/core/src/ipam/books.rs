//! Who holds which address of which pool: the books, without any opinion on who should.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashMap;

use super::claim::{Claimant, Occupancy};
use super::memory::Memory;
use super::shelf::Shelf;
use super::waiting::Topic;
use super::{Refusal, Usage};
use crate::config::Claims;
use crate::{Family, Pool, PoolName, ServiceKey, Time};

/// All pools and all addresses in use.
#[derive(Debug, Clone)]
pub(super) struct Books {
    /// How long an address that was let go rests.
    rest: Duration,
    /// Sorted by name; a pool's place is its number until the pools change.
    pools: Vec<PoolBook>,
    owners: Claims<usize>,
    /// Pools with `serviceAllocation` that Services get without asking, by priority, those without one last.
    pinned: Vec<Vec<usize>>,
    /// The other pools that Services get without asking.
    generic: Vec<Vec<usize>>,
    /// Who holds each address.
    occupied: HashMap<IpAddr, Occupancy>,
    pub(super) memory: Memory,
    /// Whether anybody waits. If nobody does, what is released need not be told.
    pub(super) is_awaited: bool,
    /// What was released since it was last looked at.
    pub(super) released: BTreeSet<Topic>,
    /// Pools of which an address was taken or given back since they were last looked at.
    moved: Vec<usize>,
}

/// One pool.
#[derive(Debug, Clone)]
pub(super) struct PoolBook {
    pub(super) pool: Pool,
    v4: Shelf,
    v6: Shelf,
    /// Reserved addresses by Service.
    reserved: BTreeMap<ServiceKey, Vec<IpAddr>>,
    /// Distinct addresses that each namespace holds; counted only when there is a quota.
    held: BTreeMap<String, u64>,
    /// Whether it is among [`Books::moved`].
    has_moved: bool,
}

impl PoolBook {
    fn new(pool: Pool) -> Self {
        let mut reserved: BTreeMap<ServiceKey, Vec<IpAddr>> = BTreeMap::new();
        for (address, owner) in &pool.reservations {
            reserved.entry(owner.clone()).or_default().push(*address);
        }
        Self {
            v4: Shelf::new(&pool, Family::V4),
            v6: Shelf::new(&pool, Family::V6),
            reserved,
            held: BTreeMap::new(),
            has_moved: true,
            pool,
        }
    }

    pub(super) const fn shelf(&self, family: Family) -> &Shelf {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    const fn shelf_mut(&mut self, family: Family) -> &mut Shelf {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Addresses of this pool kept for `key`.
    pub(super) fn reserved_for(&self, key: &ServiceKey) -> &[IpAddr] {
        self.reserved.get(key).map_or(&[], Vec::as_slice)
    }

    /// How many more addresses of this pool `namespace` may hold.
    pub(super) fn quota_left(&self, namespace: &str) -> u64 {
        let held = self.held.get(namespace).copied().unwrap_or_default();
        self.pool
            .quota_per_namespace
            .map_or(u64::MAX, |quota| quota.saturating_sub(held))
    }

    pub(super) fn has_free(&mut self, family: Family, now: Time) -> bool {
        let shelf = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        shelf.has_free(&self.pool, now)
    }

    pub(super) fn first_free(&mut self, family: Family, now: Time) -> Option<u128> {
        let shelf = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        shelf.first_free(&self.pool, now)
    }

    fn usage(&self) -> Usage {
        let capacity = self.pool.capacity();
        Usage {
            assigned_v4: self.v4.assigned,
            assigned_v6: self.v6.assigned,
            available_v4: capacity.v4.saturating_sub(self.v4.assigned),
            available_v6: capacity.v6.saturating_sub(self.v6.assigned),
            capacity,
        }
    }

    fn count_namespace(&mut self, namespace: &str, more: bool) {
        if self.pool.quota_per_namespace.is_none() {
            return;
        }
        let held = self.held.entry(namespace.to_string()).or_default();
        if more {
            *held += 1;
        } else {
            *held -= 1;
        }
        if *held == 0 {
            self.held.remove(namespace);
        }
    }
}

impl Books {
    /// Books without pools, in which addresses rest for `rest`.
    pub(super) fn new(rest: Duration) -> Self {
        Self {
            rest,
            pools: Vec::new(),
            owners: Claims::default(),
            pinned: Vec::new(),
            generic: Vec::new(),
            occupied: HashMap::new(),
            memory: Memory::default(),
            is_awaited: false,
            released: BTreeSet::new(),
            moved: Vec::new(),
        }
    }

    /// Takes new pools; who holds what stays as it is.
    pub(super) fn set_pools(&mut self, pools: &[Pool]) {
        let resting: Vec<(IpAddr, Time)> = self
            .pools
            .iter()
            .flat_map(|book| book.v4.resting(&book.pool).chain(book.v6.resting(&book.pool)))
            .collect();
        self.pools = pools.iter().cloned().map(PoolBook::new).collect();
        self.pools.sort_by(|a, b| a.pool.name.cmp(&b.pool.name));
        self.moved = self.numbers().collect();
        self.owners = Claims::default();
        for (number, book) in self.pools.iter().enumerate() {
            self.owners.insert(&book.pool.addresses, &number);
        }
        self.order_pools();
        let occupied = core::mem::take(&mut self.occupied);
        for (address, occupancy) in &occupied {
            self.take(*address, occupancy);
        }
        self.occupied = occupied;
        for (address, until) in resting {
            self.rest_until(address, until);
        }
        self.released.clear();
    }

    /// All pools, sorted by name.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(|book| &book.pool)
    }

    /// The numbers of all pools.
    pub(super) fn numbers(&self) -> core::ops::Range<usize> {
        0..self.pools.len()
    }

    /// The pool with this number.
    pub(super) fn pool(&self, number: usize) -> &PoolBook {
        &self.pools[number]
    }

    pub(super) fn pool_mut(&mut self, number: usize) -> &mut PoolBook {
        &mut self.pools[number]
    }

    /// The number of the pool `name`.
    pub(super) fn find(&self, name: &PoolName) -> Option<usize> {
        self.pools.binary_search_by(|book| book.pool.name.cmp(name)).ok()
    }

    /// The one pool that gives out all of `addresses`.
    pub(super) fn owner(&self, addresses: &[IpAddr]) -> Option<usize> {
        let number = *self.owners.claimant(*addresses.first()?)?;
        let pool = &self.pools[number].pool;
        addresses
            .iter()
            .all(|address| pool.owns(*address))
            .then_some(number)
    }

    /// Pools that Services get without asking, in two sets: with `serviceAllocation`, then without. A set is in
    /// tiers of equal priority, a tier in order of name.
    pub(super) const fn unasked(&self) -> [&Vec<Vec<usize>>; 2] {
        [&self.pinned, &self.generic]
    }

    /// How much of a pool is in use.
    pub(super) fn usage(&self, name: &PoolName) -> Option<Usage> {
        self.find(name).map(|number| self.pools[number].usage())
    }

    /// A pool whose usage may have changed since it was last named here.
    pub(super) fn poll_changed_pool(&mut self) -> Option<PoolName> {
        let number = self.moved.pop()?;
        let book = &mut self.pools[number];
        book.has_moved = false;
        Some(book.pool.name.clone())
    }

    fn note_move(&mut self, number: usize) {
        if !core::mem::replace(&mut self.pools[number].has_moved, true) {
            self.moved.push(number);
        }
    }

    /// Who holds `address`.
    pub(super) fn occupancy(&self, address: IpAddr) -> Option<&Occupancy> {
        self.occupied.get(&address)
    }

    /// The first shared address in positions `from..before` of a pool on which `claimant` would not clash with anybody.
    pub(super) fn first_open(
        &mut self,
        claimant: &Claimant<'_>,
        number: usize,
        family: Family,
        positions: (u128, Option<u128>),
    ) -> Option<u128> {
        let PoolBook { pool, v4, v6, .. } = &mut self.pools[number];
        let shelf = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let sharers = shelf.shared_under(claimant.sharing, claimant.backend)?;
        sharers.first_open(positions, claimant.ports, |position, port| {
            let address = pool.addresses.at(family, position);
            let occupancy = address.and_then(|address| self.occupied.get(&address));
            occupancy
                .and_then(Occupancy::shared)
                .is_some_and(|shared| shared.uses(port))
        })
    }

    /// Whether `claimant` may hold `address` beside those who do.
    pub(super) fn admits(&self, claimant: &Claimant<'_>, address: IpAddr) -> Result<(), Refusal> {
        self.occupied
            .get(&address)
            .map_or(Ok(()), |occupancy| occupancy.admits(claimant, address))
    }

    /// Enters `claimant`, whom [`Self::admits`] let in, as a holder of `address`.
    pub(super) fn occupy(&mut self, claimant: &Claimant<'_>, address: IpAddr) {
        let namespace = &claimant.key.namespace;
        if let Some(occupancy) = self.occupied.get_mut(&address) {
            let is_new = !occupancy.reaches(namespace);
            occupancy.join(claimant);
            if is_new && let Some(number) = self.owners.claimant(address) {
                self.pools[*number].count_namespace(namespace, true);
            }
        } else {
            let occupancy = Occupancy::new(claimant);
            self.take(address, &occupancy);
            self.occupied.insert(address, occupancy);
        }
    }

    /// Takes `key` out as a holder of `address`; the address is free at once when nobody else holds it.
    pub(super) fn vacate(&mut self, key: &Arc<ServiceKey>, address: IpAddr) {
        let Some(occupancy) = self.occupied.get_mut(&address) else {
            return;
        };
        let freed = occupancy.leave(key);
        let stays_in_namespace = freed.is_some() && occupancy.reaches(&key.namespace);
        let owner = self.owners.claimant(address).copied();
        if let Some(number) = owner.filter(|_| !stays_in_namespace) {
            self.pools[number].count_namespace(&key.namespace, false);
        }
        let book = owner.map(|number| &mut self.pools[number]);
        let place = book.and_then(|book| {
            book.pool
                .addresses
                .position(address)
                .map(|position| (book, position))
        });
        if let Some(freed) = freed {
            if let (Some((book, position)), Some(shared)) = (place, occupancy.shared()) {
                book.shelf_mut(Family::of(address))
                    .open(&shared.sharing, &shared.backend, position, &freed);
            }
            return;
        }
        let Some(occupancy) = self.occupied.remove(&address) else {
            return;
        };
        let (Some(number), Some((book, position))) = (owner, place) else {
            return;
        };
        let to_anybody = book.pool.owns(address) && !book.pool.reservations.contains_key(&address);
        let shelf = book.shelf_mut(Family::of(address));
        shelf.give(position, to_anybody);
        if let Some(shared) = occupancy.shared() {
            shelf.unshare(&shared.sharing, &shared.backend, position);
        }
        self.note_move(number);
    }

    /// Lets `address` rest from now on before anybody gets it who does not ask for it.
    pub(super) fn let_rest(&mut self, address: IpAddr, now: Time) {
        self.rest_until(address, now + self.rest);
    }

    fn rest_until(&mut self, address: IpAddr, until: Time) {
        let Some(book) = self
            .owners
            .claimant(address)
            .map(|number| &mut self.pools[*number])
        else {
            return;
        };
        if let Some(position) = book
            .pool
            .addresses
            .position(address)
            .filter(|_| book.pool.owns(address))
        {
            book.shelf_mut(Family::of(address)).rest(position, until);
        }
    }

    /// Notes that `key` let go of `address`, or of some of its claim to it, for those who wait for that.
    pub(super) fn publish(&mut self, key: &Arc<ServiceKey>, address: IpAddr) {
        if !self.is_awaited {
            return;
        }
        self.released.insert(Topic::Address(address));
        let occupancy = self.occupied.get(&address);
        if let Some(shared) = occupancy.and_then(Occupancy::shared) {
            self.released.insert(Topic::Sharing(shared.sharing.clone()));
        }
        let Some(&number) = self.owners.claimant(address) else {
            return;
        };
        if occupancy.is_none() {
            self.released.insert(Topic::Pool(number, Family::of(address)));
        }
        if self.pools[number].pool.quota_per_namespace.is_some() {
            self.released.insert(Topic::Quota(number, key.namespace.clone()));
        }
    }

    /// Notes that `address` is about to be shared under the key `sharing`, for those who wait to join.
    pub(super) fn announce_shared(&mut self, address: IpAddr, sharing: &Arc<str>) {
        if self.is_awaited {
            self.released.insert(Topic::Address(address));
            self.released.insert(Topic::Sharing(sharing.clone()));
        }
    }

    /// Whether there is still something of `topic` to be had.
    pub(super) fn offers(&mut self, topic: &Topic, now: Time) -> bool {
        match topic {
            Topic::Pool(number, family) => self.pools[*number].has_free(*family, now),
            Topic::Address(_) | Topic::Sharing(_) | Topic::Quota(..) => true,
        }
    }

    /// Takes an address that nobody held off its pool's shelf.
    fn take(&mut self, address: IpAddr, occupancy: &Occupancy) {
        let Some(&number) = self.owners.claimant(address) else {
            return;
        };
        let book = &mut self.pools[number];
        let Some(position) = book.pool.addresses.position(address) else {
            return;
        };
        let shelf = book.shelf_mut(Family::of(address));
        shelf.take(position);
        if let Some(shared) = occupancy.shared() {
            shelf.share(&shared.sharing, &shared.backend, position);
        }
        if book.pool.quota_per_namespace.is_some() {
            for namespace in occupancy.namespaces() {
                book.count_namespace(namespace, true);
            }
        }
        self.note_move(number);
    }

    fn order_pools(&mut self) {
        let mut tiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let mut generic = Vec::new();
        for (number, book) in self
            .pools
            .iter()
            .enumerate()
            .filter(|(_, book)| book.pool.auto_assign)
        {
            match &book.pool.allocation {
                Some(allocation) => {
                    let tier = allocation.priority.unwrap_or(u32::MAX);
                    tiers.entry(tier).or_default().push(number);
                }
                None => generic.push(number),
            }
        }
        self.pinned = tiers.into_values().collect();
        self.generic = Vec::from([generic]);
    }
}

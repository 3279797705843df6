//! What a case reads from the books and enters into them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::case::Case;
use super::claim::{Claimant, Occupancy};
use super::need::Need;
use super::pick::Search;
use super::waiting::{Demand, Individual, Sharing, Source};
use super::{Assignment, Note, Refusal};
use crate::{Family, PoolName};

impl Case<'_> {
    fn claimant(&self) -> Claimant<'_> {
        Claimant::new(self.key, self.service)
    }

    pub(super) fn pool_name(&self, number: usize) -> PoolName {
        self.books.pool(number).pool.name.clone()
    }

    /// Whether the Service may go on holding `addresses`, said to be of the pool `name`.
    pub(super) fn adoptable(
        &self,
        addresses: &[IpAddr],
        name: Option<&PoolName>,
    ) -> Result<Assignment, Refusal> {
        let pool = match self.books.owner(addresses) {
            Some(number) if self.books.pool(number).pool.allows(self.service) => self.pool_name(number),
            Some(number) => return Err(Refusal::PoolNotCompatible(self.pool_name(number))),
            None => match name.filter(|name| self.withheld.contains(name)) {
                Some(name) => name.clone(),
                None => return Err(Refusal::AddressOutsidePools(addresses.into())),
            },
        };
        for address in addresses {
            self.books.admits(&self.claimant(), *address)?;
        }
        let addresses = addresses.into();
        Ok(Assignment { addresses, pool })
    }

    /// Whether the Service may get exactly `addresses`, which pool `number` gives out.
    pub(super) fn obtainable(&self, number: usize, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let book = self.books.pool(number);
        let namespace = &self.key.namespace;
        let mut new = 0;
        for address in addresses {
            let (address, owner) = (*address, book.pool.reservations.get(address));
            if let Some(owner) = owner.filter(|owner| *owner != &**self.key) {
                return Err(Refusal::AddressReserved {
                    address,
                    owner: owner.clone(),
                });
            }
            self.books.admits(&self.claimant(), address)?;
            let held_here = self
                .books
                .occupancy(address)
                .is_some_and(|holders| holders.reaches(namespace));
            new += u64::from(!held_here);
        }
        if new > book.quota_left(namespace) {
            return Err(self.over_quota(number));
        }
        Ok(())
    }

    /// The pool that gives out all of `requested`, if that is a request that the Service may make.
    pub(super) fn requested_owner(&self, requested: &[IpAddr], need: &Need) -> Result<usize, Refusal> {
        let addresses = requested.into();
        if !need.is_met_by(requested) {
            let families = need.families().to_vec();
            return Err(Refusal::FamilyMismatch { addresses, families });
        }
        let Some(number) = self.books.owner(requested) else {
            return Err(Refusal::AddressOutsidePools(addresses));
        };
        let pool = &self.books.pool(number).pool;
        match &self.service.request.pool {
            Some(asked) if *asked != pool.name => {
                let pool = asked.clone();
                Err(Refusal::PoolMismatch { addresses, pool })
            }
            _ if !pool.allows(self.service) => Err(Refusal::PoolNotCompatible(pool.name.clone())),
            _ => Ok(number),
        }
    }

    /// Whether the Service may get addresses of pool `number` without asking for them.
    pub(super) fn may_get_from(&self, number: usize) -> bool {
        let pool = &self.books.pool(number).pool;
        let open = match &self.service.request.pool {
            Some(asked) => *asked == pool.name,
            None => pool.auto_assign,
        };
        open && pool.allows(self.service)
    }

    /// The addresses of pool `number` that are reserved for the Service, of use to it, and to be had.
    pub(super) fn reserved_now(&self, number: usize, need: &Need) -> Vec<IpAddr> {
        let reserved = self.books.pool(number).reserved_for(self.key).iter().copied();
        let of_use = reserved.filter(|address| need.families().contains(&Family::of(*address)));
        of_use
            .filter(|address| self.books.admits(&self.claimant(), *address).is_ok())
            .collect()
    }

    /// The pools in question: the one asked for, or all that the Service may use without asking, best first.
    pub(super) fn pools(&self, asked: Option<usize>) -> Vec<usize> {
        match asked {
            Some(number) => Vec::from([number]),
            None => {
                let unasked = self.books.unasked().into_iter().flatten().flatten().copied();
                unasked
                    .filter(|number| self.books.pool(*number).pool.allows(self.service))
                    .collect()
            }
        }
    }

    /// The best addresses there are in the pool asked for, or in all pools.
    pub(super) fn find(&mut self, need: &Need, asked: Option<usize>) -> Option<Assignment> {
        let search = Search {
            claimant: Claimant::new(self.key, self.service),
            service: self.service,
            need,
            now: self.now,
        };
        let (addresses, number) = match asked {
            Some(number) => (search.in_one(self.books, number)?, number),
            None => search.everywhere(self.books)?,
        };
        let pool = self.pool_name(number);
        Some(Assignment { addresses, pool })
    }

    /// An address of `family` in pool `number`.
    pub(super) fn find_one(&mut self, number: usize, family: Family) -> Option<IpAddr> {
        let found = self.find(&Need::One(family), Some(number))?;
        found.addresses.first().copied()
    }

    /// Why nothing was found in `pools` for `families`.
    pub(super) fn shortage(&mut self, pools: &[usize], need: &Need) -> Refusal {
        if pools.is_empty() {
            return Refusal::NoPoolMatchesService;
        }
        let families = need.families().to_vec();
        let has = |number: &usize, family: &Family| {
            self.books
                .pool(*number)
                .pool
                .addresses
                .last_position(*family)
                .is_some()
        };
        let fitting: Vec<usize> = pools
            .iter()
            .copied()
            .filter(|number| {
                need.stages()
                    .iter()
                    .any(|stage| stage.iter().all(|family| has(number, family)))
            })
            .collect();
        if fitting.is_empty() {
            let pools = pools.iter().map(|number| self.pool_name(*number)).collect();
            return Refusal::FamilyUnavailable { pools, families };
        }
        let now = self.now;
        let mut free_families = BTreeSet::new();
        for &number in &fitting {
            let book = self.books.pool_mut(number);
            let free: Vec<Family> = families
                .iter()
                .copied()
                .filter(|family| book.has_free(*family, now))
                .collect();
            if free.len() == families.len() && book.quota_left(&self.key.namespace) < families.len() as u64 {
                return self.over_quota(number);
            }
            free_families.extend(free);
        }
        let exhausted: Vec<Family> = families
            .iter()
            .copied()
            .filter(|f| !free_families.contains(f))
            .collect();
        Refusal::PoolExhausted {
            pools: fitting.iter().map(|number| self.pool_name(*number)).collect(),
            // Each family may be free somewhere, but never both in one pool.
            families: if exhausted.is_empty() { families } else { exhausted },
        }
    }

    /// What to wait for after nothing was found.
    pub(super) fn demand(&self, source: Source, pools: &[usize], need: &Need) -> Demand {
        let reserved = |number: &usize| self.books.pool(*number).reserved_for(self.key);
        let reserved: Vec<IpAddr> = pools.iter().flat_map(reserved).copied().collect();
        let is_unlike_others = self.held.is_some() || !reserved.is_empty();
        let has_quota = |number: &usize| self.books.pool(*number).pool.quota_per_namespace.is_some();
        let quotas: Vec<usize> = pools.iter().copied().filter(has_quota).collect();
        let Claimant {
            sharing,
            backend,
            ports,
            ..
        } = self.claimant();
        Demand {
            source,
            families: need.families().to_vec(),
            any: matches!(need, Need::BothOr(_)),
            sharing: (!sharing.is_empty()).then(|| Sharing {
                key: sharing.clone(),
                backend: backend.into(),
                ports: ports.iter().copied().collect(),
            }),
            quotas: (!quotas.is_empty()).then(|| (self.key.namespace.clone(), quotas)),
            individual: is_unlike_others.then(|| Individual {
                key: self.key.clone(),
                reserved,
            }),
        }
    }

    /// Gives the Service `assignment`.
    pub(super) fn assign(&mut self, assignment: Assignment) {
        // The only note in most cases.
        self.notes.reserve_exact(1);
        self.notes.push(Note::Assigned(assignment.addresses.clone()));
        self.occupy(assignment);
    }

    /// Gives the Service `address` beside what it has.
    pub(super) fn add(&mut self, address: IpAddr) {
        self.notes.push(Note::AdditionalAssigned(address));
        if let Some(mut held) = self.held.take() {
            held.addresses.push(address);
            self.occupy(held);
        }
    }

    /// Enters `assignment` as what the Service holds, and tells those who could share it.
    pub(super) fn occupy(&mut self, assignment: Assignment) {
        if !self.service.sharing_key.is_empty() {
            for address in &assignment.addresses {
                self.books.announce_shared(*address, &self.service.sharing_key);
            }
        }
        self.put_back(Some(assignment));
    }

    /// Frees what the Service held, for the time of an attempt to get something else.
    pub(super) fn vacate_all(&mut self, previous: Option<&Assignment>) {
        for address in previous.iter().flat_map(|previous| &previous.addresses) {
            self.books.vacate(self.key, *address);
        }
    }

    /// Enters `previous` as what the Service holds; after an attempt that failed, nobody can be helped by that.
    pub(super) fn put_back(&mut self, previous: Option<Assignment>) {
        if let Some(previous) = previous {
            for address in &previous.addresses {
                self.books
                    .occupy(&Claimant::new(self.key, self.service), *address);
            }
            self.books.memory.forget(self.key);
            *self.held = Some(previous);
        }
    }

    /// The attempt succeeded: what the Service held and does not hold any more goes to whoever waits for it.
    pub(super) fn let_go(&mut self, previous: Option<&Assignment>) {
        for address in previous.iter().flat_map(|previous| &previous.addresses) {
            let is_held = self
                .held
                .as_ref()
                .is_some_and(|held| held.addresses.contains(address));
            if !is_held {
                self.leave(*address);
            }
        }
    }

    /// The Service, which was taken out as a holder of `address`, does not come back.
    fn leave(&mut self, address: IpAddr) {
        self.books.memory.give_way(address, &self.service.sharing_key);
        self.books.let_rest(address, self.now);
        self.books.publish(self.key, address);
    }

    /// Takes one address from the Service.
    pub(super) fn release(&mut self, address: IpAddr) {
        if let Some(held) = self.held {
            held.addresses.retain(|other| *other != address);
        }
        self.books.vacate(self.key, address);
        self.leave(address);
    }

    /// Takes everything from the Service, remembering it.
    pub(super) fn release_all(&mut self) {
        if let Some(held) = self.held.take() {
            for address in &held.addresses {
                self.books.vacate(self.key, *address);
                self.leave(*address);
            }
            let sharing = &self.service.sharing_key;
            self.books.memory.remember(self.key, sharing, &held.addresses);
        }
    }

    /// Takes everything from the Service, and says why.
    pub(super) fn clear(&mut self, because: Refusal) {
        let addresses = self
            .held
            .as_ref()
            .map(|held| held.addresses.clone())
            .unwrap_or_default();
        self.release_all();
        self.notes.push(Note::Cleared { addresses, because });
    }

    /// Records sharing key, backends and ports as they are now.
    pub(super) fn renew_claim(&mut self, address: IpAddr) {
        let claimant = Claimant::new(self.key, self.service);
        let is_recorded = |holders: &Occupancy| holders.records(&claimant);
        if self.books.occupancy(address).is_some_and(is_recorded) {
            return;
        }
        self.books.vacate(self.key, address);
        self.books.occupy(&claimant, address);
        self.books.publish(self.key, address);
    }

    fn over_quota(&self, number: usize) -> Refusal {
        let pool = &self.books.pool(number).pool;
        Refusal::QuotaExceeded {
            pool: pool.name.clone(),
            namespace: self.key.namespace.clone(),
            quota: pool.quota_per_namespace.unwrap_or_default(),
        }
    }
}

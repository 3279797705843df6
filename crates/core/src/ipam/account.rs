//! The account of one Service with the ledger: what the Service has, may have and could get, and changes to it.

mod shortage;

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::decision::{Assignment, Note};
use super::ledger::Ledger;
use super::occupancy::{Occupancy, Requester};
use super::pool_ledger::PoolIndex;
use super::refusal::Refusal;
use super::requirement::FamilyRequirement;
use super::search::Search;
use crate::{Family, PoolName, Service, ServiceKey, Time};

/// One Service and the ledger.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) ledger: &'a mut Ledger,
    /// Pools of which no version is in force; Services keep the addresses that they have of them.
    pub(super) withheld: &'a BTreeSet<PoolName>,
    pub(super) key: &'a Arc<ServiceKey>,
    pub(super) service: &'a Service,
    pub(super) held: &'a mut Option<Assignment>,
    pub(super) notes: Vec<Note>,
    pub(super) now: Time,
}

impl Account<'_> {
    fn requester(&self) -> Requester<'_> {
        Requester::new(self.key, self.service)
    }

    /// Returns the name of a pool.
    pub(super) fn pool_name(&self, index: PoolIndex) -> PoolName {
        self.ledger.pool(index).pool.name.clone()
    }

    /// Checks whether the Service may keep `addresses`, which are recorded as addresses of the pool `name`.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn adoptable(
        &self,
        addresses: &[IpAddr],
        name: Option<&PoolName>,
    ) -> Result<Assignment, Refusal> {
        let pool = match self.ledger.pool_of(addresses) {
            Some(index) if self.ledger.pool(index).pool.allows(self.service) => self.pool_name(index),
            Some(index) => return Err(Refusal::PoolNotCompatible(self.pool_name(index))),
            None => match name.filter(|name| self.withheld.contains(name)) {
                Some(name) => name.clone(),
                None => return Err(Refusal::AddressOutsidePools(addresses.into())),
            },
        };
        for address in addresses {
            self.ledger.admits(&self.requester(), *address)?;
        }
        let addresses = addresses.into();
        Ok(Assignment { addresses, pool })
    }

    /// Checks whether the Service may get exactly `addresses`, which the pool at `index` gives out.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn obtainable(&self, index: PoolIndex, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let pool = self.ledger.pool(index);
        let namespace = &self.key.namespace;
        let mut new = 0;
        for address in addresses {
            let (address, owner) = (*address, pool.pool.reservations.get(address));
            if let Some(owner) = owner.filter(|owner| *owner != &**self.key) {
                return Err(Refusal::AddressReserved {
                    address,
                    service: ServiceKey::clone(self.key),
                    owner: owner.clone(),
                });
            }
            self.ledger.admits(&self.requester(), address)?;
            let is_counted = self
                .ledger
                .occupancy(address)
                .is_some_and(|holders| holders.reaches(namespace));
            new += u64::from(!is_counted);
        }
        if new > pool.quota_left(namespace) {
            return Err(self.over_quota(index));
        }
        Ok(())
    }

    /// Returns the pool that gives out all of `requested`, if the Service may request addresses of that pool.
    ///
    /// # Errors
    /// The reason why the Service may never have these addresses.
    pub(super) fn requested_pool(
        &self,
        requested: &[IpAddr],
        requirement: &FamilyRequirement,
    ) -> Result<PoolIndex, Refusal> {
        let addresses = requested.into();
        if !requirement.is_met_by(requested) {
            let families = requirement.families().to_vec();
            return Err(Refusal::FamilyMismatch { addresses, families });
        }
        let Some(index) = self.ledger.pool_of(requested) else {
            return Err(Refusal::AddressOutsidePools(addresses));
        };
        let pool = &self.ledger.pool(index).pool;
        match &self.service.request.pool {
            Some(requested) if *requested != pool.name => {
                let pool = requested.clone();
                Err(Refusal::PoolMismatch { addresses, pool })
            }
            _ if !pool.allows(self.service) => Err(Refusal::PoolNotCompatible(pool.name.clone())),
            _ => Ok(index),
        }
    }

    /// Returns whether the Service may get addresses of the pool at `index` without requesting them.
    pub(super) fn is_auto_assignable(&self, index: PoolIndex) -> bool {
        let pool = &self.ledger.pool(index).pool;
        let open = match &self.service.request.pool {
            Some(requested) => *requested == pool.name,
            None => pool.auto_assign,
        };
        open && pool.allows(self.service)
    }

    /// Returns the addresses of the pool at `index` that are reserved for the Service, useful for it and not in use by
    /// others.
    pub(super) fn available_reservations(
        &self,
        index: PoolIndex,
        requirement: &FamilyRequirement,
    ) -> Vec<IpAddr> {
        let reserved = self.ledger.pool(index).reserved_for(self.key).iter().copied();
        let useful = reserved.filter(|address| requirement.families().contains(&Family::of(*address)));
        useful
            .filter(|address| self.ledger.admits(&self.requester(), *address).is_ok())
            .collect()
    }

    /// Returns the requested pool, or without a request all pools that auto-assign addresses to the Service, best first.
    pub(super) fn pools(&self, requested: Option<PoolIndex>) -> Vec<PoolIndex> {
        match requested {
            Some(index) => Vec::from([index]),
            None => {
                let pools = self
                    .ledger
                    .auto_assigning()
                    .into_iter()
                    .flatten()
                    .flatten()
                    .copied();
                pools
                    .filter(|index| self.ledger.pool(*index).pool.allows(self.service))
                    .collect()
            }
        }
    }

    /// Returns the best addresses in the requested pool, or without a request in all auto-assigning pools.
    pub(super) fn find(
        &mut self,
        requirement: &FamilyRequirement,
        requested: Option<PoolIndex>,
    ) -> Option<Assignment> {
        let search = Search {
            requester: Requester::new(self.key, self.service),
            service: self.service,
            requirement,
            now: self.now,
        };
        let (addresses, index) = match requested {
            Some(index) => (search.in_one(self.ledger, index)?, index),
            None => search.everywhere(self.ledger)?,
        };
        let pool = self.pool_name(index);
        Some(Assignment { addresses, pool })
    }

    /// Returns an address of `family` in the pool at `index`.
    pub(super) fn find_one(&mut self, index: PoolIndex, family: Family) -> Option<IpAddr> {
        let found = self.find(&FamilyRequirement::One(family), Some(index))?;
        found.addresses.first().copied()
    }

    /// Gives the Service `assignment`.
    pub(super) fn assign(&mut self, assignment: Assignment) {
        // In most cases this is the only note.
        self.notes.reserve_exact(1);
        self.notes.push(Note::Assigned(assignment.addresses.clone()));
        self.occupy(assignment);
    }

    /// Gives the Service `address` in addition to what it has.
    pub(super) fn add(&mut self, address: IpAddr) {
        self.notes.push(Note::AdditionalAssigned(address));
        if let Some(mut held) = self.held.take() {
            held.addresses.push(address);
            self.occupy(held);
        }
    }

    /// Records `assignment` as what the Service has, and records its addresses for Services that wait to share them.
    pub(super) fn occupy(&mut self, assignment: Assignment) {
        if !self.service.sharing_key.is_empty() {
            for address in &assignment.addresses {
                self.ledger.note_sharing(*address, &self.service.sharing_key);
            }
        }
        self.put_back(Some(assignment));
    }

    /// Frees `previous`, which the Service had, for the time of an attempt to get other addresses.
    pub(super) fn vacate_all(&mut self, previous: Option<&Assignment>) {
        for address in previous.iter().flat_map(|previous| &previous.addresses) {
            self.ledger.vacate(self.key, *address);
        }
    }

    /// Records `previous` as what the Service has. No release is recorded: after an attempt that failed, nothing has changed
    /// for waiting Services.
    pub(super) fn put_back(&mut self, previous: Option<Assignment>) {
        if let Some(previous) = previous {
            for address in &previous.addresses {
                self.ledger
                    .occupy(&Requester::new(self.key, self.service), *address);
            }
            self.ledger.past.forget(self.key);
            *self.held = Some(previous);
        }
    }

    /// Releases those addresses of `previous` that the Service has no longer, after an attempt that succeeded.
    pub(super) fn release_previous(&mut self, previous: Option<&Assignment>) {
        for address in previous.iter().flat_map(|previous| &previous.addresses) {
            let is_kept = self
                .held
                .as_ref()
                .is_some_and(|held| held.addresses.contains(address));
            if !is_kept {
                self.note_left(*address);
            }
        }
    }

    /// Records that the Service, which is no longer among the holders of `address`, has released it.
    fn note_left(&mut self, address: IpAddr) {
        self.ledger.past.supersede(address, &self.service.sharing_key);
        self.ledger.quarantine(address, self.now);
        self.ledger.note_release(self.key, address);
    }

    /// Notes that the Service may not have the addresses in its status. A Service that has other addresses keeps those and
    /// loses nothing, so there is no note.
    pub(super) fn reject_status(&mut self, because: Refusal) {
        if self.held.is_none() {
            let addresses = self.service.assigned.clone();
            self.notes.push(Note::Cleared { addresses, because });
        }
    }

    /// Releases one address of the Service.
    pub(super) fn release(&mut self, address: IpAddr) {
        if let Some(held) = self.held {
            held.addresses.retain(|other| *other != address);
        }
        self.ledger.vacate(self.key, address);
        self.note_left(address);
    }

    /// Releases all addresses of the Service, and records them as its past assignment.
    pub(super) fn release_all(&mut self) {
        if let Some(held) = self.held.take() {
            for address in &held.addresses {
                self.ledger.vacate(self.key, *address);
                self.note_left(*address);
            }
            let sharing = &self.service.sharing_key;
            self.ledger.past.remember(self.key, sharing, &held.addresses);
        }
    }

    /// Releases all addresses of the Service, with a note that gives the reason.
    pub(super) fn clear(&mut self, because: Refusal) {
        let addresses = self
            .held
            .as_ref()
            .map(|held| held.addresses.clone())
            .unwrap_or_default();
        self.release_all();
        self.notes.push(Note::Cleared { addresses, because });
    }

    /// Records the sharing key, the backends and the ports of the Service as they are now.
    pub(super) fn update_occupancy(&mut self, address: IpAddr) {
        let requester = Requester::new(self.key, self.service);
        let is_recorded = |holders: &Occupancy| holders.records(&requester);
        if self.ledger.occupancy(address).is_some_and(is_recorded) {
            return;
        }
        self.ledger.vacate(self.key, address);
        self.ledger.occupy(&requester, address);
        self.ledger.note_release(self.key, address);
    }

    fn over_quota(&self, index: PoolIndex) -> Refusal {
        let pool = &self.ledger.pool(index).pool;
        Refusal::QuotaExceeded {
            pool: pool.name.clone(),
            namespace: self.key.namespace.to_string(),
            quota: pool.quota_per_namespace.unwrap_or_default(),
        }
    }
}

//! The account of one Service with the ledger: what the Service has, may have and could get, and changes to it.

mod keeping;
mod shortage;

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::IpAddr;

pub(super) use self::keeping::Keepable;
use super::decision::{Assignment, Note};
use super::ledger::Ledger;
use super::occupancy::{Occupancy, Requester};
use super::pool_ledger::PoolIndex;
use super::refusal::Refusal;
use super::requirement::FamilyRequirement;
use super::search::Search;
use crate::{Addresses, Family, PoolName, Service, ServiceKey, Time};

/// One Service and the ledger.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) ledger: &'a mut Ledger,
    /// Pools of which no version is in force; Services keep the addresses that they have of them.
    pub(super) withheld: &'a BTreeSet<PoolName>,
    pub(super) key: &'a ServiceKey,
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

    /// Returns why the Service gets nothing of the pool `name`, of which no version is in force.
    pub(super) fn refuse_pool(&self, name: &PoolName) -> Refusal {
        if self.withheld.contains(name) {
            Refusal::PoolNotInForce(name.clone())
        } else {
            Refusal::PoolUnknown(name.clone())
        }
    }

    /// Returns a refusal if `address` of the pool at `index` is reserved for another Service.
    fn reserved_for_other(&self, index: PoolIndex, address: IpAddr) -> Option<Refusal> {
        let owner = self.ledger.pool(index).pool.reservations.get(&address)?;
        (owner != self.key).then(|| Refusal::AddressReserved {
            address,
            service: self.key.clone(),
            owner: owner.clone(),
        })
    }

    /// Checks whether a request for `addresses` of the pool at `index` is met, as far as the pool and the quarantine are
    /// concerned.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn requestable(
        &self,
        index: PoolIndex,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Refusal> {
        let mut addresses = addresses.into_iter();
        addresses.try_for_each(|address| self.ledger.allows_request(index, self.key, address, self.now))
    }

    /// Returns the addresses that the Service has after a request for `requested`, of the pool at `index`, is met: of the
    /// addresses `before`, one of another family than a single requested address stays if it is of that pool.
    pub(super) fn requested_beside(
        &self,
        index: PoolIndex,
        requested: &[IpAddr],
        before: Option<&Assignment>,
    ) -> Addresses {
        let ([one], Some(before)) = (requested, before) else {
            return requested.into();
        };
        let is_replaced = |address: &IpAddr| Family::of(*address) == Family::of(*one);
        let in_place = |address: &IpAddr| if is_replaced(address) { *one } else { *address };
        let pool = &self.ledger.pool(index).pool;
        let stay = before.addresses.iter().map(in_place);
        let mut addresses: Addresses = stay.filter(|address| pool.owns(*address)).collect();
        if !addresses.contains(one) {
            addresses.push(*one);
        }
        addresses
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
            let address = *address;
            if let Some(refusal) = self.reserved_for_other(index, address) {
                return Err(refusal);
            }
            self.ledger.admits_new(&self.requester(), address)?;
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
        if !requirement.accepts(requested) {
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
            .filter(|address| self.ledger.admits_new(&self.requester(), *address).is_ok())
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
        let past: Addresses = self.ledger.past.recall(self.key).unwrap_or_default().into();
        let search = Search {
            requester: Requester::new(self.key, self.service),
            service: self.service,
            requirement,
            past: &past,
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
        let addresses = assignment.addresses.clone();
        self.put_back(Some(assignment));
        for address in addresses {
            self.ledger.note_claims(self.key, address);
        }
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
            self.ledger.past.reclaim(self.key, &previous.addresses);
            *self.held = Some(previous);
        }
    }

    /// Releases those addresses of `previous` that the Service has no longer, after an attempt that succeeded.
    pub(super) fn release_previous(&mut self, previous: Option<&Assignment>) {
        let held = self.held.as_ref().map_or(&[][..], |held| &held.addresses);
        let before = previous.iter().flat_map(|previous| &previous.addresses);
        let left: Addresses = before
            .copied()
            .filter(|address| !held.contains(address))
            .collect();
        self.note_left(&left);
    }

    /// Records that the Service, which is no longer among the holders of `addresses`, has released them.
    fn note_left(&mut self, addresses: &[IpAddr]) {
        let sharing = &self.service.sharing_key;
        for address in addresses {
            self.ledger.past.supersede(*address, sharing);
            self.ledger.quarantine(*address, self.key, self.now);
            self.ledger.note_release(self.key, *address);
            self.ledger.note_claims(self.key, *address);
        }
        if !addresses.is_empty() {
            self.ledger.past.remember(self.key, sharing, addresses);
        }
    }

    /// Notes that the Service may not have the addresses in its status. A Service that has other addresses keeps those and
    /// loses nothing, so there is no note.
    pub(super) fn reject_status(&mut self, because: Refusal) {
        if self.held.is_none() {
            let addresses = self.service.assigned.clone();
            self.notes.push(Note::Cleared { addresses, because });
        }
    }

    /// Releases one address of the Service, with a note that gives the reason.
    pub(super) fn release(&mut self, address: IpAddr, because: Refusal) {
        if let Some(held) = self.held {
            held.addresses.retain(|other| *other != address);
        }
        self.ledger.vacate(self.key, address);
        let addresses = Addresses::from_slice(&[address]);
        self.note_left(&addresses);
        self.notes.push(Note::Cleared { addresses, because });
    }

    /// Releases all addresses of the Service, and records them as its past assignment.
    pub(super) fn release_all(&mut self) {
        if let Some(held) = self.held.take() {
            self.vacate_all(Some(&held));
            self.note_left(&held.addresses);
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

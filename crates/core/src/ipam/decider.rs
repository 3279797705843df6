//! The decision for one Service: what it may keep, what it gets, what it waits for.
//!
//! ```text
//!  status --adopt--> held --in a pool?------no--> cleared (a past assignment)
//!                     |                              |
//!                     | request met: keep            | allocate
//!                     | request can be met: move     v
//!                     | request cannot be met:     held, or refused: wait
//!                     v keep, note, wait
//! ```

use alloc::vec::Vec;
use core::net::IpAddr;

use super::account::{Account, Keepable};
use super::decision::{Assignment, Note};
use super::pool_ledger::PoolIndex;
use super::refusal::Refusal;
use super::requirement::{FamilyRequirement, is_valid_assignment, split_by_use};
use super::waiting::{AddressSource, WaitKey};
use crate::{Addresses, Family, PoolName, Time};

/// Decides on one Service, and changes its account accordingly.
#[derive(Debug)]
pub(super) struct Decider<'a> {
    pub(super) account: Account<'a>,
}

/// The result of a decision, apart from the addresses that the Service has.
#[derive(Debug, Default)]
pub(super) struct DeciderOutput {
    /// The reason why the Service has no address, if it has none.
    pub(super) refusal: Option<Refusal>,
    /// What to wait for.
    pub(super) wait_key: Option<WaitKey>,
    /// What to report to the user.
    pub(super) notes: Vec<Note>,
    /// When the quarantine of a requested address ends.
    pub(super) quarantine_end: Option<(Time, IpAddr)>,
}

/// Where the addresses in the status of a Service come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusOrigin {
    /// Most likely a controller that was active before: the Service has its addresses, whatever has changed since.
    Controller,
    /// Unknown: the Service is new to an active controller, so its addresses count as requested.
    Unknown,
}

impl Decider<'_> {
    /// Adopts the addresses in the status of a Service that has none yet, if it may have them.
    pub(super) fn adopt(&mut self, origin: StatusOrigin) {
        let account = &mut self.account;
        let claimed = &account.service.assigned;
        let families = match FamilyRequirement::of(account.service) {
            Ok(requirement) => requirement.families(),
            // Invalid cluster IPs are no reason to release anything.
            Err(Refusal::InvalidClusterIps(_)) => &[Family::V4, Family::V6],
            Err(_) => return,
        };
        if claimed.is_empty() {
            return;
        }
        if !is_valid_assignment(claimed) {
            account.notes.push(Note::UnreadableStatus(claimed.clone()));
            return;
        }
        if claimed
            .iter()
            .all(|address| !families.contains(&Family::of(*address)))
        {
            let (addresses, families) = (claimed.clone(), families.to_vec());
            account.reject_status(Refusal::FamilyMismatch { addresses, families });
            return;
        }
        match account.adoptable(claimed, origin) {
            Ok(Keepable { assignment, lost }) => {
                account.occupy(assignment);
                for (address, because) in lost {
                    let addresses = Addresses::from_slice(&[address]);
                    account.notes.push(Note::Cleared { addresses, because });
                }
            }
            Err(because) => account.reject_status(because),
        }
    }

    /// Releases the addresses that the Service may no longer have, and updates the ledger for the others.
    pub(super) fn validate(&mut self) {
        let account = &mut self.account;
        let Some(held) = account.held.clone() else { return };
        let Keepable { assignment, lost } = match account.keepable(&held.addresses, Some(&held.pool)) {
            Err(because) => return account.clear(because),
            Ok(keepable) => keepable,
        };
        for (address, because) in lost {
            account.release(address, because);
        }
        let held = assignment.addresses.clone();
        *account.held = Some(assignment);
        for address in &held {
            account.update_occupancy(*address);
        }
        let Ok(requirement) = FamilyRequirement::of(account.service) else {
            return;
        };
        let (kept, superfluous) = split_by_use(&held, &requirement);
        if superfluous.is_empty() {
            return;
        }
        let families = requirement.families().to_vec();
        let because = Refusal::FamilyMismatch {
            addresses: superfluous.clone(),
            families,
        };
        if kept.is_empty() {
            return account.clear(because);
        }
        for address in superfluous {
            account.release(address, because.clone());
        }
    }

    /// Gives the Service its past assignment, if the addresses are free and the Service may still have them.
    pub(super) fn restore(&mut self) {
        let account = &mut self.account;
        let Some(addresses) = account.ledger.past.recall(account.key).map(<[IpAddr]>::to_vec) else {
            return;
        };
        let Ok(requirement) = FamilyRequirement::of(account.service) else {
            return;
        };
        let (mut addresses, _) = split_by_use(&addresses, &requirement);
        let requests_none =
            matches!(&account.service.request.addresses, Ok(requested) if requested.is_empty());
        if account.held.is_some() || !requests_none || addresses.is_empty() {
            return;
        }
        // The Service may have had the address of each family at another time.
        let owners = addresses
            .iter()
            .map(|address| account.ledger.pool_of(&[*address]));
        let Some(index) = owners.flatten().next() else {
            return;
        };
        addresses.retain(|address| {
            let is_used = account.ledger.is_used_beside(*address, account.key);
            account.ledger.pool(index).pool.owns(*address) && !is_used
        });
        if addresses.is_empty() {
            return;
        }
        let is_enough =
            requirement.is_met_by(&addresses) || matches!(requirement, FamilyRequirement::BothOr(_));
        let reserved = account.available_reservations(index, &requirement);
        // A reservation is more important than a past assignment.
        let is_outranked = reserved.iter().any(|address| !addresses.contains(address));
        if is_enough
            && !is_outranked
            && account.is_auto_assignable(index)
            && account.obtainable(index, &addresses).is_ok()
        {
            let pool = account.pool_name(index);
            account.assign(Assignment { addresses, pool });
        }
    }

    /// Decides on the Service as it is now.
    pub(super) fn decide(mut self) -> DeciderOutput {
        self.validate();
        let requirement = match FamilyRequirement::of(self.account.service) {
            Ok(requirement) => requirement,
            Err(refusal @ Refusal::InvalidClusterIps(_)) => return self.keep_or_refuse(refusal, None),
            Err(refusal) => {
                // Without cluster IPs the Service has no backends; the user need not act, so there is no note.
                self.account.release_all();
                return self.keep_or_refuse(refusal, None);
            }
        };
        if self.account.held.is_none() && self.account.ledger.is_empty() {
            return self.keep_or_refuse(Refusal::NoPool, None);
        }
        let requested = match &self.account.service.request.addresses {
            Ok(requested) => requested,
            Err(error) => return self.keep_or_refuse(Refusal::InvalidRequest(error.clone()), None),
        };
        if !requested.is_empty() {
            return self.decide_addresses(requested, &requirement);
        }
        self.restore();
        match &self.account.service.request.pool {
            Some(pool) => self.decide_pool(pool, &requirement),
            None if self.account.held.is_some() => match self.account.closed_pool() {
                Some(refusal) => self.keep_or_refuse(refusal, None),
                None => self.complete(&requirement),
            },
            None => self.allocate(&requirement, None),
        }
    }

    /// Decides on a Service that requests addresses.
    fn decide_addresses(mut self, requested: &[IpAddr], requirement: &FamilyRequirement) -> DeciderOutput {
        let index = match self.account.requested_pool(requested, requirement) {
            Ok(index) => index,
            Err(refusal) => return self.keep_or_refuse(refusal, None),
        };
        let held = self.account.held.as_ref();
        let has = |address: &IpAddr| held.is_some_and(|held| held.addresses.contains(address));
        if requested.iter().all(has) {
            return self.complete(requirement);
        }
        let new: Addresses = requested
            .iter()
            .copied()
            .filter(|address| !has(address))
            .collect();
        let previous = self.account.held.take();
        self.account.vacate_all(previous.as_ref());
        let addresses = self.account.requested_beside(index, requested, previous.as_ref());
        let is_allowed = self.account.requestable(index, new);
        match is_allowed.and_then(|()| self.account.obtainable(index, &addresses)) {
            Ok(()) => {
                let pool = self.account.pool_name(index);
                self.account.assign(Assignment { addresses, pool });
                self.account.release_previous(previous.as_ref());
                self.complete(requirement)
            }
            Err(refusal) => {
                self.account.put_back(previous);
                let quarantine_end = refusal.quarantine_end();
                let wait_key = self.account.wait_key(
                    AddressSource::Addresses(requested.to_vec()),
                    &[index],
                    requirement,
                );
                DeciderOutput {
                    quarantine_end,
                    ..self.keep_or_refuse(refusal, Some(wait_key))
                }
            }
        }
    }

    /// Decides on a Service that requests a pool.
    fn decide_pool(self, name: &PoolName, requirement: &FamilyRequirement) -> DeciderOutput {
        let is_in_pool = self.account.held.as_ref().is_some_and(|held| held.pool == *name);
        match self.account.ledger.find(name) {
            // The Service keeps its addresses while the pool is withheld.
            None if is_in_pool => self.done(),
            None => {
                let refusal = self.account.refuse_pool(name);
                self.keep_or_refuse(refusal, None)
            }
            Some(index) if !self.account.ledger.pool(index).pool.allows(self.account.service) => {
                self.keep_or_refuse(Refusal::PoolNotCompatible(name.clone()), None)
            }
            Some(_) if is_in_pool => self.complete(requirement),
            Some(index) => self.allocate(requirement, Some(index)),
        }
    }

    /// Gives addresses to a Service that has none, or moves it into the pool that it requests.
    fn allocate(mut self, requirement: &FamilyRequirement, requested: Option<PoolIndex>) -> DeciderOutput {
        let previous = self.account.held.take();
        self.account.vacate_all(previous.as_ref());
        let Some(found) = self.account.find(requirement, requested) else {
            self.account.put_back(previous);
            let pools = self.account.pools(requested);
            let refusal = self.account.shortage(&pools, requirement);
            let wait_key = self
                .account
                .wait_key(AddressSource::Pools(pools.clone()), &pools, requirement);
            return self.keep_or_refuse(refusal, Some(wait_key));
        };
        self.account.assign(found);
        self.account.release_previous(previous.as_ref());
        self.complete(requirement)
    }

    /// Gives the Service the address of a family that it lacks, from the pool of the address that it has. It does not move to
    /// another pool for that, also if it requires both families: the address is in use.
    fn complete(mut self, requirement: &FamilyRequirement) -> DeciderOutput {
        let Some(held) = self.account.held.as_ref() else {
            return self.done();
        };
        let Some(missing) = requirement.missing_in(&held.addresses) else {
            return self.done();
        };
        let Some(index) = self.account.ledger.pool_of(&held.addresses) else {
            return self.done();
        };
        let Some(address) = self.account.find_one(index, missing) else {
            return self.decide_lack(requirement, missing, index);
        };
        self.account.add(address);
        self.done()
    }

    /// Decides on a Service that lacks an address of the family `missing`, which its pool at `index` cannot give.
    fn decide_lack(
        mut self,
        requirement: &FamilyRequirement,
        missing: Family,
        index: PoolIndex,
    ) -> DeciderOutput {
        let lacking = FamilyRequirement::One(missing);
        let refusal = self.account.shortage(&[index], &lacking);
        let source = AddressSource::Pools(Vec::from([index]));
        let mut wait_key = self.account.wait_key(source, &[index], &lacking);
        // The addresses that the Service has make no difference for the address that it lacks.
        wait_key.individual = wait_key
            .individual
            .filter(|individual| !individual.reserved.is_empty());
        if !matches!(requirement, FamilyRequirement::BothOr(_)) {
            return self.keep_or_refuse(refusal, Some(wait_key));
        }
        self.account.notes.push(Note::AdditionalUnavailable(refusal));
        DeciderOutput {
            wait_key: Some(wait_key),
            notes: self.account.notes,
            ..DeciderOutput::default()
        }
    }

    fn done(self) -> DeciderOutput {
        DeciderOutput {
            notes: self.account.notes,
            ..DeciderOutput::default()
        }
    }

    /// Ends the decision for a request that cannot be met: a Service with addresses keeps them, with a note; a Service
    /// without addresses is refused.
    fn keep_or_refuse(mut self, refusal: Refusal, wait_key: Option<WaitKey>) -> DeciderOutput {
        let Some(held) = self.account.held.as_ref() else {
            return DeciderOutput {
                refusal: Some(refusal),
                wait_key,
                notes: self.account.notes,
                quarantine_end: None,
            };
        };
        let addresses = held.addresses.clone();
        self.account.notes.push(Note::Kept {
            addresses,
            because: refusal,
        });
        DeciderOutput {
            wait_key,
            notes: self.account.notes,
            ..DeciderOutput::default()
        }
    }
}

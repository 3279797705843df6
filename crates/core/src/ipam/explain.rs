//! What each pool gives a Service, and why it gives nothing.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::account::Account;
use super::allocator::Allocator;
use super::decision::{AllocationOutcome, Note};
use super::occupancy::Requester;
use super::pool_ledger::PoolIndex;
use super::quarantine::Quarantined;
use super::refusal::Refusal;
use super::requirement::FamilyRequirement;
use crate::{Addresses, PoolName, Service, ServiceKey, Time};

/// What a pool gives a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolOutcome {
    /// The Service has these addresses of the pool.
    Held(Addresses),
    /// The Service could have these addresses of the pool.
    Offered(Addresses),
    /// The Service does not request the pool, which gives addresses only on request (`autoAssign: false`).
    OnRequestOnly,
    /// The Service requests another pool, or addresses of another pool.
    NotRequested,
    /// The pool gives nothing.
    Refused(Refusal),
}

impl PoolOutcome {
    /// Returns the CamelCase word for the outcome: that of the refusal, if it is one.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Held(_) => "Held",
            Self::Offered(_) => "Offered",
            Self::OnRequestOnly => "OnRequestOnly",
            Self::NotRequested => "NotRequested",
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}

impl Allocator {
    /// Returns what each pool in force gives a Service that the allocator knows, the pools that are searched first, in the order of
    /// the search, then the others by name. `None` for an unknown Service. Decides nothing.
    pub fn explain(&mut self, key: &ServiceKey, now: Time) -> Option<Vec<(PoolName, PoolOutcome)>> {
        let service = self.services.get(key)?.service.clone();
        let held = self.held_by(key);
        let mut searched: Vec<PoolIndex> = Vec::new();
        for index in self.state.ledger.auto_assigning().into_iter().flatten().flatten() {
            searched.push(*index);
        }
        let others = (0..self.state.ledger.pools().count()).map(PoolIndex);
        let others: Vec<PoolIndex> = others.filter(|index| !searched.contains(index)).collect();
        searched.extend(others);
        let explain = |index: PoolIndex| {
            let name = self.state.ledger.pool(index).pool.name.clone();
            (name, self.outcome_of(&service, &held, index, now))
        };
        Some(searched.into_iter().map(explain).collect())
    }

    /// Returns what was decided on a Service, and what is not as it should be although it has addresses; `None` for a Service that is
    /// unknown or not decided on yet.
    pub fn decision(&self, key: &ServiceKey) -> Option<(AllocationOutcome, Option<Note>)> {
        let entry = self.services.get(key)?;
        Some((entry.outcome()?, entry.caveat().cloned()))
    }

    /// Records that an address is in quarantine until `end`, after `last` had it: what another controller knows of the time before
    /// this one.
    pub fn set_quarantined(&mut self, address: IpAddr, last: ServiceKey, end: Time) {
        let claim_end = end;
        let quarantined = Quarantined { end, claim_end, last };
        self.state.ledger.set_quarantine(address, quarantined);
    }

    fn outcome_of(&mut self, service: &Service, held: &[IpAddr], index: PoolIndex, now: Time) -> PoolOutcome {
        let ledger = &self.state.ledger;
        let pool = &ledger.pool(index).pool;
        let own = held.iter().copied().filter(|address| pool.owns(*address));
        let own: Addresses = own.collect();
        if !own.is_empty() {
            return PoolOutcome::Held(own);
        }
        let requested = match &service.request.addresses {
            Ok(requested) => requested.as_slice(),
            Err(error) => return PoolOutcome::Refused(Refusal::InvalidRequest(error.clone())),
        };
        let is_of_pool = requested.iter().all(|address| pool.owns(*address));
        let is_other = service
            .request
            .pool
            .as_ref()
            .is_some_and(|other| *other != pool.name);
        if is_other || !is_of_pool {
            return PoolOutcome::NotRequested;
        }
        if !pool.allows(service) {
            return PoolOutcome::Refused(Refusal::PoolNotCompatible(pool.name.clone()));
        }
        if !pool.auto_assign && service.request.pool.is_none() && requested.is_empty() {
            return PoolOutcome::OnRequestOnly;
        }
        let requirement = match FamilyRequirement::of(service) {
            Ok(requirement) => requirement,
            Err(refusal) => return PoolOutcome::Refused(refusal),
        };
        // A Service that would move leaves what it has.
        for address in held {
            self.state.ledger.vacate(&service.key, *address);
        }
        let mut none = None;
        let mut account = self.state.account(service, &mut none, now);
        let outcome = if requested.is_empty() {
            account.search_one(index, &requirement)
        } else {
            account.requested_of(index, requested, &requirement)
        };
        for address in held {
            self.state
                .ledger
                .occupy(&Requester::new(&service.key, service), *address);
        }
        outcome.map_or_else(PoolOutcome::Refused, PoolOutcome::Offered)
    }
}

impl Account<'_> {
    fn search_one(
        &mut self,
        index: PoolIndex,
        requirement: &FamilyRequirement,
    ) -> Result<Addresses, Refusal> {
        match self.find(requirement, Some(index)) {
            Some(found) => Ok(found.addresses),
            None => Err(self.shortage(&[index], requirement)),
        }
    }

    fn requested_of(
        &self,
        index: PoolIndex,
        requested: &[IpAddr],
        requirement: &FamilyRequirement,
    ) -> Result<Addresses, Refusal> {
        let index = self.requested_pool(requested, requirement).map(|_| index)?;
        self.requestable(index, requested.iter().copied())?;
        self.obtainable(index, requested)?;
        Ok(requested.into())
    }
}

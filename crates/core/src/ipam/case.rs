//! The decision for one Service: what it may keep, what it can get, what it waits for.
//!
//! ```text
//!  status --adopt--> held --still allowed?--no--> cleared (remembered)
//!                     |                              |
//!                     | request met: keep            | allocate
//!                     | request can be met: move     v
//!                     | request cannot be met:     held, or refused: wait
//!                     v keep, note, wait
//! ```

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::books::Books;
use super::need::{Need, is_readable, is_same_set, needed};
use super::waiting::{Demand, Source};
use super::{Assignment, Note, Refusal};
use crate::{Family, PoolName, Service, ServiceKey, Time};

/// One Service before the books.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) books: &'a mut Books,
    /// Pools of which no version is in force; what Services have of them is left alone.
    pub(super) withheld: &'a BTreeSet<PoolName>,
    pub(super) key: &'a Arc<ServiceKey>,
    pub(super) service: &'a Service,
    pub(super) held: &'a mut Option<Assignment>,
    pub(super) notes: Vec<Note>,
    pub(super) now: Time,
}

/// How a case ends, beside what the Service holds.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Why the Service has no address, when it has none.
    pub(super) refusal: Option<Refusal>,
    /// What to wait for.
    pub(super) demand: Option<Demand>,
    /// What the user should hear about.
    pub(super) notes: Vec<Note>,
}

impl Case<'_> {
    /// Takes what the status says, if the Service may have it; in place of what it holds, if it holds something
    /// (which must be valid).
    pub(super) fn adopt(&mut self) {
        let claimed = &self.service.assigned;
        let families = match Need::of(self.service) {
            Ok(need) => need.families(),
            // Cluster addresses that make no sense are no reason to take anything away.
            Err(Refusal::InvalidClusterIps(_)) => &[Family::V4, Family::V6],
            Err(_) => return,
        };
        if claimed.is_empty() {
            return;
        }
        if !is_readable(claimed) {
            self.notes.push(Note::UnreadableStatus(claimed.clone()));
            return;
        }
        if claimed
            .iter()
            .all(|address| !families.contains(&Family::of(*address)))
        {
            let (addresses, families) = (claimed.clone(), families.to_vec());
            self.reject_status(Refusal::FamilyMismatch { addresses, families });
            return;
        }
        let previous = self.held.take();
        self.vacate_all(previous.as_ref());
        match self.adoptable(claimed, self.service.assigned_pool.as_ref()) {
            Ok(assignment) => {
                self.occupy(assignment);
                self.let_go(previous.as_ref());
            }
            Err(because) => {
                self.put_back(previous);
                self.reject_status(because);
            }
        }
    }

    /// The status is not to be had. Who holds something keeps that, so nothing is taken from it.
    fn reject_status(&mut self, because: Refusal) {
        if self.held.is_none() {
            let addresses = self.service.assigned.clone();
            self.notes.push(Note::Cleared { addresses, because });
        }
    }

    /// Takes away what the Service may no longer hold, and keeps the books of what it may in step with it.
    pub(super) fn validate(&mut self) {
        let Some(held) = self.held.clone() else { return };
        match self.adoptable(&held.addresses, Some(&held.pool)) {
            Err(because) => return self.clear(because),
            Ok(assignment) => *self.held = Some(assignment),
        }
        for address in &held.addresses {
            self.renew_claim(*address);
        }
        let Ok(need) = Need::of(self.service) else { return };
        let (kept, superfluous) = needed(&held.addresses, &need);
        if superfluous.is_empty() {
            return;
        }
        let families = need.families().to_vec();
        let because = Refusal::FamilyMismatch {
            addresses: superfluous.clone(),
            families,
        };
        if kept.is_empty() {
            return self.clear(because);
        }
        for address in &superfluous {
            self.release(*address);
        }
        let addresses = superfluous;
        self.notes.push(Note::Cleared { addresses, because });
    }

    /// Gives back what the Service had before, if nobody else has it and it still may have it.
    pub(super) fn restore(&mut self) {
        let Some(addresses) = self.books.memory.recall(self.key).map(<[IpAddr]>::to_vec) else {
            return;
        };
        let Ok(need) = Need::of(self.service) else { return };
        let (addresses, _) = needed(&addresses, &need);
        let asks_for_nothing = matches!(&self.service.request.addresses, Ok(asked) if asked.is_empty());
        if self.held.is_some() || !asks_for_nothing || addresses.is_empty() {
            return;
        }
        let Some(number) = self.books.owner(&addresses) else {
            return;
        };
        let enough = need.is_met_by(&addresses) || matches!(need, Need::BothOr(_));
        let for_it = self.reserved_now(number, &need);
        // What is kept for the Service by name outweighs what it happened to have.
        let is_outweighed = for_it.iter().any(|address| !addresses.contains(address));
        if enough
            && !is_outweighed
            && self.may_get_from(number)
            && self.obtainable(number, &addresses).is_ok()
        {
            let pool = self.pool_name(number);
            self.assign(Assignment { addresses, pool });
        }
    }

    /// The whole decision.
    pub(super) fn decide(mut self) -> Verdict {
        self.validate();
        let need = match Need::of(self.service) {
            Ok(need) => need,
            Err(refusal @ Refusal::InvalidClusterIps(_)) => return self.keep_or_refuse(refusal, None),
            Err(refusal) => {
                // Without cluster addresses nothing can answer; that is no reason for the user to be told.
                self.release_all();
                return self.keep_or_refuse(refusal, None);
            }
        };
        if self.held.is_none() && self.books.numbers().is_empty() {
            return self.keep_or_refuse(Refusal::NoPool, None);
        }
        let requested = match &self.service.request.addresses {
            Ok(requested) => requested,
            Err(error) => return self.keep_or_refuse(Refusal::InvalidRequest(error.clone()), None),
        };
        if !requested.is_empty() {
            return self.decide_addresses(requested, &need);
        }
        self.restore();
        match &self.service.request.pool {
            Some(pool) => self.decide_pool(pool, &need),
            None if self.held.is_some() => self.complete(&need, None),
            None => self.allocate(&need, None),
        }
    }

    /// The Service asks for addresses.
    fn decide_addresses(mut self, requested: &[IpAddr], need: &Need) -> Verdict {
        let number = match self.requested_owner(requested, need) {
            Ok(number) => number,
            Err(refusal) => return self.keep_or_refuse(refusal, None),
        };
        if self
            .held
            .as_ref()
            .is_some_and(|held| is_same_set(&held.addresses, requested))
        {
            return self.done();
        }
        let previous = self.held.take();
        self.vacate_all(previous.as_ref());
        match self.obtainable(number, requested) {
            Ok(()) => {
                self.assign(Assignment {
                    addresses: requested.into(),
                    pool: self.pool_name(number),
                });
                self.let_go(previous.as_ref());
                self.done()
            }
            Err(refusal) => {
                self.put_back(previous);
                let demand = self.demand(Source::Addresses(requested.to_vec()), &[number], need);
                self.keep_or_refuse(refusal, Some(demand))
            }
        }
    }

    /// The Service asks for a pool.
    fn decide_pool(self, name: &PoolName, need: &Need) -> Verdict {
        let holds_of_it = self.held.as_ref().is_some_and(|held| held.pool == *name);
        match self.books.find(name) {
            // Left alone while the pool is withheld.
            None if holds_of_it => self.done(),
            None => self.keep_or_refuse(Refusal::PoolUnknown(name.clone()), None),
            Some(number) if !self.books.pool(number).pool.allows(self.service) => {
                self.keep_or_refuse(Refusal::PoolNotCompatible(name.clone()), None)
            }
            Some(number) if holds_of_it => self.complete(need, Some(number)),
            Some(number) => self.allocate(need, Some(number)),
        }
    }

    /// The Service has nothing, or has to move into the pool it asks for.
    fn allocate(mut self, need: &Need, asked: Option<usize>) -> Verdict {
        let previous = self.held.take();
        self.vacate_all(previous.as_ref());
        let Some(found) = self.find(need, asked) else {
            self.put_back(previous);
            let pools = self.pools(asked);
            let refusal = self.shortage(&pools, need);
            let demand = self.demand(Source::Pools(pools.clone()), &pools, need);
            return self.keep_or_refuse(refusal, Some(demand));
        };
        self.assign(found);
        self.let_go(previous.as_ref());
        self.complete(need, asked)
    }

    /// The Service may lack the address of one family: it gets it from the same pool, or if it needs both, a
    /// pair from another.
    fn complete(mut self, need: &Need, asked: Option<usize>) -> Verdict {
        let Some(held) = self.held.as_ref() else {
            return self.done();
        };
        let Some(missing) = need.lacks(&held.addresses) else {
            return self.done();
        };
        let Some(number) = self.books.owner(&held.addresses) else {
            return self.done();
        };
        let Some(address) = self.find_one(number, missing) else {
            return self.lack(need, missing, number, asked);
        };
        self.add(address);
        self.done()
    }

    /// The Service lacks an address of the family `missing`, which the pool it is in cannot give.
    fn lack(mut self, need: &Need, missing: Family, number: usize, asked: Option<usize>) -> Verdict {
        let refusal = self.shortage(&[number], &Need::One(missing));
        if matches!(need, Need::BothOr(_)) {
            self.notes.push(Note::AdditionalUnavailable(refusal));
            let mut demand = self.demand(Source::Pools(Vec::from([number])), &[number], &Need::One(missing));
            // What it has already makes no difference to what it lacks.
            demand.individual = demand
                .individual
                .filter(|individual| !individual.reserved.is_empty());
            return Verdict {
                demand: Some(demand),
                notes: self.notes,
                refusal: None,
            };
        }
        let previous = self.held.take();
        self.vacate_all(previous.as_ref());
        if let Some(found) = self.find(need, asked) {
            self.assign(found);
            self.let_go(previous.as_ref());
            return self.done();
        }
        self.put_back(previous);
        let mut pools = self.pools(asked);
        if !pools.contains(&number) {
            pools.push(number);
        }
        let demand = self.demand(Source::Pools(pools.clone()), &pools, need);
        self.keep_or_refuse(refusal, Some(demand))
    }

    fn done(self) -> Verdict {
        Verdict {
            notes: self.notes,
            ..Verdict::default()
        }
    }

    /// What is asked for cannot be had: what the Service has stays, with a note; when it has nothing, it is
    /// refused.
    fn keep_or_refuse(mut self, refusal: Refusal, demand: Option<Demand>) -> Verdict {
        let Some(held) = self.held.as_ref() else {
            return Verdict {
                refusal: Some(refusal),
                demand,
                notes: self.notes,
            };
        };
        let addresses = held.addresses.clone();
        self.notes.push(Note::Kept {
            addresses,
            because: refusal,
        });
        Verdict {
            demand,
            notes: self.notes,
            refusal: None,
        }
    }
}

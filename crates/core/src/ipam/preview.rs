//! What would become of a request, before the Service is written.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::account::Account;
use super::allocator::Allocator;
use super::external::PoolOverlap;
use super::occupancy::Requester;
use super::refusal::Refusal;
use super::requirement::FamilyRequirement;
use crate::{Pool, Service, ServiceKey, Time};

impl Allocator {
    /// Returns why a Service would lose an address that it has, or would not be given the addresses or the pool that it requests, and
    /// decides nothing. Also a standby knows it, from the statuses.
    ///
    /// A Service without an address and a request, or without cluster IPs, has no reason: it waits at most.
    pub fn check_request(&mut self, service: &Service, now: Time) -> Option<Refusal> {
        let requested = match &service.request.addresses {
            Ok(requested) => requested.as_slice(),
            Err(error) => return Some(Refusal::InvalidRequest(error.clone())),
        };
        let held = self.held_by(&service.key);
        let looked_at: Vec<IpAddr> = requested.iter().chain(&held).copied().collect();
        let borrowed = self.borrow_from_statuses(&looked_at, &service.key);
        let refusal = self.refusal_of(service, requested, &held, now);
        for (key, address) in borrowed {
            self.state.ledger.vacate(&key, address);
        }
        refusal
    }

    /// Returns the addresses that a Service has, or that its status shows to a standby.
    pub(super) fn held_by(&self, key: &ServiceKey) -> Vec<IpAddr> {
        let Some(entry) = self.services.get(key) else {
            return Vec::new();
        };
        let held = entry.held.as_ref();
        held.map_or(&entry.service.assigned, |held| &held.addresses)
            .to_vec()
    }

    /// Returns the addresses of nodes that `pool`, which need not be in force, gives out.
    pub fn node_overlap(&self, pool: &Pool) -> Option<PoolOverlap> {
        self.state.ledger.node_overlap(pool)
    }

    /// Records the holders of `addresses`, and the addresses of their requester's namespace, as the statuses show them, if this is a
    /// standby, whose ledger has none. They are to be removed after the check.
    fn borrow_from_statuses(
        &mut self,
        addresses: &[IpAddr],
        requester: &ServiceKey,
    ) -> Vec<(ServiceKey, IpAddr)> {
        if self.is_ready() || addresses.is_empty() {
            return Vec::new();
        }
        let mut borrowed = Vec::new();
        for (key, entry) in self.services.iter().filter(|(key, _)| *key != requester) {
            // Its quota counts them.
            let is_near = key.namespace == requester.namespace;
            let held = entry.service.assigned.iter();
            let relevant = held.filter(|address| is_near || addresses.contains(address));
            borrowed.extend(relevant.map(|address| (key.clone(), *address)));
        }
        // The order of a hash map is no order.
        borrowed.sort_unstable();
        borrowed.retain(|(key, address)| {
            let Some(entry) = self.services.get(key) else {
                return false;
            };
            let requester = Requester::new(key, &entry.service);
            let is_admitted = self.state.ledger.admits(&requester, *address).is_ok();
            if is_admitted {
                self.state.ledger.occupy(&requester, *address);
            }
            is_admitted
        });
        borrowed
    }

    fn refusal_of(
        &mut self,
        service: &Service,
        requested: &[IpAddr],
        held: &[IpAddr],
        now: Time,
    ) -> Option<Refusal> {
        if self.state.ledger.is_empty() && (!requested.is_empty() || service.request.pool.is_some()) {
            return Some(Refusal::NoPool);
        }
        let requester = Requester::new(&service.key, service);
        // An address that the Service asks to leave may be lost.
        let mut lost = held
            .iter()
            .filter(|address| requested.is_empty() || requested.contains(address));
        let lost = lost.find_map(|address| self.state.ledger.admits(&requester, *address).err());
        if lost.is_some() {
            return lost;
        }
        let mut none = None;
        let account = self.state.account(service, &mut none, now);
        if requested.is_empty() {
            return account.pool_refusal(held);
        }
        account.address_refusal(requested, held)
    }
}

impl Account<'_> {
    fn pool_refusal(&self, held: &[IpAddr]) -> Option<Refusal> {
        let name = self.service.request.pool.as_ref()?;
        match self.ledger.find(name) {
            None if !held.is_empty() && self.withheld.contains(name) => None,
            None => Some(self.refuse_pool(name)),
            Some(index) if !self.ledger.pool(index).pool.allows(self.service) => {
                Some(Refusal::PoolNotCompatible(name.clone()))
            }
            Some(_) => None,
        }
    }

    fn address_refusal(&self, requested: &[IpAddr], held: &[IpAddr]) -> Option<Refusal> {
        let requirement = FamilyRequirement::of(self.service).ok()?;
        let index = match self.requested_pool(requested, &requirement) {
            Ok(index) => index,
            Err(refusal) => return Some(refusal),
        };
        let new = requested
            .iter()
            .copied()
            .filter(|address| !held.contains(address));
        let new: Vec<IpAddr> = new.collect();
        let result = self.requestable(index, new.iter().copied());
        let refusal = result.and_then(|()| self.obtainable(index, &new)).err()?;
        // A Service that moves leaves addresses, which its quota then has room for.
        let moves = !held.is_empty() && matches!(refusal, Refusal::QuotaExceeded { .. });
        (!moves).then_some(refusal)
    }
}

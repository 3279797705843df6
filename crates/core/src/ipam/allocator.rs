//! The allocator: its inputs and outputs, and the order in which Services are decided on.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashMap;

use super::decider::StatusOrigin;
#[cfg(test)]
use super::decision::{AllocationOutcome, Assignment};
use super::decision::{Decision, Usage};
use super::entry::ServiceEntry;
use super::external::{ExternalUser, PoolOverlap};
use super::occupancy::Occupancy;
use super::state::State;
use super::waiting::Released;
use crate::{Catalog, PoolName, Service, ServiceKey, Time, queue};

/// How long a released address is kept from other Services, unless nothing else is free: enough for clients and resolvers
/// with usual time-outs to forget the Service that had it.
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(60);

/// Gives addresses of pools to Services.
///
/// Set the pools and every Service, call [`activate`](Self::activate) when all that exist are set, and from then on
/// [`poll_decision`](Self::poll_decision) after each input until it returns `None`. Before that, and after
/// [`deactivate`](Self::deactivate), the allocator is a standby: it decides nothing, and follows the decisions of the active
/// controller in the statuses.
///
/// ```text
///             activate: adopt, decide
///  standby ------------------------------> active
///  follows <------------------------------ decides
///             deactivate: forget decisions
/// ```
///
/// An active allocator is right, not the statuses: what another program writes into the status of a Service changes no
/// decision. When [`poll_timeout`](Self::poll_timeout) is reached, call [`handle_timeout`](Self::handle_timeout).
///
/// Quarantines and past assignments are kept in both, so a change of the active controller changes neither which Service
/// gets an address back nor which address is given out next.
#[derive(Debug, Clone)]
pub struct Allocator {
    pub(super) state: State,
    /// Boxed, so that a growing map moves pointers instead of Services. Found by hash, because their names are long and
    /// have common prefixes. Never iterated without sorting.
    pub(super) services: HashMap<ServiceKey, Box<ServiceEntry>>,
    has_pools: bool,
    is_activated: bool,
}

impl Allocator {
    /// Creates a standby without pools and Services, with a quarantine of [`DEFAULT_QUARANTINE`].
    pub fn new() -> Self {
        Self::with_quarantine(DEFAULT_QUARANTINE)
    }

    /// Creates a standby with another quarantine; if it is zero, any Service may get a released address at once.
    pub fn with_quarantine(quarantine: Duration) -> Self {
        Self {
            state: State::new(quarantine),
            services: HashMap::new(),
            has_pools: false,
            is_activated: false,
        }
    }

    /// Sets the pools in force. Of a pool that exists but has no version in force (see [`Catalog::withheld`]) Services keep
    /// the addresses that they have, and no address is given out.
    pub fn set_catalog(&mut self, catalog: &Catalog, now: Time) {
        let (pools, withheld) = (catalog.pools(), catalog.withheld());
        if self.has_pools && self.state.withheld == withheld && self.state.ledger.pools().eq(pools) {
            return;
        }
        let was_ready = self.is_ready();
        self.state.ledger.set_pools(pools, now);
        self.state.withheld = withheld;
        self.has_pools = true;
        if was_ready {
            self.reconsider_all(now);
        } else {
            self.begin(now);
        }
    }

    /// Sets a new or changed Service.
    pub fn set_service(&mut self, service: Service, now: Time) {
        let is_ready = self.is_ready();
        let Some(entry) = self.services.get_mut(&service.key) else {
            return self.add_service(service, now);
        };
        if entry.service == service {
            return;
        }
        self.state.stop_waiting(entry);
        if !is_ready {
            self.state
                .follow(entry, &entry.service.assigned, &service.assigned, now);
            entry.service = service;
            return;
        }
        entry.service = service;
        self.state.decide(entry, now);
        self.serve_waiting(now);
    }

    fn add_service(&mut self, service: Service, now: Time) {
        let key = service.key.clone();
        let mut entry = Box::new(ServiceEntry::new(service));
        if self.is_ready() {
            self.state
                .apply(&mut entry, now, |decider| decider.adopt(StatusOrigin::Unknown));
            self.state.decide(&mut entry, now);
        } else {
            self.state.follow(&entry, &[], &entry.service.assigned, now);
        }
        self.services.insert(key, entry);
        self.serve_waiting(now);
    }

    /// Removes a Service that was deleted or is no longer ours. There are no more decisions on it; if it returns, it gets
    /// its addresses back if they are still free.
    pub fn remove_service(&mut self, key: &ServiceKey, now: Time) {
        let Some(mut entry) = self.services.remove(key) else {
            return;
        };
        self.state.stop_waiting(&mut entry);
        if self.is_ready() {
            self.state
                .apply(&mut entry, now, |decider| decider.account.release_all());
            self.serve_waiting(now);
        } else {
            self.state.follow(&entry, &entry.service.assigned, &[], now);
        }
    }

    /// Replaces the addresses that `user` uses without the allocator; none if it is gone. A Service that has one of them
    /// keeps it.
    pub fn set_external_user(&mut self, user: ExternalUser, addresses: &[IpAddr], now: Time) {
        self.state.ledger.is_awaited = !self.state.waiting.is_empty();
        let changed = self.state.ledger.set_external_user(user, addresses);
        if !self.is_ready() {
            return;
        }
        let occupancies = changed
            .iter()
            .filter_map(|address| self.state.ledger.occupancy(*address));
        let holders: BTreeSet<_> = occupancies.flat_map(Occupancy::holders).collect();
        for key in holders {
            if let Some(entry) = self.services.get_mut(&key) {
                self.state.decide(entry, now);
            }
        }
        self.serve_waiting(now);
    }

    /// Starts to decide, after every Service and every external user was set: adopts the addresses in the statuses, then gives addresses to the
    /// Services without, oldest first. Without pools it does so as soon as they are set.
    pub fn activate(&mut self, now: Time) {
        if !self.is_activated {
            self.is_activated = true;
            self.begin(now);
        }
    }

    /// Stops to decide, because another controller is active: no decision is pending any more. Decisions that are not in
    /// the statuses yet are void, and their addresses are released.
    pub fn deactivate(&mut self, now: Time) {
        if !self.is_activated {
            return;
        }
        self.is_activated = false;
        self.state.waiting.clear();
        self.state.quarantine_ends.clear();
        self.state.undelivered.clear();
        self.for_each_by_age(|state, entry| state.retire(entry, now));
        self.state.ledger.released.clear();
    }

    /// Returns the next decision: the first one on each Service, then only decisions that differ from the one before.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        while let Some(key) = queue::pop(&mut self.state.undelivered) {
            let decision = self.services.get_mut(&key).and_then(|entry| entry.report());
            if decision.is_some() {
                return decision;
            }
        }
        None
    }

    /// Returns the addresses in quarantine at `now`, each with the Service that released it last and the end of the quarantine.
    pub fn quarantined(&self, now: Time) -> impl Iterator<Item = (IpAddr, &ServiceKey, Time)> {
        let quarantined = self.state.ledger.quarantined();
        let lasting = quarantined.filter(move |(_, quarantined)| quarantined.end > now);
        lasting.map(|(address, quarantined)| (address, &quarantined.last, quarantined.end))
    }

    /// Returns when the quarantine of an address ends that a Service waits for.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.state.quarantine_ends.first().map(|(end, _)| *end)
    }

    /// Serves Services that wait for addresses whose quarantine has ended.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(end, address)) = self.state.quarantine_ends.first()
            && end <= now
        {
            self.state.quarantine_ends.pop_first();
            self.state.ledger.released.insert(Released::Address(address));
        }
        self.serve_waiting(now);
    }

    /// Returns how many addresses of a pool in force are in use.
    pub fn usage(&self, pool: &PoolName) -> Option<Usage> {
        self.state.ledger.usage(pool)
    }

    /// Returns the next pool whose usage may have changed since this function last returned it; after a change of the pools
    /// these are all of them.
    pub fn poll_changed_pool(&mut self) -> Option<PoolName> {
        self.state.ledger.poll_changed_pool()
    }

    /// Returns a pool with addresses that are used externally and were not when this function last returned it.
    pub fn poll_overlap(&mut self) -> Option<PoolOverlap> {
        self.state.ledger.poll_overlap()
    }

    /// Returns the addresses that a Service has.
    #[cfg(test)]
    pub(super) fn assignment(&self, key: &ServiceKey) -> Option<&Assignment> {
        self.services.get(key)?.held.as_ref()
    }

    /// Returns what was decided on a Service, polled or not; `None` for a Service that is unknown or not decided on yet.
    #[cfg(test)]
    pub(super) fn outcome(&self, key: &ServiceKey) -> Option<AllocationOutcome> {
        self.services.get(key)?.outcome()
    }

    pub(super) const fn is_ready(&self) -> bool {
        self.has_pools && self.is_activated
    }

    fn begin(&mut self, now: Time) {
        if self.is_ready() {
            self.for_each_by_age(|state, entry| {
                state.apply(entry, now, |decider| decider.adopt(StatusOrigin::Controller));
            });
            self.reconsider_all(now);
        }
    }

    /// Decides on all Services: first releases the addresses that Services may not keep, then restores past assignments,
    /// then gives out addresses.
    fn reconsider_all(&mut self, now: Time) {
        self.state.waiting.clear();
        self.for_each_by_age(|state, entry| {
            entry.wait_key = None;
            state.apply(entry, now, |decider| decider.validate());
        });
        if !self.state.ledger.past.is_empty() {
            self.for_each_by_age(|state, entry| state.apply(entry, now, |decider| decider.restore()));
        }
        self.for_each_by_age(|state, entry| state.decide(entry, now));
        self.serve_waiting(now);
    }

    fn for_each_by_age(&mut self, mut step: impl FnMut(&mut State, &mut ServiceEntry)) {
        let mut entries: Vec<&mut Box<ServiceEntry>> = self.services.values_mut().collect();
        entries.sort_unstable_by(|a, b| {
            let (a, b) = (&a.service, &b.service);
            (a.created, &a.key).cmp(&(b.created, &b.key))
        });
        for entry in entries {
            step(&mut self.state, entry);
        }
    }

    /// Serves waiting Services with everything that was released, oldest first.
    fn serve_waiting(&mut self, now: Time) {
        while let Some(released) = self.state.ledger.released.pop_first() {
            let mut last = None;
            while self.state.ledger.offers(&released, now) {
                let Some(age) = self.state.waiting.next(&released, last.as_ref()) else {
                    break;
                };
                if let Some(entry) = self.services.get_mut(&age.key) {
                    self.state.decide(entry, now);
                }
                last = Some(age);
            }
        }
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

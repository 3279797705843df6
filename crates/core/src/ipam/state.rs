//! The state that decisions on all Services share.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::account::Account;
use super::decider::Decider;
use super::decision::Assignment;
use super::entry::ServiceEntry;
use super::ledger::Ledger;
use super::requirement::is_valid_assignment;
use super::waiting::WaitQueue;
use crate::{Addresses, PoolName, Service, ServiceKey, Time};

/// Everything that a decision on one Service reads and changes, except the Service.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) withheld: BTreeSet<PoolName>,
    pub(super) waiting: WaitQueue,
    /// When the quarantine of an address ends that a Service requests, or requested: the end of each wait is not recorded.
    pub(super) quarantine_ends: BTreeSet<(Time, IpAddr)>,
    /// Services whose decision may differ from the last one that was polled.
    pub(super) undelivered: VecDeque<ServiceKey>,
}

impl State {
    /// Creates a state without pools and Services.
    pub(super) fn new(quarantine: Duration) -> Self {
        Self {
            ledger: Ledger::new(quarantine),
            withheld: BTreeSet::new(),
            waiting: WaitQueue::default(),
            quarantine_ends: BTreeSet::new(),
            undelivered: VecDeque::new(),
        }
    }

    /// Returns the account of a Service for a question: what it has is in `held`.
    pub(super) fn account<'a>(
        &'a mut self,
        service: &'a Service,
        held: &'a mut Option<Assignment>,
        now: Time,
    ) -> Account<'a> {
        Account {
            ledger: &mut self.ledger,
            withheld: &self.withheld,
            key: &service.key,
            service,
            held,
            notes: Vec::new(),
            now,
        }
    }

    /// Applies one `step` of a decision.
    pub(super) fn apply(&mut self, entry: &mut ServiceEntry, now: Time, step: impl FnOnce(&mut Decider<'_>)) {
        self.ledger.is_awaited = !self.waiting.is_empty();
        let mut decider = entry.decider(&mut self.ledger, &self.withheld, now);
        step(&mut decider);
        entry.happened = decider.account.notes;
    }

    /// Decides on a Service, and applies the decision.
    pub(super) fn decide(&mut self, entry: &mut ServiceEntry, now: Time) {
        self.ledger.is_awaited = !self.waiting.is_empty();
        let mut decided = entry.decider(&mut self.ledger, &self.withheld, now).decide();
        // A decision may release one address after the other; a standby sees them leave the status at once.
        self.ledger
            .past
            .arrange(&entry.service.key, &entry.service.assigned);
        let held = entry.held.as_ref().map_or(&[][..], |held| &held.addresses);
        let external = self.ledger.external_notes(held, &entry.service.key);
        // The last note that lasts is shown in the status: a request that is not met comes first.
        decided.notes.splice(0..0, external);
        if entry.wait_key.as_deref() != decided.wait_key.as_ref() {
            self.stop_waiting(entry);
            entry.wait_key = decided.wait_key.map(Arc::new);
            if let Some(key) = &entry.wait_key {
                self.waiting.insert(key, entry.age());
            }
        }
        self.quarantine_ends.extend(decided.quarantine_end);
        entry.record(decided.refusal, decided.notes);
        if !core::mem::replace(&mut entry.is_undelivered, true) {
            self.undelivered.push_back(entry.service.key.clone());
        }
    }

    /// Removes a Service from the queue of waiting Services.
    pub(super) fn stop_waiting(&mut self, entry: &mut ServiceEntry) {
        if let Some(key) = entry.wait_key.take() {
            self.waiting.remove(&key, &entry.age());
        }
    }

    /// Follows the active controller, which replaced the addresses `before` in the status of a Service with `after`. A
    /// Service that was deleted has none after it.
    pub(super) fn follow(&mut self, entry: &ServiceEntry, before: &[IpAddr], after: &[IpAddr], now: Time) {
        if before == after {
            return;
        }
        let sharing = &entry.service.sharing_key;
        let left = before.iter().copied().filter(|address| !after.contains(address));
        let left: Addresses = left.collect();
        for address in &left {
            self.ledger.past.supersede(*address, sharing);
            self.ledger.quarantine(*address, &entry.service.key, now);
        }
        self.ledger.past.reclaim(&entry.service.key, after);
        if !left.is_empty() && is_valid_assignment(before) {
            self.ledger.past.remember(&entry.service.key, sharing, &left);
        }
    }

    /// Forgets what was decided on a Service. Addresses that its status does not show are released.
    pub(super) fn retire(&mut self, entry: &mut ServiceEntry, now: Time) {
        if let Some(held) = entry.held.take() {
            for address in &held.addresses {
                self.ledger.vacate(&entry.service.key, *address);
            }
            self.follow(entry, &held.addresses, &entry.service.assigned, now);
        }
        *entry = ServiceEntry::new(entry.service.clone());
    }
}

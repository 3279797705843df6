//! The machine between what the API server shows of Services and what their statuses should be.
//!
//! ```text
//!   observed ──► allocator ──► decided ──► in flight ──► written
//!      ▲                          ▲            │            │
//!      │                          └─ conflict ─┘            │
//!      └──────────────── shown by the watch ────────────────┘
//! ```
//!
//! Each Service has one record. An input marks records as stale; [`Reconciler::poll_write`] compares the desired status of
//! a stale record with the observed one. A status that is as desired is not written, nor is one that is in flight.

mod events;
mod pools;
mod reports;
mod stale_queue;

use std::collections::{BTreeMap, VecDeque};

use herald_core::config::Catalog;
use herald_core::ipam::{AllocationOutcome, Allocator, ExternalUser, Note};
use herald_core::{ServiceKey, Time, queue};
use herald_runtime::event::Severity;
use herald_runtime::reconcile::Written;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;

use crate::announcements::Announcements;
use crate::observed::{DesiredStatus, ObservedService};
use crate::published::PublishedAddresses;
use events::events;
pub(crate) use reports::ServiceState;
use reports::{ReportDeadline, Unreported};
use stale_queue::StaleQueue;

/// Decides on Services and reconciles their statuses.
pub(crate) struct Reconciler {
    allocator: Allocator,
    records: BTreeMap<ServiceKey, ServiceRecord>,
    published: PublishedAddresses,
    announcements: Announcements,
    /// When the last report of any Service came.
    last_report: Time,
    /// In about the order in which they are due.
    deadlines: VecDeque<ReportDeadline>,
    /// Whether this controller decides and writes; otherwise it only observes.
    is_active: bool,
    /// Services whose desired status may differ from the observed one.
    stale: StaleQueue,
    events: VecDeque<ServiceEvent>,
}

/// What is known of one Service. The large parts have allocations of their own, so that the tree of records has no large gaps.
#[derive(Debug, Default)]
struct ServiceRecord {
    /// `None` for a Service that is no longer this controller's: only a retraction is left.
    observed: Option<Box<ObservedService>>,
    /// The version that the watch showed last, if it is older than our last write.
    overtaken: Option<Box<ObservedService>>,
    /// The decision in force.
    decided: Option<Box<Decided>>,
    in_flight: Option<Box<InFlight>>,
    /// The version that our last write made. Older versions that the watch still shows are not news.
    written: Option<u64>,
    /// As long as no report says whether it is announced.
    unreported: Option<Unreported>,
    retraction: Option<Box<Retraction>>,
}

/// The part of a decision that is in force until the next one.
#[derive(Debug)]
struct Decided {
    outcome: AllocationOutcome,
    caveat: Option<Note>,
}

/// A status that was handed out to be written. After a failure it stays until the pause is over, so that the same status is
/// not written before.
#[derive(Debug)]
struct InFlight {
    status: DesiredStatus,
    /// The observed version that the patch applies to.
    version: Option<u64>,
    /// Whether the write has failed and its pause lasts.
    has_failed: bool,
}

/// The patch that removes this controller's entries from a Service that is no longer its own.
#[derive(Debug)]
struct Retraction {
    patch: Value,
    is_in_flight: bool,
}

/// A patch to write, or `None` to drop the patch that waits.
pub(crate) type StatusWrite = (ServiceKey, Option<Value>);

/// A Kubernetes Event about a Service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceEvent {
    pub(crate) about: ObjectReference,
    pub(crate) severity: Severity,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

impl Reconciler {
    /// A standby without Services.
    pub(crate) fn new(allocator: Allocator) -> Self {
        Self {
            allocator,
            records: BTreeMap::new(),
            published: PublishedAddresses::default(),
            announcements: Announcements::default(),
            last_report: Time::ZERO,
            deadlines: VecDeque::new(),
            is_active: false,
            stale: StaleQueue::default(),
            events: VecDeque::new(),
        }
    }

    /// Becomes active or a standby. What a standby had decided or wanted to write is dropped: the next active controller
    /// reads the statuses.
    pub(crate) fn set_active(&mut self, is_active: bool, now: Time) {
        if self.is_active && !is_active {
            self.allocator.deactivate(now);
            self.records.retain(|_, record| record.observed.is_some());
            for record in self.records.values_mut() {
                record.decided = None;
                record.in_flight = None;
                record.retraction = None;
                record.unreported = None;
            }
            self.deadlines.clear();
            self.stale.clear();
            self.events.clear();
        }
        self.is_active = is_active;
        if is_active {
            self.announcements.restart();
            self.allocator.activate(now);
        }
    }

    /// Takes the pools in force.
    pub(crate) fn set_catalog(&mut self, catalog: &Catalog, now: Time) {
        self.allocator.set_catalog(catalog, now);
    }

    /// Takes a Service of type `LoadBalancer` as the watch shows it.
    pub(crate) fn set_service(&mut self, observed: impl Into<Box<ObservedService>>, now: Time) {
        let mut observed = observed.into();
        let key = observed.key.clone();
        let (user, external) = (ExternalUser::LoadBalancer(key.clone()), observed.external_use());
        if !observed.ours {
            self.forget(&key, now);
            return self.set_external_user(user, &external, now);
        }
        let record = self.records.entry(key.clone()).or_default();
        if record.is_overtaken(&observed) {
            record.overtaken = Some(observed);
            return;
        }
        record.overtaken = None;
        record.retraction = None;
        self.allocator.set_external_user(user, &external, now);
        if let Some(service) = observed.service.take() {
            self.allocator.set_service(*service, now);
        }
        let freed = self.published.set(&key, &observed.assigned);
        record.observed = Some(observed);
        // Without a decision there is nothing to compare; the decision will mark the record.
        if record.decided.is_some() {
            self.stale.insert(key);
        }
        self.stale.extend(freed);
    }

    /// Takes that a Service is deleted or no longer of type `LoadBalancer`. In the latter case it still has what this
    /// controller wrote. The API server knows the difference: it rejects the retraction for a Service that is gone.
    pub(crate) fn remove_service(&mut self, key: &ServiceKey, now: Time) {
        let Some(record) = self.forget(key, now) else {
            return;
        };
        let has_written = record.in_flight.is_some() || record.written.is_some();
        let observed = record
            .observed
            .filter(|observed| has_written || observed.is_marked);
        if let Some(observed) = observed.filter(|_| self.is_active) {
            let retraction = Retraction {
                patch: observed.retraction(),
                is_in_flight: false,
            };
            let retracting = ServiceRecord {
                in_flight: record.in_flight.filter(|in_flight| !in_flight.has_failed),
                retraction: Some(Box::new(retraction)),
                ..ServiceRecord::default()
            };
            self.records.insert(key.clone(), retracting);
        }
    }

    /// Takes that all Services were listed. A list is never behind our writes, and an API server that was restored from a
    /// backup counts versions from an older one.
    pub(crate) fn handle_synced(&mut self, now: Time) {
        let mut overtaken = Vec::new();
        for record in self.records.values_mut() {
            record.written = None;
            overtaken.extend(record.overtaken.take());
        }
        for observed in overtaken {
            self.set_service(observed, now);
        }
    }

    /// Takes how the write of a Service's status ended.
    pub(crate) fn handle_written(&mut self, key: &ServiceKey, written: &Written) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if record.retraction.is_some() {
            // The write that was in flight when the Service went: the retraction still waits behind it.
            if record.in_flight.take().is_some() {
                return;
            }
            // A refusal means another Service of that name, most likely; a policy would have refused the address, too.
            if matches!(
                written,
                Written::Version(_) | Written::Outdated | Written::Refused(_)
            ) {
                self.records.remove(key);
            }
            return;
        }
        match written {
            // Until the pause is over.
            Written::Failed(_) | Written::Refused(_) | Written::Fenced => {
                if let Some(in_flight) = &mut record.in_flight {
                    in_flight.has_failed = true;
                }
            }
            Written::Version(version) => {
                if record.in_flight.take().is_some() && version.is_some() {
                    record.written = *version;
                }
                self.stale.insert(key.clone());
            }
            // The watch will show what changed the object, unless it has shown it already.
            Written::Outdated => {
                let observed = record.observed.as_deref().and_then(ObservedService::version);
                let in_flight = record.in_flight.take();
                if in_flight.is_some_and(|in_flight| in_flight.version != observed) {
                    self.stale.insert(key.clone());
                }
            }
        }
    }

    /// Takes that the status of a Service may be written again after a failure.
    pub(crate) fn handle_pause_over(&mut self, key: &ServiceKey) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        match &mut record.retraction {
            Some(retraction) => retraction.is_in_flight = false,
            None => record.in_flight = None,
        }
        self.stale.insert(key.clone());
    }

    /// Returns the next decision and its last note that lasts, for the log; it is in force from now on.
    pub(crate) fn poll_decision(&mut self) -> Option<(ServiceKey, AllocationOutcome, Option<Note>)> {
        while self.is_active {
            let decision = self.allocator.poll_decision()?;
            let key = ServiceKey::clone(&decision.service);
            let Some(record) = self.records.get_mut(&key) else {
                continue;
            };
            if let Some(observed) = &record.observed
                && !observed.is_left_alone(&decision.outcome)
            {
                self.events.extend(events(observed, &decision));
            }
            let (outcome, caveat) = (decision.outcome.clone(), decision.caveat.clone());
            record.decided = Some(Box::new(Decided {
                outcome: decision.outcome,
                caveat: decision.caveat,
            }));
            self.stale.insert(key.clone());
            return Some((key, outcome, caveat));
        }
        None
    }

    /// Returns the next Event for users.
    pub(crate) fn poll_event(&mut self) -> Option<ServiceEvent> {
        queue::pop(&mut self.events)
    }

    /// Returns the next write; `wall` is the time of conditions that change.
    pub(crate) fn poll_write(&mut self, wall: Timestamp, now: Time) -> Option<StatusWrite> {
        while let Some(key) = self.stale.pop() {
            let Some(record) = self.records.get_mut(&key) else {
                return Some((key, None));
            };
            let patch = match &mut record.retraction {
                Some(retraction) if retraction.is_in_flight => None,
                Some(retraction) => {
                    retraction.is_in_flight = true;
                    Some(retraction.patch.clone())
                }
                None => self.reconcile(&key, wall, now),
            };
            if patch.is_some() {
                return Some((key, patch));
            }
        }
        None
    }

    /// How many Services this controller is responsible for.
    pub(crate) fn services(&self) -> usize {
        self.records.len()
    }

    /// Returns the patch that makes the status of a Service as desired, if there is a difference.
    fn reconcile(&mut self, key: &ServiceKey, wall: Timestamp, now: Time) -> Option<Value> {
        let announced = self.announced(key, now);
        let record = self.records.get(key)?;
        let (observed, decided) = (record.observed.as_ref()?, record.decided.as_ref()?);
        if record.written.is_none() && observed.is_left_alone(&decided.outcome) {
            return None;
        }
        let status = DesiredStatus {
            outcome: decided.outcome.clone(),
            caveat: decided.caveat.clone(),
            announced,
        };
        let in_flight = record.in_flight.as_ref();
        if in_flight.is_some_and(|in_flight| in_flight.status == status) || record.is_overtaken(observed) {
            return None;
        }
        let patch = observed.difference(&status, wall)?;
        if let AllocationOutcome::Assigned(assignment) = &status.outcome {
            // What stays in a status that is left alone is not waited for.
            let has = |other: &ServiceKey, address| {
                let other = self.records.get(other);
                let other = other.and_then(|other| other.observed.as_ref().zip(other.decided.as_ref()));
                other.is_some_and(|(observed, decided)| {
                    decided.has(address) || observed.is_left_alone(&decided.outcome)
                })
            };
            if self.published.must_wait(key, &assignment.addresses, has) {
                return None;
            }
        }
        let version = observed.version();
        let record = self.records.get_mut(key)?;
        record.in_flight = Some(Box::new(InFlight {
            status,
            version,
            has_failed: false,
        }));
        Some(patch)
    }

    /// Removes all that is known of a Service, and the write that waits.
    fn forget(&mut self, key: &ServiceKey, now: Time) -> Option<ServiceRecord> {
        let user = ExternalUser::LoadBalancer(key.clone());
        self.allocator.set_external_user(user, &[], now);
        self.allocator.remove_service(key, now);
        let freed = self.published.set(key, &[]);
        self.stale.extend(freed);
        let record = self.records.remove(key)?;
        self.stale.insert(key.clone());
        Some(record)
    }
}

impl ServiceRecord {
    /// Whether our last write made a newer version than this one.
    fn is_overtaken(&self, observed: &ObservedService) -> bool {
        let versions = observed.version().zip(self.written);
        versions.is_some_and(|(observed, written)| observed < written)
    }
}

impl Decided {
    fn has(&self, address: std::net::IpAddr) -> bool {
        match &self.outcome {
            AllocationOutcome::Assigned(assignment) => assignment.addresses.contains(&address),
            AllocationOutcome::Unassigned(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;

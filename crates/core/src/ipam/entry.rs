//! The record of one Service: what it is, has and waits for, and which decisions on it were polled.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::account::Account;
use super::decider::Decider;
use super::decision::{AllocationOutcome, Assignment, Decision, Note};
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::waiting::{ServiceAge, WaitKey};
use crate::{PoolName, Service, Time};

/// What the allocator knows of one Service.
#[derive(Debug, Clone)]
pub(super) struct ServiceEntry {
    pub(super) service: Service,
    pub(super) held: Option<Assignment>,
    refusal: Option<Refusal>,
    pub(super) wait_key: Option<Arc<WaitKey>>,
    /// Notes on a state that lasts.
    lasting: Vec<Note>,
    /// Notes on what happened since the last report.
    pub(super) happened: Vec<Note>,
    reported: Option<(AllocationOutcome, Vec<Note>)>,
    pub(super) is_undelivered: bool,
}

impl ServiceEntry {
    /// Creates the record of a Service that is not decided on yet.
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            held: None,
            refusal: None,
            wait_key: None,
            lasting: Vec::new(),
            happened: Vec::new(),
            reported: None,
            is_undelivered: false,
        }
    }

    /// Returns the place of the Service in the queue of waiting Services.
    pub(super) fn age(&self) -> ServiceAge {
        ServiceAge {
            created: self.service.created,
            key: self.service.key.clone(),
        }
    }

    /// Returns the decider for the Service.
    pub(super) fn decider<'a>(
        &'a mut self,
        ledger: &'a mut Ledger,
        withheld: &'a BTreeSet<PoolName>,
        now: Time,
    ) -> Decider<'a> {
        Decider {
            account: Account {
                ledger,
                withheld,
                key: &self.service.key,
                service: &self.service,
                held: &mut self.held,
                notes: core::mem::take(&mut self.happened),
                now,
            },
        }
    }

    /// Records the result of a decision.
    pub(super) fn record(&mut self, refusal: Option<Refusal>, notes: Vec<Note>) {
        self.happened = notes;
        self.lasting = self.happened.extract_if(.., |note| note.lasts()).collect();
        self.refusal = refusal;
    }

    /// Returns what was decided, polled or not; `None` before the first decision.
    pub(super) fn outcome(&self) -> Option<AllocationOutcome> {
        let assigned = self.held.clone().map(AllocationOutcome::Assigned);
        assigned.or_else(|| self.refusal.clone().map(AllocationOutcome::Unassigned))
    }

    /// Returns the last note on a state that lasts.
    pub(super) fn caveat(&self) -> Option<&Note> {
        self.lasting.last()
    }

    /// Returns the decision, if it differs from the last one or if there is something to report.
    pub(super) fn report(&mut self) -> Option<Decision> {
        self.is_undelivered = false;
        let outcome = self.outcome()?;
        let happened = core::mem::take(&mut self.happened);
        let is_known = self
            .reported
            .as_ref()
            .is_some_and(|(known, lasting)| *known == outcome && *lasting == self.lasting);
        if is_known && happened.is_empty() {
            return None;
        }
        self.reported = Some((outcome.clone(), self.lasting.clone()));
        let mut notes = happened;
        notes.extend(self.lasting.iter().cloned());
        Some(Decision {
            service: self.service.key.clone(),
            outcome,
            caveat: self.caveat().cloned(),
            notes,
        })
    }
}

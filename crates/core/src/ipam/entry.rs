//! The record of one Service: what it is, has and waits for, and which decisions on it were polled.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::account::Account;
use super::decider::Decider;
use super::decision::{AllocationOutcome, Assignment, Decision, Note};
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::waiting::{ServiceAge, WaitKey};
use crate::{Addresses, PoolName, Service, ServiceKey, Time};

/// How many of the latest decisions on a Service are recognised when they come back from the API server as the status of
/// the Service. More than one is under way only when the API server is slow.
const ECHOES: usize = 8;

/// What the allocator knows of one Service.
#[derive(Debug, Clone)]
pub(super) struct ServiceEntry {
    pub(super) key: Arc<ServiceKey>,
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
    /// Addresses that were reported before the last report, and may not have reached the status yet.
    echoes: VecDeque<Addresses>,
}

impl ServiceEntry {
    /// Creates the record of a Service that is not decided on yet.
    pub(super) fn new(key: Arc<ServiceKey>, service: Service) -> Self {
        Self {
            key,
            service,
            held: None,
            refusal: None,
            wait_key: None,
            lasting: Vec::new(),
            happened: Vec::new(),
            reported: None,
            is_undelivered: false,
            echoes: VecDeque::new(),
        }
    }

    /// Returns the place of the Service in the queue of waiting Services.
    pub(super) fn age(&self) -> ServiceAge {
        ServiceAge {
            created: self.service.created,
            key: self.key.clone(),
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
                key: &self.key,
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
        let before = self.reported.replace((outcome.clone(), self.lasting.clone()));
        if let Some((AllocationOutcome::Assigned(before), _)) = before {
            self.echoes.truncate(ECHOES - 1);
            self.echoes.push_front(before.addresses);
        }
        let mut notes = happened;
        notes.extend(self.lasting.iter().cloned());
        Some(Decision {
            service: self.key.clone(),
            outcome,
            unmet: self.lasting.last().cloned(),
            notes,
        })
    }

    /// Handles a new status. Returns whether another program wrote its addresses: they are neither the ones of before nor
    /// ones that were decided here.
    pub(super) fn handle_status(&mut self, assigned: &[IpAddr]) -> bool {
        let held = self.held.as_ref().map_or(&[][..], |held| &held.addresses);
        if assigned == held {
            self.echoes.clear();
            return false;
        }
        let is_echo = self.was_reported(assigned);
        !assigned.is_empty() && *assigned != self.service.assigned[..] && !is_echo
    }

    /// Returns whether `assigned` is of a decision that may still be on its way into the status.
    fn was_reported(&self, assigned: &[IpAddr]) -> bool {
        let last = match &self.reported {
            Some((AllocationOutcome::Assigned(last), _)) => Some(&last.addresses),
            _ => None,
        };
        self.echoes
            .iter()
            .chain(last)
            .any(|addresses| addresses[..] == *assigned)
    }
}

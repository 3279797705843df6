//! What the speakers report: whether the addresses of a Service are announced, and which of their objects are superseded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use herald_core::ipam::AllocationOutcome;
use herald_core::{ServiceKey, Time};
use herald_runtime::Update;

use super::Reconciler;
use crate::announced::{Announced, ConditionStatus};
use crate::announcements::{BgpAnnouncement, PodReadiness, SpeakerStatus, SupersededObject};

/// For how long a Service that no speaker reports keeps its condition `herald.io/Announced`, or has none but
/// [`Announced::pending`], while speakers report nothing of other Services either: more than an address takes to move, or a
/// speaker to start.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// The same while they report other Services, perhaps thousands that were created together.
const BUSY_REPORT_DEADLINE: Duration = Duration::from_secs(300);

/// That no report says whether the addresses of a Service are announced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unreported {
    since: Time,
    /// Whether the condition says so.
    is_overdue: bool,
}

/// When it is time to say of a Service that no speaker reports it.
#[derive(Debug)]
pub(super) struct ReportDeadline {
    due: Time,
    /// [`Unreported::since`].
    since: Time,
    service: ServiceKey,
}

/// The condition by which a Service is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceState {
    /// Without its prefix.
    pub(crate) condition: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: Cow<'static, str>,
}

impl ServiceState {
    pub(crate) fn labels(&self) -> [&str; 3] {
        [self.condition, self.status, &self.reason]
    }
}

impl Reconciler {
    /// Takes what the speakers report of announcements.
    pub(crate) fn handle_announcements(&mut self, update: Update<Option<SpeakerStatus>>, now: Time) {
        self.last_report = now;
        if matches!(update, Update::Synced) {
            self.stale.extend(self.records.keys().cloned());
        }
        self.stale.extend(self.announcements.update(update));
    }

    /// Takes what the speakers report of BGP.
    pub(crate) fn handle_bgp_announcements(&mut self, update: Update<Option<BgpAnnouncement>>, now: Time) {
        self.last_report = now;
        self.stale.extend(self.announcements.update_bgp(update));
    }

    /// Takes a change of the Pods of the speakers.
    pub(crate) fn handle_pods(&mut self, update: Update<PodReadiness>) {
        if self.announcements.update_pods(update) {
            self.stale.extend(self.records.keys().cloned());
        }
    }

    /// Takes that the deletion of a superseded object may be tried again.
    pub(crate) fn handle_deletion_over(&mut self, object: &str) {
        self.announcements.handle_deletion_over(object);
    }

    /// Takes that the time of [`Self::poll_timeout`] has come: Services may get addresses that they wait for, or no speaker has
    /// reported them for too long.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        self.allocator.handle_timeout(now);
        while let Some(deadline) = self.deadlines.pop_front_if(|deadline| deadline.due <= now) {
            let due = self.report_deadline(deadline.since);
            let record = self.records.get_mut(&deadline.service);
            let unreported = record.and_then(|record| record.unreported.as_mut());
            let Some(unreported) = unreported.filter(|unreported| unreported.since == deadline.since) else {
                continue;
            };
            if due > now {
                self.deadlines.push_back(ReportDeadline { due, ..deadline });
            } else {
                unreported.is_overdue = true;
                self.stale.insert(deadline.service);
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let report = self.deadlines.front().map(|deadline| deadline.due);
        self.allocator.poll_timeout().into_iter().chain(report).min()
    }

    /// Returns the next `ServiceL2Status` to be deleted.
    pub(crate) fn poll_superseded(&mut self) -> Option<SupersededObject> {
        if !self.is_active {
            return None;
        }
        let records = &self.records;
        self.announcements.poll_superseded(|service| {
            let observed = records.get(service)?.observed.as_ref()?;
            Some(&observed.assigned[..])
        })
    }

    /// Returns whether the addresses of a Service are announced; `None` if it has none. What is not reported stays as it is for
    /// a while: an address may just be on its way to another node.
    pub(super) fn announced(&mut self, key: &ServiceKey, now: Time) -> Option<Announced> {
        let record = self.records.get_mut(key)?;
        let (observed, decided) = (record.observed.as_ref()?, record.decided.as_ref()?);
        let AllocationOutcome::Assigned(wanted) = &decided.outcome else {
            record.unreported = None;
            return None;
        };
        if let Some(reported) = self.announcements.of(key, &wanted.addresses) {
            record.unreported = None;
            return Some(reported);
        }
        let before = observed.announced();
        let before = before.filter(|_| observed.assigned == wanted.addresses);
        let before = before.unwrap_or(Announced::pending());
        if !self.announcements.is_listed() {
            return Some(before);
        }
        match record.unreported {
            Some(Unreported { is_overdue: true, .. }) => return Some(self.announcements.absence(before)),
            Some(_) => {}
            None => {
                let (since, service) = (now, key.clone());
                record.unreported = Some(Unreported {
                    since,
                    is_overdue: false,
                });
                let due = self.report_deadline(since);
                self.deadlines.push_back(ReportDeadline { due, since, service });
            }
        }
        Some(before)
    }

    /// Counts the Services by what their statuses show: those with an address by whether it is announced, the others by why they
    /// have none. A standby counts none.
    pub(crate) fn count_services(&self) -> BTreeMap<ServiceState, i64> {
        let mut counts = BTreeMap::new();
        for record in self.records.values() {
            let Some((observed, decided)) = record.observed.as_ref().zip(record.decided.as_ref()) else {
                continue;
            };
            let state = match &decided.outcome {
                AllocationOutcome::Assigned(_) => {
                    let announced = observed.announced().unwrap_or(Announced::pending());
                    ServiceState {
                        condition: "Announced",
                        status: announced.status.as_str(),
                        reason: announced.reason,
                    }
                }
                AllocationOutcome::Unassigned(refusal) => ServiceState {
                    condition: "Allocated",
                    status: ConditionStatus::False.as_str(),
                    reason: Cow::Borrowed(refusal.reason()),
                },
            };
            *counts.entry(state).or_default() += 1;
        }
        counts
    }

    /// Returns when a Service that was not reported since `since` should have been.
    fn report_deadline(&self, since: Time) -> Time {
        let deadline = since.max(self.last_report) + REPORT_DEADLINE;
        deadline.min(since + BUSY_REPORT_DEADLINE)
    }
}

//! The machine of a candidacy: when to attempt to take the Lease, and how long a success may be relied on.
//!
//! ```text
//!             written on the version known
//!   standby ──────────────────────────────► holder ──┐ renewed
//!      ▲                                      │  ▲───┘
//!      └──── deadline passed, another holder ─┘
//! ```
//!
//! Times of other machines are never compared: a Lease has expired when this candidate has seen its record unchanged for as
//! long as the record promises. All times are since the start of the machine.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::Timing;

/// The Lease as the API server has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeaseRecord {
    pub(super) spec: LeaseSpec,
    /// `metadata.resourceVersion`.
    pub(super) version: String,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attempt {
    pub(super) spec: LeaseSpec,
    /// The version to replace; `None` creates the lease.
    pub(super) version: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AttemptResult {
    Written(LeaseRecord),
    /// The Lease has another version by now, this one when it was read after that, or is absent.
    Outdated(Option<LeaseRecord>),
    /// Refused or without an answer: the Lease may have been written or not.
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum CandidateStep {
    /// Write this and call [`LeaseCandidate::handle_result`].
    Attempt(Attempt),
    /// Nothing to do before this time, or before another input.
    Wait(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct LeaseCandidate {
    identity: String,
    timing: Timing,
    known: KnownLease,
    held_until: Option<Duration>,
    attempt: Option<AttemptInFlight>,
    /// No attempt before.
    next_attempt: Duration,
}

#[derive(Debug)]
struct AttemptInFlight {
    since: Duration,
    /// The version to be replaced.
    version: Option<String>,
}

#[derive(Debug)]
enum KnownLease {
    Nothing,
    Absent,
    Present { record: LeaseRecord, since: Duration },
}

impl LeaseRecord {
    fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }

    fn duration(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.spec.lease_duration_seconds?).ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Compares versions as numbers, as API servers do. A version that is no number is never older.
    fn is_older_than(&self, other: &Self) -> bool {
        let number = |record: &Self| record.version.parse::<u64>().ok();
        number(self)
            .zip(number(other))
            .is_some_and(|(this, other)| this < other)
    }
}

impl LeaseCandidate {
    /// A candidate that knows nothing of the Lease yet.
    pub(super) fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            known: KnownLease::Nothing,
            held_until: None,
            attempt: None,
            next_attempt: Duration::ZERO,
        }
    }

    /// Returns until when the Lease may be relied on; `None` while this candidate does not hold it.
    pub(super) const fn held_until(&self) -> Option<Duration> {
        self.held_until
    }

    /// Returns another holder of the Lease, as far as known.
    pub(super) fn other_holder(&self) -> Option<&str> {
        let holder = self.record()?.holder();
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }

    /// Takes the Lease as the API server listed it, or that there is none.
    pub(super) fn handle_listed(&mut self, record: Option<LeaseRecord>, now: Duration) {
        if self.record() != record.as_ref() {
            self.learn(record, now);
        } else if record.is_none() {
            self.known = KnownLease::Absent;
        }
    }

    /// Takes a version of the Lease that the watch shows, or that the Lease was deleted. The watch may lag behind our writes.
    pub(super) fn handle_shown(&mut self, record: Option<LeaseRecord>, now: Duration) {
        let is_news = match (&record, self.record()) {
            (Some(new), Some(known)) => new.version != known.version && !new.is_older_than(known),
            (Some(_), None) | (None, _) => true,
        };
        if is_news {
            self.learn(record, now);
        }
    }

    /// Takes how the last [`CandidateStep::Attempt`] ended.
    pub(super) fn handle_result(&mut self, result: AttemptResult, now: Duration) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        let sent = attempt.since;
        self.next_attempt = match &result {
            AttemptResult::Written(_) => sent + self.timing.retry,
            AttemptResult::Outdated(_) | AttemptResult::Failed => now + self.timing.retry,
        };
        let record = match result {
            AttemptResult::Written(record) => record,
            AttemptResult::Outdated(present) => return self.handle_present(present, attempt.version, now),
            AttemptResult::Failed => return,
        };
        if self.record().is_some_and(|known| record.is_older_than(known)) {
            // The watch was faster and has shown a newer version.
            if self.record().is_some_and(|known| known.holder() != self.identity) {
                return;
            }
        } else {
            self.known = KnownLease::Present { record, since: now };
        }
        self.held_until = Some(sent + self.timing.deadline);
    }

    /// Takes the Lease as it was read after an attempt on an outdated version. It counts whatever its version is, because an
    /// API server that was restored from a backup continues from an older one, unless the watch was faster.
    fn handle_present(&mut self, present: Option<LeaseRecord>, attempted: Option<String>, now: Duration) {
        let known = self.record();
        let is_old = present
            .as_ref()
            .zip(known)
            .is_some_and(|(present, known)| present.is_older_than(known));
        let has_moved = known.map(|known| &known.version) != attempted.as_ref();
        if !(is_old && has_moved) {
            self.handle_listed(present, now);
        }
    }

    /// Returns what to do now; `wall` is the time of day that the Lease shows to its readers.
    pub(super) fn poll(&mut self, now: Duration, wall: Timestamp) -> CandidateStep {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        if self.attempt.is_some() {
            return CandidateStep::Wait(self.held_until);
        }
        match self.may_attempt_at() {
            Some(at) if at <= now => {
                let claim = self.claim(wall);
                self.attempt = Some(AttemptInFlight {
                    since: now,
                    version: claim.version.clone(),
                });
                CandidateStep::Attempt(claim)
            }
            Some(at) => CandidateStep::Wait(Some(self.held_until.map_or(at, |until| until.min(at)))),
            None => CandidateStep::Wait(self.held_until),
        }
    }

    /// Gives the Lease up. Returns the write that releases it, if this candidate holds it.
    pub(super) fn resign(&mut self, now: Duration, wall: Timestamp) -> Option<Attempt> {
        self.held_until.take().filter(|until| now < *until)?;
        let record = self.record()?;
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            // As client-go: readers that do not know an empty holder take the Lease after a second.
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(wall)),
            ..record.spec.clone()
        };
        Some(Attempt {
            spec,
            version: Some(record.version.clone()),
        })
    }

    const fn record(&self) -> Option<&LeaseRecord> {
        match &self.known {
            KnownLease::Present { record, .. } => Some(record),
            KnownLease::Nothing | KnownLease::Absent => None,
        }
    }

    fn learn(&mut self, record: Option<LeaseRecord>, now: Duration) {
        let is_free = record.as_ref().is_none_or(|record| record.holder().is_empty());
        let is_ours = record
            .as_ref()
            .is_some_and(|record| record.holder() == self.identity);
        self.known = record.map_or(KnownLease::Absent, |record| KnownLease::Present {
            record,
            since: now,
        });
        let is_absent = self.record().is_none();
        if is_absent || !is_free && !is_ours {
            // The candidate that creates a deleted Lease holds it at once.
            self.held_until = None;
        }
        if self.held_until.is_some() || is_free {
            // The known version is outdated, or the Lease is free: there is no reason to wait.
            self.next_attempt = now;
        }
    }

    fn may_attempt_at(&self) -> Option<Duration> {
        let (record, since) = match &self.known {
            KnownLease::Nothing => return None,
            KnownLease::Absent => return Some(self.next_attempt),
            KnownLease::Present { record, since } => (record, since),
        };
        if record.holder().is_empty() || record.holder() == self.identity {
            return Some(self.next_attempt);
        }
        let runs_out = *since + record.duration().unwrap_or(self.timing.duration);
        Some(runs_out.max(self.next_attempt))
    }

    fn claim(&self, wall: Timestamp) -> Attempt {
        let before = self.record();
        let is_renewal = before.is_some_and(|record| record.holder() == self.identity);
        let transitions = before.map_or(0, |record| record.spec.lease_transitions.unwrap_or(0));
        let acquired = before.and_then(|record| record.spec.acquire_time.clone());
        let seconds = i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: acquired.filter(|_| is_renewal).or(Some(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(transitions + i32::from(before.is_some() && !is_renewal)),
            ..LeaseSpec::default()
        };
        Attempt {
            spec,
            version: before.map(|record| record.version.clone()),
        }
    }
}

#[cfg(test)]
mod tests;

//! The machine behind a candidacy: when to try for the lease, and how long a success may be relied on.
//!
//! ```text
//!             written on the version known
//!   standby ──────────────────────────────► holder ──┐ renewed
//!      ▲                                      │  ▲───┘
//!      └──── deadline passed, another holder ─┘
//! ```
//!
//! Times of other machines are never compared: a lease has run out when its record has stood unchanged before the eyes
//! of this candidate for as long as the record promises. All times are since the start of the machine.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::Timing;

/// The lease as the API server has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) spec: LeaseSpec,
    /// `metadata.resourceVersion`.
    pub(super) version: String,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Try {
    pub(super) spec: LeaseSpec,
    /// The version to replace; `None` creates the lease.
    pub(super) version: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tried {
    Written(Record),
    /// Another version has come between.
    Outdated,
    /// Refused, or no answer: it may have been written or not.
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Write this and tell how it ended.
    Try(Try),
    /// Nothing to do before this time, or before something is seen.
    Wait(Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    timing: Timing,
    known: Known,
    held_until: Option<Duration>,
    /// When the write under way was begun.
    trying_since: Option<Duration>,
    /// No try before.
    next_try: Duration,
}

#[derive(Debug)]
enum Known {
    Nothing,
    Absent,
    Present { record: Record, since: Duration },
}

impl Record {
    fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }

    fn duration(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.spec.lease_duration_seconds?).ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Versions are ordered as numbers, as API servers have it; those that are none are all news.
    fn is_older_than(&self, other: &Self) -> bool {
        let number = |record: &Self| record.version.parse::<u64>().ok();
        number(self)
            .zip(number(other))
            .is_some_and(|(this, other)| this < other)
    }
}

impl Candidate {
    /// A candidate that knows nothing of the lease yet.
    pub(super) fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            known: Known::Nothing,
            held_until: None,
            trying_since: None,
            next_try: Duration::ZERO,
        }
    }

    /// Until when the lease may be relied on; `None` while it is not ours.
    pub(super) const fn held_until(&self) -> Option<Duration> {
        self.held_until
    }

    /// Another one who holds the lease, as far as is known.
    pub(super) fn rival(&self) -> Option<&str> {
        let holder = self.record()?.holder();
        (!holder.is_empty() && holder != self.identity).then_some(holder)
    }

    /// The API server has listed the lease, or found none.
    pub(super) fn handle_listed(&mut self, record: Option<Record>, now: Duration) {
        if self.record() != record.as_ref() {
            self.learn(record, now);
        } else if record.is_none() {
            self.known = Known::Absent;
        }
    }

    /// The watch shows a version of the lease, or that it was deleted. It may lag behind our own writes.
    pub(super) fn handle_seen(&mut self, record: Option<Record>, now: Duration) {
        let is_news = match (&record, self.record()) {
            (Some(new), Some(known)) => new.version != known.version && !new.is_older_than(known),
            (Some(_), None) | (None, _) => true,
        };
        if is_news {
            self.learn(record, now);
        }
    }

    /// The write of the last [`Step::Try`] has ended.
    pub(super) fn handle_tried(&mut self, tried: Tried, now: Duration) {
        let Some(sent) = self.trying_since.take() else {
            return;
        };
        self.next_try = match &tried {
            Tried::Written(_) => sent + self.timing.retry,
            Tried::Outdated | Tried::Failed => now + self.timing.retry,
        };
        let Tried::Written(record) = tried else {
            return;
        };
        if self.record().is_some_and(|known| record.is_older_than(known)) {
            // The watch was faster, and shows what came after.
            if self.record().is_some_and(|known| known.holder() != self.identity) {
                return;
            }
        } else {
            self.known = Known::Present { record, since: now };
        }
        self.held_until = Some(sent + self.timing.deadline);
    }

    /// What to do now; `wall` is the time of day, which the lease shows to its readers.
    pub(super) fn poll(&mut self, now: Duration, wall: Timestamp) -> Step {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        if self.trying_since.is_some() {
            return Step::Wait(self.held_until);
        }
        match self.may_try_at() {
            Some(at) if at <= now => {
                self.trying_since = Some(now);
                Step::Try(self.claim(wall))
            }
            Some(at) => Step::Wait(Some(self.held_until.map_or(at, |until| until.min(at)))),
            None => Step::Wait(self.held_until),
        }
    }

    /// Gives the lease up. If it is ours, this has to be written for others to know at once.
    pub(super) fn resign(&mut self, now: Duration, wall: Timestamp) -> Option<Try> {
        self.held_until.take().filter(|until| now < *until)?;
        let record = self.record()?;
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            // As client-go does: readers that do not know an empty holder take it after a second.
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(wall)),
            ..record.spec.clone()
        };
        Some(Try {
            spec,
            version: Some(record.version.clone()),
        })
    }

    const fn record(&self) -> Option<&Record> {
        match &self.known {
            Known::Present { record, .. } => Some(record),
            Known::Nothing | Known::Absent => None,
        }
    }

    fn learn(&mut self, record: Option<Record>, now: Duration) {
        let is_free = record.as_ref().is_none_or(|record| record.holder().is_empty());
        let is_ours = record
            .as_ref()
            .is_some_and(|record| record.holder() == self.identity);
        self.known = record.map_or(Known::Absent, |record| Known::Present { record, since: now });
        if !is_free && !is_ours {
            self.held_until = None;
        } else if self.held_until.is_some() || is_free {
            // What we knew is out of date, or the lease is to be had: there is no reason to wait.
            self.next_try = now;
        }
    }

    fn may_try_at(&self) -> Option<Duration> {
        let (record, since) = match &self.known {
            Known::Nothing => return None,
            Known::Absent => return Some(self.next_try),
            Known::Present { record, since } => (record, since),
        };
        if record.holder().is_empty() || record.holder() == self.identity {
            return Some(self.next_try);
        }
        let runs_out = *since + record.duration().unwrap_or(self.timing.duration);
        Some(runs_out.max(self.next_try))
    }

    fn claim(&self, wall: Timestamp) -> Try {
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
        Try {
            spec,
            version: before.map(|record| record.version.clone()),
        }
    }
}

#[cfg(test)]
mod tests;

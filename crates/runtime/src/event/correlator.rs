//! Decides which events are written when. Repetitions are counted and not written one by one, so that a flapping object cannot
//! flood the API server.
//!
//! The rules are those of client-go's `EventCorrelator`, which users know, with one exception: client-go drops events above
//! the limit, this machine writes them later, with the right count.
//!
//! * The same message about the same object is one Event, whose `count` grows.
//! * More than [`SIMILAR`] messages of one reason about one object within [`WINDOW`] become one Event, too.
//! * The gap between writes of one Event grows, and the rate of writes about one object is limited.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use herald_core::Backoff;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::Severity;

/// A repetition after this time is a new Event.
const WINDOW: Duration = Duration::from_secs(600);
/// The number of different messages of one reason about one object that are Events of their own.
const SIMILAR: usize = 10;
/// Prefix of the latest message of those that are combined.
const COMBINED: &str = "(combined from similar events): ";
/// Gap between the first write of an Event and the second; it doubles with each write.
const FIRST_GAP: Duration = Duration::from_secs(1);
/// Longest gap: a count is at most this much behind, within the budget of the object.
const LONGEST_GAP: Duration = Duration::from_secs(60);
/// The number of writes about one object without a pause.
const BURST: u32 = 25;
/// After that, one write about the object is allowed every five minutes.
const REFILL: Duration = Duration::from_secs(300);
/// The number of remembered Events: enough for one about each of 10 000 Services.
const CAPACITY: usize = 16_384;

/// An event about an object, as the program emitted it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventRecord {
    pub(super) about: ObjectReference,
    pub(super) severity: Severity,
    pub(super) reason: String,
    pub(super) message: String,
}

/// An Event to be created or updated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventWrite {
    pub(super) record: EventRecord,
    /// Distinguishes this Event from others about the object.
    pub(super) id: i64,
    /// Whether it has been created before.
    pub(super) exists: bool,
    pub(super) count: i32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    series: HashMap<Key, Series>,
    groups: HashMap<Group, Messages>,
    budgets: HashMap<Object, Budget>,
    /// The series that have something to write, by the time from which they may be written.
    due: BTreeSet<(Instant, Key)>,
}

/// An object: its kind, namespace, name and uid.
type Object = [String; 4];
/// An object, a reason.
type Group = (Object, String);
/// Two events with one key are repetitions: the group, and the message unless messages are combined.
type Key = (Group, Option<String>);

#[derive(Debug)]
struct Series {
    write: EventWrite,
    /// The time of the last repetition.
    last_seen: Instant,
    backoff: Backoff,
    /// It is not written before.
    not_before: Instant,
    is_due: Option<Instant>,
}

#[derive(Debug)]
struct Messages {
    since: Instant,
    different: BTreeSet<String>,
}

/// A token bucket: the tokens that were left at a time.
#[derive(Debug)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Correlator {
    /// Takes an event. Returns how many other events were dropped unwritten to make room for it.
    pub(super) fn handle(&mut self, mut record: EventRecord, now: Instant, wall: Timestamp) -> u64 {
        let forgotten = self.make_room(now);
        let group = (object(&record.about), record.reason.clone());
        let messages = self.groups.entry(group.clone()).or_insert_with(|| Messages {
            since: now,
            different: BTreeSet::new(),
        });
        if now.duration_since(messages.since) > WINDOW {
            messages.since = now;
            messages.different.clear();
        }
        if messages.different.len() <= SIMILAR {
            messages.different.insert(record.message.clone());
        }
        let is_combined = messages.different.len() > SIMILAR;
        let key = (group, (!is_combined).then(|| record.message.clone()));
        if is_combined {
            record.message.insert_str(0, COMBINED);
        }
        match self.series.get_mut(&key) {
            Some(series) if now.duration_since(series.last_seen) <= WINDOW => {
                series.last_seen = now;
                series.write.record = record;
                series.write.count = series.write.count.saturating_add(1);
                series.write.last = wall;
            }
            Some(_) | None => {
                self.forget(&key);
                self.series.insert(key.clone(), Series::new(record, now, wall));
            }
        }
        self.schedule(key);
        forgotten
    }

    /// Returns the next Event to be written now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<EventWrite> {
        while let Some((at, _)) = self.due.first()
            && *at <= now
        {
            let (_, key) = self.due.pop_first()?;
            let Some(series) = self.series.get_mut(&key) else {
                continue;
            };
            series.is_due = None;
            let budget = self
                .budgets
                .entry(key.0.0.clone())
                .or_insert(Budget { left: BURST, at: now });
            if let Err(later) = budget.spend(now) {
                series.not_before = later;
                self.schedule(key);
                continue;
            }
            let write = series.write.clone();
            series.write.exists = true;
            series.not_before = now + series.backoff.pause();
            return Some(write);
        }
        None
    }

    /// Returns when [`Self::poll`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes that an Event could not be written, or has expired: its next repetition creates another one.
    pub(super) fn handle_lost(&mut self, write: &EventWrite) {
        let lost = |(_, series): &(&Key, &Series)| series.write.id == write.id;
        let key = self.series.iter().find(lost).map(|(key, _)| key.clone());
        if let Some(key) = key {
            self.forget(&key);
        }
    }

    fn schedule(&mut self, key: Key) {
        if let Some(series) = self.series.get_mut(&key)
            && series.is_due.is_none()
        {
            series.is_due = Some(series.not_before);
            self.due.insert((series.not_before, key));
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(series) = self.series.remove(key)
            && let Some(due) = series.is_due
        {
            self.due.remove(&(due, key.clone()));
        }
    }

    /// Drops old series that are written. If that is not enough, drops the series without a repetition for the longest time.
    fn make_room(&mut self, now: Instant) -> u64 {
        if self.groups.len() >= CAPACITY {
            self.groups
                .retain(|_, messages| now.duration_since(messages.since) <= WINDOW);
            if self.groups.len() >= CAPACITY / 2 {
                self.groups.clear();
            }
        }
        if self.budgets.len() >= CAPACITY {
            self.budgets.retain(|_, budget| !budget.is_full(now));
            if self.budgets.len() >= CAPACITY / 2 {
                self.budgets.clear();
            }
        }
        if self.series.len() < CAPACITY {
            return 0;
        }
        let is_over =
            |series: &Series| series.is_due.is_none() && now.duration_since(series.last_seen) > WINDOW;
        self.series.retain(|_, series| !is_over(series));
        let surplus = self.series.len().saturating_sub(CAPACITY / 2);
        let all = self.series.iter();
        let mut last_seen: Vec<(Instant, Key)> =
            all.map(|(key, series)| (series.last_seen, key.clone())).collect();
        last_seen.sort_unstable();
        let before = self.due.len();
        last_seen
            .iter()
            .take(surplus)
            .for_each(|(_, key)| self.forget(key));
        u64::try_from(before - self.due.len()).unwrap_or(u64::MAX)
    }
}

impl Series {
    fn new(record: EventRecord, now: Instant, wall: Timestamp) -> Self {
        let write = EventWrite {
            record,
            id: i64::try_from(wall.as_nanosecond()).unwrap_or(i64::MAX),
            exists: false,
            count: 1,
            first: wall,
            last: wall,
        };
        Self {
            write,
            last_seen: now,
            backoff: Backoff::new(FIRST_GAP, LONGEST_GAP),
            not_before: now,
            is_due: None,
        }
    }
}

impl Budget {
    /// Takes a token, or returns when there is one.
    fn spend(&mut self, now: Instant) -> Result<(), Instant> {
        let periods = now.duration_since(self.at).as_secs() / REFILL.as_secs();
        let refilled = u32::try_from(periods).unwrap_or(u32::MAX).min(BURST);
        self.left = self.left.saturating_add(refilled).min(BURST);
        self.at += REFILL * refilled;
        if self.left == BURST {
            self.at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.at + REFILL),
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        now.duration_since(self.at) >= REFILL * (BURST - self.left)
    }
}

fn object(about: &ObjectReference) -> Object {
    [&about.kind, &about.namespace, &about.name, &about.uid].map(|field| field.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests;

//! Decides which events are written when. Repetitions are counted and not written one by one, so that a flapping object cannot
//! flood the API server.
//!
//! The rules are those of client-go's `EventCorrelator`, which users know, with one exception: client-go drops events above
//! the limit, this machine writes them later, with the right count.
//!
//! * The same message about the same object is one Event, whose `count` grows.
//! * More than [`SIMILAR`] messages of one reason about one object within [`WINDOW`] become one Event, too.
//! * The gap between writes of one Event grows, and the rate of writes about one object is limited.
//!
//! A user who may create objects in a namespace decides what is in their names and annotations, and how often they change. So the
//! memory is bounded in bytes, and the namespaces take turns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::{LONGEST_MESSAGE, Severity};
use crate::fair_queue::FairQueue;
use crate::log::shorten;

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
/// Bytes of all events that wait to be written: enough for one about each of 10 000 Services, which have some 400 bytes.
const WAITING_BYTES: usize = 5 << 20;

/// An event about an object, as the program emitted it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventRecord {
    pub(super) about: ObjectReference,
    pub(super) severity: Severity,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// An Event to be created or updated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventWrite {
    pub(super) record: EventRecord,
    pub(super) series: Digest,
    /// Whether it has been created before.
    pub(super) exists: bool,
    pub(super) count: i32,
    /// Distinguishes this Event from others about the object, too.
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// What is remembered of an event has a bounded size, whatever its texts are: only those that wait to be written are kept.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    /// By object, reason and message; by object and reason where messages are combined.
    series: HashMap<Digest, Series>,
    /// By object and reason.
    groups: HashMap<Digest, Messages>,
    /// By object.
    budgets: HashMap<Digest, Budget>,
    /// The series that wait, by the time from which they may be written.
    delayed: BTreeSet<(Instant, Digest)>,
    /// The series that may be written now, by namespace.
    ready: FairQueue<String, Digest>,
    /// Bytes of the events that wait.
    waiting_bytes: usize,
    hasher: RandomState,
}

/// A keyed hash of texts: two of a few thousand are not the same by chance, nor by intent of who does not know the key.
pub(super) type Digest = u64;

/// There are ten thousand of them after each Service has moved, so they are small.
#[derive(Debug)]
struct Series {
    object: Digest,
    first: Timestamp,
    count: i32,
    /// How often it was written.
    writes: u32,
    /// Boxed, because most of the series that are remembered have none.
    waiting: Option<Box<LatestEvent>>,
    /// The time of the last repetition.
    last_seen: Instant,
    /// It is not written before; also its place among those that are delayed.
    not_before: Instant,
}

/// The latest event of a series, until it is written.
#[derive(Debug)]
struct LatestEvent {
    record: EventRecord,
    last: Timestamp,
}

#[derive(Debug)]
struct Messages {
    since: Instant,
    /// Keyed hashes of the messages.
    different: Vec<u64>,
}

/// A token bucket: the tokens that were left at a time.
#[derive(Debug)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Correlator {
    /// Takes an event. Returns how many events were dropped unwritten to make room for it.
    pub(super) fn handle(&mut self, mut record: EventRecord, now: Instant, wall: Timestamp) -> u64 {
        self.make_room(now);
        let about = [
            &record.about.kind,
            &record.about.namespace,
            &record.about.name,
            &record.about.uid,
        ];
        let [kind, namespace, name, uid] = about.map(|field| field.as_deref().unwrap_or_default());
        let object = self.digest(&[kind, namespace, name, uid]);
        let group = self.digest(&[kind, namespace, name, uid, record.reason]);
        let single = self.digest(&[kind, namespace, name, uid, record.reason, &record.message]);
        let is_combined = self.is_combined(group, &record.message, now);
        let key = if is_combined { group } else { single };
        if is_combined {
            record.message = shorten(format_args!("{COMBINED}{}", record.message), LONGEST_MESSAGE);
        }
        let series = self.series.get(&key);
        if series.is_some_and(|series| now.duration_since(series.last_seen) > WINDOW) {
            self.forget(key);
        }
        let series = self.series.entry(key);
        let series = series.or_insert_with(|| Series::new(object, now, wall));
        series.count = series.count.saturating_add(1);
        series.last_seen = now;
        let waiting = LatestEvent { record, last: wall };
        self.waiting_bytes += waiting.bytes();
        match series.waiting.replace(waiting.into()) {
            Some(before) => self.waiting_bytes -= before.bytes(),
            None => delay(series, key, &mut self.delayed),
        }
        if self.waiting_bytes > WAITING_BYTES {
            return self.drop_waiting();
        }
        0
    }

    /// Returns the next Event to be written now. The namespaces take turns.
    pub(super) fn poll(&mut self, now: Instant) -> Option<EventWrite> {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.delayed.pop_first() else {
                break;
            };
            if let Some(series) = self.series.get_mut(&key) {
                self.ready.push(series.namespace().to_owned(), key);
            }
        }
        while let Some(key) = self.ready.pop() {
            let Some(series) = self.series.get_mut(&key) else {
                continue;
            };
            let Some(waiting) = series.waiting.take() else {
                continue;
            };
            let budget = self.budgets.entry(series.object);
            let budget = budget.or_insert(Budget { left: BURST, at: now });
            if let Err(later) = budget.spend(now) {
                series.waiting = Some(waiting);
                series.not_before = later;
                delay(series, key, &mut self.delayed);
                continue;
            }
            self.waiting_bytes -= waiting.bytes();
            series.not_before = now + gap_after(series.writes);
            series.writes = series.writes.saturating_add(1);
            return Some(EventWrite {
                record: waiting.record,
                series: key,
                exists: series.writes > 1,
                count: series.count,
                first: series.first,
                last: waiting.last,
            });
        }
        None
    }

    /// Returns when [`Self::poll`], which has returned `None`, has something again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Takes that an Event could not be written, or has expired: its next repetition creates another one.
    pub(super) fn handle_lost(&mut self, write: &EventWrite) {
        self.forget(write.series);
    }

    /// Whether an event is combined with others of its group: there were too many different messages.
    fn is_combined(&mut self, group: Digest, message: &str, now: Instant) -> bool {
        let message = self.hasher.hash_one(message);
        let messages = self.groups.entry(group).or_insert_with(|| Messages {
            since: now,
            different: Vec::with_capacity(1),
        });
        if now.duration_since(messages.since) > WINDOW {
            messages.since = now;
            messages.different.clear();
        }
        if messages.different.len() <= SIMILAR && !messages.different.contains(&message) {
            messages.different.push(message);
        }
        messages.different.len() > SIMILAR
    }

    fn digest(&self, texts: &[&str]) -> Digest {
        self.hasher.hash_one(texts)
    }

    /// Removes a series, and the event of it that waits. A place in `ready` stays.
    fn forget(&mut self, key: Digest) -> Option<LatestEvent> {
        let series = self.series.remove(&key)?;
        let waiting = series.waiting?;
        self.delayed.remove(&(series.not_before, key));
        self.waiting_bytes -= waiting.bytes();
        Some(*waiting)
    }

    /// Removes old entries. If that is not enough, removes the series without a repetition for the longest time; never one
    /// that waits.
    fn make_room(&mut self, now: Instant) {
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
            return;
        }
        let written = self.series.iter().filter(|(_, series)| series.waiting.is_none());
        let mut last_seen: Vec<(Instant, Digest)> =
            written.map(|(key, series)| (series.last_seen, *key)).collect();
        last_seen.sort_unstable();
        let surplus = self.series.len() - CAPACITY / 2;
        for (_, key) in last_seen.iter().take(surplus) {
            self.series.remove(key);
        }
    }

    /// Drops events until an eighth of the room is free: the oldest ones, and only of namespaces that have more than an equal
    /// share. Returns how many.
    fn drop_waiting(&mut self) -> u64 {
        let waiting = self.series.iter().filter(|(_, series)| series.waiting.is_some());
        let mut waiting: Vec<(Instant, Digest)> =
            waiting.map(|(key, series)| (series.last_seen, *key)).collect();
        waiting.sort_unstable();
        let mut bytes: BTreeMap<String, usize> = BTreeMap::new();
        for (_, key) in &waiting {
            if let Some(series) = self.series.get(key) {
                let held = series.waiting.as_ref().map_or(0, |waiting| waiting.bytes());
                *bytes.entry(series.namespace().to_owned()).or_default() += held;
            }
        }
        let room = WAITING_BYTES / 8 * 7;
        let share = room / bytes.len().max(1);
        let mut dropped = 0;
        for (_, key) in waiting {
            if self.waiting_bytes <= room {
                break;
            }
            let namespace = self.series.get(&key).map_or("", Series::namespace);
            let Some(held) = bytes.get_mut(namespace).filter(|held| **held > share) else {
                continue;
            };
            if let Some(waiting) = self.forget(key) {
                *held -= waiting.bytes();
                dropped += 1;
            }
        }
        let series = &self.series;
        self.ready.retain(|key| series.contains_key(key));
        dropped
    }
}

/// Makes a series wait until it may be written.
fn delay(series: &Series, key: Digest, delayed: &mut BTreeSet<(Instant, Digest)>) {
    delayed.insert((series.not_before, key));
}

/// Returns the gap after a write, if there were so many before.
fn gap_after(writes: u32) -> Duration {
    let factor = 1_u32.checked_shl(writes).unwrap_or(u32::MAX);
    FIRST_GAP.saturating_mul(factor).min(LONGEST_GAP)
}

impl LatestEvent {
    /// Returns what this event takes in memory.
    fn bytes(&self) -> usize {
        let about = &self.record.about;
        let texts = [
            &about.api_version,
            &about.field_path,
            &about.kind,
            &about.name,
            &about.namespace,
            &about.resource_version,
            &about.uid,
        ];
        let texts = texts.into_iter().flatten().chain([&self.record.message]);
        size_of::<Self>() + texts.map(String::len).sum::<usize>()
    }
}

impl Series {
    fn new(object: Digest, now: Instant, wall: Timestamp) -> Self {
        Self {
            object,
            first: wall,
            count: 0,
            writes: 0,
            waiting: None,
            last_seen: now,
            not_before: now,
        }
    }

    /// The namespace of the event that waits.
    fn namespace(&self) -> &str {
        let about = self.waiting.as_ref().map(|waiting| &waiting.record.about);
        about
            .and_then(|about| about.namespace.as_deref())
            .unwrap_or_default()
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

#[cfg(test)]
mod tests;

//! Which events are written when: repetitions are counted and not written one by one, so that nothing that flaps can flood
//! the API server.
//!
//! The rules are those of client-go's `EventCorrelator`, which users know, but for one: where that drops what is too much,
//! this writes it later, with the right count.
//!
//! * The same message about the same object is one Event, whose `count` grows.
//! * More than [`SIMILAR`] messages of one reason about one object within [`WINDOW`] become one Event, too.
//! * The writes of one Event are ever further apart, and those about one object are limited.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use herald_core::Backoff;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;

use super::Severity;

/// Repetitions that are further apart are a new Event.
const WINDOW: Duration = Duration::from_secs(600);
/// So many different messages of one reason about one object stay apart.
const SIMILAR: usize = 10;
/// What stands before the latest message of those that do not.
const COMBINED: &str = "(combined from similar events): ";
/// From the first write of an Event to the second; it doubles with each.
const FIRST_GAP: Duration = Duration::from_secs(1);
/// The longest time for which a count is behind, while the object may be written about.
const LONGEST_GAP: Duration = Duration::from_secs(60);
/// So many writes about one object may come one after the other.
const BURST: u32 = 25;
/// After that one such write is allowed every five minutes.
const REFILL: Duration = Duration::from_secs(300);
/// Events that are remembered; enough for what 10 000 Services say at once.
const CAPACITY: usize = 16_384;

/// Something said about an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saying {
    pub(super) about: ObjectReference,
    pub(super) severity: Severity,
    pub(super) reason: String,
    pub(super) message: String,
}

/// An Event to be created or brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) saying: Saying,
    /// Tells this Event from all others about the object.
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
    /// When which series may be written, if it has news.
    due: BTreeSet<(Instant, Key)>,
}

/// An object: its kind, namespace, name and uid.
type Object = [String; 4];
/// An object, a reason.
type Group = (Object, String);
/// What makes two events the same: a group, and the message unless it is combined with others.
type Key = (Group, Option<String>);

#[derive(Debug)]
struct Series {
    write: Write,
    /// When it was heard last.
    heard: Instant,
    backoff: Backoff,
    /// Not written before.
    not_before: Instant,
    is_due: Option<Instant>,
}

#[derive(Debug)]
struct Messages {
    since: Instant,
    different: BTreeSet<String>,
}

/// A bucket of tokens: how many are left, counted at a time.
#[derive(Debug)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Correlator {
    /// Somebody said something. Returns how much else was forgotten unwritten to make room for it.
    pub(super) fn handle(&mut self, mut saying: Saying, now: Instant, wall: Timestamp) -> u64 {
        let forgotten = self.make_room(now);
        let group = (object(&saying.about), saying.reason.clone());
        let messages = self.groups.entry(group.clone()).or_insert_with(|| Messages {
            since: now,
            different: BTreeSet::new(),
        });
        if now.duration_since(messages.since) > WINDOW {
            messages.since = now;
            messages.different.clear();
        }
        if messages.different.len() <= SIMILAR {
            messages.different.insert(saying.message.clone());
        }
        let is_combined = messages.different.len() > SIMILAR;
        let key = (group, (!is_combined).then(|| saying.message.clone()));
        if is_combined {
            saying.message.insert_str(0, COMBINED);
        }
        match self.series.get_mut(&key) {
            Some(series) if now.duration_since(series.heard) <= WINDOW => {
                series.heard = now;
                series.write.saying = saying;
                series.write.count = series.write.count.saturating_add(1);
                series.write.last = wall;
            }
            Some(_) | None => {
                self.forget(&key);
                self.series.insert(key.clone(), Series::new(saying, now, wall));
            }
        }
        self.schedule(key);
        forgotten
    }

    /// The next Event to be written now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Write> {
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
            series.not_before = now + series.backoff.next();
            return Some(write);
        }
        None
    }

    /// When [`Self::poll`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An Event could not be written, or has expired: its next repetition creates another one.
    pub(super) fn handle_lost(&mut self, write: &Write) {
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

    /// Forgets what is long ago and written; if that is not enough, whatever was heard of first.
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
        let is_over = |series: &Series| series.is_due.is_none() && now.duration_since(series.heard) > WINDOW;
        self.series.retain(|_, series| !is_over(series));
        let surplus = self.series.len().saturating_sub(CAPACITY / 2);
        let all = self.series.iter();
        let mut heard: Vec<(Instant, Key)> = all.map(|(key, series)| (series.heard, key.clone())).collect();
        heard.sort_unstable();
        let before = self.due.len();
        heard.iter().take(surplus).for_each(|(_, key)| self.forget(key));
        u64::try_from(before - self.due.len()).unwrap_or(u64::MAX)
    }
}

impl Series {
    fn new(saying: Saying, now: Instant, wall: Timestamp) -> Self {
        let write = Write {
            saying,
            id: i64::try_from(wall.as_nanosecond()).unwrap_or(i64::MAX),
            exists: false,
            count: 1,
            first: wall,
            last: wall,
        };
        Self {
            write,
            heard: now,
            backoff: Backoff::new(FIRST_GAP, LONGEST_GAP),
            not_before: now,
            is_due: None,
        }
    }
}

impl Budget {
    /// Takes a token, or tells when there is one.
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

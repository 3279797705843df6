//! When objects that were deleted although they are desired are created again: at a bounded rate, because two nodes that both
//! believe to announce a Service supersede each other's object every time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herald_core::{Backoff, Time};

/// Pause before the first restoration: another node that announced the Service for a moment has withdrawn it by then. It doubles
/// with each deletion that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// An object that is not deleted for so long after its restoration starts with the first pause again.
const MEMORY: Duration = Duration::from_secs(600);

/// The objects that were deleted a while ago.
#[derive(Debug)]
pub(super) struct Restorations<K> {
    objects: BTreeMap<K, Restoration>,
    due: BTreeSet<(Time, K)>,
}

#[derive(Debug)]
struct Restoration {
    backoff: Backoff,
    /// When the object is to be created, or, if it has been, when its deletion is forgotten.
    due: Time,
    is_waiting: bool,
}

impl<K> Default for Restorations<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone> Restorations<K> {
    /// Takes that the object about `key` was deleted.
    pub(super) fn insert(&mut self, key: &K, now: Time) {
        let restoration = self.objects.entry(key.clone());
        let restoration = restoration.or_insert_with(|| Restoration {
            backoff: Backoff::new(FIRST_PAUSE, LAST_PAUSE),
            due: now,
            is_waiting: false,
        });
        if restoration.is_waiting {
            return;
        }
        self.due.remove(&(restoration.due, key.clone()));
        restoration.is_waiting = true;
        restoration.due = now + restoration.backoff.pause();
        self.due.insert((restoration.due, key.clone()));
    }

    /// Returns when [`Self::poll_due`] has something to return.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns the next key whose object is to be created now, if it does not exist.
    pub(super) fn poll_due(&mut self, now: Time) -> Option<K> {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            let (_, key) = self.due.pop_first()?;
            let Some(restoration) = self.objects.get_mut(&key) else {
                continue;
            };
            if restoration.is_waiting {
                restoration.is_waiting = false;
                restoration.due = now + MEMORY;
                self.due.insert((restoration.due, key.clone()));
                return Some(key);
            }
            self.objects.remove(&key);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use herald_core::ServiceKey;

    use super::*;

    fn key() -> ServiceKey {
        ServiceKey::new("default", "web")
    }

    fn at(seconds: u64) -> Time {
        Time::since_zero(Duration::from_secs(seconds))
    }

    #[test]
    fn each_deletion_doubles_the_pause_until_none_has_come_for_ten_minutes() {
        let mut restorations = Restorations::default();
        let mut now = at(100);
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            restorations.insert(&key(), now);
            restorations.insert(&key(), now);
            assert_eq!(restorations.poll_due(now), None);
            now = now + Duration::from_secs(pause);
            assert_eq!(restorations.poll_timeout(), Some(now));
            assert_eq!(restorations.poll_due(now), Some(key()));
            assert_eq!(restorations.poll_due(now), None);
        }
        now = now + MEMORY;
        assert_eq!(restorations.poll_timeout(), Some(now));
        assert_eq!(restorations.poll_due(now), None);
        assert!(restorations.objects.is_empty() && restorations.due.is_empty());
        restorations.insert(&key(), now);
        assert_eq!(restorations.poll_timeout(), Some(now + FIRST_PAUSE));
    }
}

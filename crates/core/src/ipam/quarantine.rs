//! Quarantine: the time for which a released address is kept from other Services.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use crate::{ServiceKey, Time};

/// Free positions in quarantine, by position and by the time when their quarantine ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Quarantine {
    /// The time when it ends, and the Service that released the address last.
    ends: BTreeMap<u128, (Time, Arc<ServiceKey>)>,
    by_end: BTreeSet<(Time, u128)>,
}

impl Quarantine {
    /// Returns whether no position is in quarantine.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns when the quarantine of `position` ends, and the Service that released it last.
    pub(super) fn get(&self, position: u128) -> Option<&(Time, Arc<ServiceKey>)> {
        self.ends.get(&position)
    }

    /// Puts `position`, which `key` released, in quarantine until `end`, whatever its quarantine was before.
    pub(super) fn insert(&mut self, position: u128, end: Time, key: Arc<ServiceKey>) {
        if let Some((before, _)) = self.ends.insert(position, (end, key)) {
            self.by_end.remove(&(before, position));
        }
        self.by_end.insert((end, position));
    }

    /// Takes `position` out. Returns whether it was in quarantine.
    pub(super) fn remove(&mut self, position: u128) -> bool {
        let removed = self.ends.remove(&position);
        if let Some((end, _)) = &removed {
            self.by_end.remove(&(*end, position));
        }
        removed.is_some()
    }

    /// Takes out and returns a position whose quarantine has ended.
    pub(super) fn pop_ended(&mut self, now: Time) -> Option<u128> {
        let (end, position) = *self.by_end.first().filter(|(end, _)| *end <= now)?;
        self.by_end.remove(&(end, position));
        self.ends.remove(&position);
        Some(position)
    }

    /// Returns the position whose quarantine ends first.
    pub(super) fn first(&self) -> Option<u128> {
        self.by_end.first().map(|(_, position)| *position)
    }

    /// Returns all positions in quarantine, when it ends, and the Services that released them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, Time, &Arc<ServiceKey>)> {
        self.ends
            .iter()
            .map(|(position, (end, key))| (*position, *end, key))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn positions_leave_quarantine_in_the_order_in_which_it_ends() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let key = Arc::new(ServiceKey::new("default", "s"));
        let mut quarantine = Quarantine::default();
        for (position, end) in [(1, 3), (2, 2), (3, 1), (3, 4)] {
            quarantine.insert(position, at(end), key.clone());
        }
        assert_eq!(quarantine.first(), Some(2));
        assert!(quarantine.remove(1) && !quarantine.remove(1));
        assert_eq!(quarantine.pop_ended(at(1)), None);
        assert_eq!(quarantine.pop_ended(at(2)), Some(2));
        assert_eq!(quarantine.pop_ended(at(3)), None);
        assert_eq!(
            quarantine.iter().collect::<alloc::vec::Vec<_>>(),
            [(3, at(4), &key)]
        );
        assert_eq!(quarantine.get(3), Some(&(at(4), key)));
        assert_eq!(quarantine.pop_ended(at(4)), Some(3));
        assert!(quarantine.is_empty());
    }
}

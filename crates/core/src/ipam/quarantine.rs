//! Quarantine: the time for which a released address is kept from other Services.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::Time;

/// Free positions in quarantine, by position and by the time when their quarantine ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Quarantine {
    ends: BTreeMap<u128, Time>,
    by_end: BTreeSet<(Time, u128)>,
}

impl Quarantine {
    /// Returns whether no position is in quarantine.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns whether `position` is in quarantine.
    pub(super) fn contains(&self, position: u128) -> bool {
        self.ends.contains_key(&position)
    }

    /// Puts `position` in quarantine until `end`, whatever its end was before.
    pub(super) fn insert(&mut self, position: u128, end: Time) {
        if let Some(before) = self.ends.insert(position, end) {
            self.by_end.remove(&(before, position));
        }
        self.by_end.insert((end, position));
    }

    /// Takes `position` out. Returns whether it was in quarantine.
    pub(super) fn remove(&mut self, position: u128) -> bool {
        let end = self.ends.remove(&position);
        if let Some(end) = end {
            self.by_end.remove(&(end, position));
        }
        end.is_some()
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

    /// Returns all positions in quarantine with the times when it ends.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, Time)> {
        self.ends.iter().map(|(position, end)| (*position, *end))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn positions_leave_quarantine_in_the_order_in_which_it_ends() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut quarantine = Quarantine::default();
        quarantine.insert(1, at(3));
        quarantine.insert(2, at(2));
        quarantine.insert(3, at(1));
        quarantine.insert(3, at(4));
        assert_eq!(quarantine.first(), Some(2));
        assert!(quarantine.remove(1) && !quarantine.remove(1));
        assert_eq!(quarantine.pop_ended(at(1)), None);
        assert_eq!(quarantine.pop_ended(at(2)), Some(2));
        assert_eq!(quarantine.pop_ended(at(3)), None);
        assert_eq!(quarantine.iter().collect::<alloc::vec::Vec<_>>(), [(3, at(4))]);
        assert_eq!(quarantine.pop_ended(at(4)), Some(3));
        assert!(quarantine.is_empty());
    }
}

//! Quarantine: the time for which a released address is kept from other Services.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{ServiceKey, Time};

/// The quarantine of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quarantined {
    /// Until then other addresses are given out first.
    pub(super) end: Time,
    /// Until then a request for the address is met only if it comes from the namespace of `last`. This counts from the first
    /// release: who requests the address again meanwhile and releases it does not prolong it. Never later than `end`.
    pub(super) claim_end: Time,
    /// The Service that released the address last.
    pub(super) last: ServiceKey,
}

/// Free positions in quarantine, by position and by the time when their quarantine ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Quarantine {
    by_position: BTreeMap<u128, Quarantined>,
    by_end: BTreeSet<(Time, u128)>,
}

impl Quarantine {
    /// Returns whether no position is in quarantine.
    pub(super) fn is_empty(&self) -> bool {
        self.by_position.is_empty()
    }

    /// Returns the quarantine of `position`.
    pub(super) fn get(&self, position: u128) -> Option<&Quarantined> {
        self.by_position.get(&position)
    }

    /// Puts `position` in quarantine, whatever its quarantine was before.
    pub(super) fn insert(&mut self, position: u128, quarantined: Quarantined) {
        let end = quarantined.end;
        if let Some(before) = self.by_position.insert(position, quarantined) {
            self.by_end.remove(&(before.end, position));
        }
        self.by_end.insert((end, position));
    }

    /// Takes `position` out. Returns its quarantine.
    pub(super) fn remove(&mut self, position: u128) -> Option<Quarantined> {
        let removed = self.by_position.remove(&position)?;
        self.by_end.remove(&(removed.end, position));
        Some(removed)
    }

    /// Takes out and returns a position whose quarantine has ended.
    pub(super) fn pop_ended(&mut self, now: Time) -> Option<u128> {
        let (end, position) = *self.by_end.first().filter(|(end, _)| *end <= now)?;
        self.by_end.remove(&(end, position));
        self.by_position.remove(&position);
        Some(position)
    }

    /// Returns the position whose quarantine ends first.
    pub(super) fn first(&self) -> Option<u128> {
        self.by_end.first().map(|(_, position)| *position)
    }

    /// Returns all positions in quarantine.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &Quarantined)> {
        self.by_position
            .iter()
            .map(|(position, quarantined)| (*position, quarantined))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn positions_leave_quarantine_in_the_order_in_which_it_ends() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let key = ServiceKey::new("default", "s");
        let until = |end| Quarantined {
            end,
            claim_end: end,
            last: key.clone(),
        };
        let mut quarantine = Quarantine::default();
        for (position, end) in [(1, at(3)), (2, at(2)), (3, at(1)), (3, at(4))] {
            quarantine.insert(position, until(end));
        }
        assert_eq!(quarantine.first(), Some(2));
        assert!(quarantine.remove(1).is_some() && quarantine.remove(1).is_none());
        assert_eq!(quarantine.pop_ended(at(1)), None);
        assert_eq!(quarantine.pop_ended(at(2)), Some(2));
        assert_eq!(quarantine.pop_ended(at(3)), None);
        assert_eq!(
            quarantine.iter().collect::<alloc::vec::Vec<_>>(),
            [(3, &until(at(4)))]
        );
        assert_eq!(quarantine.get(3), Some(&until(at(4))));
        assert_eq!(quarantine.pop_ended(at(4)), Some(3));
        assert!(quarantine.is_empty());
    }
}

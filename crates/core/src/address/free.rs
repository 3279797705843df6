//! Sets of free positions.

use alloc::collections::BTreeMap;

/// Free positions as maximal disjoint intervals. To find, take or give back a position is logarithmic in the number of
/// intervals, which is at most one more than the number of positions taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FreeSet {
    /// The first position of each interval by its last position: so the lowest position, which is taken most often, is taken
    /// without a change of the key.
    intervals: BTreeMap<u128, u128>,
}

impl FreeSet {
    /// Creates the set of all positions up to and including `last`; `None` gives an empty set.
    pub fn up_to(last: Option<u128>) -> Self {
        Self {
            intervals: last.map(|last| (last, 0)).into_iter().collect(),
        }
    }

    /// Returns the lowest free position.
    pub fn first(&self) -> Option<u128> {
        self.intervals.values().next().copied()
    }

    /// Returns whether no position is free.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Returns the end of the interval of free positions that contains `position`.
    pub fn end_of(&self, position: u128) -> Option<u128> {
        let (end, first) = self.intervals.range(position..).next()?;
        (*first <= position).then_some(*end)
    }

    /// Gives back the positions `first` to `last`, of which some may be free already.
    pub fn give_all(&mut self, mut first: u128, mut last: u128) {
        let touching = (first.saturating_sub(1), last.saturating_add(1));
        while let Some((&end, &start)) = self.intervals.range(touching.0..).next()
            && start <= touching.1
        {
            self.intervals.remove(&end);
            (first, last) = (first.min(start), last.max(end));
        }
        self.intervals.insert(last, first);
    }

    /// Takes `position`. Returns false if it was not free.
    pub fn take(&mut self, position: u128) -> bool {
        // The lowest free position is taken most often, and found without a search.
        if let Some(mut lowest) = self
            .intervals
            .first_entry()
            .filter(|lowest| *lowest.get() == position)
        {
            if position < *lowest.key() {
                *lowest.get_mut() += 1;
            } else {
                lowest.remove();
            }
            return true;
        }
        let Some((&end, first)) = self.intervals.range_mut(position..).next() else {
            return false;
        };
        let start = *first;
        if start > position {
            return false;
        }
        if position < end {
            *first = position + 1;
        } else {
            self.intervals.remove(&end);
        }
        if start < position {
            self.intervals.insert(position - 1, start);
        }
        true
    }

    /// Gives back `position`, which may be free already.
    pub fn give(&mut self, position: u128) {
        self.give_all(position, position);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_widest_set_can_be_taken_and_given() {
        let mut free = FreeSet::up_to(Some(u128::MAX));
        assert!(free.take(0) && free.take(u128::MAX));
        assert!(!free.take(0) && !free.take(u128::MAX));
        assert_eq!(free.first(), Some(1));
        free.give(u128::MAX);
        free.give(0);
        assert_eq!(free, FreeSet::up_to(Some(u128::MAX)));
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u128..40, 0u128..3), 0..200)) {
            let mut free = FreeSet::up_to(Some(31));
            let mut model: BTreeSet<u128> = (0..=31).collect();
            for (take, position, width) in steps {
                if take {
                    prop_assert_eq!(free.take(position), model.remove(&position));
                } else if position < 32 {
                    let last = (position + width).min(31);
                    free.give_all(position, last);
                    model.extend(position..=last);
                }
                let gap = (position..).find(|position| !model.contains(position));
                prop_assert_eq!(free.end_of(position), gap.filter(|gap| *gap > position).map(|gap| gap - 1));
                prop_assert_eq!(free.first(), model.first().copied());
                prop_assert_eq!(free.is_empty(), model.is_empty());
            }
            let intervals: BTreeSet<u128> = free.intervals.iter().flat_map(|(last, first)| *first..=*last).collect();
            prop_assert_eq!(intervals, model);
            let ends: alloc::vec::Vec<_> = free.intervals.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].0 + 1 < *pair[1].1), "intervals are maximal");
        }
    }
}

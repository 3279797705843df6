//! Which positions of a set are free.

use alloc::collections::BTreeMap;

/// Free positions as maximal disjoint intervals. Finding, taking and giving back are logarithmic in the
/// number of intervals, which is at most one more than the number of positions taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FreeSet {
    /// First position to last position.
    intervals: BTreeMap<u128, u128>,
}

impl FreeSet {
    /// All positions up to and including `last` are free; none when there is none.
    pub fn up_to(last: Option<u128>) -> Self {
        Self {
            intervals: last.map(|last| (0, last)).into_iter().collect(),
        }
    }

    /// The lowest free position.
    pub fn first(&self) -> Option<u128> {
        self.intervals.keys().next().copied()
    }

    /// Whether no position is free.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Takes `position`; false when it was not free.
    pub fn take(&mut self, position: u128) -> bool {
        let Some((&first, last)) = self.intervals.range_mut(..=position).next_back() else {
            return false;
        };
        let end = *last;
        if end < position {
            return false;
        }
        if first == position {
            self.intervals.remove(&first);
        } else {
            *last = position - 1;
        }
        if position < end {
            self.intervals.insert(position + 1, end);
        }
        true
    }

    /// Gives `position` back; nothing happens when it is free already.
    pub fn give(&mut self, position: u128) {
        let before = self.intervals.range(..=position).next_back();
        let mut first = position;
        if let Some((&start, &end)) = before {
            if position <= end {
                return;
            }
            if end + 1 == position {
                first = start;
            }
        }
        let after = position
            .checked_add(1)
            .and_then(|next| self.intervals.remove(&next));
        self.intervals.insert(first, after.unwrap_or(position));
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
        fn it_behaves_as_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u128..40), 0..200)) {
            let mut free = FreeSet::up_to(Some(31));
            let mut model: BTreeSet<u128> = (0..=31).collect();
            for (take, position) in steps {
                if take {
                    prop_assert_eq!(free.take(position), model.remove(&position));
                } else if position < 32 {
                    free.give(position);
                    model.insert(position);
                }
                prop_assert_eq!(free.first(), model.first().copied());
                prop_assert_eq!(free.is_empty(), model.is_empty());
            }
            let intervals: BTreeSet<u128> = free.intervals.iter().flat_map(|(a, b)| *a..=*b).collect();
            prop_assert_eq!(intervals, model);
            let ends: alloc::vec::Vec<_> = free.intervals.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0), "intervals are maximal");
        }
    }
}

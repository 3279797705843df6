//! The sequence numbers received from a sender: a sliding window as in RFC 4303 section 3.4.3.

/// How far behind the newest a datagram may arrive. A sender numbers its datagrams to all peers in one sequence and sends
/// bursts of some hundred, so that the window covers reordering within a burst.
const WIDTH: u64 = 1024;

/// Remembers the newest sequence number and which of the `WIDTH` numbers up to it were received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    newest: Option<u64>,
    seen: [u64; (WIDTH / 64) as usize],
}

impl Window {
    /// Returns a window for a sender that nothing was received from.
    pub const fn new() -> Self {
        Self {
            newest: None,
            seen: [0; (WIDTH / 64) as usize],
        }
    }

    /// Whether `sequence` is not too old for the window and was not received before.
    pub fn accepts(&self, sequence: u64) -> bool {
        match self.newest {
            None => true,
            Some(newest) if sequence > newest => true,
            Some(newest) => newest - sequence < WIDTH && !self.bit(sequence),
        }
    }

    /// Records `sequence`. Call it only for datagrams that are accepted and authentic.
    pub fn record(&mut self, sequence: u64) {
        if self.newest.is_none_or(|newest| sequence > newest) {
            self.advance(sequence);
        }
        let (word, mask) = Self::position(sequence);
        self.seen[word] |= mask;
    }

    fn advance(&mut self, sequence: u64) {
        match self.newest {
            Some(newest) if sequence - newest < WIDTH => {
                for skipped in newest + 1..=sequence {
                    let (word, mask) = Self::position(skipped);
                    self.seen[word] &= !mask;
                }
            }
            Some(_) | None => self.seen = [0; (WIDTH / 64) as usize],
        }
        self.newest = Some(sequence);
    }

    fn bit(&self, sequence: u64) -> bool {
        let (word, mask) = Self::position(sequence);
        self.seen[word] & mask != 0
    }

    /// Returns the word and the bit of the ring for `sequence`.
    const fn position(sequence: u64) -> (usize, u64) {
        let bit = sequence % WIDTH;
        ((bit / 64) as usize, 1 << (bit % 64))
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word: the set of all numbers received so far.
    #[derive(Default)]
    struct SetModel(BTreeSet<u64>);

    impl SetModel {
        fn accepts(&self, sequence: u64) -> bool {
            let fresh = !self.0.contains(&sequence);
            fresh
                && self
                    .0
                    .last()
                    .is_none_or(|last| last.saturating_sub(sequence) < WIDTH)
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_the_set_of_all_numbers_received(
            start in prop_oneof![Just(0_u64), Just(u64::MAX - 6000), any::<u32>().prop_map(u64::from)],
            steps in proptest::collection::vec(prop_oneof![0_u64..40, 0_u64..3000], 1..300),
        ) {
            let mut window = Window::new();
            let mut model = SetModel::default();
            for step in steps {
                let sequence = start.saturating_add(step);
                prop_assert_eq!(window.accepts(sequence), model.accepts(sequence), "{}", sequence);
                if model.accepts(sequence) {
                    window.record(sequence);
                    model.0.insert(sequence);
                }
            }
        }
    }

    #[test]
    fn the_greatest_number_is_accepted_once() {
        let mut window = Window::new();
        assert!(window.accepts(u64::MAX));
        window.record(u64::MAX);
        assert!(!window.accepts(u64::MAX));
        assert!(window.accepts(u64::MAX - WIDTH + 1));
        assert!(!window.accepts(u64::MAX - WIDTH));
    }
}

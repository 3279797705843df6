//! How often this node went and came back lately: one that cannot make up its mind is given addresses last.
//!
//! Each return is followed by moves of addresses, back to where they belong. One return is an accident; a node that comes
//! back again before [`COOL`] has passed is restless, and each return makes it so for longer. It says so by gossip, so all
//! speakers go by the same number; `crate::announce::layer2::placement` says what follows from it.

use core::time::Duration;

use crate::Time;

/// A return is forgotten after that long without another, the most recent first: a node that came back three times is
/// restless for ten minutes.
pub const COOL: Duration = Duration::from_secs(300);

/// No more are counted, so that a node is restless for half an hour at most after it has come to rest.
pub const MOST: u8 = 7;

/// One outage shows in several ways, a lost link and the verdict of the peers, and counts once.
const ONE_OUTAGE: Duration = Duration::from_secs(5);

/// Counts the returns of one node. Owned by value by exactly one task.
#[derive(Debug, Default)]
pub struct Restlessness {
    returns: u8,
    /// The last outage that was counted.
    counted: Option<Time>,
    /// When the most recent return is forgotten.
    due: Option<Time>,
}

impl Restlessness {
    /// What was counted and is not forgotten.
    pub const fn returns(&self) -> u8 {
        self.returns
    }

    /// The node went away and is back.
    pub fn handle_return(&mut self, now: Time) {
        let is_same = |at: Time| now.saturating_since(at) < ONE_OUTAGE;
        if !self.counted.is_some_and(is_same) {
            self.counted = Some(now);
            self.add(1, now);
        }
    }

    /// `returns` that were counted elsewhere: before this process started, or at once because of something grave.
    pub fn add(&mut self, returns: u8, now: Time) {
        self.returns = self.returns.saturating_add(returns).min(MOST);
        self.due = (self.returns > 0).then(|| now + COOL);
    }

    /// Forgets what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(due) = self.due.filter(|due| *due <= now) {
            self.returns = self.returns.saturating_sub(1);
            self.due = (self.returns > 0).then(|| due + COOL);
        }
    }

    /// When [`Self::handle_timeout`] has something to forget.
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::since_zero(Duration::from_secs(seconds))
    }

    fn returned(times: impl IntoIterator<Item = u64>) -> Restlessness {
        let mut restlessness = Restlessness::default();
        for second in times {
            restlessness.handle_timeout(at(second));
            restlessness.handle_return(at(second));
        }
        restlessness
    }

    #[test]
    fn returns_are_forgotten_one_after_the_other() {
        let mut restlessness = returned([0, 10, 20]);
        let mut forgotten = alloc::vec::Vec::new();
        while let Some(due) = restlessness.poll_timeout() {
            restlessness.handle_timeout(due);
            forgotten.push((due, restlessness.returns()));
        }
        assert_eq!(forgotten, [(at(320), 2), (at(620), 1), (at(920), 0)]);
    }

    #[test]
    fn one_outage_counts_once_and_a_steady_flapper_ever_on() {
        assert_eq!(returned([0, 1, 4]).returns(), 1);
        assert_eq!(returned((0..20).map(|second| 2 * second)).returns(), MOST);
        assert_eq!(returned((0..20).map(|times| 290 * times)).returns(), MOST);
        assert_eq!(returned((0..20).map(|times| 310 * times)).returns(), 1);
    }

    #[test]
    fn what_was_counted_before_is_added_and_bounded() {
        let mut restlessness = Restlessness::default();
        restlessness.add(0, at(0));
        assert_eq!((restlessness.returns(), restlessness.poll_timeout()), (0, None));
        restlessness.add(u8::MAX, at(0));
        assert_eq!(restlessness.returns(), MOST);
        restlessness.handle_timeout(at(10_000));
        assert_eq!((restlessness.returns(), restlessness.poll_timeout()), (0, None));
    }
}

//! Readiness of a program: what it still awaits, by name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::info;

/// Something that has to happen before a program is ready. Each program has one enum of these.
pub trait Precondition: Copy + Ord {
    /// The name in the log and in the answer of `/readyz`.
    fn as_str(self) -> &'static str;
}

/// What is still awaited, as `/readyz` shows it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// The preconditions that are not met yet. The program is not ready before all are met.
#[derive(Debug)]
pub struct Awaited<P> {
    missing: BTreeSet<P>,
    readiness: Readiness,
}

impl Readiness {
    /// Makes the program wait for `preconditions`.
    pub fn require<P: Precondition>(&self, preconditions: impl IntoIterator<Item = P>) -> Awaited<P> {
        let missing: BTreeSet<P> = preconditions.into_iter().collect();
        self.with(|awaited| awaited.extend(missing.iter().map(|precondition| precondition.as_str())));
        Awaited {
            missing,
            readiness: self.clone(),
        }
    }

    /// Whether nothing is awaited.
    pub fn is_ready(&self) -> bool {
        self.with(|awaited| awaited.is_empty())
    }

    /// The names of what is awaited, separated by commas.
    pub fn awaited(&self) -> String {
        self.with(|awaited| awaited.iter().copied().collect::<Vec<_>>().join(", "))
    }

    fn with<T>(&self, action: impl FnOnce(&mut BTreeSet<&'static str>) -> T) -> T {
        // The set is whole at any time, also when a thread panicked.
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Precondition> Awaited<P> {
    /// Notes that `precondition` is met. Further calls change nothing.
    pub fn meet(&mut self, precondition: P) {
        if !self.missing.remove(&precondition) {
            return;
        }
        self.readiness
            .with(|awaited| awaited.remove(precondition.as_str()));
        let awaited = self.readiness.awaited();
        if !awaited.is_empty() {
            info!(awaited, "{} ready", precondition.as_str());
        }
    }

    /// Whether `precondition` is not met yet.
    pub fn contains(&self, precondition: P) -> bool {
        self.missing.contains(&precondition)
    }

    /// Whether all are met.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Test {
        One,
        Two,
    }

    impl Precondition for Test {
        fn as_str(self) -> &'static str {
            match self {
                Self::One => "one",
                Self::Two => "two",
            }
        }
    }

    #[test]
    fn a_program_is_ready_when_all_preconditions_are_met_and_names_those_that_are_not() {
        let readiness = Readiness::default();
        let mut awaited = readiness.require([Test::One, Test::Two]);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.awaited(), "one, two");
        awaited.meet(Test::One);
        awaited.meet(Test::One);
        assert_eq!(readiness.awaited(), "two");
        assert!(awaited.contains(Test::Two) && !awaited.contains(Test::One));
        awaited.meet(Test::Two);
        assert!(awaited.is_empty() && readiness.is_ready());
    }

    #[test]
    fn a_program_that_drops_what_it_awaits_is_not_ready() {
        let readiness = Readiness::default();
        drop(readiness.require([Test::One]));
        assert!(!readiness.is_ready());
    }
}

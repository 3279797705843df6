//! The address to ask for next, and the probes that have ended.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use herald_core::Time;

/// Progress of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeStage {
    /// No question was sent yet.
    Waiting,
    /// Some questions were sent.
    Asking,
    /// All questions were sent.
    Listening,
}

/// The addresses in each stage, ordered by the time of their next step.
#[derive(Debug)]
pub(super) struct ProbeSchedule {
    waiting: BTreeSet<(Time, IpAddr)>,
    asking: BTreeSet<(Time, IpAddr)>,
    listening: BTreeSet<(Time, IpAddr)>,
}

impl ProbeSchedule {
    pub(super) const fn new() -> Self {
        Self {
            waiting: BTreeSet::new(),
            asking: BTreeSet::new(),
            listening: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, address: IpAddr, stage: ProbeStage, due: Time) {
        self.stage(stage).insert((due, address));
    }

    pub(super) fn remove(&mut self, address: IpAddr, stage: ProbeStage, due: Time) {
        self.stage(stage).remove(&(due, address));
    }

    /// Returns the address to ask for at `now`. Probes under way come first: when there are more than the pace allows,
    /// the first have ended while the last still wait, and no other order would end the last one earlier.
    pub(super) fn question(&self, now: Time) -> Option<IpAddr> {
        first_due(&self.asking, now).or_else(|| first_due(&self.waiting, now))
    }

    /// Returns an address whose probe has ended at `now`.
    pub(super) fn result(&self, now: Time) -> Option<IpAddr> {
        first_due(&self.listening, now)
    }

    /// When there is a question or a result next, if a question may be sent at `ready`.
    pub(super) fn next(&self, ready: Time) -> Option<Time> {
        let question = [&self.asking, &self.waiting].into_iter().filter_map(first);
        let result = first(&self.listening);
        question.map(|due| due.max(ready)).chain(result).min()
    }

    const fn stage(&mut self, stage: ProbeStage) -> &mut BTreeSet<(Time, IpAddr)> {
        match stage {
            ProbeStage::Waiting => &mut self.waiting,
            ProbeStage::Asking => &mut self.asking,
            ProbeStage::Listening => &mut self.listening,
        }
    }
}

fn first(stage: &BTreeSet<(Time, IpAddr)>) -> Option<Time> {
    stage.first().map(|(due, _)| *due)
}

fn first_due(stage: &BTreeSet<(Time, IpAddr)>, now: Time) -> Option<IpAddr> {
    let (_, address) = stage.first().filter(|(due, _)| *due <= now)?;
    Some(*address)
}

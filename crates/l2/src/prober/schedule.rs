//! Which address is asked for next, and which has been waited for long enough.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use herald_core::Time;

/// How far a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeStage {
    /// Nothing was sent yet.
    Waiting,
    /// Some of its questions were sent.
    Asking,
    /// All were.
    Listening,
}

/// The addresses in each stage by the time of what comes next.
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

    /// The address to ask for at `now`. Those under way come first: when there are more than the pace allows, the first
    /// are done with while the last still wait, which no more frames could make faster.
    pub(super) fn question(&self, now: Time) -> Option<IpAddr> {
        first_due(&self.asking, now).or_else(|| first_due(&self.waiting, now))
    }

    /// An address of which nothing more can be expected at `now`.
    pub(super) fn verdict(&self, now: Time) -> Option<IpAddr> {
        first_due(&self.listening, now)
    }

    /// When there is a question or a verdict next, if a question can leave at `ready`.
    pub(super) fn next(&self, ready: Time) -> Option<Time> {
        let question = [&self.asking, &self.waiting].into_iter().filter_map(first);
        let verdict = first(&self.listening);
        question.map(|due| due.max(ready)).chain(verdict).min()
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

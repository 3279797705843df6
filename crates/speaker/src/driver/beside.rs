//! Beside MetalLB: whether its speakers run, and what their end will change.

use std::time::{Duration, Instant};

use herald_core::NodeName;
use herald_core::announce::agent::{Agent, ElectionDifference};
use tracing::{info, warn};

use super::Driver;
use crate::input::Awaiting;

/// Time between two comparisons of the elections: each decides on every Service.
const PERIOD: Duration = Duration::from_secs(30);
/// So many differences are logged; `/state` has all.
const LOGGED: usize = 5;

/// Whether MetalLB's speakers run, for a speaker that may run beside them.
#[derive(Debug)]
pub(super) struct BesideMetalLb {
    pub(super) is_running: bool,
    /// The differences between the elections that were logged last.
    logged: Option<Vec<ElectionDifference>>,
    next: Instant,
}

impl BesideMetalLb {
    /// Starts as if MetalLB's speakers run, until their Pods are listed.
    pub(super) fn start() -> Self {
        Self {
            is_running: true,
            logged: None,
            next: Instant::now(),
        }
    }

    /// Logs what the end of MetalLB's speakers will change, if that is something else than before.
    fn log_differences(&mut self, agent: &Agent, now: Instant) {
        if !self.is_running || now < self.next {
            return;
        }
        self.next = now + PERIOD;
        let differences = agent.election_differences();
        if self.logged.as_ref() == Some(&differences) {
            return;
        }
        if differences.is_empty() {
            info!("without MetalLB the same nodes will be elected");
        } else {
            let count = differences.len();
            warn!(
                count,
                "without MetalLB other nodes will be elected for some addresses"
            );
        }
        let name = |node: &Option<NodeName>| node.as_ref().map_or("none".to_owned(), ToString::to_string);
        for difference in differences.iter().take(LOGGED) {
            let (service, address) = (&difference.service, difference.address);
            let (beside, alone) = (name(&difference.beside), name(&difference.alone));
            warn!(%service, %address, beside, alone, "another node will be elected without MetalLB");
        }
        self.logged = Some(differences);
    }
}

impl Driver {
    /// Whether MetalLB's speakers run on these nodes, so that this one writes nothing.
    pub(super) fn is_beside_metallb(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.is_running)
    }

    /// Follows whether MetalLB's speakers run.
    pub(super) fn follow_metallb(&mut self) {
        let Some(beside) = &mut self.beside else { return };
        if self.awaited.contains(Awaiting::MetalLbPods) {
            return;
        }
        let is_running = self.cluster.has_metallb();
        if beside.is_running == is_running {
            return;
        }
        beside.is_running = is_running;
        self.agent.set_beside_metallb(is_running);
        self.handles.statuses.set_paused(is_running);
        if is_running {
            info!("running beside MetalLB: electing as it does, and writing nothing");
            self.handles.state.send_replace(None);
        } else {
            info!("no Pod of MetalLB's speaker is left: electing and writing as usual");
            self.publish_state();
        }
    }

    /// Logs what the end of MetalLB's speakers will change.
    pub(super) fn log_differences(&mut self) {
        if let Some(beside) = &mut self.beside
            && self.has_started
        {
            beside.log_differences(&self.agent, Instant::now());
        }
    }
}

//! The wire thread: owns the sockets and the station, which answers, announces and probes.
//!
//! Nothing else runs on that thread, so no recomputation elsewhere ever delays an answer. Commands of the agent and the
//! interfaces of the node ([`watch_interfaces`]) arrive over a bounded channel. Events leave over a
//! [queue](WireEvents) on which this thread never waits: while the agent is behind, claims of other machines stay here, the
//! last one to each address.

mod delayed_action;
mod events;
mod interfaces;
mod link_sockets;
mod metrics;
mod outgoing;
mod pending_joins;
mod sockets;
mod survey;
mod task;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use herald_l2::{SurveyAnswers, SurveyQuestion};
use herald_netio::{Interface, Mailbox, Poller, packet};
use herald_runtime::health::Beat;
use regex::Regex;
use tokio::sync::{oneshot, watch};

pub use events::WireEvents;
pub use herald_core::announce::layer2::{Announcement, Command, WireEvent};
pub use interfaces::{links, survey_links, watch_interfaces};
use metrics::{AddressMetrics, WireMetrics};
use task::{WireInput, WireTask};

/// Inputs that may wait; with more of them the sender waits, which happens only while thousands of addresses move.
const WAITING_INPUTS: usize = 1024;

/// How the wire thread behaves.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Interfaces never used: those whose name matches one of these (unanchored).
    pub exclude: Vec<Regex>,
    /// How often an active address is announced after its burst, so that no switch forgets it; `None` is never.
    pub refresh: Option<Duration>,
    /// The sign of life of the thread.
    pub beat: Beat,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            refresh: Some(Duration::from_secs(60)),
            beat: Beat::default(),
        }
    }
}

/// Handle of the wire thread. Dropping it stops the thread, and with it all answers, and waits for its end.
pub struct Wire {
    inputs: Mailbox<WireInput>,
    failure: watch::Receiver<Option<String>>,
    events: Option<WireEvents>,
    thread: Option<JoinHandle<()>>,
    addresses: AddressMetrics,
}

impl Wire {
    /// Starts the thread and registers its metrics. It serves the network namespace of the calling thread.
    ///
    /// # Errors
    /// When packet sockets are not permitted (the message says what to do), or a metric is registered already.
    pub fn start(options: WireOptions, registry: &prometheus::Registry) -> anyhow::Result<Self> {
        packet::check_permission()?;
        let metrics = WireMetrics::register(registry).context("cannot register the layer-2 metrics")?;
        let addresses = metrics.of_addresses();
        let poller = Poller::new().context("cannot wait for packets")?;
        let (inputs, received) = poller.mailbox(WAITING_INPUTS);
        let (failed, failure) = watch::channel(None);
        let (sender, events) = events::queue();
        let beat = options.beat.clone();
        let task = WireTask::new(options, received, sender, metrics, rand::random());
        let run = move || {
            if let Err(error) = task.run(poller, &beat) {
                failed.send_replace(Some(format!("{error:#}")));
            }
        };
        let thread = std::thread::Builder::new().name("wire".into()).spawn(run);
        Ok(Self {
            inputs,
            failure,
            events: Some(events),
            thread: Some(thread.context("cannot start the wire thread")?),
            addresses,
        })
    }

    /// Sends a command of the agent. Blocks while 1 024 inputs wait.
    pub fn send(&self, command: Command) {
        self.inputs.send(WireInput::Command(command));
    }

    /// Sends commands of the agent as [`Self::send`] does, and wakes the thread once for all of them.
    pub fn send_all(&self, commands: impl IntoIterator<Item = Command>) {
        self.inputs.send_all(commands.into_iter().map(WireInput::Command));
    }

    /// Begins a survey of the segments ([`herald_l2::Station::begin_survey`]), which takes the place of another one. The answers
    /// come when it has ended; dropping the receiver cancels it. Blocks while 1 024 inputs wait.
    pub fn survey(&self, questions: Vec<SurveyQuestion>) -> oneshot::Receiver<SurveyAnswers> {
        let (answer, answers) = oneshot::channel();
        self.inputs.send(WireInput::Survey(questions, answer));
        answers
    }

    /// Replaces the interfaces of the node; [`watch_interfaces`] is the source. Blocks while 1 024 inputs wait.
    pub fn set_interfaces(&self, interfaces: Vec<Interface>) {
        self.inputs.send(WireInput::Interfaces(interfaces));
    }

    /// Returns the events of the station from now on; `None` after the first call.
    pub const fn take_events(&mut self) -> Option<WireEvents> {
        self.events.take()
    }

    /// Returns how many requests were received for each announced address since it is announced.
    pub fn requests(&self) -> BTreeMap<IpAddr, u64> {
        self.addresses.requests()
    }

    /// Resolves when the thread has ended although the handle was not dropped. No address is answered for then, and
    /// commands are lost: end the program.
    pub fn failed(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            let reason = failure.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone());
            anyhow::anyhow!(
                "the wire thread ended: {}",
                reason.as_deref().unwrap_or("it panicked")
            )
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.inputs.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the wire thread panicked");
        }
    }
}

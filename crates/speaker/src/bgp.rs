//! The BGP thread: owns the connections to routers, for each of them a [`Peering`](herald_bgp::peering::Peering), and the routes
//! of all of them ([`RibsOut`](herald_bgp::ribs_out::RibsOut)).
//!
//! The thread only dials: nothing listens on the node, so other speakers of BGP may have port 179. Commands and the interfaces
//! of the node arrive over a bounded channel, [reports](BgpReport) leave over a queue on which this thread never waits.

mod connection;
mod context;
mod limits;
mod link;
mod metrics;
mod next_hops;
mod peer;
mod settings;
mod task;

#[cfg(test)]
mod tests;

use std::iter::once;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use herald_bgp::session::{Negotiated, SessionEnd, SessionState};
use herald_core::announce::bgp::{RouteChange, SessionLimits};
use herald_netio::{DialError, Interface, Mailbox, Poller};
use herald_runtime::health::Beat;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};

use metrics::BgpMetrics;
pub(crate) use metrics::PeerNumbers;
pub use settings::PeerSettings;
use task::{BgpInput, BgpTask};

/// Inputs that may wait; with more of them the sender waits.
const WAITING_INPUTS: usize = 1024;

/// What the BGP thread is to do.
#[derive(Debug)]
pub enum BgpCommand {
    /// Have a session with the peer of this name. A known peer is changed, and keeps its session where the protocol allows that.
    SetPeer(Arc<str>, Box<PeerSettings>),
    /// End the session with a peer for good.
    RemovePeer(Arc<str>),
    /// Announce a route to a peer, or withdraw it. A peer that is set later has it then.
    SetRoute(RouteChange),
}

/// What happened to the session with a peer.
#[derive(Debug)]
pub struct BgpReport {
    /// The name of the peer.
    pub peer: Arc<str>,
    /// What happened.
    pub event: PeerEvent,
}

/// What happens to the session with a peer.
#[derive(Debug)]
pub enum PeerEvent {
    /// It is established.
    Up(Negotiated),
    /// What it cannot have of its routes is known, or has changed.
    Limited(SessionLimits),
    /// It, or the attempt at one, is over.
    Ended {
        /// The state in which it ended: only Established was a session.
        state: SessionState,
        /// Why.
        end: SessionEnd,
        /// The error of the connection behind it.
        cause: Option<DialError>,
    },
}

/// Handle of the BGP thread. Dropping it ends all sessions, and waits for the end of the thread.
pub struct Bgp {
    inputs: Mailbox<BgpInput>,
    failure: watch::Receiver<Option<String>>,
    reports: Option<mpsc::UnboundedReceiver<BgpReport>>,
    metrics: BgpMetrics,
    thread: Option<JoinHandle<()>>,
}

impl Bgp {
    /// Starts the thread and registers its metrics. It serves the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the process has no descriptors or threads left, or a metric is registered already.
    pub fn start(beat: Beat, registry: &Registry) -> anyhow::Result<Self> {
        let metrics = BgpMetrics::register(registry).context("cannot register the metrics of BGP")?;
        let poller = Poller::new().context("cannot wait for connections")?;
        let (inputs, received) = poller.mailbox(WAITING_INPUTS);
        let (failed, failure) = watch::channel(None);
        #[expect(
            clippy::disallowed_methods,
            reason = "commands and the pauses between attempts bound the reports"
        )]
        let (sender, reports) = mpsc::unbounded_channel();
        let task = BgpTask::new(poller, received, sender, metrics.clone(), rand::random());
        let run = move || {
            if let Err(error) = task.run(&beat) {
                failed.send_replace(Some(format!("{error:#}")));
            }
        };
        let thread = std::thread::Builder::new().name("bgp".into()).spawn(run);
        Ok(Self {
            inputs,
            failure,
            reports: Some(reports),
            metrics,
            thread: Some(thread.context("cannot start the BGP thread")?),
        })
    }

    /// Sends a command. Blocks while 1 024 inputs wait.
    pub fn send(&self, command: BgpCommand) {
        self.inputs.send(BgpInput::Command(command, Instant::now()));
    }

    /// Sends the commands of one decision as [`Self::send`] does, and wakes the thread once for all of them.
    pub fn send_all(&self, commands: impl IntoIterator<Item = BgpCommand>) {
        let decided = Instant::now();
        let mut commands = commands.into_iter().peekable();
        if commands.peek().is_none() {
            return;
        }
        let commands = commands.map(|command| BgpInput::Command(command, decided));
        let begin = once(BgpInput::DecisionBegins);
        self.inputs
            .send_all(begin.chain(commands).chain(once(BgpInput::DecisionEnds)));
    }

    /// Replaces the interfaces of the node, which next hops are taken from. Blocks while 1 024 inputs wait.
    pub fn set_interfaces(&self, interfaces: Vec<Interface>) {
        self.inputs.send(BgpInput::Interfaces(interfaces));
    }

    /// Returns the numbers of a peer, as the thread wrote them last.
    pub(crate) fn numbers(&self, peer: &str) -> PeerNumbers {
        self.metrics.numbers(peer)
    }

    /// Returns the reports from now on; `None` after the first call.
    pub const fn take_reports(&mut self) -> Option<mpsc::UnboundedReceiver<BgpReport>> {
        self.reports.take()
    }

    /// Resolves when the thread has ended although the handle was not dropped: end the program.
    pub fn failed(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            let reason = failure.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone());
            anyhow::anyhow!(
                "the BGP thread ended: {}",
                reason.as_deref().unwrap_or("it panicked")
            )
        }
    }
}

impl Drop for Bgp {
    fn drop(&mut self) {
        self.inputs.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the BGP thread panicked");
        }
    }
}

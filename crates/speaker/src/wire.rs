//! The wire task: a thread that owns the sockets and the announcer.
//!
//! Nothing else runs on that thread, so no recomputation elsewhere ever delays an answer. The driver tells it
//! what to announce over a bounded channel; `watch_interfaces` tells where.

mod interfaces;
mod link_sockets;
mod metrics;
mod outgoing;
mod pending_joins;
mod task;

use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use herald_l2::{MacAddr, ProbeResult};
use herald_netio::{Interface, Mailbox, Poller, packet};
use regex::Regex;
use tokio::sync::{mpsc, watch};

pub use herald_core::announce::layer2::Announcement;
pub use interfaces::{links, watch_interfaces};
use metrics::WireMetrics;
use task::{Command, WireTask};

/// Commands that may wait; more make the driver wait, which happens only while thousands of addresses move.
const WAITING_COMMANDS: usize = 1024;

/// How the wire task behaves.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Interfaces never used: those whose name one of these matches (unanchored).
    pub exclude: Vec<Regex>,
    /// How often an owned address is announced again after its burst, so that no switch forgets it; `None` is never.
    pub refresh: Option<Duration>,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            refresh: Some(Duration::from_secs(60)),
        }
    }
}

/// What the wire task has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A probe or a check has ended.
    Found(IpAddr, ProbeResult),
    /// Another machine announces an address that is answered for here.
    Claimed(IpAddr, MacAddr),
    /// The thread was paused. It answers for nothing any more.
    Paused,
}

/// Handle of the wire task. Dropping it stops the thread, and with it all answers, and waits for its end.
pub struct Wire {
    commands: Mailbox<Command>,
    failure: watch::Receiver<Option<String>>,
    heard: Option<mpsc::UnboundedReceiver<Heard>>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Starts the thread and registers its metrics. It serves the network namespace of the calling thread.
    ///
    /// # Errors
    /// When packet sockets are not permitted (the message says what to do), or a metric is registered already.
    pub fn start(options: WireOptions, registry: &prometheus::Registry) -> anyhow::Result<Self> {
        packet::check_permission()?;
        let metrics = WireMetrics::register(registry).context("cannot register the layer-2 metrics")?;
        let poller = Poller::new().context("cannot wait for packets")?;
        let (commands, received) = poller.mailbox(WAITING_COMMANDS);
        let (failed, failure) = watch::channel(None);
        // What is heard is bounded by the addresses that are probed and held, and the driver takes it at once.
        let (teller, heard) = mpsc::unbounded_channel();
        let task = WireTask::new(options, received, teller, metrics, rand::random());
        let run = move || {
            if let Err(error) = task.run(poller) {
                failed.send_replace(Some(format!("{error:#}")));
            }
        };
        let thread = std::thread::Builder::new().name("wire".into()).spawn(run);
        Ok(Self {
            commands,
            failure,
            heard: Some(heard),
            thread: Some(thread.context("cannot start the wire thread")?),
        })
    }

    /// Answers for an address from now on and announces it. The same announcement again changes nothing.
    pub fn announce(&self, announcement: Announcement) {
        self.tell(Command::Announce(announcement));
    }

    /// Announces an owned address anew, as if it had just been claimed: after a healed partition, for instance.
    pub fn reannounce(&self, address: IpAddr) {
        self.tell(Command::Reannounce(address));
    }

    /// Announces an owned address once more, against somebody's claim; limited for each address.
    pub fn defend(&self, address: IpAddr) {
        self.tell(Command::Defend(address));
    }

    /// Finds out who has an address; [`Heard::Found`] tells.
    pub fn probe(&self, announcement: Announcement) {
        self.tell(Command::Probe(announcement));
    }

    /// Asks once whether anybody has an address, or whether the machine `to` has; [`Heard::Found`] tells.
    pub fn check(&self, announcement: Announcement, to: Option<MacAddr>) {
        self.tell(Command::Check(announcement, to));
    }

    /// Finds it out no more.
    pub fn stop_probe(&self, address: IpAddr) {
        self.tell(Command::StopProbe(address));
    }

    /// What is heard from now on; whoever asks first gets it.
    pub fn heard(&mut self) -> Option<mpsc::UnboundedReceiver<Heard>> {
        self.heard.take()
    }

    /// Answers for an address no more.
    pub fn withdraw(&self, address: IpAddr) {
        self.tell(Command::Withdraw(address));
    }

    /// Answers for nothing any more.
    pub fn withdraw_all(&self) {
        self.tell(Command::WithdrawAll);
    }

    /// Replaces what is known of the node's interfaces; [`watch_interfaces`] is the source.
    pub fn set_interfaces(&self, interfaces: Vec<Interface>) {
        self.tell(Command::SetInterfaces(interfaces));
    }

    /// Resolves when the thread has ended though nobody stopped it. Nothing is answered then: end the program.
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

    /// A thread that has ended cannot be told anything; [`Wire::failed`] says so to whoever can act on it.
    fn tell(&self, command: Command) {
        self.commands.send(command);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.commands.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the wire thread panicked");
        }
    }
}

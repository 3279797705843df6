//! The wire task: a thread that owns the sockets and the announcer.
//!
//! Nothing else runs on that thread, so no recomputation elsewhere ever delays an answer. The driver tells it
//! what to announce over a bounded channel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use herald_netio::Interface;
use regex::Regex;

/// How the wire task behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Interfaces never used: those whose name one of these matches (unanchored).
    pub exclude: Vec<Regex>,
    /// How often an owned address is announced again after its burst, so that no switch forgets it; `None` is never.
    pub refresh: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            refresh: Some(Duration::from_secs(60)),
        }
    }
}

/// An address to answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The address.
    pub address: IpAddr,
    /// Names of the interfaces that answer; `None` is the one whose subnet has the address, or all when none has it.
    pub interfaces: Option<BTreeSet<String>>,
}

/// Handle of the wire task. Dropping it stops the thread, and with it all answers, and waits for its end.
pub struct Wire {}

impl Wire {
    /// Starts the thread and registers its metrics.
    ///
    /// # Errors
    /// When packet sockets are not permitted (the message says what to do), or a metric is registered already.
    pub fn start(options: Options, registry: &prometheus::Registry) -> anyhow::Result<Self> {
        let _ = (options, registry);
        anyhow::bail!("the wire task is not wired up yet")
    }

    /// Answers for an address from now on and announces it. The same announcement again changes nothing.
    pub fn announce(&self, announcement: Announcement) {
        let _ = announcement;
    }

    /// Announces an owned address anew, as if it had just been claimed: after a healed partition, for instance.
    pub fn reannounce(&self, address: IpAddr) {
        let _ = address;
    }

    /// Answers for an address no more.
    pub fn withdraw(&self, address: IpAddr) {
        let _ = address;
    }

    /// Replaces what is known of the node's interfaces; [`herald_netio::Links`] is the source.
    pub fn set_interfaces(&self, interfaces: Vec<Interface>) {
        let _ = interfaces;
    }
}

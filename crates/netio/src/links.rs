//! Watches the node's interfaces by netlink.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Interface;
use crate::dump::interfaces;

/// A node that starts pods all the time changes links all the time; a change is looked at immediately, the
/// next one not before this has passed, so that a storm of events costs 20 dumps a second at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Why interfaces cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// The netlink socket cannot be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused a dump.
    #[error("cannot list {what}: {error}")]
    Dump {
        /// `interfaces` or `addresses`.
        what: &'static str,
        /// The kernel's answer.
        error: rtnetlink::Error,
    },
    /// The event stream ended.
    #[error("the netlink event stream ended")]
    Ended,
}

/// The interfaces of the network namespace in which it was opened.
pub struct Links {
    kernel: Handle,
    events: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connections: [JoinHandle<()>; 2],
    last: Option<Vec<Interface>>,
    pending: VecDeque<Vec<Interface>>,
    flapped: BTreeSet<u32>,
    stale: bool,
    looked: Option<Instant>,
}

impl Links {
    /// Subscribes to changes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self, LinksError> {
        // Events have a socket of their own: an overrun there must not break a dump under way.
        let (connection, _, events) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        let watching = tokio::spawn(connection);
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        let dumping = tokio::spawn(connection);
        Ok(Self {
            kernel,
            events,
            connections: [watching, dumping],
            last: None,
            pending: VecDeque::new(),
            flapped: BTreeSet::new(),
            stale: true,
            looked: None,
        })
    }

    /// All interfaces: at once when called first, then each time that something about them has changed.
    ///
    /// An interface that lost its carrier and regained it between two looks is reported in both states, since
    /// the switch behind it may have forgotten us meanwhile. Cancel safe: nothing is lost but the look itself.
    ///
    /// # Errors
    /// When the kernel refuses a dump or the event stream ends; open it anew then.
    pub async fn next(&mut self) -> Result<Vec<Interface>, LinksError> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                self.last = Some(next.clone());
                return Ok(next);
            }
            if self.last.is_some() && !self.stale {
                let (event, _) = self.events.next().await.ok_or(LinksError::Ended)?;
                self.flapped.extend(lost_carrier(&event));
                self.stale = true;
            }
            if let Some(looked) = self.looked {
                tokio::time::sleep_until(looked + PAUSE).await;
            }
            self.drain();
            let seen = self.dump().await?;
            self.looked = Some(Instant::now());
            self.stale = false;
            self.compare(seen);
        }
    }

    /// Queues what the caller has not been told yet.
    fn compare(&mut self, seen: Vec<Interface>) {
        let between = with_flaps(&seen, &std::mem::take(&mut self.flapped));
        let last = self.last.as_ref();
        if between != seen && last.is_some_and(|last| *last != between) {
            self.pending.extend([between, seen]);
        } else if last != Some(&seen) {
            self.pending.push_back(seen);
        }
    }

    fn drain(&mut self) {
        while let Ok((message, _)) = self.events.try_recv() {
            self.flapped.extend(lost_carrier(&message));
        }
    }

    async fn dump(&self) -> Result<Vec<Interface>, LinksError> {
        let links: Vec<LinkMessage> =
            self.kernel
                .link()
                .get()
                .execute()
                .try_collect()
                .await
                .map_err(|error| {
                    let what = "interfaces";
                    LinksError::Dump { what, error }
                })?;
        let addresses: Vec<AddressMessage> = self
            .kernel
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| {
                let what = "addresses";
                LinksError::Dump { what, error }
            })?;
        Ok(interfaces(&links, &addresses))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.abort();
        }
    }
}

/// The index of a link that an event reports without carrier.
fn lost_carrier(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    let NetlinkPayload::InnerMessage(message) = &message.payload else {
        return None;
    };
    if let RouteNetlinkMessage::NewLink(link) = message {
        let down = !link.header.flags.contains(LinkFlags::Running);
        return down.then_some(link.header.index);
    }
    if let RouteNetlinkMessage::DelLink(link) = message {
        return Some(link.header.index);
    }
    None
}

/// `seen` as it was while the interfaces of `flapped` had no carrier.
fn with_flaps(seen: &[Interface], flapped: &BTreeSet<u32>) -> Vec<Interface> {
    let mut between = seen.to_vec();
    for interface in &mut between {
        interface.running &= !flapped.contains(&interface.index);
    }
    between
}

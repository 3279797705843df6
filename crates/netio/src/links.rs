//! Watches the node's interfaces by netlink.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// A netlink socket was closed, by an error that the log has, while events or a dump were expected from it.
    #[error("the netlink connection ended")]
    Ended,
}

/// The interfaces of the network namespace in which it was opened.
pub struct Links {
    events: Events,
    dumps: Dumps,
    last: Option<Vec<Interface>>,
    pending: VecDeque<Vec<Interface>>,
    flapped: Flapped,
    stale: bool,
    looked: Option<Instant>,
}

/// The interfaces that may have lost their carrier since the last look.
#[derive(Debug, PartialEq, Eq)]
enum Flapped {
    /// Those with these indices.
    Some(BTreeSet<u32>),
    /// Any of them: events were lost.
    All,
}

/// What the kernel tells unasked. It has a socket of its own: an overrun there must not break a dump under way.
struct Events {
    received: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: JoinHandle<()>,
}

/// The socket that dumps are asked for through.
struct Dumps {
    kernel: Handle,
    connection: JoinHandle<()>,
    /// Whether the connection has ended. A dump under way ends with it as if it were complete.
    ended: Arc<AtomicBool>,
}

impl Links {
    /// Subscribes to changes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self, LinksError> {
        Ok(Self {
            events: Events::open()?,
            dumps: Dumps::open()?,
            last: None,
            pending: VecDeque::new(),
            flapped: Flapped::Some(BTreeSet::new()),
            stale: true,
            looked: None,
        })
    }

    /// Subscribes anew, after an error. What happened meanwhile is not known, so every interface counts as having
    /// lost its carrier.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket; try again later then.
    pub fn reopen(&mut self) -> Result<(), LinksError> {
        self.pending.clear();
        self.flapped = Flapped::All;
        self.stale = true;
        self.events = Events::open()?;
        self.dumps = Dumps::open()?;
        Ok(())
    }

    /// All interfaces: at once when called first, then each time that something about them has changed.
    ///
    /// An interface that lost its carrier and regained it between two looks is reported in both states, since
    /// the switch behind it may have forgotten us meanwhile. When the kernel had more to tell than its buffer
    /// held, that is all of them. Cancel safe: nothing is lost but the look itself.
    ///
    /// # Errors
    /// When the kernel refuses a dump or a connection ends; [`Links::reopen`] it then.
    pub async fn next(&mut self) -> Result<Vec<Interface>, LinksError> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                self.last = Some(next.clone());
                return Ok(next);
            }
            if self.last.is_some() && !self.stale {
                let (event, _) = self.events.received.next().await.ok_or(LinksError::Ended)?;
                self.flapped.note(&event);
                self.stale = true;
            }
            if let Some(looked) = self.looked {
                tokio::time::sleep_until(looked + PAUSE).await;
            }
            self.drain();
            let seen = self.dumps.interfaces().await?;
            self.looked = Some(Instant::now());
            self.stale = false;
            self.compare(seen);
        }
    }

    /// Queues what the caller has not been told yet.
    fn compare(&mut self, seen: Vec<Interface>) {
        let flapped = std::mem::replace(&mut self.flapped, Flapped::Some(BTreeSet::new()));
        let between = with_flaps(&seen, &flapped);
        let last = self.last.as_ref();
        if between != seen && last.is_some_and(|last| *last != between) {
            self.pending.extend([between, seen]);
        } else if last != Some(&seen) {
            self.pending.push_back(seen);
        }
    }

    fn drain(&mut self) {
        while let Ok((event, _)) = self.events.received.try_recv() {
            self.flapped.note(&event);
        }
    }
}

impl Events {
    fn open() -> Result<Self, LinksError> {
        let (connection, _, received) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        let connection = tokio::spawn(connection);
        Ok(Self { received, connection })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Dumps {
    fn open() -> Result<Self, LinksError> {
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        Ok(Self::over(kernel, connection))
    }

    fn over(kernel: Handle, mut connection: impl Future<Output = ()> + Send + Unpin + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let connection = tokio::spawn(async move {
            (&mut connection).await;
            // Said before `connection` is dropped, which is what ends the streams of dumps under way.
            over.store(true, Ordering::Release);
        });
        Self {
            kernel,
            connection,
            ended,
        }
    }

    async fn interfaces(&self) -> Result<Vec<Interface>, LinksError> {
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
        // Every namespace has a loopback interface at least.
        if self.ended.load(Ordering::Acquire) || links.is_empty() {
            return Err(LinksError::Ended);
        }
        Ok(interfaces(&links, &addresses))
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Flapped {
    fn note(&mut self, event: &NetlinkMessage<RouteNetlinkMessage>) {
        if matches!(event.payload, NetlinkPayload::Overrun(_)) {
            *self = Self::All;
        } else if let NetlinkPayload::InnerMessage(message) = &event.payload
            && let Self::Some(indices) = self
        {
            indices.extend(lost_carrier(message));
        }
    }

    fn contains(&self, index: u32) -> bool {
        match self {
            Self::Some(indices) => indices.contains(&index),
            Self::All => true,
        }
    }
}

/// The index of a link that an event reports without carrier.
fn lost_carrier(message: &RouteNetlinkMessage) -> Option<u32> {
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
fn with_flaps(seen: &[Interface], flapped: &Flapped) -> Vec<Interface> {
    let mut between = seen.to_vec();
    for interface in &mut between {
        interface.running &= !flapped.contains(interface.index);
    }
    between
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> NetlinkMessage<RouteNetlinkMessage> {
        NetlinkMessage::new(NetlinkHeader::default(), payload)
    }

    fn link(index: u32, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message
    }

    #[test]
    fn a_link_without_carrier_or_gone_has_flapped_and_an_overrun_means_all() {
        let mut flapped = Flapped::Some(BTreeSet::new());
        for message in [
            RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up)),
            RouteNetlinkMessage::NewLink(link(3, LinkFlags::Up | LinkFlags::Running)),
            RouteNetlinkMessage::DelLink(link(4, LinkFlags::Up | LinkFlags::Running)),
        ] {
            flapped.note(&event(NetlinkPayload::InnerMessage(message)));
        }
        assert_eq!(flapped, Flapped::Some(BTreeSet::from([2, 4])));
        flapped.note(&event(NetlinkPayload::Overrun(Vec::new())));
        assert!((1..9).all(|index| flapped.contains(index)));
        let later = RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up));
        flapped.note(&event(NetlinkPayload::InnerMessage(later)));
        assert_eq!(flapped, Flapped::All);
    }

    #[tokio::test]
    async fn after_a_gap_every_interface_is_reported_without_its_carrier_first() {
        let mut links = Links::open().expect("netlink");
        let first = links.next().await.expect("interfaces");
        assert!(first.iter().any(|interface| interface.running), "{first:?}");
        links.reopen().expect("netlink");
        let between = links.next().await.expect("interfaces");
        assert!(between.iter().all(|interface| !interface.running), "{between:?}");
        let again = links.next().await.expect("interfaces");
        assert!(again.iter().any(|interface| interface.running), "{again:?}");
    }

    /// A dump is two requests, and a connection may end at any time during them.
    #[tokio::test]
    async fn a_dump_that_breaks_off_is_an_error_and_never_a_shorter_list() {
        let whole = Links::open().expect("netlink").next().await.expect("interfaces");
        let mut broken = 0;
        for polls in 1..12 {
            let (mut connection, kernel, _) = rtnetlink::new_connection().expect("netlink");
            let mut left = polls;
            let ends_early = poll_fn(move |context| {
                left -= 1;
                let still = std::pin::Pin::new(&mut connection).poll(context);
                if left == 0 { Poll::Ready(()) } else { still }
            });
            match Dumps::over(kernel, ends_early).interfaces().await {
                Ok(interfaces) => assert_eq!(interfaces, whole, "after {polls} polls"),
                Err(_) => broken += 1,
            }
        }
        assert!(broken > 1, "no dump broke off");
    }
}

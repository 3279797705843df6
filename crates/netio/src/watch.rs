//! Watches the interfaces of the node, their addresses and on-link routes by netlink.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Interface;
use crate::dump::{OnLink, interfaces, on_link};

/// The least pause after a dump. A node that starts Pods all the time changes links all the time: the first change causes a
/// dump immediately, the next one not before this pause, so that a storm of events costs 20 dumps a second at most.
const PAUSE: Duration = Duration::from_millis(50);

/// The least pause after a dump, as a multiple of its duration: the kernel dumps all routes or none, and a router may have a
/// million. Dumps so take a tenth of the time at most.
const PAUSE_FACTOR: u32 = 9;

/// The reason why interfaces cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceWatchError {
    /// The netlink socket cannot be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused a dump.
    #[error("cannot list {what}: {error}")]
    Dump {
        /// `interfaces`, `addresses` or `routes`.
        what: &'static str,
        /// The answer of the kernel.
        error: rtnetlink::Error,
    },
    /// A netlink socket was closed while events or a dump were expected from it; its error is in the log.
    #[error("the netlink connection ended")]
    Ended,
}

/// A watch of the interfaces of the network namespace in which it was opened.
pub struct InterfaceWatch {
    events: NetlinkEvents,
    /// On a separate socket: route events may come in floods, and when some are lost, no carrier event is.
    routes: NetlinkEvents,
    dumps: NetlinkDumps,
    last: Option<Vec<Interface>>,
    pending: VecDeque<Vec<Interface>>,
    carrier_losses: CarrierLosses,
    stale: bool,
    /// When the next dump may start.
    next_dump: Option<Instant>,
}

/// The interfaces that may have lost their carrier since the last dump.
#[derive(Debug, PartialEq, Eq)]
enum CarrierLosses {
    /// The interfaces with these indices.
    Some(BTreeSet<u32>),
    /// Any interface: events were lost.
    All,
}

/// Events of the kernel, on a separate socket: an overrun there must not break a dump under way.
struct NetlinkEvents {
    received: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: JoinHandle<()>,
}

/// The socket for dumps.
struct NetlinkDumps {
    kernel: Handle,
    connection: JoinHandle<()>,
    /// Whether the connection has ended. A dump under way then ends as if it were complete.
    ended: Arc<AtomicBool>,
}

impl InterfaceWatch {
    /// Subscribes to changes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self, InterfaceWatchError> {
        Ok(Self {
            events: NetlinkEvents::open(&LINKS)?,
            routes: NetlinkEvents::open(&ROUTES)?,
            dumps: NetlinkDumps::open()?,
            last: None,
            pending: VecDeque::new(),
            carrier_losses: CarrierLosses::Some(BTreeSet::new()),
            stale: true,
            next_dump: None,
        })
    }

    /// Subscribes again after an error. The events in between are lost, so every interface counts as having lost its carrier.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket; try again later then.
    pub fn reopen(&mut self) -> Result<(), InterfaceWatchError> {
        self.pending.clear();
        self.carrier_losses = CarrierLosses::All;
        self.stale = true;
        self.events = NetlinkEvents::open(&LINKS)?;
        self.routes = NetlinkEvents::open(&ROUTES)?;
        self.dumps = NetlinkDumps::open()?;
        Ok(())
    }

    /// Returns all interfaces: immediately when called first, then after each change.
    ///
    /// An interface that lost its carrier and regained it between two dumps is reported in both states, since the switch
    /// behind it may have forgotten the addresses of this node. When events overflowed the kernel's buffer, all interfaces
    /// are. Cancel safe: a dropped future loses nothing but its own dump.
    ///
    /// # Errors
    /// When the kernel refuses a dump or a connection ends; call [`InterfaceWatch::reopen`] then.
    pub async fn next(&mut self) -> Result<Vec<Interface>, InterfaceWatchError> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                self.last = Some(next.clone());
                return Ok(next);
            }
            while self.last.is_some() && !self.stale {
                self.wait().await?;
            }
            if let Some(next_dump) = self.next_dump {
                tokio::time::sleep_until(next_dump).await;
            }
            self.drain();
            let begin = Instant::now();
            let observed = self.dumps.interfaces().await?;
            let pause = PAUSE.max(begin.elapsed() * PAUSE_FACTOR);
            self.next_dump = Some(Instant::now() + pause);
            self.stale = false;
            self.compare(observed);
        }
    }

    /// Waits for an event, which may make another dump necessary.
    async fn wait(&mut self) -> Result<(), InterfaceWatchError> {
        match select(self.events.received.next(), self.routes.received.next()).await {
            Either::Left((event, _)) => {
                let (event, _) = event.ok_or(InterfaceWatchError::Ended)?;
                self.carrier_losses.note(&event);
                self.stale = true;
            }
            Either::Right((event, _)) => {
                let (event, _) = event.ok_or(InterfaceWatchError::Ended)?;
                self.stale |= concerns_a_link(&event);
            }
        }
        Ok(())
    }

    /// Queues the states that the caller does not know yet.
    fn compare(&mut self, observed: Vec<Interface>) {
        let carrier_losses =
            std::mem::replace(&mut self.carrier_losses, CarrierLosses::Some(BTreeSet::new()));
        let between = without_carrier(&observed, &carrier_losses);
        let last = self.last.as_ref();
        if between != observed && last.is_some_and(|last| *last != between) {
            self.pending.extend([between, observed]);
        } else if last != Some(&observed) {
            self.pending.push_back(observed);
        }
    }

    fn drain(&mut self) {
        while let Ok((event, _)) = self.events.received.try_recv() {
            self.carrier_losses.note(&event);
        }
        while self.routes.received.try_recv().is_ok() {}
    }
}

const LINKS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

const ROUTES: [MulticastGroup; 2] = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];

impl NetlinkEvents {
    fn open(groups: &[MulticastGroup]) -> Result<Self, InterfaceWatchError> {
        let (connection, _, received) = rtnetlink::new_multicast_connection(groups)?;
        let connection = tokio::spawn(connection);
        Ok(Self { received, connection })
    }
}

impl Drop for NetlinkEvents {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl NetlinkDumps {
    fn open() -> Result<Self, InterfaceWatchError> {
        let (connection, kernel, _) = rtnetlink::new_connection()?;
        Ok(Self::over(kernel, connection))
    }

    fn over(kernel: Handle, mut connection: impl Future<Output = ()> + Send + Unpin + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let connection = tokio::spawn(async move {
            (&mut connection).await;
            // Set before `connection` is dropped, which ends the streams of dumps under way.
            over.store(true, Ordering::Release);
        });
        Self {
            kernel,
            connection,
            ended,
        }
    }

    async fn interfaces(&self) -> Result<Vec<Interface>, InterfaceWatchError> {
        let failed = |what| move |error| InterfaceWatchError::Dump { what, error };
        let links = self.kernel.link().get().execute();
        let links: Vec<LinkMessage> = links.try_collect().await.map_err(failed("interfaces"))?;
        let addresses = self.kernel.address().get().execute();
        let addresses: Vec<AddressMessage> = addresses.try_collect().await.map_err(failed("addresses"))?;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let all = self.on_link(family).await.map_err(failed("routes"))?;
            routes.extend(all);
        }
        // Every namespace has a loopback interface at least.
        if self.ended.load(Ordering::Acquire) || links.is_empty() {
            return Err(InterfaceWatchError::Ended);
        }
        Ok(interfaces(&links, &addresses, routes))
    }

    /// Returns the on-link routes only, of possibly a million routes.
    async fn on_link(&self, family: AddressFamily) -> Result<Vec<OnLink>, rtnetlink::Error> {
        let mut all = RouteMessage::default();
        all.header.address_family = family;
        let routes = self.kernel.route().get(all).execute();
        let add = |mut found: Vec<OnLink>, route: RouteMessage| {
            found.extend(on_link(&route));
            std::future::ready(Ok(found))
        };
        routes.try_fold(Vec::new(), add).await
    }
}

impl Drop for NetlinkDumps {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl CarrierLosses {
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

/// Returns whether an event is about an on-link route, or events were lost.
fn concerns_a_link(event: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    if let NetlinkPayload::InnerMessage(
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
    ) = &event.payload
    {
        return !on_link(route).is_empty();
    }
    matches!(event.payload, NetlinkPayload::Overrun(_))
}

/// Returns the index of a link that an event reports without carrier.
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

/// Returns the interfaces as they were while those of `losses` had no carrier.
fn without_carrier(observed: &[Interface], losses: &CarrierLosses) -> Vec<Interface> {
    let mut between = observed.to_vec();
    for interface in &mut between {
        interface.running &= !losses.contains(interface.index);
    }
    between
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteType};

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
    fn a_link_that_lost_its_carrier_or_is_gone_is_noted_and_an_overrun_means_all() {
        let mut carrier_losses = CarrierLosses::Some(BTreeSet::new());
        for message in [
            RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up)),
            RouteNetlinkMessage::NewLink(link(3, LinkFlags::Up | LinkFlags::Running)),
            RouteNetlinkMessage::DelLink(link(4, LinkFlags::Up | LinkFlags::Running)),
        ] {
            carrier_losses.note(&event(NetlinkPayload::InnerMessage(message)));
        }
        assert_eq!(carrier_losses, CarrierLosses::Some(BTreeSet::from([2, 4])));
        carrier_losses.note(&event(NetlinkPayload::Overrun(Vec::new())));
        assert!((1..9).all(|index| carrier_losses.contains(index)));
        let later = RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up));
        carrier_losses.note(&event(NetlinkPayload::InnerMessage(later)));
        assert_eq!(carrier_losses, CarrierLosses::All);
    }

    #[test]
    fn only_events_of_on_link_routes_and_lost_events_cause_another_dump() {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet6;
        route.header.kind = RouteType::Unicast;
        route.attributes = vec![RouteAttribute::Oif(2)];
        let new = |route| event(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)));
        let gone = |route| event(NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)));
        assert!(concerns_a_link(&new(route.clone())) && concerns_a_link(&gone(route.clone())));
        let gateway = RouteAddress::Inet6(std::net::Ipv6Addr::LOCALHOST);
        route.attributes.push(RouteAttribute::Gateway(gateway));
        assert!(!concerns_a_link(&new(route.clone())) && !concerns_a_link(&gone(route)));
        assert!(concerns_a_link(&event(NetlinkPayload::Overrun(Vec::new()))));
    }

    #[tokio::test]
    async fn after_lost_events_every_interface_is_reported_without_its_carrier_first() {
        let mut links = InterfaceWatch::open().expect("netlink");
        let first = links.next().await.expect("interfaces");
        assert!(first.iter().any(|interface| interface.running), "{first:?}");
        links.reopen().expect("netlink");
        let between = links.next().await.expect("interfaces");
        assert!(between.iter().all(|interface| !interface.running), "{between:?}");
        let again = links.next().await.expect("interfaces");
        assert!(again.iter().any(|interface| interface.running), "{again:?}");
    }

    /// A dump is four requests, and a connection may end at any time during them.
    #[tokio::test]
    async fn a_dump_that_breaks_off_is_an_error_and_never_a_shorter_list() {
        let whole = InterfaceWatch::open()
            .expect("netlink")
            .next()
            .await
            .expect("interfaces");
        let mut broken = 0;
        for polls in 1..24 {
            let (mut connection, kernel, _) = rtnetlink::new_connection().expect("netlink");
            let mut left = polls;
            let ends_early = poll_fn(move |context| {
                left -= 1;
                let still = std::pin::Pin::new(&mut connection).poll(context);
                if left == 0 { Poll::Ready(()) } else { still }
            });
            match NetlinkDumps::over(kernel, ends_early).interfaces().await {
                Ok(interfaces) => assert_eq!(interfaces, whole, "after {polls} polls"),
                Err(_) => broken += 1,
            }
        }
        assert!(broken > 1, "no dump broke off");
    }
}

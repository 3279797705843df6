//! Watches the node's interfaces, and their addresses and on-link routes, by netlink.

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

/// A node that starts pods all the time changes links all the time; a change is looked at immediately, the
/// next one not before this has passed, so that a storm of events costs 20 looks a second at most.
const PAUSE: Duration = Duration::from_millis(50);

/// How many times as long as a look takes is the pause after it at least: the kernel tells routes only all at once, and a
/// router may have a million. So looks take a tenth of the time at most.
const REST: u32 = 9;

/// Why interfaces cannot be watched.
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
        /// The kernel's answer.
        error: rtnetlink::Error,
    },
    /// A netlink socket was closed, by an error that the log has, while events or a dump were expected from it.
    #[error("the netlink connection ended")]
    Ended,
}

/// The interfaces of the network namespace in which it was opened.
pub struct InterfaceWatch {
    events: Events,
    /// On a socket of their own: routes may come in floods, and when some of their events are lost that says nothing
    /// about carriers.
    routes: Events,
    dumps: Dumps,
    last: Option<Vec<Interface>>,
    pending: VecDeque<Vec<Interface>>,
    flapped: Flapped,
    stale: bool,
    /// When the next look may be had.
    rested: Option<Instant>,
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

impl InterfaceWatch {
    /// Subscribes to changes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self, InterfaceWatchError> {
        Ok(Self {
            events: Events::open(&LINKS)?,
            routes: Events::open(&ROUTES)?,
            dumps: Dumps::open()?,
            last: None,
            pending: VecDeque::new(),
            flapped: Flapped::Some(BTreeSet::new()),
            stale: true,
            rested: None,
        })
    }

    /// Subscribes anew, after an error. What happened meanwhile is not known, so every interface counts as having
    /// lost its carrier.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket; try again later then.
    pub fn reopen(&mut self) -> Result<(), InterfaceWatchError> {
        self.pending.clear();
        self.flapped = Flapped::All;
        self.stale = true;
        self.events = Events::open(&LINKS)?;
        self.routes = Events::open(&ROUTES)?;
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
    /// When the kernel refuses a dump or a connection ends; [`InterfaceWatch::reopen`] it then.
    pub async fn next(&mut self) -> Result<Vec<Interface>, InterfaceWatchError> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                self.last = Some(next.clone());
                return Ok(next);
            }
            while self.last.is_some() && !self.stale {
                self.wait().await?;
            }
            if let Some(rested) = self.rested {
                tokio::time::sleep_until(rested).await;
            }
            self.drain();
            let begin = Instant::now();
            let seen = self.dumps.interfaces().await?;
            let pause = PAUSE.max(begin.elapsed() * REST);
            self.rested = Some(Instant::now() + pause);
            self.stale = false;
            self.compare(seen);
        }
    }

    /// Waits for an event, which may make another look necessary.
    async fn wait(&mut self) -> Result<(), InterfaceWatchError> {
        match select(self.events.received.next(), self.routes.received.next()).await {
            Either::Left((event, _)) => {
                let (event, _) = event.ok_or(InterfaceWatchError::Ended)?;
                self.flapped.note(&event);
                self.stale = true;
            }
            Either::Right((event, _)) => {
                let (event, _) = event.ok_or(InterfaceWatchError::Ended)?;
                self.stale |= concerns_a_link(&event);
            }
        }
        Ok(())
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
        while self.routes.received.try_recv().is_ok() {}
    }
}

const LINKS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

const ROUTES: [MulticastGroup; 2] = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];

impl Events {
    fn open(groups: &[MulticastGroup]) -> Result<Self, InterfaceWatchError> {
        let (connection, _, received) = rtnetlink::new_multicast_connection(groups)?;
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
    fn open() -> Result<Self, InterfaceWatchError> {
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

    /// Keeps only what is wanted of what may be a million routes.
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

/// Whether an event of a route is about one that is on-link, or lost.
fn concerns_a_link(event: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    if let NetlinkPayload::InnerMessage(
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
    ) = &event.payload
    {
        return !on_link(route).is_empty();
    }
    matches!(event.payload, NetlinkPayload::Overrun(_))
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

    #[test]
    fn only_events_of_on_link_routes_and_lost_ones_make_another_look_necessary() {
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
    async fn after_a_gap_every_interface_is_reported_without_its_carrier_first() {
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
            match Dumps::over(kernel, ends_early).interfaces().await {
                Ok(interfaces) => assert_eq!(interfaces, whole, "after {polls} polls"),
                Err(_) => broken += 1,
            }
        }
        assert!(broken > 1, "no dump broke off");
    }
}

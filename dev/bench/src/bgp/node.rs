//! The thread of the speaker in a host of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use herald_bgp::session::SessionConfig;
use herald_bgp::wire::{BgpIdentifier, HoldTime};
use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::bgp::{Asn, ExpectedAs};
use herald_core::{Family, Prefix};
use herald_netio::DialOptions;
use herald_netns::blocking::{Host, Segment};
use herald_runtime::health::Beat;
use herald_speaker::bgp::{Bgp, BgpCommand, BgpReport, PeerEvent, PeerSettings};
use prometheus::Registry;
use tokio::sync::mpsc::UnboundedReceiver;

use super::sink::{Listener, Sinks};
use super::{NODE, sink};

/// Prefixes of a table.
pub(super) const PREFIXES: usize = 10_000;
/// The MED of all prefixes at first.
const MED: u32 = 100;
/// The metric of the prefixes that a peer is to have.
const WANTED: &str = "metallb_bgp_pending_prefixes_total";
/// The pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(5);
/// The AS number of the node.
pub(super) const ASN: u32 = 65_001;

pub(super) struct Node {
    bgp: Bgp,
    reports: UnboundedReceiver<BgpReport>,
    registry: Registry,
    /// Keeps the namespace.
    _host: Host,
}

impl Node {
    pub(super) fn start(segment: &Segment) -> Self {
        let (mac, address) = NODE;
        let host = segment.host(mac, &[&format!("{address}/24")]);
        let registry = Registry::new();
        let of_thread = registry.clone();
        let (bgp, reports) = host.run(move || {
            let mut bgp = Bgp::start(Beat::default(), &of_thread).expect("the thread starts");
            let reports = bgp.take_reports().expect("the first call");
            (bgp, reports)
        });
        Self {
            bgp,
            reports,
            registry,
            _host: host,
        }
    }

    /// Has a session with a peer, which is to have all prefixes.
    pub(super) fn add_peer(&self, name: &str, peer: SocketAddr, asn: u32) {
        let name: Arc<str> = name.into();
        let set = BgpCommand::SetPeer(Arc::clone(&name), Box::new(settings(peer, asn)));
        let routes = (0..PREFIXES).map(|number| route(&name, number, MED));
        self.bgp.send_all(std::iter::once(set).chain(routes));
    }

    /// Has sessions with peers that are to have all prefixes, and returns when all have connected, all commands are done, and
    /// nothing was sent yet.
    pub(super) fn connect(&self, listeners: Vec<Listener>) -> anyhow::Result<Sinks> {
        let peers: Vec<Arc<str>> = listeners.iter().map(Listener::name).collect();
        // As the driver does it: first the peers, then each prefix for all of them.
        let set = listeners.iter().map(|listener| {
            let settings = settings(listener.address(), sink::ASN);
            BgpCommand::SetPeer(listener.name(), Box::new(settings))
        });
        let routes = (0..PREFIXES).flat_map(|number| peers.iter().map(move |peer| route(peer, number, MED)));
        self.bgp.send_all(set.chain(routes));
        while self.wanted() < (PREFIXES * peers.len()) as f64 {
            std::thread::sleep(PAUSE);
        }
        Sinks::accept(listeners)
    }

    /// Returns how many prefixes all peers are to have.
    fn wanted(&self) -> f64 {
        let families = self.registry.gather();
        let mut wanted = families.iter().filter(|family| family.name() == WANTED);
        let metrics = wanted.next().map_or(&[][..], |family| family.get_metric());
        metrics.iter().map(|metric| metric.get_gauge().get_value()).sum()
    }

    /// The same, and returns when all have all prefixes.
    pub(super) fn serve(&self, listeners: Vec<Listener>) -> anyhow::Result<Sinks> {
        let mut sinks = self.connect(listeners)?;
        sinks.establish()?;
        sinks.read_until(PREFIXES)?;
        Ok(sinks)
    }

    /// Changes a prefix of the first peer: it gets a MED that no prefix had.
    pub(super) fn change(&self, number: u32) {
        let name: Arc<str> = sink::name(0);
        self.bgp
            .send(route(&name, number as usize * 7 % PREFIXES, MED + 1 + number));
    }

    /// Waits for the session with a peer.
    pub(super) fn wait_for_session(&mut self) {
        loop {
            let report = self.reports.blocking_recv().expect("the thread runs");
            if let PeerEvent::Up(_) = report.event {
                return;
            }
        }
    }
}

fn route(peer: &Arc<str>, number: usize, med: u32) -> BgpCommand {
    let number = u32::try_from(number).expect("there are some thousands");
    BgpCommand::SetRoute(RouteChange {
        peer: Arc::clone(peer),
        prefix: Prefix {
            address: Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number).into(),
            length: 32,
        },
        attributes: Some(RouteAttributes {
            med: Some(med),
            ..RouteAttributes::default()
        }),
    })
}

fn settings(peer: SocketAddr, asn: u32) -> PeerSettings {
    PeerSettings {
        dial: DialOptions {
            peer,
            source: None,
            device: None,
            key: None,
            least_ttl: 0,
        },
        interface: None,
        session: SessionConfig {
            local_asn: Asn(ASN),
            peer_asn: ExpectedAs::Exactly(Asn(asn)),
            identifier: BgpIdentifier::new([10, 0, 0, 2].into()).expect("not zero"),
            hold_time: HoldTime::new(90).expect("long enough"),
            keepalive: None,
            connect_retry: None,
            families: vec![Family::V4],
            extended_next_hop: false,
            restart_time: None,
            forwarding: true,
        },
    }
}

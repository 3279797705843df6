//! The BGP thread in a host of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use herald_bgp::session::{SessionConfig, SessionEnd};
use herald_bgp::wire::{BgpIdentifier, HoldTime};
use herald_core::Prefix;
use herald_core::announce::bgp::{RouteAttributes, RouteChange};
use herald_core::bgp::{Asn, ExpectedAs};
use herald_core::{Family, config::bgp::Communities};
use herald_netio::{DialOptions, InterfaceWatch};
use herald_netns::blocking::{Host, block_on};
use herald_routers::{Neighbour, wait_for};
use herald_runtime::health::Beat;
use herald_speaker::bgp::{Bgp, BgpCommand, BgpReport, PeerEvent, PeerSettings};
use prometheus::Registry;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

const PEER: &str = "router";

pub(crate) struct Node {
    bgp: Bgp,
    reports: UnboundedReceiver<BgpReport>,
    host: Host,
}

impl Node {
    /// Starts the thread with the interfaces of the host.
    pub(crate) fn start(host: Host) -> Self {
        let (bgp, reports) = host.run(|| {
            let mut bgp = Bgp::start(Beat::default(), &Registry::new()).expect("the thread starts");
            let reports = bgp.take_reports().expect("the first call");
            let interfaces = block_on(async {
                let mut watch = InterfaceWatch::open().expect("netlink");
                loop {
                    let interfaces = watch.next().await.expect("interfaces");
                    let is_ready = |name: &str| interfaces.iter().any(|one| one.name == name && one.running);
                    if is_ready("eth0") {
                        return interfaces;
                    }
                }
            });
            bgp.set_interfaces(interfaces);
            (bgp, reports)
        });
        Self { bgp, reports, host }
    }

    /// Returns the host, which the thread is in.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn set_peer(&self, settings: PeerSettings) {
        self.set_other_peer(PEER, settings);
    }

    pub(crate) fn set_other_peer(&self, name: &str, settings: PeerSettings) {
        self.bgp
            .send(BgpCommand::SetPeer(name.into(), Box::new(settings)));
    }

    pub(crate) fn remove_peer(&self) {
        self.bgp.send(BgpCommand::RemovePeer(PEER.into()));
    }

    pub(crate) fn set_routes(&self, routes: impl IntoIterator<Item = (Prefix, Option<RouteAttributes>)>) {
        self.set_routes_of(PEER, routes);
    }

    pub(crate) fn set_routes_of(
        &self,
        peer: &str,
        routes: impl IntoIterator<Item = (Prefix, Option<RouteAttributes>)>,
    ) {
        let peer = Arc::from(peer);
        let change = |(prefix, attributes)| {
            BgpCommand::SetRoute(RouteChange {
                peer: Arc::clone(&peer),
                prefix,
                attributes,
            })
        };
        self.bgp.send_all(routes.into_iter().map(change));
    }

    /// Returns the next report, without waiting.
    pub(crate) fn poll_report(&mut self) -> Option<PeerEvent> {
        loop {
            let (peer, event) = self.poll_any_report()?;
            if *peer == *PEER {
                return Some(event);
            }
        }
    }

    /// Returns the next report that a session with any peer begins or ends, with the peer's name.
    pub(crate) fn poll_any_report(&mut self) -> Option<(Arc<str>, PeerEvent)> {
        loop {
            match self.reports.try_recv() {
                Ok(BgpReport {
                    event: PeerEvent::Limited(_),
                    ..
                }) => {}
                Ok(report) => return Some((report.peer, report.event)),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => panic!("the thread ended"),
            }
        }
    }

    /// Waits for the next session, and returns why sessions and attempts before it ended.
    pub(crate) fn wait_for_session(&mut self) -> Vec<SessionEnd> {
        let mut ends = Vec::new();
        wait_for("the session is established", || match self.poll_report() {
            Some(PeerEvent::Up(_)) => Ok(()),
            Some(PeerEvent::Ended { end, .. }) => {
                ends.push(end);
                Err(format!("{ends:?}"))
            }
            Some(PeerEvent::Limited(_)) | None => Err(format!("{ends:?}")),
        });
        ends
    }

    /// Waits for an end, and returns it with its cause.
    pub(crate) fn wait_for_end(&mut self) -> (SessionEnd, Option<String>) {
        wait_for("the session ends", || match self.poll_report() {
            Some(PeerEvent::Ended { end, cause, .. }) => Ok((end, cause.map(|cause| cause.to_string()))),
            Some(PeerEvent::Up(_) | PeerEvent::Limited(_)) | None => Err("it did not".to_owned()),
        })
    }
}

/// The settings for a session with a router, with both families.
pub(crate) fn settings(neighbour: &Neighbour) -> PeerSettings {
    PeerSettings {
        dial: DialOptions {
            peer: SocketAddr::new(neighbour.router, 179),
            source: None,
            device: None,
            key: neighbour.password.map(|password| password.as_bytes().to_vec()),
            least_ttl: 0,
        },
        interface: neighbour.interface.map(str::to_owned),
        session: SessionConfig {
            local_asn: Asn(neighbour.asn),
            peer_asn: ExpectedAs::Exactly(Asn(neighbour.router_asn)),
            identifier: BgpIdentifier::new([10, 0, 0, 2].into()).expect("not zero"),
            hold_time: HoldTime::new(90).expect("long enough"),
            keepalive: None,
            connect_retry: None,
            families: vec![Family::V4, Family::V6],
            extended_next_hop: neighbour.interface.is_some(),
            restart_time: None,
            forwarding: true,
        },
    }
}

pub(crate) fn host_route(address: impl Into<IpAddr>) -> Prefix {
    let address = address.into();
    let length = if address.is_ipv4() { 32 } else { 128 };
    Prefix { address, length }
}

/// The attributes of a route, with one community.
pub(crate) fn attributes(med: u32, local_pref: Option<u32>) -> RouteAttributes {
    RouteAttributes {
        med: Some(med),
        local_pref,
        communities: Communities {
            standard: [herald_core::bgp::Community(65_001, 7)].into(),
            large: [].into(),
        },
    }
}

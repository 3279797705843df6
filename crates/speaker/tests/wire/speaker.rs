//! The wire task in a host, with its interfaces watched as the real program does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use herald_l2::ProbeResult;
use herald_netio::{Interface, InterfaceWatch};
use herald_netns::blocking::{Host, block_on, wait_for};
use herald_speaker::wire::{
    Announcement, Command, Wire, WireEvent, WireEvents, WireOptions, watch_interfaces,
};
use prometheus::{Registry, TextEncoder};
use tokio::sync::oneshot;

pub(crate) struct Speaker {
    wire: Option<Arc<Wire>>,
    heard: Option<WireEvents>,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl Speaker {
    pub(crate) fn start(host: &Host) -> Self {
        Self::start_with(host, WireOptions::default())
    }

    pub(crate) fn start_with(host: &Host, options: WireOptions) -> Self {
        host.run(move || {
            let registry = Registry::new();
            let mut wire = Wire::start(options, &registry).expect("the wire task starts");
            let heard = wire.take_events();
            let wire = Arc::new(wire);
            let (stop, stopped) = oneshot::channel();
            let watched = Arc::clone(&wire);
            let watcher = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("runtime").block_on(async {
                    tokio::select! {
                        never = watch_interfaces(|interfaces| watched.set_interfaces(interfaces)) => match never {},
                        _ = stopped => {}
                    }
                });
            });
            Self {
                wire: Some(wire),
                heard,
                registry,
                stop: Some(stop),
                watcher: Some(watcher),
            }
        })
    }

    /// Waits until `interface` can announce both families, and reports no change from then on, as when netlink
    /// loses events.
    pub(crate) fn start_deaf(host: &Host, interface: &'static str) -> Self {
        host.run(move || {
            let registry = Registry::new();
            let wire = Wire::start(WireOptions::default(), &registry).expect("the wire task starts");
            let ready = |found: &Interface| {
                found.name == interface
                    && found.usable().is_ok()
                    && found.resolves_v4()
                    && found.resolves_v6()
            };
            let interfaces = block_on(async {
                let mut links = InterfaceWatch::open().expect("netlink");
                loop {
                    let interfaces = links.next().await.expect("interfaces");
                    if interfaces.iter().any(ready) {
                        return interfaces;
                    }
                }
            });
            wire.set_interfaces(interfaces);
            Self {
                wire: Some(Arc::new(wire)),
                heard: None,
                registry,
                stop: None,
                watcher: None,
            }
        })
    }

    fn wire(&self) -> &Wire {
        self.wire.as_deref().expect("there until dropped")
    }

    pub(crate) fn announce(&self, address: IpAddr) {
        let interfaces = None;
        let announcement = Announcement { address, interfaces };
        self.wire().send(Command::Announce(announcement));
    }

    pub(crate) fn announce_on(&self, address: IpAddr, interface: &str) {
        let interfaces = Some(BTreeSet::from([interface.to_owned()]));
        let announcement = Announcement { address, interfaces };
        self.wire().send(Command::Announce(announcement));
    }

    pub(crate) fn reannounce(&self, address: IpAddr) {
        self.wire().send(Command::Reannounce(address));
    }

    /// Asks once whether a machine has an address.
    pub(crate) fn check(&self, address: IpAddr) {
        let interfaces = None;
        self.wire().send(Command::Check {
            announcement: Announcement { address, interfaces },
            target: None,
        });
    }

    /// Probes an address; returns the Ethernet address of the machine that has it.
    #[expect(clippy::unwrap_in_result, reason = "`None` is silence, not a failed test")]
    pub(crate) fn probe(&mut self, address: IpAddr) -> Option<[u8; 6]> {
        let interfaces = None;
        let announcement = Announcement { address, interfaces };
        self.wire().send(Command::Probe(announcement));
        let heard = self.heard.as_mut().expect("this one can hear");
        let mut events = Vec::new();
        loop {
            block_on(heard.recv_many(&mut events, 1));
            match events.pop().expect("the wire task lives") {
                WireEvent::Probed(found, ProbeResult::Silence) if found == address => return None,
                WireEvent::Probed(found, ProbeResult::Answered(mac)) if found == address => {
                    return Some(mac.0);
                }
                WireEvent::Probed(..) | WireEvent::Claimed(..) | WireEvent::Announced(_) => {}
            }
        }
    }

    pub(crate) fn withdraw(&self, address: IpAddr) {
        self.wire().send(Command::Withdraw(address));
    }

    /// The value of a series, if there is one.
    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a number"))
    }

    /// Waits until an address has been announced at least `frames` times.
    pub(crate) fn wait_announced(&self, address: IpAddr, frames: u64) {
        let series = format!("metallb_layer2_gratuitous_sent{{ip=\"{address}\"}}");
        wait_for(&series, || self.metric(&series).filter(|sent| *sent >= frames));
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(watcher) = self.watcher.take() {
            watcher.join().expect("the watcher ends");
        }
        drop(self.wire.take());
    }
}

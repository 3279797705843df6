//! An Ethernet segment: a bridge in a namespace of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rtnetlink::LinkBridge;

use super::{Host, block_on};
use crate::{MacAddr, Peer};

const BRIDGE: &str = "segment";

/// A bridge and the hosts that are plugged into it.
pub struct Segment {
    switch: Host,
    ports: AtomicU32,
}

impl Segment {
    /// Makes a segment without hosts.
    #[expect(clippy::new_without_default, reason = "it makes a namespace")]
    pub fn new() -> Self {
        let switch = Host::new();
        switch.add_link(LinkBridge::new(BRIDGE).up().build());
        let ports = AtomicU32::new(0);
        Self { switch, ports }
    }

    /// Makes a bridge that forwards multicast only to ports whose hosts have joined the group, and that queries the hosts. It
    /// starts to filter once they have had the time to answer, a second here.
    pub fn snooping() -> Self {
        let segment = Self::new();
        let hundredths = 100;
        segment.change(LinkBridge::new(BRIDGE).mcast_query_response_interval(hundredths));
        segment.change(LinkBridge::new(BRIDGE).mcast_snooping(true).mcast_querier(true));
        segment
    }

    /// Makes a bridge that forgets the port of a station when it has received no frame from it for `ageing`.
    pub fn forgetful(ageing: Duration) -> Self {
        let segment = Self::new();
        let hundredths = (ageing.as_millis() / 10) as u32;
        segment.change(LinkBridge::new(BRIDGE).ageing_time(hundredths));
        segment
    }

    fn change(&self, bridge: rtnetlink::LinkMessageBuilder<LinkBridge>) {
        let changed = self.switch.links().change(bridge.build());
        block_on(changed).expect("the bridge can be changed");
    }

    /// Plugs a host in: it gets `interface`, up, with the Ethernet address `mac`.
    pub fn plug(&self, host: &Host, interface: &str, mac: [u8; 6]) -> Port<'_> {
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let name = format!("port{number}");
        let peer = Peer {
            name: interface,
            mac: MacAddr(mac),
            namespace: host.namespace(),
        };
        let added = self.switch.links().add_port(&name, BRIDGE, peer);
        block_on(added).expect("the host can be plugged in");
        host.set_up(interface, true);
        Port { segment: self, name }
    }

    /// Makes a host that is plugged in as `eth0`, with these addresses.
    pub fn host(&self, mac: [u8; 6], addresses: &[&str]) -> Host {
        let host = Host::new();
        self.plug(&host, "eth0", mac);
        for address in addresses {
            host.add_address("eth0", address);
        }
        host
    }
}

/// The port that a host is plugged into.
pub struct Port<'a> {
    segment: &'a Segment,
    name: String,
}

impl Port<'_> {
    /// Connects or disconnects the cable: the host's carrier comes or goes.
    pub fn connect(&self, connected: bool) {
        self.segment.switch.set_up(&self.name, connected);
    }
}

//! An Ethernet segment: a bridge in a namespace of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};

use crate::host::Host;

const BRIDGE: &str = "segment";

pub(crate) struct Segment {
    switch: Host,
    ports: AtomicU32,
}

impl Segment {
    pub(crate) fn new() -> Self {
        let switch = Host::new();
        switch.run(|inside| inside.add(LinkBridge::new(BRIDGE).up().build()));
        let ports = AtomicU32::new(0);
        Self { switch, ports }
    }

    /// A bridge that forwards multicast only to ports whose hosts have asked for it, and asks them to. It
    /// starts to filter once they have had the time to answer, a second here.
    pub(crate) fn snooping() -> Self {
        let segment = Self::new();
        segment.switch.run(|inside| {
            let hundredths = 100;
            let waiting = LinkBridge::new(BRIDGE).mcast_query_response_interval(hundredths);
            let asking = LinkBridge::new(BRIDGE).mcast_snooping(true).mcast_querier(true);
            for bridge in [waiting, asking] {
                let change = inside.kernel().link().change(bridge.build()).execute();
                inside.block_on(change).expect("the bridge can snoop");
            }
        });
        segment
    }

    /// A bridge that forgets behind which port a station is when it has heard nothing from it for `ageing`.
    pub(crate) fn forgetful(ageing: Duration) -> Self {
        let segment = Self::new();
        segment.switch.run(move |inside| {
            let hundredths = (ageing.as_millis() / 10) as u32;
            let bridge = LinkBridge::new(BRIDGE).ageing_time(hundredths).build();
            let changed = inside.kernel().link().change(bridge).execute();
            inside.block_on(changed).expect("the bridge can forget");
        });
        segment
    }

    /// Plugs a host in: it gets `interface`, up and with the Ethernet address 02:00:00:00:`last two`.
    pub(crate) fn plug(&self, host: &Host, interface: &'static str, mac: [u8; 6]) -> Port<'_> {
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let (port, far) = (format!("port{number}"), format!("far{number}"));
        let namespace = host.namespace();
        let name = port.clone();
        self.switch.run(move |inside| {
            inside.add(LinkVeth::new(&port, &far).build());
            let bridge = inside.link(BRIDGE).header.index;
            inside.set(LinkUnspec::new_with_name(&port).controller(bridge).up().build());
            let far = inside.link(&far).header.index;
            let far = LinkUnspec::new_with_index(far);
            inside.set(
                far.name(interface)
                    .address(mac.to_vec())
                    .setns_by_fd(namespace)
                    .build(),
            );
        });
        host.set_up(interface, true);
        Port { segment: self, name }
    }

    /// A new host that is plugged in as `eth0`, with these addresses.
    pub(crate) fn host(&self, mac: [u8; 6], addresses: &[&str]) -> Host {
        let host = Host::new();
        self.plug(&host, "eth0", mac);
        for address in addresses {
            host.add_address("eth0", address);
        }
        host
    }
}

/// Where a host is plugged in.
pub(crate) struct Port<'a> {
    segment: &'a Segment,
    name: String,
}

impl Port<'_> {
    /// Pulls the cable, or puts it back: the host sees its carrier go and come.
    pub(crate) fn connect(&self, connected: bool) {
        let name = self.name.clone();
        self.segment.switch.run(move |inside| {
            let link = LinkUnspec::new_with_name(&name);
            inside.set(if connected { link.up() } else { link.down() }.build());
        });
    }
}

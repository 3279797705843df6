//! A host of its own: a thread that lives in a network namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::RouteScope;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

/// How long a condition may take; generous, since it is no measurement.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whoever is not root gets the capabilities of a namespace of his own.
pub(crate) fn enter_user_namespace() {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        return;
    }
    unshare(CloneFlags::CLONE_NEWUSER).expect("user namespaces are needed to test without root");
    std::fs::write("/proc/self/setgroups", "deny").expect("setgroups can be denied");
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("the user can be mapped");
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("the group can be mapped");
}

/// Waits until `condition` gives something.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

type Job = Box<dyn FnOnce(&Inside) + Send>;

/// A network namespace that ends with this value.
pub(crate) struct Host {
    jobs: mpsc::Sender<Job>,
    namespace: File,
}

/// What jobs find inside.
pub(crate) struct Inside {
    runtime: Runtime,
    kernel: Handle,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (entered, namespace) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces are needed");
            // Link-local addresses are usable at once; nobody else has them here.
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("IPv6 is there");
            let file = File::open("/proc/thread-self/ns/net").expect("the namespace has a file");
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            let kernel = runtime.block_on(async {
                let (connection, kernel, _) = rtnetlink::new_connection().expect("netlink");
                tokio::spawn(connection);
                kernel
            });
            let inside = Inside { runtime, kernel };
            entered.send(file).expect("the maker waits");
            inbox.iter().for_each(|job| job(&inside));
        });
        let namespace = namespace.recv().expect("the namespace was made");
        Self { jobs, namespace }
    }

    /// Runs `job` in the namespace; threads that it starts live there too.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce(&Inside) -> T + Send + 'static) -> T {
        let (reply, result) = mpsc::channel();
        let job = move |inside: &Inside| {
            let _ = reply.send(catch_unwind(AssertUnwindSafe(|| job(inside))));
        };
        self.jobs.send(Box::new(job)).expect("the host lives");
        result
            .recv()
            .expect("the job ends")
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    pub(crate) fn namespace(&self) -> RawFd {
        self.namespace.as_raw_fd()
    }

    pub(crate) fn add_address(&self, interface: &'static str, address: &str) {
        let net: IpNet = address.parse().expect("address and prefix length");
        self.run(move |inside| inside.add_address(interface, net, true));
    }

    /// Adds a route without a gateway.
    pub(crate) fn add_route(&self, interface: &'static str, destination: &str) {
        let net: Ipv4Net = destination.parse().expect("address and prefix length");
        self.run(move |inside| {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .output_interface(inside.link(interface).header.index)
                .scope(RouteScope::Link)
                .build();
            let added = inside.kernel.route().add(route).execute();
            inside.block_on(added).expect("the route can be added");
        });
    }

    /// Tells the neighbour table for good who has an address: nothing is asked about it any more.
    pub(crate) fn set_neighbour(&self, interface: &'static str, address: IpAddr, mac: [u8; 6]) {
        self.run(move |inside| {
            let index = inside.link(interface).header.index;
            let entry = inside.kernel.neighbours().add(index, address);
            let entry = entry.link_layer_address(&mac).state(NeighbourState::Permanent);
            inside
                .block_on(entry.replace().execute())
                .expect("the entry can be made");
        });
    }

    /// Leaves duplicate address detection on.
    pub(crate) fn add_address_with_dad(&self, interface: &'static str, address: &str) {
        let net: IpNet = address.parse().expect("address and prefix length");
        self.run(move |inside| inside.add_address(interface, net, false));
    }

    /// The flags of an address, if the host has it.
    pub(crate) fn address_flags(&self, address: IpAddr) -> Option<AddressFlags> {
        self.run(move |inside| inside.address_flags(address))
    }

    pub(crate) fn set_up(&self, interface: &'static str, up: bool) {
        self.run(move |inside| inside.set_up(interface, up));
    }

    pub(crate) fn index(&self, interface: &'static str) -> u32 {
        self.run(move |inside| inside.link(interface).header.index)
    }

    pub(crate) fn mac(&self, interface: &'static str) -> [u8; 6] {
        self.run(move |inside| {
            let found = inside
                .link(interface)
                .attributes
                .into_iter()
                .find_map(|attribute| {
                    if let LinkAttribute::Address(mac) = attribute {
                        mac.try_into().ok()
                    } else {
                        None
                    }
                });
            found.expect("an Ethernet address")
        })
    }

    pub(crate) fn set_mac(&self, interface: &'static str, mac: [u8; 6]) {
        self.run(move |inside| {
            let link = LinkUnspec::new_with_name(interface).address(mac.to_vec());
            inside.set(link.build());
        });
    }

    /// Makes the kernel look for `address`, as any program that sends there does.
    pub(crate) fn send_to(&self, address: IpAddr) {
        self.run(move |_| {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).expect("socket");
            // The kernel may report that the host was unreachable before; it tries again nevertheless.
            let _ = socket.send_to(b"x", (address, 9));
        });
    }

    /// What the kernel's neighbour table has for `address`.
    pub(crate) fn neighbour(&self, address: IpAddr) -> Option<[u8; 6]> {
        self.run(move |inside| inside.neighbour(address))
    }

    /// Sends to `address` until the neighbour table has it.
    pub(crate) fn resolve(&self, address: IpAddr) -> [u8; 6] {
        wait_for(&format!("{address} is resolved"), || {
            self.send_to(address);
            self.neighbour(address)
        })
    }
}

impl Inside {
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn kernel(&self) -> &Handle {
        &self.kernel
    }

    pub(crate) fn link(&self, name: &str) -> LinkMessage {
        let mut found = self.kernel.link().get().match_name(name.to_owned()).execute();
        let link = self.runtime.block_on(async { found.try_next().await });
        link.expect("links can be listed").expect("the link is there")
    }

    pub(crate) fn set(&self, change: LinkMessage) {
        let done = self.runtime.block_on(self.kernel.link().set(change).execute());
        done.expect("the link can be changed");
    }

    pub(crate) fn add(&self, link: LinkMessage) {
        self.try_add(link).expect("the link can be added");
    }

    pub(crate) fn try_add(&self, link: LinkMessage) -> Result<(), rtnetlink::Error> {
        self.runtime.block_on(self.kernel.link().add(link).execute())
    }

    pub(crate) fn delete(&self, interface: &str) {
        let index = self.link(interface).header.index;
        let done = self.runtime.block_on(self.kernel.link().del(index).execute());
        done.expect("the link can be deleted");
    }

    fn set_up(&self, interface: &str, up: bool) {
        let link = LinkUnspec::new_with_name(interface);
        self.set(if up { link.up() } else { link.down() }.build());
    }

    fn add_address(&self, interface: &str, net: IpNet, skip_dad: bool) {
        let index = self.link(interface).header.index;
        let mut request = self.kernel.address().add(index, net.addr(), net.prefix_len());
        if skip_dad && net.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.runtime
            .block_on(request.execute())
            .expect("the address can be added");
    }

    fn address_flags(&self, address: IpAddr) -> Option<AddressFlags> {
        let mut found = self.kernel.address().get().set_address_filter(address).execute();
        let message = self.runtime.block_on(async { found.try_next().await });
        let message = message.expect("addresses can be listed")?;
        message.attributes.into_iter().find_map(|attribute| {
            if let AddressAttribute::Flags(flags) = attribute {
                Some(flags)
            } else {
                None
            }
        })
    }

    fn neighbour(&self, address: IpAddr) -> Option<[u8; 6]> {
        let (family, wanted) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        let dump = self
            .kernel
            .neighbours()
            .get()
            .set_address_family(family)
            .execute();
        let entries: Vec<_> = self
            .runtime
            .block_on(dump.try_collect())
            .expect("neighbours can be listed");
        let entry = entries.into_iter().find(|entry| {
            entry
                .attributes
                .contains(&NeighbourAttribute::Destination(wanted.clone()))
        })?;
        entry.attributes.into_iter().find_map(|attribute| {
            if let NeighbourAttribute::LinkLayerAddress(mac) = attribute {
                mac.try_into().ok()
            } else {
                None
            }
        })
    }
}

//! ARP as MetalLB answers and announces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::Frame;
use herald_netio::{Frames, PacketSocket, Traffic};
use herald_netns::{Capture, MacAddr};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use tokio::time::Instant;

use crate::switch::LINK;

/// EtherType of ARP.
const ARP: u16 = 0x0806;
/// Between two rounds of a burst of announcements.
const ROUND: Duration = Duration::from_millis(1100);
/// How long a burst lasts after its last cause.
const BURST: Duration = Duration::from_secs(5);

type Addresses = Arc<Mutex<BTreeSet<Ipv4Addr>>>;

/// A burst of announcements.
struct Burst {
    next: Instant,
    end: Instant,
}

/// Answers for addresses, and announces them.
pub(super) struct Responder {
    mac: MacAddr,
    socket: PacketSocket,
    /// The addresses that a thread answers for.
    addresses: Addresses,
    bursts: BTreeMap<Ipv4Addr, Burst>,
}

impl Responder {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mac = getifaddrs()?.find_map(|entry| {
            let link = entry.address?.as_link_addr()?.addr()?;
            (entry.interface_name == LINK).then_some(MacAddr(link))
        });
        let mac = mac.context("the link has no Ethernet address")?;
        let index = if_nametoindex(LINK)?;
        let addresses = Addresses::default();
        // Bound to the EtherType, so that the kernel offers it no frame that this node sends.
        let receiver = Capture::everywhere(ARP)?;
        let sender = PacketSocket::open(index, Traffic::ArpReplies)?;
        let answered = Arc::clone(&addresses);
        std::thread::spawn(move || answer(&receiver, &sender, mac, &answered));
        Ok(Self {
            mac,
            socket: PacketSocket::open(index, Traffic::ArpReplies)?,
            addresses,
            bursts: BTreeMap::new(),
        })
    }

    /// Answers for these addresses and no others. Announces those that are new, or all of them.
    pub(super) fn set_addresses(&mut self, addresses: impl Iterator<Item = Ipv4Addr>, all: bool) {
        let addresses: BTreeSet<Ipv4Addr> = addresses.collect();
        let now = Instant::now();
        let mut answered = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        for &address in addresses
            .iter()
            .filter(|address| all || !answered.contains(address))
        {
            let next = now;
            let burst = self.bursts.entry(address).or_insert(Burst { next, end: now });
            burst.end = now + BURST;
        }
        self.bursts.retain(|address, _| addresses.contains(address));
        *answered = addresses;
    }

    /// Sends the announcements that are due.
    pub(super) fn send_due(&mut self) {
        let now = Instant::now();
        self.bursts.retain(|_, burst| burst.next < burst.end);
        for (&address, burst) in self.bursts.iter_mut().filter(|(_, burst)| burst.next <= now) {
            burst.next += ROUND;
            for operation in [Operation::Request, Operation::Reply] {
                let announcement = Arp {
                    operation,
                    sender_mac: self.mac,
                    sender_ip: address,
                    target_mac: MacAddr::BROADCAST,
                    target_ip: address,
                };
                send(&self.socket, &announcement, MacAddr::BROADCAST);
            }
        }
    }
}

/// Answers all requests to the node or to all nodes; neither the sender nor the kind of the request matters.
fn answer(receiver: &Capture, sender: &PacketSocket, mac: MacAddr, addresses: &Addresses) {
    let mut buffer = [0; 256];
    loop {
        // The link may be down for a while.
        let Ok(Some((_, length))) = receiver.receive(&mut buffer) else {
            continue;
        };
        let Ok(frame) = Frame::parse(&buffer[..length]) else {
            continue;
        };
        let is_for_us = [MacAddr::BROADCAST, mac].contains(&frame.destination);
        let Some(asked) = Arp::parse(frame.payload).ok().filter(|_| is_for_us) else {
            continue;
        };
        let addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.operation == Operation::Request && addresses.contains(&asked.target_ip) {
            let reply = Arp {
                operation: Operation::Reply,
                sender_mac: mac,
                sender_ip: asked.target_ip,
                target_mac: asked.sender_mac,
                target_ip: asked.sender_ip,
            };
            send(sender, &reply, asked.sender_mac);
        }
    }
}

fn send(socket: &PacketSocket, arp: &Arp, destination: MacAddr) {
    let mut frames = Frames::default();
    let pushed = frames.push(|frame| Ok::<_, ()>(((), arp.emit(destination, arp.sender_mac, frame))));
    if pushed.is_ok() {
        socket.send(&frames, |_, error| tracing::warn!("cannot send: {error}"));
    }
}

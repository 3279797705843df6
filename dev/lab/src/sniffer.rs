//! Which machine answers for which address, by the frames on the segment alone.
//!
//! It captures every ARP and NDP packet that crosses the switch, and asks for the addresses that are watched, as a client
//! would: ten times a second, so that silence means something.

mod sightings;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_l2::wire::ndp::{Ndp, Solicitation, solicited_node};
use herald_netio::{Frames, PacketSocket, Traffic};
use herald_netns::{Capture, MacAddr};

pub use self::sightings::{Contention, Sighting, Sightings};
use crate::clock::Monotonic;
use crate::plan;

/// Between two questions for an address: several of them in the second that two machines may answer for one.
pub const QUESTIONS: Duration = Duration::from_millis(100);
/// EtherTypes (IEEE 802 numbers).
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// How long a thread waits for a frame before it checks whether it should ask or stop.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Captures and asks until it is dropped.
pub struct Sniffer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    watched: Mutex<BTreeSet<IpAddr>>,
    sightings: Mutex<Vec<Sighting>>,
}

impl Sniffer {
    /// Starts to capture what the bridges with these indices, which are promiscuous, pass up in the calling thread's namespace.
    pub(crate) fn start(segments: &[u32]) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for (traffic, ethertype) in [(Traffic::Arp, ETHERTYPE_ARP), (Traffic::Ndp, ETHERTYPE_IPV6)] {
            let listener = Listener::open(traffic, ethertype, segments, Arc::clone(&shared));
            let listener = listener.context("cannot listen to the segment")?;
            threads.push(std::thread::spawn(move || listener.listen()));
        }
        Ok(Self { shared, threads })
    }

    /// Asks for these addresses, too, from now on.
    pub fn watch(&self, addresses: &[IpAddr]) {
        let watched = &self.shared.watched;
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.extend(addresses);
    }

    /// Asks for nothing more.
    pub fn watch_none(&self) {
        let watched = &self.shared.watched;
        watched.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All sightings so far.
    pub fn sightings(&self) -> Sightings {
        let sightings = &self.shared.sightings;
        let sightings = sightings.lock().unwrap_or_else(PoisonError::into_inner);
        Sightings::from(sightings.clone())
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic shows as silence.
            let _ = thread.join();
        }
    }
}

/// Captures and asks for one kind of traffic.
struct Listener {
    traffic: Traffic,
    capture: Capture,
    /// One for each segment, to ask.
    askers: Vec<PacketSocket>,
    shared: Arc<Shared>,
}

impl Listener {
    fn open(traffic: Traffic, ethertype: u16, segments: &[u32], shared: Arc<Shared>) -> anyhow::Result<Self> {
        let capture = Capture::everywhere(ethertype)?;
        capture.set_timeout(POLL_INTERVAL)?;
        let askers = segments.iter().map(|index| PacketSocket::open(*index, traffic));
        Ok(Self {
            traffic,
            capture,
            askers: askers.collect::<Result<_, _>>()?,
            shared,
        })
    }

    fn listen(self) {
        let mut frame = [0; 256];
        let mut asked = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            if asked.elapsed() >= QUESTIONS {
                asked = Instant::now();
                self.ask();
            }
            match self.capture.receive(&mut frame) {
                Ok(Some((segment, length))) => self.note(segment, &frame[..length]),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("the sniffer cannot receive: {error}");
                    return;
                }
            }
        }
    }

    fn note(&self, segment: usize, frame: &[u8]) {
        let Some((address, mac)) = answer(frame) else {
            return;
        };
        let sighting = Sighting {
            at: Monotonic::now(),
            segment,
            address,
            mac,
        };
        let sightings = &self.shared.sightings;
        sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sighting);
    }

    fn ask(&self) {
        let watched = &self.shared.watched;
        let watched = watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for asker in &self.askers {
            for &address in &watched {
                let mut frames = Frames::default();
                let question = |frame: &mut [u8]| question(self.traffic, address, frame).ok_or(());
                if frames
                    .push(|frame| question(frame).map(|length| ((), length)))
                    .is_ok()
                {
                    asker.send(&frames, |_, error| {
                        tracing::error!("the sniffer cannot ask: {error}")
                    });
                }
            }
        }
    }
}

/// Writes a request for `address` and returns its length, if `traffic` is of the address's family.
fn question(traffic: Traffic, address: IpAddr, frame: &mut [u8]) -> Option<usize> {
    let mac = plan::mac(plan::switch());
    match (traffic, address, plan::sniffer()) {
        (Traffic::Arp, IpAddr::V4(target_ip), [IpAddr::V4(sender_ip), _]) => {
            let arp = Arp {
                operation: Operation::Request,
                sender_mac: mac,
                sender_ip,
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            Some(arp.emit(MacAddr::BROADCAST, mac, frame))
        }
        (Traffic::Ndp, IpAddr::V6(target), [_, IpAddr::V6(source)]) => {
            let destination = solicited_node(target);
            let solicitation = Solicitation {
                source,
                destination,
                target,
                link_address: Some(mac),
            };
            Some(solicitation.emit(MacAddr::multicast(destination), mac, frame))
        }
        _ => None,
    }
}

/// The address that the sender of a frame has, by an answer or an announcement.
fn answer(frame: &[u8]) -> Option<(IpAddr, MacAddr)> {
    let frame = Frame::parse(frame).ok()?;
    match frame.ether_type {
        EtherType::Arp => {
            let arp = Arp::parse(frame.payload).ok()?;
            let is_said = arp.operation == Operation::Reply || arp.sender_ip == arp.target_ip;
            let is_address = arp.sender_ip != Ipv4Addr::UNSPECIFIED;
            (is_said && is_address).then_some((arp.sender_ip.into(), arp.sender_mac))
        }
        EtherType::Ipv6 => match Ndp::parse(frame.payload).ok()? {
            Ndp::Advertisement(advertisement) => {
                let mac = advertisement.link_address.unwrap_or(frame.source);
                Some((IpAddr::V6(advertisement.target), mac))
            }
            Ndp::Solicitation(_) => None,
        },
        EtherType::Other(_) => None,
    }
}

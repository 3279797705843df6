//! Other traffic on the link.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_l2::MacAddr;
use herald_l2::wire::arp::{Arp, Operation};
use herald_netio::frames::BATCH;
use herald_netio::{Frames, PacketSocket, Traffic};

use super::nth;

/// ARP requests a second in a storm.
const STORM: u32 = 100_000;

const OTHER_HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xe]);
const OTHER_HOSTS: Ipv4Addr = Ipv4Addr::new(10, 77, 150, 0);

/// The first of 16 384 unused addresses.
const UNUSED: Ipv4Addr = Ipv4Addr::new(10, 77, 128, 0);

/// Bytes of a datagram or a write.
const DATAGRAM: usize = 64;
const SEGMENT: usize = 64 << 10;

/// Threads that keep a link busy until this is dropped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    /// How much was sent, in the unit of the load.
    sent: Arc<AtomicU64>,
    since: Instant,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            sent: Arc::default(),
            since: Instant::now(),
            threads: Vec::new(),
        }
    }

    /// A hundred thousand ARP requests a second, for unused addresses, from the calling thread's namespace.
    pub(super) fn storm() -> anyhow::Result<Self> {
        let index = nix::net::if_::if_nametoindex("eth0").context("the link is gone")?;
        let mut socket = PacketSocket::open(index, Traffic::ArpReplies)?;
        // It only sends.
        socket.set_filter([])?;
        let mut load = Self::new();
        load.spawn(move |stop, sent| storm(&socket, stop, sent))?;
        Ok(load)
    }

    /// Small datagrams and a stream of large segments to `sink`, as fast as it goes, from the calling thread's namespace.
    pub(super) fn traffic(sink: SocketAddr) -> anyhow::Result<Self> {
        let mut load = Self::new();
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        datagrams.connect(sink)?;
        let mut stream = TcpStream::connect(sink).context("the sink is not there")?;
        load.spawn(move |stop, sent| {
            while !stop.load(Ordering::Relaxed) {
                // The sink may be closed.
                let length = datagrams.send(&[0; DATAGRAM]).unwrap_or(0);
                sent.fetch_add(length as u64, Ordering::Relaxed);
            }
            Ok(())
        })?;
        load.spawn(move |stop, sent| {
            let segment = vec![0; SEGMENT];
            while !stop.load(Ordering::Relaxed) {
                sent.fetch_add(stream.write(&segment)? as u64, Ordering::Relaxed);
            }
            Ok(())
        })?;
        Ok(load)
    }

    fn spawn(
        &mut self,
        run: impl FnOnce(&AtomicBool, &AtomicU64) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (stop, sent) = (Arc::clone(&self.stop), Arc::clone(&self.sent));
        let thread = std::thread::Builder::new().name("load".into());
        self.threads.push(thread.spawn(move || run(&stop, &sent))?);
        Ok(())
    }

    /// What was sent a second.
    pub(super) fn per_second(&self) -> f64 {
        self.sent.load(Ordering::Relaxed) as f64 / self.since.elapsed().as_secs_f64()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A load that failed shows in what was sent.
            let _ = thread.join();
        }
    }
}

fn storm(socket: &PacketSocket, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    let start = Instant::now();
    let mut number: u32 = 0;
    while !stop.load(Ordering::Relaxed) {
        frames.clear();
        for _ in 0..BATCH {
            number = number.wrapping_add(7919);
            let arp = Arp {
                operation: Operation::Request,
                sender_mac: OTHER_HOST,
                sender_ip: nth(OTHER_HOSTS, number % 251),
                target_mac: MacAddr::ZERO,
                target_ip: nth(UNUSED, number % 16_384),
            };
            frames.push(|buffer| anyhow::Ok(((), arp.emit(MacAddr::BROADCAST, OTHER_HOST, buffer))))?;
        }
        let mut refused = 0;
        socket.send(&frames, |_, _| refused += 1);
        let total = sent.fetch_add(BATCH as u64 - refused, Ordering::Relaxed) + BATCH as u64;
        let due = Duration::from_secs_f64(total as f64 / f64::from(STORM));
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// Receives and drops everything until its namespace ends.
pub(super) fn sink(address: SocketAddr) -> anyhow::Result<()> {
    let (listener, datagrams) = (TcpListener::bind(address)?, UdpSocket::bind(address)?);
    std::thread::spawn(move || {
        let mut buffer = vec![0; SEGMENT];
        for mut stream in listener.incoming().flatten() {
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    });
    std::thread::spawn(move || while datagrams.recv(&mut [0; DATAGRAM]).is_ok() {});
    Ok(())
}

//! A hostile host on the segment.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use herald_l2::wire::arp::{Arp, Operation};
use herald_l2::wire::ethernet::{EtherType, Frame};
use herald_netio::{Frames, PacketSocket, Traffic};
use herald_netns::{Capture, MacAddr};

use crate::plan;
use crate::switch::{Host, LINK, Switch};

/// A host on the segment that sends the frames that it likes.
pub struct HostileHost {
    /// The machine.
    pub host: Host,
}

/// An attack that goes on until it is dropped.
pub struct Attacker {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Attacker {
    fn start(body: impl FnOnce(&AtomicBool, &AtomicU64) + Send + 'static) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || body(&is_over, &count));
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    /// How many frames it has sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic shows as an attack that sent nothing.
            let _ = thread.join();
        }
    }
}

impl HostileHost {
    /// Plugs it into the switch.
    pub async fn attach(switch: &Switch) -> anyhow::Result<Self> {
        let [addresses, _] = plan::observers();
        let host = switch.attach("hostile", addresses).await?;
        Ok(Self { host })
    }

    async fn socket(&self) -> anyhow::Result<PacketSocket> {
        let index = self.host.links().index(LINK).await?;
        let open = move || PacketSocket::open(index, Traffic::Arp);
        Ok(self.host.netns().run(open).await?)
    }

    /// Broadcasts what `packet` makes of the number of the frame.
    pub async fn send_every(
        &self,
        interval: Duration,
        packet: impl Fn(u64) -> Arp + Send + 'static,
    ) -> anyhow::Result<Attacker> {
        let (socket, source) = (self.socket().await?, self.host.mac());
        Ok(Attacker::start(move |is_over, sent| {
            while !is_over.load(Ordering::Relaxed) {
                let count = sent.load(Ordering::Relaxed);
                if send(&socket, &packet(count), MacAddr::BROADCAST, source) {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(interval);
            }
        }))
    }

    /// Answers each request and probe for `target` from the MAC address that `mac` makes of the number of the answer.
    pub async fn answer(
        &self,
        target: Ipv4Addr,
        mac: impl Fn(u64) -> MacAddr + Send + 'static,
    ) -> anyhow::Result<Attacker> {
        let socket = self.socket().await?;
        let capture = self.host.netns().run(|| Capture::on(LINK)).await?;
        capture.set_timeout(Duration::from_millis(50))?;
        let source = self.host.mac();
        Ok(Attacker::start(move |is_over, sent| {
            let mut frame = [0; 256];
            while !is_over.load(Ordering::Relaxed) {
                let Ok(Some((_, length))) = capture.receive(&mut frame) else {
                    continue;
                };
                let Some(asked) = request(&frame[..length]).filter(|arp| arp.target_ip == target) else {
                    continue;
                };
                let reply = Arp {
                    operation: Operation::Reply,
                    sender_mac: mac(sent.load(Ordering::Relaxed)),
                    sender_ip: target,
                    target_mac: asked.sender_mac,
                    target_ip: asked.sender_ip,
                };
                if send(&socket, &reply, asked.sender_mac, source) {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }))
    }
}

/// The ARP request in a frame of another machine.
fn request(frame: &[u8]) -> Option<Arp> {
    let frame = Frame::parse(frame).ok()?;
    let is_arp = frame.ether_type == EtherType::Arp;
    let arp = is_arp.then(|| Arp::parse(frame.payload).ok()).flatten()?;
    (arp.operation == Operation::Request && arp.sender_ip != arp.target_ip).then_some(arp)
}

/// The Ethernet source is that of the host, so that the switch learns nothing wrong: port security is not what is tested.
fn send(socket: &PacketSocket, arp: &Arp, destination: MacAddr, source: MacAddr) -> bool {
    let mut frames = Frames::default();
    let pushed = frames.push(|frame| Ok::<_, ()>(((), arp.emit(destination, source, frame))));
    let mut is_sent = pushed.is_ok();
    socket.send(&frames, |_, _| is_sent = false);
    is_sent
}

/// An ARP probe (RFC 5227 section 2.1.1).
pub const fn probe(mac: MacAddr, target: Ipv4Addr) -> Arp {
    Arp {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: MacAddr::ZERO,
        target_ip: target,
    }
}

/// An ARP announcement (RFC 5227 section 2.3).
pub const fn claim(mac: MacAddr, address: Ipv4Addr) -> Arp {
    Arp {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: address,
        target_mac: MacAddr::ZERO,
        target_ip: address,
    }
}

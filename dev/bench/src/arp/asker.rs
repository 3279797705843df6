//! A client that sends requests and measures the time until the answers.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_l2::MacAddr;
use herald_l2::wire::arp::{Arp, Operation};
use herald_netio::frames::BATCH;
use herald_netio::{Frames, PacketSocket, Poller, Traffic};

use super::nth;

/// A reply that takes longer is lost.
pub(super) const DEADLINE: Duration = Duration::from_millis(200);

/// Requests say that they come from this address plus the number of the request under way, so that replies can be
/// told apart.
const ASKER: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 0);

/// Asks for addresses, keeping a number of requests under way.
pub(crate) struct Asker {
    socket: PacketSocket,
    poller: Poller,
    /// The MAC address of `eth0`: replies to others do not pass the socket.
    mac: MacAddr,
    targets: Vec<Ipv4Addr>,
    /// When the request of each number was sent.
    sent: Vec<Option<Instant>>,
    next: usize,
}

/// The answers of one measurement.
pub(crate) struct Answers {
    pub(crate) per_second: f64,
    /// Of each request that was answered.
    pub(crate) microseconds: Vec<f64>,
    pub(crate) lost: usize,
}

impl Asker {
    /// A client on `eth0` of the calling thread's namespace.
    pub(crate) fn new(outstanding: usize, mac: MacAddr, targets: Vec<Ipv4Addr>) -> anyhow::Result<Self> {
        let index = nix::net::if_::if_nametoindex("eth0").context("the link is gone")?;
        let socket = PacketSocket::open(index, Traffic::ArpReplies)?;
        let poller = Poller::new()?;
        poller.add(&socket, 0)?;
        Ok(Self {
            socket,
            poller,
            mac,
            targets,
            sent: vec![None; outstanding],
            next: 0,
        })
    }

    /// Asks for so long; the first tenth of the time only warms up.
    pub(crate) fn ask(mut self, duration: Duration) -> anyhow::Result<Answers> {
        let (mut requests, mut replies) = (Frames::default(), Frames::default());
        let start = Instant::now();
        let warm = start + duration / 10;
        let end = start + duration;
        let (mut microseconds, mut lost) = (Vec::new(), 0);
        let mut free: Vec<usize> = (0..self.sent.len()).collect();
        loop {
            self.send(&mut free, &mut requests)?;
            if self.socket.receive(&mut replies)? == 0 {
                self.poller.wait(Some(DEADLINE))?.count();
            }
            let now = Instant::now();
            for reply in replies.iter() {
                let Some(number) = self.number(reply) else {
                    continue;
                };
                let Some(sent) = self.sent[number].take() else {
                    continue;
                };
                free.push(number);
                if now >= warm {
                    microseconds.push((now - sent).as_secs_f64() * 1e6);
                }
            }
            for (number, sent) in self.sent.iter_mut().enumerate() {
                if sent.take_if(|sent| now - *sent > DEADLINE).is_some() {
                    free.push(number);
                    lost += 1;
                }
            }
            if now >= end {
                let per_second = microseconds.len() as f64 / (now - warm).as_secs_f64();
                return Ok(Answers {
                    per_second,
                    microseconds,
                    lost,
                });
            }
        }
    }

    fn send(&mut self, free: &mut Vec<usize>, requests: &mut Frames) -> anyhow::Result<()> {
        while !free.is_empty() {
            requests.clear();
            while let Some(number) = (requests.len() < BATCH).then(|| free.pop()).flatten() {
                let arp = self.request(number);
                requests.push(|buffer| anyhow::Ok(((), arp.emit(MacAddr::BROADCAST, self.mac, buffer))))?;
                self.sent[number] = Some(Instant::now());
            }
            let mut refused = None;
            self.socket.send(requests, |_, error| refused = Some(error));
            if let Some(error) = refused {
                return Err(error).context("cannot send a request");
            }
        }
        Ok(())
    }

    fn request(&mut self, number: usize) -> Arp {
        // A stride that visits all addresses, and not in the order in which they are kept.
        self.next = (self.next + 7919) % self.targets.len();
        Arp {
            operation: Operation::Request,
            sender_mac: self.mac,
            sender_ip: nth(ASKER, number as u32),
            target_mac: MacAddr::ZERO,
            target_ip: self.targets[self.next],
        }
    }

    /// Which request a reply answers; announcements answer none.
    fn number(&self, reply: &[u8]) -> Option<usize> {
        let target = reply.get(38..42)?.try_into().map(u32::from_be_bytes).ok()?;
        let number = target.checked_sub(ASKER.to_bits())? as usize;
        (number < self.sent.len()).then_some(number)
    }
}

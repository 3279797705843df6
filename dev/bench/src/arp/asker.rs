//! A client that sends requests and measures the time until the answers.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use herald_l2::MacAddr;
use herald_l2::wire::arp::{Arp, Operation};
use herald_netio::frames::BATCH;
use herald_netio::{Frames, PacketSocket, Poller, Traffic};

use super::{CLIENT, nth};

/// How long one measurement lasts; the first tenth of it only warms up.
const DURATION: Duration = Duration::from_millis(500);

/// A reply that takes longer is lost.
pub(super) const DEADLINE: Duration = Duration::from_millis(200);

/// Requests say that they come from this address plus the number of the request under way, so that replies can be
/// told apart.
const ASKER: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 0);

/// Asks for addresses, keeping a number of requests under way.
pub(super) struct Asker {
    socket: PacketSocket,
    poller: Poller,
    first: Ipv4Addr,
    addresses: u32,
    /// When the request of each number was sent.
    sent: Vec<Option<Instant>>,
    next: u32,
}

/// The answers of one measurement.
pub(super) struct Answers {
    pub(super) per_second: f64,
    /// Of each request that was answered.
    pub(super) microseconds: Vec<f64>,
    pub(super) lost: usize,
}

impl Asker {
    pub(super) fn new(outstanding: usize, first: Ipv4Addr, addresses: u32) -> anyhow::Result<Self> {
        let index = nix::net::if_::if_nametoindex("eth0").context("the link is gone")?;
        let socket = PacketSocket::open(index, Traffic::ArpReplies)?;
        let poller = Poller::new()?;
        poller.add(&socket, 0)?;
        Ok(Self {
            socket,
            poller,
            first,
            addresses,
            sent: vec![None; outstanding],
            next: 0,
        })
    }

    pub(super) fn ask(mut self) -> anyhow::Result<Answers> {
        let (mut requests, mut replies) = (Frames::default(), Frames::default());
        let start = Instant::now();
        let warm = start + DURATION / 10;
        let end = start + DURATION;
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
                requests.push(|buffer| anyhow::Ok(((), arp.emit(MacAddr::BROADCAST, CLIENT, buffer))))?;
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
        self.next = (self.next + 7919) % self.addresses;
        Arp {
            operation: Operation::Request,
            sender_mac: CLIENT,
            sender_ip: nth(ASKER, number as u32),
            target_mac: MacAddr::ZERO,
            target_ip: nth(self.first, self.next),
        }
    }

    /// Which request a reply answers; announcements answer none.
    fn number(&self, reply: &[u8]) -> Option<usize> {
        let target = reply.get(38..42)?.try_into().map(u32::from_be_bytes).ok()?;
        let number = target.checked_sub(ASKER.to_bits())? as usize;
        (number < self.sent.len()).then_some(number)
    }
}

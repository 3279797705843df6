//! How fast addresses are answered for: Herald's wire thread beside the kernel's own responder and beside a bare
//! loop around a packet socket, all on the same veth pair in the same run.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use herald_l2::MacAddr;
use herald_l2::wire::arp::{Arp, FRAME_LENGTH, Operation};
use herald_netio::frames::BATCH;
use herald_netio::{Frames, Links, PacketSocket, Poller, Traffic};
use herald_speaker::wire::{Announcement, Options, Wire};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use prometheus::Registry;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use socket2::{Domain, Protocol, Socket, Type};

use super::Figure;
use crate::net::Netns;

/// How long one measurement lasts; the first tenth of it only warms up.
const DURATION: Duration = Duration::from_millis(500);

/// A reply that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// Requests under way at a time.
const OUTSTANDING: [usize; 3] = [1, 16, 64];

/// Addresses that Herald answers for; its figures should not depend on it.
const ADDRESSES: [u32; 2] = [1, 10_000];

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const OWNER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);

/// The owner's own address, which its kernel answers for.
const KERNELS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The first of the announced addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 64, 0);

/// Requests say that they come from this address plus the number of the request under way, so that replies can be
/// told apart.
const ASKER: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 0);

/// Measures everything `runs` times and tells each figure as soon as it is known.
///
/// # Errors
/// When namespaces or sockets cannot be had, or nobody answers.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let stage = Stage::set_up().await?;
    stage.measure("kernel", 1, KERNELS, runs, emit).await?;
    {
        let _responder = stage.owner.run(Bare::start).await?;
        stage.measure("bare", 1, FIRST, runs, emit).await?;
    }
    for addresses in ADDRESSES {
        let _responder = stage.announce(addresses).await?;
        stage.measure("herald", addresses, FIRST, runs, emit).await?;
    }
    Ok(())
}

/// Two hosts at the two ends of a veth pair.
struct Stage {
    client: Netns,
    owner: Netns,
}

impl Stage {
    async fn set_up() -> anyhow::Result<Self> {
        let (client, owner) = (Netns::new("client")?, Netns::new("owner")?);
        let (connection, kernel, _) = client.run(rtnetlink::new_connection).await?;
        tokio::spawn(connection);
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name("eth0")
            .address(OWNER.0.to_vec())
            .append_extra_attribute(LinkAttribute::NetNsFd(owner.as_raw_fd()))
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new("eth0", "eth0")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .address(CLIENT.0.to_vec())
            .up()
            .build();
        kernel
            .link()
            .add(pair)
            .execute()
            .await
            .context("cannot add a veth pair")?;
        let links = owner.links().await?;
        links.add_address("eth0", IpAddr::V4(KERNELS), 16).await?;
        links.set_up("eth0", true).await?;
        Ok(Self { client, owner })
    }

    /// Lets Herald announce this many addresses, and waits until the burst is over.
    async fn announce(&self, addresses: u32) -> anyhow::Result<Wire> {
        let registry = Registry::new();
        let (wire, mut links) = self
            .owner
            .run({
                let registry = registry.clone();
                move || anyhow::Ok((Wire::start(Options::default(), &registry)?, Links::open()?))
            })
            .await?;
        wire.set_interfaces(links.next().await?);
        for number in 0..addresses {
            let address = IpAddr::V4(nth(FIRST, number));
            let interfaces = Some(BTreeSet::from(["eth0".to_owned()]));
            wire.announce(Announcement { address, interfaces });
        }
        // Six rounds of a request and a reply.
        let burst = f64::from(addresses) * 12.0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while announced(&registry) < burst {
            ensure!(Instant::now() < deadline, "the addresses are not announced");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(wire)
    }

    async fn measure(
        &self,
        subject: &'static str,
        addresses: u32,
        first: Ipv4Addr,
        runs: usize,
        emit: &mut dyn FnMut(Figure),
    ) -> anyhow::Result<()> {
        self.wait_for_answers(first, addresses)
            .await
            .with_context(|| format!("{subject} does not answer"))?;
        for outstanding in OUTSTANDING {
            let mut rates = Vec::new();
            let mut latencies = Vec::new();
            for _ in 0..runs {
                let answers = self.ask(outstanding, first, addresses).await;
                let answers = answers.with_context(|| format!("{subject} lost a request"))?;
                rates.push(answers.per_second);
                latencies.extend(answers.microseconds);
            }
            let case = format!("outstanding={outstanding} addresses={addresses}");
            for (metric, unit, samples) in
                [("answers_per_second", "1/s", rates), ("latency", "us", latencies)]
            {
                let figure = Figure::of("arp", subject, metric, unit, &samples);
                figure
                    .map(|figure| figure.in_case(&case))
                    .into_iter()
                    .for_each(&mut *emit);
            }
        }
        Ok(())
    }

    async fn ask(&self, outstanding: usize, first: Ipv4Addr, addresses: u32) -> anyhow::Result<Answers> {
        let ask = move || Asker::new(outstanding, first, addresses)?.ask();
        self.client.run(ask).await
    }

    /// A link carries frames only some time after both its ends are up.
    async fn wait_for_answers(&self, first: Ipv4Addr, addresses: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answers = self.ask(1, first, addresses).await;
            if answers.is_ok() || Instant::now() > deadline {
                return answers.map(drop);
            }
        }
    }
}

fn nth(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}

fn announced(registry: &Registry) -> f64 {
    let families = registry.gather();
    let sent = families
        .iter()
        .filter(|family| family.name() == "metallb_layer2_gratuitous_sent");
    sent.flat_map(|family| family.get_metric())
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

/// Asks for addresses, keeping a number of requests under way.
struct Asker {
    socket: PacketSocket,
    poller: Poller,
    first: Ipv4Addr,
    addresses: u32,
    /// When the request of each number was sent.
    sent: Vec<Option<Instant>>,
    next: u32,
}

struct Answers {
    per_second: f64,
    microseconds: Vec<f64>,
}

impl Asker {
    fn new(outstanding: usize, first: Ipv4Addr, addresses: u32) -> anyhow::Result<Self> {
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

    fn ask(mut self) -> anyhow::Result<Answers> {
        let (mut requests, mut replies) = (Frames::default(), Frames::default());
        let start = Instant::now();
        let warm = start + DURATION / 10;
        let end = start + DURATION;
        let mut microseconds = Vec::new();
        let mut free: Vec<usize> = (0..self.sent.len()).collect();
        let mut last_answer = start;
        loop {
            self.send(&mut free, &mut requests)?;
            if self.socket.receive(&mut replies)? == 0 {
                self.poller.wait(Some(PATIENCE))?.count();
                ensure!(last_answer.elapsed() < PATIENCE, "no answer within {PATIENCE:?}");
                continue;
            }
            let now = Instant::now();
            for reply in replies.iter() {
                let Some(number) = self.number(reply) else {
                    continue;
                };
                let Some(sent) = self.sent[number].take() else {
                    continue;
                };
                last_answer = now;
                free.push(number);
                if now >= warm {
                    microseconds.push((now - sent).as_secs_f64() * 1e6);
                }
            }
            if now >= end {
                let per_second = microseconds.len() as f64 / (now - warm).as_secs_f64();
                return Ok(Answers {
                    per_second,
                    microseconds,
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

/// What user space can do at best: receive, swap, send, one frame at a time, and no question asked.
struct Bare {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bare {
    fn start() -> anyhow::Result<Self> {
        let protocol = Protocol::from(i32::from(0x0806_u16.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        let mut interfaces = nix::ifaddrs::getifaddrs()?;
        let address = interfaces.find_map(|entry| {
            let link = entry.address?.as_link_addr().copied()?;
            (entry.interface_name == "eth0").then_some(link)
        });
        nix::sys::socket::bind(socket.as_raw_fd(), &address.context("the link is gone")?)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || answer_everything(socket, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic shows as a missing answer.
            let _ = thread.join();
        }
    }
}

fn answer_everything(mut socket: Socket, stop: &AtomicBool) {
    let mut frame = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        if !socket.read(&mut frame).is_ok_and(|length| length >= 42) || frame[21] != 1 {
            continue;
        }
        let asked: [u8; 4] = [frame[38], frame[39], frame[40], frame[41]];
        frame.copy_within(22..32, 32);
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&OWNER.0);
        frame[21] = 2;
        frame[22..28].copy_from_slice(&OWNER.0);
        frame[28..32].copy_from_slice(&asked);
        // A refused frame shows as a missing answer.
        let _ = socket.write(&frame[..FRAME_LENGTH]);
    }
}

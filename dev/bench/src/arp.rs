//! The rate and latency of ARP answers: Herald's wire thread beside the kernel's own responder and beside a bare
//! loop around a packet socket, all on the same veth pair in the same run. Alone, in a storm of requests for others, on
//! a link that carries other traffic, and while thousands of addresses move.

pub(crate) mod asker;
pub(crate) mod bare;
mod load;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use herald_l2::MacAddr;
use herald_netio::InterfaceWatch;
use herald_netns::Netns;
use herald_speaker::wire::{Announcement, Command, Wire, WireOptions};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use prometheus::Registry;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use self::asker::{Answers, Asker};
use self::bare::Bare;
use self::load::Load;
use super::Figure;
use super::cpu::Cpu;

/// Requests under way at a time.
const OUTSTANDING: [usize; 3] = [1, 16, 64];

/// Addresses that Herald answers for; its figures should not depend on it.
const ADDRESSES: [u32; 3] = [1, 1_000, 10_000];

/// How long one measurement lasts.
const DURATION: Duration = Duration::from_millis(500);

/// How long an idle thread is watched.
const IDLE: Duration = Duration::from_secs(1);

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const OWNER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);

/// The owner's own address, which its kernel answers for.
const KERNELS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The port on which the owner receives and drops everything.
const SINK: u16 = 9;

/// The first of the announced addresses.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 64, 0);

/// Measures everything `runs` times and emits each figure as soon as it is known.
///
/// # Errors
/// When namespaces or sockets cannot be made, or no machine answers.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let stage = Stage::set_up().await?;
    let mut bench = Bench { stage, runs, emit };
    bench.measure(&Subject::kernel()).await?;
    {
        let _responder = bench.stage.owner.run(Bare::start).await?;
        bench.measure(&Subject::bare()).await?;
    }
    for addresses in ADDRESSES {
        let announced = bench.stage.announce(addresses).await?;
        announced.settle().await?;
        let subject = Subject::herald(addresses);
        bench.measure(&subject).await?;
        bench.idle(&subject).await?;
    }
    bench.moving().await
}

/// The responder that is measured.
struct Subject {
    name: &'static str,
    /// Its thread, unless it is the kernel.
    thread: Option<&'static str>,
    first: Ipv4Addr,
    addresses: u32,
}

impl Subject {
    const fn kernel() -> Self {
        Self {
            name: "kernel",
            thread: None,
            first: KERNELS,
            addresses: 1,
        }
    }

    const fn bare() -> Self {
        Self {
            name: "bare",
            thread: Some("bare"),
            first: FIRST,
            addresses: 1,
        }
    }

    const fn herald(addresses: u32) -> Self {
        Self {
            name: "herald",
            thread: Some("wire"),
            first: FIRST,
            addresses,
        }
    }
}

struct Bench<'a> {
    stage: Stage,
    runs: usize,
    emit: &'a mut dyn FnMut(Figure),
}

impl Bench<'_> {
    /// Alone on the link, then in a storm.
    async fn measure(&mut self, subject: &Subject) -> anyhow::Result<()> {
        self.stage
            .wait_for_answers(subject)
            .await
            .with_context(|| format!("{} does not answer", subject.name))?;
        for outstanding in OUTSTANDING {
            let (mut rates, mut latencies) = (Vec::new(), Vec::new());
            for _ in 0..self.runs {
                let answers = self.stage.ask(outstanding, subject).await?;
                ensure!(answers.lost == 0, "{} lost a request", subject.name);
                rates.push(answers.per_second);
                latencies.extend(answers.microseconds);
            }
            let case = format!("outstanding={outstanding} addresses={}", subject.addresses);
            self.emit_figure(subject.name, &case, "answers_per_second", "1/s", &rates);
            self.emit_figure(subject.name, &case, "latency", "us", &latencies);
        }
        self.storm(subject).await
    }

    /// One request at a time beside a hundred thousand a second for others.
    async fn storm(&mut self, subject: &Subject) -> anyhow::Result<()> {
        let storm = self.stage.client.run(Load::storm).await?;
        let (mut latencies, mut lost, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let cpu = subject.thread.map(Cpu::of).transpose()?;
            let answers = self.stage.ask(1, subject).await?;
            latencies.extend(answers.microseconds);
            lost.push(answers.lost as f64);
            used.extend(cpu.map(|cpu| cpu.percent()).transpose()?);
        }
        let case = format!("storm addresses={}", subject.addresses);
        self.emit_figure(subject.name, &case, "latency", "us", &latencies);
        self.emit_figure(subject.name, &case, "lost", "requests", &lost);
        self.emit_figure(subject.name, &case, "cpu", "%", &used);
        // What the storm alone costs.
        let mut used = Vec::new();
        for _ in 0..self.runs {
            let cpu = subject.thread.map(Cpu::of).transpose()?;
            tokio::time::sleep(IDLE).await;
            used.extend(cpu.map(|cpu| cpu.percent()).transpose()?);
        }
        let case = format!("storm unasked addresses={}", subject.addresses);
        self.emit_figure(subject.name, &case, "cpu", "%", &used);
        let rate = [storm.per_second()];
        self.emit_figure("storm", subject.name, "requests_per_second", "1/s", &rate);
        Ok(())
    }

    /// Measures the processor time of the thread when nothing happens, and beside other traffic.
    async fn idle(&mut self, subject: &Subject) -> anyhow::Result<()> {
        for busy in [false, true] {
            let traffic = || Load::traffic(SocketAddr::from((KERNELS, SINK)));
            let traffic = if busy {
                Some(self.stage.client.run(traffic).await?)
            } else {
                None
            };
            let mut used = Vec::new();
            for _ in 0..self.runs {
                let cpu = subject.thread.map(Cpu::of).transpose()?;
                tokio::time::sleep(IDLE).await;
                used.extend(cpu.map(|cpu| cpu.percent()).transpose()?);
            }
            let case = if busy { "traffic" } else { "idle" };
            let case = format!("{case} addresses={}", subject.addresses);
            self.emit_figure(subject.name, &case, "cpu", "%", &used);
            if let Some(traffic) = traffic {
                let rate = [traffic.per_second()];
                self.emit_figure("traffic", &case, "bytes_per_second", "1/s", &rate);
            }
        }
        Ok(())
    }

    /// One request at a time for an active address, while ten thousand others are announced at once.
    async fn moving(&mut self) -> anyhow::Result<()> {
        let (mut latencies, mut lost) = (Vec::new(), Vec::new());
        let one = Subject::herald(1);
        for _ in 0..self.runs {
            let mut announced = self.stage.announce(1).await?;
            announced.settle().await?;
            self.stage.wait_for_answers(&one).await?;
            announced.announce(9_999);
            let answers = self.stage.ask(1, &one).await?;
            ensure!(
                announced.is_under_way(),
                "the addresses moved before anything was measured"
            );
            latencies.extend(answers.microseconds);
            lost.push(answers.lost as f64);
        }
        let case = "moving addresses=10000";
        self.emit_figure("herald", case, "latency", "us", &latencies);
        self.emit_figure("herald", case, "lost", "requests", &lost);
        Ok(())
    }

    fn emit_figure(
        &mut self,
        subject: &'static str,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        samples: &[f64],
    ) {
        let figure = Figure::of("arp", subject, metric, unit, samples);
        figure
            .map(|figure| figure.in_case(case))
            .into_iter()
            .for_each(&mut *self.emit);
    }
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
        let links = client.links().await?;
        links.add_address("eth0", IpAddr::V4(CLIENTS), 16).await?;
        owner
            .run(|| load::sink(SocketAddr::from((KERNELS, SINK))))
            .await?;
        Ok(Self { client, owner })
    }

    /// Lets Herald announce this many addresses.
    async fn announce(&self, addresses: u32) -> anyhow::Result<Announced> {
        let registry = Registry::new();
        let (wire, mut links) = self
            .owner
            .run({
                let registry = registry.clone();
                move || {
                    anyhow::Ok((
                        Wire::start(WireOptions::default(), &registry)?,
                        InterfaceWatch::open()?,
                    ))
                }
            })
            .await?;
        wire.set_interfaces(links.next().await?);
        let mut announced = Announced {
            wire,
            registry,
            addresses: 0,
        };
        announced.announce(addresses);
        Ok(announced)
    }

    async fn ask(&self, outstanding: usize, subject: &Subject) -> anyhow::Result<Answers> {
        let addresses = (0..subject.addresses).map(|number| nth(subject.first, number));
        let addresses = addresses.collect();
        let ask = move || Asker::new(outstanding, CLIENT, addresses)?.ask(DURATION);
        self.client.run(ask).await
    }

    /// A link carries frames only some time after both its ends are up.
    async fn wait_for_answers(&self, subject: &Subject) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.ask(1, subject).await?.lost > 0 {
            ensure!(Instant::now() < deadline, "no answer");
        }
        Ok(())
    }
}

/// Herald, and what it counts.
struct Announced {
    wire: Wire,
    registry: Registry,
    addresses: u32,
}

impl Announced {
    /// Announces this many addresses more.
    fn announce(&mut self, addresses: u32) {
        for number in self.addresses..self.addresses + addresses {
            let address = IpAddr::V4(nth(FIRST, number));
            let interfaces = Some(BTreeSet::from(["eth0".to_owned()]));
            let announcement = Announcement { address, interfaces };
            self.wire.send(Command::Announce(announcement));
        }
        self.addresses += addresses;
    }

    /// Whether a burst is not over: it has six rounds of a request and a reply.
    fn is_under_way(&self) -> bool {
        let families = self.registry.gather();
        let sent = families
            .iter()
            .filter(|family| family.name() == "metallb_layer2_gratuitous_sent");
        let sent = sent.flat_map(|family| family.get_metric());
        let sent: f64 = sent.map(|metric| metric.get_counter().get_value()).sum();
        sent < f64::from(self.addresses) * 12.0
    }

    /// Waits until all bursts are over.
    async fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.is_under_way() {
            ensure!(Instant::now() < deadline, "the addresses are not announced");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn nth(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}

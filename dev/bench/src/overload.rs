//! Speakers that get too little processor time: what they answer, beside a bare loop in the same place, and whether addresses
//! move although all nodes live.
//!
//! * `limit`: each speaker shares a tenth of a processor with a process that uses all that it gets.
//! * `load`: sixteen busy processes for each processor, all of which run before the speakers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use herald_netns::{MacAddr, Netns, wait_for};
use rustix::process::setpriority_process;
use tokio::process::Command;

use super::arp::asker::{Answers, Asker};
use super::arp::bare::Bare;
use super::{Figure, services};
use herald_lab::Lab;
use herald_lab::clock::Monotonic;
use herald_lab::cpu_limit::CpuLimit;
use herald_lab::process::{self, Process, die_with_parent};
use herald_lab::sniffer::{Sighting, Sightings};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct OverloadArgs {
    /// Number of addresses under full load, on three nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    addresses: u16,
}

/// First argument of a process that is a bare loop instead of a benchmark.
const COMMAND: &str = "answer";
/// Addresses under a CPU limit: few, so that announcements use no processor time.
const LIMITED: u16 = 100;
/// Thousandths of a processor for a speaker: the usual request of a small container.
const MILLIS: u32 = 100;
/// Busy processes for each processor.
const BUSY: usize = 16;
/// The nice value of the busy processes, which run before all others with it.
const NICER: &str = "-5";
/// The nice value of the client.
const CLIENT_NICE: i32 = -10;
/// Requests under way at a time.
const OUTSTANDING: usize = 16;
/// How long is asked; longer than an election takes.
const DURATION: Duration = Duration::from_secs(20);
/// From the last announcement until the bursts are over (4.4 s), and everybody has been checked once.
const SETTLE: Duration = Duration::from_secs(10);
/// Longer than a bare loop takes to start on a machine under load.
const DEADLINE: Duration = Duration::from_secs(60);
/// Probes that ended without an answer: one for each address that a speaker takes.
const TAKEN: &str = "herald_layer2_probes_total{result=\"silence\"}";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overload {
    Limit,
    Load,
}

/// What one run showed.
struct Sample {
    herald: f64,
    bare: f64,
    /// Addresses that a speaker took although all speakers lived.
    taken: f64,
    /// How often an address was seen at another machine than before.
    moves: f64,
}

/// Measures `runs` times.
pub async fn run(args: OverloadArgs, runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    ensure!(
        CpuLimit::new(MILLIS).is_ok(),
        "limits of processor time and lower nice values need root"
    );
    for (overload, addresses) in [(Overload::Limit, LIMITED), (Overload::Load, args.addresses)] {
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.push(measure(overload, addresses.into()).await?);
        }
        let case = match overload {
            Overload::Limit => format!("limit {MILLIS}m, {addresses} addresses"),
            Overload::Load => format!("load, {addresses} addresses"),
        };
        let figure = |subject, metric, unit, pick: fn(&Sample) -> f64| {
            let samples: Vec<f64> = samples.iter().map(pick).collect();
            Figure::of("overload", subject, metric, unit, &samples)
        };
        let figures = [
            figure("herald", "answers_per_second", "1/s", |sample| sample.herald),
            figure("bare", "answers_per_second", "1/s", |sample| sample.bare),
            figure("herald", "share_of_bare", "%", |sample| {
                100.0 * sample.herald / sample.bare
            }),
            figure("herald", "taken", "addresses", |sample| sample.taken),
            figure("herald", "moves", "addresses", |sample| sample.moves),
        ];
        for figure in figures.into_iter().flatten() {
            emit(figure.in_case(case.clone()));
        }
    }
    Ok(())
}

/// Runs the bare loop until it is killed, if this process was started for it.
pub(crate) fn enter_bare(mut arguments: impl Iterator<Item = String>) -> Option<anyhow::Result<()>> {
    let is_bare = arguments.nth(1).is_some_and(|argument| argument == COMMAND);
    is_bare.then(|| {
        die_with_parent()?;
        let _answering = Bare::start()?;
        loop {
            std::thread::park();
        }
    })
}

async fn measure(overload: Overload, addresses: usize) -> anyhow::Result<Sample> {
    let mut lab = Lab::builder().start().await?;
    match measure_in(&mut lab, overload, addresses).await {
        Ok(sample) => Ok(sample),
        Err(error) => Err(error.context(lab.report().await)),
    }
}

async fn measure_in(lab: &mut Lab, overload: Overload, addresses: usize) -> anyhow::Result<Sample> {
    let sniffer = lab.switch().sniff().await?;
    services::create(lab, addresses).await?;
    tokio::time::sleep(SETTLE).await;
    let mut places = BTreeMap::new();
    let begin = Monotonic::now();
    count_moves(&mut places, &sniffer.sightings());
    let taken_before = taken(lab).await?;
    let asked = addresses_at(&places, lab.node(0).host().mac());
    ensure!(!asked.is_empty(), "the first node has no address");
    let load = Load::start(lab, overload).await?;
    let herald = ask(lab, &asked, DURATION).await?;
    // In this order: a metrics page of a starved speaker takes longer than the requests, and what is taken meanwhile moves meanwhile.
    let taken = taken(lab).await? - taken_before;
    let moves = count_moves(&mut places, &sniffer.sightings().since(begin));
    drop(sniffer);
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).kill_speaker().await?;
    }
    let mut bare = start_bare(lab).await?;
    load.limit(&bare)?;
    wait_for("the bare loop answers", DEADLINE, async || {
        let answers = ask(lab, &asked, Duration::from_secs(1)).await?;
        Ok((answers.per_second > 0.0).then_some(()))
    })
    .await?;
    let answers = ask(lab, &asked, DURATION).await?;
    bare.kill().await?;
    Ok(Sample {
        herald: herald.per_second,
        bare: answers.per_second,
        taken,
        moves: moves as f64,
    })
}

/// What keeps the speakers from running, until it is dropped.
struct Load {
    /// Of each node; under full load there is none.
    limits: Vec<CpuLimit>,
    _busy: Vec<Process>,
}

impl Load {
    async fn start(lab: &Lab, overload: Overload) -> anyhow::Result<Self> {
        let (mut limits, mut busy) = (Vec::new(), Vec::new());
        match overload {
            Overload::Limit => {
                for node in lab.nodes() {
                    let limit = CpuLimit::new(MILLIS)?;
                    let process = start_busy(lab, node.host().netns(), &[]).await?;
                    limit.add(process.id().context("a busy process has ended")?)?;
                    let speaker = node.speaker().and_then(Process::id);
                    limit.add(speaker.context("a speaker has ended")?)?;
                    limits.push(limit);
                    busy.push(process);
                }
            }
            Overload::Load => {
                let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
                for _ in 0..BUSY * processors {
                    let process = start_busy(lab, lab.switch().netns(), &["nice", "-n", NICER]).await?;
                    busy.push(process);
                }
            }
        }
        Ok(Self { limits, _busy: busy })
    }

    /// Limits a process as the speaker of the first node.
    fn limit(&self, process: &Process) -> anyhow::Result<()> {
        let Some(limit) = self.limits.first() else {
            return Ok(());
        };
        limit.add(process.id().context("the bare loop has ended")?)
    }
}

async fn start_busy(lab: &Lab, netns: &Netns, before: &[&str]) -> anyhow::Result<Process> {
    let loops = ["sh", "-c", "while :; do :; done"];
    let arguments = ["exec"].iter().chain(before).chain(&loops);
    let arguments: Vec<String> = arguments.map(|argument| (*argument).to_owned()).collect();
    Process::start(netns, "busy", process::role(&arguments), lab.logs()).await
}

/// Starts the bare loop on the first node.
async fn start_bare(lab: &Lab) -> anyhow::Result<Process> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(COMMAND).kill_on_drop(true);
    Process::start(lab.node(0).host().netns(), "bare", command, lab.logs()).await
}

/// The client asks for these addresses. It runs before all other processes, so that only those that answer are measured.
async fn ask(lab: &Lab, addresses: &[Ipv4Addr], duration: Duration) -> anyhow::Result<Answers> {
    let (mac, addresses) = (lab.client().mac(), addresses.to_vec());
    let ask = move || {
        setpriority_process(None, CLIENT_NICE)?;
        Asker::new(OUTSTANDING, mac, addresses)?.ask(duration)
    };
    lab.client().netns().run(ask).await
}

/// How many addresses the speakers have taken so far.
async fn taken(lab: &Lab) -> anyhow::Result<f64> {
    let mut taken = 0.0;
    for node in lab.nodes() {
        taken += node.metric(TAKEN).await?;
    }
    Ok(taken)
}

/// Keeps at which machine each address was seen last, and returns how often that was another one than before.
fn count_moves(places: &mut BTreeMap<IpAddr, MacAddr>, sightings: &Sightings) -> usize {
    let is_move = |sighting: &&Sighting| {
        let before = places.insert(sighting.address, sighting.mac);
        before.is_some_and(|before| before != sighting.mac)
    };
    sightings.iter().filter(is_move).count()
}

fn addresses_at(places: &BTreeMap<IpAddr, MacAddr>, mac: MacAddr) -> Vec<Ipv4Addr> {
    let there = places.iter().filter(|(_, place)| **place == mac);
    there
        .filter_map(|(address, _)| match address {
            // The nodes have addresses of their own.
            IpAddr::V4(address) => Some(*address).filter(|address| services::has(*address)),
            IpAddr::V6(_) => None,
        })
        .collect()
}

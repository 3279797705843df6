//! What speakers cost while nothing happens, beside keepalived with one address.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use herald_netns::tool;

use super::{Figure, cpu, services};
use herald_lab::Lab;
use herald_lab::keepalived;
use herald_lab::plan;
use herald_lab::process::Process;
use herald_lab::switch::Switch;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Number of addresses that three nodes share. May be repeated.
    #[arg(long, value_name = "COUNT", default_values_t = [1, 1_000, 10_000], value_parser = clap::value_parser!(u16).range(1..))]
    addresses: Vec<u16>,
}

/// The last announcements of a claim leave after 4.4 s; then each backup monitors for the first time.
const SETTLE: Duration = Duration::from_secs(20);
/// How long is measured: half of the addresses are refreshed meanwhile.
const SPAN: Duration = Duration::from_secs(30);

/// Measures `runs` times.
pub async fn run(args: IdleArgs, runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    for addresses in args.addresses.into_iter().map(usize::from) {
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.extend(herald(addresses).await?);
        }
        let case = format!("3 nodes, {addresses} addresses");
        let figure = |metric: &'static str, unit, pick: fn(&Cost) -> f64| {
            let samples: Vec<f64> = samples.iter().map(pick).collect();
            Figure::of("idle", "herald", metric, unit, &samples)
        };
        let figures = [
            figure("cpu", "% of a core", |cost| cost.cpu),
            figure("gossip_sent", "1/s", |cost| cost.datagrams),
        ];
        for figure in figures.into_iter().flatten() {
            emit(figure.in_case(case.clone()));
        }
    }
    if tool::find(keepalived::PROGRAM).is_none() {
        anstream::eprintln!("keepalived is not installed: herald is measured without it");
        return Ok(());
    }
    for (name, advert_int) in [("keepalived-1s", "1"), ("keepalived-0.1s", "0.1")] {
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.extend(keepalived(advert_int).await?);
        }
        let figure = Figure::of("idle", name, "cpu", "% of a core", &samples);
        figure
            .map(|figure| figure.in_case("3 nodes, 1 addresses".to_owned()))
            .into_iter()
            .for_each(&mut *emit);
    }
    Ok(())
}

/// What one speaker cost.
struct Cost {
    /// In percent of a core.
    cpu: f64,
    /// Gossip's datagrams that it sent, in a second.
    datagrams: f64,
}

async fn herald(addresses: usize) -> anyhow::Result<Vec<Cost>> {
    let mut lab = Lab::builder().start().await?;
    match measure(&mut lab, addresses).await {
        Ok(costs) => Ok(costs),
        Err(error) => Err(error.context(lab.report().await)),
    }
}

async fn measure(lab: &mut Lab, addresses: usize) -> anyhow::Result<Vec<Cost>> {
    services::create(lab, addresses).await?;
    tokio::time::sleep(SETTLE).await;
    let mut before = Vec::new();
    for node in lab.nodes() {
        before.push((used(node.speaker())?, node.metric(SENT).await?));
    }
    tokio::time::sleep(SPAN).await;
    let mut costs = Vec::new();
    for (node, (cpu, sent)) in lab.nodes().iter().zip(before) {
        costs.push(Cost {
            cpu: percent(used(node.speaker())?.saturating_sub(cpu)),
            datagrams: (node.metric(SENT).await? - sent) / SPAN.as_secs_f64(),
        });
    }
    Ok(costs)
}

const SENT: &str = "herald_gossip_datagrams_total{direction=\"sent\"}";

/// The processor time of each daemon of a group, in percent of a core.
async fn keepalived(advert_int: &str) -> anyhow::Result<Vec<f64>> {
    let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir()?;
    let switch = Switch::new().await?;
    let mut daemons = Vec::new();
    for (index, priority) in [200, 150, 100].into_iter().enumerate() {
        let name = format!("node-{}", index + 1);
        let host = switch.attach(&name, plan::node(index)).await?;
        let member = keepalived::Member {
            name: &name,
            priority,
            advert_int,
            address: [192, 168, 67, 120].into(),
        };
        let command = member.command(directory.path())?;
        let daemon = Process::start(host.netns(), &name, command, directory.path()).await?;
        daemons.push((daemon, host));
    }
    tokio::time::sleep(SETTLE).await;
    let time = |daemons: &[(Process, _)]| -> anyhow::Result<Vec<Duration>> {
        daemons.iter().map(|(daemon, _)| used(Some(daemon))).collect()
    };
    let before = time(&daemons)?;
    tokio::time::sleep(SPAN).await;
    let after = time(&daemons)?;
    let spent = after.into_iter().zip(before);
    Ok(spent
        .map(|(after, before)| percent(after.saturating_sub(before)))
        .collect())
}

fn percent(used: Duration) -> f64 {
    100.0 * used.div_duration_f64(SPAN)
}

/// The time that a program has spent on a processor.
fn used(process: Option<&Process>) -> anyhow::Result<Duration> {
    let id = process.and_then(Process::id).context("it has ended")?;
    cpu::used_by_family(id)
}

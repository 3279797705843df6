//! The real programs in a cluster in a box, on real packets.

mod bgp;
mod chaos;
mod checks;
mod conflict;
mod dashboards;
mod failover;
mod foreign;
mod health;
mod heraldctl;
mod hostile;
mod lifetime;
mod manifests;
mod migration;
mod network;
mod overload;
mod services;
mod shared;
mod tools;
mod truth;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::sniffer::Sniffer;
use herald_lab::{DEADLINE, Lab, cli};
use herald_netns::{sandbox, tool};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::RwLock;

/// For how long two machines may answer for an address: until one that was cut off or paused receives a frame of the other.
const OVERLAP: Duration = Duration::from_secs(1);
/// The processors of the machine: tests in a cluster share them, and one that needs all of them waits until it has them alone.
static PROCESSORS: RwLock<()> = RwLock::const_new(());
/// For how long the soak runs that have a test go on here; `herald-lab soak` goes on for longer.
fn soak_length() -> Duration {
    let seconds = if std::env::var_os("CI").is_some() { 60 } else { 8 };
    Duration::from_secs(seconds)
}

fn main() -> ExitCode {
    if let Some(status) = cli::enter_role() {
        return status;
    }
    if let Err(denied) = sandbox::enter() {
        anstream::eprintln!("{denied}");
        return ExitCode::FAILURE;
    }
    let all = [
        migration::trials(),
        services::trials(),
        shared::trials(),
        manifests::trials(),
        failover::trials(),
        tools::trials(),
        heraldctl::trials(),
        dashboards::trials(),
        truth::trials(),
        lifetime::trials(),
    ];
    let of_the_wire = [
        network::trials(),
        chaos::trials(),
        checks::trials(),
        conflict::trials(),
        health::trials(),
        foreign::trials(),
        hostile::trials(),
        bgp::trials(),
        overload::trials(),
    ];
    let of_the_wire = of_the_wire.into_iter().flatten().map(embedded_only);
    let all = all.into_iter().flatten().chain(of_the_wire);
    libtest_mimic::run(&Arguments::from_args(), all.collect()).exit_code()
}

/// A test that would show nothing else on Kubernetes' own control plane, because it is about the wire or has a counterpart in `e2e`, or
/// that needs Herald without its chart. There it shows as ignored.
fn embedded_only(trial: Trial) -> Trial {
    if std::env::var_os("HERALD_CONTROL_PLANE").is_none() {
        return trial;
    }
    let name = format!("{} (embedded back end only)", trial.name());
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

/// A test that needs no cluster.
fn trial<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce() -> anyhow::Result<()> + Send + 'static,
{
    Trial::test(name, move || {
        block_on(body()).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// A test in a cluster of three nodes, as [`in_lab_of`].
fn in_lab<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab) -> anyhow::Result<()> + Send + 'static,
{
    in_lab_of(3, name, body)
}

/// A test in a cluster with a pod of the quickstart's app on each node; when it fails, events, neighbour tables and logs are
/// shown.
fn in_lab_of<F>(nodes: usize, name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab) -> anyhow::Result<()> + Send + 'static,
{
    Trial::test(name, move || {
        block_on(async {
            let _shared = PROCESSORS.read().await;
            let mut lab = Lab::builder().nodes(nodes).start().await?;
            lab.wait_for_speakers(DEADLINE).await?;
            lab.run_app("hello", 8080, &Vec::from_iter(0..nodes)).await?;
            match body(&mut lab).await {
                Ok(()) => Ok(()),
                Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
            }
        })
        .map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// A test as [`in_lab`] with a sniffer: no two nodes may have answered for an address for longer than [`OVERLAP`].
fn under_watch<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab, &Sniffer) -> anyhow::Result<()> + Send + 'static,
{
    in_lab(name, async move |lab| {
        let sniffer = lab.switch().sniff().await?;
        body(lab, &sniffer).await?;
        let nodes = lab.nodes().iter().map(|node| node.host().mac());
        let of_nodes = sniffer.sightings().of(&nodes.collect::<Vec<_>>());
        let longest = of_nodes
            .longest_contention()
            .context("the sniffer saw no address move")?;
        ensure!(longest.lasted() <= OVERLAP, "two owners: {longest}");
        Ok(())
    })
}

/// A test that needs a program. In CI (`CI` is set) its absence is a failure, elsewhere the test shows as ignored.
fn with(program: &str, trial: Trial) -> Trial {
    if tool::find(program).is_some() || std::env::var_os("CI").is_some() {
        return trial;
    }
    let name = format!("{} (needs {program})", trial.name());
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

fn block_on(body: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(body)
}

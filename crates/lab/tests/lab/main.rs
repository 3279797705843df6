//! The real programs in a cluster in a box, on real packets.

mod failover;
mod lifetime;
mod manifests;
mod network;
mod services;
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use herald_lab::{Lab, cli, sandbox};
use libtest_mimic::{Arguments, Failed, Trial};

/// Longer than anything here should ever take.
const PATIENCE: Duration = Duration::from_secs(30);
const QUICKSTART: &str = include_str!("../../../../examples/quickstart.yaml");

fn main() -> ExitCode {
    if let Some(status) = cli::enter_role() {
        return status;
    }
    if let Err(denied) = sandbox::enter() {
        anstream::eprintln!("{denied}");
        return ExitCode::FAILURE;
    }
    let all = [
        network::trials(),
        services::trials(),
        manifests::trials(),
        failover::trials(),
        tools::trials(),
        lifetime::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), all.into_iter().flatten().collect()).exit_code()
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

/// A test in a cluster of three nodes with a pod of the quickstart's app on each; when it fails, events,
/// neighbour tables and logs are shown.
fn in_lab<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab) -> anyhow::Result<()> + Send + 'static,
{
    Trial::test(name, move || {
        block_on(async {
            let mut lab = Lab::builder().start().await?;
            lab.run_app("hello", 8080, &[0, 1, 2]).await?;
            match body(&mut lab).await {
                Ok(()) => Ok(()),
                Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
            }
        })
        .map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn block_on(body: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(body)
}

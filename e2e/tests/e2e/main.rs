//! The real programs, installed by the chart, on Kubernetes' own control plane with kube-proxy.

mod admission;
mod chart;
mod conditions;
mod conversion;
mod definitions;
mod heraldctl;
mod metrics;
mod migration;
mod outages;
mod place;
mod services;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use herald_e2e::kubectl::Kubectl;
use herald_lab::{Lab, cli};
use herald_netns::sandbox;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

use crate::place::Place;

/// Longer than any condition here takes.
const DEADLINE: Duration = Duration::from_secs(60);
const QUICKSTART: &str = include_str!("../../../examples/quickstart.yaml");

fn main() -> ExitCode {
    if let Some(status) = cli::enter_role() {
        return status;
    }
    let arguments = Arguments::from_args();
    if let Some(kubeconfig) = std::env::var_os("HERALD_CLUSTER") {
        return libtest_mimic::run(&arguments, anywhere(&Place::Cluster(PathBuf::from(kubeconfig))))
            .exit_code();
    }
    if let Err(denied) = sandbox::enter() {
        anstream::eprintln!("{denied}");
        return ExitCode::FAILURE;
    }
    if std::env::var_os("HERALD_CONTROL_PLANE").is_none() {
        anstream::eprintln!("HERALD_CONTROL_PLANE names no directory with Kubernetes' programs; use e2e/run");
        return ExitCode::FAILURE;
    }
    let all = [
        anywhere(&Place::Lab),
        admission::trials(),
        chart::trials(),
        conditions::trials(),
        conversion::trials(),
        heraldctl::trials(),
        metrics::trials(),
        migration::trials(),
        services::trials(),
        outages::trials(),
    ];
    libtest_mimic::run(&arguments, all.into_iter().flatten().collect()).exit_code()
}

/// Tests that make sense on any cluster that has Herald.
fn anywhere(place: &Place) -> Vec<Trial> {
    let mut trials = definitions::trials(place);
    trials.extend(services::trials_anywhere(place));
    trials
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// A test in a cluster of three nodes, with a pod of the quickstart's app on each; when it fails, Services, events, neighbour
/// tables and logs are shown.
fn in_cluster<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab, &Kubectl) -> anyhow::Result<()> + Send + 'static,
{
    in_cluster_with(name, json!({}), body)
}

/// The same, with values of the chart.
fn in_cluster_with<F>(name: &str, values: Value, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab, &Kubectl) -> anyhow::Result<()> + Send + 'static,
{
    Trial::test(name, move || {
        let outcome: anyhow::Result<()> = runtime()?.block_on(async {
            let mut lab = Lab::builder().values(values).start().await?;
            let kubectl = Kubectl::new(&lab.kubeconfig())?;
            lab.run_app("hello", 8080, &[0, 1, 2]).await?;
            match body(&mut lab, &kubectl).await {
                Ok(()) => Ok(()),
                Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
            }
        });
        outcome.map_err(|error| Failed::from(format!("{error:#}")))
    })
}

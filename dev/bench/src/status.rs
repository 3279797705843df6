//! How long `heraldctl status` takes with many Services, beside kubectl, which lists the same Services.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use herald_netns::tool;
use tokio::process::Command;

use super::{Figure, services};
use herald_lab::Lab;
use herald_lab::process::{self, role};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Number of Services in a cluster of three nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    services: u16,
    /// The heraldctl to measure. Without it this program plays its part, which counts its start, too.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// The program that people use without Herald's.
const KUBECTL: &str = "kubectl";

/// Measures `runs` times, both programs in turn, in one cluster.
pub async fn run(args: StatusArgs, runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    let kubectl = tool::find(KUBECTL).context("kubectl is not installed")?;
    let services = usize::from(args.services);
    let mut lab = Lab::builder().start().await?;
    let measured = async {
        services::create(&mut lab, services).await?;
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            let mut reference = Command::new(&kubectl);
            reference.args(["get", "services", "-A", "-o", "json"]);
            samples[0].push(time(&lab, reference).await?);
            samples[1].push(time(&lab, heraldctl(args.program.as_deref())).await?);
        }
        anyhow::Ok(samples)
    };
    let samples = match measured.await {
        Ok(samples) => samples,
        Err(error) => return Err(error.context(lab.report().await)),
    };
    let [reference, herald] = &samples;
    let shares: Vec<f64> = herald
        .iter()
        .zip(reference)
        .map(|(herald, reference)| 100.0 * herald / reference)
        .collect();
    let figures = [
        Figure::of("status", "herald", "took", "ms", herald),
        Figure::of("status", KUBECTL, "took", "ms", reference),
        Figure::of("status", "herald", "share_of_kubectl", "%", &shares),
    ];
    for figure in figures.into_iter().flatten() {
        emit(figure.in_case(format!("{services} Services")));
    }
    Ok(())
}

fn heraldctl(program: Option<&Path>) -> Command {
    let own = || role(&["heraldctl".to_owned()]);
    let mut command = program.map_or_else(own, Command::new);
    command.args(["status", "--state=direct"]);
    command
}

/// Returns how long a program runs on the client, in ms. What it prints is not read.
async fn time(lab: &Lab, mut command: Command) -> anyhow::Result<f64> {
    command
        .env("KUBECONFIG", lab.kubeconfig_inside())
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let begin = Instant::now();
    let mut child = process::spawn(lab.client().netns(), command).await?;
    let status = child.wait().await?;
    ensure!(status.success(), "{status}");
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}

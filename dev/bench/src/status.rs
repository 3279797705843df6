//! How long `heraldctl status` takes with many Services, beside kubectl, which lists the same Services.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use herald_netns::tool;
use serde_json::{Value, json};
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
        let program = args.program.as_deref();
        // Not measured: the first run of each reads its program from the disk.
        time(&lab, reference(&kubectl)).await?;
        check(&lab, heraldctl(program), services).await?;
        let mut samples = [Vec::new(), Vec::new()];
        for run in 0..runs {
            // In turn the first: what the one leaves in caches helps the other.
            for which in [run % 2, (run + 1) % 2] {
                let command = if which == 0 {
                    reference(&kubectl)
                } else {
                    heraldctl(program)
                };
                samples[which].push(time(&lab, command).await?);
            }
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

fn reference(kubectl: &Path) -> Command {
    let mut command = Command::new(kubectl);
    command.args(["get", "services", "-A", "-o", "json"]);
    command
}

fn heraldctl(program: Option<&Path>) -> Command {
    let own = || role(&["heraldctl".to_owned()]);
    let mut command = program.map_or_else(own, Command::new);
    command.args(["status", "--state=direct"]);
    command
}

/// Checks that heraldctl knows everything: it succeeds as well when it knows nothing, and then it has less to do.
async fn check(lab: &Lab, mut command: Command, services: usize) -> anyhow::Result<()> {
    command.args(["--output", "json"]);
    prepare(lab, &mut command);
    command.stdout(Stdio::piped());
    let child = process::spawn(lab.client().netns(), command).await?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", output.status);
    let status = serde_json::from_slice(&output.stdout).context("heraldctl printed no JSON")?;
    is_complete(&status, services)
}

fn is_complete(status: &Value, services: usize) -> anyhow::Result<()> {
    ensure!(
        status["services"] == services,
        "heraldctl shows {} Services instead of {services}",
        status["services"]
    );
    ensure!(
        status["unknown"] == json!([]),
        "heraldctl does not know everything: {}",
        status["unknown"]
    );
    Ok(())
}

fn prepare(lab: &Lab, command: &mut Command) {
    command
        .env("KUBECONFIG", lab.kubeconfig_inside())
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
}

/// Returns how long a program runs on the client, in ms. What it prints is not read.
async fn time(lab: &Lab, mut command: Command) -> anyhow::Result<f64> {
    prepare(lab, &mut command);
    let begin = Instant::now();
    let mut child = process::spawn(lab.client().netns(), command).await?;
    let status = child.wait().await?;
    ensure!(status.success(), "{status}");
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_lacks_something_is_not_measured() {
        assert!(is_complete(&json!({"services": 3, "unknown": []}), 3).is_ok());
        assert!(is_complete(&json!({"services": 2, "unknown": []}), 3).is_err());
        assert!(is_complete(&json!({"services": null, "unknown": []}), 3).is_err());
        assert!(is_complete(&json!({"services": 3, "unknown": ["the state of a"]}), 3).is_err());
    }
}

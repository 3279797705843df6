//! What controller and speakers keep in memory, beside bare clients that list and watch what a speaker does.

mod reference;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::{Figure, services};
use herald_lab::Lab;
use herald_lab::process::Process;
pub(crate) use reference::Reference;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct MemoryArgs {
    /// Number of Services in a cluster of three nodes. May be repeated.
    #[arg(long, value_name = "COUNT", default_values_t = [0, 1_000, 10_000])]
    services: Vec<u16>,
    /// Directory with herald-controller and herald-speaker, to measure these programs. Without it this program plays their
    /// parts, and its code counts, too.
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
}

/// From the last change to the measurement.
const SETTLE: Duration = Duration::from_secs(60);

/// How the programs came to know the Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// The Services were created while the programs ran.
    Created,
    /// The programs were started when all Services had their addresses.
    Restarted,
}

impl History {
    const ALL: [Self; 2] = [Self::Created, Self::Restarted];

    fn describe(self, services: usize) -> String {
        match self {
            Self::Created => format!("{services} Services"),
            Self::Restarted => format!("{services} Services, restarted"),
        }
    }
}

/// The memory of one process, in MiB.
struct Sample {
    subject: &'static str,
    history: History,
    resident: f64,
    peak: f64,
}

/// Measures `runs` times.
pub async fn run(args: MemoryArgs, runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    for services in args.services.into_iter().map(usize::from) {
        let mut samples = Vec::new();
        for _ in 0..runs {
            samples.extend(measure(services, args.programs.clone()).await?);
        }
        for history in History::ALL {
            for subject in [
                "controller",
                "speaker",
                Reference::Bare.name(),
                Reference::Cache.name(),
            ] {
                let those = || {
                    let samples = samples.iter();
                    samples.filter(|sample| (sample.subject, sample.history) == (subject, history))
                };
                let resident: Vec<f64> = those().map(|sample| sample.resident).collect();
                let peak: Vec<f64> = those().map(|sample| sample.peak).collect();
                [("resident", resident), ("peak", peak)]
                    .into_iter()
                    .filter_map(|(metric, samples)| Figure::of("memory", subject, metric, "MiB", &samples))
                    .map(|figure| figure.in_case(history.describe(services)))
                    .for_each(&mut *emit);
            }
        }
    }
    Ok(())
}

async fn measure(services: usize, programs: Option<PathBuf>) -> anyhow::Result<Vec<Sample>> {
    let mut lab = Lab::builder().programs(programs).start().await?;
    match measure_in(&mut lab, services).await {
        Ok(samples) => Ok(samples),
        Err(error) => Err(error.context(lab.report().await)),
    }
}

async fn measure_in(lab: &mut Lab, services: usize) -> anyhow::Result<Vec<Sample>> {
    let references = Reference::start_all(lab)?;
    services::create(lab, services).await?;
    let mut samples = sample_all(lab, &references, History::Created).await?;
    drop(references);
    restart(lab).await?;
    let references = Reference::start_all(lab)?;
    services::await_announcements(lab, services).await?;
    samples.extend(sample_all(lab, &references, History::Restarted).await?);
    Ok(samples)
}

async fn restart(lab: &mut Lab) -> anyhow::Result<()> {
    lab.kill_controller().await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).kill_speaker().await?;
    }
    lab.start_controller().await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).start_speaker().await?;
    }
    Ok(())
}

async fn sample_all(
    lab: &Lab,
    references: &[(Reference, Process)],
    history: History,
) -> anyhow::Result<Vec<Sample>> {
    tokio::time::sleep(SETTLE).await;
    let speakers = lab.nodes().iter().filter_map(|node| node.speaker());
    let programs = lab
        .controller()
        .map(|process| ("controller", process))
        .into_iter();
    let programs = programs.chain(speakers.map(|process| ("speaker", process)));
    let references = references.iter();
    let references = references.map(|(reference, process)| (reference.name(), process));
    programs
        .chain(references)
        .map(|(subject, process)| {
            Ok(Sample {
                subject,
                history,
                resident: of_process(process, "VmRSS:")?,
                peak: of_process(process, "VmHWM:")?,
            })
        })
        .collect()
}

/// Resident memory of a process in MiB.
pub(crate) fn resident(process: &Process) -> anyhow::Result<f64> {
    of_process(process, "VmRSS:")
}

/// A field of proc_pid_status(5), in MiB.
fn of_process(process: &Process, field: &str) -> anyhow::Result<f64> {
    let id = process.id().context("it has ended")?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("it has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("the kernel does not tell {field}"))? / 1024.0)
}

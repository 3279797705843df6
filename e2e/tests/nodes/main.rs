//! Herald's image on nodes with real kubelets, containerd and runc.

mod cluster;
mod confinement;
mod failures;
mod releases;
mod traffic;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use herald_lab::interrupt::Interrupt;
use herald_lab::{cli, machine};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

/// Longer than any condition takes here, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(180);

/// The cluster that all tests use, one after another.
struct Stage {
    runtime: Runtime,
    /// Started by the first test.
    cluster: Mutex<Option<Cluster>>,
    interrupt: Mutex<Interrupt>,
}

fn main() -> ExitCode {
    if let Some(status) = cli::enter_role() {
        return status;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let stage = match Stage::new() {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            anstream::eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let all = [
        confinement::trials(&stage),
        traffic::trials(&stage),
        failures::trials(&stage),
        releases::trials(&stage),
    ];
    let conclusion = libtest_mimic::run(&arguments, all.into_iter().flatten().collect());
    stage.end();
    conclusion.exit_code()
}

impl Stage {
    fn new() -> anyhow::Result<Self> {
        machine::ensure_usable()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let interrupt = runtime.block_on(async { Interrupt::listen() })?;
        Ok(Self {
            cluster: Mutex::default(),
            interrupt: Mutex::new(interrupt),
            runtime,
        })
    }

    /// A test that finds Herald installed with the values of [`Cluster::settle`], all nodes ready and both Services served.
    fn trial<F>(self: &Arc<Self>, name: &str, body: F) -> Trial
    where
        F: AsyncFnOnce(&mut Cluster) -> anyhow::Result<()> + Send + 'static,
    {
        let stage = Arc::clone(self);
        Trial::test(name, move || stage.run(body))
    }

    fn run(&self, body: impl AsyncFnOnce(&mut Cluster) -> anyhow::Result<()>) -> Result<(), Failed> {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let mut interrupt = self.interrupt.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome: anyhow::Result<()> = self.runtime.block_on(async {
            tokio::select! {
                () = interrupt.requested() => bail!("interrupted"),
                outcome = in_cluster(&mut cluster, body) => outcome,
            }
        });
        outcome.map_err(|error| Failed::from(format!("{error:#}")))
    }

    /// Ends all processes of the cluster and removes its files.
    fn end(&self) {
        let _entered = self.runtime.enter();
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        drop(cluster.take());
    }
}

async fn in_cluster(
    cluster: &mut Option<Cluster>,
    body: impl AsyncFnOnce(&mut Cluster) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => cluster.insert(Cluster::start().await?),
    };
    let outcome = match cluster.settle().await {
        Ok(()) => body(cluster).await,
        Err(error) => Err(error.context("the cluster does not settle")),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error:#}\n{}", cluster.report().await),
    }
}

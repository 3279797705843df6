//! Clients without a purpose: they list and watch what a speaker does.

use std::fmt::Debug;
use std::future::ready;

use anyhow::Context;
use clap::ValueEnum;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::reflector::{Lookup, store};
use kube::runtime::watcher::{Config, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use herald_lab::Lab;
use herald_lab::control_plane;
use herald_lab::process::{Process, die_with_parent};

/// First argument of a process that is a client instead of a benchmark.
const COMMAND: &str = "reference";

/// What a client does with the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reference {
    /// It drops each object on arrival.
    Bare,
    /// It keeps the objects whole, as the caches of most programs do.
    Cache,
}

impl Reference {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Cache => "cache",
        }
    }

    /// Starts a client of each kind.
    pub(crate) fn start_all(lab: &Lab) -> anyhow::Result<Vec<(Self, Process)>> {
        let start = |reference: &Self| {
            let mut command = Command::new("/proc/self/exe");
            command.args([COMMAND, reference.name()]);
            command.env("KUBECONFIG", lab.kubeconfig()).kill_on_drop(true);
            let process = Process::start_here(reference.name(), command, lab.logs())?;
            Ok((*reference, process))
        };
        Self::value_variants().iter().map(start).collect()
    }

    /// Returns which client the program is to be, by its arguments.
    pub(crate) fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let is_reference = arguments.nth(1).is_some_and(|argument| argument == COMMAND);
        let name = arguments.next().filter(|_| is_reference)?;
        Self::value_variants()
            .iter()
            .copied()
            .find(|reference| reference.name() == name)
    }

    /// Runs a client until it is killed.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        die_with_parent()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let path = std::env::var_os("KUBECONFIG").context("only the benchmark starts a reference")?;
            let client = control_plane::client(&std::fs::read_to_string(path)?).await?;
            let balancers = Config::default().fields("spec.type=LoadBalancer");
            tokio::join!(
                self.follow::<Service>(&client, balancers),
                self.follow::<EndpointSlice>(&client, Config::default()),
                self.follow::<Node>(&client, Config::default()),
            );
            Ok(())
        })
    }

    async fn follow<K>(self, client: &Client, config: Config)
    where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + DeserializeOwned,
        K: Clone + Debug + Send + Sync + 'static,
    {
        let events = watcher(Api::<K>::all(client.clone()), config).default_backoff();
        match self {
            Self::Bare => events.for_each(|_| ready(())).await,
            Self::Cache => {
                let (_cache, writer) = store();
                reflector(writer, events).for_each(|_| ready(())).await;
            }
        }
    }
}

//! The cluster, as the API server and the programs show it.

mod checks;
mod connection;
mod installation;
mod listing;
mod objects;
mod programs;
mod states;

use std::time::Duration;

use clap::Args;
use kube::Client;

use crate::output::OutputArgs;
pub(crate) use checks::NetworkReports;
pub(crate) use connection::ApiConnection;
use connection::ClusterArgs;
pub(crate) use installation::{COMPONENTS, Installation, Program, flag, own_container};
pub(crate) use listing::{Absence, list, list_at_most, list_in, plain};
pub(crate) use objects::Objects;
use states::StateArgs;
pub(crate) use states::{States, TIMEOUT, by_reason};

/// The flags of all commands that read a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// The namespace that Herald is installed in; if not given, that of its Pods.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    install_namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The cluster, read once.
#[derive(Debug, Default)]
pub(crate) struct ClusterView {
    pub(crate) installation: Installation,
    pub(crate) objects: Objects,
    pub(crate) states: States,
    /// What could not be read, and why: what depends on it is unknown.
    pub(crate) unknown: Vec<String>,
}

impl ClusterView {
    /// Returns why objects of some of these kinds are not known; `None` if all are. What depends on them is unknown, too.
    pub(crate) fn absent(&self, kinds: &[&str]) -> Option<String> {
        let missing = kinds.iter().filter_map(|kind| self.objects.missing.get(kind));
        let texts: Vec<String> = missing.map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Whether each speaker that has a Pod was asked for its state.
    pub(crate) fn has_all_states(&self) -> bool {
        let speakers = self.installation.of(Program::Speaker).count();
        speakers > 0 && self.states.speakers.len() >= speakers
    }
}

impl CommonArgs {
    /// Connects to the API server.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn connect(&self) -> anyhow::Result<ApiConnection> {
        self.cluster.connect().await
    }

    /// Finds the Pods of Herald.
    ///
    /// # Errors
    /// When Pods cannot be listed.
    pub(crate) async fn find_installation(&self, client: &Client) -> Result<Installation, Absence> {
        Installation::find(client, self.install_namespace.as_deref()).await
    }

    /// Returns the namespace of Herald; `None` if it is not known.
    pub(crate) fn namespace<'a>(&'a self, installation: &'a Installation) -> Option<&'a str> {
        let given = self.install_namespace.as_deref();
        given.or(installation.namespace.as_deref())
    }

    /// Reads the states of the programs again.
    pub(crate) async fn read_states(&self, client: &Client, installation: &Installation) -> States {
        States::read(client, installation, self.state, TIMEOUT).await
    }

    /// Reads everything that decisions depend on.
    ///
    /// # Errors
    /// When the API server does not answer. What it refuses to show is in [`ClusterView::unknown`].
    pub(crate) async fn read(&self) -> anyhow::Result<(ApiConnection, ClusterView)> {
        let connection = self.connect().await?;
        let cluster = self.read_by(&connection, TIMEOUT, None).await;
        Ok((connection, cluster))
    }

    /// Reads everything that decisions depend on, by a connection. Each program has `limit` to answer. What is not known is in
    /// [`ClusterView::unknown`]. Resources are those of the namespace of Herald; without Herald, those of `other`, or of all namespaces.
    pub(crate) async fn read_by(
        &self,
        connection: &ApiConnection,
        limit: Duration,
        other: Option<&str>,
    ) -> ClusterView {
        let client = &connection.client;
        let mut no_pods = None;
        let installation = self.find_installation(client).await.unwrap_or_else(|absence| {
            no_pods = Some(absence);
            Installation::default()
        });
        let (mut objects, states) = tokio::join!(
            Objects::list(client, self.namespace(&installation).or(other)),
            States::read(client, &installation, self.state, limit)
        );
        let mut unknown = Vec::new();
        match no_pods {
            Some(absence) => drop(objects.missing.insert("Pod", absence)),
            None => unknown.extend(installation.absence()),
        }
        unknown.extend(objects.missing.values().map(ToString::to_string));
        unknown.extend(states.reasons());
        ClusterView {
            installation,
            objects,
            states,
            unknown,
        }
    }
}

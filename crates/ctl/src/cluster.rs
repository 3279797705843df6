//! The cluster, as the API server and the programs show it.

mod connection;
mod installation;
mod listing;
mod objects;
mod states;

use clap::Args;
use kube::Client;

use crate::output::OutputArgs;
pub(crate) use connection::ApiConnection;
use connection::ClusterArgs;
pub(crate) use installation::{Installation, Program};
pub(crate) use listing::{Absence, list, list_in, plain};
pub(crate) use objects::Objects;
use states::StateArgs;
pub(crate) use states::States;

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

    /// Reads everything that decisions depend on.
    ///
    /// # Errors
    /// When the API server does not answer. What it refuses to show is in [`ClusterView::unknown`].
    pub(crate) async fn read(&self) -> anyhow::Result<(ApiConnection, ClusterView)> {
        let connection = self.connect().await?;
        let client = &connection.client;
        let mut unknown = Vec::new();
        let installation = self.find_installation(client).await.unwrap_or_else(|absence| {
            unknown.push(absence.to_string());
            Installation::default()
        });
        let (objects, states) = tokio::join!(
            Objects::list(client, self.namespace(&installation)),
            States::read(client, &installation, self.state)
        );
        unknown.extend(installation.absence().filter(|_| unknown.is_empty()));
        unknown.extend(objects.missing.values().map(ToString::to_string));
        unknown.extend(states.reasons());
        let cluster = ClusterView {
            installation,
            objects,
            states,
            unknown,
        };
        Ok((connection, cluster))
    }
}

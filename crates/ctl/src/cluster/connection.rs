//! The connection to the API server, by flags that kubectl has, too.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueHint};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::listing::plain;

/// How to reach the API server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Path of the kubeconfig; if not given, that of KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,
    /// The user of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The user to act as.
    #[arg(long = "as", global = true, value_name = "NAME")]
    act_as: Option<String>,
    /// A group to act as.
    #[arg(long = "as-group", global = true, value_name = "NAME")]
    act_as_groups: Vec<String>,
    /// Seconds that the API server has for an answer.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    request_timeout: u64,
}

/// A connection to an API server that answers.
#[derive(Clone)]
pub(crate) struct ApiConnection {
    pub(crate) client: Client,
    /// The namespace of the context.
    pub(crate) namespace: String,
}

impl ClusterArgs {
    /// Connects, and asks the API server for its version.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, and when the API server does not answer. The message names the server and the remedy.
    pub(crate) async fn connect(&self) -> anyhow::Result<ApiConnection> {
        // Nothing else in this process has installed a provider.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut config = self.config().await?;
        let server = config.cluster_url.clone();
        let timeout = Duration::from_secs(self.request_timeout.max(1));
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        if self.act_as.is_some() {
            config.auth_info.impersonate.clone_from(&self.act_as);
        }
        if !self.act_as_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(self.act_as_groups.clone());
        }
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
        client.apiserver_version().await.map_err(|error| {
            anyhow!(
                "the API server {server} gives no answer that can be used; check --kubeconfig and --context, and whether kubectl \
                 reaches it: {}",
                plain(&error)
            )
        })?;
        Ok(ApiConnection { client, namespace })
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let is_default = self.kubeconfig.is_none() && self.context.is_none() && self.cluster.is_none();
        if is_default && self.user.is_none() {
            return Config::infer().await.context(
                "no way to reach the Kubernetes API: give --kubeconfig, or set KUBECONFIG to a readable kubeconfig",
            );
        }
        let kubeconfig = match &self.kubeconfig {
            Some(path) => {
                Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?
            }
            None => Kubeconfig::read().context("reading the kubeconfig")?,
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        config.context("the kubeconfig has no such context, cluster or user")
    }
}

//! The connection to the API server.

mod connections;
pub(crate) mod outage;

use std::time::Duration;

use anyhow::Context;
use kube::Client;
use kube::config::{Config, KubeConfigOptions};

pub use outage::is_away;

/// A connection on which nothing is received for this long is broken. Longer than the silence of a watch without changes,
/// which ends by itself (see [`crate::watch`]).
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection without a request is closed after this time: many writes at once leave dozens, and each keeps its buffers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns a client for the kubeconfig (`KUBECONFIG` or `~/.kube/config`) or the Pod's service account. Sends nothing yet:
/// an API server that is away is no error here; requests are repeated later.
///
/// # Errors
/// When none of them can be used; the message names the cause and the remedy.
pub async fn connect(user_agent: &'static str) -> anyhow::Result<Client> {
    // Another component of the process may have installed a provider already; both are ring's.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut config = config().await?;
    let agent = axum::http::HeaderValue::from_static(user_agent);
    config.read_timeout = Some(READ_TIMEOUT);
    config.headers.push((axum::http::header::USER_AGENT, agent));
    connections::client(config, IDLE_TIMEOUT).context("the kubeconfig cannot be used")
}

async fn config() -> anyhow::Result<Config> {
    let Some(path) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) else {
        return Config::infer().await.context(
            "no way to reach the Kubernetes API: set KUBECONFIG to a readable kubeconfig, or run in a Pod with a service account",
        );
    };
    let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
    config.with_context(|| {
        format!(
            "KUBECONFIG={}: set it to a readable kubeconfig with a current-context",
            path.display()
        )
    })
}

/// Returns the namespace of this program: the given one, or else that of the Pod.
///
/// # Errors
/// When neither is known.
pub fn namespace(given: Option<&str>) -> anyhow::Result<String> {
    const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    match given {
        Some(namespace) if !namespace.is_empty() => Ok(namespace.to_owned()),
        Some(_) | None => std::fs::read_to_string(MOUNTED)
            .map(|text| text.trim().to_owned())
            .with_context(|| {
                format!("no namespace: give --namespace (or METALLB_NAMESPACE); {MOUNTED} cannot be read")
            }),
    }
}

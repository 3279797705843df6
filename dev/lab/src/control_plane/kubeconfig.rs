//! Kubeconfigs for a server with a certificate of its own making.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// A kubeconfig for the server at `url`, whose certificate is signed by one in the file `authority` and made out to
/// `localhost`, with a bearer token.
pub(super) fn kubeconfig(url: &str, authority: &Path, token: &str) -> String {
    // JSON is YAML.
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": url, "certificate-authority": authority, "tls-server-name": "localhost",
        }}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": "default"}}],
    })
    .to_string()
}

/// A client with this kubeconfig.
pub async fn client(kubeconfig: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

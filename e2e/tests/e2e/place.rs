//! Where the tests that need kubectl and nothing else run: in a lab, or on an existing cluster.

use std::path::PathBuf;

use anyhow::Context;
use herald_e2e::kubectl::Kubectl;
use libtest_mimic::{Failed, Trial};

use crate::{in_cluster, runtime};

/// A lab for each test, or the cluster that a kubeconfig leads to, with Herald installed in `metallb-system`.
pub(crate) enum Place {
    Lab,
    Cluster(PathBuf),
}

impl Place {
    /// A test that works in the namespace of its context, and on pools with the label `herald.io/e2e`.
    pub(crate) fn trial<F>(&self, name: &str, body: F) -> Trial
    where
        F: AsyncFnOnce(&Kubectl) -> anyhow::Result<()> + Send + 'static,
    {
        let kubeconfig = match self {
            Self::Lab => return in_cluster(name, async move |_, kubectl| body(kubectl).await),
            Self::Cluster(kubeconfig) => kubeconfig.clone(),
        };
        Trial::test(name, move || {
            let outcome = runtime()?.block_on(async {
                let namespace = format!("herald-e2e-{}", std::process::id());
                let kubectl = Kubectl::in_namespace(&kubeconfig, &namespace).await?;
                kubectl.run(["create", "namespace", &namespace]).await?;
                let outcome = body(&kubectl).await;
                let removed = remove(&kubectl, &namespace).await;
                outcome.and(removed)
            });
            outcome.map_err(|error| Failed::from(format!("{error:#}")))
        })
    }
}

async fn remove(kubectl: &Kubectl, namespace: &str) -> anyhow::Result<()> {
    let ours = ["-n", "metallb-system", "-l", "herald.io/e2e"];
    let pools = ["delete", "ipaddresspools"].into_iter().chain(ours);
    kubectl.run(pools).await.context("the pool stays")?;
    kubectl
        .run(["delete", "namespace", namespace, "--timeout=60s"])
        .await
        .context("the namespace stays")?;
    Ok(())
}

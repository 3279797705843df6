//! Helm: test, upgrade, rollback, uninstall, install again, and two releases beside each other.

use std::sync::Arc;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::install::CHART;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::cluster::{Cluster, STREAK};
use crate::traffic::{PACE, ensure_served};
use crate::{DEADLINE, Stage};

pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    vec![
        stage.trial("helm_test_finds_that_the_release_works", helm_test),
        stage.trial("an_upgrade_and_its_rollback_lose_no_request", upgrade),
        stage.trial("two_releases_share_each_node", two_releases),
        stage.trial("an_uninstalled_release_leaves_its_lease_to_the_next", reinstall),
    ]
}

async fn helm_test(cluster: &mut Cluster) -> anyhow::Result<()> {
    let output = cluster
        .helm(&["test", "herald", "--namespace", NAMESPACE, "--logs"])
        .await?;
    ensure!(output.contains("the release works"), "{output}");
    let pods = cluster.pods().await?;
    ensure!(
        pods.len() == 5,
        "the Pod of the test is left: {} Pods",
        pods.len()
    );
    Ok(())
}

async fn upgrade(cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut prober = cluster.probe("hello", PACE).await?;
    let address = cluster.address("hello").await?;
    let start = Monotonic::now();
    let history = cluster
        .helm(&["history", "herald", "-n", NAMESPACE, "-o", "json"])
        .await?;
    let history: Value = serde_json::from_str(&history)?;
    let revision = history
        .as_array()
        .and_then(|all| all.last())
        .context("no release")?["revision"]
        .to_string();
    let arguments = async || {
        let list = cluster.pods().await?;
        anyhow::Ok(
            list.iter()
                .filter(|pod| pod.to_string().contains("--log-level=debug"))
                .count(),
        )
    };
    cluster
        .install(&["--set", "speaker.logLevel=debug,controller.logLevel=debug"])
        .await?;
    // Pods that are still ending are not counted: a rollout waits only for the new ones.
    wait_for("all Pods are new", DEADLINE, async || {
        Ok((arguments().await? == 5).then_some(()))
    })
    .await?;
    cluster
        .helm(&["rollback", "herald", &revision, "-n", NAMESPACE])
        .await?;
    cluster.installed(NAMESPACE, "herald").await?;
    wait_for("all Pods are as before", DEADLINE, async || {
        Ok((arguments().await? == 0).then_some(()))
    })
    .await?;
    ensure!(cluster.address("hello").await? == address, "hello lost {address}");
    cluster.settled_owner("hello").await?;
    let now = Monotonic::now();
    prober.wait_until_served(now, STREAK, DEADLINE).await?;
    ensure_served(&prober, start)
}

/// What two releases on the same nodes must not have in common, see docs/install/values.md.
const SECOND: &str = "crds.enabled=false,loadBalancerClass=example.com/second,prometheus.metricsPort=9121,\
                      speaker.livenessProbe.port=17473,speaker.memberlist.mlBindPort=7947";

async fn two_releases(cluster: &mut Cluster) -> anyhow::Result<()> {
    let outcome = second_release(cluster).await;
    let service = ["delete", "service", "second", "--ignore-not-found"];
    cluster.kubectl.run(service).await?;
    let uninstall = [
        "uninstall",
        "second",
        "--namespace",
        "second",
        "--ignore-not-found",
    ];
    cluster.helm(&uninstall).await?;
    let namespace = ["delete", "namespace", "second", "--ignore-not-found"];
    cluster.kubectl.run(namespace).await?;
    outcome
}

async fn second_release(cluster: &Cluster) -> anyhow::Result<()> {
    let owner = cluster.settled_owner("hello").await?;
    let install = [
        "install",
        "second",
        CHART,
        "--namespace",
        "second",
        "--create-namespace",
        "--set",
        SECOND,
    ];
    cluster.helm(&install).await?;
    cluster.installed("second", "second-herald").await?;
    let objects = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: second, namespace: second}
spec: {addresses: [192.168.67.150-192.168.67.159]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: second, namespace: second}
---
apiVersion: v1
kind: Service
metadata: {name: second, labels: {herald.io/e2e: extra}}
spec:
  type: LoadBalancer
  loadBalancerClass: example.com/second
  selector: {app: hello}
  ports: [{port: 80, targetPort: 8080}]
";
    cluster.kubectl.apply(objects).await?;
    let address = cluster.address("second").await?;
    ensure!(
        address.to_string().starts_with("192.168.67.15"),
        "{address} is of the other pool"
    );
    cluster.probe("second", PACE).await?;
    for machine in cluster.machines() {
        let speakers = machine.processes("/herald-speaker").len();
        ensure!(speakers == 2, "{speakers} speakers on {}", machine.name());
    }
    ensure!(
        cluster.settled_owner("hello").await? == owner,
        "the address of the first release moved"
    );
    Ok(())
}

async fn reinstall(cluster: &mut Cluster) -> anyhow::Result<()> {
    let address = cluster.address("hello").await?;
    let lease = async || {
        let output = cluster
            .kubectl
            .try_run(["get", "lease", "herald-controller", "-n", NAMESPACE, "-o", "json"])
            .await?;
        let holder = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        let holder = holder["spec"]["holderIdentity"].as_str().unwrap_or_default();
        anyhow::Ok(holder.to_owned())
    };
    ensure!(!lease().await?.is_empty(), "no controller leads");
    cluster
        .helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    wait_for("all Pods are gone", DEADLINE, async || {
        Ok(cluster.pods().await?.is_empty().then_some(()))
    })
    .await?;
    let holder = lease().await?;
    ensure!(holder.is_empty(), "{holder} is gone and holds the Lease");
    for kind in [
        "clusterroles",
        "clusterrolebindings",
        "roles",
        "rolebindings",
        "servicel2statuses",
    ] {
        let list = [
            "get",
            kind,
            "-A",
            "-o",
            "name",
            "-l",
            "app.kubernetes.io/name=herald",
        ];
        let left = cluster.kubectl.run(list).await?;
        ensure!(left.is_empty(), "left behind: {left}");
    }
    cluster.install(&[]).await?;
    wait_for("a controller leads", DEADLINE, async || {
        Ok((!lease().await?.is_empty()).then_some(()))
    })
    .await?;
    ensure!(cluster.address("hello").await? == address, "hello lost {address}");
    cluster.settled_owner("hello").await?;
    Ok(())
}

//! What clients meet while all goes as planned.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_lab::clock::Monotonic;
use herald_lab::objects::NAMESPACE;
use herald_lab::prober::{Pace, Prober};
use herald_netns::wait_for;
use libtest_mimic::Trial;

use crate::cluster::{Cluster, EXTRA, STREAK};
use crate::{DEADLINE, Stage};

/// 100 requests a second: more than the Pods answer beside the kubelets of three nodes would not show who loses them. A kernel sends a
/// lost segment again after a second, and then the request is served.
pub(crate) const PACE: Pace = Pace {
    interval: Duration::from_millis(10),
    timeout: Duration::from_secs(3),
    most_open: 1000,
};

pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    vec![
        stage.trial("a_client_is_served_by_the_node_that_answers_arp", served),
        stage.trial("a_rolling_update_loses_no_request", rolling_update),
        stage.trial("a_drained_node_gives_local_services_away", drained),
        stage.trial("a_speaker_beside_busy_pods_keeps_its_addresses", busy),
    ]
}

async fn served(cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut asked = Vec::new();
    for service in ["hello", "local"] {
        let owner = cluster.settled_owner(service).await?;
        let target = SocketAddr::new(cluster.address(service).await?, 80);
        for _ in 0..20 {
            asked.push((service, owner, cluster.client().ask(target).await?));
        }
    }
    // With policy Local only the Pods of the owner are asked, with policy Cluster those of all nodes.
    for (_, owner, greeting) in asked.iter().filter(|(service, ..)| *service == "local") {
        let owner = cluster.machine(*owner).name();
        ensure!(
            greeting.node == owner,
            "{owner} has the address, {greeting:?} answered"
        );
    }
    let mut nodes: Vec<&str> = asked
        .iter()
        .filter(|(service, ..)| *service == "hello")
        .map(|(.., greeting)| greeting.node.as_str())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    ensure!(nodes.len() > 1, "only {nodes:?} answered");
    Ok(())
}

/// Fails if a request that began since `start` met no server.
pub(crate) fn ensure_served(prober: &Prober, start: Monotonic) -> anyhow::Result<()> {
    let outage = prober.history().outage(start).context("nothing was answered")?;
    let mut unserved: BTreeMap<&str, usize> = BTreeMap::new();
    for loss in outage.unserved() {
        *unserved.entry(loss).or_default() += 1;
    }
    ensure!(
        unserved.is_empty(),
        "requests were lost, {} were answered: {unserved:?}",
        outage.answered
    );
    Ok(())
}

async fn rolling_update(cluster: &mut Cluster) -> anyhow::Result<()> {
    let mut prober = cluster.probe("hello", PACE).await?;
    let start = Monotonic::now();
    for what in ["daemonset/herald-speaker", "deployment/herald-controller"] {
        cluster
            .kubectl
            .run(["rollout", "restart", what, "-n", NAMESPACE])
            .await?;
        cluster.rolled_out(NAMESPACE, what).await?;
    }
    cluster.settled_owner("hello").await?;
    let now = Monotonic::now();
    prober.wait_until_served(now, STREAK, DEADLINE).await?;
    ensure_served(&prober, start)
}

/// A Pod on each node, and a Service with policy Local. A Pod that is evicted has no other node to go to, so the address moves once.
const LOCAL: &str = "
apiVersion: v1
kind: Service
metadata: {name: drained, labels: {herald.io/e2e: extra}}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: drained}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: drained, labels: {herald.io/e2e: extra}}
spec:
  replicas: 3
  selector: {matchLabels: {app: drained}}
  template:
    metadata: {labels: {app: drained}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 15
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: drained}}}
      containers:
        - name: drained
          image: localhost/pod:1
          args: [\":8080\"]
          env:
            - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 100m}}
";

async fn drained(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.kubectl.apply(LOCAL).await?;
    cluster.rolled_out("default", "deployment/drained").await?;
    let owner = cluster.settled_owner("drained").await?;
    let mut prober = cluster.probe("drained", PACE).await?;
    let speaker = cluster.machine(owner).processes("/herald-speaker");
    let start = Monotonic::now();
    let name = cluster.machine(owner).name();
    let timeout = format!("--timeout={}s", DEADLINE.as_secs());
    cluster
        .kubectl
        .run(["drain", name, "--ignore-daemonsets", &timeout])
        .await?;
    let successor = cluster.settled_owner("drained").await?;
    ensure!(successor != owner, "{name} still has the address");
    let now = Monotonic::now();
    prober.wait_until_served(now, STREAK, DEADLINE).await?;
    let last = prober.history();
    let last = last
        .outcomes()
        .last()
        .and_then(|outcome| outcome.answer.clone().ok());
    let last = last.context("the last request was lost")?;
    ensure!(
        last.node == cluster.machine(successor).name(),
        "{last:?} answered"
    );
    ensure!(
        cluster.machine(owner).processes("/herald-speaker") == speaker,
        "the drain ended the speaker, which a DaemonSet keeps"
    );
    // The budget let one controller go at a time.
    cluster.installed(NAMESPACE, "herald").await?;
    ensure_served(&prober, start)
}

/// A Pod on each node that uses up all processor time it can have.
const BUSY: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: busy, labels: {herald.io/e2e: extra}}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
        - {name: busy, image: localhost/pod:1, args: [spin], resources: {requests: {cpu: 500m}}}
";

/// Requests at the usual pace that are made while the nodes are busy: some 20 s of them.
const BUSY_REQUESTS: usize = 2000;

async fn busy(cluster: &mut Cluster) -> anyhow::Result<()> {
    let owner = cluster.settled_owner("hello").await?;
    let address = cluster.address("hello").await?;
    let takeovers = takeovers(cluster).await?;
    cluster.kubectl.apply(BUSY).await?;
    cluster.rolled_out("default", "daemonset/busy").await?;
    let sniffer = cluster.switch().sniff().await?;
    sniffer.watch(&[address]);
    let start = Monotonic::now();
    let mut prober = cluster.probe("hello", PACE).await?;
    let asked = |history: &herald_lab::prober::History| history.outcomes().len() >= BUSY_REQUESTS;
    prober.wait_for(DEADLINE, asked).await?;
    let owners = sniffer.sightings().since(start).owners(address);
    ensure!(
        owners == [cluster.machine(owner).host().mac()],
        "{address} was at {owners:?}"
    );
    cluster
        .kubectl
        .run(["delete", "daemonset", "--wait", "-l", EXTRA])
        .await?;
    let after = wait_for("the metrics can be read", DEADLINE, async || {
        self::takeovers(cluster).await.map(Some)
    });
    let after = after.await?;
    ensure!(
        after == takeovers,
        "{} addresses were taken over",
        after - takeovers
    );
    Ok(())
}

/// How many addresses all speakers have taken over from one that failed.
pub(crate) async fn takeovers(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut count = 0.0;
    for node in 0..cluster.machines().len() {
        count += cluster.metric(node, "herald_failover_seconds_count").await?;
    }
    Ok(count)
}

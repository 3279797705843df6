//! The two versions of a `BGPPeer`, as kubectl shows them.

use anyhow::ensure;
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{DEADLINE, QUICKSTART, in_cluster};

const PEER: &str = "{apiVersion: metallb.io/v1beta2, kind: BGPPeer, metadata: {name: tor, namespace: metallb-system}, spec: {myASN: 64512, dynamicASN: external, peerAddress: 192.0.2.1, passwordSecret: {name: tor}, enableGracefulRestart: false}}";
const OLD: [&str; 4] = ["bgppeers.v1beta1.metallb.io", "tor", "-n", NAMESPACE];
const NEW: [&str; 4] = ["bgppeers.v1beta2.metallb.io", "tor", "-n", NAMESPACE];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster(
            "a_client_of_the_older_version_takes_nothing_from_a_peer",
            read_and_written_back,
        ),
        in_cluster(
            "without_controllers_the_stored_version_of_a_peer_can_be_read_and_written",
            without_controllers,
        ),
    ]
}

/// Waits until the API server has the peer converted.
async fn converted(kubectl: &Kubectl) -> anyhow::Result<Value> {
    wait_for("the API server shows the older version", DEADLINE, async || {
        Ok(kubectl.get(&OLD).await.ok())
    })
    .await
}

async fn read_and_written_back(_lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    kubectl.apply(PEER).await?;
    let before = kubectl.get(&NEW).await?;
    let mut old = converted(kubectl).await?;
    ensure!(old["spec"].get("passwordSecret").is_none(), "{old}");
    ensure!(old["spec"].get("holdTime").is_none(), "{old}");
    old["spec"]["holdTime"] = "30s".into();
    kubectl.apply_unchecked(&old.to_string()).await?;
    let after = kubectl.get(&NEW).await?;
    let mut expected = before["spec"].clone();
    expected["holdTime"] = "30s".into();
    ensure!(after["spec"] == expected, "{after}");
    let annotation = &after["metadata"]["annotations"]["metallb.io/v1beta2-fields"];
    ensure!(annotation.is_null(), "{after}");
    Ok(())
}

async fn without_controllers(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    kubectl.apply(PEER).await?;
    converted(kubectl).await?;
    lab.kill_controller().await?;
    ensure!(kubectl.get(&OLD).await.is_err(), "nothing can convert it");
    kubectl.apply(&PEER.replace("64512", "64515")).await?;
    let peer = kubectl.get(&NEW).await?;
    ensure!(peer["spec"]["myASN"] == 64515, "{peer}");
    lab.start_controller().await?;
    converted(kubectl).await?;
    Ok(())
}

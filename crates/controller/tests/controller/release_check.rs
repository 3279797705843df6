//! The check that `helm test` runs.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cluster::{Cluster, NAMESPACE};

const LABELS: &str = "app=speaker";

fn start_check(cluster: &Cluster, namespace: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_herald-controller"))
        .args(["--namespace", namespace, "--pod-name", "check", "--check-release"])
        .args(["--ml-labels", LABELS])
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the check starts")
}

/// Creates a ready Pod, and returns its uid.
async fn create_pod(cluster: &Cluster, name: &str, app: &str) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"nodeName": "node", "containers": [{"name": app, "image": app}]},
    });
    let made = cluster.create(&path, pod).await;
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let path = format!("{path}/{name}/status");
    let sent = cluster
        .send("PATCH", &path, "application/merge-patch+json", status)
        .await;
    sent.expect("it is ready");
    made["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// Writes the `ConfigurationState` of a speaker.
async fn report(cluster: &Cluster, pod: &str, uid: &str) {
    let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/configurationstates");
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
    let state = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState",
        "metadata": {"name": "speaker-node", "ownerReferences": [owner]},
    });
    cluster.create(&path, state).await;
    let status = json!({"status": {"result": "Valid"}});
    let path = format!("{path}/speaker-node/status");
    let sent = cluster
        .send("PATCH", &path, "application/merge-patch+json", status)
        .await;
    sent.expect("it is written");
}

#[tokio::test]
async fn the_check_waits_for_each_part_of_a_release_and_succeeds_when_all_work() {
    let mut cluster = Cluster::start().await;
    let mut check = start_check(&cluster, NAMESPACE);
    let mut lines = BufReader::new(check.stdout.take().expect("a pipe")).lines();
    let mut faults = async |text: &str| {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains(text) {
                return line;
            }
        }
        panic!("the check does not say: {text}");
    };
    let first = faults("waiting: ").await;
    assert!(first.contains("no controller is active"), "{first}");
    assert!(first.contains("there is no Pod of a speaker"), "{first}");
    cluster.start_controller("first");
    faults("first, which holds the Lease herald-controller, is not ready").await;
    create_pod(&cluster, "first", "controller").await;
    let uid = create_pod(&cluster, "speaker-x", "speaker").await;
    faults("the speaker speaker-x on node node has written no ConfigurationState").await;
    report(&cluster, "speaker-x", &uid).await;
    faults("the release works").await;
    let status = check.wait().await.expect("it is ours");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_check_fails_and_names_each_fault_when_the_release_does_not_come_up() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    create_pod(&cluster, "first", "controller").await;
    let uid = create_pod(&cluster, "speaker-x", "speaker").await;
    report(&cluster, "speaker-x", &uid).await;
    // A controller that was killed still has the Lease, and the API server shows its Pod as ready for a while.
    cluster.signal("first", Signal::SIGKILL);
    let gone = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servicel2statuses.metallb.io";
    let sent = cluster
        .send("DELETE", gone, "application/json", json!(null))
        .await;
    sent.expect("it is deleted");
    let output = start_check(&cluster, NAMESPACE).wait_with_output().await;
    let output = output.expect("it is ours");
    let end = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success(), "{end}");
    let faults = "the release does not work: no definition of ServiceL2Status is served: apply those of crds/; the controller first \
                  has not renewed the Lease herald-controller yet";
    assert!(end.contains(faults), "{end}");
}

//! Several controllers: one is active, and no address is given twice whatever happens to it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Cluster, NAMESPACE, wait_for};

/// A cluster with a pool of 20 addresses, two controllers of which `first` is active, and ten Services.
async fn two_controllers() -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.1-192.0.2.20"]}))
        .await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    cluster.start_controller("second");
    wait_for("the second stands by", async || {
        cluster.log_of("second").contains("standing by")
    })
    .await;
    for i in 0..10 {
        cluster.create_service(&format!("s{i}"), json!({})).await;
    }
    wait_for("all have addresses", async || cluster.all_assigned().await).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_stopped_hands_over_at_once_and_no_address_moves() {
    let mut cluster = two_controllers().await;
    let before = cluster.assignments().await;
    cluster.signal("first", Signal::SIGTERM);
    cluster.await_leader("second").await;
    cluster.end_of("first").await;
    // A Lease that has to expire takes 15 s.
    assert!(cluster.log_of("first").contains("is given back"));
    let counts = cluster.counts();
    cluster.create_service("late", json!({})).await;
    wait_for("the new one has an address", async || {
        cluster.all_assigned().await
    })
    .await;
    let after = cluster.assignments().await;
    assert!(before.iter().all(|(name, addresses)| after[name] == *addresses));
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 1);
    cluster.witness.assert_never_doubled();
    cluster.witness.assert_nothing_moved();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_of_a_killed_controller_gives_a_returning_service_its_old_address() {
    let mut cluster = two_controllers().await;
    let before = cluster.assignments().await;
    cluster.delete_service("s3").await;
    cluster.signal("first", Signal::SIGKILL);
    cluster.end_of("first").await;
    // An address that a standby saw released is not given to another Service, and goes back to the Service that had it.
    cluster.create_service("other", json!({})).await;
    cluster.await_leader("second").await;
    wait_for("the other one has an address", async || {
        cluster.all_assigned().await
    })
    .await;
    cluster.create_service("s3", json!({})).await;
    wait_for("all have addresses", async || cluster.all_assigned().await).await;
    assert_eq!(cluster.assignments().await["s3"], before["s3"]);
    cluster.witness.assert_never_doubled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_controller_that_resumes_writes_nothing_that_is_outdated() {
    let cluster = two_controllers().await;
    cluster.signal("first", Signal::SIGSTOP);
    // The paused controller has these in its sockets, unread.
    for i in 0..3 {
        cluster
            .create_service(&format!("while-paused-{i}"), json!({}))
            .await;
    }
    cluster.await_leader("second").await;
    wait_for("all have addresses", async || cluster.all_assigned().await).await;
    // By what it knows, it would give these addresses to others.
    cluster.delete_service("while-paused-0").await;
    cluster.create_service("after", json!({})).await;
    wait_for("all have addresses", async || cluster.all_assigned().await).await;
    let before = cluster.assignments().await;
    let counts = cluster.counts();
    cluster.signal("first", Signal::SIGCONT);
    wait_for("it has noticed", async || {
        cluster.log_of("first").contains("is lost")
    })
    .await;
    // Long enough for every write that it could have decided.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.assignments().await, before);
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 0);
    assert_eq!(cluster.leader().await.as_deref(), Some("second"));
    cluster.witness.assert_never_doubled();
    cluster.witness.assert_nothing_moved();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_api_server_is_away_for_longer_than_the_lease_one_is_active_afterwards() {
    let cluster = two_controllers().await;
    let before = cluster.assignments().await;
    let faults = cluster.server.faults();
    faults.set_away(true);
    wait_for("the lease is lost", async || {
        cluster.log_of("first").contains("is lost")
    })
    .await;
    faults.set_away(false);
    wait_for("one leads", async || {
        ["first", "second"].iter().any(|name| {
            let log = cluster.log_of(name);
            log.rfind("active: deciding") > log.rfind("is lost")
        })
    })
    .await;
    cluster.create_service("late", json!({})).await;
    wait_for("the new one has an address", async || {
        cluster.all_assigned().await
    })
    .await;
    let after = cluster.assignments().await;
    assert!(before.iter().all(|(name, addresses)| after[name] == *addresses));
    cluster.witness.assert_never_doubled();
    cluster.witness.assert_nothing_moved();
}

/// A controller cannot release its Lease when its rights are removed first, as `helm uninstall` does.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_controller_that_could_not_release_it_goes_with_its_installation() {
    let mut cluster = Cluster::start().await;
    // In place of a ReplicaSet, which the embedded API does not have.
    let installed = cluster
        .create(
            &format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"),
            json!({"metadata": {"name": "first"}, "spec": {
                "selector": {"matchLabels": {"app": "first"}},
                "template": {
                    "metadata": {"labels": {"app": "first"}},
                    "spec": {"containers": [{"name": "main", "image": "main"}]},
                },
            }}),
        )
        .await;
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "first",
        "uid": installed["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    });
    cluster
        .create(
            &format!("/api/v1/namespaces/{NAMESPACE}/pods"),
            json!({
                "metadata": {"name": "first", "ownerReferences": [owner]},
                "spec": {"containers": [{"name": "main", "image": "main"}]},
            }),
        )
        .await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    cluster.signal("first", Signal::SIGKILL);
    cluster.end_of("first").await;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/first");
    let deleted = cluster.send("DELETE", &path, "application/json", json!({})).await;
    deleted.expect("deleted");
    wait_for("the lease is gone", async || cluster.leader().await.is_none()).await;
    cluster.start_controller("second");
    cluster.await_leader("second").await;
    assert!(!cluster.log_of("second").contains("standing by"));
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_metallb_nothing_is_written_until_the_pod_of_its_controller_is_gone() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.1-192.0.2.20"]}))
        .await;
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    // It is not ready.
    let metallb = json!({
        "metadata": {"name": "controller", "labels": {"app": "metallb", "component": "controller"}},
        "spec": {"containers": [{"name": "controller", "image": "metallb"}]},
    });
    cluster.create(&pods, metallb).await;
    cluster.create_service("web", json!({})).await;
    let counts = cluster.counts();
    cluster.start_controller_with("herald", &["--beside-metallb"]);
    cluster.await_leader("herald").await;
    wait_for("it waits", async || {
        cluster.log_of("herald").contains("MetalLB's controller is there")
    })
    .await;
    // Long enough for every write that it could have decided.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written = cluster.counts().since(&counts);
    assert_eq!(written.of("patch", "services/status"), 0);
    assert!(!cluster.log_of("herald").contains("active: deciding"));
    let pod = format!("{pods}/controller");
    let now = json!({"gracePeriodSeconds": 0});
    let deleted = cluster.send("DELETE", &pod, "application/json", now).await;
    deleted.expect("deleted");
    wait_for("the Service has an address", async || {
        cluster.all_assigned().await
    })
    .await;
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 1);
}

//! A condition that the API server takes and this program cannot parse: it concerns nothing else.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Cluster, wait_for};

/// A time that RFC 3339 and Go know, and jiff does not.
const LATE: &str = "9999-12-31T23:59:59Z";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Writes a time into a status that its user may write.
async fn make_unreadable(cluster: &Cluster, name: &str) {
    let patch = json!({"status": {"conditions": [{
        "type": "example.com/Late", "status": "True", "reason": "Late", "message": "", "lastTransitionTime": LATE,
    }]}});
    let path = format!("{SERVICES}/{name}/status");
    let media_type = "application/strategic-merge-patch+json";
    let written = cluster
        .send("PATCH", &path, media_type, patch)
        .await
        .expect("it is written");
    let conditions = written["status"]["conditions"].as_array().expect("conditions");
    assert!(
        conditions
            .iter()
            .any(|condition| condition["lastTransitionTime"] == LATE)
    );
    let typed = cluster.services().get(name).await;
    assert!(matches!(typed, Err(kube::Error::SerdeError(_))), "{typed:?}");
}

async fn await_address(cluster: &Cluster, name: &str) {
    wait_for(&format!("{name} has an address"), async || {
        !cluster.addresses_of(name).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_cannot_be_parsed_concerns_neither_its_service_nor_the_others() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.0.0.0/24"]}))
        .await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    cluster.create_service("bad", json!({})).await;
    await_address(&cluster, "bad").await;
    let kept = cluster.addresses_of("bad").await;
    make_unreadable(&cluster, "bad").await;
    // In the watch, after a broken connection, and in a list.
    cluster.create_service("watched", json!({})).await;
    await_address(&cluster, "watched").await;
    cluster.server.faults().drop_watches();
    cluster.create_service("reconnected", json!({})).await;
    await_address(&cluster, "reconnected").await;
    cluster.server.faults().expire_resource_versions();
    cluster.create_service("listed", json!({})).await;
    await_address(&cluster, "listed").await;
    // It is not taken for deleted.
    assert_eq!(cluster.addresses_of("bad").await, kept);
    for name in ["watched", "reconnected", "listed"] {
        assert_ne!(cluster.addresses_of(name).await, kept);
    }
    let log = cluster.log_of("first");
    assert!(!log.contains("cannot be parsed"), "{log}");
    assert!(!log.contains("the API server is away"), "{log}");

    cluster.signal("first", Signal::SIGTERM);
    cluster.end_of("first").await;
    cluster.start_controller("second");
    cluster.await_leader("second").await;
    cluster.create_service("restarted", json!({})).await;
    await_address(&cluster, "restarted").await;
    assert_ne!(cluster.addresses_of("restarted").await, kept);
    assert_eq!(cluster.addresses_of("bad").await, kept);
    // It is served like any other.
    let path = format!("{SERVICES}/bad");
    let patch = json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "10.0.0.99"}}});
    let sent = cluster
        .send("PATCH", &path, "application/merge-patch+json", patch)
        .await;
    sent.expect("it is written");
    wait_for("bad has the address that it requests", async || {
        cluster.addresses_of("bad").await == ["10.0.0.99"]
    })
    .await;
}

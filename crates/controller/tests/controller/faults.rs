//! A restart with thousands of Services while the API server has faults: no address moves, none is given twice.

use std::time::Duration;

use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Cluster, wait_for};

/// As many Services as Herald is made for; fewer where the API server is not optimised either and needs minutes.
const SERVICES: usize = if cfg!(debug_assertions) { 3_000 } else { 10_000 };

async fn with_services(count: usize) -> Cluster {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.0.0.0/16"]}))
        .await;
    cluster.start_controller("first");
    let create = |i: usize| {
        let cluster = &cluster;
        async move { cluster.create_service(&format!("s{i}"), json!({})).await }
    };
    futures::stream::iter(0..count)
        .map(create)
        .buffer_unordered(32)
        .collect::<()>()
        .await;
    wait_for("all have addresses", async || cluster.witness.assigned() == count).await;
    assert_eq!(cluster.assignments().await.len(), count);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_services_get_one_write_each_and_a_restart_writes_nothing() {
    let mut cluster = with_services(SERVICES).await;
    let counts = cluster.counts();
    assert_eq!(counts.of("patch", "services/status"), SERVICES as u64);
    let before = cluster.assignments().await;
    let faults = cluster.server.faults();

    let restart = async |cluster: &mut Cluster, name: &str| {
        cluster.signal(name, Signal::SIGTERM);
        cluster.end_of(name).await;
    };

    // A status that is as desired is not written again.
    restart(&mut cluster, "first").await;
    let counts = cluster.counts();
    cluster.start_controller("second");
    cluster.await_leader("second").await;
    cluster.create_service("after-second", json!({})).await;
    wait_for("the new one has an address", async || {
        cluster.witness.assigned() == SERVICES + 1
    })
    .await;
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 1);

    // A slow API server, versions that have expired, watches that break, and conflicts.
    restart(&mut cluster, "second").await;
    faults.set_delay(Some(Duration::from_millis(100)));
    faults.expire_resource_versions();
    cluster.start_controller("third");
    cluster.await_leader("third").await;
    for i in 0..5 {
        faults.drop_watches();
        faults.expire_resource_versions();
        faults.conflict_next(3);
        cluster.create_service(&format!("during-{i}"), json!({})).await;
    }
    faults.set_delay(None);
    wait_for("all have addresses", async || {
        cluster.witness.assigned() == SERVICES + 6
    })
    .await;

    let after = cluster.assignments().await;
    assert!(before.iter().all(|(name, addresses)| after[name] == *addresses));
    cluster.witness.assert_never_doubled();
    cluster.witness.assert_nothing_moved();
}

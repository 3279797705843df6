//! An API server whose etcd was restored from a backup: its versions go back.

use futures::StreamExt;
use serde_json::json;

use crate::cluster::{Cluster, wait_for};

/// So many versions the restore goes back.
const VERSIONS: usize = 1000;

/// The watches of Services: two in each controller.
const WATCHES: u64 = 4;

/// So many times the version of Services is asked for until each controller has asked for it in each of its two watches, which
/// do that once a second.
const CHECKS: u64 = 16;

/// Restores a backup while a controller and a standby run, and checks that both follow. Watches are cut, or stay open in
/// silence.
async fn both_follow(arguments: &[&str], are_watches_cut: bool) {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["10.0.0.0/24"]}))
        .await;
    cluster.start_controller_with("first", arguments);
    cluster.await_leader("first").await;
    cluster.start_controller_with("second", arguments);
    cluster.create_service("kept", json!({})).await;
    wait_for("the first has an address", async || cluster.all_assigned().await).await;
    let kept = cluster.assignments().await;
    let faults = cluster.server.faults();
    let backup = faults.backup();

    cluster.delete_service("kept").await;
    let create = |i: usize| {
        let cluster = &cluster;
        let map = json!({"metadata": {"name": format!("m{i}")}});
        async move {
            cluster.create("/api/v1/namespaces/default/configmaps", map).await;
        }
    };
    let create_many = || futures::stream::iter(0..VERSIONS).for_each_concurrent(32, create);
    cluster
        .create_service("lost", json!({"metallb.io/loadBalancerIPs": "10.0.0.77"}))
        .await;
    wait_for("the second has an address", async || cluster.all_assigned().await).await;
    create_many().await;
    if are_watches_cut {
        // What a watch has seen of its kind may be older than all these versions. A watch that breaks asks.
        let before = cluster.server.request_counts();
        faults.drop_watches();
        wait_for("each watch has asked for the version", async || {
            let asked = cluster.server.request_counts().since(&before);
            asked.of("list", "services") >= WATCHES
        })
        .await;
    } else {
        // Only who has seen one of these versions can notice that they are gone.
        let before = cluster.server.request_counts();
        wait_for("each controller has asked for the version", async || {
            let asked = cluster.server.request_counts().since(&before);
            asked.of("list", "services") >= CHECKS
        })
        .await;
    }
    faults.restore(backup);
    if are_watches_cut {
        faults.drop_watches();
    } else {
        // More than came between the backup and the last event of a watch.
        futures::stream::iter(VERSIONS..VERSIONS + 50)
            .for_each_concurrent(8, create)
            .await;
        wait_for(
            "both watches of Services notice it in both controllers",
            async || {
                let is_noticed = |name| {
                    let log = cluster.log_of(name);
                    let restored = log
                        .lines()
                        .filter(|line| line.contains("it was restored from a backup"));
                    restored.filter(|line| line.contains("\"services\"")).count() >= 2
                };
                ["first", "second"].into_iter().all(is_noticed)
            },
        )
        .await;
    }

    // The address of the Service that is lost is free, and that of the Service that is back is not.
    cluster
        .create_service("next", json!({"metallb.io/loadBalancerIPs": "10.0.0.77"}))
        .await;
    let asked = kept["kept"][0].to_string();
    cluster
        .create_service("refused", json!({"metallb.io/loadBalancerIPs": asked}))
        .await;
    wait_for("all is decided by what was restored", async || {
        let assigned = cluster.assignments().await;
        let refused = cluster.condition("refused").await;
        assigned
            .get("next")
            .is_some_and(|addresses| !addresses.is_empty())
            && assigned["kept"] == kept["kept"]
            && refused.is_some_and(|condition| condition["reason"] == "AddressInUse")
    })
    .await;
    // The Lease goes on, too, and the standby has followed.
    assert_eq!(cluster.leader().await.as_deref(), Some("first"));
    cluster.signal("first", nix::sys::signal::Signal::SIGTERM);
    cluster.end_of("first").await;
    cluster.await_leader("second").await;
    cluster.create_service("last", json!({})).await;
    wait_for("the standby decides", async || {
        cluster.assignments().await["last"].len() == 1
    })
    .await;
    assert_eq!(cluster.assignments().await["kept"], kept["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_restored_is_noticed_when_its_watches_break() {
    both_follow(&[], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_restored_is_noticed_although_its_watches_say_nothing() {
    both_follow(&["--version-check-interval", "1"], false).await;
}

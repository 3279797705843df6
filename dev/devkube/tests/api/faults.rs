//! The misbehaviour that tests ask for.

use std::net::TcpListener;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::WatchParams;
use serde_json::json;
use tokio::time::timeout;

use crate::{Cluster, DEADLINE, SERVICES, refusal, service_path};

#[tokio::test]
async fn away_refuses_connections_and_comes_back_with_its_state() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create(SERVICES, body).await.expect("created");
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let mut watch = pin!(api.watch(&WatchParams::default(), "0").await.expect("a watch"));
    let faults = cluster.server.faults();
    faults.set_away(true);
    let ended = timeout(DEADLINE, async { while let Some(Ok(_)) = watch.next().await {} }).await;
    ended.expect("the connection is closed");
    // The socket is shut right after the connections are; until then a request may still get in line.
    let refused = timeout(DEADLINE, async {
        loop {
            if let Ok(Err(error)) = timeout(Duration::from_secs(1), cluster.get(&service_path("a"))).await {
                break error;
            }
        }
    });
    assert!(!matches!(
        refused.await.expect("an error in time"),
        kube::Error::Api(_)
    ));
    faults.set_away(false);
    let back = timeout(DEADLINE, async {
        loop {
            if let Ok(service) = cluster.get(&service_path("a")).await {
                break service;
            }
        }
    });
    assert_eq!(back.await.expect("back in time")["metadata"]["name"], "a");
}

#[tokio::test]
async fn a_stalled_watch_says_nothing_until_the_stall_ends() {
    let cluster = Cluster::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let mut watch = pin!(api.watch(&WatchParams::default(), "0").await.expect("a watch"));
    let faults = cluster.server.faults();
    faults.stall_watches(true);
    let body = json!({"metadata": {"name": "m"}});
    cluster
        .create("/api/v1/namespaces/default/configmaps", body)
        .await
        .expect("created");
    assert!(
        timeout(Duration::from_millis(200), watch.next()).await.is_err(),
        "silence"
    );
    faults.clear();
    timeout(DEADLINE, watch.next())
        .await
        .expect("in time")
        .expect("an event")
        .expect("no error");
}

#[tokio::test]
async fn requests_are_refused_as_often_as_asked() {
    let cluster = Cluster::start().await;
    cluster.server.faults().refuse_next(2, 500);
    for _ in 0..2 {
        assert_eq!(refusal(cluster.get(SERVICES).await).0, 500);
    }
    cluster.get(SERVICES).await.expect("served again");
}

#[tokio::test]
async fn conflicts_hit_changes_only() {
    let cluster = Cluster::start().await;
    cluster.server.faults().conflict_next(1);
    let body = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create(SERVICES, body).await.expect("created");
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        refusal(cluster.merge(&service_path("a"), patch.clone()).await).0,
        409
    );
    cluster.merge(&service_path("a"), patch).await.expect("only once");
}

#[tokio::test]
async fn a_delay_delays_every_answer() {
    let cluster = Cluster::start().await;
    let delay = Duration::from_millis(150);
    cluster.server.faults().set_delay(Some(delay));
    let start = Instant::now();
    cluster.get(SERVICES).await.expect("served");
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn requests_are_counted_by_verb_and_resource() {
    let cluster = Cluster::start().await;
    let before = cluster.server.request_counts();
    cluster.get(SERVICES).await.expect("served");
    let body = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    cluster.create(SERVICES, body).await.expect("created");
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    cluster
        .merge(&format!("{}/status", service_path("a")), patch)
        .await
        .expect("patched");
    let since = cluster.server.request_counts().since(&before);
    let counted: Vec<_> = since.iter().collect();
    assert_eq!(
        counted,
        [
            ("create", "services", 1),
            ("list", "services", 1),
            ("patch", "services/status", 1)
        ]
    );
}

#[tokio::test]
async fn a_dropped_server_lets_go_of_its_connections_and_its_port() {
    let Cluster {
        server,
        client,
        address,
    } = Cluster::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let mut watch = pin!(api.watch(&WatchParams::default(), "0").await.expect("a watch"));
    drop(server);
    let ended = timeout(DEADLINE, async { while let Some(Ok(_)) = watch.next().await {} }).await;
    ended.expect("the connection is closed");
    let free = timeout(DEADLINE, async {
        while TcpListener::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    });
    free.await.expect("the port is free in time");
}

#[tokio::test]
async fn a_restore_goes_back_and_watches_from_the_future_are_silent_until_it_is_reached() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let create = async |name: &str| {
        let body = json!({"metadata": {"name": name}});
        cluster.create(maps, body).await.expect("created")
    };
    create("kept").await;
    let faults = cluster.server.faults();
    let backup = faults.backup();
    let last = create("lost").await;
    let future = last["metadata"]["resourceVersion"].as_str().expect("a version");
    faults.restore(backup);
    let list = cluster.get(maps).await.expect("a list");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    let mut watch = pin!(api.watch(&WatchParams::default(), future).await.expect("a watch"));
    let silent = create("silent").await;
    assert_eq!(silent["metadata"]["resourceVersion"], *future);
    create("heard").await;
    let event = timeout(DEADLINE, watch.next()).await.expect("in time");
    let event = event.expect("an event").expect("no error");
    let kube::api::WatchEvent::Added(map) = event else {
        panic!("{event:?}");
    };
    assert_eq!(map.metadata.name.as_deref(), Some("heard"));
}

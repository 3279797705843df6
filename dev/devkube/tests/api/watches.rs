//! Watches, by kube's watcher and line by line.

use std::pin::pin;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use herald_devkube::Options;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Cluster, DEADLINE, SERVICES, service_path};

fn service(name: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}})
}

async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> T {
    timeout(DEADLINE, stream.next())
        .await
        .expect("an event in time")
        .expect("the stream goes on")
}

/// The event's verb and the object's name.
fn named(event: Event<Service>) -> String {
    match event {
        Event::Init => "init".into(),
        Event::InitDone => "done".into(),
        Event::InitApply(service) => format!("init {}", service.name_any()),
        Event::Apply(service) => format!("apply {}", service.name_any()),
        Event::Delete(service) => format!("delete {}", service.name_any()),
    }
}

async fn follows_a_selector(config: watcher::Config) {
    let cluster = Cluster::start().await;
    cluster
        .create(SERVICES, service("first", "LoadBalancer"))
        .await
        .expect("created");
    cluster
        .create(SERVICES, service("plain", "ClusterIP"))
        .await
        .expect("created");
    let api: Api<Service> = Api::all(cluster.client.clone());
    let mut events = pin!(watcher::watcher(api, config.fields("spec.type=LoadBalancer")).map_ok(named));
    for expected in ["init", "init first", "done"] {
        assert_eq!(next(&mut events).await.expect("an event"), expected);
    }
    cluster
        .create(SERVICES, service("second", "LoadBalancer"))
        .await
        .expect("created");
    assert_eq!(next(&mut events).await.expect("an event"), "apply second");
    cluster
        .merge(&service_path("plain"), json!({"spec": {"type": "LoadBalancer"}}))
        .await
        .expect("changed");
    assert_eq!(next(&mut events).await.expect("an event"), "apply plain");
    cluster
        .merge(&service_path("first"), json!({"spec": {"type": "ClusterIP"}}))
        .await
        .expect("changed");
    assert_eq!(next(&mut events).await.expect("an event"), "delete first");
    cluster.delete(&service_path("second")).await.expect("deleted");
    assert_eq!(next(&mut events).await.expect("an event"), "delete second");
}

#[tokio::test]
async fn a_listing_watcher_sees_objects_enter_and_leave_its_selector() {
    follows_a_selector(watcher::Config::default()).await;
}

#[tokio::test]
async fn a_streaming_watcher_sees_objects_enter_and_leave_its_selector() {
    follows_a_selector(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_watcher_resumes_after_a_cut_without_a_new_list() {
    let cluster = Cluster::start().await;
    let api: Api<Service> = Api::all(cluster.client.clone());
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    while !matches!(next(&mut events).await.expect("an event"), Event::InitDone) {}
    cluster
        .create(SERVICES, service("a", "ClusterIP"))
        .await
        .expect("created");
    assert_eq!(named(next(&mut events).await.expect("an event")), "apply a");
    cluster.server.faults().drop_watches();
    cluster
        .create(SERVICES, service("b", "ClusterIP"))
        .await
        .expect("created");
    let resumed = loop {
        if let Ok(event) = next(&mut events).await {
            break named(event);
        }
    };
    assert_eq!(resumed, "apply b");
    assert_eq!(cluster.server.request_counts().of("list", "services"), 1);
}

#[tokio::test]
async fn a_watcher_lists_anew_when_its_version_expired() {
    let cluster = Cluster::start().await;
    let api: Api<Service> = Api::all(cluster.client.clone());
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    while !matches!(next(&mut events).await.expect("an event"), Event::InitDone) {}
    cluster
        .create(SERVICES, service("a", "ClusterIP"))
        .await
        .expect("created");
    assert_eq!(named(next(&mut events).await.expect("an event")), "apply a");
    let faults = cluster.server.faults();
    faults.expire_resource_versions();
    faults.drop_watches();
    while !matches!(next(&mut events).await, Ok(Event::Init)) {}
    assert!(cluster.server.request_counts().of("watch", "services") >= 2);
}

#[tokio::test]
async fn metadata_watches_carry_metadata_only() {
    let cluster = Cluster::start().await;
    let node =
        json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}, "spec": {"podCIDR": "10.0.0.0/24"}});
    cluster.create("/api/v1/nodes", node).await.expect("created");
    let api: Api<PartialObjectMeta<Node>> = Api::all(cluster.client.clone());
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    loop {
        if let Event::InitApply(node) = next(&mut events).await.expect("an event") {
            assert_eq!(
                (node.name_any().as_str(), &node.labels()["zone"]),
                ("n1", &"a".to_string())
            );
            break;
        }
    }
}

#[tokio::test]
async fn a_resumed_watch_gets_exactly_what_it_missed() {
    let cluster = Cluster::start().await;
    let api: Api<Service> = Api::default_namespaced(cluster.client.clone());
    let version = api
        .list(&ListParams::default())
        .await
        .expect("a list")
        .metadata
        .resource_version;
    cluster
        .create(SERVICES, service("a", "ClusterIP"))
        .await
        .expect("created");
    cluster.delete(&service_path("a")).await.expect("deleted");
    let mut missed = api
        .watch(&WatchParams::default(), &version.expect("a version"))
        .await
        .expect("a watch")
        .boxed();
    let added = next(&mut missed).await.expect("an event");
    assert!(
        matches!(&added, WatchEvent::Added(service) if service.name_any() == "a"),
        "{added:?}"
    );
    let deleted = next(&mut missed).await.expect("an event");
    assert!(
        matches!(&deleted, WatchEvent::Deleted(service) if service.name_any() == "a"),
        "{deleted:?}"
    );
}

#[tokio::test]
async fn a_forgotten_version_is_an_error_event_in_a_watch_and_a_status_in_a_list() {
    let cluster = Cluster::with(Options {
        history: 2,
        ..Options::default()
    })
    .await;
    let api: Api<Service> = Api::default_namespaced(cluster.client.clone());
    for name in ["a", "b", "c"] {
        cluster
            .create(SERVICES, service(name, "ClusterIP"))
            .await
            .expect("created");
    }
    let mut watch = api
        .watch(&WatchParams::default(), "2")
        .await
        .expect("a watch")
        .boxed();
    let event = next(&mut watch).await.expect("an event");
    let WatchEvent::Error(status) = event else {
        panic!("expected an error event, got {event:?}")
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let exact = cluster
        .get(&format!(
            "{SERVICES}?resourceVersion=2&resourceVersionMatch=Exact"
        ))
        .await;
    assert_eq!(crate::refusal(exact).0, 410);
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    cluster
        .create(SERVICES, service("a", "ClusterIP"))
        .await
        .expect("created");
    let api: Api<Service> = Api::default_namespaced(cluster.client.clone());
    let params = WatchParams {
        send_initial_events: true,
        ..WatchParams::default()
    };
    let mut watch = api.watch(&params, "0").await.expect("a watch").boxed();
    assert!(matches!(next(&mut watch).await, Ok(WatchEvent::Added(_))));
    let event = next(&mut watch).await.expect("an event");
    let WatchEvent::Bookmark(bookmark) = event else {
        panic!("expected a bookmark, got {event:?}")
    };
    assert_eq!(bookmark.metadata.annotations["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up() {
    let cluster = Cluster::start().await;
    let api: Api<Service> = Api::default_namespaced(cluster.client.clone());
    let watch = api
        .watch(&WatchParams::default().timeout(1), "0")
        .await
        .expect("a watch");
    let events: Vec<_> = timeout(DEADLINE, watch.try_collect())
        .await
        .expect("an end in time")
        .expect("no error");
    assert!(
        matches!(events.as_slice(), [WatchEvent::Bookmark(_)]),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_list_comes_in_pages_and_the_watch_shows_what_changed_between_them() {
    let cluster = Cluster::start().await;
    let create = async |name| {
        cluster
            .create(SERVICES, service(name, "ClusterIP"))
            .await
            .expect("created");
    };
    for name in ["b", "c", "e"] {
        create(name).await;
    }
    let api: Api<Service> = Api::all(cluster.client.clone());
    let pages = ListParams::default().limit(2);
    let first = api.list(&pages).await.expect("a page");
    let names = |list: &[Service]| list.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(&first.items), ["b", "c"]);
    let token = first.metadata.continue_.expect("there is more");
    create("a").await;
    create("f").await;
    let second = api
        .list(&pages.clone().continue_token(&token))
        .await
        .expect("a page");
    assert_eq!(names(&second.items), ["e", "f"]);
    assert_eq!(second.metadata.continue_, None);
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let version = first.metadata.resource_version.expect("a version");
    let events = api
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a watch");
    let mut events = events.boxed();
    for expected in ["a", "f"] {
        let WatchEvent::Added(object) = next(&mut events).await.expect("an event") else {
            panic!("a Service was created");
        };
        assert_eq!(object.name_any(), expected);
    }
    let invalid = pages.continue_token("nonsense");
    let refused = api.list(&invalid).await.expect_err("no token");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 400));
}

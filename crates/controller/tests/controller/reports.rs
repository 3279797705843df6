//! What users read: conditions, events, `ConfigurationState`.

use std::collections::BTreeMap;
use std::time::Instant;

use herald_api::crd::ConfigurationResult;
use herald_api::{ConfigurationState, IPAddressPool};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE, wait_for};

async fn state(cluster: &Cluster) -> Option<ConfigurationState> {
    let states: Api<ConfigurationState> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    states.get_opt("controller").await.expect("an answer")
}

async fn result(cluster: &Cluster) -> Option<ConfigurationResult> {
    state(cluster).await?.status?.result
}

async fn events(cluster: &Cluster, namespace: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    events.list(&ListParams::default()).await.expect("events").items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pool_shows_in_the_configuration_state_and_each_change_is_one_write() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("good", json!({"addresses": ["192.0.2.0/24"]}))
        .await;
    cluster.start_controller("first");
    wait_for("it is valid", async || {
        result(&cluster).await == Some(ConfigurationResult::Valid)
    })
    .await;
    let counts = cluster.counts();
    cluster
        .apply_pool("z-broken", json!({"addresses": ["192.0.2.64/26"]}))
        .await;
    wait_for("it is invalid", async || {
        result(&cluster).await == Some(ConfigurationResult::Invalid)
    })
    .await;
    let shown = state(&cluster).await.expect("it exists");
    let status = shown.status.expect("a status");
    let summary = status.error_summary.expect("a summary");
    assert!(
        summary.contains("IPAddressPool \"z-broken\": spec.addresses[0]"),
        "{summary}"
    );
    assert_eq!(status.conditions[0].type_, "poolReconcilerValid");
    assert_eq!(status.conditions[0].reason, "ConfigurationError");
    assert_eq!(
        shown.metadata.labels.expect("labels")["metallb.io/component-type"],
        "controller"
    );
    // Nothing else in the cluster changes it.
    for i in 0..20 {
        cluster.create_service(&format!("s{i}"), json!({})).await;
    }
    wait_for("all have addresses", async || cluster.all_assigned().await).await;
    cluster
        .apply_pool("z-broken", json!({"addresses": ["198.51.100.0/24"]}))
        .await;
    wait_for("it is valid again", async || {
        result(&cluster).await == Some(ConfigurationResult::Valid)
    })
    .await;
    let counts = cluster.counts().since(&counts);
    assert_eq!(counts.of("patch", "configurationstates/status"), 2);
    assert_eq!(counts.of("patch", "configurationstates"), 0);
    assert_eq!(counts.of("create", "configurationstates"), 0);
}

/// As beside MetalLB, whose programs keep the same object and add their own Pods to its owners.
#[tokio::test(flavor = "multi_thread")]
async fn another_owner_of_the_configuration_state_stays_and_costs_no_write() {
    let mut cluster = Cluster::start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let pod = json!({"metadata": {"name": "first"}, "spec": {"containers": [{"name": "controller"}]}});
    let pod = serde_json::from_value(pod).expect("a Pod");
    let pod = pods.create(&PostParams::default(), &pod).await.expect("created");
    cluster.start_controller("first");
    wait_for("it is valid", async || {
        result(&cluster).await == Some(ConfigurationResult::Valid)
    })
    .await;
    let states: Api<ConfigurationState> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let shown = state(&cluster).await.expect("it exists");
    let mut owners = shown.metadata.owner_references.expect("an owner");
    assert_eq!(Some(&owners[0].uid), pod.metadata.uid.as_ref());
    owners.push(OwnerReference {
        uid: "another".to_owned(),
        name: "another".to_owned(),
        ..owners[0].clone()
    });
    let patch = json!({"metadata": {"ownerReferences": owners}});
    let params = PatchParams::default();
    let patch = Patch::Merge(patch);
    let patched = states.patch("controller", &params, &patch).await;
    patched.expect("patched");
    let counts = cluster.counts();
    // By its next write it has seen the new owner.
    cluster
        .apply_pool("broken", json!({"addresses": ["192.0.2.2-192.0.2.1"]}))
        .await;
    wait_for("it is invalid", async || {
        result(&cluster).await == Some(ConfigurationResult::Invalid)
    })
    .await;
    let counts = cluster.counts().since(&counts);
    assert_eq!(counts.of("patch", "configurationstates"), 0);
    let shown = state(&cluster).await.expect("it exists");
    assert_eq!(shown.metadata.owner_references, Some(owners.clone()));
    // Where another program has removed its reference, it adds it again, once.
    let patch = json!({"metadata": {"ownerReferences": [owners[1]]}});
    let patch = Patch::Merge(patch);
    let patched = states.patch("controller", &params, &patch).await;
    patched.expect("patched");
    owners.reverse();
    wait_for("it is an owner again", async || {
        let shown = state(&cluster).await.expect("it exists");
        shown.metadata.owner_references.as_ref() == Some(&owners)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_state_that_is_deleted_is_created_again() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller("first");
    wait_for("it is there", async || result(&cluster).await.is_some()).await;
    let states: Api<ConfigurationState> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let before = state(&cluster).await.expect("it exists").metadata.uid;
    states
        .delete("controller", &DeleteParams::default())
        .await
        .expect("deleted");
    wait_for("it is there again", async || {
        let state = state(&cluster).await;
        state.is_some_and(|state| state.metadata.uid != before && state.status.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_flaps_does_not_flood_the_api_server_with_events() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.1-192.0.2.2"]}))
        .await;
    cluster.start_controller("first");
    cluster.create_service("web", json!({})).await;
    wait_for("it has an address", async || cluster.all_assigned().await).await;
    let counts = cluster.counts();
    for i in 0..200 {
        let address = format!("192.0.2.{}", 1 + i % 2);
        cluster
            .annotate("web", json!({"metallb.io/loadBalancerIPs": address}))
            .await;
        wait_for("it has the address that it asks for", async || {
            cluster.assignments().await["web"] == [address.parse::<std::net::IpAddr>().unwrap()]
        })
        .await;
    }
    let counts = cluster.counts().since(&counts);
    let writes = counts.of("create", "events") + counts.of("patch", "events");
    assert!(
        (2..=26).contains(&writes),
        "{writes} writes of events for 200 changes"
    );
    let mut counted: BTreeMap<String, i32> = BTreeMap::new();
    for event in events(&cluster, "default").await {
        assert_eq!(
            event.source.expect("a source").component.as_deref(),
            Some("metallb-controller")
        );
        *counted.entry(event.reason.unwrap_or_default()).or_default() += event.count.unwrap_or(0);
    }
    assert!(counted["IPAllocated"] > 1, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_service_has_a_reason_also_if_its_request_is_absurd() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("only", json!({"addresses": ["192.0.2.1/32"]}))
        .await;
    cluster.start_controller("first");
    cluster.create_service("one", json!({})).await;
    wait_for("the first one has an address", async || {
        cluster.all_assigned().await
    })
    .await;
    let long = "x".repeat(200_000);
    let cases: [(&str, Value, &str); 4] = [
        ("two", json!({}), "PoolExhausted"),
        ("three", json!({"metallb.io/address-pool": "gold"}), "PoolUnknown"),
        (
            "four",
            json!({"metallb.io/loadBalancerIPs": long}),
            "RequestTooLong",
        ),
        (
            "five",
            json!({"metallb.io/loadBalancerIPs": "203.0.113.9", "metallb.io/allow-shared-ip": "ключ"}),
            "AddressOutsidePools",
        ),
    ];
    for (name, annotations, reason) in cases {
        cluster.create_service(name, annotations).await;
        wait_for(&format!("{name} says {reason}"), async || {
            let condition = cluster.condition(name).await.unwrap_or_default();
            condition["status"] == "False" && condition["reason"] == reason
        })
        .await;
        let message = cluster.condition(name).await.expect("a condition")["message"].to_string();
        assert!(message.len() < 2000, "{} bytes", message.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_of_an_advertisement_is_an_event_on_it_from_the_controller_only() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/l2advertisements");
    let advertisement = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement",
        "metadata": {"name": "twice", "namespace": NAMESPACE},
        "spec": {"ipAddressPools": ["pool", "pool"]},
    });
    cluster.create(&path, advertisement).await;
    wait_for("there is an event", async || {
        events(&cluster, NAMESPACE).await.iter().any(|event| {
            event.involved_object.kind.as_deref() == Some("L2Advertisement")
                && event.involved_object.name.as_deref() == Some("twice")
                && event.reason.as_deref() == Some("InvalidConfiguration")
                && event
                    .message
                    .as_deref()
                    .is_some_and(|message| message.contains("spec.ipAddressPools"))
        })
    })
    .await;
    // Allocation does not depend on it.
    wait_for("the state is there", async || result(&cluster).await.is_some()).await;
    assert_eq!(result(&cluster).await, Some(ConfigurationResult::Valid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_shows_whether_speakers_announce_it_and_a_move_costs_no_write() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("only", json!({"addresses": ["192.0.2.1/32"]}))
        .await;
    cluster.start_controller("first");
    cluster.create_service("web", json!({})).await;
    wait_for("it has an address", async || cluster.all_assigned().await).await;
    let pending = Some(("Unknown".into(), "Pending".into()));
    assert_eq!(announced(&cluster).await, pending, "with the first write");

    cluster.report("l2-a", "web", Some("AddressConflict")).await;
    wait_for("the obstacle shows", async || {
        announced(&cluster).await == Some(("False".into(), "AddressConflict".into()))
    })
    .await;
    cluster.report("l2-a", "web", None).await;
    let so = Some(("True".into(), "Announced".into()));
    wait_for("it is announced", async || announced(&cluster).await == so).await;
    // Another speaker takes over, and its object supersedes the other one.
    let counts = cluster.counts();
    cluster.report("l2-b", "web", None).await;
    wait_for("the superseded object is gone", async || {
        cluster.reports().await == ["l2-b"]
    })
    .await;
    cluster.unreport("l2-b").await;
    wait_for("no speaker announces it", async || {
        announced(&cluster).await == Some(("False".into(), "NotAnnounced".into()))
    })
    .await;
    assert_eq!(cluster.counts().since(&counts).of("patch", "services/status"), 1);
    assert!(!cluster.assignments().await["web"].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_say_nothing_any_more_are_deleted_also_those_of_services_that_are_gone() {
    let mut cluster = Cluster::start().await;
    cluster.start_controller("first");
    for service in ["web", "gone"] {
        cluster
            .report(&format!("l2-{service}"), service, Some("NotAnnounced"))
            .await;
    }
    cluster.report("l2-other", "other", None).await;
    wait_for("they are gone", async || cluster.reports().await == ["l2-other"]).await;
}

async fn announced(cluster: &Cluster) -> Option<(String, String)> {
    let condition = cluster.condition_of("web", "herald.io/Announced").await?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_a_pool_are_written_once_a_second_at_most_and_are_right_in_the_end() {
    const SERVICES: usize = 100;
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.0/24"]}))
        .await;
    cluster.start_controller("first");
    cluster.await_leader("first").await;
    let (counts, begin) = (cluster.counts(), Instant::now());
    for i in 0..SERVICES {
        cluster.create_service(&format!("s{i}"), json!({})).await;
        wait_for("it has an address", async || cluster.all_assigned().await).await;
    }
    let pools: Api<IPAddressPool> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    wait_for("all are counted", async || {
        let pool = pools.get("pool").await.expect("the pool");
        pool.status.is_some_and(|status| status.assigned_ipv4 == 100)
    })
    .await;
    let writes = cluster
        .counts()
        .since(&counts)
        .of("patch", "ipaddresspools/status");
    // The first and the last are not aligned to a second.
    let most = begin.elapsed().as_secs() + 2;
    assert!(
        writes <= most.min(SERVICES as u64 / 2),
        "{writes} writes, {most} at most"
    );
}

#[tokio::test]
async fn an_event_names_each_config_map_of_metallb_that_herald_does_not_read() {
    const NAMES: [&str; 3] = ["metallb-memberlist-config", "bgpextras", "metallb-excludel2"];
    let mut cluster = Cluster::start().await;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    for name in NAMES {
        cluster
            .create(&path, json!({"metadata": {"name": name}, "data": {"a": "b"}}))
            .await;
    }
    let events_about = async |cluster: &Cluster, name: &str| {
        let mut events = events(cluster, NAMESPACE).await;
        events.retain(|event| {
            let about = &event.involved_object;
            let is_about = about.kind.as_deref() == Some("ConfigMap") && about.name.as_deref() == Some(name);
            is_about && event.reason.as_deref() == Some("UnreadConfigMap")
        });
        events
    };
    let [timings, frr, interfaces] = NAMES;
    cluster.start_controller("alone");
    for (name, instead) in [(timings, "speaker.wanConfig"), (frr, "BGPPeers")] {
        wait_for(&format!("an event about {name}"), async || {
            !events_about(&cluster, name).await.is_empty()
        })
        .await;
        let message = events_about(&cluster, name).await[0].message.clone();
        assert!(message.is_some_and(|message| message.contains(instead)));
    }
    cluster.signal("alone", Signal::SIGTERM);
    cluster.end_of("alone").await;
    assert!(
        events_about(&cluster, interfaces).await.is_empty(),
        "without MetalLB the ConfigMap is Herald's"
    );
    cluster.start_controller_with("beside", &["--beside-metallb"]);
    wait_for("an event about the interfaces", async || {
        !events_about(&cluster, interfaces).await.is_empty()
    })
    .await;
    let message = events_about(&cluster, interfaces).await[0].message.clone();
    assert!(message.is_some_and(|message| message.contains("announcedInterfacesToExclude")));
}

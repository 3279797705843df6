//! Create, update and delete: identity, versions, parts, preconditions.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::{Value, json};

use crate::{Cluster, SERVICES, refusal, service_path};

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

#[tokio::test]
async fn a_new_object_gets_its_identity_from_the_server() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"generateName": "web-"}, "spec": {"ports": [{"port": 80}]}});
    let created = cluster.create(SERVICES, body).await.expect("created");
    let meta = &created["metadata"];
    assert!(
        meta["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("web-") && name.len() > 4)
    );
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(meta[field].is_string(), "{field}");
    }
    assert_eq!(
        (&created["apiVersion"], &created["kind"]),
        (&json!("v1"), &json!("Service"))
    );
    assert_eq!(meta["namespace"], "default");
}

#[tokio::test]
async fn versions_count_up_over_all_kinds_and_stand_still_when_nothing_changes() {
    let cluster = Cluster::start().await;
    let version = |object: &Value| -> u64 {
        object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok())
            .expect("a version")
    };
    let first = cluster.create(SERVICES, service("a")).await.expect("created");
    let map = json!({"metadata": {"name": "m"}, "data": {"k": "v"}});
    let second = cluster
        .create("/api/v1/namespaces/default/configmaps", map)
        .await
        .expect("created");
    assert!(version(&second) > version(&first));
    let same = cluster
        .put(&service_path("a"), first.clone())
        .await
        .expect("no change");
    assert_eq!(version(&same), version(&first));
    let changed = cluster
        .merge(&service_path("a"), json!({"metadata": {"labels": {"a": "b"}}}))
        .await;
    assert!(version(&changed.expect("changed")) > version(&second));
}

#[tokio::test]
async fn a_write_from_an_old_version_is_a_conflict() {
    let cluster = Cluster::start().await;
    let old = cluster.create(SERVICES, service("a")).await.expect("created");
    cluster
        .merge(&service_path("a"), json!({"metadata": {"labels": {"x": "1"}}}))
        .await
        .expect("changed");
    let (code, message) = refusal(cluster.put(&service_path("a"), old.clone()).await);
    assert_eq!(code, 409);
    assert!(message.contains("the object has been modified"), "{message}");
    let stale =
        json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"], "labels": {"x": "2"}}});
    assert_eq!(refusal(cluster.merge(&service_path("a"), stale).await).0, 409);
}

#[tokio::test]
async fn names_are_taken_once_and_namespaces_must_exist() {
    let cluster = Cluster::start().await;
    cluster.create(SERVICES, service("a")).await.expect("created");
    let (code, message) = refusal(cluster.create(SERVICES, service("a")).await);
    assert_eq!((code, message.as_str()), (409, "services \"a\" already exists"));
    let (code, message) = refusal(
        cluster
            .create("/api/v1/namespaces/nowhere/services", service("a"))
            .await,
    );
    assert_eq!(
        (code, message.as_str()),
        (404, "namespaces \"nowhere\" not found")
    );
    let (code, message) = refusal(cluster.create(SERVICES, service("A_b")).await);
    assert_eq!(code, 422);
    assert!(message.contains("metadata.name"), "{message}");
}

#[tokio::test]
async fn the_status_is_written_apart_from_the_rest() {
    let cluster = Cluster::start().await;
    let mut body = service("a");
    body["spec"]["type"] = json!("LoadBalancer");
    body["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}});
    let created = cluster.create(SERVICES, body).await.expect("created");
    assert_eq!(created["status"], json!({"loadBalancer": {}}));
    let patch = json!({
        "metadata": {"annotations": {"pool": "first"}}, "spec": {"externalTrafficPolicy": "Local"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.168.67.120"}, {"hostname": "a.example.org"}]}},
    });
    let written = cluster
        .merge(&format!("{}/status", service_path("a")), patch)
        .await
        .expect("written");
    assert_eq!(
        written["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "192.168.67.120", "ipMode": "VIP"}, {"hostname": "a.example.org"}])
    );
    assert_eq!(written["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(written["metadata"]["annotations"]["pool"], "first");
    let main = cluster
        .merge(&service_path("a"), json!({"status": {"loadBalancer": {}}}))
        .await
        .expect("ignored");
    assert_eq!(main["status"], written["status"]);
}

#[tokio::test]
async fn generation_follows_the_desired_state_only() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    let created = cluster.create(path, body).await.expect("created");
    assert_eq!(created["metadata"]["generation"], 1);
    let one = format!("{path}/d");
    let labelled = cluster
        .merge(&one, json!({"metadata": {"labels": {"x": "y"}}}))
        .await
        .expect("labelled");
    assert_eq!(labelled["metadata"]["generation"], 1);
    let status = cluster
        .merge(&format!("{one}/status"), json!({"status": {"replicas": 1}}))
        .await
        .expect("status");
    assert_eq!(status["metadata"]["generation"], 1);
    let scaled = cluster
        .merge(&one, json!({"spec": {"replicas": 3}}))
        .await
        .expect("scaled");
    assert_eq!(scaled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_removed() {
    let cluster = Cluster::start().await;
    let mut body = service("a");
    body["metadata"]["finalizers"] = json!(["example.org/hold"]);
    cluster.create(SERVICES, body).await.expect("created");
    let waiting = cluster.delete(&service_path("a")).await.expect("marked");
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.org/hold", "example.org/more"]}});
    assert_eq!(refusal(cluster.merge(&service_path("a"), more).await).0, 422);
    let none = json!({"metadata": {"finalizers": null}});
    cluster.merge(&service_path("a"), none).await.expect("released");
    assert_eq!(refusal(cluster.get(&service_path("a")).await).0, 404);
}

#[tokio::test]
async fn a_deletion_answers_with_the_uid_and_heeds_preconditions() {
    let cluster = Cluster::start().await;
    let created = cluster.create(SERVICES, service("a")).await.expect("created");
    let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    let refused = cluster
        .send("DELETE", &service_path("a"), "application/json", other)
        .await;
    assert_eq!(refusal(refused).0, 409);
    let status = cluster.delete(&service_path("a")).await.expect("deleted");
    assert_eq!(
        (&status["status"], &status["details"]["uid"]),
        (&json!("Success"), &created["metadata"]["uid"])
    );
}

#[tokio::test]
async fn deleting_a_namespace_deletes_what_is_in_it() {
    let cluster = Cluster::start().await;
    cluster
        .create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}}))
        .await
        .expect("created");
    let mut held = service("held");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    let services = "/api/v1/namespaces/shop/services";
    cluster.create(services, service("a")).await.expect("created");
    cluster.create(services, held).await.expect("created");
    cluster.delete("/api/v1/namespaces/shop").await.expect("marked");
    let namespace = cluster.get("/api/v1/namespaces/shop").await.expect("still there");
    assert_eq!(namespace["status"]["phase"], "Terminating");
    assert_eq!(refusal(cluster.get(&format!("{services}/a")).await).0, 404);
    assert_eq!(refusal(cluster.create(services, service("late")).await).0, 403);
    let released = json!({"metadata": {"finalizers": null}});
    cluster
        .merge(&format!("{services}/held"), released)
        .await
        .expect("released");
    assert_eq!(refusal(cluster.get("/api/v1/namespaces/shop").await).0, 404);
}

#[tokio::test]
async fn dependents_go_with_their_last_owner_unless_orphaned() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let owned = |name: &str, uid: &Value| {
        let owner = json!({"apiVersion": "v1", "kind": "Service", "name": "owner", "uid": uid});
        json!({"metadata": {"name": name, "ownerReferences": [owner]}})
    };
    let owner = cluster.create(SERVICES, service("owner")).await.expect("created");
    cluster
        .create(maps, owned("goes", &owner["metadata"]["uid"]))
        .await
        .expect("created");
    cluster.delete(&service_path("owner")).await.expect("deleted");
    assert_eq!(refusal(cluster.get(&format!("{maps}/goes")).await).0, 404);

    let owner = cluster.create(SERVICES, service("owner")).await.expect("created");
    cluster
        .create(maps, owned("stays", &owner["metadata"]["uid"]))
        .await
        .expect("created");
    let orphan = json!({"propagationPolicy": "Orphan"});
    cluster
        .send("DELETE", &service_path("owner"), "application/json", orphan)
        .await
        .expect("deleted");
    let stays = cluster.get(&format!("{maps}/stays")).await.expect("still there");
    assert_eq!(stays["metadata"]["ownerReferences"], json!([]));
}

#[tokio::test]
async fn a_dry_run_does_everything_but_store() {
    let cluster = Cluster::start().await;
    let would_be = cluster
        .create(&format!("{SERVICES}?dryRun=All"), service("a"))
        .await
        .expect("fine");
    assert!(would_be["spec"]["clusterIP"].is_string());
    assert_eq!(refusal(cluster.get(&service_path("a")).await).0, 404);
    assert_eq!(
        refusal(
            cluster
                .create(
                    &format!("{SERVICES}?dryRun=All"),
                    json!({"metadata": {"name": "a"}})
                )
                .await
        )
        .0,
        422
    );
}

#[tokio::test]
async fn unknown_fields_are_refused_when_validation_is_strict() {
    let cluster = Cluster::start().await;
    let mut body = service("a");
    body["spec"]["foo"] = json!(1);
    body["metadata"]["bar"] = json!(1);
    let (code, message) = refusal(
        cluster
            .create(&format!("{SERVICES}?fieldValidation=Strict"), body.clone())
            .await,
    );
    assert_eq!(code, 400);
    assert!(
        message.ends_with(r#"strict decoding error: unknown field "metadata.bar", unknown field "spec.foo""#),
        "{message}"
    );
    let created = cluster
        .create(SERVICES, body)
        .await
        .expect("created without them");
    assert!(created["spec"]["foo"].is_null() && created["metadata"]["bar"].is_null());
}

#[tokio::test]
async fn what_is_not_spoken_here_is_refused_by_name() {
    let cluster = Cluster::start().await;
    let protobuf = cluster
        .send("POST", SERVICES, "application/vnd.kubernetes.protobuf", json!({}))
        .await;
    assert_eq!(refusal(protobuf).0, 400);
    let thrift = cluster
        .send("POST", SERVICES, "application/thrift", json!({}))
        .await;
    assert_eq!(refusal(thrift).0, 415);
    assert_eq!(
        refusal(cluster.get("/api/v1/namespaces/default/pods/a/log").await).0,
        404
    );
    assert_eq!(refusal(cluster.get("/apis/batch/v1/jobs").await).0, 404);
}

#[tokio::test]
async fn both_event_apis_show_the_same_events() {
    let cluster = Cluster::start().await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Assign", "reason": "Assigned",
        "type": "Normal", "note": "gave an address", "reportingController": "herald", "reportingInstance": "a",
        "regarding": {"kind": "Service", "name": "web", "namespace": "default"},
    });
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    cluster.create(new, event).await.expect("created");
    let core = "/api/v1/namespaces/default/events";
    let listed = cluster
        .get(&format!(
            "{core}?fieldSelector=involvedObject.name%3Dweb,reason%3DAssigned"
        ))
        .await;
    let listed = listed.expect("listed");
    assert_eq!(listed["items"][0]["message"], "gave an address");
    assert_eq!(listed["items"][0]["involvedObject"]["name"], "web");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    let counted = cluster.merge(&format!("{new}/e"), series).await.expect("patched");
    assert_eq!(
        (&counted["note"], &counted["series"]["count"]),
        (&json!("gave an address"), &json!(2))
    );
}

#[tokio::test]
async fn of_many_who_replace_the_same_version_one_succeeds() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let mut lease = cluster
        .create(leases, json!({"metadata": {"name": "l"}, "spec": {}}))
        .await
        .expect("created");
    for _ in 0..10 {
        let path = format!("{leases}/l");
        let attempts = (0..8).map(|candidate| {
            let mut mine = lease.clone();
            mine["spec"]["holderIdentity"] = json!(format!("c{candidate}"));
            mine["spec"]["leaseTransitions"] =
                json!(lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0) + 1);
            cluster.put(&path, mine)
        });
        let mut winners: Vec<_> = join_all(attempts)
            .await
            .into_iter()
            .filter_map(Result::ok)
            .collect();
        assert_eq!(winners.len(), 1);
        lease = winners.remove(0);
    }
}

#[tokio::test]
async fn the_event_recorder_of_kube_counts_repetitions() {
    let cluster = Cluster::start().await;
    let about = cluster.create(SERVICES, service("web")).await.expect("created");
    let about = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        name: Some("web".into()),
        namespace: Some("default".into()),
        uid: about["metadata"]["uid"].as_str().map(str::to_string),
        ..ObjectReference::default()
    };
    let recorder = Recorder::new(cluster.client.clone(), "herald-controller".into());
    let event = Event {
        type_: EventType::Normal,
        reason: "IPAllocated".into(),
        note: Some("Assigned IP".into()),
        action: "Assign".into(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &about).await.expect("published");
    }
    let events = cluster
        .get("/api/v1/namespaces/default/events")
        .await
        .expect("a list");
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (
            &events["items"][0]["message"],
            &events["items"][0]["series"]["count"]
        ),
        (&json!("Assigned IP"), &json!(2))
    );
}

#[tokio::test]
async fn a_node_may_have_two_addresses_of_one_type() {
    let cluster = Cluster::start().await;
    let addresses = json!([
        {"type": "InternalIP", "address": "192.0.2.11"},
        {"type": "InternalIP", "address": "2001:db8::11"},
    ]);
    let node = json!({"metadata": {"name": "node-1"}, "status": {"addresses": addresses.clone()}});
    let created = cluster.create("/api/v1/nodes", node).await.expect("created");
    assert_eq!(created["status"]["addresses"], addresses);
}

//! JSON, strategic and apply patches through the API, and the field managers after them.

use serde_json::{Value, json};

use crate::{Cluster, SERVICES, refusal, service_path};

const POOLS: &str = "/apis/example.org/v1/namespaces/default/pools";

async fn with_service() -> Cluster {
    let cluster = Cluster::start().await;
    let ports = json!([{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]);
    let body = json!({"metadata": {"name": "a"}, "spec": {"ports": ports, "selector": {"app": "a"}}});
    cluster.create(SERVICES, body).await.expect("created");
    cluster
}

async fn apply(cluster: &Cluster, path: &str, manager: &str, body: Value) -> Result<Value, kube::Error> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}fieldManager={manager}");
    cluster
        .send("PATCH", &path, "application/apply-patch+yaml", body)
        .await
}

fn pool(spec: Value) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Pool", "metadata": {"name": "p"}, "spec": spec})
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let own = entries.into_iter().find(|entry| entry["manager"] == manager);
    own.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_json_patch_is_all_or_nothing() {
    let cluster = with_service().await;
    let send = async |operations: Value| {
        cluster
            .send(
                "PATCH",
                &service_path("a"),
                "application/json-patch+json",
                operations,
            )
            .await
    };
    let test = json!([
        {"op": "replace", "path": "/spec/ports/0/name", "value": "web"},
        {"op": "test", "path": "/spec/ports/1/name", "value": "nope"},
    ]);
    assert_eq!(refusal(send(test).await).0, 422);
    let good = json!([{"op": "replace", "path": "/spec/ports/0/name", "value": "web"}]);
    assert_eq!(
        send(good).await.expect("patched")["spec"]["ports"][0]["name"],
        "web"
    );
}

#[tokio::test]
async fn a_strategic_patch_merges_ports_by_number_and_is_for_built_in_kinds() {
    let cluster = with_service().await.with_pools().await;
    let kind = "application/strategic-merge-patch+json";
    let patch =
        json!({"spec": {"ports": [{"port": 80, "$patch": "delete"}, {"port": 443, "targetPort": 8443}]}});
    let patched = cluster
        .send("PATCH", &service_path("a"), kind, patch)
        .await
        .expect("patched");
    assert_eq!(
        patched["spec"]["ports"],
        json!([{"port": 443, "name": "https", "protocol": "TCP", "targetPort": 8443}])
    );
    cluster
        .create(POOLS, pool(json!({"addresses": ["1.1.1.1"]})))
        .await
        .expect("created");
    assert_eq!(
        refusal(
            cluster
                .send("PATCH", &format!("{POOLS}/p"), kind, json!({}))
                .await
        )
        .0,
        415
    );
}

#[tokio::test]
async fn an_apply_creates_then_changes_then_removes_what_it_no_longer_says() {
    let cluster = Cluster::start().await.with_pools().await;
    let path = format!("{POOLS}/p");
    let full = pool(
        json!({"addresses": ["1.1.1.1", "2.2.2.2"], "class": "a", "owners": [{"name": "x", "share": 2}]}),
    );
    apply(&cluster, &path, "me", full).await.expect("created");
    let less = pool(json!({"addresses": ["2.2.2.2"]}));
    let applied = apply(&cluster, &path, "me", less.clone()).await.expect("applied");
    assert_eq!(applied["spec"]["addresses"], json!(["2.2.2.2"]));
    assert!(
        applied["spec"]["class"].is_null() && applied["spec"]["owners"].is_null(),
        "{applied}"
    );
    assert_eq!(
        fields_of(&applied, "me"),
        json!({"f:spec": {"f:addresses": {"v:\"2.2.2.2\"": {}}}})
    );
    let again = apply(&cluster, &path, "me", less).await.expect("no change");
    assert_eq!(
        again["metadata"]["resourceVersion"],
        applied["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn managers_share_lists_entry_by_entry() {
    let cluster = Cluster::start().await.with_pools().await;
    let path = format!("{POOLS}/p");
    let mine = pool(json!({"addresses": ["1.1.1.1"], "owners": [{"name": "x", "share": 2}]}));
    apply(&cluster, &path, "me", mine).await.expect("created");
    let yours = pool(json!({"addresses": ["2.2.2.2"], "owners": [{"name": "y"}]}));
    let both = apply(&cluster, &path, "you", yours).await.expect("applied");
    assert_eq!(both["spec"]["addresses"], json!(["1.1.1.1", "2.2.2.2"]));
    assert_eq!(
        both["spec"]["owners"],
        json!([{"name": "x", "share": 2}, {"name": "y", "share": 1}])
    );
    let less = apply(&cluster, &path, "me", pool(json!({"addresses": ["1.1.1.1"]})))
        .await
        .expect("applied");
    assert_eq!(less["spec"]["owners"], json!([{"name": "y", "share": 1}]));
}

#[tokio::test]
async fn a_field_that_another_manager_set_is_a_conflict_unless_forced() {
    let cluster = Cluster::start().await.with_pools().await;
    let path = format!("{POOLS}/p");
    apply(
        &cluster,
        &path,
        "me",
        pool(json!({"addresses": ["1.1.1.1"], "mode": "bgp"})),
    )
    .await
    .expect("created");
    let other = pool(json!({"addresses": ["1.1.1.1"], "mode": "layer2"}));
    match apply(&cluster, &path, "you", other.clone()).await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 409);
            assert_eq!(
                status.message,
                "Apply failed with 1 conflict: conflict with \"me\": .spec.mode"
            );
            assert_eq!(status.details.expect("details").causes[0].field, ".spec.mode");
        }
        unexpected => panic!("expected a conflict, got {unexpected:?}"),
    }
    let same = pool(json!({"addresses": ["1.1.1.1"], "mode": "bgp"}));
    apply(&cluster, &path, "third", same)
        .await
        .expect("the same value is shared");
    let forced = apply(&cluster, &format!("{path}?force=true"), "you", other)
        .await
        .expect("forced");
    assert_eq!(forced["spec"]["mode"], "layer2");
    assert_eq!(
        fields_of(&forced, "me")["f:spec"],
        json!({"f:addresses": {"v:\"1.1.1.1\"": {}}})
    );
}

#[tokio::test]
async fn plain_writes_own_what_they_change() {
    let cluster = Cluster::start().await.with_pools().await;
    let path = format!("{POOLS}/p");
    apply(
        &cluster,
        &path,
        "me",
        pool(json!({"addresses": ["1.1.1.1"], "class": "a"})),
    )
    .await
    .expect("created");
    let merged = cluster
        .merge(&path, json!({"spec": {"notes": "hi"}}))
        .await
        .expect("merged");
    assert_eq!(fields_of(&merged, "tester"), json!({"f:spec": {"f:notes": {}}}));
    let status = json!({"apiVersion": "example.org/v1", "kind": "Pool", "status": {"assigned": 1}});
    let written = apply(&cluster, &format!("{path}/status"), "me", status)
        .await
        .expect("status");
    let entries = written["metadata"]["managedFields"].as_array().expect("entries");
    let of_status = entries
        .iter()
        .find(|entry| entry["subresource"] == "status")
        .expect("an entry of its own");
    assert_eq!(of_status["fieldsV1"], json!({"f:status": {"f:assigned": {}}}));
    assert_eq!(written["spec"], merged["spec"]);
}

#[tokio::test]
async fn an_apply_that_makes_no_sense_is_refused() {
    let cluster = with_service().await;
    let body =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
    let anonymous = cluster
        .send(
            "PATCH",
            &service_path("a"),
            "application/apply-patch+yaml",
            body(json!({})),
        )
        .await;
    let (code, message) = refusal(anonymous);
    assert_eq!(code, 422);
    assert!(message.contains("fieldManager: Required value"), "{message}");
    let (code, message) = refusal(apply(&cluster, &service_path("a"), "me", body(json!({"foo": 1}))).await);
    assert_eq!(code, 400);
    assert!(
        message.ends_with(".spec.foo: field not declared in schema"),
        "{message}"
    );
    assert_eq!(
        refusal(apply(&cluster, &service_path("a"), "me", json!({"spec": {}})).await).0,
        400
    );
}

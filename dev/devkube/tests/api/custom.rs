//! Kinds that a CRD defines.

use hyper::Request;
use serde_json::{Value, json};

use crate::{Cluster, refusal};

const POOLS: &str = "/apis/example.org/v1/namespaces/default/pools";

fn pool(spec: Value) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Pool", "metadata": {"name": "p"}, "spec": spec})
}

#[tokio::test]
async fn a_crd_is_served_at_once_and_until_it_is_deleted() {
    let cluster = Cluster::start().await.with_pools().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/pools.example.org";
    let crd = cluster.get(path).await.expect("the CRD");
    for condition in crd["status"]["conditions"].as_array().expect("conditions") {
        assert_eq!(condition["status"], "True", "{condition}");
    }
    assert_eq!(crd["spec"]["names"]["listKind"], "PoolList");
    cluster
        .create(POOLS, pool(json!({"addresses": ["10.0.0.0/24"]})))
        .await
        .expect("created");
    assert_eq!(cluster.get(POOLS).await.expect("a list")["kind"], "PoolList");
    cluster.delete(path).await.expect("deleted");
    assert_eq!(refusal(cluster.get(POOLS).await).0, 404);
    let again = cluster.with_pools().await;
    assert_eq!(again.get(POOLS).await.expect("a list")["items"], json!([]));
}

#[tokio::test]
async fn objects_are_defaulted_and_pruned() {
    let cluster = Cluster::start().await.with_pools().await;
    let mut body = pool(
        json!({"addresses": ["10.0.0.1"], "extra": 1, "notes": null, "weight": null, "owners": [{"name": "a"}]}),
    );
    body["status"] = json!({"assigned": 3});
    let created = cluster.create(POOLS, body).await.expect("created");
    assert_eq!(
        created["spec"],
        json!({"addresses": ["10.0.0.1"], "mode": "layer2", "notes": null, "owners": [{"name": "a", "share": 1}]})
    );
    assert!(created["status"].is_null());
    assert_eq!(created["metadata"]["generation"], 1);
    let status = cluster
        .merge(
            &format!("{POOLS}/p/status"),
            json!({"status": {"assigned": 3}, "spec": {"mode": "bgp"}}),
        )
        .await;
    let status = status.expect("written");
    assert_eq!(
        (&status["status"]["assigned"], &status["spec"]["mode"]),
        (&json!(3), &json!("layer2"))
    );
    assert_eq!(status["metadata"]["generation"], 1);
}

#[tokio::test]
async fn broken_objects_are_refused_with_their_fields() {
    let cluster = Cluster::start().await.with_pools().await;
    // (spec, field, part of the message)
    let table = [
        (json!({}), "spec.addresses", "Required value"),
        (
            json!({"addresses": []}),
            "spec.addresses",
            "should have at least 1 items",
        ),
        (
            json!({"addresses": "10.0.0.0/24"}),
            "spec.addresses",
            "must be of type array: \"string\"",
        ),
        (
            json!({"addresses": ["10.0.0.0/24", "10.0.0.0/24"]}),
            "spec.addresses[1]",
            "Duplicate value",
        ),
        (
            json!({"addresses": ["1.1.1.1"], "mode": "x"}),
            "spec.mode",
            "supported values: \"layer2\", \"bgp\"",
        ),
        (
            json!({"addresses": ["1.1.1.1"], "mode": "bgp", "weight": 11}),
            "spec.weight",
            "less than or equal to 10",
        ),
        (
            json!({"addresses": ["10.0.0.0/33"]}),
            "spec.addresses[0]",
            "must be an IP or a CIDR",
        ),
        (
            json!({"addresses": ["1.1.1.1"], "weight": 1}),
            "spec.weight",
            "Forbidden: weight needs mode bgp",
        ),
    ];
    for (spec, field, text) in table {
        let (code, message) = refusal(cluster.create(POOLS, pool(spec.clone())).await);
        assert_eq!(code, 422, "{spec}");
        assert!(
            message.contains(&format!("{field}: ")) && message.contains(text),
            "{spec}: {message}"
        );
    }
}

#[tokio::test]
async fn transition_rules_see_the_old_value() {
    let cluster = Cluster::start().await.with_pools().await;
    let created = cluster
        .create(POOLS, pool(json!({"addresses": ["1.1.1.1"], "class": "a"})))
        .await
        .expect("created");
    let (code, message) = refusal(
        cluster
            .merge(&format!("{POOLS}/p"), json!({"spec": {"class": "b"}}))
            .await,
    );
    assert_eq!(code, 422);
    assert!(
        message.contains("spec.class: Invalid value: \"b\": class is immutable"),
        "{message}"
    );
    let mut unversioned = created;
    unversioned["metadata"]["resourceVersion"] = Value::Null;
    let (code, message) = refusal(cluster.put(&format!("{POOLS}/p"), unversioned).await);
    assert_eq!(code, 422);
    assert!(message.contains("must be specified for an update"), "{message}");
}

#[tokio::test]
async fn a_crd_whose_rule_does_not_compile_is_refused() {
    let cluster = Cluster::start().await;
    let mut crd: Value = serde_saphyr::from_str(include_str!("../data/pool-crd.yaml")).expect("YAML");
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for (rule, text) in [
        ("self.mode ==", "does not compile"),
        ("frobnicate(self)", "undeclared reference to 'frobnicate'"),
    ] {
        spec["x-kubernetes-validations"][0]["rule"] = json!(rule);
        let mut body = json!({"metadata": {"name": "pools.example.org"}, "spec": {}});
        body["spec"] = json!({
            "group": "example.org", "scope": "Namespaced", "names": {"kind": "Pool", "plural": "pools"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": spec.clone()},
            }}}],
        });
        let (code, message) = refusal(cluster.create(path, body).await);
        assert_eq!(code, 422);
        assert!(message.contains(text), "{message}");
        assert!(
            message.contains("properties[spec].x-kubernetes-validations[0]"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn selectable_fields_select() {
    let cluster = Cluster::start().await.with_pools().await;
    cluster
        .create(POOLS, pool(json!({"addresses": ["1.1.1.1"]})))
        .await
        .expect("created");
    let count = async |selector: &str| {
        let list = cluster
            .get(&format!("{POOLS}?fieldSelector={selector}"))
            .await
            .expect("a list");
        list["items"].as_array().map(Vec::len)
    };
    assert_eq!(count("spec.mode%3Dlayer2").await, Some(1));
    assert_eq!(count("spec.mode%3Dbgp").await, Some(0));
    assert_eq!(
        refusal(
            cluster
                .get(&format!("{POOLS}?fieldSelector=spec.weight%3D1"))
                .await
        )
        .0,
        400
    );
}

#[tokio::test]
async fn tables_show_the_printer_columns() {
    let cluster = Cluster::start().await.with_pools().await;
    cluster
        .create(POOLS, pool(json!({"addresses": ["1.1.1.1", "2.2.2.2"]})))
        .await
        .expect("created");
    let request = Request::get(POOLS)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .expect("a request");
    let table: Value = cluster.client.request(request).await.expect("a table");
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(columns, ["Name", "Mode", "Addresses"]);
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["p", "layer2", "1.1.1.1,2.2.2.2"])
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn a_schema_that_is_not_structural_is_refused() {
    let cluster = Cluster::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (field, text) in [
        (
            json!({"description": "no type"}),
            "properties[spec]: Invalid value",
        ),
        (json!({"$ref": "#/definitions/x"}), "$ref is not supported"),
        (
            json!({"type": "object", "properties": {"a": {"type": "text"}}}),
            "unsupported type \"text\"",
        ),
        (
            json!({"type": "string", "pattern": "("}),
            "is not a regular expression",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map"}),
            "needs x-kubernetes-list-map-keys",
        ),
    ] {
        let body = json!({
            "metadata": {"name": "pools.example.org"},
            "spec": {
                "group": "example.org", "scope": "Namespaced", "names": {"kind": "Pool", "plural": "pools"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": field.clone()},
                }}}],
            },
        });
        let (code, message) = refusal(cluster.create(path, body).await);
        assert_eq!(code, 422, "{field}");
        assert!(message.contains(text), "{field}: {message}");
    }
}

#[tokio::test]
async fn every_served_version_shows_the_same_objects() {
    let cluster = Cluster::start().await;
    let mut crd: Value = serde_saphyr::from_str(include_str!("../data/pool-crd.yaml")).expect("YAML");
    let mut beta = crd["spec"]["versions"][0].clone();
    beta["name"] = json!("v1beta1");
    beta["storage"] = json!(false);
    crd["spec"]["versions"]
        .as_array_mut()
        .expect("versions")
        .push(beta);
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster.create(crds, crd.clone()).await.expect("accepted");
    cluster
        .create(POOLS, pool(json!({"addresses": ["1.1.1.1"]})))
        .await
        .expect("created");
    let beta = "/apis/example.org/v1beta1/namespaces/default/pools";
    let found = cluster.get(&format!("{beta}/p")).await.expect("the object");
    assert_eq!(
        (&found["apiVersion"], &found["spec"]["mode"]),
        (&json!("example.org/v1beta1"), &json!("layer2"))
    );
    cluster
        .merge(&format!("{beta}/p"), json!({"spec": {"mode": "bgp"}}))
        .await
        .expect("changed");
    let list = cluster.get(POOLS).await.expect("a list");
    assert_eq!(
        (&list["items"][0]["apiVersion"], &list["items"][0]["spec"]["mode"]),
        (&json!("example.org/v1"), &json!("bgp"))
    );

    crd["metadata"]["name"] = json!("pools.apps.k8s.io");
    crd["spec"]["group"] = json!("apps.k8s.io");
    let (code, message) = refusal(cluster.create(crds, crd).await);
    assert_eq!(code, 422);
    assert!(message.contains("must have approval annotation"), "{message}");
}

//! EndpointSlices follow Services and Pods.

use serde_json::{Value, json};

use crate::{Cluster, SERVICES, service_path};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(cluster: &Cluster, name: &str, addresses: &[&str], ready: bool) {
    let body = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    cluster.create(PODS, body).await.expect("created");
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let status = json!({"status": {
        "phase": "Running", "podIP": addresses[0]["ip"], "podIPs": addresses,
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
    }});
    cluster
        .merge(&format!("{PODS}/{name}/status"), status)
        .await
        .expect("status");
}

async fn slices(cluster: &Cluster) -> Vec<Value> {
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=web";
    cluster.get(path).await.expect("slices")["items"]
        .as_array()
        .cloned()
        .expect("items")
}

#[tokio::test]
async fn slices_follow_pods_and_the_service() {
    let cluster = Cluster::start().await;
    pod(&cluster, "a", &["10.1.0.1", "fd00::1"], true).await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"app": "web"}, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"port": 80, "name": "http", "targetPort": "http"}],
        },
    });
    cluster.create(SERVICES, service).await.expect("created");
    pod(&cluster, "b", &["10.1.0.2"], false).await;
    let found = slices(&cluster).await;
    assert_eq!(found.len(), 2);
    let v4 = found
        .iter()
        .find(|slice| slice["addressType"] == "IPv4")
        .expect("an IPv4 slice");
    let v6 = found
        .iter()
        .find(|slice| slice["addressType"] == "IPv6")
        .expect("an IPv6 slice");
    assert_eq!(
        v4["ports"],
        json!([{"name": "http", "protocol": "TCP", "port": 8080}])
    );
    assert_eq!(v4["endpoints"][0]["addresses"], json!(["10.1.0.1"]));
    assert_eq!(
        v4["endpoints"][0]["conditions"],
        json!({"ready": true, "serving": true, "terminating": false})
    );
    assert_eq!(
        (
            &v4["endpoints"][0]["nodeName"],
            &v4["endpoints"][0]["targetRef"]["name"]
        ),
        (&json!("n1"), &json!("a"))
    );
    assert_eq!(v4["endpoints"][1]["conditions"]["ready"], false);
    assert_eq!(v6["endpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!(v4["metadata"]["ownerReferences"][0]["kind"], "Service");

    cluster.delete(&format!("{PODS}/a")).await.expect("deleted");
    assert!(
        slices(&cluster)
            .await
            .iter()
            .all(|slice| slice["addressType"] == "IPv4" || slice["endpoints"] == json!([]))
    );
    let other = json!({"metadata": {"labels": {"app": "other"}}});
    cluster
        .merge(&format!("{PODS}/b"), other)
        .await
        .expect("relabelled");
    assert!(
        slices(&cluster)
            .await
            .iter()
            .all(|slice| slice["endpoints"] == json!([]))
    );
    cluster.delete(&service_path("web")).await.expect("deleted");
    assert!(slices(&cluster).await.is_empty());
}

//! EndpointSlices: which Pods stand behind a Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kinds::Collection;
use crate::object::{Key, entries, is_terminating, labels, meta_text, now, set_meta, strings, text_map};

const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Brings the slices of one Service up to date; owner references remove them with the Service.
pub(crate) fn follow_service(cluster: &mut Cluster, key: &Key) {
    let Some(service) = cluster.store.object(&services(), key).cloned() else {
        return;
    };
    let selector = text_map(&service["spec"]["selector"]);
    if selector.is_empty() || service["spec"]["type"] == "ExternalName" {
        return;
    }
    let pods: Vec<_> = cluster
        .store
        .objects(&Collection::new("", "pods"), Some(&key.namespace))
        .filter(|pod| selects(&selector, pod))
        .cloned()
        .collect();
    let families = strings(&service["spec"]["ipFamilies"]);
    for family in ["IPv4", "IPv6"] {
        let slice_key = Key::new(&key.namespace, &slice_name(&service, family));
        if families.contains(&family) {
            let slice = slice(&service, family, &slice_key.name, pods.iter().map(AsRef::as_ref));
            store(cluster, &slice_key, slice);
        } else {
            cluster.discard(&slices(), &slice_key);
        }
    }
}

/// Brings the slices of every Service up to date that selected the Pod, or selects it now.
pub(crate) fn follow_pod(cluster: &mut Cluster, before: Option<&Value>, after: Option<&Value>) {
    let Some(pod) = after.or(before) else { return };
    let affected: Vec<Key> = cluster
        .store
        .objects(&services(), Some(meta_text(pod, "namespace")))
        .filter(|service| {
            let selector = text_map(&service["spec"]["selector"]);
            !selector.is_empty()
                && [before, after]
                    .into_iter()
                    .flatten()
                    .any(|pod| selects(&selector, pod))
        })
        .map(|service| Key::of(service))
        .collect();
    for key in affected {
        follow_service(cluster, &key);
    }
}

fn services() -> Collection {
    Collection::new("", "services")
}

fn slices() -> Collection {
    Collection::new("discovery.k8s.io", "endpointslices")
}

fn selects(selector: &BTreeMap<&str, &str>, pod: &Value) -> bool {
    let labels = labels(pod);
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Stable for the life of the Service, other for its next life, other for each family.
fn slice_name(service: &Value, family: &str) -> String {
    let uid = meta_text(service, "uid");
    let suffix = if family == "IPv4" {
        uid.get(..5)
    } else {
        uid.get(uid.len().saturating_sub(5)..)
    };
    format!("{}-{}", meta_text(service, "name"), suffix.unwrap_or(uid))
}

fn store(cluster: &mut Cluster, key: &Key, mut slice: Value) {
    if let Some(old) = cluster.store.object(&slices(), key) {
        let same = |part: &str| old[part] == slice[part];
        let same_labels = old["metadata"]["labels"] == slice["metadata"]["labels"];
        if same("endpoints") && same("ports") && same_labels {
            return;
        }
        for field in ["uid", "creationTimestamp"] {
            set_meta(&mut slice, field, old["metadata"].get(field).cloned());
        }
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
        set_meta(&mut slice, "generation", Some(generation.into()));
    }
    cluster.commit(&slices(), slice);
}

fn slice<'a>(
    service: &Value,
    family: &str,
    name: &str,
    pods: impl Iterator<Item = &'a Value> + Clone,
) -> Value {
    let mut labels = service["metadata"]["labels"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), json!(MANAGER));
    labels.insert(
        "kubernetes.io/service-name".into(),
        service["metadata"]["name"].clone(),
    );
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), json!(""));
    }
    let endpoints: Vec<Value> = pods
        .clone()
        .filter_map(|pod| endpoint(service, family, pod))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": now(),
            "generation": 1,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service["metadata"]["name"],
                "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports(service, pods),
    })
}

fn endpoint(service: &Value, family: &str, pod: &Value) -> Option<Value> {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let single = [&pod["status"]["podIP"]];
    let listed = entries(&pod["status"]["podIPs"]).iter().map(|entry| &entry["ip"]);
    let address = listed.chain(single).filter_map(Value::as_str).find(|ip| {
        ip.parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_ipv4() == (family == "IPv4"))
    })?;
    let serving = entries(&pod["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let terminating = is_terminating(pod);
    let ready = (serving && !terminating) || service["spec"]["publishNotReadyAddresses"] == true;
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    });
    if pod["spec"]["nodeName"].is_string() {
        endpoint["nodeName"] = pod["spec"]["nodeName"].clone();
    }
    Some(endpoint)
}

fn ports<'a>(service: &Value, pods: impl Iterator<Item = &'a Value> + Clone) -> Vec<Value> {
    let resolve = |port: &Value| match port["targetPort"].as_str() {
        Some(name) => pods
            .clone()
            .find_map(|pod| named_port(pod, name, &port["protocol"])),
        None => Some(port["targetPort"].clone()),
    };
    entries(&service["spec"]["ports"])
        .iter()
        .filter_map(|port| {
            let mut resolved = json!({
                "name": port["name"].as_str().unwrap_or_default(), "protocol": port["protocol"], "port": resolve(port)?,
            });
            if port["appProtocol"].is_string() {
                resolved["appProtocol"] = port["appProtocol"].clone();
            }
            Some(resolved)
        })
        .collect()
}

fn named_port(pod: &Value, name: &str, protocol: &Value) -> Option<Value> {
    let containers = entries(&pod["spec"]["containers"]).iter();
    let mut ports = containers.flat_map(|container| entries(&container["ports"]));
    let found = ports.find(|port| port["name"] == name && port["protocol"] == *protocol);
    found.map(|port| port["containerPort"].clone())
}

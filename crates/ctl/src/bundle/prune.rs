//! What an object is reduced to. What is not listed is left out, so that a field of a later version of Kubernetes is left out as well.

use herald_api::annotation;
use serde::Serialize;
use serde_json::{Map, Value};

/// The fields of `metadata` of each object.
const METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// The beginnings of the names of Herald's annotations.
const ANNOTATIONS: [&str; 3] = [annotation::PREFIX, annotation::DEPRECATED_PREFIX, "herald.io/"];

/// The fields of a resource of Herald.
pub(super) const RESOURCE: &[&str] = &["metadata.labels", "spec", "status"];
/// The fields of a Service: those that decisions depend on.
pub(super) const SERVICE: &[&str] = &[
    "metadata.labels",
    "spec.allocateLoadBalancerNodePorts",
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.externalIPs",
    "spec.externalTrafficPolicy",
    "spec.healthCheckNodePort",
    "spec.ipFamilies",
    "spec.ipFamilyPolicy",
    "spec.loadBalancerClass",
    "spec.loadBalancerIP",
    "spec.ports.port",
    "spec.ports.protocol",
    "spec.selector",
    "spec.type",
    "status",
];
/// The fields of a Node: those that decisions depend on, and its versions.
pub(super) const NODE: &[&str] = &[
    "metadata.labels",
    "spec.podCIDRs",
    "spec.unschedulable",
    "status.addresses",
    "status.conditions",
    "status.nodeInfo",
];
/// The fields of a Namespace: pools select by its labels.
pub(super) const NAMESPACE: &[&str] = &["metadata.labels"];
/// The fields of an `EndpointSlice`, without the addresses of Pods.
pub(super) const ENDPOINT_SLICE: &[&str] = &[
    "addressType",
    "endpoints.conditions",
    "endpoints.nodeName",
    "metadata.labels.kubernetes.io/service-name",
];
/// The fields of a Pod of Herald, without its environment.
pub(super) const POD: &[&str] = &[
    "metadata.labels",
    "spec.containers.args",
    "spec.containers.command",
    "spec.containers.image",
    "spec.containers.name",
    "spec.containers.resources",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.priorityClassName",
    "spec.serviceAccountName",
    "spec.tolerations",
    "status",
];
/// The fields of an Event.
pub(super) const EVENT: &[&str] = &[
    "count",
    "eventTime",
    "firstTimestamp",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "lastTimestamp",
    "message",
    "reason",
    "reportingComponent",
    "reportingInstance",
    "series",
    "source",
    "type",
];
/// The fields of a Lease.
pub(super) const LEASE: &[&str] = &["spec"];

/// Returns an object with the fields of these paths only, its name, and Herald's annotations.
pub(super) fn pruned(object: &impl Serialize, fields: &[&str]) -> Value {
    let Ok(whole) = serde_json::to_value(object) else {
        return Value::Null;
    };
    let mut kept = keep(&whole, fields);
    for field in ["apiVersion", "kind"] {
        kept[field] = whole[field].clone();
    }
    for field in METADATA {
        if let Some(value) = whole["metadata"].get(field) {
            kept["metadata"][field] = value.clone();
        }
    }
    for (name, value) in whole["metadata"]["annotations"].as_object().into_iter().flatten() {
        if ANNOTATIONS.iter().any(|prefix| name.starts_with(prefix)) {
            kept["metadata"]["annotations"][name] = value.clone();
        }
    }
    // A BGPPeer can have its password in plain text.
    if let Some(spec) = kept.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("password");
    }
    kept
}

/// Keeps what is at the end of a path, whole, and what leads to it. Paths lead through lists.
fn keep(value: &Value, paths: &[&str]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| keep(item, paths)).collect(),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, value) in fields {
                let rests = paths.iter().filter_map(|path| path.strip_prefix(name.as_str()));
                if rests.clone().any(str::is_empty) {
                    kept.insert(name.clone(), value.clone());
                    continue;
                }
                let inner: Vec<&str> = rests.filter_map(|rest| rest.strip_prefix('.')).collect();
                if !inner.is_empty() {
                    kept.insert(name.clone(), keep(value, &inner));
                }
            }
            Value::Object(kept)
        }
        // A path leads on where the value does not.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_listed_fields_are_left() {
        let object = json!({
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-x", "managedFields": [{"manager": "x"}], "labels": {"kubernetes.io/service-name": "web", "team": "a"},
                "annotations": {"herald.io/drain": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "x"},
            },
            "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "a", "conditions": {"ready": true}}, "text"],
            "ports": [{"port": 80}],
        });
        let expected = json!({
            "apiVersion": null, "kind": "EndpointSlice",
            "metadata": {
                "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}, "annotations": {"herald.io/drain": "true"},
            },
            "endpoints": [{"nodeName": "a", "conditions": {"ready": true}}, null],
        });
        assert_eq!(pruned(&object, ENDPOINT_SLICE), expected);
    }
}

//! What an object is reduced to. What is not listed is left out, so that a field of a later version of Kubernetes is left out as well.

use herald_api::annotation;
use k8s_openapi::api::core::v1::Pod as CorePod;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cluster::own_container;

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
    "status.conditions.lastHeartbeatTime",
    "status.conditions.lastTransitionTime",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.nodeInfo.architecture",
    "status.nodeInfo.containerRuntimeVersion",
    "status.nodeInfo.kernelVersion",
    "status.nodeInfo.kubeletVersion",
    "status.nodeInfo.osImage",
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
/// The fields of a Pod of Herald. Its containers have passwords in their environment, and those of others, which an admission webhook
/// added, in their arguments, too. Messages of the status have lines of logs (`terminationMessagePolicy: FallbackToLogsOnError`).
const POD: &[&str] = &[
    "metadata.labels",
    "spec.containers.image",
    "spec.containers.name",
    "spec.containers.resources",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.priorityClassName",
    "spec.serviceAccountName",
    "spec.tolerations",
    "status.conditions.lastTransitionTime",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.hostIP",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.qosClass",
    "status.reason",
    "status.startTime",
];
/// Where a Pod has the states of its containers.
const CONTAINER_STATUSES: [&str; 2] = ["containerStatuses", "initContainerStatuses"];
/// The fields of the state of a container.
const CONTAINER_STATUS: &[&str] = &[
    "image",
    "imageID",
    "lastState.running.startedAt",
    "lastState.terminated.exitCode",
    "lastState.terminated.finishedAt",
    "lastState.terminated.reason",
    "lastState.terminated.signal",
    "lastState.terminated.startedAt",
    "lastState.waiting.reason",
    "name",
    "ready",
    "restartCount",
    "started",
    "state.running.startedAt",
    "state.terminated.exitCode",
    "state.terminated.finishedAt",
    "state.terminated.reason",
    "state.terminated.signal",
    "state.terminated.startedAt",
    "state.waiting.reason",
];
/// The fields of a `DaemonSet` or Deployment of Herald, without commands, arguments and environment.
pub(super) const WORKLOAD: &[&str] = &[
    "metadata.labels",
    "spec.minReadySeconds",
    "spec.replicas",
    "spec.strategy",
    "spec.template.spec.containers.image",
    "spec.template.spec.containers.name",
    "spec.template.spec.containers.resources",
    "spec.template.spec.hostNetwork",
    "spec.template.spec.nodeSelector",
    "spec.template.spec.priorityClassName",
    "spec.template.spec.serviceAccountName",
    "spec.template.spec.tolerations",
    "spec.updateStrategy",
    "status.availableReplicas",
    "status.conditions.lastTransitionTime",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.currentNumberScheduled",
    "status.desiredNumberScheduled",
    "status.numberAvailable",
    "status.numberMisscheduled",
    "status.numberReady",
    "status.numberUnavailable",
    "status.observedGeneration",
    "status.readyReplicas",
    "status.replicas",
    "status.unavailableReplicas",
    "status.updatedNumberScheduled",
    "status.updatedReplicas",
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

/// Returns a Pod of Herald with the listed fields, and the command and the arguments of Herald's own container only.
pub(super) fn pod(pod: &CorePod) -> Value {
    let mut kept = pruned(pod, POD);
    let whole = serde_json::to_value(pod).unwrap_or_default();
    for field in CONTAINER_STATUSES {
        if let Some(statuses) = whole["status"].get(field) {
            kept["status"][field] = keep(statuses, CONTAINER_STATUS);
        }
    }
    let Some(own) = own_container(pod) else {
        return kept;
    };
    let is_own = |container: &&Value| container["name"] == own;
    let from = whole["spec"]["containers"].as_array();
    let from = from.and_then(|containers| containers.iter().find(is_own));
    let into = kept["spec"]["containers"].as_array_mut();
    let into = into.and_then(|containers| containers.iter_mut().find(|container| is_own(&&**container)));
    if let (Some(from), Some(into)) = (from, into) {
        for field in ["args", "command"] {
            into[field] = from[field].clone();
        }
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

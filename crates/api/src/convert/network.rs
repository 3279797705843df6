//! Converts Nodes and EndpointSlices, reduced to the fields that eligibility needs.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use herald_core::announce::eligibility::{DRAIN_ANNOTATION, Endpoints, Node};
use herald_core::{NodeName, ServiceKey};
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::discovery::v1 as discovery_v1;

use super::service::address;

/// The addresses of a Node that are kept: more than a node has interfaces to the outside.
const MOST_NODE_ADDRESSES: usize = 64;

/// Converts a Node.
pub fn node(node: &core_v1::Node) -> Node {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let annotations = node.metadata.annotations.as_ref();
    Node {
        name: NodeName::new(node.metadata.name.clone().unwrap_or_default()),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        network_unavailable: conditions
            .filter(|c| c.type_ == "NetworkUnavailable")
            .any(|c| c.status == "True"),
        draining: annotations
            .and_then(|a| a.get(DRAIN_ANNOTATION))
            .is_some_and(|v| v == "true"),
        addresses: node_addresses(node),
    }
}

/// Returns the addresses of a Node that other machines reach it by, in ascending order, as many as are kept.
fn node_addresses(node: &core_v1::Node) -> Vec<IpAddr> {
    let listed = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    let listed = listed.filter(|listed| matches!(&*listed.type_, "InternalIP" | "ExternalIP"));
    let parsed = listed.filter_map(|listed| address(&listed.address));
    let addresses: BTreeSet<IpAddr> = parsed.take(MOST_NODE_ADDRESSES).collect();
    addresses.into_iter().collect()
}

/// Returns the first IPv4 address of a Node of the type `InternalIP`, in the order of the Node.
pub fn internal_ipv4(node: &core_v1::Node) -> Option<Ipv4Addr> {
    let listed = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    let mut internal = listed.filter(|listed| listed.type_ == "InternalIP");
    internal.find_map(|listed| match address(&listed.address)? {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    })
}

/// The namespace and name of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceId {
    /// The namespace of the slice and its Service.
    pub namespace: Arc<str>,
    /// The name of the slice.
    pub name: Arc<str>,
}

/// One slice of the endpoints of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The namespace and name.
    pub id: SliceId,
    /// The Service, by the label `kubernetes.io/service-name`; `None` if the slice has no such label.
    pub service: Option<ServiceKey>,
    /// The usable endpoints in this slice.
    pub endpoints: Endpoints,
}

/// Converts a slice. An endpoint is usable if it is ready (`ready` is true or unknown), or if `serving` is true: then it
/// terminates.
pub fn endpoint_slice(slice: &discovery_v1::EndpointSlice) -> EndpointSlice {
    let metadata = &slice.metadata;
    let namespace: Arc<str> = metadata.namespace.as_deref().unwrap_or_default().into();
    let label = metadata
        .labels
        .as_ref()
        .and_then(|l| l.get("kubernetes.io/service-name"));
    let endpoints = || slice.endpoints.iter().flatten();
    let usable: Vec<&discovery_v1::Endpoint> = endpoints().filter(|e| is_usable(e)).collect();
    let ready: BTreeSet<&str> = endpoints()
        .filter(|e| is_ready(e))
        .filter_map(node_name)
        .collect();
    let nodes = usable.iter().copied().filter_map(node_name);
    EndpointSlice {
        service: label
            .filter(|name| !name.is_empty())
            .map(|name| ServiceKey::new(&namespace, name)),
        id: SliceId {
            namespace,
            name: metadata.name.as_deref().unwrap_or_default().into(),
        },
        endpoints: Endpoints {
            any: !usable.is_empty(),
            terminating: nodes
                .clone()
                .filter(|node| !ready.contains(node))
                .map(NodeName::from)
                .collect(),
            nodes: nodes.map(NodeName::from).collect(),
        },
    }
}

fn is_usable(endpoint: &discovery_v1::Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    is_ready(endpoint) || conditions.is_some_and(|conditions| conditions.serving == Some(true))
}

fn is_ready(endpoint: &discovery_v1::Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_none_or(|conditions| conditions.ready != Some(false))
}

fn node_name(endpoint: &discovery_v1::Endpoint) -> Option<&str> {
    endpoint.node_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_or_serving_endpoints_are_usable() {
        let slice: discovery_v1::EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "a", "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "nodeName": "b", "conditions": {"ready": false, "serving": true}},
                {"addresses": ["10.0.0.3"], "nodeName": "c", "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"], "nodeName": "d"},
                {"addresses": ["10.0.0.5"], "nodeName": "d", "conditions": {"ready": false, "serving": true, "terminating": true}}
            ]
        }))
        .expect("a slice");
        let slice = endpoint_slice(&slice);
        assert_eq!(slice.service, Some(ServiceKey::new("default", "web")));
        let names = |nodes: &BTreeSet<NodeName>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let endpoints = slice.endpoints;
        assert!(endpoints.any);
        assert_eq!(names(&endpoints.nodes), ["a", "b", "d"]);
        assert_eq!(names(&endpoints.terminating), ["b"], "d has a ready one, too");
    }

    #[test]
    fn a_slice_without_usable_endpoints_has_none() {
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "web-x"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]
        }))
        .expect("a slice");
        let slice = endpoint_slice(&slice);
        assert_eq!((slice.service, slice.endpoints), (None, Endpoints::default()));
    }

    #[test]
    fn a_node_has_its_internal_and_external_addresses() {
        let object: core_v1::Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.0.2.9"},
                {"type": "ExternalIP", "address": "fc00::1"},
                {"type": "ExternalIP", "address": "192.0.2.9"},
                {"type": "InternalIP", "address": "::ffff:192.0.2.1"},
                {"type": "Hostname", "address": "192.0.2.3"},
                {"type": "InternalIP", "address": "nonsense"}
            ]},
        }))
        .expect("a Node");
        let addresses = node(&object).addresses;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.9", "fc00::1"]);
    }

    #[test]
    fn the_internal_address_of_a_node_is_its_first_one_and_no_external_one() {
        let internal = |addresses: &[(&str, &str)]| {
            let addresses = addresses.iter();
            let addresses = addresses.map(|(kind, address)| json!({"type": kind, "address": address}));
            let object = json!({"status": {"addresses": addresses.collect::<Vec<_>>()}});
            internal_ipv4(&serde_json::from_value(object).expect("a Node"))
        };
        let found = internal(&[
            ("Hostname", "192.0.2.9"),
            ("ExternalIP", "10.0.0.1"),
            ("InternalIP", "fc00::1"),
            ("InternalIP", "192.0.2.7"),
            ("InternalIP", "192.0.2.1"),
        ]);
        assert_eq!(found, Some([192, 0, 2, 7].into()));
        assert_eq!(
            internal(&[("ExternalIP", "10.0.0.1"), ("InternalIP", "fc00::1")]),
            None
        );
    }

    #[test]
    fn a_node_drains_only_if_its_annotation_is_true() {
        let with = |value: &str| {
            let value = json!({"metadata": {"name": "n", "annotations": {"herald.io/drain": value}}});
            node(&serde_json::from_value(value).expect("a Node")).draining
        };
        assert!(with("true"));
        assert!(!with("false") && !with(""));
        assert!(!node(&core_v1::Node::default()).draining);
    }

    #[test]
    fn a_node_is_unavailable_only_if_its_condition_is_true() {
        let with = |status: &str| {
            let value = json!({"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "NetworkUnavailable", "status": status}, {"type": "Ready", "status": "True"}]}});
            node(&serde_json::from_value(value).expect("a Node")).network_unavailable
        };
        assert!(with("True"));
        assert!(!with("False"));
    }
}

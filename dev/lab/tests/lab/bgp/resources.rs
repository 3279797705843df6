//! The resources of the tests, and what the speakers write about them.

use std::collections::BTreeMap;

use anyhow::ensure;
use herald_api::{BGPSessionState, BGPSessionStateStatus, ServiceBGPStatus};
use herald_lab::objects::NAMESPACE;
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Addresses of the pools `one` and `two`.
pub(super) const ONE: [&str; 2] = ["10.67.1.1", "fd00:6701::1"];
pub(super) const TWO: [&str; 2] = ["10.67.2.1", "fd00:6702::1"];

/// The pools that both families of [`ONE`] and [`TWO`] are of.
pub(super) fn pools() -> [Value; 2] {
    ["one", "two"].map(|name| {
        let number = if name == "one" { 1 } else { 2 };
        let addresses = [format!("10.67.{number}.0/28"), format!("fd00:670{number}::/124")];
        resource("v1beta1", "IPAddressPool", name, &json!({"addresses": addresses}))
    })
}

pub(super) fn advertisement(name: &str, spec: &Value) -> Value {
    resource("v1beta1", "BGPAdvertisement", name, spec)
}

pub(super) fn resource(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

/// A Service with these addresses of both families.
pub(super) fn service(name: &str, addresses: [&str; 2]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default",
            "annotations": {"metallb.io/loadBalancerIPs": addresses.join(",")},
        },
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "hello"}, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

/// Returns an object with parts of it replaced or, by `null`, removed.
pub(super) fn with(mut object: Value, changes: &Value) -> Value {
    merge(&mut object, changes);
    object
}

/// RFC 7396.
fn merge(object: &mut Value, changes: &Value) {
    let Value::Object(fields) = changes else {
        object.clone_from(changes);
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, change) in fields {
        if change.is_null() {
            object.as_object_mut().map(|object| object.remove(name));
        } else {
            merge(&mut object[name], change);
        }
    }
}

pub(super) async fn apply(lab: &Lab, objects: &[Value]) -> anyhow::Result<()> {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    lab.apply("bgp.yaml", &texts.join("\n---\n")).await.map(drop)
}

/// Deletes a resource of the namespace of Herald.
pub(super) async fn delete<K>(lab: &Lab, name: &str) -> anyhow::Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(lab.cluster().client(), NAMESPACE);
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Sets labels of a node, or removes them by `null`.
pub(super) async fn label_node(lab: &Lab, index: usize, labels: &Value) -> anyhow::Result<()> {
    let api = Api::<k8s_openapi::api::core::v1::Node>::all(lab.cluster().client());
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    api.patch(lab.node(index).name(), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// The selector of a node by its name.
pub(super) fn hostname(lab: &Lab, index: usize) -> Value {
    json!({"matchLabels": {"kubernetes.io/hostname": lab.node(index).name()}})
}

/// Waits until exactly these nodes publish that they announce the Service, each to the peers.
pub(super) async fn wait_for_announcing(
    lab: &Lab,
    service: &str,
    nodes: &[usize],
    peers: &[&str],
) -> anyhow::Result<()> {
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let of_node = |node: &usize| (lab.node(*node).name().to_owned(), peers.clone());
    let expected: BTreeMap<String, Vec<String>> = nodes.iter().map(of_node).collect();
    let what = format!("{expected:?} announce {service}");
    wait_for(&what, DEADLINE, async || {
        let statuses = lab.cluster().list::<ServiceBGPStatus>(NAMESPACE).await?;
        let statuses = statuses.into_iter().filter_map(|status| status.status);
        let of_service = statuses.filter(|status| status.service_name.as_deref() == Some(service));
        let found = of_service.map(|status| (status.node.unwrap_or_default(), status.peers));
        let found: BTreeMap<String, Vec<String>> = found.collect();
        ensure!(found == expected, "{found:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until exactly these nodes have a session with the peer, and each of its states fulfils the condition.
pub(super) async fn wait_for_states(
    lab: &Lab,
    peer: &str,
    nodes: &[usize],
    is_right: impl Fn(&BGPSessionStateStatus) -> bool,
) -> anyhow::Result<()> {
    let expected: Vec<&str> = nodes.iter().map(|node| lab.node(*node).name()).collect();
    let what = format!("{expected:?} have the right session with {peer}");
    wait_for(&what, DEADLINE, async || {
        let states = lab.cluster().list::<BGPSessionState>(NAMESPACE).await?;
        let states = states.into_iter().filter_map(|state| state.status);
        let of_peer = states.filter(|state| state.peer.as_deref() == Some(peer));
        let mut found: Vec<BGPSessionStateStatus> = of_peer.collect();
        found.sort_by(|one, other| one.node.cmp(&other.node));
        let names: Vec<&str> = found.iter().filter_map(|state| state.node.as_deref()).collect();
        ensure!(names == expected && found.iter().all(&is_right), "{found:?}");
        Ok(Some(()))
    })
    .await
}

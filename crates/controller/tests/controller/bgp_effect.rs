//! What the controller says of resources of BGP that have less effect than they were written for.

use herald_api::IPAddressPool;
use herald_api::crd::EFFECTIVE;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE, wait_for};

async fn create(cluster: &Cluster, version: &str, kind: &str, plural: &str, spec: Value) {
    let path = format!("/apis/metallb.io/{version}/namespaces/{NAMESPACE}/{plural}");
    let object = json!({
        "apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": {"name": "tor", "namespace": NAMESPACE}, "spec": spec,
    });
    cluster.create(&path, object).await;
}

/// The kinds of the objects that have an event of this reason.
async fn told(cluster: &Cluster, reason: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let events = events.list(&ListParams::default()).await.expect("events").items;
    let told = events
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason));
    let mut kinds: Vec<String> = told.filter_map(|event| event.involved_object.kind).collect();
    kinds.sort();
    kinds
}

async fn effective(cluster: &Cluster) -> Option<[String; 2]> {
    let pools: Api<IPAddressPool> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let status = pools.get("pool").await.ok()?.status?;
    let condition = status.conditions.into_iter().find(|one| one.type_ == EFFECTIVE)?;
    Some([condition.status, condition.reason])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_only_bgp_announces_is_effective_unless_bgp_is_switched_off() {
    let mut cluster = Cluster::start().await;
    cluster
        .apply_pool("pool", json!({"addresses": ["192.0.2.0/24"]}))
        .await;
    create(&cluster, "v1beta1", "BFDProfile", "bfdprofiles", json!({})).await;
    let peer = json!({"myASN": 65001, "peerASN": 65000, "peerAddress": "192.0.2.1", "bfdProfile": "tor"});
    create(&cluster, "v1beta2", "BGPPeer", "bgppeers", peer).await;
    create(
        &cluster,
        "v1beta1",
        "BGPAdvertisement",
        "bgpadvertisements",
        json!({}),
    )
    .await;
    for (name, flag, condition, reason, kinds) in [
        (
            "with",
            "--bgp",
            ["True", "Effective"],
            "BFDNotRunning",
            &["BGPPeer"][..],
        ),
        (
            "without",
            "--bgp=false",
            ["False", "BGPDisabled"],
            "BGPDisabled",
            &["BGPAdvertisement", "BGPPeer"],
        ),
    ] {
        cluster.start_controller_with(name, &[flag]);
        wait_for(&format!("{name} BGP the pool is {condition:?}"), async || {
            effective(&cluster).await == Some(condition.map(str::to_owned))
        })
        .await;
        wait_for(
            &format!("{name} BGP {kinds:?} have the event {reason}"),
            async || told(&cluster, reason).await == kinds,
        )
        .await;
        cluster.signal(name, Signal::SIGTERM);
        cluster.end_of(name).await;
    }
}

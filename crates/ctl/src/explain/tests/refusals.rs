//! What is said of each reason why a Service gets no address.

use herald_api::state::ControllerState;
use herald_core::ipam::{AllocationOutcome, Refusal};
use herald_core::{RequestError, ServiceKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{Texts, explained};
use crate::cluster::ClusterView;
use crate::model::Model;
use crate::world::cluster_of;

variants! {
    REFUSALS, name_of(Refusal) {
        Refusal::NoPool => "NoPool",
        Refusal::NoPoolMatchesService => "NoPoolMatchesService",
        Refusal::PoolUnknown(_) => "PoolUnknown",
        Refusal::PoolNotInForce(_) => "PoolNotInForce",
        Refusal::PoolNotCompatible(_) => "PoolNotCompatible",
        Refusal::PoolMismatch { .. } => "PoolMismatch",
        Refusal::PoolExhausted { .. } => "PoolExhausted",
        Refusal::FamilyUnavailable { .. } => "FamilyUnavailable",
        Refusal::AddressOutsidePools(_) => "AddressOutsidePools",
        Refusal::FamilyMismatch { .. } => "FamilyMismatch",
        Refusal::AddressInUse { .. } => "AddressInUse",
        Refusal::SharingKeyMismatch { .. } => "SharingKeyMismatch",
        Refusal::PortInUse { .. } => "PortInUse",
        Refusal::SharingNotAllowed { .. } => "SharingNotAllowed",
        Refusal::AddressInQuarantine { .. } => "AddressInQuarantine",
        Refusal::AddressOfOtherNamespace { .. } => "AddressOfOtherNamespace",
        Refusal::AddressNotReserved { .. } => "AddressNotReserved",
        Refusal::AddressReserved { .. } => "AddressReserved",
        Refusal::QuotaExceeded { .. } => "QuotaExceeded",
        Refusal::InvalidRequest(RequestError::Both) => "InvalidRequest: Both",
        Refusal::InvalidRequest(RequestError::Annotation(_)) => "InvalidRequest: Annotation",
        Refusal::InvalidRequest(RequestError::Field(_)) => "InvalidRequest: Field",
        Refusal::InvalidRequest(RequestError::TooLong(_)) => "InvalidRequest: TooLong",
        Refusal::InvalidRequest(RequestError::TooManyPorts { .. }) => "InvalidRequest: TooManyPorts",
        Refusal::NoClusterIps => "NoClusterIps",
        Refusal::NotEnoughClusterIps(_) => "NotEnoughClusterIps",
        Refusal::InvalidClusterIps(_) => "InvalidClusterIps",
    }
}

/// The annotations and fields of a Service that make it ask for something.
fn asks(address: &str) -> Value {
    json!({"metallb.io/loadBalancerIPs": address})
}

fn shares(key: &str) -> Value {
    json!({"metallb.io/loadBalancerIPs": "192.0.2.1", "metallb.io/allow-shared-ip": key})
}

/// The Service that is refused.
fn web(annotations: Value, spec: Value) -> Value {
    service("default", "web", annotations, spec)
}

fn service(namespace: &str, name: &str, annotations: Value, spec: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"], "ports": [{"port": 80}]},
    });
    json_patch::merge(&mut service["spec"], &spec);
    service
}

/// A Service that has 192.0.2.1.
fn holder(namespace: &str, annotations: Value) -> Value {
    let mut holder = service(namespace, "old", annotations, json!({}));
    holder["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"] = "first".into();
    holder["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    holder
}

fn pool(name: &str, addresses: &[&str], more: Value) -> Value {
    let mut pool = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name}, "spec": {"addresses": addresses},
    });
    json_patch::merge(&mut pool["spec"], &more);
    pool
}

/// A pool with 192.0.2.0 to 192.0.2.3.
fn first(more: Value) -> Value {
    pool("first", &["192.0.2.0/30"], more)
}

fn plain() -> Value {
    json!({})
}

/// The objects of each case.
fn cases() -> Vec<Vec<Value>> {
    let ports: Vec<Value> = (1..=1025).map(|port| json!({"port": port})).collect();
    let of_first = json!({"metallb.io/address-pool": "first"});
    vec![
        vec![web(plain(), plain())],
        vec![first(json!({"autoAssign": false})), web(plain(), plain())],
        vec![
            first(plain()),
            web(json!({"metallb.io/address-pool": "other"}), plain()),
        ],
        vec![
            pool("first", &["192.0.2.1"], plain()),
            pool("second", &["198.51.100.0/30"], plain()),
            web(of_first.clone(), plain()),
        ],
        vec![
            first(json!({"serviceAllocation": {"namespaces": ["shop"]}})),
            web(of_first, plain()),
        ],
        vec![
            first(plain()),
            pool("second", &["198.51.100.0/30"], plain()),
            web(
                json!({"metallb.io/address-pool": "second", "metallb.io/loadBalancerIPs": "192.0.2.1"}),
                plain(),
            ),
        ],
        vec![
            pool("first", &["192.0.2.1/32"], plain()),
            holder("shop", plain()),
            web(plain(), plain()),
        ],
        vec![
            first(plain()),
            web(plain(), json!({"clusterIPs": ["2001:db8::9"]})),
        ],
        vec![first(plain()), web(asks("198.51.100.1"), plain())],
        vec![
            pool("first", &["192.0.2.0/30", "2001:db8::/120"], plain()),
            web(asks("2001:db8::1"), plain()),
        ],
        vec![
            first(plain()),
            holder("shop", plain()),
            web(asks("192.0.2.1"), plain()),
        ],
        vec![
            first(plain()),
            holder("default", shares("a")),
            web(shares("b"), plain()),
        ],
        vec![
            first(plain()),
            holder("default", shares("a")),
            web(shares("a"), plain()),
        ],
        vec![
            first(json!({"sharing": "SameNamespace"})),
            holder("shop", shares("a")),
            web(shares("a"), json!({"ports": [{"port": 81}]})),
        ],
        // The controller has 192.0.2.2 in quarantine.
        vec![first(plain()), web(asks("192.0.2.2"), plain())],
        vec![
            first(json!({"requests": "SameNamespace"})),
            holder("shop", plain()),
            web(asks("192.0.2.1"), plain()),
        ],
        vec![
            first(json!({"requests": "Reserved"})),
            web(asks("192.0.2.1"), plain()),
        ],
        vec![
            first(json!({"reservations": [{"address": "192.0.2.1", "namespace": "shop", "service": "old"}]})),
            web(asks("192.0.2.1"), plain()),
        ],
        vec![
            first(json!({"quota": {"perNamespace": 1}})),
            holder("default", plain()),
            web(plain(), plain()),
        ],
        vec![
            first(plain()),
            web(asks("192.0.2.1"), json!({"loadBalancerIP": "192.0.2.3"})),
        ],
        vec![first(plain()), web(asks("192.0.2.1/32"), plain())],
        vec![
            first(plain()),
            web(plain(), json!({"loadBalancerIP": "web.example"})),
        ],
        vec![first(plain()), web(asks(&"192.0.2.1,".repeat(200)), plain())],
        vec![
            first(plain()),
            web(
                json!({"metallb.io/allow-shared-ip": "a"}),
                json!({"ports": ports}),
            ),
        ],
        vec![first(plain()), web(plain(), json!({"clusterIPs": ["None"]}))],
        vec![
            first(plain()),
            web(plain(), json!({"ipFamilyPolicy": "RequireDualStack"})),
        ],
        vec![
            first(plain()),
            web(plain(), json!({"clusterIPs": ["10.0.0.8", "10.0.0.9"]})),
        ],
    ]
}

fn controller() -> ControllerState {
    let state = json!({
        "version": 1, "time": "2026-01-01T00:00:00Z", "truncated": false, "active": true, "waitsForMetalLB": false,
        "quarantine": [{"address": "192.0.2.2", "lastService": "shop/gone", "until": "2026-01-01T00:01:00Z"}],
    });
    serde_json::from_value(state).expect("a state")
}

fn model(cluster: &ClusterView) -> Model {
    let today: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    Model::new(&cluster.objects, &cluster.states, None, today)
}

#[test]
fn each_refusal_is_explained_with_what_happened_where_and_what_to_do() {
    let mut texts = Texts::default();
    for objects in cases() {
        let mut cluster = cluster_of(&objects);
        cluster.states.controller = Some(controller());
        let mut model = model(&cluster);
        let decision = model.allocator.decision(&ServiceKey::new("default", "web"));
        let Some((AllocationOutcome::Unassigned(refusal), _)) = decision else {
            panic!("{decision:?}: {objects:?}")
        };
        let text = explained(&cluster, &mut model, &["Allocation", "Next"]);
        texts.add(name_of(&refusal), &text);
    }
    texts.check("refusals.expected", REFUSALS);
}

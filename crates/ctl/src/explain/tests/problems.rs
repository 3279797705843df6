//! What is said of each mistake that a resource can have.

use herald_core::address::AddressError;
use herald_core::config::bgp::{BgpChange, BgpError, CommunityError, Password, RawSecret};
use herald_core::{ConfigError, SelectorError};
use serde_json::{Value, json};

use super::table::{Texts, explained};
use crate::cluster::ClusterView;
use crate::model::{Model, peer_changes};
use crate::world::cluster_of;

variants! {
    CONFIG_ERRORS, name_of(ConfigError) {
        ConfigError::MissingName => "MissingName",
        ConfigError::NoAddresses => "NoAddresses",
        ConfigError::Address(AddressError::Cidr(_)) => "Address: Cidr",
        ConfigError::Address(AddressError::BareAddress { .. }) => "Address: BareAddress",
        ConfigError::Address(AddressError::Whitespace(_)) => "Address: Whitespace",
        ConfigError::Address(AddressError::Prefix { .. }) => "Address: Prefix",
        ConfigError::Address(AddressError::Start { .. }) => "Address: Start",
        ConfigError::Address(AddressError::End { .. }) => "Address: End",
        ConfigError::Address(AddressError::Reversed { .. }) => "Address: Reversed",
        ConfigError::Address(AddressError::MixedFamilies { .. }) => "Address: MixedFamilies",
        ConfigError::DuplicateResource { .. } => "DuplicateResource",
        ConfigError::Overlap { .. } => "Overlap",
        ConfigError::DuplicateNamespace(_) => "DuplicateNamespace",
        ConfigError::DuplicatePoolReference(_) => "DuplicatePoolReference",
        ConfigError::DuplicateSelector(_) => "DuplicateSelector",
        ConfigError::Selector { error: SelectorError::Operator(_), .. } => "Selector: Operator",
        ConfigError::Selector { error: SelectorError::MissingValues { .. }, .. } => "Selector: MissingValues",
        ConfigError::Selector { error: SelectorError::UnexpectedValues { .. }, .. } => "Selector: UnexpectedValues",
        ConfigError::Selector { error: SelectorError::DuplicateValue(_), .. } => "Selector: DuplicateValue",
        ConfigError::Selector { error: SelectorError::DuplicateExpression(_), .. } => "Selector: DuplicateExpression",
        ConfigError::Selector { error: SelectorError::MissingKey, .. } => "Selector: MissingKey",
        ConfigError::Selector { error: SelectorError::Key(_), .. } => "Selector: Key",
        ConfigError::Selector { error: SelectorError::Value { .. }, .. } => "Selector: Value",
        ConfigError::NegativeQuota(_) => "NegativeQuota",
        ConfigError::ReservationAddress(_) => "ReservationAddress",
        ConfigError::ReservationOutside(_) => "ReservationOutside",
        ConfigError::DuplicateReservation(_) => "DuplicateReservation",
        ConfigError::ReservationIncomplete => "ReservationIncomplete",
        ConfigError::Bgp(BgpError::MissingLocalAsn) => "MissingLocalAsn",
        ConfigError::Bgp(BgpError::Asn(_)) => "Asn",
        ConfigError::Bgp(BgpError::MissingPeerAsn) => "MissingPeerAsn",
        ConfigError::Bgp(BgpError::BothPeerAsns) => "BothPeerAsns",
        ConfigError::Bgp(BgpError::DynamicAsn(_)) => "DynamicAsn",
        ConfigError::Bgp(BgpError::InternalMultiHop) => "InternalMultiHop",
        ConfigError::Bgp(BgpError::MissingLocation) => "MissingLocation",
        ConfigError::Bgp(BgpError::BothLocations) => "BothLocations",
        ConfigError::Bgp(BgpError::Address(_)) => "PeerAddress",
        ConfigError::Bgp(BgpError::SourceAddress(_)) => "SourceAddress",
        ConfigError::Bgp(BgpError::SourceFamily(_)) => "SourceFamily",
        ConfigError::Bgp(BgpError::SourceOfInterface) => "SourceOfInterface",
        ConfigError::Bgp(BgpError::RouterId(_)) => "RouterId",
        ConfigError::Bgp(BgpError::Port(_)) => "Port",
        ConfigError::Bgp(BgpError::Duration(_)) => "Duration",
        ConfigError::Bgp(BgpError::HoldTime(_)) => "HoldTime",
        ConfigError::Bgp(BgpError::Keepalive { .. }) => "Keepalive",
        ConfigError::Bgp(BgpError::ConnectTime(_)) => "ConnectTime",
        ConfigError::Bgp(BgpError::BothPasswords) => "BothPasswords",
        ConfigError::Bgp(BgpError::MissingSecret(_)) => "MissingSecret",
        ConfigError::Bgp(BgpError::SecretType { .. }) => "SecretType",
        ConfigError::Bgp(BgpError::SecretWithoutPassword(_)) => "SecretWithoutPassword",
        ConfigError::Bgp(BgpError::PasswordTooLong(_)) => "PasswordTooLong",
        ConfigError::Bgp(BgpError::MissingBfdProfile(_)) => "MissingBfdProfile",
        ConfigError::Bgp(BgpError::OutOfRange { .. }) => "OutOfRange",
        ConfigError::Bgp(BgpError::AggregationLength { .. }) => "AggregationLength",
        ConfigError::Bgp(BgpError::SelectedAggregate(_)) => "SelectedAggregate",
        ConfigError::Bgp(BgpError::Metric { .. }) => "Metric",
        ConfigError::Bgp(BgpError::DuplicateEntry { .. }) => "DuplicateEntry",
        ConfigError::Bgp(BgpError::Community(CommunityError::Section { .. })) => "Community: Section",
        ConfigError::Bgp(BgpError::Community(CommunityError::Marker(_))) => "Community: Marker",
        ConfigError::Bgp(BgpError::Community(CommunityError::Format(_))) => "Community: Format",
        ConfigError::Bgp(BgpError::NamedCommunity { .. }) => "NamedCommunity",
        ConfigError::Bgp(BgpError::DuplicateCommunity(_)) => "DuplicateCommunity",
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
    json!({"apiVersion": format!("metallb.io/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn pool(name: &str, addresses: &[&str]) -> Value {
    object("IPAddressPool", name, json!({"addresses": addresses}))
}

/// A pool with 192.0.2.0 to 192.0.2.3.
fn first(more: Value) -> Value {
    let mut pool = pool("first", &["192.0.2.0/30"]);
    json_patch::merge(&mut pool["spec"], &more);
    pool
}

fn reserving(address: &str, service: &str) -> Value {
    json!({"address": address, "namespace": "shop", "service": service})
}

fn l2(spec: Value) -> Value {
    object("L2Advertisement", "all", spec)
}

/// An advertisement with one expression in a selector of nodes.
fn selecting(expression: Value) -> Value {
    l2(json!({"nodeSelectors": [{"matchExpressions": [expression]}]}))
}

fn bgp(spec: Value) -> Value {
    object("BGPAdvertisement", "all", spec)
}

fn peer(more: Value) -> Value {
    let mut spec = json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1"});
    json_patch::merge(&mut spec, &more);
    object("BGPPeer", "tor", spec)
}

fn community(value: &str) -> Value {
    object(
        "Community",
        "names",
        json!({"communities": [{"name": "far", "value": value}]}),
    )
}

/// Pools and advertisements of layer 2, each with one mistake.
fn of_layer2() -> Vec<Vec<Value>> {
    let zone = json!({"key": "zone", "operator": "In", "values": ["a"]});
    let with = |field: &str, value: Value| {
        let mut expression = zone.clone();
        expression[field] = value;
        selecting(expression)
    };
    vec![
        vec![pool("", &["192.0.2.0/30"])],
        vec![pool("first", &[])],
        vec![pool("first", &["all"])],
        vec![pool("first", &["192.0.2.1"])],
        vec![pool("first", &["192.0.2.0 /30"])],
        vec![pool("first", &["192.0.2.0/33"])],
        vec![pool("first", &["192.0.2.x-192.0.2.9"])],
        vec![pool("first", &["192.0.2.1-192.0.2.x"])],
        vec![pool("first", &["192.0.2.9-192.0.2.1"])],
        vec![pool("first", &["192.0.2.1-2001:db8::1"])],
        vec![pool("first", &["192.0.2.0/30", "192.0.2.3/32"])],
        vec![first(
            json!({"serviceAllocation": {"namespaces": ["shop", "shop"]}}),
        )],
        vec![first(json!({"quota": {"perNamespace": -1}}))],
        vec![first(json!({"reservations": [reserving("192.0.2.1/32", "web")]}))],
        vec![first(json!({"reservations": [reserving("198.51.100.1", "web")]}))],
        vec![first(
            json!({"reservations": [reserving("192.0.2.1", "web"), reserving("192.0.2.1", "shop")]}),
        )],
        vec![first(json!({"reservations": [reserving("192.0.2.1", "")]}))],
        vec![l2(json!({"ipAddressPools": ["first", "first"]}))],
        vec![l2(
            json!({"nodeSelectors": [{"matchLabels": {"zone": "a"}}, {"matchLabels": {"zone": "a"}}]}),
        )],
        vec![with("operator", "Near".into())],
        vec![with("values", json!([]))],
        vec![with("operator", "Exists".into())],
        vec![with("values", json!(["a", "a"]))],
        vec![l2(json!({"nodeSelectors": [{"matchExpressions": [zone, zone]}]}))],
        vec![with("key", "".into())],
        vec![with("key", "my zone".into())],
        vec![with("values", json!(["a b"]))],
    ]
}

/// Resources of BGP, each with one mistake.
fn of_bgp() -> Vec<Vec<Value>> {
    let none = Value::Null;
    vec![
        vec![peer(json!({"myASN": 0}))],
        vec![peer(json!({"peerASN": -1}))],
        vec![peer(json!({"peerASN": none}))],
        vec![peer(json!({"dynamicASN": "external"}))],
        vec![peer(json!({"peerASN": none, "dynamicASN": "any"}))],
        vec![peer(json!({"peerASN": 64512, "ebgpMultiHop": true}))],
        vec![peer(json!({"peerAddress": none}))],
        vec![peer(json!({"interface": "eth0"}))],
        vec![peer(json!({"peerAddress": "tor.example"}))],
        vec![peer(json!({"sourceAddress": "here"}))],
        vec![peer(json!({"sourceAddress": "2001:db8::1"}))],
        vec![peer(
            json!({"peerAddress": none, "interface": "eth0", "sourceAddress": "192.0.2.1"}),
        )],
        vec![peer(json!({"routerID": "one"}))],
        vec![peer(json!({"peerPort": 70_000}))],
        vec![peer(json!({"holdTime": "soon"}))],
        vec![peer(json!({"holdTime": "1s"}))],
        vec![peer(json!({"holdTime": "3s", "keepaliveTime": "9s"}))],
        vec![peer(json!({"connectTime": "1500ms"}))],
        vec![peer(json!({"password": "p", "passwordSecret": {"name": "tor"}}))],
        vec![peer(json!({"password": "p".repeat(81)}))],
        vec![peer(json!({"bfdProfile": "fast"}))],
        vec![object("BFDProfile", "fast", json!({"detectMultiplier": 1}))],
        vec![bgp(json!({"aggregationLength": 33}))],
        vec![bgp(
            json!({"aggregationLength": 24, "serviceSelectors": [{"matchLabels": {"app": "web"}}]}),
        )],
        vec![bgp(json!({"localPref": -1}))],
        vec![bgp(json!({"peers": ["tor", "tor"]}))],
        vec![bgp(json!({"communities": ["70000:1"]}))],
        vec![bgp(json!({"communities": ["big:1:2:3"]}))],
        vec![bgp(json!({"communities": ["near"]}))],
        vec![community("x:1")],
        vec![
            object("Community", "more", community("64512:1")["spec"].clone()),
            community("64512:2"),
        ],
    ]
}

/// Returns the names of the problems, and adds what is said of the only one.
fn add(texts: &mut Texts, cluster: &ClusterView, mut model: Model) {
    let of_layer2 = model.catalog.problems().iter().map(|problem| &problem.error);
    let of_bgp = model.bgp.problems().iter().map(|problem| &problem.error);
    let names: Vec<&str> = of_layer2.chain(of_bgp).map(name_of).collect();
    let [name] = names.as_slice() else {
        panic!("{names:?}")
    };
    texts.add(name, &explained(cluster, &mut model, &["Mistakes", "Next"]));
}

/// A Service that gets no address.
fn web() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "web"},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"], "loadBalancerIP": "203.0.113.7"},
    })
}

/// Returns what Secrets would be to the speakers; heraldctl reads none.
fn secrets() -> [Option<RawSecret>; 3] {
    let secret = |kind: &str, password: Option<Password>| RawSecret {
        name: "tor".to_owned(),
        kind: kind.to_owned(),
        password,
    };
    let basic = "kubernetes.io/basic-auth";
    [
        None,
        Some(secret("Opaque", Some(Password(b"p".to_vec())))),
        Some(secret(basic, None)),
    ]
}

#[test]
fn each_mistake_of_a_resource_is_explained_with_what_is_wrong_where_and_what_would_be_right() {
    let mut texts = Texts::default();
    for mut objects in of_layer2().into_iter().chain(of_bgp()) {
        objects.push(web());
        let cluster = cluster_of(&objects);
        let model = Model::of(&cluster);
        add(&mut texts, &cluster, model);
    }
    // The API server has no two objects of one name; files have.
    let cluster = cluster_of(&[first(json!({})), first(json!({})), web()]);
    let model = Model::of(&cluster);
    add(&mut texts, &cluster, model);
    for secret in secrets() {
        let cluster = cluster_of(&[peer(json!({"passwordSecret": {"name": "tor"}})), web()]);
        let mut model = Model::of(&cluster);
        model.bgp.apply([BgpChange::DeleteSecret("tor".to_owned())]);
        model.bgp.apply(secret.map(BgpChange::ApplySecret));
        add(&mut texts, &cluster, model);
    }
    texts.check("problems.expected", CONFIG_ERRORS);
}

#[test]
fn a_peer_whose_secret_is_not_read_has_no_problem() {
    let cluster = cluster_of(&[peer(json!({"passwordSecret": {"name": "tor"}})), web()]);
    let model = Model::of(&cluster);
    assert!(model.bgp.problems().is_empty(), "{:?}", model.bgp.problems());
    assert_eq!(model.bgp.peers().count(), 1);
    assert_eq!(peer_changes(&cluster.objects.bgp.peers[0]).len(), 2);
}

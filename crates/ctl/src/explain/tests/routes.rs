//! What is said of each reason why a node sends no route, or a peer gets none.

use std::net::IpAddr;
use std::sync::Arc;

use herald_core::announce::bgp::{BgpRoutes, FamilyLimit, PeerExclusion, RouteExclusion, SessionLimits};
use herald_core::{Family, NodeName, Prefix, ServiceKey};
use serde_json::{Value, json};

use super::super::AddressAnnouncement;
use super::ADDRESS;
use super::table::Texts;
use crate::advice::Explained;
use crate::model::AnnouncementModel;
use crate::world::World;

variants! {
    ROUTE_EXCLUSIONS, name_of_route(RouteExclusion) {
        RouteExclusion::NoService => "NoService",
        RouteExclusion::NoNode => "NoNode",
        RouteExclusion::NoAdvertisementForNode => "NoAdvertisementForNode",
        RouteExclusion::NoAdvertisementForService => "NoAdvertisementForService",
        RouteExclusion::Contradiction(..) => "Contradiction",
        RouteExclusion::NoPeer => "NoPeer",
        RouteExclusion::Unsendable(_) => "Unsendable",
        RouteExclusion::Any(_) => "Any",
    }
}

variants! {
    PEER_EXCLUSIONS, name_of_peer(PeerExclusion) {
        PeerExclusion::NotSelected => "NotSelected",
        PeerExclusion::FamilyNotCarried(_) => "FamilyNotCarried",
        PeerExclusion::FamilyNotNegotiated(_) => "FamilyNotNegotiated",
        PeerExclusion::NoNextHop(_) => "NoNextHop",
        PeerExclusion::RouteTooLong => "RouteTooLong",
    }
}

/// A world with one node that sends a route to one peer, and what is changed in it.
struct Routes {
    world: World,
    advertisements: Vec<Value>,
    peers: Vec<Value>,
    service: &'static str,
    /// The node that is explained.
    node: &'static str,
    limits: SessionLimits,
}

impl Routes {
    fn new() -> Self {
        let mut world = World::new(1);
        world.add("web", ADDRESS, json!({}), &["node-0"]);
        Self {
            world,
            advertisements: vec![advertisement("all", json!({}))],
            peers: vec![peer("tor", json!({}))],
            service: "web",
            node: "node-0",
            limits: SessionLimits::default(),
        }
    }
}

fn advertisement(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "BGPAdvertisement", "metadata": {"name": name}, "spec": spec})
}

fn peer(name: &str, more: Value) -> Value {
    let mut peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": name},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1"},
    });
    json_patch::merge(&mut peer["spec"], &more);
    peer
}

fn selecting(node: &str) -> Value {
    json!({"nodeSelectors": [{"matchLabels": {"name": node}}]})
}

type Change = fn(&mut Routes);

const CASES: &[(&str, Change)] = &[
    ("NoService", |routes| routes.service = "gone"),
    ("NoNode", |routes| routes.node = "node-9"),
    ("NoAdvertisementForNode", |routes| {
        routes.advertisements = vec![advertisement("all", selecting("none"))]
    }),
    ("NoAdvertisementForService", |routes| {
        routes.advertisements = vec![advertisement(
            "some",
            json!({"serviceSelectors": [{"matchLabels": {"app": "other"}}]}),
        )];
    }),
    ("Contradiction", |routes| {
        let web = routes.world.services.get_mut("web").expect("a Service");
        web["metadata"]["labels"] = json!({"app": "web", "tier": "front"});
        let preferring = |name, label: &str, value, preference: u32| {
            let selectors = json!([{"matchLabels": {label: value}}]);
            advertisement(
                name,
                json!({"localPref": preference, "serviceSelectors": selectors}),
            )
        };
        routes.advertisements = vec![
            preferring("high", "app", "web", 200),
            preferring("low", "tier", "front", 100),
        ];
    }),
    ("NoPeer", |routes| {
        routes.peers = vec![peer("tor", selecting("none"))]
    }),
    ("Any", |routes| {
        routes.world.nodes.get_mut("node-0").expect("a node")["metadata"]["annotations"] =
            json!({"herald.io/drain": "true"});
    }),
    ("NotSelected", |routes| {
        routes.advertisements = vec![advertisement("some", json!({"peers": ["other"]}))]
    }),
    ("FamilyNotCarried", |routes| {
        routes.world.pool = "2001:db8::/120".to_owned();
        routes.world.add(
            "web",
            "2001:db8::1",
            json!({"clusterIPs": ["2001:db8::9"]}),
            &["node-0"],
        );
    }),
    ("FamilyNotNegotiated", |routes| {
        routes.limits.v4 = Some(FamilyLimit::NotNegotiated)
    }),
    ("NoNextHop", |routes| {
        routes.limits.v4 = Some(FamilyLimit::NoNextHop)
    }),
    ("RouteTooLong", |routes| {
        routes
            .limits
            .too_long
            .insert(Prefix::of(ADDRESS.parse().expect("an address"), 32));
    }),
];

/// Returns the names of the reasons of a node.
fn produced(
    announcements: &AnnouncementModel,
    node: &str,
    key: &ServiceKey,
    address: IpAddr,
) -> Vec<&'static str> {
    let routes = &announcements.routes[&NodeName::from(node)];
    match routes.explain(&announcements.facts, key, address) {
        Err(exclusion) => vec![name_of_route(&exclusion)],
        Ok(peers) => peers
            .values()
            .filter_map(|outcome| outcome.as_ref().err())
            .map(name_of_peer)
            .collect(),
    }
}

#[test]
fn each_reason_of_a_route_is_explained_with_what_happened_where_and_what_to_do() {
    let mut texts = Texts::default();
    for (name, change) in CASES {
        let mut routes = Routes::new();
        change(&mut routes);
        let mut cluster = routes.world.cluster();
        let read = |value: &Value| serde_json::from_value(value.clone()).expect("an advertisement");
        cluster.objects.bgp.advertisements = routes.advertisements.iter().map(read).collect();
        let read = |value: &Value| serde_json::from_value(value.clone()).expect("a peer");
        cluster.objects.bgp.peers = routes.peers.iter().map(read).collect();
        let address = &routes.world.services["web"]["status"]["loadBalancer"]["ingress"][0]["ip"];
        let address: IpAddr = address
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        let mut announcements = routes.world.announcements(&cluster, address);
        let node = NodeName::from(routes.node);
        // No node of the cluster is unknown, so one is added.
        announcements.routes.retain(|other, _| *other == node);
        let unknown = || BgpRoutes::new(node.clone(), None);
        let own = announcements.routes.entry(node.clone()).or_insert_with(unknown);
        // What a session cannot have is known to the speaker only.
        own.set_limits(&announcements.facts, &Arc::from("tor"), routes.limits);
        let key = ServiceKey::new("default", routes.service);
        let produced = produced(&announcements, routes.node, &key, address);
        assert!(produced.contains(name), "{name}: {produced:?}");
        let text = AddressAnnouncement::new(&cluster, &announcements, &key, address).text(true);
        let routes = text.split_once("BGP PEER").expect("a table").1;
        texts.add(name, routes.split_once('\n').expect("lines").1);
    }
    // The table has a line for each peer instead.
    let unsendable = Explained::from(&RouteExclusion::Unsendable(PeerExclusion::NoNextHop(Family::V6)));
    texts.add(
        "Unsendable",
        &format!("{}: {}", unsendable.reason, unsendable.message),
    );
    texts.check("routes.expected", &[ROUTE_EXCLUSIONS, PEER_EXCLUSIONS].concat());
}

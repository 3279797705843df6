//! What is said of each reason, and that it is what the programs decide.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::announce::layer2::ownership::{Ownership, Role};
use herald_core::{Liveness, NodeName, NodeState, ServiceKey};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::announcement::{AddressAnnouncement, Part};
use super::*;
use crate::cluster::ClusterView;
use crate::model::{AnnouncementModel, Model};
use crate::world::World;

#[macro_use]
mod table;
mod exclusions;
mod problems;
mod refusals;
mod routes;

impl World {
    fn announcements(&self, cluster: &ClusterView, address: IpAddr) -> AnnouncementModel {
        let model = Model::of(cluster);
        let addresses = BTreeSet::from([address]);
        AnnouncementModel::of(
            &addresses,
            &cluster.objects,
            &cluster.states,
            &cluster.installation,
            &model,
        )
    }

    fn explain(&self, service: &str, address: &str) -> AddressAnnouncement {
        let cluster = self.cluster();
        let address = address.parse().expect("an address");
        let announcements = self.announcements(&cluster, address);
        AddressAnnouncement::new(
            &cluster,
            &announcements,
            &ServiceKey::new("default", service),
            address,
        )
    }

    /// Returns the reason of a node, or what it is to the address.
    fn reason(&self, service: &str, address: &str, node: &str) -> String {
        let explained = self.explain(service, address);
        let line = explained
            .nodes
            .iter()
            .find(|line| line.node == node)
            .expect("a node");
        match &line.excluded {
            Some(excluded) => {
                assert!(
                    !excluded.message.is_empty() && !excluded.advice.is_empty(),
                    "{excluded:?}"
                );
                excluded.reason.clone()
            }
            None => format!("{:?}", line.part),
        }
    }
}

const ADDRESS: &str = "192.0.2.1";

#[test]
fn each_reason_of_a_node_is_named_with_what_to_do() {
    let mut world = World::new(8);
    world.add(
        "web",
        ADDRESS,
        json!({"externalTrafficPolicy": "Local"}),
        &[
            "node-0", "node-1", "node-2", "node-3", "node-4", "node-5", "node-6",
        ],
    );
    world.nodes.get_mut("node-1").expect("a node")["metadata"]["annotations"] =
        json!({"herald.io/drain": "true"});
    world.nodes.get_mut("node-2").expect("a node")["metadata"]["labels"] =
        json!({"name": "node-2", "node.kubernetes.io/exclude-from-external-load-balancers": ""});
    world.nodes.get_mut("node-3").expect("a node")["status"] =
        json!({"conditions": [{"type": "NetworkUnavailable", "status": "True"}]});
    world.members[4].liveness = Liveness::Down;
    world.members[5].state = NodeState::Starting;
    world.advertisement = json!({"nodeSelectors": [{"matchExpressions": [{"key": "name", "operator": "NotIn", "values": ["node-6"]}]}]});
    for (node, expected) in [
        ("node-0", "Owner"),
        ("node-1", "Drained"),
        ("node-2", "ExcludedByLabel"),
        ("node-3", "NetworkUnavailable"),
        ("node-4", "NoSpeaker"),
        ("node-5", "SpeakerNotReady"),
        ("node-6", "NodeNotSelected"),
        ("node-7", "NoLocalEndpoint"),
    ] {
        assert_eq!(world.reason("web", ADDRESS, node), expected, "{node}");
    }
}

#[test]
fn each_reason_that_concerns_all_nodes_is_named_with_what_to_do() {
    let excluded = |world: &World, service: &str, address: &str| {
        let excluded = world.explain(service, address).excluded.expect("it is excluded");
        assert!(
            !excluded.message.is_empty() && !excluded.advice.is_empty(),
            "{excluded:?}"
        );
        excluded.reason
    };
    let mut world = World::new(2);
    world.add("web", ADDRESS, json!({}), &[]);
    assert_eq!(excluded(&world, "web", ADDRESS), "NoEndpoints");
    world.add("web", ADDRESS, json!({}), &["node-0"]);
    world.advertisement = json!({"ipAddressPools": ["other"]});
    assert_eq!(excluded(&world, "web", ADDRESS), "NoAdvertisement");
    world.advertisement = json!({"nodeSelectors": [{"matchLabels": {"name": "none"}}]});
    assert_eq!(excluded(&world, "web", ADDRESS), "NoCandidate");
    world.advertisement = json!({});
    world.add("outside", "198.51.100.1", json!({}), &["node-0"]);
    assert_eq!(excluded(&world, "outside", "198.51.100.1"), "AddressOutsidePools");
    world.nodes.get_mut("node-1").expect("a node")["status"] =
        json!({"addresses": [{"type": "InternalIP", "address": ADDRESS}]});
    assert_eq!(excluded(&world, "web", ADDRESS), "AddressOfNode");
}

#[test]
fn without_a_speaker_that_was_asked_no_node_is_called_owner() {
    let mut world = World::new(3);
    world.add("web", ADDRESS, json!({}), &["node-0"]);
    let mut cluster = world.cluster();
    cluster.states.speakers.clear();
    let address = ADDRESS.parse().expect("an address");
    let announcements = world.announcements(&cluster, address);
    let key = ServiceKey::new("default", "web");
    let explained = AddressAnnouncement::new(&cluster, &announcements, &key, address);
    assert!(explained.answered_by.is_none());
    assert!(
        explained.nodes.iter().all(|line| line.part == Part::Eligible),
        "{:?}",
        explained.nodes
    );
}

#[test]
fn the_text_of_a_service_ends_with_what_to_do_next() {
    let mut world = World::new(2);
    world.add("web", ADDRESS, json!({}), &[]);
    let cluster = world.cluster();
    let explain = |service: &str| {
        let mut model = Model::new(&cluster.objects, &cluster.states, None, Timestamp::UNIX_EPOCH);
        let key = ServiceKey::new("default", service);
        service::explain(&cluster, &mut model, &key, History::default())
    };
    let text = Printable::text(&explain("web").expect("a Service"), false);
    let text = anstream::adapter::strip_str(&text).to_string();
    let expected = "\
Service default/web: 192.0.2.1

Allocation
  192.0.2.1 of pool \"first\"
  POOL    OUTCOME   WHY
  first   Held      the Service has 192.0.2.1

Announcement
  192.0.2.1 answered by no node
    not by ARP or NDP: NoEndpoints: the Service has no ready endpoint

Data path
  externalTrafficPolicy Cluster
  no endpoint that could serve a request

Next: 192.0.2.1: make a Pod ready that the selector of the Service selects
";
    assert_eq!(text, expected);
    let error = explain("other").expect_err("there is none").to_string();
    assert_eq!(error, "there is no Service default/other");
}

#[test]
fn a_service_is_named_with_or_without_its_namespace() {
    let key = |text, given| {
        service_key(text, given, "default")
            .map(|key| key.to_string())
            .ok()
    };
    assert_eq!(key("web", None).as_deref(), Some("default/web"));
    assert_eq!(key("web", Some("shop")).as_deref(), Some("shop/web"));
    assert_eq!(key("shop/web", None).as_deref(), Some("shop/web"));
    assert_eq!(key("shop/web", Some("shop")).as_deref(), Some("shop/web"));
    for (text, given) in [
        ("shop/web", Some("other")),
        ("/web", None),
        ("shop/", None),
        ("a/b/c", None),
    ] {
        assert_eq!(key(text, given), None, "{text}");
    }
}

/// Returns the next thing to do about a Service of a cluster.
fn next_of(cluster: &ClusterView, service: &str) -> String {
    let mut model = Model::of(cluster);
    let key = ServiceKey::new("default", service);
    let history = History::default();
    let explained = service::explain(cluster, &mut model, &key, history).expect("a Service");
    let explained = serde_json::to_value(&explained).expect("JSON");
    explained["next"]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn what_depends_on_objects_that_may_not_be_listed_is_unknown() {
    let mut world = World::new(2);
    world.add(
        "web",
        ADDRESS,
        json!({"loadBalancerClass": "herald"}),
        &["node-0"],
    );
    for (kind, resource) in [
        ("Pod", "pods"),
        ("EndpointSlice", "endpointslices.discovery.k8s.io"),
        ("L2Advertisement", "l2advertisements.metallb.io"),
        ("IPAddressPool", "ipaddresspools.metallb.io"),
        ("Node", "nodes"),
        ("Namespace", "namespaces"),
    ] {
        let mut cluster = world.cluster();
        let absence = crate::cluster::Absence::Forbidden(resource.to_owned());
        cluster.objects.missing.insert(kind, absence);
        let next = next_of(&cluster, "web");
        assert!(
            next.starts_with(&format!("unknown: you may not list {resource}")),
            "{next}"
        );
    }
    assert!(next_of(&world.cluster(), "web").contains("Herald handles those without one"));
}

#[test]
fn a_sharer_without_endpoints_is_not_well_although_the_address_is_answered_for() {
    let mut world = World::new(2);
    for (name, on) in [("web", &["node-0"][..]), ("empty", &[])] {
        world.add(name, ADDRESS, json!({}), on);
        world.services.get_mut(name).expect("a Service")["metadata"]["annotations"]["metallb.io/allow-shared-ip"] =
            "k".into();
    }
    let mut cluster = world.cluster();
    let role = |service: &str, role: &str| json!({"service": service, "role": role});
    let address = json!({
        "address": ADDRESS, "stage": "Active", "answers": true, "since": "",
        "services": [role("default/empty", "Unowned"), role("default/web", "Owner")],
    });
    cluster.states.speakers[0].addresses = vec![serde_json::from_value(address).expect("an address")];
    let (of_web, of_empty) = (next_of(&cluster, "web"), next_of(&cluster, "empty"));
    assert!(of_web.starts_with("nothing: it has its addresses"), "{of_web}");
    assert!(of_empty.contains("make a Pod ready"), "{of_empty}");
}

#[test]
fn a_route_counts_only_by_a_session_that_is_established() {
    let mut world = World::new(1);
    world.add("web", ADDRESS, json!({}), &["node-0"]);
    world.advertisement = json!({"ipAddressPools": ["other"]});
    let mut cluster = world.cluster();
    let object = |kind: &str, spec: serde_json::Value| json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": {"name": "one"}, "spec": spec});
    assert!(next_of(&cluster, "web").contains("create an L2Advertisement or a BGPAdvertisement"));
    let advertisement = object("BGPAdvertisement", json!({}));
    cluster.objects.bgp.advertisements =
        vec![serde_json::from_value(advertisement).expect("an advertisement")];
    assert!(next_of(&cluster, "web").contains("create a BGPPeer"));
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor"},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1"},
    });
    cluster.objects.bgp.peers = vec![serde_json::from_value(peer).expect("a peer")];
    let session = |state: &str| {
        json!({
            "name": "tor", "place": "198.51.100.1:179", "state": state, "since": "", "wanted": 1, "unsendable": 0, "sent": 0,
            "established": 0,
        })
    };
    for (state, expected) in [
        (
            "Active",
            "the session of node-0 with the BGPPeer tor is not established (Active)",
        ),
        ("Established", "nothing: it has its addresses"),
    ] {
        cluster.states.speakers[0].bgp_peers =
            vec![serde_json::from_value(session(state)).expect("a session")];
        let next = next_of(&cluster, "web");
        assert!(next.contains(expected), "{next}");
    }
}

/// A world with drained, excluded, suspect and dead nodes, and Services that share two addresses.
fn worlds() -> impl Strategy<Value = World> {
    let node = (0_u8..8, 0_u8..6, 0_u8..4);
    let service = (0_u8..2, any::<bool>(), prop::collection::vec(any::<bool>(), 5));
    (prop::collection::vec(node, 1..6), prop::collection::vec(service, 1..4), any::<bool>()).prop_map(
        |(nodes, services, selects)| {
            let mut world = World::new(nodes.len());
            for (place, (kind, liveness, flaps)) in nodes.iter().enumerate() {
                let node = world.nodes.get_mut(&format!("node-{place}")).expect("a node");
                match kind {
                    0 => node["metadata"]["annotations"] = json!({"herald.io/drain": "true"}),
                    1 => node["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = "".into(),
                    _ => {}
                }
                let member = &mut world.members[place];
                member.liveness = match liveness {
                    0 => Liveness::Down,
                    1 => Liveness::Suspect,
                    _ => Liveness::Alive,
                };
                let profile = Arc::make_mut(member.profile.as_mut().expect("a profile"));
                profile.flaps = *flaps;
            }
            for (place, (address, is_local, on)) in services.iter().enumerate() {
                let policy = if *is_local { "Local" } else { "Cluster" };
                let on = on.iter().enumerate().filter(|(_, is_on)| **is_on);
                let on: Vec<String> = on.map(|(node, _)| format!("node-{node}")).collect();
                let on: Vec<&str> = on.iter().map(String::as_str).collect();
                let name = format!("web-{place}");
                world.add(&name, &format!("192.0.2.{address}"), json!({"externalTrafficPolicy": policy}), &on);
                world.services.get_mut(&name).expect("a Service")["metadata"]["annotations"]["metallb.io/allow-shared-ip"] = "k".into();
            }
            if selects {
                world.advertisement = json!({"nodeSelectors": [{"matchLabels": {"name": "node-0"}}, {"matchLabels": {"name": "node-1"}}]});
            }
            world
        },
    )
}

proptest! {
    #[test]
    fn the_explanation_of_an_address_is_what_each_speaker_decides(world in worlds()) {
        let cluster = world.cluster();
        for (name, service) in &world.services {
            let key = ServiceKey::new("default", name);
            let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an address");
            let address: IpAddr = address.parse().expect("an address");
            let announcements = world.announcements(&cluster, address);
            let explained = AddressAnnouncement::new(&cluster, &announcements, &key, address);
            for node in world.nodes.keys() {
                let facts = &announcements.facts;
                let mut own = Ownership::new(NodeName::from(node.as_str()));
                own.set_advertisements(facts, announcements.ownership.advertisements());
                let mut own = own.of_facts(facts);
                while own.poll_change(facts).is_some() {}
                let role = own.role(&key, address).expect("a role");
                let line = explained.nodes.iter().find(|line| line.node == *node);
                match role {
                    Role::Owner(_) => prop_assert_eq!(line.expect("a node").part, Part::Owner),
                    Role::Backup { .. } => prop_assert_eq!(line.expect("a node").part, Part::Backup),
                    Role::Unowned(exclusion) => {
                        let excluded = explained.excluded.as_ref().expect("it is excluded");
                        prop_assert_eq!(&excluded.reason, exclusion.reason());
                    }
                    Role::Standby { .. } | Role::Successor { .. } => {
                        prop_assert_ne!(line.expect("a node").part, Part::Owner);
                        prop_assert!(explained.excluded.is_none());
                    }
                }
            }
        }
    }
}

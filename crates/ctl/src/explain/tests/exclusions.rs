//! What is said of each reason why a node, or no node, announces a Service by ARP or NDP.

use std::net::IpAddr;
use std::sync::Arc;

use herald_api::convert;
use herald_core::announce::eligibility::Exclusion;
use herald_core::announce::layer2::ownership::Role;
use herald_core::{Liveness, NodeName, NodeState, Prefix, Profile, ServiceKey};
use serde_json::json;

use super::super::AddressAnnouncement;
use super::ADDRESS;
use super::table::{Texts, explained};
use crate::model::Model;
use crate::world::World;

variants! {
    EXCLUSIONS, name_of(Exclusion) {
        Exclusion::NoAddress => "NoAddress",
        Exclusion::InvalidAddress => "InvalidAddress",
        Exclusion::AddressOutsidePools => "AddressOutsidePools",
        Exclusion::NoEndpoints => "NoEndpoints",
        Exclusion::AddressOfNode(_) => "AddressOfNode",
        Exclusion::SharedAddressWithServiceSelector => "SharedAddressWithServiceSelector",
        Exclusion::NoAdvertisement => "NoAdvertisement",
        Exclusion::NodeNotSelected => "NodeNotSelected",
        Exclusion::NetworkUnavailable => "NetworkUnavailable",
        Exclusion::ExcludedByLabel => "ExcludedByLabel",
        Exclusion::Drained => "Drained",
        Exclusion::NoLocalEndpoint => "NoLocalEndpoint",
        Exclusion::NoCommonNode => "NoCommonNode",
        Exclusion::ExcludedBySharer => "ExcludedBySharer",
        Exclusion::OnlyTerminatingEndpoints => "OnlyTerminatingEndpoints",
        Exclusion::NoSpeaker => "NoSpeaker",
        Exclusion::SpeakerNotReady(_) => "SpeakerNotReady",
        Exclusion::NotInSubnet => "NotInSubnet",
        Exclusion::NoInterface(_) => "NoInterface",
        Exclusion::NoLinkLocalAddress => "NoLinkLocalAddress",
        Exclusion::NoCandidate => "NoCandidate",
    }
}

const NODES: &[&str] = &["node-0", "node-1"];

/// Adds the Service that is explained.
fn web(world: &mut World, policy: &str, on: &[&str]) {
    world.add("web", ADDRESS, json!({"externalTrafficPolicy": policy}), on);
}

/// Lets a Service share its address.
fn share(world: &mut World, name: &str, created: &str) {
    let metadata = &mut world.services.get_mut(name).expect("a Service")["metadata"];
    metadata["annotations"]["metallb.io/allow-shared-ip"] = "k".into();
    metadata["creationTimestamp"] = created.into();
}

fn profile(world: &mut World, node: usize, change: impl FnOnce(&mut Profile)) {
    change(Arc::make_mut(
        world.members[node].profile.as_mut().expect("a profile"),
    ));
}

/// Returns the number by which a speaker reports an interface.
fn tag(interface: &str) -> u32 {
    NodeName::from(interface).tag()
}

/// Changes a healthy world of two nodes.
type Fault = fn(&mut World);

const CASES: &[(&str, Fault)] = &[
    ("NoAddress", |world| {
        world.services.get_mut("web").expect("a Service")["status"] = json!({});
    }),
    ("InvalidAddress", |world| {
        world.services.get_mut("web").expect("a Service")["status"]["loadBalancer"]["ingress"] =
            json!([{"ip": ADDRESS}, {"hostname": "lb.example"}]);
    }),
    ("AddressOutsidePools", |world| {
        world.pool = "198.51.100.0/24".to_owned()
    }),
    ("NoEndpoints", |world| web(world, "Cluster", &[])),
    ("AddressOfNode", |world| {
        world.nodes.get_mut("node-1").expect("a node")["status"] =
            json!({"addresses": [{"type": "InternalIP", "address": ADDRESS}]});
    }),
    ("SharedAddressWithServiceSelector", |world| {
        share(world, "web", "2026-01-01T00:00:00Z");
        world.services.get_mut("web").expect("a Service")["metadata"]["labels"] = json!({"app": "web"});
        world.advertisement = json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]});
    }),
    ("NoAdvertisement", |world| {
        world.advertisement = json!({"ipAddressPools": ["other"]})
    }),
    ("NodeNotSelected", |world| {
        world.advertisement = json!({"nodeSelectors": [{"matchLabels": {"name": "node-0"}}]});
    }),
    ("NetworkUnavailable", |world| {
        world.nodes.get_mut("node-1").expect("a node")["status"] =
            json!({"conditions": [{"type": "NetworkUnavailable", "status": "True"}]});
    }),
    ("ExcludedByLabel", |world| {
        world.nodes.get_mut("node-1").expect("a node")["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] =
            "".into();
    }),
    ("Drained", |world| {
        world.nodes.get_mut("node-1").expect("a node")["metadata"]["annotations"] =
            json!({"herald.io/drain": "true"});
    }),
    ("NoLocalEndpoint", |world| web(world, "Local", &["node-0"])),
    ("NoCommonNode", |world| {
        web(world, "Local", &["node-1"]);
        world.add(
            "old",
            ADDRESS,
            json!({"externalTrafficPolicy": "Local"}),
            &["node-0"],
        );
        share(world, "old", "2026-01-01T00:00:00Z");
        share(world, "web", "2026-01-02T00:00:00Z");
    }),
    ("ExcludedBySharer", |world| {
        web(world, "Local", NODES);
        world.add(
            "old",
            ADDRESS,
            json!({"externalTrafficPolicy": "Local"}),
            &["node-0"],
        );
        share(world, "old", "2026-01-01T00:00:00Z");
        share(world, "web", "2026-01-02T00:00:00Z");
    }),
    ("OnlyTerminatingEndpoints", |world| {
        web(world, "Local", NODES);
        world.terminating.insert(("web".to_owned(), "node-1".to_owned()));
    }),
    ("NoSpeaker", |world| world.members[1].liveness = Liveness::Down),
    ("SpeakerNotReady", |world| {
        world.members[1].state = NodeState::Starting
    }),
    ("NotInSubnet", |world| {
        profile(world, 1, |profile| {
            profile.subnets = Some(vec![Prefix::of([198, 51, 100, 0].into(), 24)])
        });
    }),
    ("NoInterface", |world| {
        world.advertisement = json!({"interfaces": ["eth1"]});
        profile(world, 0, |profile| profile.interfaces = Some(vec![tag("eth1")]));
        profile(world, 1, |profile| profile.interfaces = Some(vec![tag("eth0")]));
    }),
    ("NoLinkLocalAddress", |world| {
        let address = "2001:db8::1";
        world.pool = "2001:db8::/120".to_owned();
        world.add("web", address, json!({"clusterIPs": ["2001:db8::9"]}), NODES);
        for node in 0..2 {
            profile(world, node, |profile| {
                profile.subnets = None;
                profile.interfaces = Some(vec![tag("eth0")]);
                profile.ipv6_interfaces = Some(if node == 0 { vec![tag("eth0")] } else { Vec::new() });
            });
        }
    }),
    ("NoCandidate", |world| {
        world.advertisement = json!({"nodeSelectors": [{"matchLabels": {"name": "none"}}]});
    }),
];

#[test]
fn each_exclusion_is_explained_with_what_happened_where_and_what_to_do() {
    let mut texts = Texts::default();
    let key = ServiceKey::new("default", "web");
    for (name, fault) in CASES {
        let mut world = World::new(2);
        web(&mut world, "Cluster", NODES);
        fault(&mut world);
        let cluster = world.cluster();
        let held = cluster
            .objects
            .services
            .iter()
            .find(|service| convert::key(service) == key);
        let held = convert::ingress_addresses(held.expect("the Service"));
        let address: IpAddr = held
            .first()
            .copied()
            .unwrap_or_else(|| ADDRESS.parse().expect("an address"));
        let announcements = world.announcements(&cluster, address);
        let (facts, ownership) = (&announcements.facts, &announcements.ownership);
        let mut produced: Vec<&str> = match ownership.explain(facts, &key, address) {
            Err(exclusion) => vec![name_of(&exclusion)],
            Ok(nodes) => nodes
                .values()
                .filter_map(|outcome| outcome.as_ref().err())
                .map(name_of)
                .collect(),
        };
        if let Some(Role::Unowned(exclusion)) = ownership.role(&key, address) {
            produced.push(name_of(exclusion));
        }
        assert!(produced.contains(name), "{name}: {produced:?}");
        let text = if held.is_empty() {
            // `explain service` does not look for who announces what the Service does not have.
            AddressAnnouncement::new(&cluster, &announcements, &key, address).text(true)
        } else {
            explained(&cluster, &mut Model::of(&cluster), &["Announcement", "Next"])
        };
        texts.add(name, &text);
    }
    texts.check("exclusions.expected", EXCLUSIONS);
}

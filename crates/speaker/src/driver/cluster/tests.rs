use super::*;
use herald_core::Time;
use std::net::IpAddr;

use herald_api::convert::{EndpointSlice, SliceId};
use herald_core::Labels;
use herald_core::RawSelector;
use herald_core::announce::agent::{AgentEvent, Options};
use herald_core::announce::eligibility::{Endpoints, Exclusion, Exposure, Node, TrafficPolicy};
use herald_core::announce::layer2::ownership::Role;
use herald_core::config::bgp::{BgpChange, BgpKind, BgpSource, PATIENCE, RawBgpAdvertisement, RawBgpPeer};
use herald_core::config::{RawL2Advertisement, RawPool};
use herald_runtime::ObjectKey;

use crate::input::{BgpUpdate, NodeInput};

/// A cluster of one node, whose agent has started and has no gossip.
struct Rig {
    cluster: Cluster,
    agent: Agent,
}

impl Rig {
    fn new() -> Self {
        let mut agent = Agent::new(Options {
            node: "node-1".into(),
            has_gossip: false,
            ignore_exclude_label: false,
            takeover_verification: true,
            has_bgp: true,
            default_med: None,
            seed: 1,
        });
        agent.start();
        Self {
            cluster: Cluster::default(),
            agent,
        }
    }

    fn apply(&mut self, input: Input) -> Option<Awaiting> {
        self.cluster.apply(input, &mut self.agent)
    }

    /// Returns the role for the Service, if it has changed.
    fn role(&mut self) -> Option<Option<Role>> {
        self.cluster.apply_endpoints(&mut self.agent);
        self.cluster.apply_config(&mut self.agent);
        self.agent.decide(Time::ZERO);
        let mut last = None;
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::RoleChanged(_, _, role) = event {
                last = Some(role);
            }
        }
        last
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn service(is_own_class: bool) -> Input {
    let service = ServiceInput {
        exposure: Exposure {
            key: ServiceKey::new("default", "web"),
            created: 0,
            labels: Labels::new(),
            addresses: vec![[192, 0, 2, 1].into()],
            foreign_ingress: false,
            traffic_policy: TrafficPolicy::Cluster,
            shares: false,
        },
        is_own_class,
        version: ServiceVersion::default(),
    };
    Input::Services(Update::Applied(service))
}

fn slice() -> Input {
    Input::Slices(Update::Applied(EndpointSlice {
        id: SliceId {
            namespace: "default".into(),
            name: "web-1".into(),
        },
        service: Some(ServiceKey::new("default", "web")),
        endpoints: Endpoints {
            any: true,
            ..Endpoints::default()
        },
    }))
}

fn node() -> Input {
    node_input(Node {
        name: "node-1".into(),
        labels: Labels::new(),
        network_unavailable: false,
        draining: false,
        addresses: Vec::new(),
    })
}

fn pool(addresses: &str) -> Input {
    Input::Pools(Update::Applied(RawPool {
        name: "pool".to_owned(),
        addresses: vec![addresses.to_owned()],
        ..RawPool::default()
    }))
}

fn advertisement() -> Input {
    Input::Advertisements(Update::Applied(RawL2Advertisement {
        name: "all".to_owned(),
        ..RawL2Advertisement::default()
    }))
}

fn pod(name: &str, node: Option<&str>, is_ready: bool) -> Input {
    let address = IpAddr::from([192, 0, 2, 100]);
    Input::SpeakerPods(Update::Applied(SpeakerPod {
        name: name.to_owned(),
        node: node.map(|node| (node.into(), address)),
        is_ready,
    }))
}

#[test]
fn each_kind_reaches_the_agent_and_its_deletion_does_too() {
    let mut rig = Rig::new();
    for input in [
        service(true),
        slice(),
        node(),
        pool("192.0.2.0/24"),
        advertisement(),
    ] {
        assert_eq!(rig.apply(input), None);
    }
    assert!(matches!(rig.role(), Some(Some(Role::Owner(_)))));
    let gone = [
        (
            Input::Nodes(Update::Deleted(key("node-1"))),
            Exclusion::NoCandidate,
        ),
        (
            Input::Slices(Update::Deleted(key("web-1"))),
            Exclusion::NoEndpoints,
        ),
        (
            Input::Pools(Update::Deleted(key("pool"))),
            Exclusion::AddressOutsidePools,
        ),
    ];
    for (input, exclusion) in gone {
        rig.apply(input);
        assert_eq!(rig.role(), Some(Some(Role::Unowned(exclusion))));
    }
    rig.apply(Input::Services(Update::Deleted(key("web"))));
    assert_eq!(rig.role(), Some(None));
    assert_eq!(rig.cluster.service_count(), 0);
}

#[test]
fn a_service_that_changes_to_another_class_is_removed() {
    let mut rig = Rig::new();
    rig.apply(service(true));
    assert!(rig.role().is_some());
    assert!(
        rig.cluster
            .reference(&ServiceKey::new("default", "web"))
            .is_some()
    );
    rig.apply(service(false));
    assert_eq!(rig.role(), Some(None));
    assert_eq!(rig.cluster.reference(&ServiceKey::new("default", "web")), None);
}

#[test]
fn a_complete_list_meets_the_precondition_of_its_kind() {
    let mut rig = Rig::new();
    let synced = [
        (Input::Services(Update::Synced), Awaiting::Services),
        (Input::Slices(Update::Synced), Awaiting::EndpointSlices),
        (Input::Nodes(Update::Synced), Awaiting::Nodes),
        (Input::Pools(Update::Synced), Awaiting::Pools),
        (Input::Advertisements(Update::Synced), Awaiting::Advertisements),
        (Input::SpeakerPods(Update::Synced), Awaiting::SpeakerPods),
    ];
    for (input, expected) in synced {
        assert_eq!(rig.apply(input), Some(expected));
    }
}

#[test]
fn only_new_problems_are_returned_and_the_valid_rest_of_the_configuration_is_used() {
    let mut rig = Rig::new();
    assert_eq!(rig.cluster.apply_config(&mut rig.agent), None);
    rig.apply(pool("192.0.2.10-192.0.2.1"));
    rig.apply(advertisement());
    let new = rig.cluster.apply_config(&mut rig.agent).expect("a change");
    assert_eq!(new, rig.cluster.problems());
    assert_eq!(new.len(), 1);
    rig.apply(advertisement());
    assert_eq!(rig.cluster.apply_config(&mut rig.agent), Some(Vec::new()));
    assert_eq!(rig.cluster.problems().len(), 1);
    rig.apply(pool("192.0.2.1-192.0.2.10"));
    assert_eq!(rig.cluster.apply_config(&mut rig.agent), Some(Vec::new()));
    assert!(rig.cluster.problems().is_empty());
}

#[test]
fn peers_are_the_nodes_of_the_speakers_pods_and_change_only_with_them() {
    let mut rig = Rig::new();
    rig.apply(pod("a", None, false));
    assert_eq!(
        rig.cluster.poll_peers(),
        Some(&BTreeMap::new()),
        "gossip waits for it"
    );
    rig.apply(pod("a", None, true));
    assert_eq!(rig.cluster.poll_peers(), None);
    rig.apply(pod("a", Some("node-1"), true));
    let peers = rig.cluster.poll_peers().expect("a change");
    assert!(peers[&NodeName::from("node-1")].is_ready);
    let endpoint = "192.0.2.100:7946".parse().expect("an endpoint");
    assert_eq!(endpoints(peers, 7946), [("node-1".into(), endpoint)].into());
    rig.apply(pod("a", Some("node-1"), true));
    assert_eq!(rig.cluster.poll_peers(), None);
    // The Pod that replaces it is not ready yet.
    rig.apply(pod("b", Some("node-1"), false));
    assert_eq!(rig.cluster.poll_peers(), None);
    rig.apply(Input::SpeakerPods(Update::Deleted(key("a"))));
    let peers = rig.cluster.poll_peers().expect("a change");
    assert!(!peers[&NodeName::from("node-1")].is_ready);
}

fn bgp(change: BgpChange) -> Input {
    Input::Bgp(BgpUpdate::Changed(Box::new(change)))
}

fn peer(name: &str, created: i64, rack: &str) -> Input {
    let in_rack = RawSelector {
        match_labels: [("rack".to_owned(), rack.to_owned())].into(),
        ..RawSelector::default()
    };
    bgp(BgpChange::ApplyPeer(RawBgpPeer {
        name: name.to_owned(),
        created,
        my_asn: 65_001,
        peer_asn: Some(65_000),
        address: Some("192.0.2.254".to_owned()),
        node_selectors: vec![in_rack],
        ..RawBgpPeer::default()
    }))
}

fn node_input(node: Node) -> Input {
    Input::Nodes(Update::Applied(NodeInput {
        node,
        internal_ipv4: None,
    }))
}

fn in_rack(rack: &str) -> Input {
    node_input(Node {
        name: "node-1".into(),
        labels: [("rack".to_owned(), rack.to_owned())].into(),
        network_unavailable: false,
        draining: false,
        addresses: Vec::new(),
    })
}

impl Rig {
    /// Returns the peers that have changed, each with whether this node has a session with it.
    fn peers(&mut self) -> Vec<(String, bool)> {
        self.cluster.apply_config(&mut self.agent);
        let changes = std::iter::from_fn(|| self.agent.poll_bgp_peer());
        changes
            .map(|change| (change.name.to_string(), change.peer.is_some()))
            .collect()
    }
}

#[test]
fn bgp_begins_when_all_its_kinds_are_listed_and_ends_with_its_resources() {
    let mut rig = Rig::new();
    rig.apply(in_rack("1"));
    rig.apply(peer("a", 0, "1"));
    for source in BgpSource::ALL {
        assert_eq!(rig.peers(), []);
        assert_eq!(rig.apply(Input::Bgp(BgpUpdate::Listed(source))), None);
    }
    assert_eq!(rig.peers(), [("a".to_owned(), true)]);
    rig.apply(Input::Bgp(BgpUpdate::Ignored));
    assert_eq!(rig.peers(), []);
    rig.apply(bgp(BgpChange::Delete(BgpKind::Peer, "a".to_owned())));
    assert_eq!(rig.peers(), [("a".to_owned(), false)]);
}

#[test]
fn what_does_not_depend_on_a_kind_that_cannot_be_listed_works_and_the_problem_is_named() {
    for (missing, peers) in [
        (BgpSource::BfdProfiles, &["a"][..]),
        (BgpSource::Secrets, &["a"]),
        (BgpSource::Communities, &["a"]),
        (BgpSource::Peers, &[]),
        (BgpSource::Advertisements, &[]),
    ] {
        let mut rig = Rig::new();
        rig.apply(in_rack("1"));
        rig.apply(peer("a", 0, "1"));
        for source in BgpSource::ALL.into_iter().filter(|source| *source != missing) {
            rig.apply(Input::Bgp(BgpUpdate::Listed(source)));
        }
        assert!(!rig.cluster.handle_time(Time::ZERO));
        assert_eq!(rig.peers(), []);
        assert_eq!(rig.cluster.problems(), [""; 0]);
        assert!(rig.cluster.handle_time(Time::ZERO + PATIENCE));
        let names: Vec<String> = rig.peers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, peers, "{missing:?}");
        let problems = rig.cluster.problems();
        assert!(
            problems.len() == 1 && problems[0].contains("not listed yet"),
            "{problems:?}"
        );
        rig.apply(Input::Bgp(BgpUpdate::Listed(missing)));
        rig.peers();
        assert_eq!(rig.cluster.problems(), [""; 0]);
    }
}

#[test]
fn problems_of_bgp_are_with_the_others_and_follow_the_labels_of_the_node() {
    let mut rig = Rig::new();
    for source in BgpSource::ALL {
        rig.apply(Input::Bgp(BgpUpdate::Listed(source)));
    }
    rig.apply(in_rack("1"));
    rig.apply(pool("192.0.2.10-192.0.2.1"));
    rig.apply(peer("a", 0, "1"));
    rig.apply(peer("b", 1, "1"));
    rig.apply(bgp(BgpChange::ApplyAdvertisement(RawBgpAdvertisement {
        name: "wide".to_owned(),
        aggregation_length: Some(33),
        ..RawBgpAdvertisement::default()
    })));
    let starts = |problems: &[String]| {
        let first = |problem: &String| problem.split(": ").next().unwrap_or_default().to_owned();
        problems.iter().map(first).collect::<Vec<_>>()
    };
    let new = rig.cluster.apply_config(&mut rig.agent).expect("a change");
    let all = [
        "IPAddressPool \"pool\"",
        "BGPAdvertisement \"wide\"",
        "BGPPeer \"b\"",
    ];
    assert_eq!(starts(&new), all);
    assert_eq!(rig.cluster.problems(), new);
    rig.apply(in_rack("2"));
    assert_eq!(rig.cluster.apply_config(&mut rig.agent), Some(Vec::new()));
    assert_eq!(starts(rig.cluster.problems()), all[..2]);
    rig.apply(in_rack("1"));
    let new = rig.cluster.apply_config(&mut rig.agent).expect("a change");
    assert_eq!(starts(&new), all[2..]);
    rig.apply(pool("192.0.2.0/28"));
    rig.apply(bgp(BgpChange::ApplyAdvertisement(RawBgpAdvertisement {
        name: "wide".to_owned(),
        aggregation_length: Some(24),
        ..RawBgpAdvertisement::default()
    })));
    let new = rig.cluster.apply_config(&mut rig.agent).expect("a change");
    assert_eq!(starts(&new), ["BGPAdvertisement \"wide\""]);
    assert!(
        new[0].contains("not used for IPAddressPool \"pool\": invalid aggregation length 24"),
        "{new:?}"
    );
}

//! Objects in, routes at each peer out.

mod limits;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::announce::eligibility::{EXCLUDE_LABEL, Endpoints, Exposure, Node, TrafficPolicy};
use crate::config::bgp::{BgpCatalog, BgpChange, RawBgpAdvertisement, RawBgpPeer};
use crate::config::{Catalog, RawPool};
use crate::{Features, Labels, Liveness, Member, NodeState, Profile, RawSelector};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn selectors(pairs: &[(&str, &str)]) -> Vec<RawSelector> {
    let selector = |pair: &(&str, &str)| RawSelector {
        match_labels: labels(&[*pair]),
        ..RawSelector::default()
    };
    pairs.iter().map(selector).collect()
}

fn node(name: &str, pairs: &[(&str, &str)]) -> Node {
    let mut labels = labels(pairs);
    labels.insert("node".into(), name.into());
    Node {
        name: name.into(),
        labels,
        network_unavailable: false,
        draining: false,
        addresses: Vec::new(),
    }
}

/// The member that is this speaker.
fn member(is_beside_metallb: bool) -> Member {
    let profile = Profile {
        features: Features::OF_THIS_VERSION,
        ..Profile::default()
    };
    let member = Member {
        profile: Some(Arc::new(profile)),
        ..Member::new("pandora".into(), Liveness::Alive, NodeState::Ready)
    };
    member.with_metallb(is_beside_metallb)
}

fn service(name: &str, addresses: &[&str]) -> Exposure {
    Exposure {
        key: key(name),
        created: 0,
        labels: Labels::new(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect(),
        foreign_ingress: false,
        traffic_policy: TrafficPolicy::Cluster,
        shares: false,
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

#[expect(clippy::unnecessary_wraps, reason = "a Service may have no EndpointSlices")]
fn ready(nodes: &[&str]) -> Option<Arc<Endpoints>> {
    Some(Arc::new(Endpoints {
        any: !nodes.is_empty(),
        nodes: nodes.iter().map(|node| (*node).into()).collect(),
        terminating: BTreeSet::new(),
    }))
}

fn advertisement(name: &str) -> RawBgpAdvertisement {
    RawBgpAdvertisement {
        name: name.into(),
        ..RawBgpAdvertisement::default()
    }
}

/// An advertisement with a LOCAL_PREF.
fn preferring(name: &str, local_pref: i64) -> RawBgpAdvertisement {
    RawBgpAdvertisement {
        local_pref: Some(local_pref),
        ..advertisement(name)
    }
}

fn peer(name: &str, address: &str) -> RawBgpPeer {
    RawBgpPeer {
        name: name.into(),
        my_asn: 42,
        peer_asn: Some(142),
        address: Some(address.into()),
        ..RawBgpPeer::default()
    }
}

/// The speaker of node `pandora`, and the routers that it has sessions with.
struct Speaker {
    facts: Facts,
    routes: BgpRoutes,
    peers: Vec<RawBgpPeer>,
    advertisements: Vec<RawBgpAdvertisement>,
    routers: BTreeMap<String, BTreeMap<Prefix, RouteAttributes>>,
    /// Whether several changes are awaited before the differences are polled.
    is_holding: bool,
}

impl Speaker {
    fn new(pools: &[(&str, &[&str])], advertisements: &[RawBgpAdvertisement], peers: &[RawBgpPeer]) -> Self {
        let mut speaker = Self {
            facts: Facts::new(true, false),
            routes: BgpRoutes::new("pandora".into(), None),
            peers: peers.to_vec(),
            advertisements: advertisements.to_vec(),
            routers: BTreeMap::new(),
            is_holding: false,
        };
        speaker.change(|facts| facts.set_node(node("pandora", &[])));
        let pool = |(name, addresses): &(&str, &[&str])| RawPool {
            name: name.to_string(),
            labels: labels(&[("test", name)]),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            ..RawPool::default()
        };
        let mut catalog = Catalog::new();
        catalog.set_pools(pools.iter().map(pool).collect());
        assert_eq!(catalog.problems(), []);
        speaker.change(|facts| facts.set_pools(catalog.pools()));
        speaker.configure();
        speaker
    }

    /// The set-up of most rows: one pool, one peer.
    fn simple(advertisements: &[RawBgpAdvertisement]) -> Self {
        let mut speaker = Self::new(
            &[("default", &["10.20.30.0/24"])],
            advertisements,
            &[peer("peer1", "1.2.3.4")],
        );
        speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
        speaker
    }

    fn change(&mut self, change: impl FnOnce(&mut Facts) -> Option<FactChange>) {
        if let Some(change) = change(&mut self.facts) {
            self.routes.handle_change(&self.facts, &change);
        }
        self.send();
    }

    fn configure(&mut self) {
        let mut catalog = BgpCatalog::default();
        let peers = self.peers.iter().cloned().map(BgpChange::ApplyPeer);
        catalog.apply(
            peers.chain(
                self.advertisements
                    .iter()
                    .cloned()
                    .map(BgpChange::ApplyAdvertisement),
            ),
        );
        assert_eq!(catalog.problems(), []);
        let advertisements = catalog.advertisements().cloned().collect();
        self.routes
            .set_config(&self.facts, advertisements, catalog.peers());
        self.send();
    }

    /// Sends the differences to the routers.
    fn send(&mut self) {
        if self.is_holding {
            return;
        }
        while let Some(change) = self.routes.poll_change() {
            let router = self.routers.entry(change.peer.to_string()).or_default();
            let before = router.get(&change.prefix).cloned();
            assert_ne!(before, change.attributes, "no difference: {change:?}");
            match change.attributes {
                Some(attributes) => router.insert(change.prefix, attributes),
                None => router.remove(&change.prefix),
            };
        }
    }

    /// What a router has, as text: LOCAL_PREF and communities behind the prefix.
    fn at(&self, peer: &str) -> Vec<String> {
        let routes = self.routers.get(peer).into_iter().flatten();
        let text = |(prefix, route): (&Prefix, &RouteAttributes)| {
            let mut text = prefix.to_string();
            if let Some(local_pref) = route.local_pref {
                text += &format!(" {local_pref}");
            }
            if let Some(med) = route.med {
                text += &format!(" med {med}");
            }
            let standard = route.communities.standard.iter().map(ToString::to_string);
            for community in standard.chain(route.communities.large.iter().map(ToString::to_string)) {
                text += &format!(" {community}");
            }
            text
        };
        routes.map(text).collect()
    }

    /// The statuses that differ from before, as text.
    fn statuses(&mut self) -> Vec<String> {
        let changes = core::iter::from_fn(|| self.routes.poll_status(&self.facts));
        let text = |change: BgpStatusChange| {
            let name = &change.service.name;
            let Some(status) = change.after else {
                return format!("{name}: nothing");
            };
            let addresses: Vec<_> = status.addresses.iter().map(ToString::to_string).collect();
            format!("{name}: {} by {}", addresses.join(" "), status.peers.join(" "))
        };
        changes.map(text).collect()
    }

    /// The peers that differ from before: those that this node has a session with now, and those that it has none with any more.
    fn peer_changes(&mut self) -> Vec<String> {
        let changes = core::iter::from_fn(|| self.routes.poll_peer());
        let text = |change: PeerChange| match change.peer {
            Some(peer) => format!("{} as AS {}", change.name, peer.local_asn.0),
            None => format!("{} no more", change.name),
        };
        changes.map(text).collect()
    }

    /// The reasons of the nodes why none announces the first address of a Service, as text.
    fn reasons_of_nodes(&self, name: &str) -> Option<String> {
        let address = self.facts.service(&key(name))?.addresses[0];
        let reasons = self.routes.reasons_of_nodes(&self.facts, &key(name), address)?;
        Some(reasons.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The clashes that are new, as text.
    fn clashes(&mut self) -> Vec<String> {
        let clashes = core::iter::from_fn(|| self.routes.poll_clash(&self.facts));
        let text = |clash: LocalPrefClash| {
            let services: Vec<_> = clash.services.iter().map(|service| &*service.name).collect();
            let (used, unused) = (clash.used, clash.unused);
            format!(
                "{}/{} {} {} not {} {}: {}",
                clash.prefix.address,
                clash.prefix.length,
                used.0,
                used.1,
                unused.0,
                unused.1,
                services.join(" ")
            )
        };
        clashes.map(text).collect()
    }

    fn reason(&self, name: &str) -> &'static str {
        let address = self.facts.service(&key(name)).expect("a Service").addresses[0];
        match self.routes.explain(&self.facts, &key(name), address) {
            Ok(_) => "",
            Err(exclusion) => exclusion.reason(),
        }
    }
}

/// Rows D1 to D13: each step goes on from the one before.
#[test]
fn a_service_is_announced_while_it_has_an_address_and_endpoints() {
    let mut speaker = Speaker::new(&[("default", &["10.20.30.0/24"])], &[], &[]);
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    assert!(speaker.routers.is_empty(), "D1");
    speaker.advertisements = vec![advertisement("adv")];
    speaker.peers = vec![peer("peer1", "1.2.3.4")];
    speaker.configure();
    assert_eq!(speaker.at("peer1"), [""; 0], "D2");
    // The Service is a load balancer already, and has no address of the pool yet.
    speaker.change(|facts| facts.set_service(service("test1", &[])));
    assert_eq!(speaker.at("peer1"), [""; 0], "D3");
    speaker.change(|facts| facts.set_service(service("test1", &["10.96.0.1"])));
    assert_eq!(speaker.at("peer1"), [""; 0], "D3");
    assert_eq!(speaker.reason("test1"), "AddressOutsidePools");
    let exposed = service("test1", &["10.20.30.1"]);
    speaker.change(|facts| facts.set_service(exposed.clone()));
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32"], "D4");
    let local = Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..exposed.clone()
    };
    speaker.change(|facts| facts.set_service(local));
    assert_eq!(speaker.at("peer1"), [""; 0], "D5");
    assert_eq!(speaker.reason("test1"), "NoLocalEndpoint");
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris", "pandora"])));
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32"], "D6");
    speaker.change(|facts| facts.set_service(exposed));
    speaker.change(|facts| facts.set_endpoints(key("test1"), None));
    assert_eq!(speaker.at("peer1"), [""; 0], "D7");
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&[])));
    assert_eq!(speaker.at("peer1"), [""; 0], "D8");
    assert_eq!(speaker.reason("test1"), "NoEndpoints");
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32"], "D9");
    speaker.advertisements = vec![
        RawBgpAdvertisement {
            communities: vec!["0:2345".into(), "0:1234".into()],
            ..preferring("host", 100)
        },
        RawBgpAdvertisement {
            aggregation_length: Some(24),
            ..preferring("net", 1000)
        },
    ];
    speaker.configure();
    assert_eq!(
        speaker.at("peer1"),
        ["10.20.30.0/24 1000", "10.20.30.1/32 100 0:1234 0:2345"],
        "D10"
    );
    speaker.advertisements = vec![advertisement("adv")];
    speaker.peers.push(peer("peer2", "1.2.3.5"));
    speaker.configure();
    let both = |speaker: &Speaker| [speaker.at("peer1"), speaker.at("peer2")];
    assert_eq!(both(&speaker), [["10.20.30.1/32"]; 2], "D11");
    speaker.change(|facts| facts.set_endpoints(key("test2"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test2", &[])));
    assert_eq!(both(&speaker), [["10.20.30.1/32"]; 2], "D12");
    speaker.change(|facts| facts.set_service(service("test2", &["10.20.30.5"])));
    assert_eq!(both(&speaker), [["10.20.30.1/32", "10.20.30.5/32"]; 2], "D13");
    // Withdrawals: another address, the Service, the peer.
    speaker.change(|facts| facts.set_service(service("test2", &["10.20.30.6"])));
    assert_eq!(both(&speaker), [["10.20.30.1/32", "10.20.30.6/32"]; 2]);
    speaker.change(|facts| facts.remove_service(&key("test2")));
    assert_eq!(both(&speaker), [["10.20.30.1/32"]; 2]);
    speaker.peers.pop();
    speaker.configure();
    assert_eq!(speaker.at("peer2"), [""; 0]);
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32"]);
    speaker.change(|facts| facts.set_pools(&[]));
    assert_eq!(speaker.at("peer1"), [""; 0]);
    assert_eq!(speaker.reason("test1"), "AddressOutsidePools");
}

#[test]
fn each_reason_not_to_announce_has_a_word() {
    let exposed = |app: &str| Exposure {
        labels: labels(&[("app", app)]),
        ..service("test1", &["10.20.30.1"])
    };
    let of = |name: &str, apps: &[(&str, &str)]| RawBgpAdvertisement {
        service_selectors: selectors(apps),
        ..advertisement(name)
    };
    let on = |name: &str| RawBgpAdvertisement {
        node_selectors: selectors(&[("node", name)]),
        ..advertisement("on")
    };
    let conflicting = RawBgpAdvertisement {
        service_selectors: selectors(&[("app", "nginx")]),
        ..preferring("ad2", 200)
    };
    for (row, advertisements, app, expected) in [
        ("R2", vec![of("a", &[("app", "nginx")])], "nginx", ""),
        (
            "R2",
            vec![of("a", &[("app", "nginx")])],
            "apache",
            "NoAdvertisement",
        ),
        (
            "R3",
            vec![of("a", &[("app", "apache")]), of("b", &[("app", "nginx")])],
            "nginx",
            "",
        ),
        ("R4", vec![on("iris")], "nginx", "NodeNotSelected"),
        ("R4", vec![on("pandora")], "nginx", ""),
        (
            "R5",
            vec![preferring("ad1", 100), conflicting.clone()],
            "nginx",
            "ConflictingAdvertisements",
        ),
        ("R5", vec![preferring("ad1", 100), conflicting], "apache", ""),
        ("none", vec![], "nginx", "NodeNotSelected"),
    ] {
        let mut speaker = Speaker::simple(&advertisements);
        speaker.change(|facts| facts.set_service(exposed(app)));
        assert_eq!(speaker.reason("test1"), expected, "{row}");
        assert_eq!(
            speaker.at("peer1").len(),
            usize::from(expected.is_empty()),
            "{row}"
        );
    }
    let mut speaker = Speaker::simple(&[advertisement("adv")]);
    speaker.change(|facts| facts.set_service(exposed("nginx")));
    type Change = fn(&mut Node);
    let rows: [(&str, Change); 4] = [
        ("ExcludedByLabel", |node| {
            node.labels.insert(EXCLUDE_LABEL.into(), String::new());
        }),
        ("NetworkUnavailable", |node| node.network_unavailable = true),
        ("Drained", |node| node.draining = true),
        ("AddressOfNode", |node| {
            node.addresses = vec![IpAddr::from([10, 20, 30, 1])]
        }),
    ];
    for (expected, change) in rows {
        let mut changed = node("pandora", &[]);
        change(&mut changed);
        speaker.change(|facts| facts.set_node(changed));
        assert_eq!(
            (speaker.reason("test1"), speaker.at("peer1").len()),
            (expected, 0),
            "R1"
        );
        speaker.change(|facts| facts.set_node(node("pandora", &[])));
        assert_eq!((speaker.reason("test1"), speaker.at("peer1").len()), ("", 1));
    }
    // The address of another node, and an annotation that matters to layer 2 only.
    let other = Node {
        addresses: vec![IpAddr::from([10, 20, 30, 1])],
        ..node("iris", &[])
    };
    speaker.change(|facts| facts.set_node(other));
    assert_eq!(speaker.reason("test1"), "AddressOfNode");
    speaker.change(|facts| facts.remove_node(&"iris".into()));
    speaker.advertisements = vec![of("a", &[("app", "nginx")])];
    speaker.configure();
    speaker.change(|facts| {
        facts.set_service(Exposure {
            shares: true,
            ..exposed("nginx")
        })
    });
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32"]);
    speaker.change(|facts| facts.remove_node(&"pandora".into()));
    assert_eq!(
        (speaker.reason("test1"), speaker.at("peer1").len()),
        ("NoNode", 0)
    );
}

#[test]
fn the_advertisements_of_a_service_are_all_that_select_it() {
    let of = |name: &str, app: &str, community: &str| RawBgpAdvertisement {
        service_selectors: selectors(&[("app", app)]),
        communities: vec![community.into()],
        ..advertisement(name)
    };
    let all = RawBgpAdvertisement {
        communities: vec!["1:3".into()],
        ..advertisement("ad3")
    };
    let mut speaker = Speaker::simple(&[of("ad1", "apache", "1:1"), of("ad2", "nginx", "large:1:2:3"), all]);
    let exposed = Exposure {
        labels: labels(&[("app", "nginx")]),
        ..service("test1", &["10.20.30.1"])
    };
    speaker.change(|facts| facts.set_service(exposed));
    assert_eq!(speaker.at("peer1"), ["10.20.30.1/32 1:3 1:2:3"], "F1");
}

#[test]
fn two_advertisements_may_not_prefer_the_same_routes_differently() {
    type Change = fn(&mut RawBgpAdvertisement, &mut RawBgpAdvertisement);
    let rows: [(&str, Change, &[&str], usize); 10] = [
        ("A4", |_, _| (), &["10.20.30.1/32 100"], 1),
        (
            "A5",
            |one, _| one.aggregation_length = Some(24),
            &["10.20.30.0/24 100", "10.20.30.1/32 200"],
            0,
        ),
        (
            "A6, X2",
            |one, other| {
                one.node_selectors = selectors(&[("node", "iris")]);
                other.node_selectors = selectors(&[("node", "pandora")]);
            },
            &["10.20.30.1/32 200"],
            0,
        ),
        (
            "A7, X4",
            |one, other| {
                (one.peers, other.peers) = (vec!["peer1".into()], vec!["peer2".into()]);
            },
            &["10.20.30.1/32 100"],
            0,
        ),
        (
            "X1",
            |_, other| other.local_pref = Some(100),
            &["10.20.30.1/32 100"],
            0,
        ),
        (
            "X3",
            |one, other| {
                one.node_selectors = selectors(&[("node", "pandora")]);
                other.node_selectors = selectors(&[("node", "pandora"), ("node", "iris")]);
            },
            &["10.20.30.1/32 100"],
            1,
        ),
        (
            "X3",
            |one, other| {
                one.node_selectors = selectors(&[("node", "pandora"), ("node", "iris")]);
                other.node_selectors = selectors(&[("node", "pandora")]);
            },
            &["10.20.30.1/32 100"],
            1,
        ),
        (
            "X5",
            |one, other| {
                (one.peers, other.peers) = (vec!["peer1".into()], vec!["peer2".into(), "peer1".into()]);
            },
            &["10.20.30.1/32 100"],
            1,
        ),
        (
            "the older one",
            |one, other| (one.created, other.created) = (2, 1),
            &["10.20.30.1/32 200"],
            1,
        ),
        (
            "lengths of the other family",
            |one, _| one.aggregation_length_v6 = Some(64),
            &["10.20.30.1/32 100"],
            1,
        ),
    ];
    for (row, change, expected, unattached) in rows {
        let (mut one, mut other) = (preferring("ad1", 100), preferring("ad2", 200));
        change(&mut one, &mut other);
        let mut speaker = Speaker::simple(&[one, other]);
        speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
        assert_eq!(speaker.at("peer1"), expected, "{row}");
        let found = speaker.routes.unattached(&speaker.facts);
        assert_eq!(found.len(), unattached, "{row}: {found:?}");
    }
}

#[test]
fn a_prefix_is_not_wider_than_the_pool() {
    let narrow = RawBgpAdvertisement {
        aggregation_length: Some(26),
        ..advertisement("adv")
    };
    let pools: [(&str, &[&str]); 2] = [
        ("mixed", &["10.20.30.40/24", "1.2.3.0/28"]),
        ("wide", &["10.1.0.0/24"]),
    ];
    let mut speaker = Speaker::new(
        &pools,
        &[narrow, advertisement("host")],
        &[peer("peer1", "1.2.3.4")],
    );
    for (name, address) in [("a", "1.2.3.1"), ("b", "10.1.0.200")] {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        speaker.change(|facts| facts.set_service(service(name, &[address])));
    }
    assert_eq!(
        speaker.at("peer1"),
        ["1.2.3.1/32", "10.1.0.192/26", "10.1.0.200/32"],
        "A3: other pools have it"
    );
    let found = speaker.routes.unattached(&speaker.facts);
    let [(name, pool, reason)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((name.as_str(), &**pool), ("adv", "mixed"));
    assert_eq!(
        reason.to_string(),
        "invalid aggregation length 26: prefix 28 in this pool is more specific than the aggregation length for addresses 1.2.3.0/28"
    );
}

#[test]
fn advertisements_are_for_their_pools_and_nodes() {
    let of = |name: &str, pool: &str, of_node: &str| RawBgpAdvertisement {
        pools: vec![pool.into()],
        node_selectors: selectors(&[(of_node, "true")]),
        ..advertisement(name)
    };
    let pools: [(&str, &[&str]); 2] = [("pool1", &["10.20.0.0/16"]), ("pool2", &["30.0.0.0/16"])];
    let advertisements = [of("adv1", "pool1", "second"), of("adv2", "pool2", "first")];
    let mut speaker = Speaker::new(&pools, &advertisements, &[peer("peer1", "1.2.3.4")]);
    for (name, address) in [("a", "10.20.0.1"), ("b", "30.0.0.1")] {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        speaker.change(|facts| facts.set_service(service(name, &[address])));
    }
    assert_eq!(speaker.at("peer1"), [""; 0], "A11");
    for (label, expected) in [("first", "30.0.0.1/32"), ("second", "10.20.0.1/32")] {
        speaker.change(|facts| facts.set_node(node("pandora", &[(label, "true")])));
        assert_eq!(speaker.at("peer1"), [expected], "A11");
    }
}

#[test]
fn the_status_names_the_peers_of_each_service() {
    let of = |name: &str, pool: &str| RawBgpAdvertisement {
        pools: vec![pool.into()],
        peers: vec!["peer1".into(), "peer2".into()],
        ..advertisement(name)
    };
    let pools: [(&str, &[&str]); 2] = [("pool1", &["10.20.0.0/16"]), ("pool2", &["30.0.0.0/16"])];
    let peers =
        ["1.2.3.1", "1.2.3.2", "1.2.3.3"].map(|address| peer(&format!("peer{}", &address[6..]), address));
    let mut speaker = Speaker::new(&pools, &[of("adv1", "pool1"), of("adv2", "pool2")], &peers);
    for (name, address) in [("one", "10.20.0.1"), ("two", "30.0.0.1")] {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        speaker.change(|facts| facts.set_service(service(name, &[address])));
        assert_eq!(
            speaker.statuses(),
            [format!("{name}: {address} by peer1 peer2")],
            "S1, S2"
        );
    }
    speaker.change(|facts| facts.set_endpoints(key("two"), ready(&["pandora"])));
    assert_eq!(speaker.statuses(), [""; 0], "the same peers");
    speaker.change(|facts| facts.remove_service(&key("one")));
    assert_eq!(speaker.statuses(), ["one: nothing"], "S3");
    let explained = speaker
        .routes
        .explain(&speaker.facts, &key("two"), IpAddr::from([30, 0, 0, 1]));
    let explained = explained.expect("it is announced");
    assert_eq!(explained["peer3"], Err(PeerExclusion::NotSelected));
    assert_eq!(explained["peer1"].as_ref().map(Vec::len), Ok(1));
}

#[test]
fn a_session_carries_its_family_unless_it_carries_both() {
    let dual = RawBgpPeer {
        dual_stack: Some(true),
        ..peer("dual", "fc00::2")
    };
    let unnumbered = RawBgpPeer {
        address: None,
        interface: Some("eth0".into()),
        ..peer("eth0", "")
    };
    let peers = [peer("four", "1.2.3.4"), peer("six", "fc00::1"), dual, unnumbered];
    let wide = RawBgpAdvertisement {
        aggregation_length_v6: Some(124),
        ..advertisement("adv")
    };
    let mut speaker = Speaker::new(&[("both", &["10.20.30.0/24", "fc00:1::/120"])], &[wide], &peers);
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1", "fc00:1::33"])));
    let (four, six) = ("10.20.30.1/32", "fc00:1::30/124");
    for (name, expected) in [
        ("four", &[four][..]),
        ("six", &[six]),
        ("dual", &[four, six]),
        ("eth0", &[four, six]),
    ] {
        assert_eq!(speaker.at(name), expected, "{name}");
    }
    let explained = speaker
        .routes
        .explain(&speaker.facts, &key("test1"), IpAddr::from([10, 20, 30, 1]));
    let six = explained.expect("it is announced")["six"].clone();
    assert_eq!(six, Err(PeerExclusion::FamilyNotCarried(Family::V4)));
}

#[test]
fn a_prefix_of_several_services_has_the_best_of_all() {
    let of = |name: &str, app: &str, local_pref: Option<i64>, med: Option<i64>, community: &str| {
        RawBgpAdvertisement {
            service_selectors: selectors(&[("app", app)]),
            local_pref,
            med,
            communities: vec![community.into()],
            ..advertisement(name)
        }
    };
    let mut speaker = Speaker::simple(&[
        of("a", "a", Some(50), Some(70), "1:1"),
        of("b", "b", None, Some(60), "1:2"),
        of("c", "c", Some(300), None, "1:1"),
    ]);
    let mut set = |name: &str, expected: &str| {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        let exposed = Exposure {
            labels: labels(&[("app", name)]),
            shares: true,
            ..service(name, &["10.20.30.1"])
        };
        speaker.change(|facts| facts.set_service(exposed));
        assert_eq!(speaker.at("peer1"), [expected], "{name}");
    };
    set("a", "10.20.30.1/32 50 med 70 1:1");
    set("b", "10.20.30.1/32 100 med 60 1:1 1:2");
    set("c", "10.20.30.1/32 300 1:1 1:2");
    for (name, expected) in [
        ("b", &["10.20.30.1/32 300 1:1"][..]),
        ("c", &["10.20.30.1/32 50 med 70 1:1"]),
        ("a", &[]),
    ] {
        speaker.change(|facts| facts.remove_service(&key(name)));
        assert_eq!(speaker.at("peer1"), expected, "without {name}");
    }
}

#[test]
fn services_that_share_a_prefix_with_different_local_prefs_are_named_with_the_advertisements() {
    let of = |name: &str, app: &str, local_pref: Option<i64>| RawBgpAdvertisement {
        service_selectors: selectors(&[("app", app)]),
        local_pref,
        ..advertisement(name)
    };
    let mut speaker = Speaker::simple(&[
        of("a", "a", None),
        of("b", "b", Some(200)),
        of("c", "c", Some(100)),
    ]);
    let mut set = |name: &str, app: &str| {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        let exposed = Exposure {
            labels: labels(&[("app", app)]),
            shares: true,
            ..service(name, &["10.20.30.1"])
        };
        speaker.change(|facts| facts.set_service(exposed));
        speaker.clashes()
    };
    assert_eq!(set("one", "a"), [""; 0]);
    assert_eq!(set("two", "c"), [""; 0], "100 is what routes without one have");
    assert_eq!(set("three", "b"), ["10.20.30.1/32 b 200 not a 100: one three"]);
    assert_eq!(set("four", "b"), [""; 0], "it is known");
    speaker.advertisements[0].peers = vec!["peer2".into()];
    speaker.configure();
    let at_this_peer = ["10.20.30.1/32 b 200 not c 100: four three two"];
    assert_eq!(speaker.clashes(), at_this_peer, "the first is for another peer");
    for name in ["three", "four"] {
        speaker.change(|facts| facts.remove_service(&key(name)));
        assert_eq!(speaker.clashes(), [""; 0]);
    }
    let again = Exposure {
        labels: labels(&[("app", "b")]),
        shares: true,
        ..service("four", &["10.20.30.1"])
    };
    speaker.change(|facts| facts.set_service(again));
    assert_eq!(speaker.clashes(), ["10.20.30.1/32 b 200 not c 100: four two"]);
}

#[test]
fn of_a_wide_prefix_a_few_services_of_each_advertisement_are_named() {
    let of = |name: &str, local_pref: i64| RawBgpAdvertisement {
        aggregation_length: Some(30),
        pools: vec![name.into()],
        ..preferring(name, local_pref)
    };
    // Each has a prefix of that length of its own, and they share the one in the middle.
    let pools: [(&str, &[&str]); 2] = [
        ("high", &["10.20.30.0-10.20.30.4"]),
        ("low", &["10.20.30.5-10.20.30.11"]),
    ];
    let advertisements = [of("low", 100), of("high", 200)];
    let mut speaker = Speaker::new(&pools, &advertisements, &[peer("peer1", "1.2.3.4")]);
    let mut set = |name: &str, address: &str| {
        speaker.change(|facts| facts.set_endpoints(key(name), ready(&["iris"])));
        let exposed = Exposure {
            shares: true,
            ..service(name, &[address])
        };
        speaker.change(|facts| facts.set_service(exposed));
        speaker.clashes()
    };
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(set(name, "10.20.30.6"), [""; 0]);
    }
    assert_eq!(set("other", "10.20.30.3"), [""; 0], "another prefix");
    assert_eq!(
        set("z", "10.20.30.4"),
        ["10.20.30.4/30 high 200 not low 100: a b c d z"]
    );
}

#[test]
fn the_reason_of_a_contradiction_names_both_advertisements() {
    let selecting = RawBgpAdvertisement {
        service_selectors: selectors(&[("app", "nginx")]),
        ..preferring("ad2", 200)
    };
    let mut speaker = Speaker::simple(&[preferring("ad1", 100), selecting]);
    let exposed = Exposure {
        labels: labels(&[("app", "nginx")]),
        ..service("test1", &["10.20.30.1"])
    };
    speaker.change(|facts| facts.set_service(exposed));
    assert_eq!(speaker.reason("test1"), "ConflictingAdvertisements", "R5");
    let named = r#"ConflictingAdvertisements ("ad1", "ad2")"#;
    assert_eq!(speaker.reasons_of_nodes("test1").as_deref(), Some(named));
}

#[test]
fn routes_have_the_speaker_s_med_unless_their_advertisement_has_one() {
    let own = RawBgpAdvertisement {
        med: Some(0),
        aggregation_length: Some(24),
        ..advertisement("own")
    };
    let mut speaker = Speaker::simple(&[advertisement("adv"), own]);
    speaker.routes = BgpRoutes::new("pandora".into(), Some(100));
    speaker.configure();
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
    assert_eq!(
        speaker.at("peer1"),
        ["10.20.30.0/24 med 0", "10.20.30.1/32 med 100"]
    );
}

/// Without an election there is nothing that has to be as MetalLB's, which knows no drain.
#[test]
fn a_drained_node_sends_nothing_also_beside_metallb() {
    let mut speaker = Speaker::simple(&[advertisement("adv")]);
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
    for (draining, expected) in [(false, &["10.20.30.1/32"][..]), (true, &[])] {
        let node = Node {
            draining,
            ..node("pandora", &[])
        };
        speaker.change(|facts| facts.set_node(node));
        for is_beside in [true, false, true] {
            speaker.change(|facts| facts.set_members(&[member(is_beside)]));
            assert_eq!(
                speaker.at("peer1"),
                expected,
                "drained: {draining}, beside MetalLB: {is_beside}"
            );
        }
    }
}

/// Rows N1 to N3, and changes of a peer.
#[test]
fn a_node_has_sessions_with_the_peers_that_select_it_by_its_labels() {
    let selecting = |pairs: &[(&str, &str)]| RawBgpPeer {
        node_selectors: selectors(pairs),
        ..peer("peer2", "1.2.3.5")
    };
    let peers = [peer("peer1", "1.2.3.4"), selecting(&[("foo", "bar")])];
    let mut speaker = Speaker::new(
        &[("default", &["10.20.30.0/24"])],
        &[advertisement("adv")],
        &peers,
    );
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
    assert_eq!(speaker.peer_changes(), ["peer1 as AS 42"], "N1");
    assert_eq!(speaker.statuses(), ["test1: 10.20.30.1 by peer1"]);
    speaker.change(|facts| facts.set_node(node("pandora", &[("foo", "bar")])));
    assert_eq!(speaker.peer_changes(), ["peer2 as AS 42"], "N2");
    assert_eq!(speaker.at("peer2"), ["10.20.30.1/32"]);
    assert_eq!(speaker.statuses(), ["test1: 10.20.30.1 by peer1 peer2"]);
    speaker.change(|facts| facts.set_node(node("pandora", &[("foo", "baz")])));
    assert_eq!(speaker.peer_changes(), ["peer2 no more"]);
    assert_eq!(speaker.at("peer2"), [""; 0]);
    speaker.peers[1] = selecting(&[("foo", "bar"), ("foo", "baz")]);
    speaker.configure();
    assert_eq!(speaker.peer_changes(), ["peer2 as AS 42"], "N3");
    speaker.peers[0].local_asn = Some(7);
    speaker.configure();
    speaker.configure();
    assert_eq!(speaker.peer_changes(), ["peer1 as AS 7"]);
    speaker.change(|facts| facts.remove_node(&"pandora".into()));
    assert_eq!(speaker.peer_changes(), ["peer1 no more", "peer2 no more"]);
    assert_eq!(speaker.statuses(), ["test1: nothing"]);
}

#[test]
fn of_two_peers_with_one_connection_the_older_runs_and_the_other_takes_its_place() {
    let younger = RawBgpPeer {
        created: 2,
        ..peer("a", "1.2.3.4")
    };
    let mut speaker = Speaker::new(&[], &[], &[younger, peer("b", "1.2.3.4")]);
    assert_eq!(speaker.peer_changes(), ["b as AS 42"]);
    assert_eq!(speaker.routes.duplicates(), [("a".into(), "b".into())]);
    speaker.peers.pop();
    speaker.configure();
    // In this order: a router takes the connection only once.
    assert_eq!(speaker.peer_changes(), ["b no more", "a as AS 42"]);
    assert_eq!(speaker.routes.duplicates(), []);
}

/// Row T13: MetalLB compares the peers of all nodes that it knows, and refuses both without any.
#[test]
fn a_node_that_is_not_known_has_neither_sessions_nor_duplicates() {
    let on = |name: &str, node: &str| RawBgpPeer {
        node_selectors: selectors(&[("node", node)]),
        ..peer(name, "1.2.3.4")
    };
    let mut speaker = Speaker::new(&[], &[], &[on("peer1", "pandora"), on("peer2", "iris")]);
    assert_eq!(speaker.peer_changes(), ["peer1 as AS 42"], "T9");
    assert_eq!(speaker.routes.duplicates(), []);
    speaker.change(|facts| facts.remove_node(&"pandora".into()));
    assert_eq!(speaker.peer_changes(), ["peer1 no more"], "T13");
    assert_eq!(speaker.routes.duplicates(), []);
    speaker.change(|facts| facts.set_node(node("pandora", &[])));
    assert_eq!(speaker.peer_changes(), ["peer1 as AS 42"]);
}

/// A Pod that serves while it terminates keeps the route of its node under policy Local.
#[test]
fn terminating_endpoints_keep_the_route_of_their_node_until_they_serve_no_more() {
    let mut speaker = Speaker::simple(&[advertisement("adv")]);
    let local = Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..service("test1", &["10.20.30.1"])
    };
    speaker.change(|facts| facts.set_service(local));
    let on = |nodes: &[&str], terminating: &[&str]| {
        let ready = ready(nodes).expect("endpoints");
        Some(Arc::new(Endpoints {
            terminating: terminating.iter().map(|node| (*node).into()).collect(),
            ..Endpoints::clone(&ready)
        }))
    };
    for (row, endpoints, expected) in [
        ("ready", on(&["pandora"], &[]), &["10.20.30.1/32"][..]),
        ("terminating", on(&["pandora"], &["pandora"]), &["10.20.30.1/32"]),
        ("gone", on(&[], &[]), &[]),
        ("none of this node", on(&["iris"], &["iris"]), &[]),
    ] {
        speaker.change(|facts| facts.set_endpoints(key("test1"), endpoints));
        assert_eq!(speaker.at("peer1"), expected, "{row}");
    }
}

#[test]
fn a_pause_ends_all_sessions_and_its_end_restores_them_with_their_routes() {
    let mut speaker = Speaker::simple(&[advertisement("adv")]);
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
    assert_eq!(speaker.peer_changes(), ["peer1 as AS 42"]);
    assert_eq!(speaker.statuses().len(), 1);
    for (is_paused, peer, routes, status) in [
        (true, "peer1 no more", &[][..], "test1: nothing"),
        (
            false,
            "peer1 as AS 42",
            &["10.20.30.1/32"],
            "test1: 10.20.30.1 by peer1",
        ),
    ] {
        speaker.routes.set_paused(&speaker.facts, is_paused);
        speaker.send();
        assert_eq!(speaker.peer_changes(), [peer]);
        assert_eq!(speaker.at("peer1"), routes);
        assert_eq!(speaker.statuses(), [status]);
        speaker.routes.set_paused(&speaker.facts, is_paused);
        assert_eq!(speaker.peer_changes(), [""; 0]);
    }
}

#[test]
fn the_status_has_the_addresses_that_a_peer_gets() {
    let mut speaker = Speaker::new(
        &[("both", &["10.20.30.0/24", "fc00:1::/120"])],
        &[advertisement("adv")],
        &[peer("four", "1.2.3.4")],
    );
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test1", &["fc00:1::33", "10.20.30.1"])));
    assert_eq!(speaker.statuses(), ["test1: 10.20.30.1 by four"]);
    speaker.peers.push(peer("six", "fc00::1"));
    speaker.configure();
    let counts = ["four", "six", "seven"].map(|peer| speaker.routes.prefix_counts(peer).sendable);
    assert_eq!(counts, [1, 1, 0]);
    assert_eq!(speaker.statuses(), ["test1: fc00:1::33 10.20.30.1 by four six"]);
}

#[test]
fn why_no_node_announces_is_known_on_each_node() {
    let selecting = RawBgpPeer {
        node_selectors: selectors(&[("node", "iris")]),
        ..peer("peer1", "1.2.3.4")
    };
    let mut speaker = Speaker::new(&[("default", &["10.20.30.0/24"])], &[], &[]);
    speaker.change(|facts| facts.set_node(node("iris", &[])));
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["pandora"])));
    speaker.change(|facts| facts.set_service(service("test1", &["10.20.30.1"])));
    assert_eq!(speaker.reasons_of_nodes("test1"), None, "BGP has no part in it");
    speaker.advertisements = vec![advertisement("adv")];
    speaker.configure();
    assert_eq!(speaker.reasons_of_nodes("test1"), Some("NoPeer".into()));
    assert_eq!(speaker.reason("test1"), "NoPeer");
    speaker.peers = vec![selecting];
    speaker.configure();
    assert_eq!(
        speaker.reasons_of_nodes("test1"),
        Some(String::new()),
        "the other node does"
    );
    let local = Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..service("test1", &["10.20.30.1"])
    };
    speaker.change(|facts| facts.set_service(local));
    let reasons = Some("NoLocalEndpoint, NoPeer".into());
    assert_eq!(speaker.reasons_of_nodes("test1"), reasons);
    speaker.advertisements[0].peers = vec!["peer9".into()];
    speaker.configure();
    assert_eq!(speaker.reasons_of_nodes("test1"), reasons);
    speaker.advertisements[0].service_selectors = selectors(&[("app", "other")]);
    speaker.configure();
    assert_eq!(speaker.reasons_of_nodes("test1"), None);
}

#[derive(Debug, Clone)]
enum Step {
    Service(u8, Vec<u8>, bool),
    RemoveService(u8),
    Endpoints(u8, Vec<bool>),
    Node(bool, bool, bool),
    OtherNode(bool),
    /// Whether MetalLB's speaker runs on the node, too.
    Members(bool),
    Config(Vec<(u8, u8, u8)>, u8),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let advertisement = (0..3_u8, 0..3_u8, 0..3_u8);
    prop_oneof![
        4 => (0..4_u8, prop::collection::vec(0..12_u8, 0..3), any::<bool>()).prop_map(|(n, addresses, local)| Step::Service(n, addresses, local)),
        1 => (0..4_u8).prop_map(Step::RemoveService),
        3 => (0..4_u8, prop::collection::vec(any::<bool>(), 0..3)).prop_map(|(n, own)| Step::Endpoints(n, own)),
        2 => any::<(bool, bool, bool)>().prop_map(|(labelled, unavailable, drained)| Step::Node(labelled, unavailable, drained)),
        1 => any::<bool>().prop_map(Step::OtherNode),
        1 => any::<bool>().prop_map(Step::Members),
        4 => Just(Step::Poll),
        2 => (prop::collection::vec(advertisement, 0..4), 0..5_u8).prop_map(|(all, peers)| Step::Config(all, peers)),
    ]
}

impl Speaker {
    fn take(&mut self, step: Step) {
        let name = |n: u8| format!("service{n}");
        match step {
            Step::Service(n, addresses, local) => {
                let of_either_family = |place: &u8| match place {
                    0..6 => format!("10.20.30.{place}"),
                    _ => format!("fc00:1::{place:x}"),
                };
                let addresses: BTreeSet<_> = addresses.iter().map(of_either_family).collect();
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                let traffic_policy = if local {
                    TrafficPolicy::Local
                } else {
                    TrafficPolicy::Cluster
                };
                let exposed = Exposure {
                    traffic_policy,
                    ..service(&name(n), &addresses)
                };
                self.change(|facts| facts.set_service(exposed));
            }
            Step::RemoveService(n) => self.change(|facts| facts.remove_service(&key(&name(n)))),
            Step::Endpoints(n, own) => {
                let nodes = own.iter().map(|own| if *own { "pandora" } else { "iris" });
                self.change(|facts| facts.set_endpoints(key(&name(n)), ready(&nodes.collect::<Vec<_>>())));
            }
            Step::Node(labelled, network_unavailable, draining) => {
                let pairs: &[(&str, &str)] = if labelled { &[("rack", "1")] } else { &[] };
                let node = Node {
                    network_unavailable,
                    draining,
                    ..node("pandora", pairs)
                };
                self.change(|facts| facts.set_node(node));
            }
            Step::OtherNode(draining) => {
                let node = Node {
                    draining,
                    ..node("iris", &[])
                };
                self.change(|facts| facts.set_node(node));
            }
            Step::Members(is_beside) => {
                self.change(|facts| facts.set_members(&[member(is_beside)]));
            }
            Step::Poll => {
                self.is_holding = false;
                self.send();
                self.is_holding = true;
            }
            Step::Config(advertisements, peers) => {
                let advertisements = advertisements.into_iter().enumerate();
                let of = |(place, (length, peer, preference)): (usize, (u8, u8, u8))| RawBgpAdvertisement {
                    aggregation_length: (length > 0).then_some(i64::from(length) * 2 + 28),
                    aggregation_length_v6: (length > 0).then_some(i64::from(length) * 2 + 124),
                    peers: (peer > 0).then(|| format!("peer{peer}")).into_iter().collect(),
                    node_selectors: selectors(if preference == 2 { &[("rack", "1")] } else { &[] }),
                    communities: vec![format!("1:{place}")],
                    ..preferring(&format!("adv{place}"), preference.into())
                };
                self.advertisements = advertisements.map(of).collect();
                // Of IPv4, of IPv6, and one of each with both families.
                let of = |n: u8| {
                    let address = match n % 2 {
                        0 => format!("1.2.3.{n}"),
                        _ => format!("fc00::{n}"),
                    };
                    RawBgpPeer {
                        dual_stack: Some(n >= 2),
                        ..peer(&format!("peer{n}"), &address)
                    }
                };
                self.peers = (0..peers).map(of).collect();
                self.configure();
            }
        }
    }
}

proptest! {
    /// Whatever happens in whatever order, the differences add up to what a speaker that starts now sends.
    #[test]
    fn differences_add_up_to_the_routes_of_a_speaker_that_starts_now(steps in prop::collection::vec(step(), 0..60)) {
        let mut speaker = Speaker::new(
            &[("default", &["10.20.30.0/24", "fc00:1::/120"])],
            &[],
            &[peer("peer1", "1.2.3.4")],
        );
        speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
        speaker.is_holding = true;
        for step in steps.into_iter().chain([Step::Poll]) {
            let is_polled = matches!(step, Step::Poll);
            speaker.take(step);
            if !is_polled {
                continue;
            }
            let mut fresh = BgpRoutes::new("pandora".into(), None);
            let peers = speaker.routes.peers.in_force.clone();
            fresh.set_config(&speaker.facts, speaker.routes.advertisements.clone(), &peers);
            let mut expected = BTreeMap::<String, BTreeMap<Prefix, RouteAttributes>>::new();
            while let Some(change) = fresh.poll_change() {
                let attributes = change.attributes.expect("nothing to withdraw");
                expected.entry(change.peer.to_string()).or_default().insert(change.prefix, attributes);
            }
            speaker.routers.retain(|_, routes| !routes.is_empty());
            prop_assert_eq!(&speaker.routers, &expected);
            for (name, routes) in &speaker.routers {
                let peer = peers.iter().find(|peer| peer.name == *name).expect("a router without a peer has nothing");
                let carried = |prefix: &Prefix| peer.carries(Family::of(prefix.address));
                prop_assert!(routes.keys().all(carried), "{}: {:?}", name, routes);
            }
        }
    }
}

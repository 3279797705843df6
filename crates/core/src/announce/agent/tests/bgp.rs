//! BGP beside layer 2, and without it.

use super::*;
use crate::announce::bgp::{FamilyLimit, SessionLimits};
use crate::config::bgp::{BgpCatalog, BgpChange, RawBgpAdvertisement, RawBgpPeer};

fn catalog(has_peer: bool) -> BgpCatalog {
    let advertisement = RawBgpAdvertisement {
        name: "all".into(),
        ..RawBgpAdvertisement::default()
    };
    let peer = RawBgpPeer {
        name: "router".into(),
        my_asn: 65_001,
        peer_asn: Some(65_000),
        address: Some("192.0.2.1".into()),
        ..RawBgpPeer::default()
    };
    let mut catalog = BgpCatalog::default();
    let peer = has_peer.then_some(BgpChange::ApplyPeer(peer));
    catalog.apply(
        [BgpChange::ApplyAdvertisement(advertisement)]
            .into_iter()
            .chain(peer),
    );
    assert_eq!(catalog.problems(), []);
    catalog
}

impl Rig {
    fn set_bgp(&mut self, has_peer: bool) {
        let catalog = catalog(has_peer);
        let advertisements = catalog.advertisements().cloned().collect();
        self.agent.set_bgp_config(advertisements, catalog.peers());
    }

    /// Leaves the pool without an `L2Advertisement`.
    fn without_layer2(mut self) -> Self {
        let mut catalog = Catalog::new();
        catalog.set_pools(vec![RawPool {
            name: "pool".into(),
            addresses: vec!["10.20.30.0/24".into()],
            ..RawPool::default()
        }]);
        self.agent.set_config(catalog.pools(), &[]);
        self
    }

    /// Returns one of the node of this name, with a Service that only BGP advertises, whose endpoints are on these nodes.
    fn with_local_service(name: &str, address: &str, nodes: &[&str]) -> Self {
        let mut rig = Self::of_node(name, true, &[address]).without_layer2();
        rig.agent.start();
        rig.set_bgp(true);
        rig.agent.set_service(Exposure {
            traffic_policy: TrafficPolicy::Local,
            ..exposure(address)
        });
        let endpoints = Endpoints {
            any: true,
            nodes: nodes.iter().map(|node| (*node).into()).collect(),
            ..Endpoints::default()
        };
        rig.agent.set_endpoints(key(address), Some(endpoints.into()));
        rig.bgp();
        rig
    }

    /// Returns what has changed of peers, routes and statuses, as text.
    fn bgp(&mut self) -> Vec<String> {
        self.agent.decide(self.now);
        let sign = |is_there: bool| if is_there { "+" } else { "-" };
        let mut changes = Vec::new();
        while let Some(change) = self.agent.poll_bgp_peer() {
            changes.push(format!("{}{}", sign(change.peer.is_some()), change.name));
        }
        while let Some(change) = self.agent.poll_route() {
            let (is_there, prefix) = (change.attributes.is_some(), change.prefix.address);
            changes.push(format!("{}{prefix} to {}", sign(is_there), change.peer));
        }
        while let Some(change) = self.agent.poll_bgp_status() {
            changes.push(format!("{}{}", sign(change.after.is_some()), change.service.name));
        }
        changes
    }
}

const BEGIN: [&str; 3] = ["+router", "+10.20.30.1 to router", "+web-10.20.30.1"];
const END: [&str; 2] = ["-10.20.30.1 to router", "-web-10.20.30.1"];

#[test]
fn nothing_of_bgp_leaves_before_the_start_and_then_peers_come_before_their_routes() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    rig.set_bgp(true);
    assert_eq!(rig.bgp(), [""; 0]);
    rig.agent.start();
    assert_eq!(rig.bgp(), BEGIN);
    assert_eq!(rig.bgp(), [""; 0]);
    rig.agent.remove_service(&key(ADDRESS));
    assert_eq!(rig.bgp(), END);
}

#[test]
fn an_address_that_only_bgp_advertises_is_not_probed_and_has_no_status_of_layer_2() {
    let mut rig = Rig::started(&[ADDRESS, OTHER]).without_layer2();
    rig.set_bgp(true);
    assert_eq!(rig.commands(), []);
    assert_eq!(rig.bgp().len(), 5, "the peer, and two Services");
    assert!(rig.statuses().iter().all(|(_, status)| status.is_none()));
}

#[test]
fn both_protocols_may_announce_an_address_whatever_the_other_one_does() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.set_bgp(true);
    assert_eq!(rig.bgp(), BEGIN);
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
    rig.probed(ip(ADDRESS), ProbeResult::Silence);
    assert_eq!(rig.commands(), [Command::Announce(announcement(ADDRESS))]);
    assert_eq!(rig.bgp(), [""; 0]);
    rig = rig.without_layer2();
    assert!(rig.commands().contains(&Command::Withdraw(ip(ADDRESS))));
    assert_eq!(rig.bgp(), [""; 0]);
}

#[test]
fn one_speaker_reports_why_no_node_announces_by_bgp_until_one_does() {
    let mut rig = Rig::started(&[ADDRESS]).without_layer2();
    let message =
        format!("{ADDRESS}: no L2Advertisement and no BGPAdvertisement selects the pool and the Service");
    assert_eq!(reported(&mut rig, ADDRESS), Some(("NoAdvertisement", message)));
    rig.set_bgp(false);
    let message = format!("{ADDRESS}: no node may announce the Service; the reasons of the nodes: NoPeer");
    assert_eq!(reported(&mut rig, ADDRESS), Some(("NoCandidate", message)));
    rig.set_bgp(true);
    assert_eq!(rig.statuses(), [(key(ADDRESS), None)]);
    // Endpoints on the other node only: that one announces.
    let local = |traffic_policy| Exposure {
        traffic_policy,
        ..exposure(ADDRESS)
    };
    let of_nodes = |nodes: &[&str]| Endpoints {
        any: true,
        nodes: nodes.iter().map(|node| (*node).into()).collect(),
        ..Endpoints::default()
    };
    rig.bgp();
    rig.agent.set_service(local(TrafficPolicy::Local));
    rig.agent
        .set_endpoints(key(ADDRESS), Some(of_nodes(&[PEER]).into()));
    assert_eq!(rig.bgp(), END);
    assert_eq!(reported(&mut rig, ADDRESS), None);
    rig.agent
        .set_endpoints(key(ADDRESS), Some(of_nodes(&["elsewhere"]).into()));
    let reason = reported(&mut rig, ADDRESS).map(|(reason, _)| reason);
    assert_eq!(reason, Some("NoCandidate"));
    rig.agent
        .set_endpoints(key(ADDRESS), Some(of_nodes(&[OWN]).into()));
    assert_eq!(rig.bgp(), BEGIN[1..]);
    assert_eq!(rig.statuses(), [(key(ADDRESS), None)]);
}

#[test]
fn a_drained_node_withdraws_its_routes_and_keeps_its_sessions() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.set_bgp(true);
    rig.bgp();
    for (draining, expected) in [(true, &END[..]), (false, &BEGIN[1..])] {
        rig.agent.set_node(Node {
            draining,
            ..node(OWN)
        });
        assert_eq!(rig.bgp(), expected);
    }
}

#[test]
fn a_speaker_that_stops_begins_no_sessions_when_metallb_is_gone() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.agent.set_bgp_paused(true);
    rig.set_bgp(true);
    rig.bgp();
    rig.agent.handle_shutdown(false, rig.now);
    rig.agent.set_bgp_paused(false);
    assert_eq!(rig.bgp(), [""; 0]);
}

#[test]
fn a_speaker_that_stops_ends_its_sessions_when_metallb_is_back() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.set_bgp(true);
    rig.bgp();
    rig.agent.handle_shutdown(false, rig.now);
    rig.bgp();
    rig.agent.set_bgp_paused(true);
    assert!(
        rig.agent
            .poll_bgp_peer()
            .is_some_and(|change| change.peer.is_none())
    );
}

#[test]
fn a_service_that_no_session_can_have_is_reported_with_the_reason() {
    let mut rig = Rig::started(&[ADDRESS]).without_layer2();
    rig.set_bgp(true);
    rig.bgp();
    rig.statuses();
    let limits = SessionLimits {
        v4: Some(FamilyLimit::NotNegotiated),
        v6: Some(FamilyLimit::NotNegotiated),
        ..SessionLimits::default()
    };
    rig.agent.set_bgp_limits(&"router".into(), limits);
    assert_eq!(rig.bgp(), [END[1]], "the route is there for the next session");
    let (reason, message) = reported(&mut rig, ADDRESS).expect("it is reported");
    assert_eq!(reason, "NoCandidate");
    assert!(message.contains("FamilyNotNegotiated"), "{message}");
    rig.agent
        .set_bgp_limits(&"router".into(), SessionLimits::default());
    assert_eq!(rig.bgp(), [BEGIN[2]]);
    assert_eq!(rig.statuses(), [(key(ADDRESS), None)]);
}

#[test]
fn the_only_node_that_could_announce_a_service_says_what_its_session_cannot_have() {
    // Another speaker reports on this Service.
    let mut rig = Rig::started(&[OTHER]).without_layer2();
    rig.set_bgp(true);
    rig.bgp();
    assert_eq!(reported(&mut rig, OTHER), None);
    rig.agent.set_service(Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..exposure(OTHER)
    });
    let limits = SessionLimits {
        v4: Some(FamilyLimit::NoNextHop),
        ..SessionLimits::default()
    };
    rig.agent.set_bgp_limits(&"router".into(), limits);
    for (nodes, is_reported) in [
        (&[OWN][..], true),
        // The node before this one says the same of itself, or announces the Service.
        (&[OWN, PEER], false),
        (&[PEER], false),
        (&[OWN], true),
    ] {
        let endpoints = Endpoints {
            any: true,
            nodes: nodes.iter().map(|node| (*node).into()).collect(),
            ..Endpoints::default()
        };
        rig.agent.set_endpoints(key(OTHER), Some(endpoints.into()));
        rig.bgp();
        let message = reported(&mut rig, OTHER).map(|(_, message)| message);
        let names = |message: &String| message.contains("NoNextHop");
        assert_eq!(message.as_ref().is_some_and(names), is_reported, "{message:?}");
    }
    // The other node, which has an endpoint as well, leaves the cluster.
    let endpoints = Endpoints {
        any: true,
        nodes: [OWN, PEER].map(Into::into).into(),
        ..Endpoints::default()
    };
    rig.agent.set_endpoints(key(OTHER), Some(endpoints.into()));
    rig.bgp();
    assert_eq!(reported(&mut rig, OTHER), None);
    rig.agent.remove_node(&PEER.into());
    rig.bgp();
    assert!(reported(&mut rig, OTHER).is_some());
}

#[test]
fn a_node_without_a_speaker_does_not_silence_the_others() {
    // The other node comes first for this Service.
    let mut rig = Rig::started(&[OTHER]).without_layer2();
    rig.set_bgp(true);
    let limits = SessionLimits {
        v4: Some(FamilyLimit::NoNextHop),
        ..SessionLimits::default()
    };
    rig.agent.set_bgp_limits(&"router".into(), limits);
    rig.bgp();
    assert_eq!(reported(&mut rig, OTHER), None);
    rig.set_peer(Liveness::Down);
    rig.bgp();
    let message = reported(&mut rig, OTHER).map(|(_, message)| message);
    assert!(message.is_some_and(|message| message.contains("NoNextHop")));
    rig.set_peer(Liveness::Alive);
    rig.bgp();
    assert_eq!(rig.statuses(), [(key(OTHER), None)]);
}

#[test]
fn one_node_reports_what_sessions_cannot_have_whatever_the_limits_of_the_others_are() {
    let limits = [
        SessionLimits::default(),
        SessionLimits {
            v4: Some(FamilyLimit::NoNextHop),
            ..SessionLimits::default()
        },
        SessionLimits {
            v4: Some(FamilyLimit::NotNegotiated),
            ..SessionLimits::default()
        },
    ];
    for address in [ADDRESS, OTHER] {
        for nodes in [&[OWN, PEER][..], &[OWN], &[PEER]] {
            for (own, other) in limits
                .iter()
                .flat_map(|own| limits.iter().map(move |other| (own, other)))
            {
                let case = format!("{address} {nodes:?} {own:?} {other:?}");
                let reports = [(OWN, own), (PEER, other)].map(|(name, limits)| {
                    let mut rig = Rig::with_local_service(name, address, nodes);
                    rig.agent.set_bgp_limits(&"router".into(), limits.clone());
                    rig.bgp();
                    usize::from(reported(&mut rig, address).is_some())
                });
                let announces = |name, limits: &SessionLimits| nodes.contains(&name) && limits.v4.is_none();
                let is_announced = announces(OWN, own) || announces(PEER, other);
                let count: usize = reports.iter().sum();
                assert!(count == 1 || (is_announced && count == 0), "{case}: {reports:?}");
            }
        }
    }
}

#[test]
fn a_speaker_without_bgp_says_so() {
    let mut rig = Rig::new(true, &[ADDRESS]).without_layer2();
    rig.agent.options.has_bgp = false;
    rig.agent.start();
    let message = format!(
        "{ADDRESS}: no L2Advertisement selects the pool and the Service, and BGP is switched off (speaker.bgp.enabled)"
    );
    assert_eq!(reported(&mut rig, ADDRESS), Some(("NoAdvertisement", message)));
}

#[test]
fn a_speaker_that_stops_withdraws_its_routes_and_announces_nothing_more() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.set_bgp(true);
    rig.bgp();
    let endpoints = rig.agent.facts.endpoints(&key(ADDRESS)).clone();
    rig.agent.handle_shutdown(false, rig.now);
    assert_eq!(rig.bgp(), END);
    rig.set_bgp(true);
    rig.agent.set_service(exposure(OTHER));
    rig.agent.set_endpoints(key(OTHER), Some(endpoints.into()));
    assert_eq!(rig.bgp(), [""; 0]);
}

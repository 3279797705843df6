//! A healthy cluster has no finding but passes, and each fault is found.

use serde_json::json;

use super::*;
use crate::world::World;

fn today() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn healthy() -> OtherObjects {
    OtherObjects {
        kube_proxy: Some("mode: ipvs\nipvs: {strictARP: true}\n".to_owned()),
        service_networks: vec!["10.96.0.0/12".to_owned()],
        ..OtherObjects::default()
    }
}

/// Returns the checks that did not pass.
fn failing(world: &World, others: &OtherObjects) -> Vec<(DoctorCheck, Outcome)> {
    let result = diagnose(&world.cluster(), others, &NetworkReports::default(), today());
    let not_passed = result
        .findings
        .iter()
        .filter(|finding| finding.outcome != Outcome::Pass);
    let checked = |finding: &DoctorFinding| {
        assert!(!finding.remedy.is_empty(), "{finding:?}");
        (finding.check, finding.outcome)
    };
    not_passed.map(checked).collect()
}

#[test]
fn a_healthy_cluster_passes_every_check() {
    let result = diagnose(
        &World::new(3).cluster(),
        &healthy(),
        &NetworkReports::default(),
        today(),
    );
    let not_passed: Vec<&DoctorFinding> = result
        .findings
        .iter()
        .filter(|one| one.outcome != Outcome::Pass)
        .collect();
    assert!(not_passed.is_empty(), "{not_passed:#?}");
    assert!(result.findings.len() >= 14, "{result:#?}");
}

#[test]
fn each_fault_is_found_and_nothing_that_does_not_follow_from_it() {
    let world = |change: &dyn Fn(&mut World)| {
        let mut world = World::new(3);
        change(&mut world);
        failing(&world, &healthy())
    };
    let found = |check, outcome| vec![(check, outcome)];
    assert_eq!(
        world(&|world| world.members[1].liveness = herald_core::Liveness::Down),
        found(DoctorCheck::Gossip, Outcome::Fail)
    );
    assert_eq!(
        world(&|world| world.members[1].macs = world.members[0].macs.clone()),
        found(DoctorCheck::MacAddresses, Outcome::Fail)
    );
    assert_eq!(
        world(&|world| world.advertisement = json!({"ipAddressPools": ["other"]})),
        found(DoctorCheck::Advertisements, Outcome::Warn)
    );
    assert_eq!(
        world(&|world| world.pool = "192.0.2.0/33".to_owned()),
        vec![
            (DoctorCheck::Configuration, Outcome::Fail),
            (DoctorCheck::Advertisements, Outcome::Warn)
        ]
    );
    assert_eq!(
        world(&|world| world.pool = "10.100.0.0/24".to_owned()),
        vec![
            (DoctorCheck::PoolNetworks, Outcome::Fail),
            (DoctorCheck::Subnets, Outcome::Warn)
        ]
    );
    let node = |world: &mut World, field: &str, value| {
        world.nodes.get_mut("node-0").expect("a node")[field] = value;
    };
    assert_eq!(
        world(&|world| node(
            world,
            "status",
            json!({"addresses": [{"type": "InternalIP", "address": "192.0.2.3"}]})
        )),
        found(DoctorCheck::PoolNetworks, Outcome::Fail)
    );
    assert_eq!(
        world(&|world| node(world, "spec", json!({"podCIDRs": ["192.0.2.0/24"]}))),
        found(DoctorCheck::PoolNetworks, Outcome::Fail)
    );
    assert_eq!(
        world(&|world| node(
            world,
            "metadata",
            json!({"name": "node-0", "labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}})
        )),
        found(DoctorCheck::ExcludedNodes, Outcome::Warn)
    );
}

/// A peer, and the sessions with it: node, state and last error of each.
fn with_sessions(sessions: &[(&str, &str, Option<&str>)]) -> ClusterView {
    let mut cluster = World::new(2).cluster();
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor-1"},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.9"},
    });
    cluster.objects.bgp.peers = vec![serde_json::from_value(peer).expect("a BGPPeer")];
    let session = |(node, state, error): &(&str, &str, Option<&str>)| {
        let session = json!({
            "apiVersion": "herald.io/v1beta1", "kind": "BGPSessionState", "metadata": {"name": node}, "spec": {},
            "status": {"node": node, "peer": "tor-1", "bgpStatus": state, "lastError": error},
        });
        serde_json::from_value(session).expect("a BGPSessionState")
    };
    cluster.objects.bgp.sessions = sessions.iter().map(session).collect();
    cluster
}

#[test]
fn sessions_of_bgp_that_are_not_established_are_named_with_the_reason() {
    let wrong_as = "the peer has AS number 64999, which is not the expected one";
    for (sessions, outcome, parts) in [
        (
            &[
                ("node-0", "Established", None),
                ("node-1", "Established", Some("old")),
            ][..],
            Outcome::Pass,
            &["all 2 are established"][..],
        ),
        (
            &[
                ("node-0", "Established", None),
                ("node-1", "Active", Some(wrong_as)),
            ],
            Outcome::Fail,
            &["node-1 to tor-1 is Active: the peer has AS number 64999"],
        ),
        (
            &[("node-0", "Active", Some(wrong_as)), ("node-1", "Connect", None)],
            Outcome::Fail,
            &[
                "node-0 to tor-1 is Active",
                "AS number",
                "node-1 to tor-1 is Connect",
            ],
        ),
        (&[], Outcome::Fail, &["no node has a session"]),
    ] {
        let result = diagnose(
            &with_sessions(sessions),
            &healthy(),
            &NetworkReports::default(),
            today(),
        );
        let of_bgp = result
            .findings
            .iter()
            .filter(|one| one.check == DoctorCheck::BgpSessions);
        let [finding] = of_bgp.collect::<Vec<_>>()[..] else {
            panic!("{result:#?}");
        };
        assert_eq!(finding.outcome, outcome, "{finding:?}");
        assert_eq!(finding.remedy.is_empty(), outcome == Outcome::Pass, "{finding:?}");
        assert!(
            parts.iter().all(|part| finding.found.contains(part)),
            "{finding:?}"
        );
        assert!(
            !finding.found.contains("node-0 to tor-1 is Established"),
            "{finding:?}"
        );
    }
    let without = diagnose(
        &World::new(2).cluster(),
        &healthy(),
        &NetworkReports::default(),
        today(),
    );
    let is_of_bgp = |finding: &DoctorFinding| finding.check == DoctorCheck::BgpSessions;
    assert!(
        !without.findings.iter().any(is_of_bgp),
        "neither peers nor sessions"
    );
}

#[test]
fn what_else_runs_in_the_cluster_is_found() {
    let world = World::new(2);
    let lax = OtherObjects {
        kube_proxy: Some("mode: ipvs\nipvs: {strictARP: false}\n".to_owned()),
        ..healthy()
    };
    assert_eq!(failing(&world, &lax), [(DoctorCheck::KubeProxy, Outcome::Fail)]);
    for labels in [
        json!({"app": "metallb", "component": "speaker"}),
        json!({"svccontroller.k3s.cattle.io/svcname": "web"}),
        json!({"app.kubernetes.io/name": "kube-vip-ds"}),
        json!({"app": "purelb"}),
        json!({"app.kubernetes.io/name": "openelb"}),
    ] {
        let pod = json!({"metadata": {"name": "other", "labels": labels}, "spec": {"containers": []}});
        let others = OtherObjects {
            pods: vec![serde_json::from_value(pod).expect("a Pod")],
            ..healthy()
        };
        assert_eq!(
            failing(&world, &others),
            [(DoctorCheck::OtherBalancers, Outcome::Warn)],
            "{labels}"
        );
    }
    let unknown = diagnose(
        &world.cluster(),
        &OtherObjects::default(),
        &NetworkReports::default(),
        today(),
    );
    let unknown = unknown
        .findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Unknown);
    assert_eq!(
        unknown.map(|finding| finding.check).collect::<Vec<_>>(),
        [DoctorCheck::KubeProxy]
    );
}

#[test]
fn before_the_installation_only_what_does_not_need_it_is_checked() {
    let mut cluster = World::new(2).cluster();
    cluster.installation.pods.clear();
    cluster.objects.pools.clear();
    let result = diagnose(&cluster, &healthy(), &NetworkReports::default(), today());
    assert!(
        result
            .findings
            .iter()
            .all(|finding| finding.outcome == Outcome::Pass),
        "{result:#?}"
    );
    assert!(result.text(false).contains("Herald is not installed"));
}

#[test]
fn what_may_not_be_listed_is_unknown_and_fails_nothing() {
    let kinds = [
        "Pod",
        "Node",
        "IPAddressPool",
        "L2Advertisement",
        "BGPPeer",
        "BGPSessionState",
    ];
    for kind in kinds {
        let mut cluster = World::new(2).cluster();
        cluster
            .objects
            .missing
            .insert(kind, crate::cluster::Absence::Forbidden(kind.to_owned()));
        match kind {
            "Pod" => cluster.installation.pods.clear(),
            "Node" => cluster.objects.nodes.clear(),
            "IPAddressPool" => cluster.objects.pools.clear(),
            "L2Advertisement" => cluster.objects.l2_advertisements.clear(),
            _ => {}
        }
        let result = diagnose(&cluster, &healthy(), &NetworkReports::default(), today());
        assert!(result.is_installed, "{kind}");
        let is_unknown = |finding: &DoctorFinding| finding.outcome == Outcome::Unknown;
        assert!(result.findings.iter().any(is_unknown), "{kind}: {result:#?}");
        let mut failed = result
            .findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::Fail);
        assert!(failed.next().is_none(), "{kind}: {result:#?}");
    }
}

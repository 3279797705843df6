//! What is said of a cluster with MetalLB.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::cluster::Installation;
use crate::doctor::Outcome;
use crate::world::World;

fn metallb(args: &[&str]) -> MetalLbObjects {
    let pod = |component: &str, node: &str| -> Pod {
        let pod = json!({
            "metadata": {
                "name": format!("{component}-{node}"), "namespace": "metallb-system", "labels": {"app": "metallb", "component": component},
            },
            "spec": {"nodeName": node, "containers": [{"name": component, "args": args}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        serde_json::from_value(pod).expect("a Pod")
    };
    let mut objects = MetalLbObjects::default();
    objects.set_pods(vec![
        pod("controller", "node-0"),
        pod("speaker", "node-0"),
        pod("speaker", "node-1"),
    ]);
    objects
}

fn world() -> World {
    let mut world = World::new(2);
    world.add("web", "192.0.2.1", json!({}), &["node-0"]);
    world
}

/// Returns a cluster without Herald.
fn cluster(world: &World) -> ClusterView {
    let mut cluster = world.cluster();
    cluster.installation = Installation::default();
    cluster.states.speakers.clear();
    cluster
}

fn checked(cluster: ClusterView, metallb: &MetalLbObjects, values: Option<&Value>) -> Vec<MigrationFinding> {
    check(cluster, metallb, values, Timestamp::UNIX_EPOCH).findings
}

/// Returns the findings of a check, but for those that pass.
fn not_passed(findings: &[MigrationFinding], check: MigrationCheck) -> Vec<(Outcome, &str)> {
    let of_check = findings
        .iter()
        .filter(|finding| finding.check == check && finding.outcome != Outcome::Pass);
    of_check
        .map(|finding| (finding.outcome, finding.found.as_str()))
        .collect()
}

#[test]
fn where_nothing_differs_all_checks_pass() {
    let values = json!({"speaker": {"frr": {"enabled": false}}, "controller": {"image": {"repository": "registry/herald"}}});
    let findings = checked(cluster(&world()), &metallb(&[]), Some(&values));
    let other: Vec<_> = findings
        .iter()
        .filter(|finding| finding.outcome != Outcome::Pass)
        .collect();
    assert!(other.is_empty(), "{other:?}");
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    for check in [
        MigrationCheck::MetalLb,
        MigrationCheck::Values,
        MigrationCheck::Resources,
        MigrationCheck::FrrConfigurations,
        MigrationCheck::Services,
        MigrationCheck::Elections,
    ] {
        assert!(checks.contains(&check), "{check:?}: {checks:?}");
    }
    ensure_none_failed(&findings).expect("nothing failed");
}

#[test]
fn values_that_the_chart_refuses_or_ignores_are_named() {
    let values = json!({
        "prometheus": {"rbacProxy": {"repository": "x"}}, "speaker": {"frr": {"enabled": true}, "image": {"repository": "quay.io/metallb/speaker"}},
        "configInline": {"address-pools": [{"name": "x"}]}, "loadBalancerClass": "other", "crds": {"enabled": false},
    });
    let findings = checked(cluster(&world()), &metallb(&["--lb-class=metal"]), Some(&values));
    let expected = [
        (
            Outcome::Fail,
            "MetalLB handles Services of the class \"metal\", and Herald would handle \"other\"",
        ),
        (Outcome::Fail, "configInline is refused"),
        (
            Outcome::Fail,
            "speaker.image.repository is MetalLB's: \"quay.io/metallb/speaker\"",
        ),
        (
            Outcome::Fail,
            "the chart has no value \"prometheus.rbacProxy\", and refuses it",
        ),
        (Outcome::Warn, "\"speaker.frr\" has no effect"),
    ];
    let mut found = not_passed(&findings, MigrationCheck::Values);
    found.sort_by_key(|(outcome, text)| (*outcome != Outcome::Fail, *text));
    assert_eq!(found, expected);
    ensure_none_failed(&findings).expect_err("something failed");
    let unchecked = checked(cluster(&world()), &metallb(&[]), None);
    assert_eq!(
        not_passed(&unchecked, MigrationCheck::Values)[0].0,
        Outcome::Unknown
    );
}

#[test]
fn mistakes_services_that_would_lose_addresses_and_fields_without_effect_are_named() {
    let mut world = world();
    world.add("outside", "198.51.100.1", json!({}), &["node-0"]);
    let web = world.services.get_mut("web").expect("a Service");
    web["metadata"]["annotations"]["metallb.universe.tf/address-pool"] = "first".into();
    let mut cluster = cluster(&world);
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor"},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1", "enableGracefulRestart": false, "passwordSecret": {"name": "p"}},
    });
    let broken = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "broken"}, "spec": {"addresses": ["x"]},
    });
    cluster.objects.bgp.peers = vec![serde_json::from_value(peer).expect("a peer")];
    cluster
        .objects
        .pools
        .push(serde_json::from_value(broken).expect("a pool"));
    let findings = checked(cluster, &metallb(&[]), None);
    let resources = not_passed(&findings, MigrationCheck::Resources);
    assert!(
        resources[0]
            .1
            .starts_with("IPAddressPool \"broken\": spec.addresses[0]: invalid CIDR"),
        "{resources:?}"
    );
    assert_eq!(resources.len(), 1, "{resources:?}");
    let fields = not_passed(&findings, MigrationCheck::Fields);
    assert_eq!(
        fields,
        [(Outcome::Warn, "BGPPeer \"tor\": enableGracefulRestart is false")]
    );
    let services = not_passed(&findings, MigrationCheck::Services);
    assert_eq!(services.len(), 2, "{services:?}");
    assert!(
        services[0].1.contains("prefix metallb.universe.tf/"),
        "{services:?}"
    );
    assert_eq!(services[1].0, Outcome::Fail, "{services:?}");
    assert!(services[1].1.starts_with("default/outside: "), "{services:?}");
}

#[test]
fn an_address_of_a_node_that_is_drained_for_herald_moves() {
    let mut world = world();
    let alone = {
        let findings = checked(cluster(&world), &metallb(&[]), None);
        assert!(not_passed(&findings, MigrationCheck::Elections).is_empty());
        world.owner_of("192.0.2.1")
    };
    world.nodes.get_mut(&alone).expect("a node")["metadata"]["annotations"] =
        json!({"herald.io/drain": "true"});
    let findings = checked(cluster(&world), &metallb(&[]), None);
    let elections = not_passed(&findings, MigrationCheck::Elections);
    assert!(
        elections[0]
            .1
            .starts_with("another node is elected for 1 addresses"),
        "{elections:?}"
    );
    assert!(elections[0].1.ends_with("192.0.2.1"), "{elections:?}");
}

impl World {
    /// Returns the node that is elected for an address.
    fn owner_of(&self, address: &str) -> String {
        let cluster = self.cluster();
        let model = Model::of(&cluster);
        let address = address.parse().expect("an address");
        let decided = crate::model::AnnouncementModel::of(
            &std::collections::BTreeSet::from([address]),
            &cluster.objects,
            &cluster.states,
            &cluster.installation,
            &model,
        );
        let owner = decided
            .ownership
            .roles(address)
            .iter()
            .find_map(|(_, role)| role.owner());
        owner.expect("an owner").to_string()
    }
}

#[test]
fn without_pods_of_metallb_that_are_seen_the_check_fails() {
    let findings = checked(cluster(&world()), &MetalLbObjects::default(), None);
    assert_eq!(
        not_passed(&findings, MigrationCheck::MetalLb),
        [(Outcome::Fail, "no Pod has the labels of MetalLB")]
    );
    let mut elsewhere = cluster(&world());
    elsewhere.installation.namespace = Some("herald".to_owned());
    let findings = checked(elsewhere, &metallb(&[]), None);
    assert_eq!(
        not_passed(&findings, MigrationCheck::MetalLb),
        [(
            Outcome::Fail,
            "Herald is in the namespace herald, and MetalLB in metallb-system"
        )]
    );
}

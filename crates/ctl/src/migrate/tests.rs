//! What is said of a cluster with MetalLB.

mod unread;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::cluster::Installation;
use crate::doctor::Outcome;
use crate::world::World;

pub(super) fn metallb(args: &[&str]) -> MetalLbObjects {
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

fn beside_metallb() -> Value {
    serde_saphyr::from_str(beside::BESIDE).expect("YAML")
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
    let values = values.map(|values| GivenValues::of(vec![values.clone()]));
    check(cluster, metallb, values.as_ref(), Timestamp::UNIX_EPOCH).findings
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
    let mut values = json!({"speaker": {"frr": {"enabled": false}}, "controller": {"image": {"repository": "registry/herald"}}});
    json_patch::merge(&mut values, &beside_metallb());
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
    let mut values = values;
    json_patch::merge(&mut values, &beside_metallb());
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

/// Returns the outcome and the text of the elections where Herald's speakers run.
fn elections_of(states: &[bool], waits: Option<bool>, metallb: &MetalLbObjects) -> (Outcome, String) {
    let mut cluster = world().cluster();
    for (state, beside) in cluster.states.speakers.iter_mut().zip(states) {
        state.beside_metallb = *beside;
    }
    cluster.states.controller = waits.map(|waits| {
        let state = json!({
            "version": 1, "time": "2026-01-01T00:00:00Z", "truncated": false, "active": !waits, "waitsForMetalLB": waits, "quarantine": [],
        });
        serde_json::from_value(state).expect("a state")
    });
    let mut findings = checked(cluster, metallb, None);
    findings.retain(|finding| finding.check == MigrationCheck::Elections);
    let finding = findings.pop().expect("a finding");
    (finding.outcome, finding.found)
}

#[test]
fn a_program_of_herald_that_does_not_run_beside_metallb_fails() {
    let there = metallb(&[]);
    let (outcome, text) = elections_of(&[false, false], None, &there);
    assert_eq!(outcome, Outcome::Fail);
    assert!(text.ends_with("Herald's speakers on node-0, node-1"), "{text}");
    let (outcome, text) = elections_of(&[true, false], Some(true), &there);
    assert_eq!(outcome, Outcome::Fail);
    assert!(text.ends_with("Herald's speakers on node-1"), "{text}");
    let (outcome, text) = elections_of(&[true, true], Some(false), &there);
    assert_eq!(outcome, Outcome::Fail);
    assert!(text.ends_with("Herald's active controller"), "{text}");
    assert_eq!(elections_of(&[true, true], Some(true), &there).0, Outcome::Pass);
    let gone = MetalLbObjects::default();
    let (outcome, text) = elections_of(&[false, false], Some(false), &gone);
    assert_eq!(outcome, Outcome::Pass);
    assert!(text.starts_with("no Pod of MetalLB is left"), "{text}");
    let mut starting = MetalLbObjects::default();
    let mut pod = there.pods[1].0.clone();
    pod.status = None;
    starting.set_pods(vec![pod]);
    assert_eq!(elections_of(&[false, false], None, &starting).0, Outcome::Warn);
}

#[test]
fn the_values_to_add_are_shown_where_some_are_missing() {
    let given = GivenValues::of(vec![json!({})]);
    let result = check(
        cluster(&world()),
        &metallb(&[]),
        Some(&given),
        Timestamp::UNIX_EPOCH,
    );
    ensure_none_failed(&result.findings).expect_err("something failed");
    assert!(result.text(false).contains(beside::BESIDE));
    let given = GivenValues::of(vec![beside_metallb()]);
    let result = check(
        cluster(&world()),
        &metallb(&[]),
        Some(&given),
        Timestamp::UNIX_EPOCH,
    );
    assert!(!result.text(false).contains(beside::BESIDE));
}

/// Returns a Pod of frr-k8s in a namespace.
fn frr_k8s(namespace: &str) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "frr-k8s-x", "namespace": namespace, "labels": {"app.kubernetes.io/name": "frr-k8s", "app.kubernetes.io/component": "frr-k8s"},
        },
        "spec": {"nodeName": "node-0", "containers": []},
    });
    serde_json::from_value(pod).expect("a Pod")
}

#[test]
fn frr_k8s_in_its_own_namespace_is_a_warning_and_its_configurations_have_to_be_deleted() {
    let mut objects = metallb(&[]);
    let mut pods: Vec<Pod> = objects.pods.iter().map(|(pod, _)| pod.clone()).collect();
    for pod in &mut pods {
        let component = pod.labels_mut().remove("component").expect("a component");
        pod.labels_mut().clear();
        pod.labels_mut()
            .insert("app.kubernetes.io/name".to_owned(), "metallb".to_owned());
        pod.labels_mut()
            .insert("app.kubernetes.io/component".to_owned(), component);
    }
    objects.frr_configurations = vec!["metallb-system/metallb-node-0".to_owned()];
    let mut of = |own: &[Pod], frr: Pod| {
        objects.set_pods(own.iter().cloned().chain([frr]).collect());
        assert_eq!(objects.namespace().as_deref(), Some("metallb-system"));
        let mut cluster = cluster(&world());
        cluster.installation.namespace = Some("metallb-system".to_owned());
        let findings = checked(cluster, &objects, None);
        let of_check = |check| {
            let found = not_passed(&findings, check).into_iter();
            found
                .map(|(outcome, text)| (outcome, text.to_owned()))
                .collect::<Vec<_>>()
        };
        (
            of_check(MigrationCheck::MetalLb),
            of_check(MigrationCheck::FrrConfigurations),
        )
    };
    let left = "1 of MetalLB, which may stay in force without it: metallb-system/metallb-node-0";
    let left = vec![(Outcome::Warn, left.to_owned())];
    assert_eq!(of(&pods, frr_k8s("metallb-system")), (vec![], vec![]));
    let unseen = "frr-k8s runs in frr-k8s-system, where Herald does not see it";
    assert_eq!(
        of(&pods, frr_k8s("frr-k8s-system")),
        (vec![(Outcome::Warn, unseen.to_owned())], left.clone())
    );
    // Installed from the manifests.
    let of_manifests: Vec<Pod> = metallb(&[]).pods.into_iter().map(|(pod, _)| pod).collect();
    assert_eq!(of(&of_manifests, frr_k8s("metallb-system")), (vec![], left));
}

#[test]
fn fields_that_frr_k8s_ignored_are_named_only_where_it_runs() {
    let peer = json!({
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "tor"},
        "spec": {"myASN": 64512, "peerASN": 64513, "peerAddress": "198.51.100.1", "sourceAddress": "192.0.2.9"},
    });
    let fields = |kind: &str| -> Vec<String> {
        let mut objects = metallb(&[]);
        let mut pods: Vec<Pod> = objects.pods.iter().map(|(pod, _)| pod.clone()).collect();
        let variable = json!([{"name": "METALLB_BGP_TYPE", "value": kind}]);
        let spec = pods[1].spec.as_mut().expect("a spec");
        spec.containers[0].env = serde_json::from_value(variable).expect("variables");
        objects.set_pods(pods);
        let mut cluster = cluster(&world());
        cluster.objects.bgp.peers = vec![serde_json::from_value(peer.clone()).expect("a peer")];
        let findings = checked(cluster, &objects, None);
        let found = not_passed(&findings, MigrationCheck::Fields).into_iter();
        found.map(|(_, text)| text.to_owned()).collect()
    };
    assert_eq!(fields("frr-k8s"), ["BGPPeer \"tor\": sourceAddress is 192.0.2.9"]);
    assert!(fields("frr").is_empty());
    assert!(fields("native").is_empty());
}

#[test]
fn why_a_service_would_get_another_address_is_said_at_once() {
    let mut world = world();
    let web = world.services.get_mut("web").expect("a Service");
    web["metadata"]["annotations"]["metallb.io/loadBalancerIPs"] = "192.0.2.5".into();
    let findings = checked(cluster(&world), &metallb(&[]), None);
    let finding = findings
        .iter()
        .find(|finding| finding.check == MigrationCheck::Services && finding.outcome == Outcome::Fail);
    let finding = finding.expect("a finding");
    assert_eq!(
        finding.found,
        "default/web: has 192.0.2.1, and would get 192.0.2.5"
    );
    assert_eq!(finding.remedy, "default/web: the Service asks for 192.0.2.5");
    assert!(
        findings
            .iter()
            .all(|finding| !finding.remedy.contains("heraldctl explain")),
        "{findings:?}"
    );
}

#[test]
fn the_config_map_of_interfaces_is_named_only_if_it_was_edited() {
    use herald_api::convert::UnreadConfigMap;
    let default = [
        "^docker.*",
        "^cbr.*",
        "^dummy.*",
        "^virbr.*",
        "^lxcbr.*",
        "^veth.*",
        "^lo$",
        "^cali.*",
        "^tunl.*",
        "^flannel.*",
        "^kube-ipvs.*",
        "^cni.*",
        "^nodelocaldns.*",
        "^lxc.*",
    ];
    let unread = UnreadConfigMap::all(true)[0];
    let named = |text: &str| {
        let map = json!({"metadata": {"name": unread.name}, "data": {"excludel2.yaml": text}});
        let mut objects = metallb(&[]);
        objects.add_config_map(
            "metallb-system",
            unread,
            &serde_json::from_value(map).expect("a ConfigMap"),
        );
        let findings = checked(cluster(&world()), &objects, None);
        not_passed(&findings, MigrationCheck::ConfigMaps).len()
    };
    let text = |list: &[&str]| {
        let lines = list.iter().map(|item| format!("- {item}\n"));
        format!("announcedInterfacesToExclude:\n{}", lines.collect::<String>())
    };
    assert_eq!(named(&text(&default)), 0);
    assert_eq!(named(&text(&default[1..])), 1);
    assert_eq!(named(&(text(&default) + "- ^eth1$\n")), 1);
    assert_eq!(named("["), 1);
}

#[test]
fn files_that_have_no_values_are_refused_and_null_is_a_name_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let read = |text: &str| {
        let path = directory.path().join("values.yaml");
        std::fs::write(&path, text).expect("a file");
        let read = GivenValues::read(&[path]).map_err(|error| format!("{error:#}"));
        read.map(|given| given.expect("values"))
    };
    for text in [
        "USER-SUPPLIED VALUES:\nnull\n",
        "USER-SUPPLIED VALUES:\ncrds:\n  enabled: false\n",
    ] {
        let error = read(text).expect_err("no values");
        assert!(
            error.ends_with("helm get values RELEASE -n NAMESPACE -o yaml"),
            "{error}"
        );
    }
    for text in ["- 1\n", "text\n", "5\n"] {
        let error = read(text).expect_err("no mapping");
        assert!(error.contains("values.yaml has no mapping"), "{error}");
    }
    let error = read("a: [\nb: 1\n").expect_err("no YAML");
    assert!(error.contains("values.yaml is no YAML: "), "{error}");
    assert!(!error.contains('\n') && !error.contains("-->"), "{error}");
    for text in ["null\n", "{}\n", "", "# nothing\n"] {
        assert_eq!(read(text).expect("values").merged, json!({}), "{text:?}");
    }
    GivenValues::read(&[directory.path().to_owned()]).expect_err("a directory");
    assert!(GivenValues::read(&[]).expect("no file").is_none());
    let given = read("absent: null\nspeaker:\n  absent: null\n").expect("values");
    let found = values::findings(Some(&given), &MetalLbObjects::default());
    assert_eq!(
        not_passed(&found, MigrationCheck::Values),
        [
            (Outcome::Fail, "the chart has no value \"absent\", and refuses it"),
            (
                Outcome::Fail,
                "the chart has no value \"speaker.absent\", and refuses it"
            ),
        ]
    );
}

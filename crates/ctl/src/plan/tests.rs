//! What is said of changes before they are made.

use serde_json::json;

use super::*;
use crate::world::World;

fn world() -> World {
    let mut world = World::new(3);
    for (name, address) in [("one", "192.0.2.1"), ("two", "192.0.2.2")] {
        world.add(name, address, json!({}), &["node-0"]);
    }
    world
}

fn planned(manifests: &str) -> Plan {
    plan_in(&world(), manifests)
}

fn plan_in(world: &World, manifests: &str) -> Plan {
    let manifests = manifest::parse(manifests).expect("manifests");
    plan(world.cluster(), manifests, "default").expect("a plan")
}

const POOL: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: first, namespace: metallb-system}, spec: {addresses: [ADDRESSES]}}";

fn pool(addresses: &str) -> String {
    POOL.replace("ADDRESSES", addresses)
}

#[test]
fn what_is_so_already_changes_nothing() {
    let plan = planned(&pool("192.0.2.0/29"));
    assert!(
        plan.services.is_empty() && plan.owners.is_empty() && plan.problems.is_empty(),
        "{plan:?}"
    );
    let text = anstream::adapter::strip_str(&plan.text(false)).to_string();
    assert_eq!(text, "no address and no owner would change\n");
}

#[test]
fn a_service_whose_address_leaves_the_pool_gets_another_one() {
    let plan = planned(&pool("192.0.2.2-192.0.2.3"));
    let change = |service: &str, before: &str, after: &str| ServiceChange {
        service: service.to_owned(),
        before: vec![before.to_owned()],
        after: vec![after.to_owned()],
        reason: None,
    };
    assert_eq!(plan.services, [change("default/one", "192.0.2.1", "192.0.2.3")]);
    let addresses: Vec<&str> = plan.owners.iter().map(|change| change.address.as_str()).collect();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.3"]);
    assert!(
        plan.owners[0].after.is_none() && plan.owners[1].before.is_none(),
        "{plan:?}"
    );
}

#[test]
fn a_service_for_which_nothing_is_left_is_named_with_the_reason() {
    let plan = planned(&pool("192.0.2.2/32"));
    let [change] = plan.services.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!((change.service.as_str(), change.after.len()), ("default/one", 0));
    let (reason, _) = change.reason.as_ref().expect("a reason");
    assert_eq!(reason, "PoolExhausted");
}

#[test]
fn a_new_service_is_shown_with_its_address_or_why_it_waits() {
    let plan = planned(
        "{apiVersion: v1, kind: Service, metadata: {name: three, annotations: {metallb.io/loadBalancerIPs: 192.0.2.1}}, \
         spec: {type: LoadBalancer}}\n---\n\
         {apiVersion: v1, kind: Service, metadata: {name: four}, spec: {type: LoadBalancer}}",
    );
    let changes: Vec<_> = plan
        .services
        .iter()
        .map(|change| (change.service.as_str(), change.after.join(",")))
        .collect();
    assert_eq!(
        changes,
        [
            ("default/four", "192.0.2.0".to_owned()),
            ("default/three", String::new())
        ]
    );
    assert_eq!(
        plan.services[1]
            .reason
            .as_ref()
            .map(|(reason, _)| reason.as_str()),
        Some("AddressInUse")
    );
}

#[test]
fn owners_that_move_and_addresses_without_an_owner_are_shown() {
    let advertisement = |selectors: &str| {
        format!(
            "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: all, namespace: metallb-system}}, spec: {{nodeSelectors: {selectors}}}}}"
        )
    };
    let mut moved = 0;
    for node in ["node-0", "node-1", "node-2"] {
        let plan = planned(&advertisement(&format!("[{{matchLabels: {{name: {node}}}}}]")));
        assert!(plan.services.is_empty() && plan.owners.len() <= 2, "{plan:?}");
        moved += plan.owners.len();
        assert!(
            plan.owners
                .iter()
                .all(|change| change.after.as_deref() == Some(node)),
            "{plan:?}"
        );
    }
    assert_eq!(moved, 4, "each of two addresses moves to each of two other nodes");
    let plan = planned(&advertisement("[{matchLabels: {name: none}}]"));
    let reasons = plan
        .owners
        .iter()
        .map(|change| change.reason.as_ref().map(|(reason, _)| reason.as_str()));
    assert_eq!(reasons.collect::<Vec<_>>(), [Some("NoCandidate"); 2]);
}

#[test]
fn a_pool_with_a_mistake_is_named_and_changes_nothing() {
    let plan = planned(&pool("192.0.2.9-192.0.2.1"));
    assert!(plan.services.is_empty() && plan.owners.is_empty(), "{plan:?}");
    assert!(
        plan.problems[0].contains("its last good version stays in force"),
        "{:?}",
        plan.problems
    );
}

#[test]
fn objects_that_herald_does_not_look_at_are_named() {
    let plan = planned("{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}");
    assert_eq!(plan.ignored, ["Deployment \"web\""]);
    let error = manifest::parse("{Kind: Service}")
        .expect_err("no kind")
        .to_string();
    assert!(error.contains("an object has no kind"), "{error}");
}

#[test]
fn a_service_that_herald_would_no_longer_handle_is_named_and_its_address_is_free() {
    let mut world = world();
    world.pool = "192.0.2.1-192.0.2.2".to_owned();
    world.add("waiting", "192.0.2.1", json!({}), &["node-0"]);
    world.services.get_mut("waiting").expect("a Service")["status"] = json!({});
    let plan = plan_in(
        &world,
        "{apiVersion: v1, kind: Service, metadata: {name: one}, spec: {type: ClusterIP}}",
    );
    let changes: Vec<_> = plan
        .services
        .iter()
        .map(|change| (change.service.as_str(), change.after.join(",")))
        .collect();
    assert_eq!(
        changes,
        [
            ("default/one", String::new()),
            ("default/waiting", "192.0.2.1".to_owned())
        ]
    );
    assert_eq!(
        plan.services[0]
            .reason
            .as_ref()
            .map(|(reason, _)| reason.as_str()),
        Some("NotHandled")
    );
}

#[test]
fn a_field_that_was_applied_and_is_gone_from_the_manifest_is_removed() {
    let mut world = world();
    let last = r#"{"metadata": {"annotations": {"metallb.io/address-pool": "other"}}}"#;
    world.services.get_mut("one").expect("a Service")["metadata"]["annotations"] = json!({
        "metallb.io/address-pool": "other", "kubectl.kubernetes.io/last-applied-configuration": last,
    });
    let manifest =
        "{apiVersion: v1, kind: Service, metadata: {name: one, annotations: {}}, spec: {type: LoadBalancer}}";
    let plan = plan_in(&world, manifest);
    let [change] = plan.services.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (change.before.join(","), change.reason.clone()),
        (change.after.join(","), None),
        "the caveat is gone"
    );
}

#[test]
fn a_new_pool_is_younger_than_those_that_exist_and_one_of_another_namespace_is_not_looked_at() {
    let overlapping = POOL
        .replace("first", "a-new")
        .replace("ADDRESSES", "192.0.2.0/30");
    let plan = planned(&overlapping);
    assert!(
        plan.problems[0].contains("IPAddressPool \"a-new\""),
        "{:?}",
        plan.problems
    );
    assert!(plan.services.is_empty(), "{plan:?}");
    let plan = planned(&overlapping.replace("metallb-system", "other"));
    assert!(
        plan.problems.is_empty() && plan.ignored == ["IPAddressPool \"a-new\""],
        "{plan:?}"
    );
}

#[test]
fn without_the_pools_nothing_is_compared() {
    let mut cluster = world().cluster();
    let absence = crate::cluster::Absence::Forbidden("ipaddresspools.metallb.io".to_owned());
    cluster.objects.missing.insert("IPAddressPool", absence);
    let error = plan(cluster, Vec::new(), "default")
        .expect_err("no pools")
        .to_string();
    assert!(
        error.contains("you may not list ipaddresspools.metallb.io"),
        "{error}"
    );
}

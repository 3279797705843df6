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
    plan(world().cluster(), manifest::parse(manifests).expect("manifests")).expect("a plan")
}

const POOL: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: first}, spec: {addresses: [ADDRESSES]}}";

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
         spec: {type: LoadBalancer, clusterIPs: [10.0.0.3]}}\n---\n\
         {apiVersion: v1, kind: Service, metadata: {name: four}, spec: {type: LoadBalancer, clusterIPs: [10.0.0.4]}}",
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
            "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: all}}, spec: {{nodeSelectors: {selectors}}}}}"
        )
    };
    for node in ["node-0", "node-1", "node-2"] {
        let plan = planned(&advertisement(&format!("[{{matchLabels: {{name: {node}}}}}]")));
        assert!(plan.services.is_empty(), "{plan:?}");
        assert!(
            plan.owners
                .iter()
                .all(|change| change.after.as_deref() == Some(node)),
            "{plan:?}"
        );
    }
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

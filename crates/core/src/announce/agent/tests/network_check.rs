//! Which addresses network checks ask for.

use super::*;
use crate::announce::network_check::{CheckTargets, MOST_FREE, MOST_IN_USE, TargetKind};

fn texts(targets: &CheckTargets) -> Vec<(String, TargetKind)> {
    let text = |target: &crate::announce::network_check::CheckTarget| {
        (target.address.to_string(), target.kind.clone())
    };
    targets.targets.iter().map(text).collect()
}

fn free(address: &str, pool: &'static str) -> (String, TargetKind) {
    (address.to_string(), TargetKind::Free(pool.into()))
}

fn raw_pool(name: &str, addresses: &[&str]) -> RawPool {
    RawPool {
        name: name.into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..RawPool::default()
    }
}

/// Announces all of these pools.
fn set_pools(rig: &mut Rig, raw: Vec<RawPool>) -> Vec<Pool> {
    let mut catalog = Catalog::new();
    catalog.set_pools(raw);
    catalog.set_l2_advertisements(vec![RawL2Advertisement {
        name: "all".into(),
        ..RawL2Advertisement::default()
    }]);
    rig.agent.set_config(catalog.pools(), catalog.l2_advertisements());
    catalog.pools().to_vec()
}

fn with_address(name: &str, address: &str) -> Node {
    Node {
        addresses: vec![ip(address)],
        ..node(name)
    }
}

#[test]
fn the_lowest_free_addresses_of_each_pool_are_asked_for() {
    let mut rig = Rig::announcing(&["10.20.30.1"]);
    let raw = vec![
        raw_pool("large", &["10.20.30.0/23"]),
        raw_pool("small", &["10.9.0.1-10.9.0.2", "fd00::/64"]),
    ];
    let pools = set_pools(&mut rig, raw);
    rig.agent.set_node(with_address(PEER, "10.9.0.1"));
    let targets = rig.agent.free_targets(&pools, |_| true);
    assert_eq!((targets.targets.len(), targets.are_more), (MOST_FREE, true));
    assert_eq!(
        texts(&targets)[..5],
        [
            free("10.20.30.0", "large"),
            free("10.9.0.2", "small"),
            free("fd00::", "small"),
            free("10.20.30.2", "large"),
            free("fd00::1", "small"),
        ],
        "a Service uses 10.20.30.1, and a node has 10.9.0.1"
    );
    let only_small = rig
        .agent
        .free_targets(&pools, |address| address == ip("10.9.0.2"));
    assert_eq!(texts(&only_small), [free("10.9.0.2", "small")]);
}

#[test]
fn a_pool_that_no_advertisement_of_layer_2_selects_is_not_asked_for() {
    let mut rig = Rig::announcing(&[]);
    let pools = set_pools(&mut rig, vec![raw_pool("routed", &["10.20.30.0/24"])]);
    rig.agent.set_config(&pools, &[]);
    assert_eq!(rig.agent.free_targets(&pools, |_| true), CheckTargets::default());
}

#[test]
fn an_address_that_this_node_monitors_or_probes_for_is_not_asked_for() {
    let mut rig = Rig::started(&[ADDRESS, OTHER]);
    rig.commands();
    assert_eq!(rig.agent.announced_targets(|_| true), CheckTargets::default());
    // This node announces the one now, and is the backup of the other.
    let mut rig = Rig::announcing(&[ADDRESS, OTHER]);
    let targets = rig.agent.announced_targets(|_| true);
    assert_eq!(texts(&targets), [(ADDRESS.to_string(), TargetKind::Own)]);
    assert!(rig.agent.is_still(&targets.targets[0]));
    rig.agent.remove_service(&key(ADDRESS));
    rig.commands();
    assert!(!rig.agent.is_still(&targets.targets[0]));
}

#[test]
fn an_address_in_which_this_node_has_no_part_is_expected_at_its_owner() {
    let mut rig = Rig::of_node("iris3", true, &[ADDRESS, OTHER]);
    rig.agent.set_node(node("iris3"));
    let members = [OWN, PEER, "iris3"].map(|node| member(node, Liveness::Alive));
    rig.agent.set_members(members.into(), rig.now);
    rig.agent.start();
    rig.commands();
    let targets = rig.agent.announced_targets(|_| true);
    for target in &targets.targets {
        let TargetKind::Announced(owner) = &target.kind else {
            panic!("{target:?}");
        };
        let key = key(&target.address.to_string());
        let role = rig.agent.ownership.role(&key, target.address);
        assert_eq!(role.and_then(|role| role.owner()), Some(owner));
        assert_eq!(rig.agent.takeover.answers(target.address), None);
    }
    let asked = texts(&targets).len();
    let parts = [ADDRESS, OTHER].map(|address| rig.agent.takeover.answers(ip(address)));
    assert_eq!(asked, parts.iter().filter(|part| part.is_none()).count());
    assert!(
        asked > 0,
        "the name of the node gives it no part in one of the addresses"
    );
}

#[test]
fn the_other_nodes_are_asked_for_once_and_of_many_some() {
    let mut rig = Rig::announcing(&[]);
    for (name, address) in [(OWN, "10.1.0.1"), (PEER, "10.1.0.2"), ("iris3", "10.1.0.2")] {
        rig.agent.set_node(with_address(name, address));
    }
    let targets = rig.agent.node_targets(|_| true);
    assert_eq!(
        texts(&targets),
        [("10.1.0.2".to_string(), TargetKind::Node(PEER.into()))]
    );
    for number in 0..2 * MOST_IN_USE {
        let address = format!("10.2.{}.{}", number / 256, number % 256);
        rig.agent
            .set_node(with_address(&format!("other-{number}"), &address));
    }
    let targets = rig.agent.node_targets(|_| true);
    assert_eq!((targets.targets.len(), targets.are_more), (MOST_IN_USE, true));
}

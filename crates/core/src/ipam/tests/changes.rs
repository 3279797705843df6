//! Changes that concern a Service with an address.

use super::*;
use crate::RequestError;

fn assigned(pools: &[RawPool], service: Service) -> World {
    let mut world = World::new(pools);
    let name = service.key.to_string();
    world.set(service);
    assert_ne!(
        world.ip(&name),
        "",
        "the Service of this test starts with an address"
    );
    world.notes(&name);
    world
}

#[test]
fn a_pool_that_grows_moves_nothing() {
    let mut world = assigned(&[pool("test", &["1.2.3.0/31"])], v4("s"));
    world.pools(&[pool("test", &["1.2.0.0/16"])]);
    assert_eq!(world.ip("s"), "1.2.3.0");
    assert_eq!(world.notes("s"), [""; 0]);
}

#[test]
fn a_service_whose_address_leaves_its_pool_gets_another_address() {
    let mut world = assigned(&[pool("test", &["1.2.3.0/30"])], v4("s"));
    world.pools(&[pool("test", &["1.2.3.2/31"])]);
    assert_eq!(world.ip("s"), "1.2.3.2");
    assert_eq!(world.notes("s"), ["ClearAssignment", "IPAllocated"]);
}

#[test]
fn a_renamed_pool_keeps_its_services_and_the_annotation_follows() {
    let mut world = assigned(&[pool("test", &["1.2.3.0/30"])], v4("s"));
    world.pools(&[pool("renamed", &["1.2.3.0/30"])]);
    assert_eq!(
        (world.ip("s"), world.pool_of("s")),
        ("1.2.3.0".into(), "renamed".into())
    );
    assert_eq!(world.notes("s"), [""; 0]);
}

#[test]
fn a_pool_split_in_two_keeps_each_service_with_the_owner_of_its_address() {
    let mut world = assigned(&[pool("test", &["1.2.3.0/31"])], v4("a"));
    world.set(v4("b"));
    world.pools(&[pool("one", &["1.2.3.0/32"]), pool("two", &["1.2.3.1/32"])]);
    assert_eq!(
        (world.ip("a"), world.pool_of("a")),
        ("1.2.3.0".into(), "one".into())
    );
    assert_eq!(
        (world.ip("b"), world.pool_of("b")),
        ("1.2.3.1".into(), "two".into())
    );
    let used: Vec<u128> = world
        .usage()
        .into_iter()
        .map(|(_, usage)| usage.assigned_v4)
        .collect();
    assert_eq!(used, [1, 1]);
}

#[test]
fn a_pair_that_two_pools_split_is_cleared_and_replaced() {
    let both = dual("s", FamilyPolicy::RequireDualStack);
    let mut world = assigned(&[pool("test", &["1.2.3.0/31", "fc00::/64"])], both);
    world.pools(&[
        pool("one", &["1.2.3.0/31"]),
        pool("two", &["fc00::/64"]),
        pool("z", &["1.2.4.0/24", "fc01::/64"]),
    ]);
    assert_eq!(world.ip("s"), "1.2.4.0,fc01::");
}

#[test]
fn a_service_whose_requested_pool_is_renamed_keeps_its_address() {
    let mut world = assigned(&[pool("old", &["1.2.3.0/30"])], asking_pool(v4("s"), "old"));
    world.pools(&[pool("new", &["1.2.3.0/30"])]);
    assert_eq!(
        (world.ip("s"), world.pool_of("s")),
        ("1.2.3.0".into(), "new".into())
    );
    assert_eq!(world.notes("s"), ["RequestNotMet"]);
}

#[test]
fn without_pools_every_status_is_cleared_and_with_the_same_pools_every_address_returns() {
    let pools = [pool("p", &["1.2.3.0/24"])];
    let mut world = World::new(&pools);
    // The younger Service has the lower address: without past assignments the two would swap addresses.
    world.set(Service {
        created: 2,
        ..v4("young")
    });
    world.set(Service {
        created: 1,
        ..v4("old")
    });
    world.pools(&[]);
    assert_eq!(world.refusal("young"), Refusal::NoPool);
    assert_eq!(world.ip("young"), "");
    world.set(Service {
        created: 0,
        ..v4("waiting")
    });
    world.pools(&pools);
    assert_eq!(
        (world.ip("young"), world.ip("old")),
        ("1.2.3.0".into(), "1.2.3.1".into())
    );
    assert_eq!(world.ip("waiting"), "1.2.3.2");
}

#[test]
fn a_second_family_in_the_pool_completes_prefer_dual_stack_and_keeps_the_first_address() {
    let prefer = dual("s", FamilyPolicy::PreferDualStack);
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], prefer);
    world.pools(&[pool("p", &["fc00::/64", "1.2.3.0/30"])]);
    assert_eq!(world.ip("s"), "1.2.3.0,fc00::");
    assert_eq!(world.notes("s"), ["IPAllocated"]);
}

#[test]
fn a_released_address_of_the_second_family_completes_prefer_dual_stack() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30", "fc00::/128"])], v6("six"));
    world.set(dual("s", FamilyPolicy::PreferDualStack));
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.delete("six");
    assert_eq!(world.ip("s"), "1.2.3.0,fc00::");
}

#[test]
fn a_better_pool_moves_nothing() {
    let first = pool("p", &["1.2.3.0/30"]);
    let mut world = assigned(core::slice::from_ref(&first), v4("s"));
    world.pools(&[
        first,
        for_namespace(pool("better", &["1.2.4.0/30"]), "default", 1),
    ]);
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.pools(&[pool("second", &["1.2.5.0/30"])]);
    assert_eq!(world.ip("s"), "1.2.5.0");
}

#[test]
fn a_changed_priority_is_used_for_new_services_only() {
    let pools = |p, q| {
        [
            for_namespace(pool("p", &["1.2.3.0/30"]), "default", p),
            for_namespace(pool("q", &["1.2.4.0/30"]), "default", q),
        ]
    };
    let mut world = assigned(&pools(1, 2), v4("s"));
    world.pools(&pools(2, 1));
    world.set(v4("t"));
    assert_eq!(
        (world.ip("s"), world.ip("t")),
        ("1.2.3.0".into(), "1.2.4.0".into())
    );
}

#[test]
fn a_service_that_its_pool_no_longer_selects_is_moved() {
    let mut by_label = pool("p", &["1.2.3.0/30"]);
    let service_selectors = Vec::from([selector("app", "x")]);
    by_label.allocation = Some(RawAllocation {
        service_selectors,
        ..RawAllocation::default()
    });
    let labelled = Service {
        labels: labels(&[("app", "x")]),
        ..v4("s")
    };
    let mut world = assigned(&[by_label, pool("other", &["1.2.4.0/30"])], labelled);
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.change("s", |s| s.labels.clear());
    assert_eq!(world.ip("s"), "1.2.4.0");
    assert_eq!(world.notes("s"), ["ClearAssignment", "IPAllocated"]);
}

#[test]
fn a_namespace_that_loses_its_label_loses_the_pool() {
    let mut by_namespace = pool("p", &["1.2.3.0/30"]);
    let namespace_selectors = Vec::from([selector("team", "a")]);
    by_namespace.allocation = Some(RawAllocation {
        namespace_selectors,
        ..RawAllocation::default()
    });
    let mut world = World::new(&[by_namespace]);
    let namespaces = |team: &str| BTreeMap::from([("default".to_string(), labels(&[("team", team)]))]);
    world.catalog.set_namespaces(namespaces("a"));
    world.apply();
    world.set(v4("s"));
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.catalog.set_namespaces(namespaces("b"));
    world.apply();
    assert_eq!(world.refusal("s"), Refusal::NoPoolMatchesService);
}

#[test]
fn auto_assign_turned_off_keeps_what_is_assigned() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("s"));
    world.pools(&[only_on_request(pool("p", &["1.2.3.0/30"]))]);
    assert_eq!(world.ip("s"), "1.2.3.0");
}

#[test]
fn avoid_buggy_ips_moves_services_to_other_addresses() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("s"));
    world.pools(&[RawPool {
        avoid_buggy_ips: Some(true),
        ..pool("p", &["1.2.3.0/30"])
    }]);
    assert_eq!(world.ip("s"), "1.2.3.1");
}

#[test]
fn a_changed_request_moves_the_service_and_frees_its_addresses() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"]), pool("q", &["1.2.4.0/30"])], v4("s"));
    world.change("s", |s| s.request.addresses = Ok(Vec::from([ip("1.2.3.3")])));
    assert_eq!(world.ip("s"), "1.2.3.3");
    world.change("s", |s| {
        s.request.addresses = Ok(Vec::new());
        s.request.pool = Some(PoolName::from("q"));
    });
    assert_eq!(
        (world.ip("s"), world.pool_of("s")),
        ("1.2.4.0".into(), "q".into())
    );
    let used: Vec<u128> = world
        .usage()
        .into_iter()
        .map(|(_, usage)| usage.assigned_v4)
        .collect();
    assert_eq!(used, [0, 1]);
    world.change("s", |s| s.request.pool = None);
    assert_eq!(world.ip("s"), "1.2.4.0", "no longer asking is no reason to move");
}

#[test]
fn deviation_a_service_keeps_its_address_until_its_request_can_be_met() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("s"));
    world.set(asking(v4("t"), &["1.2.3.3"]));
    world.change("s", |s| s.request.addresses = Ok(Vec::from([ip("1.2.3.4")])));
    assert_eq!(world.ip("s"), "1.2.3.0");
    assert_eq!(world.notes("s"), ["RequestNotMet"]);
    world.change("s", |s| s.request.addresses = Ok(Vec::from([ip("1.2.3.3")])));
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.delete("t");
    assert_eq!(world.ip("s"), "1.2.3.3");
    world.change("s", |s| s.request.pool = Some(PoolName::from("nowhere")));
    assert_eq!(world.ip("s"), "1.2.3.3");
}

#[test]
fn deviation_a_service_keeps_its_address_while_its_requested_pool_is_full() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"]), pool("q", &["1.2.4.0/32"])], v4("s"));
    world.set(asking_pool(v4("t"), "q"));
    world.change("s", |s| s.request.pool = Some(PoolName::from("q")));
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.delete("t");
    assert_eq!(world.ip("s"), "1.2.4.0");
}

#[test]
fn a_service_with_an_invalid_request_keeps_its_address_and_gets_one_warning() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("s"));
    world.change("s", |s| {
        s.request.addresses = Err(RequestError::Annotation("x".into()))
    });
    assert_eq!(world.ip("s"), "1.2.3.0");
    assert_eq!(world.notes("s"), ["LoadBalancerFailed"]);
    world.pass(5);
    world.change("s", |s| s.labels = labels(&[("a", "b")]));
    assert_eq!(world.notes("s"), [""; 0]);
    world.set(Service {
        request: world.services[&key("s")].request.clone(),
        ..v4("new")
    });
    assert_eq!(world.refusal("new").reason(), "InvalidRequest");
}

#[test]
fn deviation_require_dual_stack_keeps_one_address_until_a_pair_is_free() {
    let prefer = dual("s", FamilyPolicy::PreferDualStack);
    let one = pool("p", &["1.2.3.0/30"]);
    let mut world = assigned(core::slice::from_ref(&one), prefer);
    world.change("s", |s| s.family_policy = FamilyPolicy::RequireDualStack);
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.pools(&[one, pool("q", &["1.2.4.0/30", "fc00::/64"])]);
    assert_eq!(world.ip("s"), "1.2.4.0,fc00::");
}

#[test]
fn a_service_that_becomes_single_stack_keeps_the_address_of_its_family() {
    let both = dual("s", FamilyPolicy::RequireDualStack);
    let mut world = assigned(&[pool("p", &["1.2.3.0/30", "fc00::/64"])], both);
    world.change("s", |s| {
        s.cluster_ips.truncate(1);
        s.family_policy = FamilyPolicy::SingleStack;
    });
    assert_eq!(world.ip("s"), "1.2.3.0");
    let used: Vec<_> = world
        .usage()
        .into_iter()
        .map(|(_, usage)| usage.assigned_v6)
        .collect();
    assert_eq!(used, [0]);
}

#[test]
fn a_service_that_changes_family_gets_an_address_of_the_new_one() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30", "fc00::/64"])], v4("s"));
    world.change("s", |s| s.cluster_ips = ips(&["fd00::1"]));
    assert_eq!(world.ip("s"), "fc00::");
}

#[test]
fn a_service_that_loses_its_cluster_ips_loses_its_address() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("s"));
    world.change("s", |s| s.cluster_ips.clear());
    assert_eq!(
        (world.ip("s"), world.refusal("s")),
        (String::new(), Refusal::NoClusterIps)
    );
    assert_eq!(world.notes("s"), [""; 0]);
}

#[test]
fn a_status_that_another_program_empties_gets_the_same_address_again() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("a"));
    world.set(v4("b"));
    world.delete("a");
    world.pass(120);
    world.change("b", |s| s.assigned.clear());
    let outcome = world.allocator.outcome(&key("b"));
    let Some(AllocationOutcome::Assigned(assignment)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(assignment.addresses, ips(&["1.2.3.1"]));
}

#[test]
fn a_valid_address_that_another_program_writes_into_the_status_is_adopted() {
    let mut world = assigned(&[pool("p", &["1.2.3.0/30"])], v4("a"));
    world.set(v4("b"));
    world.change("a", |s| s.assigned = ips(&["1.2.3.3"]));
    assert_eq!(world.ip("a"), "1.2.3.3");
    let held = |world: &World| world.allocator.assignment(&key("a")).map(|a| a.addresses.clone());
    assert_eq!(held(&world), Some(ips(&["1.2.3.3"])));
    for bad in ["1.2.3.1", "9.9.9.9", "fc00::1"] {
        world.notes("a");
        world.change("a", |s| s.assigned = ips(&[bad]));
        assert_eq!(held(&world), Some(ips(&["1.2.3.3"])), "{bad}");
        assert_eq!(
            world.notes("a"),
            [""; 0],
            "{bad}: nothing is taken from the Service"
        );
    }
}

#[test]
fn an_old_status_that_arrives_late_is_not_adopted() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/30"])]);
    // The statuses are not written back here: the API server is slow.
    let mut service = v4("s");
    world.allocator.set_service(service.clone(), world.now);
    let first = world.allocator.poll_decision().expect("decided");
    service.request.addresses = Ok(Vec::from([ip("1.2.3.2")]));
    world.allocator.set_service(service.clone(), world.now);
    let second = world.allocator.poll_decision().expect("decided again");
    service.request.addresses = Ok(Vec::new());
    for decision in [first, second] {
        let AllocationOutcome::Assigned(assignment) = decision.outcome else {
            panic!("refused")
        };
        service.assigned = assignment.addresses;
        world.allocator.set_service(service.clone(), world.now);
        let held = world.allocator.assignment(&key("s")).expect("held");
        assert_eq!(held.addresses, ips(&["1.2.3.2"]));
    }
}

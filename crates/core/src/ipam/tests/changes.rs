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
fn deviation_of_a_pair_that_leaves_its_pool_in_part_the_other_address_stays() {
    let both = pool("p", &["1.2.3.0/31", "fc00::/64"]);
    for (policy, note) in [
        (FamilyPolicy::PreferDualStack, "AdditionalAssignFailed"),
        (FamilyPolicy::RequireDualStack, "RequestNotMet"),
    ] {
        for (left, stays, returns) in [
            ("1.2.3.0/31", "1.2.3.0", "1.2.3.0,fc00::"),
            ("fc00::/64", "fc00::", "fc00::,1.2.3.0"),
        ] {
            let mut world = assigned(core::slice::from_ref(&both), dual("s", policy));
            let other = pool("z", &["1.2.4.0/24", "fc01::/64"]);
            world.pools(&[pool("p", &[left]), other.clone()]);
            assert_eq!((world.ip("s"), world.pool_of("s")), (stays.into(), "p".into()));
            assert_eq!(world.notes("s"), ["ClearAssignment", note]);
            world.restart();
            assert_eq!(world.ip("s"), stays);
            world.pools(&[both.clone(), other]);
            assert_eq!(world.ip("s"), returns);
        }
    }
}

#[test]
fn deviation_of_a_pair_in_two_pools_the_first_address_stays() {
    let both = dual("s", FamilyPolicy::RequireDualStack);
    let mut world = assigned(&[pool("test", &["1.2.3.0/31", "fc00::/64"])], both);
    let split = [pool("one", &["1.2.3.0/31"]), pool("two", &["fc00::/64"])];
    world.pools(&split);
    assert_eq!(
        (world.ip("s"), world.pool_of("s")),
        ("1.2.3.0".into(), "one".into())
    );
    world.restart();
    assert_eq!(world.ip("s"), "1.2.3.0");
    // To move, the Service requests a pool that has both families.
    world.pools(
        &[
            split,
            [
                pool("y", &["1.2.5.0/24"]),
                pool("z", &["1.2.4.0/24", "fc01::/64"]),
            ],
        ]
        .concat(),
    );
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.change("s", |s| s.request.pool = Some(PoolName::from("z")));
    assert_eq!(world.ip("s"), "1.2.4.0,fc01::");
}

#[test]
fn an_address_that_another_program_removes_from_a_pair_comes_back_in_its_place() {
    let pools = [pool("p", &["1.2.3.0/30", "fc00::/64"])];
    for policy in [FamilyPolicy::PreferDualStack, FamilyPolicy::RequireDualStack] {
        let mut world = assigned(&pools, dual("s", policy));
        world.set(dual("t", policy));
        world.delete("s");
        world.pass(120);
        assert_eq!(world.ip("t"), "1.2.3.1,fc00::1");
        for left in [0, 1] {
            let mut service = world.services[&key("t")].clone();
            service.assigned.remove(left);
            world.watch(service);
            assert_eq!(world.allocator.poll_decision(), None);
            let held = world.allocator.assignment(&key("t")).expect("held");
            assert_eq!(held.addresses, ips(&["1.2.3.1", "fc00::1"]));
            // A controller that only followed the statuses gives the same address back.
            world.standby.activate(world.now);
            let after = world
                .standby
                .assignment(&key("t"))
                .expect("held")
                .addresses
                .clone();
            assert_eq!(
                after.iter().collect::<BTreeSet<_>>(),
                held.addresses.iter().collect()
            );
            world.standby.deactivate(world.now);
            world
                .standby
                .set_service(world.services[&key("t")].clone(), world.now);
        }
    }
}

#[test]
fn a_service_that_leaves_an_address_and_returns_within_the_quarantine_gets_it_back() {
    let mut world = assigned(
        &[
            pool("p", &["1.2.3.0/29", "fc00::/64"]),
            only_on_request(pool("q", &["1.2.4.0/29"])),
        ],
        v4("s"),
    );
    // To another pool and back.
    world.change("s", |s| s.request.pool = Some(PoolName::from("q")));
    assert_eq!(world.ip("s"), "1.2.4.0");
    world.set(v4("other"));
    assert_eq!(world.ip("other"), "1.2.3.1", "the quarantine is for others");
    world.change("s", |s| s.request.pool = Some(PoolName::from("p")));
    assert_eq!(world.ip("s"), "1.2.3.0");
    // To another family and back, also under the next controller.
    world.change("s", |s| s.cluster_ips = ips(&["fd00::1"]));
    assert_eq!(world.ip("s"), "fc00::");
    world.hand_over();
    world.change("s", |s| s.cluster_ips = ips(&["10.96.0.1"]));
    assert_eq!(world.ip("s"), "1.2.3.0");
    // From two families to one and back.
    world.change("s", |s| s.family_policy = FamilyPolicy::PreferDualStack);
    world.change("s", |s| s.cluster_ips = ips(&["10.96.0.1", "fd00::1"]));
    assert_eq!(world.ip("s"), "1.2.3.0,fc00::");
    world.change("s", |s| s.cluster_ips = ips(&["10.96.0.1"]));
    world.set(v6("six"));
    assert_eq!(
        (world.ip("s"), world.ip("six")),
        ("1.2.3.0".into(), "fc00::1".into())
    );
    world.change("s", |s| s.cluster_ips = ips(&["10.96.0.1", "fd00::1"]));
    assert_eq!(world.ip("s"), "1.2.3.0,fc00::");
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

type Change = fn(&mut World);

/// A pool for Services with the label `app=x` in namespaces with the label `team=a`.
fn narrow(pool: RawPool) -> RawPool {
    RawPool {
        allocation: Some(RawAllocation {
            namespace_selectors: Vec::from([selector("team", "a")]),
            service_selectors: Vec::from([selector("app", "x")]),
            ..RawAllocation::default()
        }),
        ..pool
    }
}

#[test]
fn deviation_a_service_that_its_pool_no_longer_selects_keeps_its_address_and_new_ones_are_kept_out() {
    let open = pool("p", &["1.2.3.0/29", "fc00::/64"]);
    let pools = [narrow(open), only_on_request(pool("other", &["1.2.4.0/30"]))];
    let of_team = |team: &str| BTreeMap::from([("default".to_string(), labels(&[("team", team)]))]);
    // What closes the pool to the Services, and what opens it again.
    let changes: [(Change, Change); 3] = [
        (
            |world| world.catalog.set_namespaces(BTreeMap::new()),
            |world| {
                let team = labels(&[("team", "a")]);
                world
                    .catalog
                    .set_namespaces(BTreeMap::from([("default".to_string(), team)]));
            },
        ),
        (
            |world| {
                for name in ["any", "pool", "address", "prefers"] {
                    world.change(name, |s| s.labels.clear());
                }
            },
            |world| {
                for name in ["any", "pool", "address", "prefers"] {
                    world.change(name, |s| s.labels = labels(&[("app", "x")]));
                }
            },
        ),
        (
            |world| {
                let mut closed = for_namespace(pool("p", &["1.2.3.0/29", "fc00::/64"]), "elsewhere", 1);
                closed.auto_assign = Some(false);
                world.catalog.set_pools(Vec::from([closed]));
            },
            |world| {
                let open = narrow(pool("p", &["1.2.3.0/29", "fc00::/64"]));
                world.catalog.set_pools(Vec::from([open]));
            },
        ),
    ];
    for (close, reopen) in changes {
        let mut world = World::new(&pools);
        world.catalog.set_namespaces(of_team("a"));
        world.apply();
        let labelled = |service: Service| Service {
            labels: labels(&[("app", "x")]),
            ..service
        };
        world.set(labelled(v4("any")));
        world.set(labelled(asking_pool(v4("pool"), "p")));
        world.set(labelled(asking(v4("address"), &["1.2.3.5"])));
        world.set(labelled(dual("prefers", FamilyPolicy::PreferDualStack)));
        let services = ["any", "pool", "address", "prefers"];
        let has = |world: &World| services.map(|name| world.ip(name));
        let before = has(&world);
        assert!(before.iter().all(|addresses| !addresses.is_empty()), "{before:?}");
        for name in services {
            world.notes(name);
        }
        close(&mut world);
        world.apply();
        assert_eq!(has(&world), before);
        for name in services {
            assert_eq!(world.notes(name), ["RequestNotMet"], "{name}");
        }
        world.restart();
        assert_eq!(has(&world), before);
        world.hand_over();
        assert_eq!(has(&world), before);
        world.set(v4("new"));
        world.set(asking_pool(v4("new-pool"), "p"));
        world.set(asking(v4("new-address"), &["1.2.3.6"]));
        assert_eq!(world.refusal("new").reason(), "NoPoolMatchesService");
        assert_eq!(world.refusal("new-pool").reason(), "PoolNotCompatible");
        assert_eq!(world.refusal("new-address").reason(), "PoolNotCompatible");
        // The pool gives them nothing more.
        world.delete("any");
        world.set(v4("any"));
        assert_eq!(world.refusal("any").reason(), "NoPoolMatchesService");
        reopen(&mut world);
        world.apply();
        assert_eq!(
            (world.ip("pool"), world.ip("address")),
            (before[1].clone(), before[2].clone())
        );
    }
}

#[test]
fn a_service_of_a_closed_pool_gets_no_second_address_of_it() {
    let mut world = assigned(
        &[pool("p", &["1.2.3.0/30"])],
        dual("s", FamilyPolicy::PreferDualStack),
    );
    world.pools(&[for_namespace(
        pool("p", &["1.2.3.0/30", "fc00::/64"]),
        "elsewhere",
        1,
    )]);
    assert_eq!(world.ip("s"), "1.2.3.0");
    world.pools(&[pool("p", &["1.2.3.0/30", "fc00::/64"])]);
    assert_eq!(world.ip("s"), "1.2.3.0,fc00::");
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
fn deviation_require_dual_stack_keeps_one_address_until_its_pool_has_the_other() {
    let prefer = dual("s", FamilyPolicy::PreferDualStack);
    let one = pool("p", &["1.2.3.0/30"]);
    let mut world = assigned(core::slice::from_ref(&one), prefer);
    world.change("s", |s| s.family_policy = FamilyPolicy::RequireDualStack);
    assert_eq!(world.ip("s"), "1.2.3.0");
    assert_eq!(world.notes("s"), ["RequestNotMet"]);
    let both = pool("q", &["1.2.4.0/30", "fc00::/64"]);
    world.pools(&[one, both.clone()]);
    assert_eq!(world.ip("s"), "1.2.3.0", "the address is in use");
    world.pools(&[pool("p", &["1.2.3.0/30", "fc01::/64"]), both]);
    assert_eq!(world.ip("s"), "1.2.3.0,fc01::");
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
fn while_a_controller_is_active_a_status_that_another_program_writes_changes_nothing() {
    let reserving = RawPool {
        quota_per_namespace: Some(3),
        ..pool("p", &["1.2.3.0/29"])
    };
    let mut world = World::new(&[reserving]);
    world.set(v4("a"));
    world.set(v4("b"));
    world.set(asking(v4("waits"), &["1.2.3.1"]));
    assert_eq!(world.refusal("waits").reason(), "AddressInUse");
    let held = |world: &World, name: &str| {
        world
            .allocator
            .assignment(&key(name))
            .map(|a| a.addresses.clone())
    };
    // A free address, the one of another Service, and addresses that no Service can have.
    for written in [
        &["1.2.3.3"][..],
        &["1.2.3.1"],
        &["9.9.9.9"],
        &["fc00::1"],
        &["1.2.3.4", "1.2.3.5"],
    ] {
        world.notes("a");
        for (name, has) in [("a", Some(ips(&["1.2.3.0"]))), ("waits", None)] {
            let service = world.services[&key(name)].clone();
            world.watch(Service {
                assigned: ips(written),
                ..service.clone()
            });
            assert_eq!(world.allocator.poll_decision(), None, "{name}: {written:?}");
            assert_eq!(held(&world, name), has, "{name}: {written:?}");
            world.watch(service);
        }
        assert_eq!(held(&world, "b"), Some(ips(&["1.2.3.1"])));
    }
    world.set(v4("c"));
    assert_eq!(world.ip("c"), "1.2.3.2", "nothing was taken");
}

#[test]
fn a_status_of_a_service_that_is_new_to_an_active_controller_counts_as_a_request() {
    let reservation = RawReservation {
        address: "1.2.3.3".into(),
        namespace: "default".into(),
        service: "owner".into(),
    };
    let mut world = World::new(&[
        RawPool {
            reservations: Vec::from([reservation]),
            quota_per_namespace: Some(4),
            ..pool("p", &["1.2.3.0/29"])
        },
        for_namespace(pool("q", &["1.2.4.0/30"]), "elsewhere", 1),
    ]);
    // (status, address)
    for (name, status, gets) in [
        ("a", "1.2.3.5", "1.2.3.5"),
        ("reserved", "1.2.3.3", "1.2.3.0"),
        ("owner", "1.2.3.3", "1.2.3.3"),
        ("closed", "1.2.4.1", "1.2.3.1"),
        ("quota", "1.2.3.6", ""),
    ] {
        world.set(has(v4(name), &[status]));
        assert_eq!(world.ip(name), gets, "{name}");
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

//! Starting and restarting.

use super::*;

#[test]
fn all_addresses_in_statuses_are_adopted_before_any_address_is_given_out() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.services.insert(key("a"), v4("a"));
    world.services.insert(
        key("z"),
        Service {
            created: 9,
            ..has(v4("z"), &["10.0.0.0"])
        },
    );
    world.restart();
    assert_eq!(
        (world.ip("a"), world.ip("z")),
        ("10.0.0.1".into(), "10.0.0.0".into())
    );
    assert_eq!(world.notes("z"), [""; 0]);
}

#[test]
fn of_two_services_with_one_address_the_older_one_keeps_it_in_any_order() {
    let older = Service {
        created: 1,
        ..has(v4("z"), &["10.0.0.0"])
    };
    let younger = Service {
        created: 2,
        ..has(v4("a"), &["10.0.0.0"])
    };
    for services in [[older.clone(), younger.clone()], [younger, older]] {
        let mut catalog = Catalog::new();
        catalog.set_pools(Vec::from([pool("p", &["10.0.0.0/30"])]));
        let mut allocator = Allocator::new();
        for service in services {
            allocator.set_service(service, Time::ZERO);
        }
        allocator.activate(Time::ZERO);
        assert_eq!(
            allocator.poll_decision(),
            None,
            "nothing is decided before there are pools"
        );
        allocator.set_catalog(&catalog, Time::ZERO);
        let held = |name| allocator.assignment(&key(name)).expect("held").addresses.clone();
        assert_eq!((held("z"), held("a")), (ips(&["10.0.0.0"]), ips(&["10.0.0.1"])));
    }
}

#[test]
fn an_address_outside_all_pools_is_replaced() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    let service = Service {
        foreign_ingress: true,
        ..has(v4("s"), &["10.10.10.10"])
    };
    world.set(service);
    assert_eq!(world.ip("s"), "10.0.0.0");
    assert_eq!(world.notes("s"), ["ClearAssignment", "IPAllocated"]);
}

#[test]
fn a_status_with_three_addresses_is_reported_and_replaced_by_one() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(has(v4("s"), &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    assert_eq!(world.ip("s"), "10.0.0.0");
    assert_eq!(world.notes("s"), ["nolbIPsIPFamily", "IPAllocated"]);
}

#[test]
fn a_pair_stays_in_the_order_of_the_status_even_if_requested_in_the_other_order() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30", "fc00::/64"])]);
    let asking = asking(
        dual("s", FamilyPolicy::RequireDualStack),
        &["fc00::1", "10.0.0.1"],
    );
    world.set(has(asking, &["10.0.0.1", "fc00::1"]));
    // MetalLB leaves pairs in textual order; to reverse one would move it to another node.
    assert_eq!(world.ip("s"), "10.0.0.1,fc00::1");
}

#[test]
fn services_of_a_pool_with_a_mistake_keep_their_addresses_after_a_restart() {
    let good = pool("p", &["10.0.0.0/30"]);
    let mut world = World::new(&[good.clone(), pool("q", &["10.0.1.0/30"])]);
    world.set(asking_pool(v4("s"), "p"));
    world.set(v4("t"));
    world.catalog = Catalog::new();
    world.catalog.set_pools(Vec::from([
        pool("p", &["10.0.0.0/33"]),
        pool("q", &["10.0.1.0/30"]),
    ]));
    world.restart();
    assert_eq!(
        (world.ip("s"), world.ip("t")),
        ("10.0.0.0".into(), "10.0.0.1".into())
    );
    world.set(v4("u"));
    assert_eq!(world.ip("u"), "10.0.1.0");
    let new = asking_pool(v4("new"), "p");
    let refusal = Refusal::PoolNotInForce("p".into());
    assert_eq!(
        world.allocator.check_request(&new, world.now),
        Some(refusal.clone())
    );
    world.set(new.clone());
    assert_eq!(
        world.allocator.outcome(&new.key),
        Some(AllocationOutcome::Unassigned(refusal))
    );
    world.pools(&[good, pool("q", &["10.0.1.0/30"])]);
    assert_eq!(
        (world.ip("s"), world.ip("t")),
        ("10.0.0.0".into(), "10.0.0.1".into())
    );
    assert_eq!(world.ip("new"), "10.0.0.2");
    world.set(v4("w"));
    assert_eq!(world.ip("w"), "10.0.0.3");
}

#[test]
fn a_restart_changes_no_decision() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30", "fc00::/126"])]);
    world.set(sharing(v4("a"), "k", 80));
    world.set(sharing(v4("b"), "k", 81));
    world.set(dual("c", FamilyPolicy::PreferDualStack));
    world.set(v6("d"));
    let before = world.services.clone();
    world.restart();
    assert_eq!(world.services, before);
}

#[test]
fn a_quota_and_a_reservation_release_no_address() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(v4("a"));
    world.set(v4("b"));
    let mut stricter = RawPool {
        quota_per_namespace: Some(0),
        ..pool("p", &["10.0.0.0/30"])
    };
    stricter.reservations = Vec::from([RawReservation {
        address: "10.0.0.0".into(),
        namespace: "default".into(),
        service: "b".into(),
    }]);
    world.pools(&[stricter]);
    assert_eq!(
        (world.ip("a"), world.ip("b")),
        ("10.0.0.0".into(), "10.0.0.1".into())
    );
    world.restart();
    assert_eq!(
        (world.ip("a"), world.ip("b")),
        ("10.0.0.0".into(), "10.0.0.1".into())
    );
}

#[test]
fn an_address_that_is_reserved_is_not_adopted_from_a_status_that_no_controller_wrote() {
    let reservation = RawReservation {
        address: "10.0.0.2".into(),
        namespace: "default".into(),
        service: "owner".into(),
    };
    let mut world = World::new(&[RawPool {
        reservations: Vec::from([reservation]),
        ..pool("p", &["10.0.0.0/30"])
    }]);
    // (whether a controller wrote it, address after the start)
    for (is_marked, address) in [(false, "10.0.0.0"), (true, "10.0.0.2")] {
        let service = Service {
            is_marked,
            ..has(v4("s"), &["10.0.0.2"])
        };
        world.services.insert(key("s"), service);
        world.restart();
        assert_eq!(world.ip("s"), address);
    }
    world
        .services
        .insert(key("owner"), has(v4("owner"), &["10.0.0.2"]));
    world.services.remove(&key("s"));
    world.restart();
    assert_eq!(world.ip("owner"), "10.0.0.2");
}

#[test]
fn a_status_of_a_controller_is_adopted_although_its_pool_is_not_open_to_the_service() {
    let mut world = World::new(&[for_namespace(pool("p", &["10.0.0.0/30"]), "elsewhere", 1)]);
    let service = Service {
        is_marked: true,
        ..has(v4("s"), &["10.0.0.2"])
    };
    world.services.insert(key("s"), service);
    world.restart();
    assert_eq!(world.ip("s"), "10.0.0.2");
    assert_eq!(world.notes("s"), ["RequestNotMet"]);
}

#[test]
fn a_status_of_another_load_balancer_is_not_adopted_if_its_pool_is_not_open_to_the_service() {
    let mut world = World::new(&[for_namespace(pool("p", &["10.0.0.0/30"]), "elsewhere", 1)]);
    world.services.insert(key("s"), has(v4("s"), &["10.0.0.2"]));
    world.allocator = Allocator::new();
    world
        .allocator
        .set_service(world.services[&key("s")].clone(), world.now);
    world.allocator.set_catalog(&world.catalog, world.now);
    world.allocator.activate(world.now);
    assert_eq!(world.refusal("s"), Refusal::NoPoolMatchesService);
    // With an open pool the Service is ours, also if another program wrote its status.
    world.pools(&[pool("p", &["10.0.0.0/30"])]);
    assert_eq!(world.ip("s"), "10.0.0.0");
}

#[test]
fn invalid_cluster_ips_release_no_address_not_even_after_a_restart() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(v4("s"));
    world.change("s", |s| s.cluster_ips.push(ip("10.96.0.2")));
    assert_eq!(world.ip("s"), "10.0.0.0");
    world.restart();
    assert_eq!(world.ip("s"), "10.0.0.0");
    world.set(v4("t"));
    assert_eq!(world.ip("t"), "10.0.0.1");
}

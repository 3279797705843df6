//! Waiting Services, returning Services, and quarantine.

use super::*;

#[test]
fn a_released_address_goes_at_once_to_the_oldest_waiting_service() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/31"])]);
    for (name, created) in [("a", 0), ("b", 0), ("young", 9), ("old", 3), ("older-by-name", 3)] {
        world.set(Service { created, ..v4(name) });
    }
    world.delete("a");
    assert_eq!(
        (world.ip("old"), world.ip("older-by-name"), world.ip("young")),
        ("1.2.3.0".into(), "".into(), "".into())
    );
    world.delete("old");
    assert_eq!(
        (world.ip("older-by-name"), world.ip("young")),
        ("1.2.3.0".into(), "".into())
    );
    world.delete("b");
    assert_eq!(world.ip("young"), "1.2.3.1");
}

#[test]
fn an_older_service_that_waits_for_another_address_does_not_block_a_younger_one() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/32"])]);
    world.set(v4("a"));
    world.set(Service {
        created: 1,
        ..v6("six")
    });
    world.set(Service {
        created: 2,
        ..dual("both", FamilyPolicy::RequireDualStack)
    });
    world.set(Service {
        created: 3,
        ..v4("four")
    });
    world.delete("a");
    assert_eq!(
        (world.ip("six"), world.ip("both"), world.ip("four")),
        ("".into(), "".into(), "1.2.3.0".into())
    );
}

#[test]
fn a_service_that_moves_serves_a_waiting_one() {
    let mut world = World::new(&[
        pool("p", &["1.2.3.0/32"]),
        only_on_request(pool("q", &["1.2.4.0/32"])),
    ]);
    world.set(v4("a"));
    world.set(v4("b"));
    world.set(asking(v4("c"), &["1.2.3.0"]));
    world.change("a", |s| s.request.pool = Some(PoolName::from("q")));
    assert_eq!(
        (world.ip("a"), world.ip("b"), world.ip("c")),
        ("1.2.4.0".into(), "1.2.3.0".into(), "".into())
    );
    world.delete("b");
    assert_eq!(world.ip("c"), "1.2.3.0");
}

#[test]
fn a_service_that_stops_waiting_is_not_served() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/32"])]);
    world.set(v4("a"));
    world.set(v4("b"));
    world.set(v4("c"));
    world.delete("b");
    world.change("c", |s| s.request.pool = Some(PoolName::from("nowhere")));
    world.delete("a");
    assert_eq!(world.ip("c"), "");
    world.set(v4("d"));
    assert_eq!(world.ip("d"), "1.2.3.0");
}

#[test]
fn a_service_deleted_and_created_again_gets_its_address_back() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/29"])]);
    for name in ["a", "b", "c"] {
        world.set(v4(name));
    }
    world.delete("a");
    world.delete("b");
    world.pass(3600);
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "1.2.3.1");
    world.set(v4("new"));
    assert_eq!(world.ip("new"), "1.2.3.0");
    world.set(v4("a"));
    assert_eq!(world.ip("a"), "1.2.3.3", "another Service has its address now");
}

#[test]
fn a_past_assignment_is_not_restored_if_the_service_may_not_have_it() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/30"]), pool("q", &["1.2.4.0/30"])]);
    world.set(v4("s"));
    world.delete("s");
    world.pass(3600);
    world.pools(&[
        for_namespace(pool("p", &["1.2.3.0/30"]), "other", 0),
        pool("q", &["1.2.4.0/30"]),
    ]);
    world.set(v4("s"));
    assert_eq!(world.ip("s"), "1.2.4.0");
    world.delete("s");
    world.set(v6("s"));
    assert_eq!(world.refusal("s").reason(), "FamilyUnavailable");
}

#[test]
fn deviation_a_released_address_is_in_quarantine_while_another_one_is_free() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/30"])]);
    world.set(v4("a"));
    world.delete("a");
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "1.2.3.1");
    world.pass(59);
    world.set(v4("c"));
    assert_eq!(world.ip("c"), "1.2.3.2");
    world.pass(1);
    world.set(v4("d"));
    assert_eq!(world.ip("d"), "1.2.3.0");
}

#[test]
fn if_nothing_else_is_free_the_address_whose_quarantine_ends_first_is_given() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/31"])]);
    world.set(v4("a"));
    world.set(v4("b"));
    world.delete("b");
    world.pass(1);
    world.delete("a");
    world.set(v4("c"));
    assert_eq!(world.ip("c"), "1.2.3.1");
    world.set(asking(v4("d"), &["1.2.3.0"]));
    assert_eq!(world.ip("d"), "1.2.3.0");
}

#[test]
fn deviation_in_quarantine_an_address_is_kept_for_requests_of_the_namespace_that_released_it() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/29"])]);
    world.set(v4("victim/web"));
    world.set(Service {
        created: 1,
        ..asking(v4("attacker/evil"), &["1.2.3.0"])
    });
    world.set(Service {
        created: 2,
        ..asking(v4("attacker/worse"), &["1.2.3.0"])
    });
    assert_eq!(world.allocator.poll_timeout(), None);
    world.delete("victim/web");
    let until = world.now + Duration::from_secs(60);
    let in_quarantine = Refusal::AddressInQuarantine {
        address: ip("1.2.3.0"),
        until,
    };
    assert_eq!(world.refusal("attacker/evil"), in_quarantine);
    let text = in_quarantine.to_string();
    assert!(
        text.contains("until 1970-01-01T00:01:00Z") && !text.contains("victim"),
        "{text}"
    );
    assert_eq!(world.allocator.poll_timeout(), Some(until));
    world.pass(30);
    // The same Service returns, also with a request; or another one of the namespace comes in its place.
    for service in [
        v4("victim/web"),
        asking(v4("victim/web"), &["1.2.3.0"]),
        asking(v4("victim/other"), &["1.2.3.0"]),
    ] {
        let mut world = world.clone();
        let name = service.key.to_string();
        world.set(service);
        assert_eq!(world.ip(&name), "1.2.3.0");
        world.pass(60);
        assert_eq!(world.refusal("attacker/evil").reason(), "AddressInUse");
    }
    world.pass(29);
    assert_eq!(world.refusal("attacker/evil"), in_quarantine);
    world.hand_over();
    assert_eq!(world.refusal("attacker/evil"), in_quarantine);
    world.pass(1);
    assert_eq!(world.ip("attacker/evil"), "1.2.3.0");
    assert_eq!(world.refusal("attacker/worse").reason(), "AddressInUse");
    assert_eq!(world.allocator.poll_timeout(), None);
}

#[test]
fn a_younger_service_of_the_namespace_is_served_before_an_older_one_of_another() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/29"])]);
    world.set(v4("a/holder"));
    for (name, created) in [("b/older", 1), ("a/younger", 2)] {
        world.set(Service {
            created,
            ..asking(v4(name), &["1.2.3.0"])
        });
    }
    world.delete("a/holder");
    assert_eq!(
        (world.ip("a/younger"), world.ip("b/older")),
        ("1.2.3.0".into(), "".into())
    );
}

#[test]
fn a_sharer_of_another_namespace_that_had_the_address_last_may_request_it_in_quarantine() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/29"])]);
    world.set(sharing(v4("a/one"), "k", 80));
    world.set(asking(sharing(v4("b/two"), "k", 81), &["1.2.3.0"]));
    world.delete("b/two");
    world.delete("a/one");
    world.set(asking(v4("b/other"), &["1.2.3.0"]));
    assert_eq!(world.refusal("b/other").reason(), "AddressInQuarantine");
    world.set(asking(sharing(v4("b/two"), "k", 81), &["1.2.3.0"]));
    assert_eq!(world.ip("b/two"), "1.2.3.0");
}

#[test]
fn quarantine_matters_among_pools_of_one_priority_and_never_more_than_priority() {
    let mut world = World::new(&[
        for_namespace(pool("a", &["1.2.3.0/32"]), "default", 1),
        for_namespace(pool("b", &["1.2.4.0/32"]), "default", 1),
        for_namespace(pool("c", &["1.2.5.0/32"]), "default", 2),
    ]);
    world.set(v4("s"));
    world.delete("s");
    world.set(v4("t"));
    assert_eq!(world.ip("t"), "1.2.4.0");
    world.set(v4("u"));
    assert_eq!(world.ip("u"), "1.2.3.0");
}

#[test]
fn quarantine_outlasts_a_change_of_pools() {
    let mut world = World::new(&[pool("p", &["1.2.3.0/30"])]);
    world.set(v4("a"));
    world.delete("a");
    world.pools(&[pool("renamed", &["1.2.3.0/29"])]);
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "1.2.3.1");
}

#[test]
fn quarantine_outlasts_a_time_in_which_no_pool_has_the_address() {
    let pools = [pool("p", &["1.2.3.0/30"])];
    let reserving = RawPool {
        reservations: Vec::from([RawReservation {
            address: "1.2.3.0".into(),
            namespace: "elsewhere".into(),
            service: "owner".into(),
        }]),
        ..pools[0].clone()
    };
    for meanwhile in [&[][..], &[reserving]] {
        let mut world = World::new(&pools);
        world.set(v4("victim/web"));
        world.pools(meanwhile);
        world.delete("victim/web");
        world.set(asking(v4("attacker/evil"), &["1.2.3.0"]));
        world.pass(20);
        world.pools(&pools);
        assert_eq!(world.refusal("attacker/evil").reason(), "AddressInQuarantine");
        world.set(asking(v4("victim/web"), &["1.2.3.0"]));
        assert_eq!(world.ip("victim/web"), "1.2.3.0");
    }
}

#[test]
fn ten_thousand_waiting_services_are_served_in_order_as_ten_thousand_leave() {
    // If a release examined all waiting Services, this would exceed the time limit of any test runner.
    const EACH: u32 = 10_000;
    let mut world = World::new(&[pool("p", &["10.0.0.0-10.0.39.15"])]);
    for n in 0..EACH {
        world.set(v4(&alloc::format!("holder-{n:05}")));
    }
    for n in 0..EACH {
        world.set(Service {
            created: i64::from(EACH - n),
            ..v4(&alloc::format!("waiter-{n:05}"))
        });
    }
    for n in 0..EACH {
        let next = alloc::format!("waiter-{:05}", EACH - 1 - n);
        assert_eq!(world.ip(&next), "");
        world.delete(&alloc::format!("holder-{n:05}"));
        assert_ne!(world.ip(&next), "");
    }
}

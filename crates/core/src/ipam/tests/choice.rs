//! The choice of an address for a new Service.

use super::*;
use crate::Capacity;
use crate::config::RequestScope;

#[test]
fn the_lowest_free_address_in_the_order_of_the_pool_is_given() {
    let mut world = World::new(&[pool("p", &["10.0.1.0/31", "10.0.0.7-10.0.0.8"])]);
    for (name, address) in [
        ("a", "10.0.1.0"),
        ("b", "10.0.1.1"),
        ("c", "10.0.0.7"),
        ("d", "10.0.0.8"),
    ] {
        world.set(v4(name));
        assert_eq!(world.ip(name), address);
        assert_eq!(world.pool_of(name), "p");
        assert_eq!(world.notes(name), ["IPAllocated"]);
    }
    world.set(v4("e"));
    let (pools, families) = (Vec::from([PoolName::from("p")]), Vec::from([Family::V4]));
    assert_eq!(world.refusal("e"), Refusal::PoolExhausted { pools, families });
}

#[test]
fn scoped_pools_are_used_by_priority_before_unscoped_ones() {
    let mut world = World::new(&[
        pool("a-unscoped", &["10.0.0.0/32"]),
        for_namespace(pool("b-last", &["10.0.1.0/32"]), "default", 0),
        for_namespace(pool("c-second", &["10.0.2.0/32"]), "default", 20),
        for_namespace(pool("d-first", &["10.0.3.0/32"]), "default", 10),
        for_namespace(pool("e-other", &["10.0.4.0/32"]), "other", 1),
    ]);
    for (name, address) in [
        ("a", "10.0.3.0"),
        ("b", "10.0.2.0"),
        ("c", "10.0.1.0"),
        ("d", "10.0.0.0"),
        ("e", ""),
    ] {
        world.set(v4(name));
        assert_eq!(world.ip(name), address);
    }
}

#[test]
fn pools_of_equal_priority_are_used_in_order_of_name_and_a_negative_priority_counts_as_none() {
    let mut world = World::new(&[
        for_namespace(pool("a", &["10.0.0.0/32"]), "default", -5),
        for_namespace(pool("b", &["10.0.1.0/32"]), "default", 7),
        for_namespace(pool("c", &["10.0.2.0/32"]), "default", 7),
    ]);
    for (name, address) in [("a", "10.0.1.0"), ("b", "10.0.2.0"), ("c", "10.0.0.0")] {
        world.set(v4(name));
        assert_eq!(world.ip(name), address);
    }
}

#[test]
fn namespace_and_service_selectors_must_both_match() {
    let mut restricted = pool("p", &["10.0.0.0/24"]);
    restricted.allocation = Some(RawAllocation {
        namespace_selectors: Vec::from([selector("team", "web")]),
        service_selectors: Vec::from([selector("app", "shop"), selector("app", "blog")]),
        ..RawAllocation::default()
    });
    let mut world = World::new(&[restricted]);
    world.catalog.set_namespaces(BTreeMap::from([
        ("web".to_string(), labels(&[("team", "web")])),
        ("db".to_string(), labels(&[("team", "db")])),
    ]));
    world.apply();
    for (name, app, is_given) in [
        ("web/a", "shop", true),
        ("web/b", "blog", true),
        ("web/c", "mail", false),
        ("db/d", "shop", false),
    ] {
        world.set(Service {
            labels: labels(&[("app", app)]),
            ..v4(name)
        });
        assert_eq!(!world.ip(name).is_empty(), is_given, "{name}");
    }
    assert_eq!(world.refusal("db/d"), Refusal::NoPoolMatchesService);
}

#[test]
fn namespace_selectors_that_match_no_namespace_exclude_all_services_even_on_request() {
    let mut restricted = pool("p", &["10.0.0.0/24"]);
    let namespace_selectors = Vec::from([selector("team", "none")]);
    restricted.allocation = Some(RawAllocation {
        namespace_selectors,
        ..RawAllocation::default()
    });
    let mut world = World::new(&[restricted]);
    world.set(asking(v4("a"), &["10.0.0.1"]));
    assert_eq!(
        world.refusal("a"),
        Refusal::PoolNotCompatible(PoolName::from("p"))
    );
    world.set(asking_pool(v4("b"), "p"));
    assert_eq!(
        world.refusal("b"),
        Refusal::PoolNotCompatible(PoolName::from("p"))
    );
}

#[test]
fn a_pool_with_an_empty_service_allocation_selects_all_services_and_is_used_before_unscoped_ones() {
    let scoped = RawPool {
        allocation: Some(RawAllocation::default()),
        ..pool("z", &["10.0.1.0/32"])
    };
    let mut world = World::new(&[pool("a", &["10.0.0.0/32"]), scoped]);
    world.set(v4("a"));
    assert_eq!(world.ip("a"), "10.0.1.0");
}

#[test]
fn a_pool_without_auto_assign_is_used_on_request_only() {
    let mut world = World::new(&[only_on_request(pool("p", &["10.0.0.0/30"]))]);
    world.set(v4("a"));
    assert_eq!(world.refusal("a"), Refusal::NoPoolMatchesService);
    world.set(asking_pool(v4("b"), "p"));
    assert_eq!(world.ip("b"), "10.0.0.0");
    world.set(asking(v4("c"), &["10.0.0.3"]));
    assert_eq!(world.ip("c"), "10.0.0.3");
}

#[test]
fn addresses_that_end_in_0_or_255_are_avoided_if_the_pool_says_so() {
    let avoiding = RawPool {
        avoid_buggy_ips: Some(true),
        ..pool("p", &["10.0.0.254-10.0.1.1"])
    };
    let mut world = World::new(&[avoiding]);
    for (name, address) in [("a", "10.0.0.254"), ("b", "10.0.1.1"), ("c", "")] {
        world.set(v4(name));
        assert_eq!(world.ip(name), address);
    }
    world.set(asking(v4("d"), &["10.0.1.0"]));
    assert_eq!(
        world.refusal("d"),
        Refusal::AddressOutsidePools(ips(&["10.0.1.0"]))
    );
    let (_, usage) = world.usage()[0];
    assert_eq!(
        (usage.assigned_v4, usage.available_v4, usage.capacity.v4),
        (2, 0, 2)
    );
}

#[test]
fn dual_stack_gets_ipv4_first_and_both_from_one_pool() {
    let mut world = World::new(&[
        pool("a", &["10.0.0.0/24"]),
        pool("b", &["fc00::/64"]),
        pool("c", &["10.0.1.0/30", "fc00:1::/126"]),
    ]);
    let mut service = dual("a", FamilyPolicy::RequireDualStack);
    service.primary_family = Some(Family::V6);
    world.set(service);
    assert_eq!(world.ip("a"), "10.0.1.0,fc00:1::");
    let usage: Vec<_> = world
        .usage()
        .into_iter()
        .map(|(_, u)| (u.assigned_v4, u.available_v4, u.available_v6))
        .collect();
    assert_eq!(usage, [(0, 256, 0), (0, 0, Capacity::MAX), (1, 3, 3)]);
    assert_eq!(world.usage().get(2).map(|(_, u)| u.available_v6), Some(3));
}

#[test]
fn what_is_available_of_a_huge_pool_is_what_is_counted_without_what_is_in_use_as_in_metallb() {
    let mut world = World::new(&[pool("p", &["fc00::/64"])]);
    world.set(v6("a"));
    let (_, usage) = world.usage()[0];
    assert_eq!(
        (usage.capacity.v6, usage.assigned_v6, usage.available_v6),
        (Capacity::MAX, 1, Capacity::MAX - 1)
    );
}

#[test]
fn prefer_dual_stack_gets_one_family_first_the_primary_one_if_no_pool_has_both() {
    let pools = [pool("a", &["10.0.0.0/24"]), pool("b", &["fc00::/64"])];
    for (primary, address) in [(None, "10.0.0.0"), (Some(Family::V6), "fc00::")] {
        let mut world = World::new(&pools);
        let service = dual("s", FamilyPolicy::PreferDualStack);
        world.set(Service {
            primary_family: primary,
            ..service
        });
        assert_eq!(world.ip("s"), address);
        assert_eq!(world.notes("s"), ["IPAllocated", "AdditionalAssignFailed"]);
    }
    let mut world = World::new(&pools);
    world.set(dual("s", FamilyPolicy::RequireDualStack));
    let Refusal::FamilyUnavailable { pools, families } = world.refusal("s") else {
        panic!("{:?}", world.refusal("s"));
    };
    assert_eq!((pools.len(), families.len()), (2, 2));
}

#[test]
fn prefer_dual_stack_gets_one_family_of_scoped_pools_before_both_of_unscoped_ones() {
    let mut world = World::new(&[
        pool("unscoped", &["10.0.0.0/24", "fc00::/64"]),
        for_namespace(pool("scoped", &["10.0.1.0/24"]), "default", 1),
    ]);
    world.set(dual("s", FamilyPolicy::PreferDualStack));
    assert_eq!(world.ip("s"), "10.0.1.0");
}

#[test]
fn a_single_stack_service_gets_its_family_with_any_policy() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/24", "fc00::/64"])]);
    world.set(v6("a"));
    assert_eq!(world.ip("a"), "fc00::");
    // The cluster is single-stack: a second address would have no backends.
    world.set(Service {
        family_policy: FamilyPolicy::PreferDualStack,
        ..v4("b")
    });
    assert_eq!(world.ip("b"), "10.0.0.0");
}

#[test]
fn requested_addresses_are_given_in_the_order_of_the_request() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/24", "fc00::/64"])]);
    world.set(asking(
        dual("a", FamilyPolicy::RequireDualStack),
        &["fc00::1", "10.0.0.9"],
    ));
    assert_eq!(world.ip("a"), "fc00::1,10.0.0.9");
    world.restart();
    assert_eq!(world.ip("a"), "fc00::1,10.0.0.9");
}

#[test]
fn a_request_that_can_never_be_met_is_refused_with_the_reason() {
    let mut world = World::new(&[
        pool("a", &["10.0.0.0/24", "fc00::/64"]),
        pool("b", &["10.0.1.0/24"]),
        for_namespace(pool("c", &["10.0.2.0/24"]), "other", 0),
    ]);
    let dual = || dual("s", FamilyPolicy::PreferDualStack);
    for (service, reason, text) in [
        (
            asking(v4("s"), &["10.9.0.1"]),
            "AddressOutsidePools",
            "[\"10.9.0.1\"] is not allowed in config",
        ),
        (
            asking(dual(), &["10.0.1.1", "fc00::1"]),
            "AddressOutsidePools",
            "is not allowed in config",
        ),
        (
            asking(dual(), &["10.0.1.1", "10.0.0.1"]),
            "FamilyMismatch",
            "does not match the ipFamily of the service",
        ),
        (
            Service {
                family_policy: FamilyPolicy::RequireDualStack,
                ..asking(dual(), &["10.0.0.1"])
            },
            "FamilyMismatch",
            "exactly one address of IPv4 and IPv6",
        ),
        (
            asking(v4("s"), &["fc00::1"]),
            "FamilyMismatch",
            "requested loadBalancer IP(s) [\"fc00::1\"]",
        ),
        (
            asking(dual(), &["10.0.0.1", "10.0.0.2"]),
            "FamilyMismatch",
            "exactly one address of IPv4 and IPv6",
        ),
        (
            asking(v4("s"), &["10.0.2.1"]),
            "PoolNotCompatible",
            "pool c not compatible for ip assignment",
        ),
        (
            asking_pool(v4("s"), "c"),
            "PoolNotCompatible",
            "pool c not compatible for ip assignment",
        ),
        (asking_pool(v4("s"), "x"), "PoolUnknown", "unknown pool \"x\""),
        (
            asking_pool(v6("s"), "b"),
            "FamilyUnavailable",
            "no available IPs in pool b",
        ),
        (
            asking_pool(asking(v4("s"), &["10.0.0.1"]), "b"),
            "PoolMismatch",
            "is not compatible with requested address pool b",
        ),
        (Service::new(key("s")), "NoClusterIPs", "no cluster IPs"),
        (
            Service {
                family_policy: FamilyPolicy::RequireDualStack,
                ..v4("s")
            },
            "NotEnoughClusterIPs",
            "not enough clusterips [\"10.96.0.1\"]",
        ),
        (
            Service {
                cluster_ips: ips(&["10.96.0.1", "10.96.0.2"]),
                ..v4("s")
            },
            "InvalidClusterIPs",
            "cannot determine the IPFamily",
        ),
    ] {
        world.set(service);
        let refusal = world.refusal("s");
        assert_eq!(refusal.reason(), reason);
        assert!(refusal.to_string().contains(text), "{refusal}");
        world.delete("s");
    }
}

#[test]
fn deviation_a_request_for_one_address_is_enough_for_a_service_that_prefers_two_families() {
    let prefers = |name: &str| dual(name, FamilyPolicy::PreferDualStack);
    let mut world = World::new(&[
        pool("p", &["10.0.0.0/29", "fc00::/126"]),
        pool("q", &["10.0.1.0/29"]),
    ]);
    world.set(asking(prefers("both"), &["10.0.0.5"]));
    assert_eq!(world.ip("both"), "10.0.0.5,fc00::");
    world.set(asking(prefers("six"), &["fc00::3"]));
    assert_eq!(world.ip("six"), "fc00::3,10.0.0.0");
    world.set(asking(prefers("alone"), &["10.0.1.1"]));
    assert_eq!(world.ip("alone"), "10.0.1.1");
    assert_eq!(world.notes("alone"), ["IPAllocated", "AdditionalAssignFailed"]);
    // Another request replaces the address of its family, and the other one stays in its place.
    world.change("both", |s| s.request.addresses = Ok(Vec::from([ip("10.0.0.6")])));
    assert_eq!(world.ip("both"), "10.0.0.6,fc00::");
    world.change("both", |s| s.request.addresses = Ok(Vec::from([ip("fc00::2")])));
    assert_eq!(world.ip("both"), "10.0.0.6,fc00::2");
    world.change("both", |s| s.request.addresses = Ok(Vec::new()));
    assert_eq!(world.ip("both"), "10.0.0.6,fc00::2");
    world.change("both", |s| s.request.addresses = Ok(Vec::from([ip("10.0.1.2")])));
    assert_eq!(world.ip("both"), "10.0.1.2");
    // What is in use is kept until the request can be met.
    world.change("six", |s| s.request.addresses = Ok(Vec::from([ip("10.0.1.2")])));
    assert_eq!(world.ip("six"), "fc00::3,10.0.0.0");
    let before = world.services.clone();
    world.restart();
    assert_eq!(world.services, before);
}

#[test]
fn without_pools_the_reason_is_no_pool() {
    let mut world = World::new(&[]);
    world.set(v4("a"));
    assert_eq!(world.refusal("a"), Refusal::NoPool);
    world.pools(&[pool("p", &["10.0.0.0/24"])]);
    assert_eq!(world.ip("a"), "10.0.0.0");
}

#[test]
fn only_the_service_of_a_reservation_gets_the_reserved_address() {
    let mut reserving = pool("p", &["10.0.0.0/30"]);
    let reservation = |address: &str, service: &str| RawReservation {
        address: address.into(),
        namespace: "default".into(),
        service: service.into(),
    };
    reserving.reservations = Vec::from([reservation("10.0.0.0", "owner"), reservation("10.0.0.2", "other")]);
    let mut world = World::new(&[reserving]);
    for (name, address) in [
        ("a", "10.0.0.1"),
        ("b", "10.0.0.3"),
        ("c", ""),
        ("owner", "10.0.0.0"),
    ] {
        world.set(v4(name));
        assert_eq!(world.ip(name), address, "{name}");
    }
    world.set(asking(v4("d"), &["10.0.0.2"]));
    let (address, service, owner) = (ip("10.0.0.2"), key("d"), key("other"));
    let refused = Refusal::AddressReserved {
        address,
        service,
        owner,
    };
    assert_eq!(world.refusal("d"), refused);
    world.delete("owner");
    assert_eq!((world.ip("c"), world.ip("d")), (String::new(), String::new()));
    world.set(v4("owner"));
    assert_eq!(world.ip("owner"), "10.0.0.0");
}

#[test]
fn a_pool_meets_the_requests_in_its_scope() {
    let reservation = RawReservation {
        address: "10.0.0.5".into(),
        namespace: "a".into(),
        service: "owner".into(),
    };
    let scoped = |requests| {
        let mut world = World::new(&[RawPool {
            requests,
            reservations: Vec::from([reservation.clone()]),
            ..pool("p", &["10.0.0.0/29"])
        }]);
        world.set(v4("a/has"));
        world.set(v4("a/had"));
        world.delete("a/had");
        world.pass(3600);
        world
    };
    let (any, own, reserved) = (
        RequestScope::Any,
        RequestScope::SameNamespace,
        RequestScope::Reserved,
    );
    let (other, unreserved) = ("AddressOfOtherNamespace", "AddressNotReserved");
    // (Service, its request, the result of each scope: empty if it gets the address)
    for (name, request, results) in [
        (
            "b/s",
            "10.0.0.0",
            [(any, "AddressInUse"), (own, other), (reserved, unreserved)],
        ),
        (
            "b/s",
            "10.0.0.1",
            [(any, ""), (own, other), (reserved, unreserved)],
        ),
        ("b/s", "10.0.0.3", [(any, ""), (own, ""), (reserved, unreserved)]),
        (
            "a/s",
            "10.0.0.0",
            [
                (any, "AddressInUse"),
                (own, "AddressInUse"),
                (reserved, unreserved),
            ],
        ),
        ("a/s", "10.0.0.1", [(any, ""), (own, ""), (reserved, unreserved)]),
        (
            "a/had",
            "10.0.0.1",
            [(any, ""), (own, ""), (reserved, unreserved)],
        ),
        ("a/owner", "10.0.0.5", [(any, ""), (own, ""), (reserved, "")]),
    ] {
        for (scope, result) in results {
            let mut world = scoped(scope);
            world.set(asking(v4(name), &[request]));
            let text = alloc::format!("{name} {request} {scope:?}");
            if result.is_empty() {
                assert_eq!(world.ip(name), request, "{text}");
            } else {
                assert_eq!(world.refusal(name).reason(), result, "{text}");
            }
            // Requests for a pool, and Services without a request, are not concerned.
            world.set(asking_pool(v4("b/pool"), "p"));
            assert_ne!(world.ip("b/pool"), "", "{text}");
        }
    }
}

#[test]
fn a_service_that_has_what_it_requests_keeps_it_when_the_scope_of_the_pool_becomes_narrower() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/29", "fc00::/126"])]);
    world.set(asking(dual("s", FamilyPolicy::PreferDualStack), &["10.0.0.3"]));
    world.pools(&[RawPool {
        requests: RequestScope::Reserved,
        ..pool("p", &["10.0.0.0/29", "fc00::/126"])
    }]);
    world.restart();
    assert_eq!(world.ip("s"), "10.0.0.3,fc00::");
}

#[test]
fn a_namespace_gets_no_more_addresses_of_a_pool_than_its_quota() {
    let limited = RawPool {
        quota_per_namespace: Some(2),
        ..pool("p", &["10.0.0.0/24", "fc00::/64"])
    };
    let mut world = World::new(&[limited]);
    world.set(v4("a/1"));
    world.set(dual("a/2", FamilyPolicy::RequireDualStack));
    world.set(asking(v4("a/3"), &["10.0.0.9"]));
    world.set(v4("a/4"));
    assert_eq!(
        (world.ip("a/1"), world.ip("a/3")),
        ("10.0.0.0".into(), "10.0.0.9".into())
    );
    let refused = Refusal::QuotaExceeded {
        pool: PoolName::from("p"),
        namespace: "a".into(),
        quota: 2,
    };
    assert_eq!(world.refusal("a/2"), refused);
    assert_eq!(world.refusal("a/4"), refused);
    world.set(dual("b/1", FamilyPolicy::RequireDualStack));
    assert_eq!(world.ip("b/1"), "10.0.0.1,fc00::");
    // The namespace has one address less and one Service more: there is still no quota for a pair.
    world.delete("a/3");
    assert_eq!(
        (world.ip("a/2"), world.ip("a/4")),
        (String::new(), "10.0.0.2".into())
    );
}

#[test]
fn with_a_full_quota_services_of_the_namespace_may_still_share_its_addresses() {
    let limited = RawPool {
        quota_per_namespace: Some(1),
        ..pool("p", &["10.0.0.0/24"])
    };
    let mut world = World::new(&[limited]);
    world.set(asking(sharing(v4("a/1"), "k", 80), &["10.0.0.7"]));
    world.set(sharing(v4("a/2"), "k", 81));
    assert_eq!(world.ip("a/2"), "10.0.0.7");
    world.set(sharing(v4("a/3"), "k", 80));
    assert_eq!(world.refusal("a/3").reason(), "QuotaExceeded");
}

#[test]
fn a_reservation_of_one_family_does_not_prevent_the_past_assignment_of_the_other_family() {
    let mut reserving = pool("p", &["10.0.0.0/30", "fc00::/126"]);
    let (namespace, service) = ("default".into(), "s".into());
    reserving.reservations = Vec::from([RawReservation {
        address: "10.0.0.2".into(),
        namespace,
        service,
    }]);
    let mut world = World::new(&[reserving]);
    world.set(v6("s"));
    world.delete("s");
    world.set(v6("s"));
    assert_eq!(world.ip("s"), "fc00::");
    world.set(v4("s"));
    assert_eq!(world.ip("s"), "10.0.0.2");
}

#[test]
fn a_refusal_names_services_of_other_namespaces_only_to_operators() {
    let reservation = RawReservation {
        address: "10.0.0.3".into(),
        namespace: "victim".into(),
        service: "secret".into(),
    };
    let mut world = World::new(&[RawPool {
        reservations: Vec::from([reservation]),
        ..pool("p", &["10.0.0.0/24"])
    }]);
    world.set(asking(v4("victim/secret"), &["10.0.0.1"]));
    world.set(asking(sharing(v4("victim/secret-too"), "k", 80), &["10.0.0.2"]));
    world.set(asking(sharing(v4("mine"), "k", 81), &["10.0.0.2"]));
    for (service, reason, tells) in [
        (
            asking(v4("s"), &["10.0.0.1"]),
            "AddressInUse",
            "by a Service of another namespace;",
        ),
        (
            asking(sharing(v4("s"), "l", 82), &["10.0.0.2"]),
            "SharingKeyMismatch",
            "by default/mine,a Service of another namespace;",
        ),
        (
            asking(sharing(v4("s"), "k", 80), &["10.0.0.2"]),
            "PortInUse",
            "by a Service of another namespace;",
        ),
        (
            asking(sharing(v4("s"), "k", 81), &["10.0.0.2"]),
            "PortInUse",
            "by default/mine;",
        ),
        (
            asking(v4("s"), &["10.0.0.3"]),
            "AddressReserved",
            "for a Service of another namespace;",
        ),
    ] {
        world.set(service);
        let refusal = world.refusal("s");
        assert_eq!(refusal.reason(), reason);
        let text = refusal.to_string();
        assert!(text.contains(tells) && !text.contains("victim"), "{text}");
        let full = alloc::format!("{refusal:#}");
        assert!(
            full.contains("victim/secret") || tells == "by default/mine;",
            "{full}"
        );
        world.delete("s");
    }
}

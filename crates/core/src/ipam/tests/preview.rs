//! What is said of a request before the Service is written.

use super::*;
use crate::RequestError;
use crate::config::{Pool, RequestScope};
use crate::ipam::ExternalUser;

/// Pools of all kinds, and Services that have their addresses.
fn world() -> World {
    let reserved = RawPool {
        requests: RequestScope::Reserved,
        reservations: Vec::from([RawReservation {
            address: "10.0.1.7".to_string(),
            namespace: "team".to_string(),
            service: "kept".to_string(),
        }]),
        ..pool("reserved", &["10.0.1.0/29"])
    };
    let mut world = World::new(&[
        pool("open", &["10.0.0.0/29", "fc00::/120"]),
        reserved,
        for_namespace(pool("scoped", &["10.0.2.0/29"]), "team", 1),
        RawPool {
            quota_per_namespace: Some(1),
            ..only_on_request(pool("small", &["10.0.3.0/29"]))
        },
    ]);
    world.set(asking(v4("team/holder"), &["10.0.0.1"]));
    world.set(asking(sharing(v4("sharer"), "k", 80), &["10.0.0.2"]));
    world.set(asking(sharing(v4("sharer-2"), "k", 81), &["10.0.0.2"]));
    world.set(asking(v4("small"), &["10.0.3.1"]));
    world
}

#[test]
fn the_active_controller_and_a_standby_foresee_the_refusal() {
    let new = |addresses: &[&str]| asking(v4("new"), addresses);
    let unreadable = {
        let mut service = v4("new");
        service.request.addresses = Err(RequestError::Field("x".to_string()));
        service
    };
    let cases = [
        (v4("new"), ""),
        (new(&["10.0.0.3"]), ""),
        (new(&["10.0.0.1"]), "AddressInUse"),
        (new(&["10.0.0.2"]), "AddressInUse"),
        (new(&["192.0.2.1"]), "AddressOutsidePools"),
        (new(&["fc00::1"]), "FamilyMismatch"),
        (new(&["10.0.1.7"]), "AddressNotReserved"),
        (new(&["10.0.2.1"]), "PoolNotCompatible"),
        (new(&["10.0.3.2"]), "QuotaExceeded"),
        (asking(v4("other/new"), &["10.0.3.2"]), ""),
        (asking(sharing(v4("new"), "k", 82), &["10.0.0.2"]), ""),
        (asking(sharing(v4("new"), "k", 81), &["10.0.0.2"]), "PortInUse"),
        (
            asking(sharing(v4("new"), "l", 82), &["10.0.0.2"]),
            "SharingKeyMismatch",
        ),
        (asking(v4("team/kept"), &["10.0.1.7"]), ""),
        (asking_pool(v4("new"), "none"), "PoolUnknown"),
        (asking_pool(v4("new"), "scoped"), "PoolNotCompatible"),
        (asking_pool(v4("team/new"), "scoped"), ""),
        (asking_pool(new(&["10.0.0.3"]), "reserved"), "PoolMismatch"),
        (unreadable, "InvalidRequest"),
    ];
    for (service, expected) in cases {
        let mut world = world();
        let before = alloc::format!("{:?}", world.standby.state);
        for (who, allocator) in [("active", &mut world.allocator), ("standby", &mut world.standby)] {
            let refusal = allocator.check_request(&service, world.now);
            let reason = refusal.as_ref().map_or("", Refusal::reason);
            assert_eq!(reason, expected, "{who}: {service:?}");
        }
        let is_as_before = alloc::format!("{:?}", world.standby.state) == before;
        assert!(is_as_before, "the standby knows as much as before: {service:?}");
        let foreseen = world.allocator.check_request(&service, world.now);
        let key = service.key.clone();
        world.set(service);
        let refused = match world.allocator.outcome(&key) {
            Some(AllocationOutcome::Unassigned(refusal)) => Some(refusal),
            _ => None,
        };
        assert_eq!(refused, foreseen);
    }
}

#[test]
fn a_service_may_ask_for_what_it_has_and_move_within_its_quota() {
    let mut world = world();
    for address in ["10.0.3.1", "10.0.3.2"] {
        let service = Service {
            assigned: ips(&["10.0.3.1"]),
            ..asking(v4("small"), &[address])
        };
        assert_eq!(world.allocator.check_request(&service, world.now), None);
        assert_eq!(world.standby.check_request(&service, world.now), None);
    }
}

#[test]
fn an_edit_by_which_a_service_loses_an_address_that_it_shares_is_foreseen() {
    let held = |service| Service {
        assigned: ips(&["10.0.0.2"]),
        ..service
    };
    let cases = [
        (sharing(v4("sharer-2"), "k", 82), ""),
        (sharing(v4("sharer-2"), "k", 80), "PortInUse"),
        (sharing(v4("sharer-2"), "l", 81), "SharingKeyMismatch"),
        (v4("sharer-2"), "AddressInUse"),
    ];
    for (edited, expected) in cases {
        // Also a Service that requests the address that it has.
        for service in [held(edited.clone()), held(asking(edited.clone(), &["10.0.0.2"]))] {
            let mut world = world();
            for (who, allocator) in [("active", &mut world.allocator), ("standby", &mut world.standby)] {
                let refusal = allocator.check_request(&service, world.now);
                let reason = refusal.as_ref().map_or("", Refusal::reason);
                assert_eq!(reason, expected, "{who}: {service:?}");
            }
            world.set(service);
            let keeps = world.ip("sharer-2") == "10.0.0.2";
            assert_eq!(keeps, expected.is_empty(), "what became of it: {edited:?}");
        }
    }
}

#[test]
fn a_service_that_asks_for_another_address_may_leave_the_one_that_it_shares() {
    let mut world = world();
    let service = Service {
        assigned: ips(&["10.0.0.2"]),
        ..asking(v4("sharer-2"), &["10.0.0.3"])
    };
    for allocator in [&mut world.allocator, &mut world.standby] {
        assert_eq!(allocator.check_request(&service, world.now), None);
    }
    world.set(service);
    assert_eq!(world.ip("sharer-2"), "10.0.0.3");
}

#[test]
fn an_anonymous_refusal_names_no_other_service() {
    let keys = |names: &[&str]| names.iter().copied().map(key).collect::<Vec<_>>();
    let address = ip("10.0.0.1");
    let refusals = [
        Refusal::AddressInUse {
            address,
            service: key("own"),
            holders: keys(&["holder", "other/holder"]),
        },
        Refusal::SharingKeyMismatch {
            address,
            service: key("own"),
            holders: keys(&["holder"]),
        },
        Refusal::PortInUse {
            address,
            port: tcp(80),
            service: key("own"),
            holder: key("holder"),
        },
        Refusal::AddressReserved {
            address,
            service: key("own"),
            owner: key("holder"),
        },
    ];
    for refusal in refusals {
        assert!(refusal.to_string().contains("holder"), "{refusal}");
        let text = refusal.anonymous().to_string();
        assert!(
            text.contains("another Service") && !text.contains("holder"),
            "{text}"
        );
    }
}

#[test]
fn without_pools_only_a_request_is_refused() {
    let mut allocator = Allocator::new();
    assert_eq!(allocator.check_request(&v4("a"), Time::ZERO), None);
    let service = asking_pool(v4("a"), "p");
    assert_eq!(
        allocator.check_request(&service, Time::ZERO),
        Some(Refusal::NoPool)
    );
}

#[test]
fn the_addresses_of_nodes_in_a_pool_are_found_before_it_is_in_force() {
    let mut allocator = Allocator::new();
    let node = ExternalUser::Node("n".into());
    allocator.set_external_user(node, &[ip("10.0.0.1"), ip("10.9.9.9")], Time::ZERO);
    let service = ExternalUser::Service(key("s"));
    allocator.set_external_user(service, &[ip("10.0.0.2")], Time::ZERO);
    let mut catalog = Catalog::new();
    catalog.set_pools(Vec::from([
        pool("p", &["10.0.0.0/29"]),
        pool("q", &["10.0.1.0/29"]),
    ]));
    let overlaps = catalog
        .pools()
        .iter()
        .map(|pool: &Pool| allocator.node_overlap(pool));
    let overlaps: Vec<Option<String>> = overlaps.map(|overlap| Some(overlap?.to_string())).collect();
    let text = overlaps[0].as_ref().expect("an overlap");
    assert!(
        text.starts_with("the pool has addresses that others use: 10.0.0.1 (node n); "),
        "{text}"
    );
    assert_eq!(overlaps[1], None);
}

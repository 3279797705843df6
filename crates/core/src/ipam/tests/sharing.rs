//! Services that share an address.

use super::*;
use crate::config::SharingScope;

fn local(service: Service, backend: &str) -> Service {
    Service {
        backend_key: backend.into(),
        is_local: true,
        ..service
    }
}

fn with_scope(scope: Option<SharingScope>, pool: RawPool) -> RawPool {
    RawPool {
        sharing: scope,
        ..pool
    }
}

#[test]
fn sharers_have_the_same_key_and_backends_and_no_port_in_common() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("first"), "k", 80));
    for (service, reason) in [
        (v4("s"), "AddressInUse"),
        (sharing(v4("s"), "other", 81), "SharingKeyMismatch"),
        (local(sharing(v4("s"), "k", 81), "app=x"), "SharingKeyMismatch"),
        (sharing(v4("s"), "k", 80), "PortInUse"),
    ] {
        world.set(asking(service, &["10.0.0.0"]));
        assert_eq!(world.refusal("s").reason(), reason);
        world.delete("s");
    }
    let mut udp = sharing(v4("elsewhere/s"), "k", 80);
    udp.ports = BTreeSet::from([Port {
        protocol: Transport::Udp,
        number: 80,
    }]);
    world.set(udp);
    assert_eq!(world.ip("elsewhere/s"), "10.0.0.0");
    world.set(asking(sharing(v4("s"), "k", 80), &["10.0.0.0"]));
    assert_eq!(
        world.refusal("s").to_string().split(" by ").next(),
        Some("port TCP/80 is already in use on \"10.0.0.0\"")
    );
}

#[test]
fn deviation_local_services_of_different_namespaces_share_only_if_the_pool_says_so() {
    let (same, any) = (Some(SharingScope::SameNamespace), Some(SharingScope::Any));
    let cluster: fn(Service) -> Service = |service| service;
    let selecting: fn(Service) -> Service = |service| local(service, "app=x");
    let manual: fn(Service) -> Service = |service| local(service, "");
    // (the first Service, the second one, in which scopes they share across namespaces)
    for (first, second, scopes) in [
        (cluster, cluster, &[None, any][..]),
        (selecting, selecting, &[any]),
        (manual, manual, &[any]),
        (cluster, manual, &[any]),
        (manual, cluster, &[any]),
    ] {
        for scope in [None, same, any] {
            for (namespace, shares) in [("a", true), ("b", scopes.contains(&scope))] {
                let mut world = World::new(&[with_scope(scope, pool("p", &["10.0.0.0/30"]))]);
                world.set(first(sharing(v4("a/first"), "k", 80)));
                let name = alloc::format!("{namespace}/second");
                let service = second(sharing(v4(&name), "k", 81));
                world.set(service.clone());
                assert_eq!(world.ip(&name) == "10.0.0.0", shares, "{scope:?} {namespace}");
                world.delete(&name);
                world.pass(3600);
                world.set(asking(service, &["10.0.0.0"]));
                if shares {
                    assert_eq!(world.ip(&name), "10.0.0.0");
                } else {
                    assert_eq!(world.refusal(&name).reason(), "SharingNotAllowed");
                    assert!(!world.refusal(&name).to_string().contains("first"));
                    // The refused Service waits.
                    world.delete("a/first");
                    world.pass(60);
                    assert_eq!(world.ip(&name), "10.0.0.0");
                }
            }
        }
    }
}

#[test]
fn services_that_share_across_namespaces_already_stay_and_no_other_one_joins() {
    let mut world = World::new(&[with_scope(Some(SharingScope::Any), pool("p", &["10.0.0.0/31"]))]);
    world.set(local(sharing(v4("a/first"), "k", 80), "app=x"));
    world.set(local(sharing(v4("b/second"), "k", 81), "app=x"));
    world.pools(&[pool("p", &["10.0.0.0/31"])]);
    world.restart();
    world.hand_over();
    assert_eq!(
        (world.ip("a/first"), world.ip("b/second")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    world.change("b/second", |s| s.ports = BTreeSet::from([tcp(82)]));
    assert_eq!(world.ip("b/second"), "10.0.0.0");
    for (name, port) in [("a/third", 83), ("b/fourth", 84)] {
        world.set(asking(
            local(sharing(v4(name), "k", port), "app=x"),
            &["10.0.0.0"],
        ));
        assert_eq!(world.refusal(name).reason(), "SharingNotAllowed");
    }
    // The Services that are left are of one namespace.
    world.delete("a/first");
    assert_eq!(
        (world.ip("a/third"), world.ip("b/fourth")),
        ("".into(), "10.0.0.0".into())
    );
    world.set(local(sharing(v4("b/fifth"), "k", 85), "app=x"));
    assert_eq!(world.ip("b/fifth"), "10.0.0.0", "found without a request");
}

#[test]
fn a_sharer_that_becomes_local_closes_the_address_to_other_namespaces() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.set(sharing(v4("a/first"), "k", 80));
    world.change("a/first", |s| s.is_local = true);
    world.set(sharing(v4("b/second"), "k", 81));
    assert_eq!(world.ip("b/second"), "10.0.0.1");
    world.change("a/first", |s| s.is_local = false);
    world.set(sharing(v4("b/third"), "k", 82));
    assert_eq!(world.ip("b/third"), "10.0.0.0");
}

#[test]
fn ten_thousand_namespaces_with_one_key_do_not_slow_each_other_down() {
    // If a search met the addresses of the other namespaces, this would exceed the time limit of any test runner.
    const EACH: u32 = 10_000;
    let mut world = World::new(&[pool("p", &["10.0.0.0-10.0.39.15"])]);
    for n in 0..EACH {
        let name = alloc::format!("namespace-{n}/s");
        world.set(local(sharing(v4(&name), "k", 80), "app=x"));
        assert_ne!(world.ip(&name), "");
    }
    world.set(local(sharing(v4("namespace-7/t"), "k", 81), "app=x"));
    assert_eq!(world.ip("namespace-7/t"), world.ip("namespace-7/s"));
}

#[test]
fn a_service_with_an_empty_key_does_not_share() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("a"), "", 80));
    world.set(asking(sharing(v4("b"), "", 81), &["10.0.0.0"]));
    let text = world.refusal("b").to_string();
    assert!(
        text.starts_with("can't change sharing key for \"default/b\", address also in use by default/a"),
        "{text}"
    );
}

#[test]
fn a_service_gets_the_first_address_shared_or_free() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(asking(sharing(v4("a"), "k", 80), &["10.0.0.2"]));
    world.set(sharing(v4("b"), "k", 81));
    assert_eq!(world.ip("b"), "10.0.0.0");
    // From now on the shared address is the first one in order that the Services can have.
    world.set(sharing(v4("c"), "k", 82));
    assert_eq!(world.ip("c"), "10.0.0.0");
    world.set(sharing(v4("d"), "k", 81));
    assert_eq!(world.ip("d"), "10.0.0.1");
}

#[test]
fn a_change_of_policy_and_selector_evicts_and_readmits() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("first"), "share", 80));
    world.set(sharing(v4("second"), "share", 81));
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    world.notes("second");
    let set_backend = |world: &mut World, name: &str, backend: &str| {
        world.change(name, |s| *s = local(s.clone(), backend));
    };
    set_backend(&mut world, "second", "app=x");
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), String::new())
    );
    assert_eq!(world.notes("second"), ["ClearAssignment"]);
    set_backend(&mut world, "first", "app=x");
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    set_backend(&mut world, "first", "app=y");
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        (String::new(), "10.0.0.0".into())
    );
    set_backend(&mut world, "second", "app=y");
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
}

#[test]
fn a_port_that_a_sharer_drops_serves_a_waiting_service() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    let mut first = sharing(v4("a"), "k", 80);
    first.ports.insert(tcp(443));
    world.set(first);
    world.set(sharing(v4("b"), "k", 443));
    assert_eq!(world.ip("b"), "");
    world.change("a", |s| {
        s.ports.remove(&tcp(443));
    });
    assert_eq!(
        (world.ip("a"), world.ip("b")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    // The port is in use now: a sharer that adds it again is evicted.
    world.change("a", |s| {
        s.ports.insert(tcp(443));
    });
    assert_eq!((world.ip("a"), world.ip("b")), (String::new(), "10.0.0.0".into()));
}

#[test]
fn a_sole_holder_changes_its_key_in_place_and_others_share_its_address() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("a"), "", 80));
    world.set(sharing(v4("b"), "k", 81));
    assert_eq!(world.ip("b"), "");
    world.change("a", |s| s.sharing_key = "k".into());
    assert_eq!(
        (world.ip("a"), world.ip("b")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    world.delete("b");
    world.change("a", |s| s.sharing_key = "".into());
    world.set(sharing(v4("b"), "k", 81));
    assert_eq!((world.ip("a"), world.ip("b")), ("10.0.0.0".into(), String::new()));
}

#[test]
fn a_service_that_requested_an_address_shares_it_when_its_holder_starts_to_share() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(sharing(v4("a"), "", 80));
    world.set(asking(sharing(v4("b"), "k", 81), &["10.0.0.0"]));
    assert_eq!(world.refusal("b").reason(), "AddressInUse");
    world.change("a", |s| s.sharing_key = "k".into());
    assert_eq!(world.ip("b"), "10.0.0.0");
}

#[test]
fn a_shared_address_counts_once_and_is_free_when_its_last_holder_leaves() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.set(sharing(v4("a"), "k", 80));
    world.set(sharing(v4("b"), "k", 81));
    let used = |world: &World| {
        world
            .usage()
            .into_iter()
            .map(|(_, usage)| usage.assigned_v4)
            .sum::<u128>()
    };
    assert_eq!(used(&world), 1);
    world.delete("a");
    assert_eq!((used(&world), world.ip("b")), (1, "10.0.0.0".into()));
    world.delete("b");
    assert_eq!(used(&world), 0);
}

#[test]
fn a_status_that_changes_together_with_the_ports_admits_no_service_with_a_port_in_use() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("a"), "k", 80));
    world.set(sharing(v4("b"), "k", 81));
    world.change("b", |s| {
        s.ports = BTreeSet::from([tcp(80)]);
        s.assigned = ips(&["9.9.9.9"]);
    });
    assert_eq!((world.ip("a"), world.ip("b")), ("10.0.0.0".into(), String::new()));
}

#[test]
fn a_sharer_that_moves_gives_back_one_address_of_the_quota_not_two() {
    let limited = RawPool {
        quota_per_namespace: Some(2),
        ..pool("p", &["10.0.0.0/29"])
    };
    let mut world = World::new(&[limited]);
    world.set(sharing(v4("x/1"), "k", 80));
    world.set(sharing(v4("y/1"), "k", 81));
    world.set(v4("y/2"));
    world.change("y/1", |s| s.request.addresses = Ok(Vec::from([ip("10.0.0.5")])));
    assert_eq!(world.ip("y/1"), "10.0.0.5");
    world.set(v4("y/3"));
    assert_eq!(world.refusal("y/3").reason(), "QuotaExceeded");
}

#[test]
fn a_conflict_of_ports_evicts_also_while_the_cluster_ips_are_invalid() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(sharing(v4("a"), "k", 80));
    world.set(sharing(v4("b"), "k", 81));
    world.change("b", |s| {
        s.ports = BTreeSet::from([tcp(80)]);
        s.cluster_ips.push(ip("10.96.0.2"));
    });
    assert_eq!(
        (world.ip("a"), world.refusal("b").reason()),
        ("10.0.0.0".into(), "InvalidClusterIPs")
    );
}

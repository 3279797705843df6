//! Services that share an address.

use super::*;

fn local(service: Service, backend: &str) -> Service {
    Service {
        backend_key: backend.into(),
        ..service
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
    world.change("second", |s| s.backend_key = "app=x".into());
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), String::new())
    );
    assert_eq!(world.notes("second"), ["ClearAssignment"]);
    world.change("first", |s| s.backend_key = "app=x".into());
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        ("10.0.0.0".into(), "10.0.0.0".into())
    );
    world.change("first", |s| s.backend_key = "app=y".into());
    assert_eq!(
        (world.ip("first"), world.ip("second")),
        (String::new(), "10.0.0.0".into())
    );
    world.change("second", |s| s.backend_key = "app=y".into());
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

//! Addresses that nodes and other Services use without the allocator, and what one namespace can keep from others.

use super::*;
use crate::ipam::ExternalUser;

fn service_user(name: &str) -> ExternalUser {
    ExternalUser::Service(key(name))
}

impl World {
    /// Sets the addresses that `user` uses without the allocator.
    fn use_externally(&mut self, user: &ExternalUser, addresses: &[&str]) {
        let addresses = ips(addresses);
        self.standby.set_external_user(user.clone(), &addresses, self.now);
        self.allocator
            .set_external_user(user.clone(), &addresses, self.now);
        self.deliver();
    }

    /// Returns the messages about pools.
    fn overlaps(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.allocator.poll_overlap())
            .map(|overlap| overlap.to_string())
            .collect()
    }
}

#[test]
fn an_address_in_external_ips_of_another_service_is_the_last_that_is_given_out() {
    let mut world = World::new(&[
        pool("first", &["10.0.0.0/31"]),
        for_namespace(pool("scoped", &["10.0.1.0/32"]), "default", 1),
    ]);
    world.use_externally(&service_user("x/old"), &["10.0.0.0", "10.0.1.0"]);
    world.set(v4("a"));
    assert_eq!(
        world.ip("a"),
        "10.0.0.1",
        "also before pools of a better priority"
    );
    assert_eq!(world.notes("a"), ["IPAllocated"]);
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "10.0.1.0", "nothing else is free");
    assert_eq!(world.notes("b"), ["IPAllocated", "AddressUsedElsewhere"]);
    // What is released goes to the Service that waits.
    world.set(v4("c"));
    assert_eq!(world.ip("c"), "10.0.0.0");
    world.set(v4("d"));
    assert_eq!(world.refusal("d").reason(), "PoolExhausted");
    world.delete("c");
    assert_eq!(world.ip("d"), "10.0.0.0");
}

#[test]
fn addresses_in_quarantine_come_before_those_that_others_use() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.use_externally(&service_user("old"), &["10.0.0.0"]);
    world.set(v4("a"));
    world.delete("a");
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "10.0.0.1");
    // The quarantine of an address that others use is for requests of other namespaces, too.
    world.set(v4("x/c"));
    assert_eq!(world.ip("x/c"), "10.0.0.0");
    world.delete("x/c");
    world.set(asking(v4("thief"), &["10.0.0.0"]));
    assert_eq!(world.refusal("thief").reason(), "AddressInQuarantine");
    world.use_externally(&service_user("old"), &[]);
    assert_eq!(world.refusal("thief").reason(), "AddressInQuarantine");
    world.pass(60);
    assert_eq!(world.ip("thief"), "10.0.0.0");
}

#[test]
fn a_request_for_an_address_that_another_service_uses_is_met_with_a_warning_that_names_no_other_tenant() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.use_externally(&service_user("secret/name"), &["10.0.0.3"]);
    world.set(asking(v4("s"), &["10.0.0.3"]));
    assert_eq!(world.ip("s"), "10.0.0.3");
    let note = world.notes.pop().expect("a note").1;
    assert!(note.is_warning() && note.lasts());
    let (tenant, operator) = (note.to_string(), alloc::format!("{note:#}"));
    assert!(
        tenant.starts_with("a Service of another namespace uses"),
        "{tenant}"
    );
    assert!(!tenant.contains("secret") && operator.contains("Service secret/name"));
    world.use_externally(&service_user("secret/name"), &[]);
    world.use_externally(&service_user("default/near"), &["10.0.0.3"]);
    let note = world.notes.pop().expect("a note").1;
    assert!(
        note.to_string().starts_with("Service default/near uses"),
        "{note}"
    );
}

#[test]
fn an_address_in_use_stays_when_others_use_it_too_and_the_service_says_so_once() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(v4("s"));
    assert_eq!(world.notes("s"), ["IPAllocated"]);
    let node = ExternalUser::Node("n".into());
    for (user, reason) in [
        (service_user("x/y"), "AddressUsedElsewhere"),
        (node, "AddressOfNode"),
    ] {
        world.use_externally(&user, &["10.0.0.0"]);
        world.use_externally(&user, &["10.0.0.0", "10.0.0.2"]);
        assert_eq!(world.notes("s"), [reason]);
        world.restart_with(&user, &["10.0.0.0"]);
        assert_eq!(
            (world.ip("s"), world.notes("s")),
            ("10.0.0.0".into(), Vec::from([reason]))
        );
        world.use_externally(&user, &[]);
        assert_eq!(world.notes("s"), [""; 0]);
    }
}

impl World {
    /// Replaces the controller with a new one that knows an external user.
    fn restart_with(&mut self, user: &ExternalUser, addresses: &[&str]) {
        self.allocator = Allocator::new();
        for service in self.services.values() {
            self.allocator.set_service(service.clone(), self.now);
        }
        self.allocator.set_catalog(&self.catalog, self.now);
        self.allocator
            .set_external_user(user.clone(), &ips(addresses), self.now);
        self.allocator.activate(self.now);
        self.deliver();
    }
}

#[test]
fn the_address_of_a_service_in_its_own_external_ips_is_no_second_use() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.set(asking(v4("s"), &["10.0.0.0"]));
    world.use_externally(&ExternalUser::LoadBalancer(key("s")), &["10.0.0.0"]);
    world.change("s", |s| s.created = 1);
    assert_eq!(world.notes("s"), ["IPAllocated"]);
    assert_eq!(world.overlaps(), [""; 0]);
}

#[test]
fn the_address_of_a_node_is_the_last_that_is_given_out_and_the_service_says_so() {
    let node = ExternalUser::Node("n".into());
    let mut world = World::new(&[pool("p", &["10.0.0.0-10.0.0.2"])]);
    world.use_externally(&node, &["10.0.0.0", "10.0.0.1"]);
    world.set(v4("any"));
    assert_eq!(
        (world.ip("any"), world.notes("any")),
        ("10.0.0.2".into(), Vec::from(["IPAllocated"]))
    );
    let expected = Vec::from(["IPAllocated", "AddressOfNode"]);
    world.set(asking(v4("asking"), &["10.0.0.1"]));
    assert_eq!(
        (world.ip("asking"), world.notes("asking")),
        ("10.0.0.1".into(), expected.clone())
    );
    world.set(v4("last"));
    assert_eq!(
        (world.ip("last"), world.notes("last")),
        ("10.0.0.0".into(), expected)
    );
    // What is released goes to the Service that waits.
    world.set(v4("waiting"));
    assert_eq!(world.refusal("waiting").reason(), "PoolExhausted");
    world.delete("last");
    assert_eq!(world.ip("waiting"), "10.0.0.0");
}

#[test]
fn a_past_address_that_others_use_now_does_not_return_while_another_is_free() {
    for user in [ExternalUser::Node("n".into()), service_user("x/y")] {
        let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
        world.set(v4("s"));
        world.delete("s");
        world.use_externally(&user, &["10.0.0.0"]);
        world.set(v4("s"));
        assert_eq!(world.ip("s"), "10.0.0.1");
    }
}

#[test]
fn external_uses_outlast_a_change_of_pools_and_are_reported_once() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.use_externally(&service_user("x/y"), &["10.0.0.0", "192.0.2.1"]);
    world.use_externally(&ExternalUser::Node("n".into()), &["10.0.0.1", "192.0.2.2"]);
    let message = "the pool has addresses that others use: 10.0.0.0 (Service x/y), 10.0.0.1 (node n); ";
    let overlaps = world.overlaps();
    assert!(
        overlaps.len() == 1 && overlaps[0].starts_with(message),
        "{overlaps:?}"
    );
    world.pools(&[pool("p", &["10.0.0.0/30"]), pool("q", &["192.0.2.0/24"])]);
    let overlaps = world.overlaps();
    assert!(
        overlaps.len() == 1 && overlaps[0].contains("192.0.2.1"),
        "{overlaps:?}"
    );
    world.set(asking_pool(v4("s"), "p"));
    assert_eq!(world.ip("s"), "10.0.0.2");
    world.hand_over();
    world.set(asking_pool(v4("t"), "q"));
    assert_eq!(world.ip("t"), "192.0.2.0");
    world.set(asking_pool(v4("u"), "q"));
    assert_eq!(world.ip("u"), "192.0.2.3");
}

#[test]
fn a_request_and_release_in_quarantine_does_not_prolong_it() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    let looped = asking(v4("attacker/loop"), &["10.0.0.2"]);
    world.set(looped.clone());
    world.delete("attacker/loop");
    world.set(asking(v4("victim/s"), &["10.0.0.2"]));
    for _ in 0..5 {
        assert_eq!(world.refusal("victim/s").reason(), "AddressInQuarantine");
        world.pass(10);
        world.set(looped.clone());
        world.delete("attacker/loop");
    }
    world.hand_over();
    assert_eq!(world.refusal("victim/s").reason(), "AddressInQuarantine");
    world.pass(10);
    assert_eq!(world.ip("victim/s"), "10.0.0.2");
    // What is in use for longer than the quarantine has a new one.
    world.set(asking(v4("attacker/other"), &["10.0.0.3"]));
    world.delete("attacker/other");
    world.set(asking(v4("attacker/other"), &["10.0.0.3"]));
    world.pass(61);
    world.delete("attacker/other");
    world.set(asking(v4("victim/t"), &["10.0.0.3"]));
    assert_eq!(world.refusal("victim/t").reason(), "AddressInQuarantine");
}

#[test]
fn a_namespace_keeps_no_more_released_addresses_from_others_than_its_quota() {
    let mut world = World::new(&[RawPool {
        quota_per_namespace: Some(2),
        ..pool("p", &["10.0.0.0/28"])
    }]);
    for address in 0..8 {
        let address = alloc::format!("10.0.0.{address}");
        world.set(asking(v4("attacker/loop"), &[&address]));
        world.delete("attacker/loop");
        world.pass(1);
    }
    let mut refused = Vec::new();
    for address in 0..8 {
        let name = alloc::format!("victim{address}/s");
        world.set(asking(v4(&name), &[&alloc::format!("10.0.0.{address}")]));
        let ip = world.ip(&name);
        if ip.is_empty() {
            refused.push(address);
        }
    }
    assert_eq!(refused, [6, 7]);
    // What the namespace has counts, too, and the Service that waits gets the address at once.
    world.set(asking(v4("attacker/held"), &["10.0.0.9"]));
    assert_eq!(world.ip("victim6/s"), "10.0.0.6");
    assert_eq!(world.refusal("victim7/s").reason(), "AddressInQuarantine");
}

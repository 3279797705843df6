//! Several controllers, of which one is active.

use super::*;

fn two_gone() -> World {
    let mut world = World::new(&[pool("p", &["10.0.0.0/29"])]);
    for name in ["a", "b", "c"] {
        world.set(v4(name));
    }
    world.delete("a");
    world.delete("b");
    world
}

#[test]
fn a_service_deleted_under_one_controller_gets_its_address_back_from_the_next() {
    let mut world = two_gone();
    world.pass(120);
    world.hand_over();
    world.set(v4("b"));
    world.set(v4("d"));
    assert_eq!(
        (world.ip("b"), world.ip("d")),
        ("10.0.0.1".into(), "10.0.0.0".into())
    );
}

#[test]
fn an_address_released_under_one_controller_stays_in_quarantine_under_the_next() {
    let mut world = two_gone();
    world.pass(59);
    world.hand_over();
    world.set(v4("d"));
    assert_eq!(world.ip("d"), "10.0.0.3");
    world.pass(1);
    world.set(v4("e"));
    assert_eq!(world.ip("e"), "10.0.0.0");
}

#[test]
fn the_quarantine_of_a_shared_address_starts_when_its_last_holder_releases_it() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.set(sharing(v4("a"), "k", 80));
    world.set(sharing(v4("b"), "k", 81));
    assert_eq!(world.ip("a"), world.ip("b"));
    world.delete("a");
    world.pass(30);
    world.delete("b");
    world.pass(59);
    world.hand_over();
    world.set(v4("c"));
    assert_eq!(world.ip("c"), "10.0.0.1");
}

#[test]
fn a_past_assignment_ends_when_another_service_gets_the_address() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/32"])]);
    world.set(v4("a"));
    world.set(v4("b"));
    world.delete("a");
    assert_eq!(world.ip("b"), "10.0.0.0");
    world.pools(&[pool("p", &["10.0.0.0/30"])]);
    world.delete("b");
    world.hand_over();
    world.set(v4("a"));
    assert_eq!(world.ip("a"), "10.0.0.1");
}

#[test]
fn a_decision_that_is_in_no_status_is_released_and_becomes_the_past_assignment() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/30"])]);
    world.set(v4("a"));
    // The address of this Service is not written, because the Lease is lost before.
    world.services.insert(key("b"), v4("b"));
    world.watch(v4("b"));
    world.allocator.deactivate(world.now);
    assert_eq!(world.allocator.poll_decision(), None);
    assert_eq!(world.allocator.outcome(&key("b")), None);
    assert_eq!(world.allocator.assignment(&key("a")), None);
    world.allocator.activate(world.now);
    world.set(v4("c"));
    assert_eq!(
        [world.ip("a"), world.ip("b"), world.ip("c")],
        ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    );
}

#[test]
fn a_controller_that_becomes_active_again_reports_every_decision_again() {
    let mut world = World::new(&[pool("p", &["10.0.0.0/31"])]);
    world.set(v4("a"));
    world.hand_over();
    // The first controller gave and reported this address; then another program emptied the status, which the second
    // controller did not see.
    let emptied = v4("a");
    world.services.insert(key("a"), emptied.clone());
    world.standby.set_service(emptied, world.now);
    world.hand_over();
    assert_eq!(world.ip("a"), "10.0.0.0");
}

#[test]
fn without_quarantine_a_released_address_is_given_out_at_once() {
    let mut world = World::new(&[]);
    world.allocator = Allocator::with_quarantine(Duration::ZERO);
    world.allocator.activate(world.now);
    world.pools(&[pool("p", &["10.0.0.0/30"])]);
    world.set(v4("a"));
    world.delete("a");
    world.set(v4("b"));
    assert_eq!(world.ip("b"), "10.0.0.0");
}

#[test]
fn addresses_that_a_service_loses_one_by_one_return_in_the_same_order_from_each_controller() {
    let restored = |hands_over: bool| {
        let mut world = World::new(&[pool("p", &["10.0.0.0/31", "fc00::/127"])]);
        world.set(sharing(v4("first"), "k", 80));
        world.set(sharing(dual("second", FamilyPolicy::SingleStack), "k", 81));
        world.set(v4("other"));
        let before = world.ip("second");
        // It may not keep the one address without the key, nor the other without a cluster IP of its family.
        world.change("second", |s| {
            s.sharing_key = "".into();
            s.cluster_ips = v4("second").cluster_ips;
        });
        assert_eq!(world.ip("second"), "");
        if hands_over {
            world.hand_over();
        }
        world.change("second", |s| {
            s.sharing_key = "k".into();
            s.cluster_ips = dual("second", FamilyPolicy::SingleStack).cluster_ips;
        });
        (before, world.ip("second"))
    };
    let expected = String::from("10.0.0.0,fc00::");
    for hands_over in [false, true] {
        assert_eq!(
            restored(hands_over),
            (expected.clone(), expected.clone()),
            "{hands_over}"
        );
    }
}

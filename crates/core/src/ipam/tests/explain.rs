//! What is said of each pool, beside what is decided.

use super::properties::{configurations, steps};
use super::*;
use crate::ipam::PoolOutcome;
use proptest::prelude::*;

/// Returns what each pool says: its name, the reason, and the addresses.
fn explained(world: &mut World, name: &str) -> Vec<String> {
    let now = world.now;
    let explained = world.allocator.explain(&key(name), now).expect("a known Service");
    let text = |(pool, outcome): (PoolName, PoolOutcome)| match &outcome {
        PoolOutcome::Held(addresses) | PoolOutcome::Offered(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            alloc::format!("{pool} {} {}", outcome.reason(), addresses.join(","))
        }
        PoolOutcome::OnRequestOnly | PoolOutcome::NotRequested | PoolOutcome::Refused(_) => {
            alloc::format!("{pool} {}", outcome.reason())
        }
    };
    explained.into_iter().map(text).collect()
}

#[test]
fn each_pool_says_what_it_gives_or_why_not_in_the_order_of_the_search() {
    let mut world = World::new(&[
        pool("b-open", &["10.0.0.0/31"]),
        pool("a-six", &["fc00::/126"]),
        for_namespace(pool("scoped", &["10.0.2.0/31"]), "team", 1),
        RawPool {
            quota_per_namespace: Some(1),
            ..pool("c-small", &["10.0.3.0/29"])
        },
        only_on_request(pool("asked", &["10.0.4.0/31"])),
    ]);
    for name in ["one", "two", "three"] {
        world.set(v4(name));
    }
    world.set(v4("four"));
    assert_eq!(world.refusal("four").reason(), "QuotaExceeded");
    assert_eq!(
        explained(&mut world, "four"),
        [
            "scoped PoolNotCompatible",
            "a-six FamilyUnavailable",
            "b-open PoolExhausted",
            "c-small QuotaExceeded",
            "asked OnRequestOnly",
        ]
    );
    let of_other_namespace = v4("team/five");
    world.set(of_other_namespace);
    assert_eq!(
        explained(&mut world, "team/five"),
        [
            "scoped Held 10.0.2.0",
            "a-six FamilyUnavailable",
            "b-open PoolExhausted",
            "c-small Offered 10.0.3.1",
            "asked OnRequestOnly",
        ]
    );
    world.set(asking(v4("six"), &["10.0.0.1"]));
    assert_eq!(
        explained(&mut world, "six"),
        [
            "scoped NotRequested",
            "a-six NotRequested",
            "b-open AddressInUse",
            "c-small NotRequested",
            "asked NotRequested",
        ]
    );
    world.set(asking_pool(v4("seven"), "asked"));
    assert_eq!(explained(&mut world, "seven")[4], "asked Held 10.0.4.0");
    assert_eq!(world.allocator.explain(&key("unknown"), world.now), None);
}

#[test]
fn a_quarantine_that_another_controller_knew_holds() {
    let mut world = World::new(&[pool("open", &["10.0.0.0/31"])]);
    let end = world.now + Duration::from_secs(30);
    world
        .allocator
        .set_quarantined(ip("10.0.0.0"), key("old/web"), end);
    world.set(v4("first"));
    assert_eq!(world.ip("first"), "10.0.0.1");
    world.set(asking(v4("second"), &["10.0.0.0"]));
    assert_eq!(world.refusal("second").reason(), "AddressInQuarantine");
    world.pass(31);
    assert_eq!(world.ip("second"), "10.0.0.0");
}

proptest! {
    #[test]
    fn a_service_has_no_address_exactly_if_no_pool_gives_it_one(choice in 0usize..6, steps in steps()) {
        let mut world = World::new(&configurations()[choice]);
        for step in steps {
            world.step(step);
            let keys: Vec<ServiceKey> = world.services.keys().cloned().collect();
            for key in keys {
                let before = world.allocator.clone();
                let Some((outcome, _)) = world.allocator.decision(&key) else { continue };
                let explained = world.allocator.explain(&key, world.now).expect("a known Service");
                let gives = |outcome: &PoolOutcome| matches!(outcome, PoolOutcome::Held(_) | PoolOutcome::Offered(_));
                let is_given = explained.iter().any(|(_, outcome)| gives(outcome));
                match outcome {
                    AllocationOutcome::Unassigned(_) => prop_assert!(!is_given, "{key}: {explained:?}"),
                    // A pool that is withheld is not in force, and explains nothing.
                    AllocationOutcome::Assigned(assignment) => {
                        let holding = explained.iter().find(|(pool, _)| *pool == assignment.pool);
                        if let Some((_, outcome)) = holding {
                            prop_assert_eq!(outcome, &PoolOutcome::Held(assignment.addresses), "{}", key);
                        }
                    }
                }
                prop_assert_eq!(world.allocator.decision(&key), before.clone().decision(&key));
                prop_assert_eq!(world.allocator.explain(&key, world.now), Some(explained));
            }
        }
    }
}

//! Anything may fail, and much at a time.

use std::time::Duration;

use herald_sim::{World, for_each_seed};

/// Two nodes that receive each other do not both answer for longer: an announcement that is lost is repeated after 100 ms and after
/// 1.1 s.
const DOUBLED: Duration = Duration::from_millis(1000);

/// Something happens.
fn break_something(world: &mut World) {
    let node = world.any_node();
    let other = world.any_node();
    match world.roll(14) {
        0 | 1 => world.crash(node),
        2 | 3 => world.start(node),
        4 => world.pause(node),
        5 => world.resume(node),
        6 => world.stop(node),
        7 => {
            let answers = world.roll(2) == 0;
            world.set_api(answers);
        }
        8 => {
            let is_drained = world.roll(2) == 0;
            world.set_drained(node, is_drained);
        }
        9 => {
            let parts = world.any_parts();
            world.rewire(|_, gossip| gossip.parts = parts);
        }
        10 => {
            let parts = world.any_parts();
            world.rewire(|wire, gossip| {
                wire.parts.clone_from(&parts);
                gossip.parts = parts;
            });
        }
        11 => world.unplug(node),
        12 => world.plug(node),
        _ => world.rewire(|_, gossip| {
            gossip.mute.insert((node, other));
        }),
    }
}

#[test]
fn whatever_fails_no_two_answer_for_long_and_in_the_end_each_address_has_its_owner() {
    for_each_seed(40, everything_at_once);
}

/// `cargo test --release -p herald-sim --test random -- --ignored`: some minutes.
#[test]
#[ignore = "takes minutes"]
fn the_same_with_many_seeds() {
    for_each_seed(2000, everything_at_once);
}

fn everything_at_once(seed: u64) {
    let nodes = 2 + seed as usize % 5;
    let mut world = World::new(nodes, 6, seed);
    let before = world.judge().owners();
    let loss = [0.0, 0.0, 0.01, 0.03][seed as usize % 4];
    world.rewire(|wire, gossip| (wire.loss, gossip.loss) = (loss, loss));
    for _ in 0..1 + seed % 12 {
        break_something(&mut world);
        let length = 10 + world.roll(6000);
        world.run_for(Duration::from_millis(length));
    }
    world.mend();
    world.run_for(Duration::from_secs(15));
    let owners = world.judge().owners();
    assert!(owners.iter().all(|owners| owners.len() == 1), "{owners:?}");
    let doubled = world.judge().longest_doubled();
    assert!(
        doubled <= DOUBLED.mul_f64(1.0 + 20.0 * loss),
        "two for {doubled:?}"
    );
    // Flapping nodes are damped for a while.
    for _ in 0..60 {
        if world.judge().owners() == before {
            return;
        }
        world.run_for(Duration::from_secs(60));
    }
    panic!("{:?} answer, and {before:?} should", world.judge().owners());
}

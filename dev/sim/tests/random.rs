//! Random faults, several at a time.

use std::time::Duration;

use herald_sim::{Part, Sharing, World, for_each_seed};

/// How long two nodes that receive each other may both answer: a lost announcement is repeated after 100 ms and after 1.1 s.
const DOUBLED: Duration = Duration::from_millis(1000);

/// The refresh interval of the speakers, and the tenth by which it varies.
const REFRESH: Duration = Duration::from_secs(67);

/// Injects a random fault, or ends one.
fn inject_fault(world: &mut World) {
    let node = world.any_node();
    let other = world.any_node();
    match world.roll(16) {
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
        13 | 14 => {
            let part = Part::ALL[world.roll(3) as usize];
            world.pause_part(node, part);
        }
        _ => world.rewire(|_, gossip| {
            gossip.mute.insert((node, other));
        }),
    }
}

#[test]
fn after_any_faults_each_address_has_its_owner_and_no_two_nodes_answered_for_long() {
    for_each_seed(40, random_faults);
}

/// `cargo test --release -p herald-sim --test random -- --ignored`: some minutes.
#[test]
#[ignore = "takes minutes"]
fn the_same_with_many_seeds() {
    for_each_seed(2000, random_faults);
}

fn random_faults(seed: u64) {
    let nodes = 2 + seed as usize % 5;
    let sharing = [Sharing::Alone, Sharing::Twins][seed as usize / 4 % 2];
    let mut world = World::sharing(nodes, 6, sharing, seed);
    let before = world.judge().owners();
    let loss = [0.0, 0.0, 0.01, 0.03][seed as usize % 4];
    world.rewire(|wire, gossip| (wire.loss, gossip.loss) = (loss, loss));
    for _ in 0..1 + seed % 12 {
        inject_fault(&mut world);
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
        "two owners for {doubled:?}"
    );
    // A partition of the wire alone may heal without notice: then the refresh of the owners corrects the client.
    world.rewire(|wire, _| wire.loss = 0.0);
    world.run_for(REFRESH);
    assert_eq!(world.followed(), world.judge().owners());
    // Flapping nodes are damped for a while.
    for _ in 0..60 {
        if world.judge().owners() == before {
            return;
        }
        world.run_for(Duration::from_secs(60));
    }
    panic!("{:?} answer, but {before:?} should", world.judge().owners());
}

//! A foreign host that sends whatever it likes, and members that are misled about others.

use std::time::Duration;

use herald_core::config::ConflictDetection;
use herald_core::{Liveness, NodeState};
use herald_sim::{Adversary, Lie, MacKind, World, for_each_seed};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long an address of a dead node may be without an owner, whatever foreign hosts send.
const FAILOVER: Duration = seconds(3);

/// How long two nodes that receive each other may both answer.
const DOUBLED: Duration = seconds(1);

/// The same while members are misled.
const DISPUTED: Duration = seconds(10);

/// A random foreign host.
fn adversary(world: &mut World) -> Adversary {
    let kinds = [MacKind::Stable, MacKind::Changing, MacKind::Stolen];
    let mut macs: Vec<MacKind> = kinds.into_iter().filter(|_| world.roll(2) == 0).collect();
    if macs.is_empty() {
        macs = kinds.into();
    }
    let answers = [0, 30, 100][world.roll(3) as usize];
    let pause = [1, 20, 200, 2000][world.roll(4) as usize];
    Adversary {
        answers,
        pause: millis(pause),
        macs,
    }
}

/// Creates a cluster in which each backup has checked its owners.
fn settled_world(nodes: usize, seed: u64) -> World {
    let mut world = World::new(nodes, 6, seed);
    let detections = [
        ConflictDetection::Enforce,
        ConflictDetection::Warn,
        ConflictDetection::Off,
    ];
    world.set_conflict_detection(detections[seed as usize / 3 % 3]);
    world.run_for(seconds(12));
    world
}

#[test]
fn an_address_of_a_dead_node_is_announced_within_three_seconds_whatever_a_foreign_host_sends() {
    for_each_seed(30, |seed| {
        let mut world = settled_world(3 + seed as usize % 3, seed);
        let before = world.judge().owners();
        world.reset_judge();
        let adversary = adversary(&mut world);
        world.set_adversary(Some(adversary.clone()));
        let phase = 10 + world.roll(3000);
        world.run_for(millis(phase));
        assert_eq!(world.judge().taken(), 0, "{adversary:?}: an owner lives");
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO, "{adversary:?}");
        let victim = before[0][0];
        world.crash(victim);
        world.run_for(seconds(20));
        let unserved = world.judge().longest_unserved();
        assert!(unserved <= FAILOVER, "{adversary:?}: no owner for {unserved:?}");
        let doubled = world.judge().longest_doubled();
        assert!(doubled <= DOUBLED, "{adversary:?}: two owners for {doubled:?}");
        world.set_adversary(None);
        world.start(victim);
        world.run_for(seconds(15));
        assert_eq!(world.judge().owners(), before, "{adversary:?}");
    });
}

#[test]
fn nothing_stays_wrong_after_a_foreign_host_stops() {
    for_each_seed(20, |seed| {
        let mut world = settled_world(3 + seed as usize % 3, seed);
        let before = world.judge().owners();
        world.reset_judge();
        let adversary = adversary(&mut world);
        world.set_adversary(Some(adversary.clone()));
        for _ in 0..4 {
            let node = world.any_node();
            match world.roll(5) {
                0 => world.crash(node),
                1 => world.stop(node),
                2 => world.pause(node),
                _ => {
                    world.resume(node);
                    world.start(node);
                }
            }
            let length = 10 + world.roll(5000);
            world.run_for(millis(length));
        }
        world.set_adversary(None);
        world.mend();
        world.run_for(seconds(20));
        let owners = world.judge().owners();
        assert!(
            owners.iter().all(|owners| owners.len() == 1),
            "{adversary:?}: {owners:?}"
        );
        let doubled = world.judge().longest_doubled();
        assert!(doubled <= DOUBLED, "{adversary:?}: two owners for {doubled:?}");
        // Flapping nodes are damped for a while.
        for _ in 0..60 {
            if world.judge().owners() == before {
                return;
            }
            world.run_for(seconds(60));
        }
        panic!(
            "{adversary:?}: {:?} answer, but {before:?} should",
            world.judge().owners()
        );
    });
}

#[test]
fn claims_with_the_mac_address_of_a_living_peer_move_nothing() {
    for pause in [1000, 10] {
        let mut world = settled_world(3, 1);
        let owners = world.judge().owners();
        world.reset_judge();
        for _ in 0..60_000 / pause {
            for (service, owner) in owners.iter().enumerate() {
                // The peer that sorts first, which a dispute would leave the address to.
                let peer = usize::from(owner[0] == 0);
                world.forge_claim(service, peer);
            }
            world.run_for(millis(pause));
        }
        assert_eq!(world.judge().taken(), 0);
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
        assert_eq!(world.judge().owners(), owners);
    }
}

#[test]
fn misled_members_settle_who_answers_within_ten_seconds() {
    for_each_seed(30, |seed| {
        let nodes = 2 + seed as usize % 4;
        let mut world = settled_world(nodes, seed);
        let before = world.judge().owners();
        world.reset_judge();
        let count = 1 + world.roll(6);
        for _ in 0..count {
            let (node, about) = (world.any_node(), world.any_node());
            if node == about {
                continue;
            }
            let (liveness, state) = [
                (Liveness::Alive, NodeState::Draining),
                (Liveness::Down, NodeState::Draining),
                (Liveness::Down, NodeState::Ready),
                (Liveness::Suspect, NodeState::Ready),
            ][world.roll(4) as usize];
            world.set_lie(node, about, Some(Lie { liveness, state }));
            let length = world.roll(800);
            world.run_for(millis(length));
        }
        world.run_for(seconds(60));
        let doubled = world.judge().longest_doubled();
        assert!(doubled <= DISPUTED, "two owners for {doubled:?}");
        for node in 0..nodes {
            for about in 0..nodes {
                world.set_lie(node, about, None);
            }
        }
        world.run_for(seconds(15));
        assert_eq!(world.judge().owners(), before);
    });
}

//! One fault at a time, and what must come of it.

use std::time::Duration;

use herald_sim::{World, for_each_seed};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Suspected after two periods of gossip's probe at the latest and then asked for.
const FAILOVER: Duration = millis(500);

/// A claim that crosses the news that makes it right is made again 100 ms later.
const CROSSED: Duration = millis(120);

/// Who answers for everything, each alone.
fn owners(world: &mut World) -> Vec<usize> {
    let owners = world.judge().owners();
    owners
        .into_iter()
        .map(|owners| match owners[..] {
            [owner] => owner,
            _ => panic!("{owners:?} answer for one address"),
        })
        .collect()
}

/// No two nodes that hear each other answered for an address for longer.
fn doubled_for_at_most(world: &mut World, limit: Duration) {
    let longest = world.judge().longest_doubled();
    assert!(longest <= limit, "two owners for {longest:?}");
}

/// No address was without an owner for longer.
fn unserved_for_at_most(world: &mut World, limit: Duration) {
    let longest = world.judge().longest_unserved();
    assert!(longest <= limit, "no owner for {longest:?}");
}

/// Tears wire and gossip into these parts; none mend them.
fn tear(world: &mut World, parts: Vec<u8>) {
    world.rewire(|wire, gossip| {
        wire.parts.clone_from(&parts);
        gossip.parts = parts;
    });
}

/// A node that answers for something.
fn an_owner(world: &mut World) -> usize {
    owners(world)[0]
}

#[test]
fn what_a_dead_node_owned_is_served_again_in_time_and_nothing_else_moves() {
    for_each_seed(6, |seed| {
        let mut world = World::new(3 + seed as usize % 8, 12, seed);
        let before = owners(&mut world);
        let victim = before[0];
        let share = world.judge().share(victim);
        let phase = world.roll(1000);
        world.run_for(millis(phase));
        world.judge_anew();
        world.crash(victim);
        world.run_for(seconds(3));
        unserved_for_at_most(&mut world, FAILOVER);
        assert_eq!(world.judge().taken(), share);
        world.judge_anew();
        world.start(victim);
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
        assert_eq!(world.judge().taken(), share, "only what it owned returns");
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
        doubled_for_at_most(&mut world, CROSSED);
    });
}

#[test]
fn a_planned_stop_or_drain_leaves_nothing_unserved() {
    for_each_seed(6, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        world.judge_anew();
        for index in 0..3 {
            world.stop(index);
            world.run_for(seconds(3));
            world.start(index);
            world.run_for(seconds(5));
        }
        world.set_drained(before[0], true);
        world.run_for(seconds(2));
        assert_eq!(world.judge().share(before[0]), 0);
        world.set_drained(before[0], false);
        world.run_for(seconds(2));
        assert_eq!(owners(&mut world), before);
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
        doubled_for_at_most(&mut world, CROSSED);
    });
}

#[test]
fn a_paused_node_is_followed_and_asks_before_it_goes_on() {
    for_each_seed(6, |seed| {
        for pause in [100, 500, 1000, 5000] {
            let mut world = World::new(4, 12, seed);
            let before = owners(&mut world);
            world.judge_anew();
            let phase = world.roll(1000);
            world.run_for(millis(phase));
            world.pause(before[0]);
            world.run_for(millis(pause));
            unserved_for_at_most(&mut world, FAILOVER);
            world.resume(before[0]);
            world.run_for(seconds(15));
            assert_eq!(owners(&mut world), before);
            doubled_for_at_most(&mut world, seconds(1));
        }
    });
}

#[test]
fn without_gossip_each_address_has_one_owner_and_a_dead_one_is_followed_within_seconds() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        let victim = an_owner(&mut world);
        world.judge_anew();
        world.rewire(|_, gossip| gossip.parts = vec![0, 1, 2]);
        world.run_for(seconds(60));
        assert_eq!(owners(&mut world).len(), 12);
        doubled_for_at_most(&mut world, seconds(1));
        world.judge_anew();
        world.crash(victim);
        world.run_for(seconds(10));
        unserved_for_at_most(&mut world, seconds(1));
        world.start(victim);
        world.run_for(seconds(10));
        assert_eq!(owners(&mut world).len(), 12);
    });
}

#[test]
fn after_a_partition_the_sides_agree_within_a_second() {
    for_each_seed(3, |seed| {
        let mut world = World::new(5, 12, seed);
        let before = owners(&mut world);
        let parts = world.any_parts();
        tear(&mut world, parts);
        world.run_for(seconds(5));
        world.judge_anew();
        tear(&mut world, Vec::new());
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
        doubled_for_at_most(&mut world, seconds(1));
    });
}

#[test]
fn the_api_server_is_not_needed_to_follow_a_dead_node() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        world.judge_anew();
        world.set_api(false);
        world.run_for(seconds(1800));
        assert_eq!((owners(&mut world), world.judge().taken()), (before.clone(), 0));
        world.crash(before[0]);
        world.run_for(seconds(2));
        unserved_for_at_most(&mut world, FAILOVER);
        // It has no lists, so it takes nothing.
        world.start(before[0]);
        world.run_for(seconds(5));
        assert_eq!(world.judge().share(before[0]), 0);
        world.set_api(true);
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
    });
}

#[test]
fn all_may_restart_at_once() {
    for_each_seed(3, |seed| {
        let mut world = World::new(10, 12, seed);
        let before = owners(&mut world);
        (0..10).for_each(|index| world.crash(index));
        world.run_for(seconds(1));
        world.judge_anew();
        (0..10).for_each(|index| world.start(index));
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
        unserved_for_at_most(&mut world, seconds(1));
        doubled_for_at_most(&mut world, CROSSED);
    });
}

#[test]
fn an_owner_that_receives_nothing_is_replaced_by_its_backup_and_then_ranks_last() {
    for_each_seed(3, |seed| {
        let nodes = 2 + seed as usize % 4;
        let mut world = World::new(nodes, 12, seed);
        // Each backup checks for the first time.
        world.run_for(seconds(20));
        let victim = an_owner(&mut world);
        world.judge_anew();
        world.rewire(|wire, _| {
            wire.mute
                .extend((0..nodes).filter(|i| *i != victim).map(|i| (i, victim)))
        });
        world.run_for(seconds(20));
        assert_eq!(world.judge().share(victim), 0);
        assert_eq!(owners(&mut world).len(), 12);
        let taken = world.judge().taken();
        world.run_for(seconds(120));
        assert_eq!(world.judge().taken(), taken, "nobody fights back");
        world.rewire(|wire, _| wire.mute.clear());
        world.run_for(seconds(1200));
        assert!(world.judge().share(victim) > 0, "it is forgotten");
    });
}

#[test]
fn a_node_that_hears_nobody_takes_nothing_from_those_that_answer() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        world.run_for(seconds(20));
        let before = owners(&mut world);
        let deaf = world.any_node();
        world.judge_anew();
        world.rewire(|wire, _| wire.mute.extend((0..3).filter(|i| *i != deaf).map(|i| (i, deaf))));
        world.run_for(seconds(60));
        for (before, after) in before.iter().zip(owners(&mut world)) {
            assert!(*before == deaf || *before == after);
        }
        assert_eq!(world.judge().share(deaf), 0);
    });
}

#[test]
fn nodes_that_never_hear_each_other_on_the_wire_leave_each_other_alone() {
    for_each_seed(2, |seed| {
        let mut world = World::new(3, 12, seed);
        world.rewire(|wire, _| wire.parts = vec![0, 1, 2]);
        (0..3).for_each(|index| world.crash(index));
        world.run_for(seconds(1));
        (0..3).for_each(|index| world.start(index));
        world.run_for(seconds(10));
        let before = owners(&mut world);
        world.judge_anew();
        world.run_for(seconds(300));
        assert_eq!((owners(&mut world), world.judge().taken()), (before, 0));
    });
}

#[test]
fn a_flapping_node_is_passed_over_until_it_has_come_to_rest() {
    for_each_seed(2, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        let flapping = before[0];
        let share = world.judge().share(flapping);
        world.judge_anew();
        for _ in 0..10 {
            world.crash(flapping);
            world.run_for(seconds(5));
            world.start(flapping);
            world.run_for(seconds(5));
        }
        assert_eq!(world.judge().share(flapping), 0);
        assert!(
            world.judge().taken() <= 3 * share,
            "{} moves of {share}",
            world.judge().taken()
        );
        world.run_for(seconds(3600));
        assert_eq!(owners(&mut world), before);
    });
}

#[test]
fn a_switch_that_flaps_makes_nobody_the_odd_one_out() {
    for_each_seed(2, |seed| {
        let mut world = World::new(4, 12, seed);
        let before = owners(&mut world);
        for _ in 0..5 {
            tear(&mut world, vec![0, 1, 2, 3]);
            world.run_for(seconds(6));
            tear(&mut world, Vec::new());
            world.run_for(seconds(6));
            assert_eq!(owners(&mut world), before);
        }
        world.judge_anew();
        world.run_for(seconds(3600));
        assert_eq!((owners(&mut world), world.judge().taken()), (before, 0));
    });
}

#[test]
fn speakers_that_gossip_never_reached_know_each_other_by_their_nodes_addresses() {
    for_each_seed(6, |seed| {
        let mut world = World::new(3, 12, seed);
        world.rewire(|_, gossip| gossip.parts = vec![0, 1, 2]);
        for index in 0..3 {
            world.crash(index);
            world.run_for(seconds(5));
            world.start(index);
            world.run_for(seconds(10));
        }
        let victim = an_owner(&mut world);
        let phase = world.roll(5000);
        world.run_for(millis(phase));
        world.judge_anew();
        world.crash(victim);
        world.run_for(seconds(10));
        // A peer is probed twice a second, and then both others contend. A foreign host would be probed every five seconds.
        unserved_for_at_most(&mut world, seconds(1));
        doubled_for_at_most(&mut world, Duration::ZERO);
        owners(&mut world);
    });
}

#[test]
fn a_node_that_is_unplugged_is_replaced_and_probes_before_it_returns() {
    for_each_seed(6, |seed| {
        let mut world = World::new(4, 12, seed);
        let before = owners(&mut world);
        let victim = before[0];
        let phase = world.roll(1000);
        world.run_for(millis(phase));
        for outage in [200, 2000, 20_000] {
            world.judge_anew();
            world.unplug(victim);
            world.run_for(millis(outage));
            world.plug(victim);
            world.run_for(seconds(15));
            doubled_for_at_most(&mut world, seconds(1));
            unserved_for_at_most(&mut world, FAILOVER);
            assert_eq!(owners(&mut world).len(), 12);
        }
        world.run_for(seconds(1200));
        assert_eq!(owners(&mut world), before);
    });
}

//! One fault at a time.

use std::time::Duration;

use herald_sim::{World, for_each_seed};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Limit of a fail-over: two periods of gossip's probe until suspicion at the latest, then the probe of the address.
const FAILOVER: Duration = millis(500);

/// How long two nodes may answer when a claim crosses the news that justifies it: the claim is repeated after 100 ms.
const CROSSED: Duration = millis(120);

/// Returns the owners of all addresses, of which each must have exactly one.
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

/// Each of these nodes alone.
fn as_sole_owners(owners: &[usize]) -> Vec<Vec<usize>> {
    owners.iter().map(|owner| vec![*owner]).collect()
}

/// Asserts that no two nodes that receive each other answered for an address for longer.
fn doubled_for_at_most(world: &mut World, limit: Duration) {
    let longest = world.judge().longest_doubled();
    assert!(longest <= limit, "two owners for {longest:?}");
}

/// Asserts that no address was without an owner for longer.
fn unserved_for_at_most(world: &mut World, limit: Duration) {
    let longest = world.judge().longest_unserved();
    assert!(longest <= limit, "no owner for {longest:?}");
}

/// Partitions wire and gossip into these parts; no parts heal them.
fn partition(world: &mut World, parts: Vec<u8>) {
    world.rewire(|wire, gossip| {
        wire.parts.clone_from(&parts);
        gossip.parts = parts;
    });
}

/// Returns a node that answers for an address.
fn an_owner(world: &mut World) -> usize {
    owners(world)[0]
}

#[test]
fn the_addresses_of_a_crashed_node_are_served_again_in_time_and_no_other_moves() {
    for_each_seed(6, |seed| {
        let mut world = World::new(3 + seed as usize % 8, 12, seed);
        let before = owners(&mut world);
        let victim = before[0];
        let share = world.judge().share(victim);
        let phase = world.roll(1000);
        world.run_for(millis(phase));
        world.reset_judge();
        world.crash(victim);
        world.run_for(seconds(3));
        unserved_for_at_most(&mut world, FAILOVER);
        assert_eq!(world.judge().taken(), share);
        world.reset_judge();
        world.start(victim);
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
        assert_eq!(world.judge().taken(), share, "only what it owned returns");
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
        doubled_for_at_most(&mut world, CROSSED);
    });
}

#[test]
fn a_planned_stop_or_drain_leaves_no_address_unserved() {
    for_each_seed(6, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        world.reset_judge();
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
fn the_ipv6_addresses_of_a_node_without_ipv6_on_the_selected_interface_move_and_return() {
    for_each_seed(4, |seed| {
        let mut world = World::new(3 + seed as usize % 3, 12, seed);
        world.select_interface();
        world.run_for(seconds(2));
        let before = owners(&mut world);
        // The IPv6 addresses are the last four of the twelve.
        let victim = before[8];
        world.set_ipv6(victim, false);
        world.run_for(seconds(5));
        let without = owners(&mut world);
        assert_eq!(without[..8], before[..8], "IPv4 stays");
        assert!(!without[8..].contains(&victim), "{without:?}");
        world.set_ipv6(victim, true);
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
    });
}

#[test]
fn a_paused_node_is_replaced_and_gets_its_addresses_back() {
    for_each_seed(6, |seed| {
        for pause in [100, 500, 1000, 5000] {
            let mut world = World::new(4, 12, seed);
            let before = owners(&mut world);
            world.reset_judge();
            let phase = world.roll(1000);
            world.run_for(millis(phase));
            world.pause(before[0]);
            world.run_for(millis(pause));
            unserved_for_at_most(&mut world, FAILOVER);
            world.resume(before[0]);
            world.run_for(seconds(15));
            assert_eq!(owners(&mut world), before);
            assert_eq!(world.followed(), as_sole_owners(&before));
            doubled_for_at_most(&mut world, seconds(1));
        }
    });
}

/// Both are paused, so neither replaces the other.
#[test]
fn a_node_that_was_paused_and_not_replaced_answers_at_once() {
    for_each_seed(6, |seed| {
        let mut world = World::new(2, 12, seed);
        for pause in [500, 5000, 60_000] {
            let before = owners(&mut world);
            (0..2).for_each(|index| world.pause(index));
            world.run_for(millis(pause));
            (0..2).for_each(|index| world.resume(index));
            world.reset_judge();
            world.run_for(seconds(15));
            assert_eq!(owners(&mut world), before);
            assert_eq!(
                (world.judge().taken(), world.judge().longest_unserved()),
                (0, Duration::ZERO)
            );
            doubled_for_at_most(&mut world, Duration::ZERO);
        }
    });
}

#[test]
fn without_gossip_each_address_has_one_owner_and_a_crashed_owner_is_replaced_within_a_second() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        let victim = an_owner(&mut world);
        world.reset_judge();
        world.rewire(|_, gossip| gossip.parts = vec![0, 1, 2]);
        world.run_for(seconds(60));
        assert_eq!(owners(&mut world).len(), 12);
        doubled_for_at_most(&mut world, seconds(1));
        world.reset_judge();
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
        partition(&mut world, parts);
        world.run_for(seconds(5));
        world.reset_judge();
        partition(&mut world, Vec::new());
        world.run_for(seconds(5));
        assert_eq!(owners(&mut world), before);
        assert_eq!(world.followed(), as_sole_owners(&before));
        doubled_for_at_most(&mut world, seconds(1));
    });
}

#[test]
fn the_api_server_is_not_needed_to_replace_a_crashed_node() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        world.reset_judge();
        world.set_api(false);
        world.run_for(seconds(1800));
        assert_eq!((owners(&mut world), world.judge().taken()), (before.clone(), 0));
        world.crash(before[0]);
        world.run_for(seconds(2));
        unserved_for_at_most(&mut world, FAILOVER);
        // The restarted speaker has no lists, so it takes nothing.
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
        world.reset_judge();
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
        world.reset_judge();
        world.rewire(|wire, _| {
            wire.mute
                .extend((0..nodes).filter(|i| *i != victim).map(|i| (i, victim)))
        });
        world.run_for(seconds(20));
        assert_eq!(world.judge().share(victim), 0);
        assert_eq!(owners(&mut world).len(), 12);
        let taken = world.judge().taken();
        world.run_for(seconds(120));
        assert_eq!(
            world.judge().taken(),
            taken,
            "the owner does not take addresses back"
        );
        world.rewire(|wire, _| wire.mute.clear());
        world.run_for(seconds(1200));
        assert!(world.judge().share(victim) > 0, "the damping has ended");
    });
}

#[test]
fn a_deaf_node_takes_nothing_from_nodes_that_answer() {
    for_each_seed(3, |seed| {
        let mut world = World::new(3, 12, seed);
        world.run_for(seconds(20));
        let before = owners(&mut world);
        let deaf = world.any_node();
        world.reset_judge();
        world.rewire(|wire, _| wire.mute.extend((0..3).filter(|i| *i != deaf).map(|i| (i, deaf))));
        world.run_for(seconds(60));
        for (before, after) in before.iter().zip(owners(&mut world)) {
            assert!(*before == deaf || *before == after);
        }
        assert_eq!(world.judge().share(deaf), 0);
    });
}

#[test]
fn nodes_that_never_receive_each_others_frames_do_not_replace_each_other() {
    for_each_seed(2, |seed| {
        let mut world = World::new(3, 12, seed);
        world.rewire(|wire, _| wire.parts = vec![0, 1, 2]);
        (0..3).for_each(|index| world.crash(index));
        world.run_for(seconds(1));
        (0..3).for_each(|index| world.start(index));
        world.run_for(seconds(10));
        let before = owners(&mut world);
        world.reset_judge();
        world.run_for(seconds(300));
        assert_eq!((owners(&mut world), world.judge().taken()), (before, 0));
    });
}

#[test]
fn a_flapping_node_is_damped_until_it_is_stable() {
    for_each_seed(2, |seed| {
        let mut world = World::new(3, 12, seed);
        let before = owners(&mut world);
        let flapping = before[0];
        let share = world.judge().share(flapping);
        world.reset_judge();
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
fn a_flapping_switch_damps_no_node() {
    for_each_seed(2, |seed| {
        let mut world = World::new(4, 12, seed);
        let before = owners(&mut world);
        for _ in 0..5 {
            partition(&mut world, vec![0, 1, 2, 3]);
            world.run_for(seconds(6));
            partition(&mut world, Vec::new());
            world.run_for(seconds(6));
            assert_eq!(owners(&mut world), before);
        }
        world.reset_judge();
        world.run_for(seconds(3600));
        assert_eq!((owners(&mut world), world.judge().taken()), (before, 0));
    });
}

#[test]
fn speakers_that_gossip_never_reached_identify_each_other_by_their_nodes_addresses() {
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
        world.reset_judge();
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
            world.reset_judge();
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

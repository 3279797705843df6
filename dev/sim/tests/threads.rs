//! The thread of gossip, or that of the agent, does not run, while the others go on. A wire thread that does not run at all answers
//! for nothing; the liveness probe ends its process.

use std::time::Duration;

use herald_sim::{Part, World, for_each_seed};

/// How long two nodes may answer once all threads run again.
const DOUBLED: Duration = Duration::from_secs(1);

/// Limit of a fail-over.
const FAILOVER: Duration = Duration::from_millis(500);

#[test]
fn while_the_thread_of_gossip_or_agent_does_not_run_all_addresses_are_served_and_then_each_has_one_owner() {
    for_each_seed(6, |seed| {
        for part in [Part::Gossip, Part::Agent] {
            for pause in [100, 1000, 6000, 30_000] {
                let mut world = World::new(2 + seed as usize % 3, 6, seed);
                // Each backup has checked its owners.
                world.run_for(Duration::from_secs(12));
                let phase = world.roll(1000);
                world.run_for(Duration::from_millis(phase));
                let victim = world.judge().owners()[0][0];
                world.reset_judge();
                world.pause_part(victim, part);
                world.run_for(Duration::from_millis(pause));
                let unserved = world.judge().longest_unserved();
                assert!(
                    unserved <= FAILOVER,
                    "{part:?}, {pause} ms: no owner for {unserved:?}"
                );
                world.reset_judge();
                world.resume(victim);
                world.run_for(Duration::from_secs(15));
                let doubled = world.judge().longest_doubled();
                assert!(
                    doubled <= DOUBLED,
                    "{part:?}, {pause} ms: two owners for {doubled:?}"
                );
                let unserved = world.judge().longest_unserved();
                assert!(
                    unserved <= FAILOVER,
                    "{part:?}, {pause} ms: no owner for {unserved:?} afterwards"
                );
                let owners = world.judge().owners();
                assert!(
                    owners.iter().all(|owners| owners.len() == 1),
                    "{part:?}, {pause} ms: {owners:?}"
                );
                assert_eq!(world.followed(), owners, "{part:?}, {pause} ms: the client");
            }
        }
    });
}

/// The processor is so busy that the thread gets it for a moment two to five times a second. An answer takes longer than a check waits for it.
#[test]
fn a_wire_thread_that_seldom_runs_keeps_its_addresses() {
    for_each_seed(12, |seed| {
        let mut world = World::new(3, 6, seed);
        // Each backup has checked its owners.
        world.run_for(Duration::from_secs(12));
        let before = world.judge().owners();
        let victim = before[0][0];
        for _ in 0..240 {
            let pause = 200 + world.roll(300);
            world.pause_part(victim, Part::Wire);
            world.run_for(Duration::from_millis(pause));
            world.resume(victim);
            world.run_for(Duration::from_millis(10));
            assert_eq!(world.judge().owners(), before);
        }
    });
}

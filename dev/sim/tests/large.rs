//! Many nodes, many addresses.

use std::time::{Duration, Instant};

use herald_sim::{World, for_each_seed};

/// One node dies, and what it owned is served again, while nothing else moves.
fn one_dies(nodes: usize, services: usize, limit: Duration, seed: u64) {
    let began = Instant::now();
    let mut world = World::with(nodes, services, nodes.min(4), seed);
    let owners = world.judge().owners();
    let victim = owners[0][0];
    let share = world.judge().share(victim);
    let (datagrams, frames) = at_rest(&mut world);
    world.judge_anew();
    world.crash(victim);
    world.run_for(Duration::from_secs(5));
    let unserved = world.judge().longest_unserved();
    say(&format!(
        "{nodes} nodes, {services} addresses: at rest {datagrams:.1} gossip datagrams and {frames:.1} frames a second each, \
         {share} addresses served again after {unserved:?} (simulated in {:?})",
        began.elapsed()
    ));
    assert!(unserved <= limit, "{unserved:?}");
    assert_eq!(world.judge().taken(), share);
}

/// Datagrams and frames that each node sends in a second, once the news of the start has gone round.
fn at_rest(world: &mut World) -> (f64, f64) {
    const SPAN: Duration = Duration::from_secs(10);
    let mut before = u64::MAX;
    loop {
        let (datagrams, frames) = world.sent();
        world.run_for(SPAN);
        let (later_datagrams, later_frames) = world.sent();
        let (datagrams, frames) = (later_datagrams - datagrams, later_frames - frames);
        if datagrams >= before / 20 * 19 {
            let each = |sent: u64| sent as f64 / SPAN.as_secs_f64() / world.size() as f64;
            return (each(datagrams), each(frames));
        }
        before = datagrams;
    }
}

#[expect(clippy::print_stderr, reason = "the figures of a run with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[test]
fn among_twenty_nodes_only_what_a_dead_one_owned_moves() {
    for_each_seed(2, |seed| one_dies(20, 500, Duration::from_millis(600), seed));
}

/// `cargo test --release -p herald-sim --test large -- --ignored --nocapture`: half an hour and more.
#[test]
#[ignore = "takes minutes"]
fn among_a_hundred_and_a_thousand_nodes_only_what_a_dead_one_owned_moves() {
    one_dies(3, 100, Duration::from_millis(500), 1);
    one_dies(100, 1000, Duration::from_secs(1), 1);
    one_dies(1000, 10_000, Duration::from_secs(2), 1);
}

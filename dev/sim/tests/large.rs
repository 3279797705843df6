//! Many nodes, many addresses.

use std::time::{Duration, Instant};

use herald_sim::{World, for_each_seed};

/// Crashes one node: its addresses must be served again in time, and no other address may move.
fn crash_one(nodes: usize, services: usize, limit: Duration, seed: u64) {
    let began = Instant::now();
    let mut world = World::with(nodes, services, nodes.min(4), seed);
    let owners = world.judge().owners();
    let victim = owners[0][0];
    let share = world.judge().share(victim);
    let (datagrams, frames) = at_rest(&mut world);
    world.reset_judge();
    world.crash(victim);
    world.run_for(Duration::from_secs(5));
    let unserved = world.judge().longest_unserved();
    print_line(&format!(
        "{nodes} nodes, {services} addresses: at rest {datagrams:.1} gossip datagrams and {frames:.1} frames a second each, \
         {share} addresses served again after {unserved:?} (simulated in {:?})",
        began.elapsed()
    ));
    assert!(unserved <= limit, "{unserved:?}");
    assert_eq!(world.judge().taken(), share);
}

/// Returns the datagrams and frames that each node sends in a second, once the dissemination of the start has ended.
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
fn print_line(text: &str) {
    eprintln!("{text}");
}

#[test]
fn among_twenty_nodes_only_the_addresses_of_a_crashed_node_move() {
    for_each_seed(2, |seed| crash_one(20, 500, Duration::from_millis(600), seed));
}

/// `cargo test --release -p herald-sim --test large -- --ignored --nocapture`: half an hour and more.
#[test]
#[ignore = "takes minutes"]
fn among_a_hundred_and_a_thousand_nodes_only_the_addresses_of_a_crashed_node_move() {
    crash_one(3, 100, Duration::from_millis(500), 1);
    crash_one(100, 1000, Duration::from_secs(1), 1);
    crash_one(1000, 10_000, Duration::from_secs(2), 1);
}

//! Only frames and datagrams are lost: no address may move.

use std::time::Duration;

use herald_sim::{World, for_each_seed};

const HOUR: Duration = Duration::from_secs(3600);

/// Counts the moves on a network that loses 2 % of all frames and datagrams.
fn moves(nodes: usize, duration: Duration, seed: u64) -> usize {
    let mut world = World::new(nodes, 12, seed);
    world.rewire(|wire, gossip| (wire.loss, gossip.loss) = (0.02, 0.02));
    world.reset_judge();
    world.run_for(duration);
    assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
    world.judge().taken()
}

#[test]
fn loss_alone_moves_nothing() {
    for_each_seed(3, |seed| assert_eq!(moves(3, HOUR / 12, seed), 0));
}

/// `cargo test --release -p herald-sim --test quiet -- --ignored`: some minutes.
#[test]
#[ignore = "simulates ten hours for each of three sizes"]
fn loss_alone_moves_nothing_in_ten_hours() {
    for nodes in [3, 5, 10] {
        for_each_seed(1, |seed| {
            assert_eq!(moves(nodes, 10 * HOUR, seed), 0, "{nodes} nodes")
        });
    }
}

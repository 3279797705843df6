//! The reports of a member reach all members.

use super::*;

#[test]
fn a_change_of_state_reaches_all_within_half_a_second() {
    for (size, seeds) in [(3, 20), (10, 5), (50, 1)] {
        for loss in [0.0, 0.01, 0.05] {
            for seed in 0..seeds {
                let mut net = Net::cluster(size, seed, loss);
                net.run_for(Duration::from_secs(3));
                net.set_state(0, NodeState::Draining);
                let known = net.run_until(millis(500), |net| {
                    net.all_see(0, |m| m.state == NodeState::Draining)
                });
                assert!(known.is_some(), "{size} members, loss {loss}, seed {seed}");
            }
        }
    }
}

#[test]
fn the_last_of_many_changes_wins() {
    let mut net = Net::cluster(5, 4, 0.05);
    for _ in 0..20 {
        for state in [NodeState::Starting, NodeState::Draining, NodeState::Ready] {
            net.set_state(0, state);
            net.run_for(millis(7));
        }
    }
    net.set_state(0, NodeState::Draining);
    let known = net.run_until(millis(500), |net| {
        net.all_see(0, |m| m.state == NodeState::Draining)
    });
    assert!(known.is_some());
    net.run_for(Duration::from_secs(5));
    assert!(net.all_see(0, |m| m.state == NodeState::Draining));
}

#[test]
fn mac_addresses_reach_all_sorted_and_bounded() {
    let mut net = Net::cluster(3, 4, 0.0);
    let links: Vec<LocalLink<'_>> = (0..40).rev().map(link).collect();
    let now = net.now;
    net.node(0).membership.set_links(&links, now);
    net.collect(0);
    let expected: Arc<[MacAddr]> = (0..16).map(|number| link(number).mac).collect();
    let known = net.run_until(millis(500), |net| net.all_see(0, |m| m.macs == expected));
    assert!(known.is_some());
}

#[test]
fn a_member_that_was_declared_down_by_mistake_keeps_its_state() {
    let mut net = Net::cluster(4, 6, 0.0);
    net.cut = |from, to| from == 0 || to == 0;
    net.run_for(Duration::from_secs(2));
    net.cut = |_, _| false;
    let start = net.now;
    net.run_until(Duration::from_secs(5), |net| {
        net.all_see(0, |m| m.liveness == Liveness::Alive)
    });
    assert!(
        net.all_see(0, |m| m.state == NodeState::Ready),
        "at {:?}",
        net.now - start
    );
}

#[test]
fn a_quiet_cluster_sends_two_datagrams_per_probe() {
    for size in [3, 50] {
        let mut net = Net::cluster(size, 8, 0.0);
        net.run_for(Duration::from_secs(20));
        let before = net.delivered;
        net.run_for(Duration::from_secs(20));
        let per_node_and_second = (net.delivered - before) as f64 / 20.0 / size as f64;
        assert!(
            (19.0..21.0).contains(&per_node_and_second),
            "{per_node_and_second}"
        );
    }
}

//! A partition heals.

use super::*;

fn cut_and_healed(size: usize, cut: fn(usize, usize) -> bool, duration: Duration, loss: f64, seed: u64) {
    let mut net = Net::cluster(size, seed, loss);
    net.cut = cut;
    net.run_for(duration);
    net.cut = |_, _| false;
    let healed = net.run_until(Duration::from_secs(5), |net| {
        net.all_see_all(|m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Ready))
    });
    assert!(
        healed.is_some(),
        "{size} members, cut for {duration:?}, loss {loss}, seed {seed}"
    );
}

/// Even indices on one side, odd ones on the other.
fn halves(from: usize, to: usize) -> bool {
    from % 2 != to % 2
}

#[test]
fn a_partition_heals_whatever_its_length() {
    for seed in 0..5 {
        for duration in [200, 700, 2_000, 60_000].map(millis) {
            cut_and_healed(3, halves, duration, 0.01, seed);
            cut_and_healed(10, halves, duration, 0.05, seed);
        }
    }
}

#[test]
fn a_single_member_that_was_cut_off_comes_back() {
    for seed in 0..10 {
        let isolated = |from, to| from == 0 || to == 0;
        cut_and_healed(2, isolated, Duration::from_secs(3), 0.0, seed);
        cut_and_healed(5, isolated, Duration::from_secs(3), 0.05, seed);
    }
}

#[test]
fn a_total_outage_heals() {
    for seed in 0..5 {
        cut_and_healed(10, |_, _| true, Duration::from_secs(30), 0.01, seed);
    }
}

#[test]
fn each_side_of_a_partition_knows_the_other_as_down() {
    let mut net = Net::cluster(6, 1, 0.0);
    net.cut = halves;
    net.run_for(Duration::from_secs(3));
    for viewer in 0..6 {
        for subject in 0..6 {
            let seen = net.view(viewer, subject).map(|m| m.liveness);
            let expected = if viewer % 2 == subject % 2 {
                Liveness::Alive
            } else {
                Liveness::Down
            };
            assert_eq!(seen, Some(expected), "{viewer} sees {subject}");
        }
    }
}

#[test]
fn a_member_that_receives_but_cannot_send_is_declared_down_and_comes_back() {
    for seed in 0..10 {
        let mut net = Net::cluster(5, seed, 0.0);
        net.cut = |from, _| from == 0;
        let down = net.run_until(Duration::from_secs(2), |net| {
            net.all_see(0, |m| m.liveness == Liveness::Down)
        });
        assert!(down.is_some(), "seed {seed}");
        net.cut = |_, _| false;
        let back = net.run_until(Duration::from_secs(5), |net| {
            net.all_see_all(|m| m.liveness == Liveness::Alive)
        });
        assert!(back.is_some(), "seed {seed}");
    }
}

//! A crash is detected by all members, and no member that lives is declared down.

use super::*;

/// All members have detected a crash after this long: twice the slowest of some thousand crashes at these sizes.
const DETECTED: Duration = Duration::from_secs(2);

/// Crashes a member of a fresh cluster; returns how long it took until each survivor knew that it is down.
fn crash_one(size: usize, loss: f64, seed: u64) -> Duration {
    let mut net = Net::cluster(size, seed, loss);
    // At any point of the probe cycle.
    let phase = net.rng.random_range(0..1000);
    net.run_for(millis(phase));
    let victim = net.rng.random_range(0..size);
    net.crash(victim);
    let detected = net.run_until(DETECTED, |net| {
        net.all_see(victim, |m| m.liveness == Liveness::Down)
    });
    detected.unwrap_or_else(|| panic!("{size} members, loss {loss}, seed {seed}: not detected"))
}

#[test]
fn a_crash_is_detected_by_all_in_time() {
    for (size, seeds) in [(2, 20), (3, 20), (10, 10), (50, 1)] {
        for loss in [0.0, 0.01, 0.05] {
            for seed in 0..seeds {
                crash_one(size, loss, seed);
            }
        }
    }
}

/// Among members that all live, neither a lost datagram nor a pair of them makes a member down.
fn no_false_detection(size: usize, loss: f64, duration: Duration, seed: u64) {
    let mut net = Net::cluster(size, seed, loss);
    let start = net.now;
    net.run_for(duration);
    assert_eq!(net.declared_down(start), [], "{size} members, seed {seed}");
    assert_eq!(
        net.count_events(|e| *e == MembershipEvent::Rejoined),
        0,
        "seed {seed}"
    );
    assert_eq!(
        net.count_events(|e| matches!(e, MembershipEvent::Irregular(_))),
        0,
        "seed {seed}"
    );
}

#[test]
fn three_members_at_one_percent_loss_declare_no_member_down() {
    no_false_detection(3, 0.01, Duration::from_secs(600), 1);
}

#[test]
fn ten_members_at_one_percent_loss_declare_no_member_down() {
    no_false_detection(10, 0.01, Duration::from_secs(600), 2);
}

#[test]
fn fifty_members_at_one_percent_loss_declare_no_member_down() {
    no_false_detection(50, 0.01, Duration::from_secs(600), 3);
}

#[test]
fn a_crashed_member_is_suspect_before_it_is_down() {
    let mut net = Net::cluster(5, 11, 0.0);
    net.crash(0);
    let suspected = net.run_until(DETECTED, |net| {
        net.nodes.keys().any(|&viewer| {
            net.view(viewer, 0)
                .is_some_and(|m| m.liveness == Liveness::Suspect)
        })
    });
    assert!(suspected.is_some());
    let down = net.run_until(DETECTED, |net| net.all_see(0, |m| m.liveness == Liveness::Down));
    assert!(down.expect("down") > Timings::FAST.suspicion / 2);
}

#[test]
fn a_leave_is_detected_faster_than_by_any_probe() {
    for seed in 0..20 {
        let mut net = Net::cluster(5, seed, 0.05);
        let now = net.now;
        net.node(0).membership.leave(now);
        net.collect(0);
        let left = net.run_until(Timings::FAST.suspicion, |net| {
            net.all_see(0, |m| m.liveness == Liveness::Down)
        });
        assert!(left.is_some(), "seed {seed}");
        // It stays away, whatever its peers still send to it.
        net.run_for(Duration::from_secs(3));
        assert!(net.nodes[&0].membership.has_left());
        assert!(net.all_see(0, |m| m.liveness == Liveness::Down), "seed {seed}");
    }
}

/// A member that went down may still answer on the wire, and what it reported last says whether it drained.
#[test]
fn the_last_report_of_a_member_that_is_down_is_kept_while_the_member_is_expected() {
    let mut net = Net::cluster(3, 12, 0.0);
    let now = net.now;
    net.node(0).membership.set_links(&[link(7)], now);
    net.node(1).membership.set_state(NodeState::Draining, now);
    net.collect(0);
    net.collect(1);
    net.run_for(Duration::from_secs(1));
    net.crash(0);
    net.crash(1);
    // foca forgets both after ten minutes.
    net.run_for(Duration::from_secs(1200));
    let known = |index| {
        let member = net.view(2, index).expect("expected, so listed");
        (member.liveness, member.state, member.macs.clone())
    };
    assert_eq!(known(0), (Liveness::Down, NodeState::Ready, [link(7).mac].into()));
    assert_eq!(known(1), (Liveness::Down, NodeState::Draining, [].into()));
}

/// Stalls one of ten members for `stall` ten times; returns the members declared down, each with the node that did it.
fn stalled(stall: Duration, seed: u64) -> Vec<(usize, NodeName)> {
    let mut net = Net::cluster(10, seed, 0.0);
    let start = net.now;
    for _ in 0..10 {
        net.freeze(4, stall);
        net.run_for(stall + Duration::from_secs(3));
    }
    assert!(net.all_see_all(|m| m.liveness == Liveness::Alive));
    net.declared_down(start)
}

#[test]
fn a_stall_shorter_than_the_suspicion_has_no_effect() {
    for seed in 0..5 {
        let stall = Timings::FAST.suspicion - Timings::FAST.probe_period;
        assert_eq!(stalled(stall, seed), [], "seed {seed}");
    }
}

#[test]
fn a_stalled_member_declares_no_other_member_down() {
    for seed in 0..5 {
        let declared = stalled(Duration::from_secs(2), seed);
        assert!(!declared.is_empty(), "seed {seed}");
        assert!(
            declared.iter().all(|(_, node)| *node == name(4)),
            "seed {seed}: {declared:?}"
        );
    }
}

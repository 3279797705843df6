//! Death is noticed by everybody, and life is not mistaken for it.

use super::*;

/// Everybody has noticed a crash after this long: twice the slowest of some thousand crashes at these sizes.
const NOTICED: Duration = Duration::from_secs(2);

/// Crashes a member of a fresh cluster; how long until each survivor saw it down.
fn crash_one(size: usize, loss: f64, seed: u64) -> Duration {
    let mut net = Net::cluster(size, seed, loss);
    // At any point of the probe cycle.
    let phase = net.rng.random_range(0..1000);
    net.run_for(millis(phase));
    let victim = net.rng.random_range(0..size);
    net.crash(victim);
    let noticed = net.run_until(NOTICED, |net| {
        net.all_see(victim, |m| m.liveness == Liveness::Down)
    });
    noticed.unwrap_or_else(|| panic!("{size} members, loss {loss}, seed {seed}: not noticed"))
}

#[test]
fn a_crash_is_noticed_by_all_in_time() {
    for (size, seeds) in [(2, 20), (3, 20), (10, 10), (50, 1)] {
        for loss in [0.0, 0.01, 0.05] {
            for seed in 0..seeds {
                crash_one(size, loss, seed);
            }
        }
    }
}

/// Not a single loss or pair of losses makes anybody Down among members that all live.
fn lives_on(size: usize, loss: f64, duration: Duration, seed: u64) {
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
fn three_members_at_one_percent_loss_never_take_each_other_for_dead() {
    lives_on(3, 0.01, Duration::from_secs(600), 1);
}

#[test]
fn ten_members_at_one_percent_loss_never_take_each_other_for_dead() {
    lives_on(10, 0.01, Duration::from_secs(600), 2);
}

#[test]
fn fifty_members_at_one_percent_loss_never_take_each_other_for_dead() {
    lives_on(50, 0.01, Duration::from_secs(600), 3);
}

#[test]
fn a_crash_is_suspected_before_it_is_certain() {
    let mut net = Net::cluster(5, 11, 0.0);
    net.crash(0);
    let suspected = net.run_until(NOTICED, |net| {
        net.nodes.keys().any(|&viewer| {
            net.view(viewer, 0)
                .is_some_and(|m| m.liveness == Liveness::Suspect)
        })
    });
    assert!(suspected.is_some());
    let down = net.run_until(NOTICED, |net| net.all_see(0, |m| m.liveness == Liveness::Down));
    assert!(down.expect("down") > Timings::FAST.suspicion / 2);
}

#[test]
fn a_leave_is_noticed_faster_than_any_probe() {
    for seed in 0..20 {
        let mut net = Net::cluster(5, seed, 0.05);
        let now = net.now;
        net.node(0).membership.leave(now);
        net.collect(0);
        let left = net.run_until(Timings::FAST.suspicion, |net| {
            net.all_see(0, |m| m.liveness == Liveness::Down)
        });
        assert!(left.is_some(), "seed {seed}");
        // It stays away, whatever its peers still say to it.
        net.run_for(Duration::from_secs(3));
        assert!(net.nodes[&0].membership.has_left());
        assert!(net.all_see(0, |m| m.liveness == Liveness::Down), "seed {seed}");
    }
}

/// Whoever has died and is still expected may be met on the wire, or was seen to go, however long ago that was.
#[test]
fn what_the_dead_said_last_is_remembered_for_as_long_as_they_are_expected() {
    let mut net = Net::cluster(3, 12, 0.0);
    let now = net.now;
    net.node(0).membership.set_links(&[link(7)], now);
    net.node(1).membership.set_state(NodeState::Draining, now);
    net.collect(0);
    net.collect(1);
    net.run_for(Duration::from_secs(1));
    net.crash(0);
    net.crash(1);
    // foca forgets them after ten minutes.
    net.run_for(Duration::from_secs(1200));
    let told = |index| {
        let member = net.view(2, index).expect("expected, so listed");
        (member.liveness, member.state, member.macs.clone())
    };
    assert_eq!(told(0), (Liveness::Down, NodeState::Ready, [link(7).mac].into()));
    assert_eq!(told(1), (Liveness::Down, NodeState::Draining, [].into()));
}

/// Freezes one of ten members for `stall` ten times over; how often anybody was declared down, and by whom.
fn stalled(stall: Duration, seed: u64) -> Vec<(usize, NodeName)> {
    let mut net = Net::cluster(10, seed, 0.0);
    let start = net.now;
    for _ in 0..10 {
        net.freeze(4, stall);
        net.run_for(stall + Duration::from_secs(3));
    }
    assert!(net.everybody_sees(|m| m.liveness == Liveness::Alive));
    net.declared_down(start)
}

#[test]
fn a_stall_shorter_than_the_suspicion_goes_unpunished() {
    for seed in 0..5 {
        let stall = Timings::FAST.suspicion - Timings::FAST.probe_period;
        assert_eq!(stalled(stall, seed), [], "seed {seed}");
    }
}

#[test]
fn a_stalled_member_takes_nobody_else_for_dead() {
    for seed in 0..5 {
        let declared = stalled(Duration::from_secs(2), seed);
        assert!(!declared.is_empty(), "seed {seed}");
        assert!(
            declared.iter().all(|(_, node)| *node == name(4)),
            "seed {seed}: {declared:?}"
        );
    }
}

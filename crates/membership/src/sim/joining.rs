//! Starts, restarts and late joiners.

use super::*;

const ALIVE_AND_READY: fn(&Member) -> bool = |m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Ready);

#[test]
fn a_lone_member_has_joined_at_once_when_nobody_is_expected() {
    let mut net = Net::empty(1, 0.0);
    net.start(0, peers([0]));
    assert!(net.nodes[&0].membership.joined());
    let seen: Vec<_> = net.nodes[&0]
        .membership
        .members()
        .iter()
        .map(|m| (&m.node, m.liveness, m.state))
        .collect();
    assert_eq!(seen, [(&name(0), Liveness::Alive, NodeState::Starting)]);
}

#[test]
fn joining_a_silent_cluster_ends_at_its_time_out() {
    let mut net = Net::empty(1, 0.0);
    net.start(0, peers(0..3));
    let joined = net.run_until(Duration::from_secs(10), |net| net.nodes[&0].membership.joined());
    let time_out = Timings::FAST.join_timeout;
    assert!(
        joined.is_some_and(|took| (time_out..=time_out + LOOK_PERIOD).contains(&took)),
        "{joined:?}"
    );
    assert_eq!(net.view(0, 2).map(|m| m.liveness), Some(Liveness::Down));
}

#[test]
fn whoever_does_not_know_whom_to_expect_has_not_joined() {
    let membership = Membership::new(name(0), address(0), Epoch::default(), Timings::FAST, 1);
    assert!(!membership.joined());
    assert_eq!(membership.poll_timeout(), None);
}

#[test]
fn a_late_joiner_knows_everybodys_state_when_it_has_joined() {
    for size in [3, 10, 50] {
        for loss in [0.0, 0.05] {
            let mut net = Net::cluster(size, 7, loss);
            net.set_state(0, NodeState::Draining);
            net.run_for(Duration::from_secs(5));
            net.start(size, peers(0..=size));
            let joined = net.run_until(Duration::from_secs(2), |net| net.nodes[&size].membership.joined());
            assert!(joined.is_some(), "{size} members, loss {loss}");
            let known = net.run_until(Duration::from_secs(2), |net| {
                (0..size).all(|i| {
                    let state = if i == 0 {
                        NodeState::Draining
                    } else {
                        NodeState::Ready
                    };
                    net.view(size, i)
                        .is_some_and(|m| (m.liveness, m.state) == (Liveness::Alive, state))
                })
            });
            assert!(known.is_some(), "{size} members, loss {loss}");
            if loss == 0.0 {
                assert_eq!(known, Some(Duration::ZERO), "{size} members");
            }
        }
    }
}

#[test]
fn a_joiner_that_only_its_peers_expect_is_found_by_them() {
    let mut net = Net::cluster(3, 5, 0.01);
    net.start(3, peers([]));
    for index in 0..3 {
        let now = net.now;
        net.node(index).membership.set_expected_peers(peers(0..4), now);
        net.collect(index);
    }
    let found = net.run_until(Duration::from_secs(2), |net| {
        net.everybody_sees(|m| m.liveness == Liveness::Alive)
    });
    assert!(found.is_some());
}

#[test]
fn a_restart_under_the_same_name_is_seen_as_a_new_life() {
    for seed in 0..10 {
        for down_for in [0, 150, 3_000].map(millis) {
            let mut net = Net::cluster(5, seed, 0.01);
            net.run_for(Duration::from_secs(5));
            net.crash(1);
            net.run_for(down_for);
            net.start(1, peers(0..5));
            // The new life starts over: nobody may go on believing what the old one said.
            let seen = net.run_until(Duration::from_secs(3), |net| {
                net.all_see(1, |m| {
                    (m.liveness, m.state) == (Liveness::Alive, NodeState::Starting)
                })
            });
            assert!(seen.is_some(), "seed {seed}, down for {down_for:?}");
            net.set_state(1, NodeState::Ready);
            let ready = net.run_until(Duration::from_secs(3), |net| net.everybody_sees(ALIVE_AND_READY));
            assert!(ready.is_some(), "seed {seed}, down for {down_for:?}");
        }
    }
}

#[test]
fn a_restart_with_the_clock_set_back_is_seen() {
    for seed in 0..10 {
        for down_for in [0, 150, 3_000].map(millis) {
            let mut net = Net::cluster(5, seed, 0.01);
            net.run_for(Duration::from_secs(5));
            net.set_state(1, NodeState::Draining);
            net.run_for(Duration::from_secs(1));
            net.crash(1);
            net.run_for(down_for);
            net.start_as(1, Epoch::default(), vec![secret(1)], peers(0..5));
            net.set_state(1, NodeState::Ready);
            let flown = net.flown;
            let seen = net.run_until(Duration::from_secs(4), |net| net.everybody_sees(ALIVE_AND_READY));
            assert!(seen.is_some(), "seed {seed}, down for {down_for:?}");
            assert!(
                net.flown - flown < 2_000,
                "a storm of {} datagrams",
                net.flown - flown
            );
            assert!(net.count_events(|e| *e == MembershipEvent::Overtaken) > 0);
        }
    }
}

#[test]
fn a_restart_with_the_clock_set_back_is_seen_after_the_old_life_is_forgotten() {
    for seed in 0..3 {
        let mut net = Net::cluster(3, seed, 0.01);
        net.crash(1);
        net.run_for(Duration::from_secs(700));
        net.start_as(1, Epoch::default(), vec![secret(1)], peers(0..3));
        net.set_state(1, NodeState::Ready);
        let seen = net.run_until(Duration::from_secs(4), |net| net.everybody_sees(ALIVE_AND_READY));
        assert!(seen.is_some(), "seed {seed}");
    }
}

/// How often somebody takes a later epoch within `duration`.
fn overtaken_in(net: &mut Net, duration: Duration) -> usize {
    let before = net.count_events(|e| *e == MembershipEvent::Overtaken);
    net.run_for(duration);
    net.count_events(|e| *e == MembershipEvent::Overtaken) - before
}

#[test]
fn two_speakers_with_one_name_chase_each_other_less_and_less() {
    let mut net = Net::cluster(3, 2, 0.0);
    let epoch = Epoch::first_of(1 + u64::from(u32::MAX));
    net.start_named(9, name(1), epoch, vec![secret(1)], peers(0..3));
    assert!(overtaken_in(&mut net, Duration::from_secs(60)) >= 5);
    assert!(overtaken_in(&mut net, Duration::from_secs(600)) <= 12);
    let flown = net.flown;
    assert!(overtaken_in(&mut net, Duration::from_secs(600)) <= 5);
    let per_second = (net.flown - flown) / 600;
    assert!(per_second < 150, "a storm of {per_second} datagrams a second");
}

#[test]
fn a_node_that_nobody_expects_any_more_is_forgotten_when_it_is_down() {
    let mut net = Net::cluster(3, 9, 0.0);
    net.crash(2);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.view(0, 2).map(|m| m.liveness), Some(Liveness::Down));
    let now = net.now;
    net.node(0).membership.set_expected_peers(peers(0..2), now);
    assert_eq!(net.view(0, 2), None);
    assert_eq!(net.view(1, 2).map(|m| m.liveness), Some(Liveness::Down));
}

#[test]
fn a_hundred_members_started_at_once_find_each_other() {
    let net = Net::cluster(100, 3, 0.0);
    assert!(net.now < Time::ZERO + Duration::from_secs(10), "{:?}", net.now);
}

//! Starts, restarts and late joiners.

use super::*;

const ALIVE_AND_READY: fn(&Member) -> bool = |m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Ready);

#[test]
fn a_single_member_has_joined_at_once_when_no_peer_is_expected() {
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
fn joining_a_cluster_that_does_not_answer_ends_at_its_timeout() {
    let mut net = Net::empty(1, 0.0);
    net.start(0, peers(0..3));
    let joined = net.run_until(Duration::from_secs(10), |net| net.nodes[&0].membership.joined());
    let timeout = Timings::FAST.join_timeout;
    assert!(
        joined.is_some_and(|took| (timeout..=timeout + POLL_PERIOD).contains(&took)),
        "{joined:?}"
    );
    assert_eq!(net.view(0, 2).map(|m| m.liveness), Some(Liveness::Down));
}

#[test]
fn a_member_that_knows_no_expected_peers_has_not_joined() {
    let membership = Membership::new(name(0), address(0), Epoch::default(), Timings::FAST, 1);
    assert!(!membership.joined());
    assert_eq!(membership.poll_timeout(), None);
}

#[test]
fn a_late_joiner_knows_the_state_of_all_when_it_has_joined() {
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
        net.all_see_all(|m| m.liveness == Liveness::Alive)
    });
    assert!(found.is_some());
}

#[test]
fn a_restart_with_the_same_name_is_known_as_a_new_process() {
    for seed in 0..10 {
        for down_for in [0, 150, 3_000].map(millis) {
            let mut net = Net::cluster(5, seed, 0.01);
            net.run_for(Duration::from_secs(5));
            net.crash(1);
            net.run_for(down_for);
            net.start(1, peers(0..5));
            // The new process starts over: no member may keep the report of the old one.
            let seen = net.run_until(Duration::from_secs(3), |net| {
                net.all_see(1, |m| {
                    (m.liveness, m.state) == (Liveness::Alive, NodeState::Starting)
                })
            });
            assert!(seen.is_some(), "seed {seed}, down for {down_for:?}");
            net.set_state(1, NodeState::Ready);
            let ready = net.run_until(Duration::from_secs(3), |net| net.all_see_all(ALIVE_AND_READY));
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
            let delivered = net.delivered;
            let seen = net.run_until(Duration::from_secs(4), |net| net.all_see_all(ALIVE_AND_READY));
            assert!(seen.is_some(), "seed {seed}, down for {down_for:?}");
            assert!(
                net.delivered - delivered < 2_000,
                "a storm of {} datagrams",
                net.delivered - delivered
            );
            assert!(net.count_events(|e| *e == MembershipEvent::Superseded) > 0);
        }
    }
}

#[test]
fn a_restart_with_the_clock_set_back_is_seen_after_the_old_process_is_forgotten() {
    for seed in 0..3 {
        let mut net = Net::cluster(3, seed, 0.01);
        net.crash(1);
        net.run_for(Duration::from_secs(700));
        net.start_as(1, Epoch::default(), vec![secret(1)], peers(0..3));
        net.set_state(1, NodeState::Ready);
        let seen = net.run_until(Duration::from_secs(4), |net| net.all_see_all(ALIVE_AND_READY));
        assert!(seen.is_some(), "seed {seed}");
    }
}

/// Counts the epochs that are superseded within `duration`.
fn superseded_in(net: &mut Net, duration: Duration) -> usize {
    let before = net.count_events(|e| *e == MembershipEvent::Superseded);
    net.run_for(duration);
    net.count_events(|e| *e == MembershipEvent::Superseded) - before
}

#[test]
fn two_speakers_with_one_name_supersede_each_other_every_six_seconds_at_most() {
    let mut net = Net::cluster(3, 2, 0.0);
    let epoch = Epoch::first_of(1 + u64::from(u32::MAX));
    net.start_named(9, name(1), epoch, vec![secret(1)], peers(0..3));
    assert!(superseded_in(&mut net, Duration::from_secs(60)) >= 5);
    let delivered = net.delivered;
    assert!(superseded_in(&mut net, Duration::from_secs(600)) <= 202);
    let per_second = (net.delivered - delivered) / 600;
    assert!(per_second < 150, "a storm of {per_second} datagrams a second");
}

#[test]
fn a_node_that_is_no_longer_expected_is_forgotten_when_it_is_down() {
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

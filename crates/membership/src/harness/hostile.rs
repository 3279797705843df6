//! Wrong keys, replays and malformed datagrams change nothing.

use proptest::prelude::*;

use super::*;

#[test]
fn a_member_with_another_key_is_isolated_and_its_datagrams_are_counted() {
    let mut net = Net::cluster(3, 1, 0.0);
    let epoch = Epoch {
        started: 9,
        renewal: 0,
    };
    net.start_as(3, epoch, vec![secret(2)], peers(0..4));
    net.run_for(Duration::from_secs(5));
    assert!(net.nodes.keys().all(|&i| i == 3 || net.view(i, 3).is_none()));
    assert!((0..3).all(|i| net.view(3, i).is_some_and(|m| m.liveness == Liveness::Down)));
    assert!(net.nodes[&3].membership.joined(), "it goes on isolated");
    for viewer in 0..3 {
        assert!(net.rejections[&(viewer, Rejection::Unauthentic)] > 0);
    }
}

#[test]
fn a_plain_member_and_a_keyed_one_do_not_mix() {
    let mut net = Net::cluster(2, 1, 0.0);
    net.start_as(2, Epoch::default(), Vec::new(), peers(0..3));
    let now = net.now;
    net.node(0).membership.set_expected_peers(peers(0..3), now);
    net.run_for(Duration::from_secs(3));
    assert!(net.rejections[&(0, Rejection::Format)] > 0);
    assert!(net.rejections[&(2, Rejection::Format)] > 0);
    assert_eq!(net.view(0, 2).map(|m| m.liveness), Some(Liveness::Down));
}

#[test]
fn keys_are_rotated_in_any_order_of_the_nodes_without_losing_a_member() {
    const SIZE: usize = 4;
    let (old, new) = (secret(1), secret(2));
    for seed in 0..10 {
        let mut net = Net::cluster(SIZE, seed, 0.02);
        let start = net.now;
        // All members open with the new key, then all seal with it, then the old key is removed.
        let steps = [
            vec![old.clone(), new.clone()],
            vec![new.clone(), old.clone()],
            vec![new.clone()],
        ];
        for secrets in steps {
            let mut order: Vec<usize> = (0..SIZE).collect();
            order.sort_by_key(|_| net.rng.random::<u32>());
            for index in order {
                let session = net.rng.random();
                net.node(index).seal.set_secrets(secrets.clone(), session);
                net.run_for(Duration::from_secs(2));
            }
        }
        assert_eq!(net.declared_down(start), [], "seed {seed}");
        assert!(net.all_see_all(|m| m.liveness == Liveness::Alive), "seed {seed}");
        assert!(
            !net.rejections
                .keys()
                .any(|(_, why)| *why == Rejection::Unauthentic),
            "seed {seed}: a key was missing"
        );
    }
}

#[test]
fn a_replay_of_everything_changes_nothing() {
    let mut net = Net::cluster(3, 1, 0.0);
    let mut recorded = Vec::new();
    for _ in 0..200 {
        recorded.extend(net.flights.iter().cloned());
        let end = net.now + Duration::from_secs(1);
        net.step(end);
    }
    net.run_for(Duration::from_secs(1));
    let before: Vec<Arc<[Member]>> = (0..3)
        .map(|i| net.nodes[&i].membership.members().clone())
        .collect();
    assert!(recorded.len() > 20);
    let replayed = recorded.len();
    for Reverse((_, _, [from, to], datagram)) in recorded {
        net.deliver_to(index_of(to), from, &datagram);
    }
    let counted: usize = (0..3)
        .filter_map(|i| net.rejections.get(&(i, Rejection::Replayed)))
        .sum();
    assert_eq!(counted, replayed);
    for (index, members) in before.iter().enumerate() {
        assert_eq!(net.nodes[&index].membership.members(), members);
    }
}

#[test]
fn a_machine_rolled_back_to_a_snapshot_is_accepted_again() {
    for (size, seed) in [(2, 1), (3, 2), (5, 3)] {
        let mut net = Net::cluster(size, seed, 0.0);
        // Until the replay windows of its peers have passed the first sequence numbers.
        net.run_for(Duration::from_secs(100));
        // Off for a while, then as before: it considers itself connected, and repeats its sequence numbers.
        net.cut = |from, to| from == 0 || to == 0;
        net.freeze(0, Duration::from_secs(5));
        net.run_for(Duration::from_secs(4));
        net.node(0).seal.roll_back();
        net.cut = |_, _| false;
        let accepted = net.run_until(Duration::from_secs(5), |net| {
            net.all_see_all(|m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Ready))
        });
        assert!(accepted.is_some(), "{size} members");
        assert!(
            net.count_events(|e| *e == MembershipEvent::Isolated) > 0,
            "{size} members"
        );
    }
}

/// Contents that an authenticated member could send at worst: any bytes, or real contents with some bytes changed.
fn hostile_contents() -> impl Strategy<Value = Vec<u8>> {
    let real = {
        let mut net = Net::cluster(3, 1, 0.0);
        net.crash(2);
        net.run_for(millis(450));
        // Suspicion, reports, probes and gossip, taken before they are sent.
        let now = net.now + millis(200);
        let membership = &mut net.node(0).membership;
        membership.set_state(NodeState::Draining, now);
        membership.handle_timeout(now);
        let mut contents = Vec::new();
        while let Some((_, content)) = net.node(0).membership.poll_transmit() {
            contents.push(content);
        }
        assert!(!contents.is_empty());
        contents
    };
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (proptest::sample::select(real), changes).prop_map(|(mut content, changes)| {
            for (at, byte) in changes {
                let at = at.index(content.len());
                content[at] = byte;
            }
            content
        }),
    ]
}

proptest! {
    #[test]
    fn no_content_makes_a_member_panic(
        contents in proptest::collection::vec(hostile_contents(), 1..30),
    ) {
        let mut net = Net::cluster(2, 1, 0.0);
        for content in contents {
            let now = net.now;
            let _counted = net.node(0).membership.handle_datagram(&content, address(1), now);
            net.collect(0);
            net.run_for(millis(50));
        }
        prop_assert!(net.nodes[&0].membership.members().iter().any(|m| m.node == name(0)));
    }
}

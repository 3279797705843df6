//! All members know the same number of flaps of a node, whatever the node itself remembers.

use herald_core::Prefix;
use herald_core::announce::layer2::flap_damping::COOL;

use super::*;

/// Returns the flaps of `subject`, the same for all members.
fn flaps(net: &Net, subject: usize) -> u8 {
    let known = |viewer: &usize| {
        let member = net.view(*viewer, subject).expect("known");
        member.profile.as_ref().expect("reported").flaps
    };
    let known: Vec<u8> = net.nodes.keys().map(known).collect();
    assert!(known.windows(2).all(|pair| pair[0] == pair[1]), "{known:?}");
    known[0]
}

fn restart(net: &mut Net, index: usize) {
    net.start(index, peers(0..net.nodes.len() + 1));
    let joined = net.run_until(Duration::from_secs(5), |net| {
        net.nodes[&index].membership.joined()
    });
    assert!(joined.is_some());
    net.set_state(index, NodeState::Ready);
    net.run_for(Duration::from_secs(1));
}

#[test]
fn each_crash_counts_for_the_next_process_and_is_forgotten_in_the_end() {
    for (size, loss) in [(2, 0.0), (3, 0.0), (5, 0.05)] {
        let mut net = Net::cluster(size, 1, loss);
        for crashes in 1..4 {
            net.crash(1);
            net.run_for(Duration::from_secs(3));
            restart(&mut net, 1);
            assert_eq!(flaps(&net, 1), crashes, "{size} members");
        }
        assert_eq!(flaps(&net, 0), 0);
        net.run_for(COOL);
        assert_eq!(flaps(&net, 1), 2);
    }
}

#[test]
fn a_planned_restart_counts_as_no_flap() {
    let mut net = Net::cluster(3, 1, 0.0);
    for _ in 0..3 {
        net.set_state(1, NodeState::Draining);
        net.run_for(millis(500));
        let now = net.now;
        net.node(1).membership.leave(now);
        net.collect(1);
        net.run_for(millis(200));
        net.crash(1);
        net.run_for(Duration::from_secs(3));
        restart(&mut net, 1);
        assert_eq!(flaps(&net, 1), 0);
    }
}

#[test]
fn a_member_that_was_cut_off_counts_a_flap_and_one_outage_counts_once() {
    let mut net = Net::cluster(4, 1, 0.0);
    for times in 1..3 {
        net.cut = |from, to| from == 0 || to == 0;
        net.run_for(Duration::from_secs(6));
        net.cut = |_, _| false;
        // The link was lost, too.
        let now = net.now;
        net.node(0).membership.handle_flap(now);
        net.collect(0);
        net.run_for(Duration::from_secs(3));
        assert_eq!(flaps(&net, 0), times);
    }
}

#[test]
fn the_return_of_one_member_counts_as_no_flap_of_the_others() {
    for (size, seed) in [(3, 1), (4, 2), (7, 3)] {
        let mut net = Net::cluster(size, seed, 0.01);
        net.cut = |from, to| from == 0 || to == 0;
        net.run_for(Duration::from_secs(6));
        net.cut = |_, _| false;
        net.run_for(Duration::from_secs(5));
        let counted: Vec<u8> = (0..size).map(|subject| flaps(&net, subject)).collect();
        let mut expected = vec![0; size];
        expected[0] = 1;
        assert_eq!(counted, expected);
    }
}

#[test]
fn a_stall_that_made_others_take_over_counts_as_a_flap_of_the_member_that_stalled() {
    for size in [2, 3, 5] {
        let mut net = Net::cluster(size, 1, 0.0);
        net.freeze(1, Duration::from_secs(2));
        net.run_for(Duration::from_secs(6));
        let counted: Vec<u8> = (0..size).map(|subject| flaps(&net, subject)).collect();
        assert_eq!(counted[..2], [0, 1], "{size} members");
    }
}

#[test]
fn the_profile_of_a_member_reaches_all() {
    let mut net = Net::cluster(3, 1, 0.05);
    let now = net.now;
    let subnet = Prefix {
        address: [192, 0, 2, 7].into(),
        length: 24,
    };
    let here = LocalLink {
        prefixes: &[subnet],
        ..link(0)
    };
    net.node(0).membership.set_links(&[here], now);
    net.node(0).membership.set_unresponsive(vec![name(2).tag()], now);
    net.collect(0);
    let known = net.run_until(millis(500), |net| {
        net.all_see(0, |member| {
            let profile = member.profile.as_ref().expect("reported");
            profile.count_in_subnets(&[[192, 0, 2, 200].into(), [192, 0, 3, 1].into()]) == 1
                && profile.unresponsive == [name(2).tag()]
                && !profile.has_interface(Some(&[String::from("eth1")].into()))
        })
    });
    assert!(known.is_some());
    let now = net.now;
    net.node(2).membership.handle_reported_unresponsive(now);
    net.collect(2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(flaps(&net, 2), 2);
}

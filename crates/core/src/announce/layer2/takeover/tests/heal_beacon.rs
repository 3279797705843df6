//! A node that has lost peers in gossip announces its addresses, so that the peers which exist notice it.

use super::*;

fn ips() -> [IpAddr; 3] {
    [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]))
}

/// Three active addresses.
fn three_active() -> World {
    active_at(&ips())
}

fn active_at(addresses: &[IpAddr]) -> World {
    let mut world = World::new();
    for address in addresses {
        let address = *address;
        let role = Role::Owner(Grant { address, ..grant() });
        world
            .takeover
            .set_role(&web(), address, None, Some(&role), world.now);
        world
            .takeover
            .handle_probed(address, ProbeResult::Silence, world.now);
    }
    world.effects();
    world
}

#[test]
fn while_gossip_has_lost_a_peer_active_addresses_are_announced_in_turn() {
    let mut world = three_active();
    assert_eq!(world.takeover.poll_timeout(), None, "all are well");
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    let [one, two, three] = ips();
    for address in [one, two, three, one] {
        // Two nodes are alive and take turns every 200 ms.
        assert_eq!(
            world.until_due(),
            (400, vec![Effect::Command(Command::Defend(address))])
        );
    }
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    assert_eq!(world.takeover.poll_timeout(), None, "it is back");
}

#[test]
fn there_is_no_beacon_for_a_peer_that_left_nor_without_an_active_address() {
    let mut world = three_active();
    let leaver = Member {
        macs: [mac(FIRST)].into(),
        ..Member::new(FIRST.into(), Liveness::Down, NodeState::Draining)
    };
    let members = [member(ME, Liveness::Alive), leaver];
    world.takeover.set_members(&members, world.now);
    assert_eq!(world.takeover.poll_timeout(), None);

    let mut world = World::new();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn the_beacon_for_a_peer_that_does_not_return_ends_after_ten_minutes() {
    let mut world = three_active();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    let mut beacons = 0;
    while world.takeover.poll_timeout().is_some() {
        beacons += world.until_due().1.len();
        // Other news of gossip in the meantime does not prolong it.
        if beacons == 1000 {
            world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Suspect)]);
            world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
        }
    }
    assert_eq!(beacons, 1500);
    // The peer is still known to be down.
    assert_eq!(
        world.handle_claim_of(mac(FIRST)).first(),
        Some(&Effect::Command(Command::Reannounce(ips()[1])))
    );
}

#[test]
fn a_node_that_receives_the_claim_of_a_lost_peer_announces_its_other_addresses_once_in_thirty_seconds() {
    let mut world = three_active();
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Down)]);
    world.effects();
    let [one, two, three] = ips();
    let rest = [
        Effect::Command(Command::Reannounce(two)),
        Effect::Command(Command::Reannounce(three)),
    ];
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [&rest[..], &[Effect::Command(Command::Defend(one))]].concat()
    );
    world.now = world.now + Duration::from_millis(400);
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [Effect::Command(Command::Defend(one))],
        "the peer does not receive our frames"
    );
    for _ in 0..26 {
        world.now = world.now + Duration::from_millis(1100);
        assert_eq!(
            world.handle_claim_of(mac(LAST)),
            [Effect::Command(Command::Defend(one))],
            "once for each peer and thirty seconds"
        );
    }
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [&rest[..], &[Effect::Command(Command::Defend(one))]].concat()
    );
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Down)]);
    world.effects();
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [&rest[..], &[Effect::Command(Command::Defend(one))]].concat(),
        "gossip has reached it in between"
    );
}

#[test]
fn a_ghost_that_claims_every_second_costs_no_more_than_two_bursts_of_each_address_in_a_minute() {
    let addresses: Vec<IpAddr> = (1..=34).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    for interval in [Duration::from_secs(1), Duration::from_millis(1500)] {
        let mut world = active_at(&addresses);
        world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Down)]);
        world.effects();
        let end = world.now + Duration::from_secs(60);
        let mut bursts = 0;
        while world.now < end {
            let effects = world.handle_claim_of(mac(LAST));
            let is_burst = |effect: &&Effect| matches!(effect, Effect::Command(Command::Reannounce(_)));
            bursts += effects.iter().filter(is_burst).count();
            world.now = world.now + interval;
        }
        assert!(bursts <= 2 * addresses.len(), "{bursts} bursts at {interval:?}");
    }
}

#[test]
fn news_of_a_lost_peer_that_comes_too_soon_counts_after_thirty_seconds() {
    let frequent: Vec<u64> = (1..=33).map(|number| number * 900).collect();
    for frames in [vec![10_000], frequent] {
        let mut world = three_active();
        world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Down)]);
        world.effects();
        let begin = world.now;
        let again = Effect::Command(Command::Reannounce(ips()[1]));
        assert!(world.handle_claim_of(mac(LAST)).contains(&again));
        let mut frames = frames
            .into_iter()
            .map(|millis| begin + Duration::from_millis(millis))
            .peekable();
        let mut times = Vec::new();
        while world.now < begin + Duration::from_secs(70) {
            let due = world.takeover.poll_timeout().expect("the beacon is due");
            let effects = if let Some(at) = frames.next_if(|at| *at <= due) {
                world.now = at;
                world.handle_claim_of(mac(LAST))
            } else {
                world.until_due().1
            };
            if effects.contains(&again) {
                times.push(world.now.saturating_since(begin));
            }
        }
        assert_eq!(times, [Duration::from_secs(30)]);
    }
}

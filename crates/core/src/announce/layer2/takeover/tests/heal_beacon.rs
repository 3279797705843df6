//! Who has lost others by gossip is heard by those of them that are there.

use super::*;

fn ips() -> [IpAddr; 3] {
    [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]))
}

/// Holds three addresses.
fn holding_all() -> World {
    let mut world = World::new();
    let grant = Grant {
        addresses: ips().to_vec(),
        ..grant()
    };
    world.role(Some(Role::Owner(grant)));
    for address in ips() {
        world
            .takeover
            .handle_probed(address, ProbeResult::Silence, world.now);
    }
    world.effects();
    world
}

#[test]
fn while_gossip_has_lost_somebody_what_is_held_is_announced_in_turn() {
    let mut world = holding_all();
    assert_eq!(world.takeover.poll_timeout(), None, "all are well");
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    let [one, two, three] = ips();
    for address in [one, two, three, one] {
        // Two are alive, and take turns every 200 ms.
        assert_eq!(
            world.until_due(),
            (400, vec![Effect::Command(Command::Defend(address))])
        );
    }
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    assert_eq!(world.takeover.poll_timeout(), None, "it is back");
}

#[test]
fn nobody_calls_for_one_that_said_good_bye_or_with_nothing_to_call() {
    let mut world = holding_all();
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
fn one_that_does_not_come_back_is_called_for_no_longer_than_ten_minutes() {
    let mut world = holding_all();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    let mut called = 0;
    while world.takeover.poll_timeout().is_some() {
        called += world.until_due().1.len();
        // What else gossip says in the meantime does not prolong it.
        if called == 1000 {
            world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Suspect)]);
            world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
        }
    }
    assert_eq!(called, 1500);
    // It is still known for what it is.
    assert_eq!(
        world.hears_claim_of(mac(FIRST)).first(),
        Some(&Effect::Command(Command::Reannounce(ips()[1])))
    );
}

#[test]
fn who_hears_one_that_gossip_has_lost_announces_the_rest_once() {
    let mut world = holding_all();
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Down)]);
    world.effects();
    let [one, two, three] = ips();
    let rest = [
        Effect::Command(Command::Reannounce(two)),
        Effect::Command(Command::Reannounce(three)),
    ];
    assert_eq!(
        world.hears_claim_of(mac(LAST)),
        [&rest[..], &[Effect::Command(Command::Defend(one))]].concat()
    );
    world.now = world.now + Duration::from_millis(400);
    assert_eq!(
        world.hears_claim_of(mac(LAST)),
        [Effect::Command(Command::Defend(one))],
        "it does not hear us"
    );
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(
        world.hears_claim_of(mac(LAST)),
        [&rest[..], &[Effect::Command(Command::Defend(one))]].concat()
    );
}

//! Identification: peers whose MAC addresses gossip has not reported.

use super::*;

/// Returns the address of the node with this name.
fn node_ip(node: &str) -> IpAddr {
    [192, 0, 2, node.as_bytes()[0]].into()
}

/// Gossip has reached no peer, so no MAC address is reported.
fn without_profiles() -> World {
    let mut world = World::with(Takeover::new(ME.into(), true, 1));
    let unknown = |node: &str| Member::new(node.into(), Liveness::Down, NodeState::Starting);
    let members = [unknown(FIRST), member(ME, Liveness::Alive), unknown(LAST)];
    world.takeover.set_members(&members, world.now);
    let nodes = [FIRST, ME, LAST].map(|node| (node.into(), node_ip(node)));
    world.takeover.set_nodes(nodes.into(), world.now);
    world
}

fn questions(to: MacAddr) -> Vec<Effect> {
    questions_for(&[FIRST, LAST], to)
}

fn questions_for(nodes: &[&str], to: MacAddr) -> Vec<Effect> {
    let question = |node: &&str| {
        let announcement = Announcement {
            address: node_ip(node),
            interfaces: None,
        };
        Effect::Command(Command::Check {
            announcement,
            target: Some(to),
        })
    };
    nodes.iter().map(question).collect()
}

/// `mac` answers for the address of `node`, and the other checks for that address are cancelled.
fn answers_for(world: &mut World, node: &str, mac: MacAddr) {
    let answered = ProbeResult::Answered(mac);
    world.takeover.handle_probed(node_ip(node), answered, world.now);
    let stop = Effect::Command(Command::CancelProbe(node_ip(node)));
    assert_eq!(world.takeover.poll_effect(), Some(stop));
}

/// `mac` answers for the address of the Service, is asked for the nodes' addresses, and does not answer for them.
fn unidentified(world: &mut World, mac: MacAddr) {
    assert_eq!(world.probed(ProbeResult::Answered(mac)), questions(mac));
    let (waited, effects) = world.until_due();
    assert_eq!((waited, effects), (200, vec![probe()]));
}

/// `node` answers during a conflict, is asked at the second time, and turns out to be that node.
fn identified_in_conflict(world: &mut World, node: &str) {
    let answered = ProbeResult::Answered(mac(node));
    assert_eq!(world.probed(answered), []);
    world.until_due();
    assert_eq!(world.probed(answered), questions(mac(node)));
    answers_for(world, node, mac(node));
    world.until_due();
    let known = [AddressEvent::Deferred(node.into()), AddressEvent::Resolved];
    assert_eq!(
        world.probed(answered),
        known.map(|report| Effect::Event(ip(), report))
    );
}

#[test]
fn a_machine_that_answers_for_the_address_of_a_node_is_that_node() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        questions(mac(FIRST))
    );
    answers_for(&mut world, FIRST, mac(FIRST));
    assert_eq!(world.until_due(), (200, vec![probe()]));
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [deferred]);
}

/// A machine that was replaced may have another MAC address, which it cannot report while it is down.
#[test]
fn a_peer_that_is_down_is_identified_by_a_mac_address_that_gossip_does_not_know() {
    let mut world = without_profiles();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.role(Some(elected()));
    let commands = world.probed(ProbeResult::Answered(FOREIGN));
    assert_eq!(commands, questions_for(&[FIRST, LAST], FOREIGN));
    answers_for(&mut world, FIRST, FOREIGN);
    world.until_due();
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [deferred]);
}

#[test]
fn a_machine_that_answers_for_no_node_is_foreign_and_so_is_a_proxy_that_answers_for_several() {
    for proxied in [&[][..], &[FIRST, LAST]] {
        let mut world = without_profiles();
        world.role(Some(elected()));
        for _ in 0..2 {
            assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), questions(FOREIGN));
            for node in proxied {
                answers_for(&mut world, node, FOREIGN);
            }
            world.until_due();
        }
        // It has answered before, so its MAC address is stable.
        let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [conflict]);
        assert_eq!(
            world.takeover.obstacle(ip()),
            Some(AddressEvent::Conflict(FOREIGN))
        );
    }
}

#[test]
fn a_proxy_is_detected_by_the_address_of_a_known_node() {
    let mut world = without_profiles();
    let unknown = Member::new(LAST.into(), Liveness::Down, NodeState::Starting);
    let members = [
        member(FIRST, Liveness::Alive),
        member(ME, Liveness::Alive),
        unknown,
    ];
    world.takeover.set_members(&members, world.now);
    world.role(Some(elected()));
    let commands = world.probed(ProbeResult::Answered(FOREIGN));
    assert_eq!(commands, questions_for(&[LAST, FIRST], FOREIGN));
    answers_for(&mut world, LAST, FOREIGN);
    answers_for(&mut world, FIRST, FOREIGN);
    world.until_due();
    world.probed(ProbeResult::Answered(FOREIGN));
    world.until_due();
    let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [conflict]);
}

#[test]
fn a_foreign_host_is_asked_again_and_a_late_identification_ends_the_conflict() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    unidentified(&mut world, mac(LAST));
    unidentified(&mut world, mac(LAST));
    world.probed(ProbeResult::Answered(mac(LAST)));
    assert_eq!(
        world.takeover.obstacle(ip()),
        Some(AddressEvent::Conflict(mac(LAST)))
    );
    let (waited, _) = world.until_due();
    assert_eq!(waited, 1000);
    identified_in_conflict(&mut world, LAST);
    assert_eq!(world.takeover.obstacle(ip()), None);
}

#[test]
fn machines_are_asked_one_after_another_and_only_the_asked_one_may_answer() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), questions(FOREIGN));
    answers_for(&mut world, FIRST, mac(FIRST));
    let (waited, _) = world.until_due();
    assert_eq!(waited, 200);
    // Its answer did not count, so it is still unknown, and no second machine is asked in one take-over.
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    assert_eq!(world.takeover.poll_timeout(), Some(at(450)));
    // Another address waits for the machine that is being asked.
    let other: IpAddr = [192, 0, 2, 2].into();
    let grant = Grant {
        address: other,
        ..grant()
    };
    let service = ServiceKey::new("default", "other");
    world
        .takeover
        .set_role(&service, other, None, Some(&Role::Owner(grant)), world.now);
    world
        .takeover
        .handle_probed(other, ProbeResult::Answered(mac(FIRST)), world.now);
    world.effects();
    world.now = world.now + Duration::from_millis(50);
    world
        .takeover
        .handle_probed(ip(), ProbeResult::Answered(FOREIGN), world.now);
    assert_eq!(world.takeover.poll_timeout(), Some(at(400)));
}

/// `mac` answers for the address of the Service twice, and only then, with a stable MAC address, it is asked.
fn asked_once_stable(world: &mut World, mac: MacAddr) {
    assert_eq!(world.probed(ProbeResult::Answered(mac)), []);
    assert_eq!(world.until_due(), (250, vec![probe()]));
    assert_eq!(world.probed(ProbeResult::Answered(mac)), questions(mac));
}

/// `mac` answers for the address of `node`, so that node keeps the address of the Service, and no foreign host does.
fn identified(world: &mut World, node: &str, mac: MacAddr) {
    answers_for(world, node, mac);
    assert_eq!(world.until_due(), (200, vec![probe()]));
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(node.into()));
    assert_eq!(world.probed(ProbeResult::Answered(mac)), [deferred]);
}

/// Three speakers that do not know each other start in the same second: two contend until the wait is over, and one is first.
#[test]
fn a_machine_that_answers_after_the_conflict_wait_is_asked_before_it_counts_as_foreign() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    while world.now < at(1_000) {
        world.probed(ProbeResult::Contended(mac(FIRST)));
        world.until_due();
    }
    asked_once_stable(&mut world, mac(LAST));
    identified(&mut world, LAST, mac(LAST));
}

#[test]
fn a_second_machine_is_asked_before_it_counts_as_foreign() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    unidentified(&mut world, FOREIGN);
    asked_once_stable(&mut world, mac(LAST));
    identified(&mut world, LAST, mac(LAST));
}

/// One machine is asked at a time, for all addresses, and a host can use any number of MAC addresses.
#[test]
fn machines_that_claim_other_addresses_delay_the_report_of_a_conflict_for_a_few_seconds_at_most() {
    let mut world = without_profiles();
    let other: IpAddr = [192, 0, 2, 2].into();
    let grant = Grant {
        address: other,
        ..grant()
    };
    let service = ServiceKey::new("default", "other");
    let role = Role::Owner(grant);
    world
        .takeover
        .set_role(&service, other, None, Some(&role), world.now);
    world
        .takeover
        .handle_probed(other, ProbeResult::Silence, world.now);
    world.role(Some(elected()));
    let begin = world.now;
    let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
    for step in 0_u8.. {
        assert!(
            world.now < begin + Duration::from_secs(5),
            "no conflict is reported"
        );
        let claimant = MacAddr([100, 0, 0, 0, 0, step % 50]);
        world
            .takeover
            .handle_claim(other, claimant, |_, _| false, world.now);
        world.takeover.handle_timeout(world.now);
        let effects = world.effects();
        if effects.contains(&probe()) || step == 0 {
            world
                .takeover
                .handle_probed(ip(), ProbeResult::Answered(FOREIGN), world.now);
            if world.effects().contains(&conflict) {
                break;
            }
        }
        world.now = world.now + Duration::from_millis(50);
    }
}

/// The address of a foreign host passes to a peer.
#[test]
fn another_machine_that_answers_during_a_conflict_is_asked() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    unidentified(&mut world, FOREIGN);
    unidentified(&mut world, FOREIGN);
    world.probed(ProbeResult::Answered(FOREIGN));
    world.until_due();
    identified_in_conflict(&mut world, LAST);
}

#[test]
fn a_claim_of_an_unknown_machine_starts_an_identification_and_rank_decides() {
    let mut world = without_profiles();
    world.role(Some(elected()));
    world.probed(ProbeResult::Silence);
    let mut expected = questions(mac(FIRST));
    expected.push(Effect::Command(Command::Defend(ip())));
    assert_eq!(world.handle_claim_of(mac(FIRST)), expected);
    answers_for(&mut world, FIRST, mac(FIRST));
    assert_eq!(world.effects(), [Effect::Command(Command::Reannounce(ip()))]);
    let effects = world.handle_claim_of(mac(FIRST));
    assert!(
        effects.contains(&Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()))),
        "{effects:?}"
    );
}

#[test]
fn the_mac_address_in_gossip_has_precedence_and_a_known_machine_is_not_asked() {
    let mut world = without_profiles();
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Suspect)]);
    world.role(Some(elected()));
    world.answered_twice(FOREIGN);
    // An answer for the node still changes nothing.
    answers_for(&mut world, FIRST, FOREIGN);
    assert_eq!(
        world.takeover.obstacle(ip()),
        Some(AddressEvent::Conflict(FOREIGN))
    );
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), []);
}

//! Fellows whose Ethernet addresses gossip never told.

use super::*;

/// The address of the node whose name it is.
fn node_ip(node: &str) -> IpAddr {
    [192, 0, 2, node.as_bytes()[0]].into()
}

/// Elected, while gossip has reached neither of the others.
fn unacquainted() -> World {
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

/// `mac` answers for the address of `node`, about which nothing more is to be heard then.
fn answers_for(world: &mut World, node: &str, mac: MacAddr) {
    let answered = ProbeResult::Answered(mac);
    world.takeover.handle_probed(node_ip(node), answered, world.now);
    let stop = Effect::Command(Command::CancelProbe(node_ip(node)));
    assert_eq!(world.takeover.poll_effect(), Some(stop));
}

/// The machine with that address answers for ours, is asked who it is, and nobody hears what it says.
fn asked_in_vain(world: &mut World, mac: MacAddr) {
    assert_eq!(world.probed(ProbeResult::Answered(mac)), questions(mac));
    let (waited, effects) = world.until_due();
    assert_eq!((waited, effects), (200, vec![probe()]));
}

#[test]
fn who_answers_for_the_address_of_a_node_is_that_node() {
    let mut world = unacquainted();
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

/// A dead one that was made anew may have another Ethernet address, and not be able to say so.
#[test]
fn one_that_is_down_is_met_by_an_address_that_gossip_does_not_know_of() {
    let mut world = unacquainted();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.role(Some(elected()));
    let asked = world.probed(ProbeResult::Answered(FOREIGN));
    assert_eq!(asked, questions_for(&[FIRST, LAST], FOREIGN));
    answers_for(&mut world, FIRST, FOREIGN);
    world.until_due();
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [deferred]);
}

#[test]
fn who_answers_for_no_node_is_a_stranger_and_so_is_a_proxy_that_answers_for_several() {
    for proxied in [&[][..], &[FIRST, LAST]] {
        let mut world = unacquainted();
        world.role(Some(elected()));
        for _ in 0..2 {
            assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), questions(FOREIGN));
            for node in proxied {
                answers_for(&mut world, node, FOREIGN);
            }
            world.until_due();
        }
        let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [conflict]);
        assert_eq!(world.takeover.foreign_host(ip()), Some(FOREIGN));
    }
}

#[test]
fn a_proxy_is_found_out_by_the_address_of_a_node_that_is_known() {
    let mut world = unacquainted();
    let unknown = Member::new(LAST.into(), Liveness::Down, NodeState::Starting);
    let members = [
        member(FIRST, Liveness::Alive),
        member(ME, Liveness::Alive),
        unknown,
    ];
    world.takeover.set_members(&members, world.now);
    world.role(Some(elected()));
    let asked = world.probed(ProbeResult::Answered(FOREIGN));
    assert_eq!(asked, questions_for(&[LAST, FIRST], FOREIGN));
    answers_for(&mut world, LAST, FOREIGN);
    answers_for(&mut world, FIRST, FOREIGN);
    world.until_due();
    world.probed(ProbeResult::Answered(FOREIGN));
    world.until_due();
    let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [conflict]);
}

#[test]
fn a_stranger_is_asked_again_and_one_that_is_met_late_is_no_longer_one() {
    let mut world = unacquainted();
    world.role(Some(elected()));
    asked_in_vain(&mut world, mac(LAST));
    asked_in_vain(&mut world, mac(LAST));
    world.probed(ProbeResult::Answered(mac(LAST)));
    assert_eq!(world.takeover.foreign_host(ip()), Some(mac(LAST)));
    let (waited, _) = world.until_due();
    assert_eq!(waited, 1000);
    assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), []);
    world.until_due();
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        questions(mac(LAST))
    );
    answers_for(&mut world, LAST, mac(LAST));
    world.until_due();
    let known = [AddressEvent::Deferred(LAST.into()), AddressEvent::Resolved];
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        known.map(|report| Effect::Event(ip(), report))
    );
    assert_eq!(world.takeover.foreign_host(ip()), None);
}

#[test]
fn machines_are_asked_one_after_the_other_and_only_they_may_answer() {
    let mut world = unacquainted();
    world.role(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), questions(FOREIGN));
    answers_for(&mut world, FIRST, mac(FIRST));
    let (waited, _) = world.until_due();
    assert_eq!(waited, 200);
    // It would be known by now, had it been asked.
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        questions(mac(FIRST))
    );
    world.now = world.now + Duration::from_millis(50);
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), []);
    assert_eq!(world.takeover.poll_timeout(), Some(at(400)));
}

#[test]
fn a_claim_of_somebody_unknown_is_answered_and_the_two_that_meet_settle_it() {
    let mut world = unacquainted();
    world.role(Some(elected()));
    world.probed(ProbeResult::Silence);
    let mut expected = questions(mac(FIRST));
    expected.push(Effect::Command(Command::Defend(ip())));
    assert_eq!(world.hears_claim_of(mac(FIRST)), expected);
    answers_for(&mut world, FIRST, mac(FIRST));
    assert_eq!(world.effects(), [Effect::Command(Command::Reannounce(ip()))]);
    let effects = world.hears_claim_of(mac(FIRST));
    assert!(
        effects.contains(&Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()))),
        "{effects:?}"
    );
}

#[test]
fn what_gossip_tells_counts_more_and_nobody_is_asked_who_is_known() {
    let mut world = unacquainted();
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Suspect)]);
    world.role(Some(elected()));
    let conflict = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [conflict]);
    // Should it answer for the node all the same, that changes nothing.
    answers_for(&mut world, FIRST, FOREIGN);
    assert_eq!(world.takeover.foreign_host(ip()), Some(FOREIGN));
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), []);
}

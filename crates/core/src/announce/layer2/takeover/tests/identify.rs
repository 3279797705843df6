//! Fellows whose Ethernet addresses gossip never told.

use super::*;

/// The address of the node whose name it is.
fn node_ip(node: &str) -> IpAddr {
    [192, 0, 2, node.as_bytes()[0]].into()
}

/// Elected, while gossip has reached neither of the others.
fn unacquainted() -> World {
    let mut world = World::with(Holdings::new(true, 1));
    let unknown = |node: &str| Member::new(node.into(), Liveness::Down, NodeState::Starting);
    let members = [unknown(FIRST), member(ME, Liveness::Alive), unknown(LAST)];
    world.holdings.set_members(&members, &ME.into(), world.now);
    let nodes = [FIRST, ME, LAST].map(|node| (node.into(), node_ip(node)));
    world.holdings.set_nodes(nodes.into(), world.now);
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
        Effect::Check(announcement, Some(to))
    };
    nodes.iter().map(question).collect()
}

/// `mac` answers for the address of `node`, about which nothing more is to be heard then.
fn answers_for(world: &mut World, node: &str, mac: MacAddr) {
    let answered = ProbeResult::Answered(mac);
    world.holdings.handle_probed(node_ip(node), answered, world.now);
    let stop = Effect::StopProbe(node_ip(node));
    assert_eq!(world.holdings.poll_effect(), Some(stop));
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
    world.verdict(Some(elected()));
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        questions(mac(FIRST))
    );
    answers_for(&mut world, FIRST, mac(FIRST));
    assert_eq!(world.until_due(), (200, vec![probe()]));
    let deferred = Effect::Report(ip(), Report::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [deferred]);
}

/// A dead one that was made anew may have another Ethernet address, and not be able to say so.
#[test]
fn one_that_is_down_is_met_by_an_address_that_gossip_does_not_know_of() {
    let mut world = unacquainted();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.verdict(Some(elected()));
    let asked = world.probed(ProbeResult::Answered(STRANGER));
    assert_eq!(asked, questions_for(&[FIRST, LAST], STRANGER));
    answers_for(&mut world, FIRST, STRANGER);
    world.until_due();
    let deferred = Effect::Report(ip(), Report::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), [deferred]);
}

#[test]
fn who_answers_for_no_node_is_a_stranger_and_so_is_a_proxy_that_answers_for_several() {
    for proxied in [&[][..], &[FIRST, LAST]] {
        let mut world = unacquainted();
        world.verdict(Some(elected()));
        for _ in 0..2 {
            assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), questions(STRANGER));
            for node in proxied {
                answers_for(&mut world, node, STRANGER);
            }
            world.until_due();
        }
        let conflict = Effect::Report(ip(), Report::Conflict(STRANGER));
        assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), [conflict]);
        assert_eq!(world.holdings.stranger(ip()), Some(STRANGER));
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
    world.holdings.set_members(&members, &ME.into(), world.now);
    world.verdict(Some(elected()));
    let asked = world.probed(ProbeResult::Answered(STRANGER));
    assert_eq!(asked, questions_for(&[LAST, FIRST], STRANGER));
    answers_for(&mut world, LAST, STRANGER);
    answers_for(&mut world, FIRST, STRANGER);
    world.until_due();
    world.probed(ProbeResult::Answered(STRANGER));
    world.until_due();
    let conflict = Effect::Report(ip(), Report::Conflict(STRANGER));
    assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), [conflict]);
}

#[test]
fn a_stranger_is_asked_again_and_one_that_is_met_late_is_no_longer_one() {
    let mut world = unacquainted();
    world.verdict(Some(elected()));
    asked_in_vain(&mut world, mac(LAST));
    asked_in_vain(&mut world, mac(LAST));
    world.probed(ProbeResult::Answered(mac(LAST)));
    assert_eq!(world.holdings.stranger(ip()), Some(mac(LAST)));
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
    let known = [Report::Deferred(LAST.into()), Report::Resolved];
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        known.map(|report| Effect::Report(ip(), report))
    );
    assert_eq!(world.holdings.stranger(ip()), None);
}

#[test]
fn machines_are_asked_one_after_the_other_and_only_they_may_answer() {
    let mut world = unacquainted();
    world.verdict(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), questions(STRANGER));
    answers_for(&mut world, FIRST, mac(FIRST));
    let (waited, _) = world.until_due();
    assert_eq!(waited, 200);
    // It would be known by now, had it been asked.
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        questions(mac(FIRST))
    );
    world.now = world.now + Duration::from_millis(50);
    assert_eq!(world.holdings.introduce(STRANGER, world.now), Some(at(400)));
    assert_eq!(world.effects(), []);
}

#[test]
fn a_claim_of_somebody_unknown_is_answered_and_the_two_that_meet_settle_it() {
    let mut world = unacquainted();
    world.verdict(Some(elected()));
    world.probed(ProbeResult::Silence);
    let mut expected = questions(mac(FIRST));
    expected.push(Effect::Defend(ip()));
    assert_eq!(world.hears_claim_of(mac(FIRST)), expected);
    answers_for(&mut world, FIRST, mac(FIRST));
    assert_eq!(world.effects(), [Effect::Reannounce(ip())]);
    let effects = world.hears_claim_of(mac(FIRST));
    assert!(
        effects.contains(&Effect::Report(ip(), Report::Yielded(FIRST.into()))),
        "{effects:?}"
    );
}

#[test]
fn what_gossip_tells_counts_more_and_nobody_is_asked_who_is_known() {
    let mut world = unacquainted();
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Suspect)]);
    world.verdict(Some(elected()));
    let conflict = Effect::Report(ip(), Report::Conflict(STRANGER));
    assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), [conflict]);
    // Should it answer for the node all the same, that changes nothing.
    answers_for(&mut world, FIRST, STRANGER);
    assert_eq!(world.holdings.stranger(ip()), Some(STRANGER));
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Answered(STRANGER)), []);
}

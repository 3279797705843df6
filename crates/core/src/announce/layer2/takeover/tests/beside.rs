//! Machines that answer although no speaker of this cluster announces the address: MetalLB on the node of a peer.

use super::*;

/// Gossip reaches all speakers, and MetalLB's run on the same nodes.
fn beside_metallb() -> World {
    let mut world = World::new();
    world.takeover.set_beside_metallb(true);
    world.gossip_of_able(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    world.effects();
    world
}

fn with_starting(world: &mut World, node: &str) {
    let starting = Member {
        state: NodeState::Starting,
        ..able(node, Liveness::Alive)
    };
    let members = [able(ME, Liveness::Alive), starting];
    world.takeover.set_members(&members, world.now);
}

fn answered_by(node: &str) -> impl Fn(u32) -> ProbeResult {
    move |_| ProbeResult::Answered(mac(node))
}

fn answered_by_metallb(node: &str) -> Effect {
    Effect::Event(ip(), AddressEvent::AnsweredByMetalLb(node.into()))
}

#[test]
fn a_living_peer_that_is_starting_and_answers_keeps_the_address_for_ten_seconds() {
    let mut world = World::probing();
    with_starting(&mut world, LAST);
    let (after, events) = world.until_active(answered_by(LAST));
    let after = after.expect("it takes the address at last");
    assert!(after >= Duration::from_secs(10), "{after:?}");
    assert_eq!(events, []);
}

/// Where this cluster announced the address lately, the machine that answers uses the MAC address of the peer.
#[test]
fn the_mac_address_of_a_peer_that_is_starting_delays_no_failover() {
    let mut world = World::new();
    world.role(Some(Role::Backup {
        of: FIRST.into(),
        grant: grant(),
    }));
    world.until_due();
    world.probed(ProbeResult::Answered(mac(FIRST)));
    with_starting(&mut world, LAST);
    assert_eq!(world.role(Some(elected())), [probe()]);
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        [announce(), gained()]
    );
}

#[test]
fn what_a_peer_kept_while_it_was_starting_is_taken_when_it_is_ready_or_silent() {
    for is_ready in [true, false] {
        let mut world = World::probing();
        with_starting(&mut world, LAST);
        assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), []);
        assert_eq!(world.until_due().1, [probe()]);
        if is_ready {
            world.gossip_of_able(&[(LAST, Liveness::Alive)]);
            assert_eq!(
                world.probed(ProbeResult::Answered(mac(LAST))),
                [announce(), gained()]
            );
        } else {
            assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
        }
    }
}

#[test]
fn a_node_that_was_dead_before_this_speaker_started_keeps_no_address_except_beside_metallb() {
    for is_beside in [false, true] {
        let mut world = World::with(Takeover::new(ME.into(), true, 1));
        world.takeover.set_beside_metallb(is_beside);
        let others = ["c", "d", "e", ME].map(|node| able(node, Liveness::Alive));
        let members: Vec<_> = others.into_iter().chain([able(FIRST, Liveness::Down)]).collect();
        world.takeover.set_members(&members, world.now);
        world.role(Some(elected()));
        let (after, events) = world.until_active(answered_by(FIRST));
        assert_eq!(after.is_none(), is_beside, "{after:?}");
        let forced = AddressEvent::TakeoverForced(FIRST.into());
        assert_eq!(events.contains(&forced), !is_beside);
    }
}

#[test]
fn beside_metallb_a_living_peer_that_announces_the_address_hands_it_over() {
    let mut world = beside_metallb();
    world.role(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), [query(LAST)]);
    assert_eq!(world.replied(LAST, true), [announce(), gained()]);
}

#[test]
fn beside_metallb_an_address_stays_where_metallb_answers_until_it_stops() {
    let mut world = beside_metallb();
    world.role(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), [query(LAST)]);
    assert_eq!(world.takeover.obstacle(ip()), None);
    assert_eq!(world.replied(LAST, false), [answered_by_metallb(LAST)]);
    let obstacle = AddressEvent::AnsweredByMetalLb(LAST.into());
    assert_eq!(world.takeover.obstacle(ip()), Some(obstacle));
    for _ in 0..100 {
        assert_eq!(world.until_due(), (500, vec![probe()]));
        assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), [query(LAST)]);
        assert_eq!(world.replied(LAST, false), [], "it was reported");
    }
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn beside_metallb_an_address_waits_for_a_speaker_that_starts_or_stops_without_a_report() {
    for (liveness, state) in [
        (Liveness::Alive, NodeState::Starting),
        (Liveness::Alive, NodeState::Draining),
        (Liveness::Down, NodeState::Draining),
    ] {
        let mut world = beside_metallb();
        let peer = Member {
            state,
            ..able(LAST, liveness)
        };
        let members = [able(ME, Liveness::Alive), peer];
        world.takeover.set_members(&members, world.now);
        world.role(Some(elected()));
        for _ in 0..20 {
            let effects = world.probed(ProbeResult::Answered(mac(LAST)));
            assert!(effects.into_iter().filter_map(event).next().is_none());
            if liveness == Liveness::Alive {
                assert_eq!(world.replied(LAST, false), []);
            }
            assert_eq!(world.takeover.obstacle(ip()), None);
            assert_eq!(world.until_due(), (500, vec![probe()]));
        }
    }
}

#[test]
fn beside_metallb_a_node_that_answers_for_a_dead_speaker_is_no_sign_of_blocked_gossip() {
    for is_beside in [false, true] {
        let mut world = World::new();
        world.takeover.set_beside_metallb(is_beside);
        world.gossip_of_able(&[(FIRST, Liveness::Down)]);
        world.role(Some(elected()));
        let effects = world.probed(ProbeResult::Answered(mac(FIRST)));
        let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
        assert!(effects.contains(&deferred), "{effects:?}");
        assert_eq!(world.takeover.deferred(), usize::from(!is_beside));
    }
}

#[test]
fn beside_metallb_a_speaker_that_stops_hands_over_what_it_announces() {
    let mut world = beside_metallb();
    let stopping = Member {
        state: NodeState::Draining,
        ..able(LAST, Liveness::Alive)
    };
    let members = [able(ME, Liveness::Alive), stopping];
    world.takeover.set_members(&members, world.now);
    world.role(Some(elected()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(LAST))), [query(LAST)]);
    assert_eq!(world.replied(LAST, true), [announce(), gained()]);
}

#[test]
fn beside_metallb_a_claim_for_a_living_peer_is_one_of_metallb() {
    for is_beside in [false, true] {
        let mut world = World::active();
        world.takeover.set_beside_metallb(is_beside);
        world.gossip_of_able(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
        let end = world.now + Duration::from_secs(60);
        let mut events = Vec::new();
        while world.now < end {
            world.now = world.now + Duration::from_secs(1);
            let mut effects = world.handle_claim_of(mac(LAST));
            effects.extend(world.replied(LAST, false));
            events.extend(effects.into_iter().filter_map(event));
        }
        let foreign = AddressEvent::ForeignClaim {
            mac: mac(LAST),
            node: LAST.into(),
        };
        let metallb = AddressEvent::AnsweredByMetalLb(LAST.into());
        assert_eq!(events.contains(&foreign), !is_beside, "{events:?}");
        assert_eq!(events.contains(&metallb), is_beside, "{events:?}");
    }
}

#[test]
fn beside_metallb_no_answer_of_a_node_is_ever_overruled() {
    for detection in [
        ConflictDetection::Enforce,
        ConflictDetection::Warn,
        ConflictDetection::Off,
    ] {
        for machine in [mac(FIRST), mac(LAST), FOREIGN] {
            let mut world = beside_metallb();
            let grant = Grant {
                conflict_detection: detection,
                ..grant()
            };
            world.role(Some(Role::Owner(grant)));
            let others = [
                (FIRST, Liveness::Down),
                (LAST, Liveness::Alive),
                ("d", Liveness::Alive),
            ];
            world.gossip_of_able(&others);
            world.effects();
            let (after, events) = world.until_active(|_| ProbeResult::Answered(machine));
            assert_eq!(after, None, "{detection:?} {machine} {events:?}");
        }
    }
}

#[test]
fn what_was_left_to_metallb_is_probed_for_at_once_when_metallb_has_ended() {
    for machine in [mac(LAST), FOREIGN] {
        let mut world = beside_metallb();
        world.role(Some(elected()));
        // For long enough that a foreign host would be asked every five seconds.
        let end = world.now + Duration::from_secs(20);
        while world.now < end {
            world.probed(ProbeResult::Answered(machine));
            let (passed, _) = world.until_due();
            assert!(passed <= 500, "{passed} ms");
        }
        world.probed(ProbeResult::Answered(machine));
        world.takeover.set_beside_metallb(false);
        assert!(world.takeover.poll_timeout().expect("a probe is due") <= world.now);
        world.takeover.handle_timeout(world.now);
        assert_eq!(world.effects(), [probe()]);
        let effects = world.probed(ProbeResult::Silence);
        assert!(effects.contains(&announce()), "{effects:?}");
    }
}

/// The peers said no while MetalLB answered there; what still answers now is a speaker that stops.
#[test]
fn without_metallb_the_usual_rules_hold_again() {
    let mut world = beside_metallb();
    world.role(Some(elected()));
    world.probed(ProbeResult::Answered(mac(LAST)));
    world.replied(LAST, false);
    world.takeover.set_beside_metallb(false);
    world.until_due();
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        [announce(), gained()]
    );
}

#[test]
fn beside_metallb_a_speaker_that_hands_an_address_over_says_that_it_announces_it() {
    for is_beside in [true, false] {
        let mut world = World::active();
        world.takeover.set_beside_metallb(is_beside);
        assert!(world.takeover.announces(ip()));
        world.role(Some(standby()));
        assert_eq!(world.takeover.announces(ip()), is_beside);
        world.handle_claim_of(mac(FIRST));
        assert!(!world.takeover.announces(ip()));
    }
}

/// As at the start of MetalLB, before a Pod of it is ready.
#[test]
fn while_pods_of_metallb_exist_each_claim_is_contradicted_at_once() {
    for machine in [mac(FIRST), FOREIGN] {
        for has_metallb in [true, false] {
            let mut world = World::active();
            world.gossip_of_able(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
            world.now = world.now + Duration::from_secs(100);
            world.effects();
            world.takeover.set_has_metallb(has_metallb);
            let at_once = Effect::Command(Command::DefendAtOnce(ip()));
            // The second one is forged, because the peer has denied the first one.
            for _ in 0..2 {
                let effects = world.handle_claim_of(machine);
                assert_eq!(effects.contains(&at_once), has_metallb, "{effects:?}");
                world.replied(FIRST, false);
                world.now = world.now + Duration::from_millis(10);
            }
            assert!(world.takeover.announces(ip()));
        }
    }
}

//! Claims of peers to an active address, forged or not, and what sealed replies say about them.

use super::*;

/// One more than the longest time that anything about a claim is remembered.
const MINUTE: Duration = Duration::from_secs(60);

/// An active address, and all speakers answer queries.
fn active() -> World {
    let mut world = World::active();
    world.gossip_of_able(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    world.effects();
    world.now = world.now + Duration::from_secs(100);
    world
}

/// The same; this peer is lost.
fn active_without(lost: &str) -> World {
    let mut world = active();
    let other = if lost == FIRST { LAST } else { FIRST };
    world.gossip_of_able(&[(lost, Liveness::Down), (other, Liveness::Alive)]);
    world.effects();
    world
}

fn disputed(node: &str) -> Effect {
    Effect::Event(ip(), AddressEvent::Disputed(node.into()))
}

/// A machine with this MAC address claims the address for a minute, so many times a second. Returns the effects.
fn claimed_for_a_minute(world: &mut World, mac: MacAddr, rate: u32, reply: Option<bool>) -> Vec<Effect> {
    let mut effects = Vec::new();
    let end = world.now + MINUTE;
    while world.now < end {
        let next = world.now + Duration::from_secs(1) / rate;
        while let Some(due) = world.takeover.poll_timeout()
            && due <= next
        {
            effects.extend(world.until_due().1);
        }
        world.now = next;
        let new = world.handle_claim_of(mac);
        for effect in &new {
            if let (Effect::QueryPeer(peer, _), Some(announces)) = (effect, reply) {
                effects.extend(world.replied(peer.as_str(), announces));
            }
        }
        effects.extend(new);
    }
    effects
}

fn count(effects: &[Effect], effect: &Effect) -> usize {
    effects.iter().filter(|other| *other == effect).count()
}

#[test]
fn an_owner_asks_a_living_peer_that_claims_its_address() {
    for peer in [FIRST, LAST] {
        let mut world = active();
        assert_eq!(world.handle_claim_of(mac(peer)), [defend(), query(peer)]);
        assert_eq!(
            world.handle_claim_of(mac(peer)),
            [defend()],
            "asked once a second"
        );
        world.now = world.now + Duration::from_secs(1);
        assert_eq!(world.handle_claim_of(mac(peer)), [defend(), query(peer)]);
    }
}

#[test]
fn forged_claims_of_a_living_peer_are_reported_and_take_nothing() {
    for rate in [1, 100] {
        for reply in [Some(false), None] {
            let mut world = active();
            let effects = claimed_for_a_minute(&mut world, mac(FIRST), rate, reply);
            assert!(!effects.contains(&withdraw()));
            let forged = AddressEvent::ForeignClaim {
                mac: mac(FIRST),
                node: FIRST.into(),
            };
            assert_eq!(count(&effects, &Effect::Event(ip(), forged)), 1);
            assert!(count(&effects, &query(FIRST)) <= 60);
            let events = effects.into_iter().filter_map(event).count();
            assert_eq!(events, 1, "nothing else is reported");
        }
    }
}

#[test]
fn claims_of_a_version_that_answers_no_queries_are_reported_and_take_nothing() {
    let mut world = World::active();
    world.now = world.now + Duration::from_secs(100);
    let effects = claimed_for_a_minute(&mut world, mac(FIRST), 10, None);
    assert!(!effects.contains(&withdraw()));
    assert_eq!(count(&effects, &query(FIRST)), 0);
    assert_eq!(effects.into_iter().filter_map(event).count(), 1);
}

/// The claims of a handover cross: this node and its predecessor know that.
#[test]
fn claims_soon_after_a_change_of_the_role_are_not_reported_as_forged() {
    let mut world = active();
    world.role(Some(standby()));
    world.role(Some(elected()));
    for _ in 0..9 {
        world.handle_claim_of(mac(FIRST));
        assert_eq!(world.replied(FIRST, false), []);
        world.now = world.now + Duration::from_secs(1);
    }
}

#[test]
fn of_two_peers_that_both_announce_for_four_seconds_the_second_by_name_stops() {
    for (peer, stops) in [(FIRST, true), (LAST, false)] {
        let mut world = active();
        let begin = world.now;
        assert_eq!(world.handle_claim_of(mac(peer)), [defend(), query(peer)]);
        assert_eq!(world.replied(peer, true), []);
        assert_eq!(world.until_due(), (2000, vec![query(peer)]));
        // A query or its reply is lost.
        assert_eq!(world.until_due(), (1000, vec![query(peer)]));
        assert_eq!(world.replied(peer, true), []);
        assert_eq!(world.until_due(), (1000, vec![query(peer)]));
        assert_eq!(world.now, begin + Duration::from_secs(4));
        let effects = world.replied(peer, true);
        if stops {
            assert_eq!(effects, [disputed(peer), withdraw(), lost()]);
            assert!(!world.takeover.announces(ip()));
            let obstacle = AddressEvent::Disputed(peer.into());
            assert_eq!(world.takeover.obstacle(ip()), Some(obstacle));
        } else {
            assert_eq!(effects, [disputed(peer)]);
            assert!(world.takeover.announces(ip()));
            assert_eq!(world.takeover.poll_timeout(), None);
        }
    }
}

#[test]
fn in_a_dispute_of_several_the_first_by_name_counts() {
    for order in [[LAST, FIRST], [FIRST, LAST]] {
        let mut world = active();
        order.iter().for_each(|peer| {
            world.replied(peer, true);
        });
        let begin = world.now;
        while world.takeover.announces(ip()) {
            world.until_due();
            order.iter().for_each(|peer| {
                world.replied(peer, true);
            });
        }
        assert_eq!(world.now, begin + Duration::from_secs(4), "{order:?}");
    }
}

/// An active address that this node has left to the first peer by name after a dispute.
fn after_a_dispute() -> World {
    let mut world = active();
    world.handle_claim_of(mac(FIRST));
    world.replied(FIRST, true);
    while world.takeover.announces(ip()) {
        world.until_due();
        world.replied(FIRST, true);
    }
    world.effects();
    world
}

#[test]
fn the_loser_of_a_dispute_takes_the_address_when_the_winner_stops() {
    let mut world = after_a_dispute();
    for _ in 0..20 {
        assert_eq!(world.until_due(), (1000, vec![probe()]));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [query(FIRST)]);
        assert_eq!(world.replied(FIRST, true), []);
    }
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);

    // The winner hands the address over and answers until this node announces it.
    let mut world = after_a_dispute();
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [query(FIRST)]);
    assert_eq!(world.replied(FIRST, false), [announce(), gained()]);
    assert_eq!(world.takeover.obstacle(ip()), None);

    // Another machine answers with its MAC address, or a peer after this node by name does.
    let mut world = after_a_dispute();
    assert_eq!(world.replied(FIRST, false), [announce(), gained()]);
    let mut world = after_a_dispute();
    world.until_due();
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        [announce(), gained()]
    );
}

#[test]
fn a_peer_that_says_no_in_between_is_in_no_dispute() {
    let mut world = active();
    for _ in 0..30 {
        world.handle_claim_of(mac(FIRST));
        world.replied(FIRST, true);
        world.now = world.now + Duration::from_millis(3000);
        world.takeover.handle_timeout(world.now);
        world.replied(FIRST, true);
        world.replied(FIRST, false);
        assert!(world.takeover.announces(ip()));
        world.now = world.now + Duration::from_millis(1000);
    }
    // Nor is one whose replies stop.
    world.replied(FIRST, true);
    world.now = world.now + Duration::from_secs(6);
    world.takeover.handle_timeout(world.now);
    world.effects();
    assert_eq!(world.replied(FIRST, true), []);
    assert!(world.takeover.announces(ip()));
}

#[test]
fn a_node_that_hands_an_address_over_does_not_say_that_it_announces_it() {
    assert!(World::active().takeover.announces(ip()));
    for world in [
        World::new(),
        World::probing(),
        World::handing_over(),
        World::in_conflict(),
        after_a_dispute(),
    ] {
        assert!(!world.takeover.announces(ip()));
    }
}

#[test]
fn the_majority_does_not_stop_for_the_mac_address_of_a_dead_peer() {
    for rate in [1, 100] {
        let mut world = active_without(FIRST);
        let effects = claimed_for_a_minute(&mut world, mac(FIRST), rate, None);
        assert!(!effects.contains(&withdraw()));
        assert_eq!(effects.into_iter().filter_map(event).count(), 0);
    }
}

#[test]
fn the_majority_stops_for_a_peer_that_gossip_has_lost_if_it_replies_and_has_the_better_rank() {
    let mut world = active_without(FIRST);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [defend(), query(FIRST)]);
    assert_eq!(world.replied(FIRST, true), []);
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [defend()],
        "it crossed the query"
    );
    world.now = world.now + Duration::from_millis(100);
    let preempted = Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()));
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [withdraw(), preempted, lost(), probe()]
    );
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        [Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()))]
    );

    let mut world = active_without(LAST);
    world.handle_claim_of(mac(LAST));
    world.replied(LAST, true);
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [defend(), query(LAST)],
        "worse rank"
    );

    let mut world = active_without(FIRST);
    world.handle_claim_of(mac(FIRST));
    world.replied(FIRST, false);
    world.now = world.now + Duration::from_secs(1);
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [defend(), query(FIRST)],
        "it says no"
    );
}

#[test]
fn the_minority_stops_at_most_once_a_minute_for_a_peer_that_is_not_there() {
    let mut world = active();
    world.gossip_of_able(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    world.effects();
    let mut stops = 0;
    for _ in 0..180 {
        world.now = world.now + Duration::from_secs(1);
        let effects = world.handle_claim_of(mac(LAST));
        if effects.contains(&withdraw()) {
            stops += 1;
            assert!(world.probed(ProbeResult::Silence).contains(&announce()));
        }
    }
    assert_eq!(stops, 3);
    // A peer that is there gets the address each time.
    for _ in 0..3 {
        world.now = world.now + MINUTE;
        assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
        world.probed(ProbeResult::Answered(mac(LAST)));
        world.until_due();
        world.probed(ProbeResult::Silence);
        world.now = world.now + Duration::from_secs(1);
        assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
        assert_eq!(world.probed(ProbeResult::Contended(mac(LAST))), [probe()]);
        world.probed(ProbeResult::Silence);
        assert!(world.takeover.announces(ip()));
    }
}

/// Answers and claims with the MAC address of a dead peer, whose suspicion gossip confirms after a moment.
#[test]
fn the_mac_address_of_a_dead_peer_delays_the_majority_by_two_seconds_at_most() {
    let mut world = World::new();
    world.gossip_of_able(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    let successor = Role::Successor {
        of: FIRST.into(),
        grant: grant(),
    };
    assert_eq!(world.role(Some(successor)), [probe()]);
    let begin = world.now;
    let mut is_confirmed = false;
    let mut events = Vec::new();
    while !world.takeover.announces(ip()) {
        world.now = world.now + Duration::from_millis(90);
        world.handle_claim_of(mac(FIRST));
        events.extend(
            world
                .probed(ProbeResult::Answered(mac(FIRST)))
                .into_iter()
                .filter_map(event),
        );
        if !core::mem::replace(&mut is_confirmed, true) {
            world.now = world.now + Duration::from_millis(300);
            world.gossip_of_able(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
            world.role(Some(elected()));
        }
        if !world.takeover.announces(ip()) {
            world.until_due();
        }
    }
    let waited = world.now.saturating_since(begin);
    assert!(waited <= Duration::from_millis(2300), "{waited:?}");
    assert_eq!(
        events,
        [
            AddressEvent::Deferred(FIRST.into()),
            AddressEvent::TakeoverForced(FIRST.into())
        ]
    );
}

#[test]
fn a_lost_peer_that_replies_keeps_the_address_until_it_says_no() {
    let mut world = World::probing();
    world.gossip_of_able(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    world.effects();
    for _ in 0..30 {
        let effects = world.probed(ProbeResult::Answered(mac(FIRST)));
        assert!(effects.contains(&query(FIRST)), "{effects:?}");
        assert_eq!(world.replied(FIRST, true), []);
        assert_eq!(world.until_due(), (RETRY.as_millis(), vec![probe()]));
    }
    world.probed(ProbeResult::Answered(mac(FIRST)));
    assert_eq!(world.replied(FIRST, false), [announce(), gained()]);
}

#[test]
fn claims_of_foreign_hosts_are_reported_once_a_second() {
    let mut world = active();
    let challenged = AddressEvent::Challenged(FOREIGN);
    let effects = claimed_for_a_minute(&mut world, FOREIGN, 100, None);
    let reports = count(&effects, &Effect::Event(ip(), challenged));
    assert!((55..=61).contains(&reports), "{reports}");
}

/// Both other speakers are lost, so this node is in the minority.
fn active_in_the_minority() -> World {
    let mut world = active();
    world.gossip_of_able(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    world.effects();
    world
}

#[test]
fn a_lost_peer_that_replies_gets_the_address_however_often_others_were_not_there() {
    let mut world = active_in_the_minority();
    assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
    world.probed(ProbeResult::Silence);
    world.now = world.now + Duration::from_secs(1);
    assert!(!world.handle_claim_of(mac(LAST)).contains(&withdraw()));
    world.replied(LAST, true);
    world.now = world.now + Duration::from_secs(1);
    assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
}

#[test]
fn the_minority_did_not_stop_in_vain_when_any_machine_is_there() {
    for result in [
        ProbeResult::Answered(mac(FIRST)),
        ProbeResult::Contended(mac(FIRST)),
    ] {
        let mut world = active_in_the_minority();
        assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
        world.probed(result);
        world.until_due();
        world.probed(ProbeResult::Silence);
        assert!(world.takeover.announces(ip()));
        world.now = world.now + Duration::from_secs(1);
        assert!(world.handle_claim_of(mac(LAST)).contains(&withdraw()));
    }
}

/// Gossip is blocked, so a peer that took over meanwhile looks like a foreign host.
#[test]
fn after_an_absence_a_foreign_answer_counts_although_the_address_was_announced() {
    let mut world = World::active();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    world.answered_twice(FOREIGN);
    assert!(!world.takeover.announces(ip()));
}

#[test]
fn a_claim_is_forged_when_the_peer_denies_it_again() {
    let report = Effect::Event(
        ip(),
        AddressEvent::ForeignClaim {
            mac: mac(FIRST),
            node: FIRST.into(),
        },
    );
    // The second claim comes later than the first denial, or so late that it says nothing.
    let cases = [
        (1, vec![report], defend_against_forged()),
        (131, vec![], defend()),
    ];
    for (pause, reports, defence) in cases {
        let mut world = active();
        assert_eq!(world.handle_claim_of(mac(FIRST)), [defend(), query(FIRST)]);
        assert_eq!(world.replied(FIRST, false), [], "it has handed the address back");
        world.now = world.now + Duration::from_secs(pause);
        assert_eq!(world.handle_claim_of(mac(FIRST)), [defence, query(FIRST)]);
        assert_eq!(world.replied(FIRST, false), reports, "{pause}");
    }
}

#[test]
fn claims_of_the_acting_owner_are_not_reported_as_forged() {
    let mut world = active();
    let profile = Profile {
        features: Features::OF_THIS_VERSION,
        unresponsive: vec![NodeName::from(ME).tag()],
        ..Profile::default()
    };
    let acting = Member {
        profile: Some(profile.into()),
        ..member(FIRST, Liveness::Alive)
    };
    let members = [acting, able(ME, Liveness::Alive), able(LAST, Liveness::Alive)];
    world.takeover.set_members(&members, world.now);
    for reply in [Some(false), None] {
        let effects = claimed_for_a_minute(&mut world, mac(FIRST), 1, reply);
        assert_eq!(effects.into_iter().filter_map(event).count(), 0);
        assert!(world.takeover.announces(ip()));
    }
}

#[test]
fn forged_claims_for_other_addresses_do_not_prolong_a_dispute() {
    let mut world = active();
    let begin = world.now;
    let claimant = NodeName::from(LAST);
    world.handle_claim_of(mac(FIRST));
    world.replied(FIRST, true);
    while world.takeover.announces(ip()) {
        world.now = world.takeover.poll_timeout().expect("the dispute goes on");
        while world.takeover.peers.queries.poll_claim(&claimant, world.now) {}
        world.takeover.handle_timeout(world.now);
        assert_eq!(world.effects(), [query(FIRST)]);
        world.replied(FIRST, true);
    }
    assert_eq!(world.now, begin + Duration::from_secs(4));
}

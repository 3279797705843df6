//! The backup of an owner that falls silent, from the first unanswered question to the end.

use super::*;

/// Heard just now.
const HEARD: ProbeResult = ProbeResult::Unanswered {
    heard: Some(Duration::from_millis(1)),
};
const DEAF: ProbeResult = ProbeResult::Unanswered {
    heard: Some(Duration::from_secs(3600)),
};

fn backup() -> Role {
    Role::Backup {
        of: FIRST.into(),
        grant: grant(),
    }
}

fn check(to: Option<MacAddr>) -> Effect {
    Effect::Command(Command::Check {
        announcement: everywhere(),
        target: to,
    })
}

fn report(report: AddressEvent) -> Effect {
    Effect::Event(ip(), report)
}

/// A backup whose owner has answered once.
fn watching() -> World {
    let mut world = World::new();
    assert_eq!(world.role(Some(backup())), []);
    assert!(world.takeover.is_empty());
    assert_eq!(world.until_due().1, [check(None)]);
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    world
}

/// A backup that is about to probe, as the owner does not answer.
fn at_its_wits_end() -> World {
    let mut world = watching();
    assert_eq!(world.until_due().1, [check(Some(mac(FIRST)))]);
    for _ in 0..3 {
        assert_eq!(world.probed(HEARD), []);
        assert_eq!(world.until_due().1, [check(None)]);
    }
    assert_eq!(world.probed(HEARD), [probe()]);
    world
}

/// A backup that answers in the owner's stead.
fn standing_in() -> World {
    let mut world = at_its_wits_end();
    let took_over = Effect::TookOver(ip(), Duration::from_millis(900));
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [
            announce(),
            gained(),
            report(AddressEvent::OwnerUnresponsive(FIRST.into())),
            took_over
        ]
    );
    assert_eq!(world.takeover.unresponsive(), [&FIRST.into()].into());
    world
}

#[test]
fn an_owner_that_answers_is_asked_alone_every_few_seconds() {
    let mut world = watching();
    for _ in 0..3 {
        assert_eq!(world.until_due(), (5000, vec![check(Some(mac(FIRST)))]));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn an_owner_that_answers_now_and_then_keeps_the_address() {
    let mut world = watching();
    for unanswered in [1, 2, 3, 3, 3] {
        world.until_due();
        for _ in 1..unanswered {
            assert_eq!(world.probed(HEARD), []);
            assert_eq!(world.until_due().1, [check(None)]);
        }
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn somebody_answers_in_the_stead_of_an_owner_that_does_not() {
    let world = standing_in();
    assert!(!world.takeover.is_empty());
}

#[test]
fn the_last_question_may_still_be_answered() {
    for answered in [
        ProbeResult::Answered(mac(FIRST)),
        ProbeResult::Answered(FOREIGN),
        ProbeResult::Contended(mac(FIRST)),
    ] {
        let mut world = at_its_wits_end();
        assert_eq!(world.probed(answered), []);
        assert!(world.takeover.is_empty());
        assert!(matches!(
            world.until_due().1[..],
            [Effect::Command(Command::Check { .. })]
        ));
    }
}

#[test]
fn who_hears_nobody_takes_nothing_however_long_that_lasts() {
    let mut world = watching();
    for _ in 0..100 {
        assert!(matches!(
            world.until_due().1[..],
            [Effect::Command(Command::Check { .. })]
        ));
        assert_eq!(world.probed(DEAF), []);
    }
    assert!(
        world.now > at(400_000),
        "asked at the usual pace: {:?}",
        world.now
    );
    // Its ear is back, and the owner is still silent.
    world.until_due();
    assert_eq!(world.probed(HEARD), [probe()]);
}

#[test]
fn an_owner_that_never_answered_is_left_alone_as_nothing_may_get_through() {
    let mut world = World::new();
    world.role(Some(backup()));
    for _ in 0..100 {
        assert_eq!(world.until_due().1, [check(None)]);
        assert_eq!(world.probed(HEARD), []);
    }
}

#[test]
fn an_owner_that_answers_again_is_called_and_then_left_the_address() {
    let mut world = standing_in();
    assert_eq!(world.until_due().1, [check(None)]);
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(FIRST))),
        [
            report(AddressEvent::OwnerRecovered(FIRST.into())),
            lost(),
            Effect::Command(Command::Defend(ip()))
        ]
    );
    assert!(!world.takeover.is_empty(), "answers on");
    assert_eq!(world.hears_claim_of(mac(FIRST)), [withdraw()]);
    assert!(world.takeover.is_empty() && world.takeover.unresponsive().is_empty());
    assert!(matches!(
        world.until_due().1[..],
        [Effect::Command(Command::Check { .. })]
    ));
}

#[test]
fn an_owner_that_announces_itself_but_does_not_answer_is_contradicted_now_and_then() {
    let mut world = standing_in();
    assert_eq!(world.hears_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(HEARD), [Effect::Command(Command::Defend(ip()))]);
    assert_eq!(world.hears_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(HEARD), []);
    world.now = world.now + Duration::from_secs(5);
    assert_eq!(world.hears_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(HEARD), [Effect::Command(Command::Defend(ip()))]);
}

#[test]
fn a_deputy_that_is_elected_meanwhile_just_goes_on() {
    let mut world = standing_in();
    assert_eq!(world.role(Some(elected())), []);
    assert_eq!(world.takeover.poll_timeout(), None);
    let mut world = at_its_wits_end();
    assert_eq!(world.role(Some(elected())), []);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn a_deputy_that_is_elected_before_it_noticed_probes_like_everybody() {
    let mut world = watching();
    assert_eq!(world.role(Some(elected())), [probe()]);
    // What the check under way says does not count.
    assert_eq!(world.probed(HEARD), []);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn who_is_passed_over_becomes_the_deputy_when_its_successor_is_heard() {
    let mut world = World::holding();
    assert_eq!(world.role(Some(backup())), [lost()]);
    assert_eq!(world.hears_claim_of(mac(FIRST)), [withdraw()]);
    assert!(matches!(
        world.until_due().1[..],
        [Effect::Command(Command::Check { .. })]
    ));
    assert_eq!(world.role(None), [Effect::Command(Command::CancelProbe(ip()))]);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn a_deputy_that_is_none_any_more_leaves_at_once() {
    assert_eq!(
        at_its_wits_end().role(None),
        [Effect::Command(Command::CancelProbe(ip()))]
    );
    assert_eq!(standing_in().role(None), [withdraw(), lost()]);
    // Another one is elected: it has to be heard first.
    assert_eq!(standing_in().role(Some(standby())), [lost()]);
}

#[test]
fn a_paused_deputy_asks_before_it_goes_on() {
    let mut world = standing_in();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    assert!(world.takeover.is_empty());
}

#[test]
fn one_silent_address_makes_the_others_of_its_owner_suspicious() {
    let mut world = watching();
    let others: Vec<IpAddr> = (2..200).map(|i| IpAddr::from([192, 0, 2, i])).collect();
    for (i, address) in others.iter().enumerate() {
        let role = Role::Backup {
            of: FIRST.into(),
            grant: Grant {
                addresses: vec![*address],
                ..grant()
            },
        };
        let service = ServiceKey::new("default", alloc::format!("other-{i}"));
        world.takeover.set_role(&service, None, Some(&role), world.now);
    }
    for _ in 0..4 {
        world.takeover.handle_probed(ip(), HEARD, world.now);
        world.now = world.now + Duration::from_millis(10);
    }
    world.effects();
    world
        .takeover
        .handle_probed(ip(), ProbeResult::Silence, world.now);
    world.effects();
    let (_, effects) = world.until_due();
    let checked = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Command(Command::Check { .. })));
    assert!(checked.count() >= others.len());
}

#[test]
fn many_addresses_are_asked_for_in_turn_and_not_faster_than_that() {
    let mut world = World::new();
    let addresses: Vec<IpAddr> = (0..1000_u16)
        .map(|i| IpAddr::from([10, 0, (i >> 8) as u8, i as u8]))
        .collect();
    let role = Role::Backup {
        of: FIRST.into(),
        grant: Grant {
            addresses: addresses.clone(),
            ..grant()
        },
    };
    world.role(Some(role));
    world.until_due();
    let began = world.now;
    let mut asked = BTreeSet::new();
    while asked.len() < addresses.len() {
        let (pause, effects) = world.until_due();
        assert_eq!((pause, effects.len()), (200, 10));
        for effect in effects {
            let Effect::Command(Command::Check { announcement, .. }) = effect else {
                panic!("{effect:?}");
            };
            world
                .takeover
                .handle_probed(announcement.address, ProbeResult::Answered(mac(FIRST)), world.now);
            assert!(asked.insert(announcement.address));
        }
    }
    assert_eq!(world.now.saturating_since(began), Duration::from_secs(20));
}

#[test]
fn without_verification_nobody_is_watched() {
    let mut world = World::with(Takeover::new(ME.into(), false, 1));
    assert_eq!(world.role(Some(backup())), []);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn how_long_an_owner_was_missed_is_told_by_its_heir_but_not_after_a_planned_stop() {
    let successor = Role::Successor {
        of: FIRST.into(),
        grant: grant(),
    };
    let mut world = watching();
    world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    assert_eq!(world.role(Some(successor)), [probe()]);
    world.now = world.now + Duration::from_millis(95);
    let took_over = Effect::TookOver(ip(), Duration::from_millis(95));
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [announce(), gained(), took_over]
    );

    let mut world = watching();
    let leaving = Member {
        liveness: Liveness::Down,
        state: NodeState::Draining,
        ..member(FIRST, Liveness::Down)
    };
    let members = [leaving, member(ME, Liveness::Alive)];
    world.takeover.set_members(&members, world.now);
    assert_eq!(world.role(Some(elected())), [probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

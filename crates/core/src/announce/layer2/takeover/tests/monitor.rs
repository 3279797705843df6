//! The backup of an owner that stops answering, from the first unanswered check to the end.

use super::*;

/// No answer, while frames of other machines arrive.
const UNANSWERED: ProbeResult = ProbeResult::Unanswered {
    last_frame: Some(Duration::from_millis(1)),
};
/// No answer, and no frame of any machine for an hour.
const DEAF: ProbeResult = ProbeResult::Unanswered {
    last_frame: Some(Duration::from_secs(3600)),
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
fn monitoring() -> World {
    let mut world = World::new();
    assert_eq!(world.role(Some(backup())), []);
    assert!(world.takeover.is_empty());
    assert_eq!(world.until_due().1, [check(None)]);
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    world
}

/// A backup that is about to probe, because the owner does not answer.
fn about_to_probe() -> World {
    let mut world = monitoring();
    assert_eq!(world.until_due().1, [check(Some(mac(FIRST)))]);
    for _ in 0..3 {
        assert_eq!(world.probed(UNANSWERED), []);
        assert_eq!(world.until_due().1, [check(None)]);
    }
    assert_eq!(world.probed(UNANSWERED), [probe()]);
    world
}

/// A backup that is the acting owner.
fn acting_owner() -> World {
    let mut world = about_to_probe();
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
fn an_owner_that_answers_is_checked_by_unicast_every_few_seconds() {
    let mut world = monitoring();
    for _ in 0..3 {
        assert_eq!(world.until_due(), (5000, vec![check(Some(mac(FIRST)))]));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn an_owner_that_answers_some_checks_keeps_the_address() {
    let mut world = monitoring();
    for unanswered in [1, 2, 3, 3, 3] {
        world.until_due();
        for _ in 1..unanswered {
            assert_eq!(world.probed(UNANSWERED), []);
            assert_eq!(world.until_due().1, [check(None)]);
        }
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn a_backup_becomes_acting_owner_when_the_owner_does_not_answer() {
    let world = acting_owner();
    assert!(!world.takeover.is_empty());
}

#[test]
fn an_answer_to_the_last_check_still_counts() {
    for answered in [
        ProbeResult::Answered(mac(FIRST)),
        ProbeResult::Answered(FOREIGN),
        ProbeResult::Contended(mac(FIRST)),
    ] {
        let mut world = about_to_probe();
        assert_eq!(world.probed(answered), []);
        assert!(world.takeover.is_empty());
        assert!(matches!(
            world.until_due().1[..],
            [Effect::Command(Command::Check { .. })]
        ));
    }
}

#[test]
fn a_backup_that_receives_nothing_takes_nothing_over_however_long_that_lasts() {
    let mut world = monitoring();
    for _ in 0..100 {
        assert!(matches!(
            world.until_due().1[..],
            [Effect::Command(Command::Check { .. })]
        ));
        assert_eq!(world.probed(DEAF), []);
    }
    assert!(
        world.now > at(400_000),
        "checked at the usual pace: {:?}",
        world.now
    );
    // It receives again, and the owner is still unresponsive.
    world.until_due();
    assert_eq!(world.probed(UNANSWERED), [probe()]);
}

#[test]
fn an_owner_that_never_answered_keeps_the_address_as_checks_may_be_filtered() {
    let mut world = World::new();
    world.role(Some(backup()));
    for checks in 1..=100 {
        assert_eq!(world.until_due().1, [check(None)]);
        let unheard = report(AddressEvent::OwnerUnheard(FIRST.into()));
        let expected = if checks == 4 { vec![unheard] } else { vec![] };
        assert_eq!(world.probed(UNANSWERED), expected);
    }
}

#[test]
fn an_owner_that_answers_again_is_reminded_and_then_gets_the_address() {
    let mut world = acting_owner();
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
    assert_eq!(world.handle_claim_of(mac(FIRST)), [withdraw()]);
    assert!(world.takeover.is_empty() && world.takeover.unresponsive().is_empty());
    assert!(matches!(
        world.until_due().1[..],
        [Effect::Command(Command::Check { .. })]
    ));
}

#[test]
fn an_owner_that_announces_but_does_not_answer_is_contradicted_at_a_limited_rate() {
    let mut world = acting_owner();
    assert_eq!(world.handle_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(UNANSWERED), [Effect::Command(Command::Defend(ip()))]);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [], "checked a moment ago");
    world.now = world.now + Duration::from_millis(300);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(UNANSWERED), []);
    world.now = world.now + Duration::from_secs(5);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [check(Some(mac(FIRST)))]);
    assert_eq!(world.probed(UNANSWERED), [Effect::Command(Command::Defend(ip()))]);
}

#[test]
fn an_acting_owner_that_is_elected_continues_without_a_probe() {
    let mut world = acting_owner();
    assert_eq!(world.role(Some(elected())), []);
    assert_eq!(world.takeover.poll_timeout(), None);
    let mut world = about_to_probe();
    assert_eq!(world.role(Some(elected())), []);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn a_backup_that_is_elected_before_it_noticed_probes_like_every_node() {
    let mut world = monitoring();
    assert_eq!(world.role(Some(elected())), [probe()]);
    // The result of the check under way does not count.
    assert_eq!(world.probed(UNANSWERED), []);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn a_node_that_hands_over_becomes_the_backup_when_its_successor_announces() {
    let mut world = World::active();
    assert_eq!(world.role(Some(backup())), [lost()]);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [withdraw()]);
    assert!(matches!(
        world.until_due().1[..],
        [Effect::Command(Command::Check { .. })]
    ));
    assert_eq!(world.role(None), [Effect::Command(Command::CancelProbe(ip()))]);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn an_acting_owner_that_is_no_longer_the_backup_withdraws_immediately() {
    assert_eq!(
        about_to_probe().role(None),
        [Effect::Command(Command::CancelProbe(ip()))]
    );
    assert_eq!(acting_owner().role(None), [withdraw(), lost()]);
    // Another node is elected: it has to announce first.
    assert_eq!(acting_owner().role(Some(standby())), [lost()]);
}

#[test]
fn an_acting_owner_does_not_say_that_it_announces_the_address() {
    let world = acting_owner();
    assert!(!world.takeover.is_empty());
    assert!(!world.takeover.announces(ip()));
}

#[test]
fn an_acting_owner_that_was_paused_probes_before_it_continues() {
    let mut world = acting_owner();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    assert!(world.takeover.is_empty());
}

#[test]
fn an_acting_owner_that_was_paused_and_finds_no_other_machine_has_taken_over_once() {
    let mut world = acting_owner();
    world.now = world.now + Duration::from_secs(60);
    world.takeover.handle_absence(world.now);
    world.effects();
    let effects = world.probed(ProbeResult::Silence);
    assert!(effects.contains(&announce()), "{effects:?}");
    let is_take_over = |effect: &Effect| matches!(effect, Effect::TookOver(..));
    assert!(!effects.iter().any(is_take_over), "{effects:?}");
}

#[test]
fn one_unanswered_address_hastens_the_checks_of_the_others_of_its_owner() {
    let mut world = monitoring();
    let others: Vec<IpAddr> = (2..200).map(|i| IpAddr::from([192, 0, 2, i])).collect();
    for (i, address) in others.iter().enumerate() {
        let role = Role::Backup {
            of: FIRST.into(),
            grant: Grant {
                address: *address,
                ..grant()
            },
        };
        let service = ServiceKey::new("default", alloc::format!("other-{i}"));
        world
            .takeover
            .set_role(&service, *address, None, Some(&role), world.now);
    }
    for _ in 0..4 {
        world.takeover.handle_probed(ip(), UNANSWERED, world.now);
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
fn many_addresses_are_checked_in_turn_at_a_limited_rate() {
    let mut world = World::new();
    let addresses: Vec<IpAddr> = (0..1000_u16)
        .map(|i| IpAddr::from([10, 0, (i >> 8) as u8, i as u8]))
        .collect();
    for address in &addresses {
        let role = Role::Backup {
            of: FIRST.into(),
            grant: Grant {
                address: *address,
                ..grant()
            },
        };
        world
            .takeover
            .set_role(&web(), *address, None, Some(&role), world.now);
    }
    world.until_due();
    let began = world.now;
    let mut checked = BTreeSet::new();
    while checked.len() < addresses.len() {
        let (pause, effects) = world.until_due();
        assert_eq!((pause, effects.len()), (1_000, 50));
        for effect in effects {
            let Effect::Command(Command::Check { announcement, .. }) = effect else {
                panic!("{effect:?}");
            };
            world
                .takeover
                .handle_probed(announcement.address, ProbeResult::Answered(mac(FIRST)), world.now);
            assert!(checked.insert(announcement.address));
        }
    }
    assert_eq!(world.now.saturating_since(began), Duration::from_secs(20));
}

#[test]
fn without_verification_no_owner_is_monitored() {
    let mut world = World::with(Takeover::new(ME.into(), false, 1));
    assert_eq!(world.role(Some(backup())), []);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn a_successor_reports_how_long_an_owner_was_missing_but_not_after_a_planned_stop() {
    let successor = Role::Successor {
        of: FIRST.into(),
        grant: grant(),
    };
    let mut world = monitoring();
    world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    assert_eq!(world.role(Some(successor)), [probe()]);
    world.now = world.now + Duration::from_millis(95);
    let took_over = Effect::TookOver(ip(), Duration::from_millis(95));
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [announce(), gained(), took_over]
    );

    let mut world = monitoring();
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

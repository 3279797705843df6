//! Every stage with every input, by way of the events that lead there.

use super::*;
use crate::announce::eligibility::Exclusion;
use crate::announce::layer2::ownership::{Grant, Role};
use crate::config::ConflictDetection;
use crate::{Liveness, NodeState};
use alloc::vec;
use alloc::vec::Vec;

mod heal_beacon;
mod identify;
mod monitor;
mod peers;
mod table;

/// This node, a fellow that comes first for everything, and one that comes last.
const ME: &str = "b";
const FIRST: &str = "a";
const LAST: &str = "c";
const FOREIGN: MacAddr = MacAddr([9; 6]);

fn mac(node: &str) -> MacAddr {
    MacAddr([node.as_bytes()[0]; 6])
}

fn at(millis: u64) -> Time {
    Time::since_zero(Duration::from_millis(millis))
}

fn ip() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn web() -> ServiceKey {
    ServiceKey::new("default", "web")
}

fn member(node: &str, liveness: Liveness) -> Member {
    Member {
        macs: [mac(node)].into(),
        ..Member::new(node.into(), liveness, NodeState::Ready)
    }
}

fn grant() -> Grant {
    Grant {
        addresses: vec![ip()],
        interfaces: None,
        conflict_detection: ConflictDetection::Enforce,
    }
}

fn standby() -> Role {
    Role::Standby {
        owner: FIRST.into(),
        backup: None,
    }
}

fn elected() -> Role {
    Role::Owner(grant())
}

/// One address, one Service, and what has come of it.
struct World {
    takeover: Takeover,
    role: Option<Role>,
    now: Time,
}

impl World {
    fn new() -> Self {
        Self::with(Takeover::new(ME.into(), true, 1))
    }

    fn with(takeover: Takeover) -> Self {
        let mut world = Self {
            takeover,
            role: None,
            now: at(0),
        };
        world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
        world
    }

    fn gossip(&mut self, others: &[(&str, Liveness)]) {
        let mut members = vec![member(ME, Liveness::Alive)];
        members.extend(others.iter().map(|(node, liveness)| member(node, *liveness)));
        self.takeover.set_members(&members, self.now);
    }

    fn role(&mut self, after: Option<Role>) -> Vec<Effect> {
        self.takeover
            .set_role(&web(), self.role.as_ref(), after.as_ref(), self.now);
        self.role = after;
        self.effects()
    }

    fn probed(&mut self, probed: ProbeResult) -> Vec<Effect> {
        self.takeover.handle_probed(ip(), probed, self.now);
        self.effects()
    }

    fn hears_claim_of(&mut self, mac: MacAddr) -> Vec<Effect> {
        let outranks = |node: &NodeName, _: &ServiceKey| node.as_str() < ME;
        self.takeover.handle_claim(ip(), mac, outranks, self.now);
        self.effects()
    }

    /// Lets time pass until something is due, and returns how long that took, in milliseconds.
    fn until_due(&mut self) -> (u128, Vec<Effect>) {
        let due = self.takeover.poll_timeout().expect("something is due");
        let passed = due.saturating_since(self.now).as_millis();
        self.now = due;
        self.takeover.handle_timeout(due);
        (passed, self.effects())
    }

    fn effects(&mut self) -> Vec<Effect> {
        core::iter::from_fn(|| self.takeover.poll_effect()).collect()
    }

    fn probing() -> Self {
        let mut world = Self::new();
        assert_eq!(world.role(Some(elected())), [probe()]);
        world
    }

    fn holding() -> Self {
        let mut world = Self::probing();
        assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
        world
    }

    fn yielding() -> Self {
        let mut world = Self::holding();
        assert_eq!(world.role(Some(standby())), [lost()]);
        world
    }

    /// Elected because `FIRST` is not what it was, and answered by it all the same.
    fn deferred(liveness: Liveness) -> Self {
        let mut world = Self::probing();
        world.gossip(&[(FIRST, liveness), (LAST, Liveness::Alive)]);
        let report = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [report]);
        world
    }

    fn in_conflict() -> Self {
        let mut world = Self::probing();
        let report = Effect::Event(ip(), AddressEvent::Conflict(FOREIGN));
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), [report]);
        assert_eq!(world.takeover.foreign_host(ip()), Some(FOREIGN));
        world
    }
}

fn everywhere() -> Announcement {
    Announcement {
        address: ip(),
        interfaces: None,
    }
}

fn probe() -> Effect {
    Effect::Command(Command::Probe(everywhere()))
}

fn announce() -> Effect {
    Effect::Command(Command::Announce(everywhere()))
}

fn withdraw() -> Effect {
    Effect::Command(Command::Withdraw(ip()))
}

fn gained() -> Effect {
    Effect::Gained(web(), ip())
}

fn lost() -> Effect {
    Effect::Lost(web(), ip())
}

#[test]
fn an_address_is_announced_when_nobody_answers_a_probe() {
    let world = World::holding();
    assert_eq!(world.takeover.poll_timeout(), None);
    assert!(!world.takeover.is_empty());
}

#[test]
fn what_is_no_longer_wanted_is_left_at_once() {
    let unowned = || Some(Role::Unowned(Exclusion::NoEndpoints));
    for after in [None, unowned()] {
        assert_eq!(
            World::probing().role(after.clone()),
            [Effect::Command(Command::CancelProbe(ip()))]
        );
        assert_eq!(World::holding().role(after.clone()), [withdraw(), lost()]);
        assert_eq!(World::deferred(Liveness::Suspect).role(after.clone()), []);
        assert_eq!(World::in_conflict().role(after), []);
    }
    for mut world in [World::deferred(Liveness::Down), World::in_conflict()] {
        world.role(None);
        assert_eq!(world.takeover.poll_timeout(), None);
    }
}

#[test]
fn who_is_passed_over_answers_on_until_its_successor_announces_itself() {
    let mut world = World::yielding();
    assert!(!world.takeover.is_empty());
    assert_eq!(world.hears_claim_of(FOREIGN), []);
    assert_eq!(world.hears_claim_of(mac(FIRST)), [withdraw()]);
    assert!(world.takeover.is_empty());
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn who_is_passed_over_calls_for_its_successor_but_not_for_ever() {
    let mut world = World::yielding();
    for _ in 0..9 {
        assert_eq!(
            world.until_due(),
            (
                HANDOVER_REMINDER.as_millis(),
                vec![Effect::Command(Command::Defend(ip()))]
            )
        );
    }
    assert_eq!(
        world.until_due(),
        (HANDOVER_REMINDER.as_millis(), vec![withdraw()])
    );
    assert_eq!(world.now, at(0) + HANDOVER_LIMIT);
    assert!(world.takeover.is_empty());
}

#[test]
fn who_is_passed_over_and_elected_again_just_goes_on() {
    let mut world = World::yielding();
    assert_eq!(world.role(Some(elected())), [announce(), gained()]);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn who_was_out_of_the_world_asks_before_it_answers_on() {
    let mut world = World::holding();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
    let mut world = World::yielding();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw()]);
}

#[test]
fn when_a_fellow_returns_what_is_held_is_announced_anew() {
    let mut world = World::holding();
    world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), []);
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), []);
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), [Effect::Command(Command::Reannounce(ip()))]);
}

#[test]
fn a_living_fellow_that_answers_is_relieved() {
    let mut world = World::probing();
    assert_eq!(
        world.probed(ProbeResult::Answered(mac(LAST))),
        [announce(), gained()]
    );
    let mut world = World::probing();
    assert_eq!(
        world.probed(ProbeResult::Contended(mac(LAST))),
        [announce(), gained()]
    );
}

#[test]
fn a_suspect_that_answers_keeps_the_address_however_long_that_takes() {
    let mut world = World::deferred(Liveness::Suspect);
    for _ in 0..100 {
        assert_eq!(world.until_due(), (RETRY.as_millis(), vec![probe()]));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn the_answers_of_one_that_most_take_for_dead_count_for_a_while_only() {
    let mut world = World::deferred(Liveness::Down);
    let overruled = Effect::Event(ip(), AddressEvent::TakeoverForced(FIRST.into()));
    let began = world.now;
    loop {
        world.until_due();
        let effects = world.probed(ProbeResult::Answered(mac(FIRST)));
        if effects.is_empty() {
            continue;
        }
        assert_eq!(effects, [overruled, announce(), gained()]);
        break;
    }
    let waited = world.now.saturating_since(began);
    assert!(
        waited >= DOWN_PEER_GRACE && waited <= DOWN_PEER_GRACE + RETRY,
        "{waited:?}"
    );
}

#[test]
fn without_a_majority_nobody_is_overruled() {
    let mut world = World::deferred(Liveness::Down);
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    for _ in 0..100 {
        world.until_due();
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn one_that_announces_itself_is_not_dead_whatever_most_say() {
    let mut world = World::deferred(Liveness::Down);
    world.now = at(1000);
    assert_eq!(world.hears_claim_of(mac(FIRST)), []);
    for _ in 0..20 {
        world.until_due();
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn a_stranger_keeps_the_address_and_is_asked_again_and_again() {
    let mut world = World::in_conflict();
    for pause in [1, 2, 4, 5, 5, 5] {
        assert_eq!(world.until_due(), (pause * 1000, vec![probe()]));
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), []);
    }
    world.until_due();
    let other = MacAddr([8; 6]);
    let report = Effect::Event(ip(), AddressEvent::Conflict(other));
    assert_eq!(world.probed(ProbeResult::Answered(other)), [report]);
    assert_eq!(world.until_due().0, 1000);
    let resolved = Effect::Event(ip(), AddressEvent::Resolved);
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [announce(), gained(), resolved]
    );
    assert_eq!(world.takeover.foreign_host(ip()), None);
}

#[test]
fn a_pool_may_ask_for_less_than_that() {
    for (detection, report) in [
        (
            ConflictDetection::Warn,
            Some(Effect::Event(ip(), AddressEvent::Duplicate(FOREIGN))),
        ),
        (ConflictDetection::Off, None),
    ] {
        let mut world = World::new();
        let grant = Grant {
            conflict_detection: detection,
            ..grant()
        };
        world.role(Some(Role::Owner(grant)));
        let mut expected: Vec<Effect> = report.into_iter().collect();
        expected.extend([announce(), gained()]);
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), expected);
    }
}

#[test]
fn of_two_that_ask_at_the_same_time_one_asks_again_a_little_later() {
    for (other, pauses) in [(FOREIGN, 50..=400), (mac(FIRST), 400..=400)] {
        let mut world = World::probing();
        world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
        assert_eq!(world.probed(ProbeResult::Contended(other)), []);
        let (pause, effects) = world.until_due();
        assert!(pauses.contains(&pause), "{pause}");
        assert_eq!(effects, [probe()]);
    }
}

#[test]
fn of_two_fellows_that_ask_at_the_same_time_the_first_by_name_starts_over_at_once() {
    let mut world = World::probing();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    assert_eq!(world.probed(ProbeResult::Contended(mac(LAST))), [probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn a_held_address_is_defended_against_strangers_and_those_that_come_last() {
    let mut world = World::holding();
    let challenged = Effect::Event(ip(), AddressEvent::Challenged(FOREIGN));
    assert_eq!(
        world.hears_claim_of(FOREIGN),
        [challenged, Effect::Command(Command::Defend(ip()))]
    );
    assert_eq!(
        world.hears_claim_of(mac(LAST)),
        [Effect::Command(Command::Defend(ip()))]
    );
}

#[test]
fn a_held_address_is_defended_against_those_whom_gossip_tells_who_is_elected() {
    for liveness in [Liveness::Alive, Liveness::Suspect] {
        let mut world = World::holding();
        world.gossip(&[(FIRST, liveness), (LAST, Liveness::Down)]);
        assert_eq!(
            world.hears_claim_of(mac(FIRST)),
            [Effect::Command(Command::Defend(ip()))]
        );
    }
}

#[test]
fn a_held_address_is_left_to_a_lost_one_that_comes_first_and_watched() {
    let mut world = World::holding();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    let yielded = Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()));
    assert_eq!(
        world.hears_claim_of(mac(FIRST)),
        [withdraw(), yielded, lost(), probe()]
    );
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [deferred]);
    assert_eq!(world.until_due(), (RETRY.as_millis(), vec![probe()]));
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn the_last_word_of_one_that_said_good_bye_takes_nothing_back() {
    let mut world = World::holding();
    let gone = Member {
        state: NodeState::Draining,
        ..member(FIRST, Liveness::Down)
    };
    let members = [gone, member(ME, Liveness::Alive), member(LAST, Liveness::Alive)];
    world.takeover.set_members(&members, world.now);
    assert_eq!(
        world.hears_claim_of(mac(FIRST)),
        [Effect::Command(Command::Defend(ip()))]
    );
    world.now = at(999);
    assert_eq!(
        world.hears_claim_of(mac(FIRST)),
        [Effect::Command(Command::Defend(ip()))]
    );
    // What it says much later is said by its successor, which gossip has not reached, whatever gossip repeats.
    world.now = at(1000);
    let yielded = Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()));
    let left = [withdraw(), yielded, lost(), probe()];
    assert_eq!(world.hears_claim_of(mac(FIRST)), left);
    world.takeover.set_members(&members, world.now);
    world.probed(ProbeResult::Silence);
    assert_eq!(world.hears_claim_of(mac(FIRST))[0], withdraw());
}

#[test]
fn a_node_that_is_cut_off_from_the_others_leaves_to_any_of_them_what_they_claim() {
    let mut world = World::holding();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    let yielded = Effect::Event(ip(), AddressEvent::Preempted(LAST.into()));
    assert_eq!(
        world.hears_claim_of(mac(LAST)),
        [withdraw(), yielded, lost(), probe()]
    );
}

#[test]
fn claims_of_others_change_nothing_while_an_address_is_not_held() {
    assert_eq!(World::probing().hears_claim_of(mac(FIRST)), []);
    assert_eq!(World::in_conflict().hears_claim_of(FOREIGN), []);
    assert_eq!(World::new().hears_claim_of(FOREIGN), []);
}

#[test]
fn late_results_change_nothing() {
    for mut world in [
        World::holding(),
        World::yielding(),
        World::in_conflict(),
        World::new(),
    ] {
        assert_eq!(world.probed(ProbeResult::Silence), []);
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn an_heir_asks_before_it_inherits() {
    let mut world = World::new();
    world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    let successor = Role::Successor {
        of: FIRST.into(),
        grant: grant(),
    };
    assert_eq!(world.role(Some(successor)), [probe()]);
    let took_over = Effect::TookOver(ip(), Duration::ZERO);
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [announce(), gained(), took_over]
    );
    // The suspicion turns out to be right.
    assert_eq!(world.role(Some(elected())), []);
}

#[test]
fn a_shared_address_is_held_until_the_last_lets_go_and_asked_for_once() {
    let mut world = World::holding();
    let other = ServiceKey::new("default", "other");
    world.takeover.set_role(&other, None, Some(&elected()), at(0));
    assert_eq!(world.effects(), [Effect::Gained(other.clone(), ip())]);
    assert_eq!(world.role(None), [lost()]);
    world.takeover.set_role(&other, Some(&elected()), None, at(0));
    assert_eq!(world.effects(), [withdraw(), Effect::Lost(other, ip())]);
}

#[test]
fn interfaces_of_sharers_add_up_and_shrink_again() {
    let on = |names: &[&str]| {
        Role::Owner(Grant {
            interfaces: Some(names.iter().map(|name| (*name).into()).collect()),
            ..grant()
        })
    };
    let announced = |names: &[&str]| {
        Effect::Command(Command::Announce(Announcement {
            address: ip(),
            interfaces: Some(names.iter().map(|name| (*name).into()).collect()),
        }))
    };
    let mut world = World::new();
    world.role(Some(on(&["eth0"])));
    world.probed(ProbeResult::Silence);
    let other = ServiceKey::new("default", "other");
    world.takeover.set_role(&other, None, Some(&on(&["eth1"])), at(0));
    let effects = world.effects();
    assert_eq!(effects[0], announced(&["eth0", "eth1"]));
    let effects = world.role(None);
    assert_eq!(effects, [announced(&["eth1"]), lost()]);
}

#[test]
fn without_verification_nothing_is_asked_and_nothing_lingers() {
    let mut world = World::with(Takeover::new(ME.into(), false, 1));
    assert_eq!(world.role(Some(elected())), [announce(), gained()]);
    assert_eq!(world.role(Some(standby())), [withdraw(), lost()]);
}

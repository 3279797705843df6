//! Every stage with every input, by way of the events that lead there.

use super::*;
use crate::announce::eligibility::Exclusion;
use crate::announce::layer2::ownership::{Grant, Role};
use crate::config::ConflictDetection;
use crate::{Features, Liveness, NodeState, Profile};
use alloc::vec;
use alloc::vec::Vec;

mod beside;
mod claims;
mod heal_beacon;
mod identify;
mod monitor;
mod peers;
mod table;

/// This node, a peer of better rank for every address, and a peer of worse rank.
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

/// A member of a version that answers queries.
fn able(node: &str, liveness: Liveness) -> Member {
    let profile = Profile {
        features: Features::OF_THIS_VERSION,
        ..Profile::default()
    };
    Member {
        profile: Some(profile.into()),
        ..member(node, liveness)
    }
}

fn grant() -> Grant {
    Grant {
        address: ip(),
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

/// One address, one Service, and the effects so far.
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

    /// The same, and all members are of a version that answers queries.
    fn gossip_of_able(&mut self, others: &[(&str, Liveness)]) {
        let mut members = vec![able(ME, Liveness::Alive)];
        members.extend(others.iter().map(|(node, liveness)| able(node, *liveness)));
        self.takeover.set_members(&members, self.now);
    }

    /// A peer replies to a query.
    fn replied(&mut self, node: &str, announces: bool) -> Vec<Effect> {
        self.takeover
            .handle_reply(&node.into(), ip(), announces, self.now);
        self.effects()
    }

    fn role(&mut self, after: Option<Role>) -> Vec<Effect> {
        self.takeover
            .set_role(&web(), ip(), self.role.as_ref(), after.as_ref(), self.now);
        self.role = after;
        self.effects()
    }

    fn probed(&mut self, probed: ProbeResult) -> Vec<Effect> {
        self.takeover.handle_probed(ip(), probed, self.now);
        self.effects()
    }

    fn handle_claim_of(&mut self, mac: MacAddr) -> Vec<Effect> {
        let outranks = |node: &NodeName, _: &ServiceKey| node.as_str() < ME;
        self.takeover.handle_claim(ip(), mac, outranks, self.now);
        self.effects()
    }

    /// Advances time until something is due, and returns by how many milliseconds.
    fn until_due(&mut self) -> (u128, Vec<Effect>) {
        let due = self.takeover.poll_timeout().expect("something is due");
        let passed = due.saturating_since(self.now).as_millis();
        self.now = due.max(self.now);
        self.takeover.handle_timeout(self.now);
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

    fn active() -> Self {
        let mut world = Self::probing();
        assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
        world
    }

    fn handing_over() -> Self {
        let mut world = Self::active();
        assert_eq!(world.role(Some(standby())), [lost()]);
        world
    }

    /// Elected because `FIRST` is no longer alive for gossip, and deferred because `FIRST` answers.
    fn deferred(liveness: Liveness) -> Self {
        let mut world = Self::probing();
        world.gossip(&[(FIRST, liveness), (LAST, Liveness::Alive)]);
        let report = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [report]);
        world
    }

    fn in_conflict() -> Self {
        let mut world = Self::probing();
        world.answered_twice(FOREIGN);
        assert_eq!(
            world.takeover.obstacle(ip()),
            Some(AddressEvent::Conflict(FOREIGN))
        );
        world
    }

    /// A foreign host answers, and is asked again to see that its MAC address is stable.
    fn answered_twice(&mut self, mac: MacAddr) {
        assert_eq!(self.probed(ProbeResult::Answered(mac)), []);
        assert_eq!(self.until_due(), (250, vec![probe()]));
        let report = Effect::Event(ip(), AddressEvent::Conflict(mac));
        assert_eq!(self.probed(ProbeResult::Answered(mac)), [report]);
    }

    /// Answers each probe with `result` until the address is active, and returns how long that takes and the events meanwhile;
    /// `None` if the address is not active after a minute. A probe takes as long as three questions.
    fn until_active(
        &mut self,
        mut result: impl FnMut(u32) -> ProbeResult,
    ) -> (Option<Duration>, Vec<AddressEvent>) {
        let begin = self.now;
        let mut events = Vec::new();
        let mut probes = 0;
        while self.now < begin + Duration::from_secs(60) {
            self.now = self.now + Duration::from_millis(90);
            let effects = self.probed(result(probes));
            probes += 1;
            let is_active = effects.contains(&announce());
            let is_probed_again = effects.contains(&probe());
            events.extend(effects.into_iter().filter_map(event));
            if is_active {
                return (Some(self.now.saturating_since(begin)), events);
            }
            while !is_probed_again && !self.until_due().1.contains(&probe()) {}
        }
        (None, events)
    }
}

/// Returns the event that an effect reports.
fn event(effect: Effect) -> Option<AddressEvent> {
    if let Effect::Event(_, event) = effect {
        Some(event)
    } else {
        None
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

fn defend() -> Effect {
    Effect::Command(Command::Defend(ip()))
}

fn defend_against_forged() -> Effect {
    Effect::Command(Command::DefendAgainstForged(ip()))
}

fn query(node: &str) -> Effect {
    Effect::QueryPeer(node.into(), ip())
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
fn an_address_is_announced_when_no_machine_answers_a_probe() {
    let world = World::active();
    assert_eq!(world.takeover.poll_timeout(), None);
    assert!(!world.takeover.is_empty());
}

#[test]
fn an_address_of_a_service_that_is_gone_is_withdrawn_immediately() {
    let unowned = || Some(Role::Unowned(Exclusion::NoEndpoints));
    for after in [None, unowned()] {
        assert_eq!(
            World::probing().role(after.clone()),
            [Effect::Command(Command::CancelProbe(ip()))]
        );
        assert_eq!(World::active().role(after.clone()), [withdraw(), lost()]);
        assert_eq!(World::deferred(Liveness::Suspect).role(after.clone()), []);
        assert_eq!(World::in_conflict().role(after), []);
    }
    for mut world in [World::deferred(Liveness::Down), World::in_conflict()] {
        world.role(None);
        assert_eq!(world.takeover.poll_timeout(), None);
    }
}

#[test]
fn a_node_that_lost_an_election_answers_until_its_successor_announces() {
    let mut world = World::handing_over();
    assert!(!world.takeover.is_empty());
    assert_eq!(world.handle_claim_of(FOREIGN), []);
    assert_eq!(world.handle_claim_of(mac(FIRST)), [withdraw()]);
    assert!(world.takeover.is_empty());
    assert_eq!(world.takeover.poll_timeout(), None);
}

/// A node that is no candidate for the backup has no part in the Service any more, and knows its addresses nevertheless.
#[test]
fn an_address_that_is_handed_over_is_withdrawn_when_its_last_service_is_gone() {
    for after in [None, Some(Role::Unowned(Exclusion::NoEndpoints))] {
        let mut world = World::handing_over();
        assert_eq!(world.role(after), [withdraw()]);
        assert!(world.takeover.is_empty());
        assert_eq!(world.takeover.poll_timeout(), None);
    }
    let mut world = World::active();
    let other = ServiceKey::new("default", "other");
    world
        .takeover
        .set_role(&other, ip(), None, Some(&elected()), world.now);
    world
        .takeover
        .set_role(&other, ip(), Some(&elected()), Some(&standby()), world.now);
    world.role(Some(standby()));
    world.effects();
    assert_eq!(world.role(None), [], "the other Service is handed over as well");
    // It comes and goes as a Service that this node is the backup for.
    let backup = Role::Backup {
        of: FIRST.into(),
        grant: grant(),
    };
    world
        .takeover
        .set_role(&other, ip(), Some(&standby()), Some(&backup), world.now);
    world
        .takeover
        .set_role(&other, ip(), Some(&backup), Some(&standby()), world.now);
    assert_eq!(world.effects(), []);
    world
        .takeover
        .set_role(&other, ip(), Some(&standby()), None, world.now);
    assert_eq!(world.effects(), [withdraw()]);
    assert!(world.takeover.is_empty());
}

#[test]
fn a_node_that_hands_over_reminds_its_successor_but_not_for_ever() {
    let mut world = World::handing_over();
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
fn a_node_that_hands_over_and_is_elected_again_stays_active_without_a_probe() {
    let mut world = World::handing_over();
    assert_eq!(world.role(Some(elected())), [announce(), gained()]);
    assert_eq!(world.takeover.poll_timeout(), None);
}

#[test]
fn a_node_that_was_absent_probes_before_it_continues() {
    let mut world = World::active();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
    let mut world = World::handing_over();
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw()]);
}

#[test]
fn when_a_peer_returns_active_addresses_are_announced_again() {
    let mut world = World::active();
    world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), []);
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), []);
    world.gossip(&[(FIRST, Liveness::Alive), (LAST, Liveness::Alive)]);
    assert_eq!(world.effects(), [Effect::Command(Command::Reannounce(ip()))]);
}

#[test]
fn an_elected_node_takes_over_from_an_alive_peer_that_answers() {
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
fn a_suspect_peer_that_answers_keeps_the_address_without_a_limit() {
    let mut world = World::deferred(Liveness::Suspect);
    let mut reports = Vec::new();
    for _ in 0..100 {
        assert_eq!(world.until_due(), (RETRY.as_millis(), vec![probe()]));
        reports.extend(world.probed(ProbeResult::Answered(mac(FIRST))));
    }
    let delayed = AddressEvent::Delayed(FIRST.into());
    assert_eq!(reports, [Effect::Event(ip(), delayed.clone())]);
    assert_eq!(world.takeover.obstacle(ip()), Some(delayed));
    world.until_due();
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn answers_of_a_peer_that_the_majority_considers_down_delay_a_take_over_only_for_a_limited_time() {
    let mut world = World::deferred(Liveness::Down);
    let forced = Effect::Event(ip(), AddressEvent::TakeoverForced(FIRST.into()));
    let began = world.now;
    loop {
        world.until_due();
        let effects = world.probed(ProbeResult::Answered(mac(FIRST)));
        if effects.is_empty() {
            continue;
        }
        assert_eq!(effects, [forced, announce(), gained()]);
        break;
    }
    let waited = world.now.saturating_since(began);
    assert!(
        waited >= DOWN_PEER_GRACE && waited <= DOWN_PEER_GRACE + RETRY,
        "{waited:?}"
    );
}

#[test]
fn without_a_majority_no_take_over_is_forced() {
    let mut world = World::deferred(Liveness::Down);
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    let mut reports = Vec::new();
    for _ in 0..100 {
        world.until_due();
        reports.extend(world.probed(ProbeResult::Answered(mac(FIRST))));
    }
    let delayed = Effect::Event(ip(), AddressEvent::Delayed(FIRST.into()));
    assert_eq!(reports, [delayed], "once, after five seconds");
}

/// A peer of a version that answers no queries.
#[test]
fn announcements_of_a_peer_delay_the_majority_for_ten_seconds_at_most() {
    let mut world = World::deferred(Liveness::Down);
    let begin = world.now;
    let forced = Effect::Event(ip(), AddressEvent::TakeoverForced(FIRST.into()));
    let delayed = Effect::Event(ip(), AddressEvent::Delayed(FIRST.into()));
    let mut reports = Vec::new();
    while !reports.contains(&announce()) {
        assert_eq!(world.handle_claim_of(mac(FIRST)), []);
        world.until_due();
        reports.extend(world.probed(ProbeResult::Answered(mac(FIRST))));
    }
    assert_eq!(reports, [delayed, forced, announce(), gained()]);
    assert_eq!(world.now, begin + Duration::from_secs(10));
}

#[test]
fn a_foreign_host_keeps_the_address_and_is_probed_again_and_again() {
    let mut world = World::in_conflict();
    for pause in [1, 2, 4, 5, 5, 5] {
        assert_eq!(world.until_due(), (pause * 1000, vec![probe()]));
        assert_eq!(world.probed(ProbeResult::Answered(FOREIGN)), []);
    }
    world.until_due();
    let resolved = Effect::Event(ip(), AddressEvent::Resolved);
    assert_eq!(
        world.probed(ProbeResult::Silence),
        [announce(), gained(), resolved]
    );
    assert_eq!(world.takeover.obstacle(ip()), None);
}

#[test]
fn another_foreign_host_in_a_conflict_is_reported_at_most_once_a_minute() {
    let mut world = World::in_conflict();
    let other = MacAddr([8; 6]);
    let begin = world.now;
    let mut reported = Vec::new();
    while world.now < begin + Duration::from_secs(150) {
        world.until_due();
        reported.extend(world.probed(ProbeResult::Answered(other)));
    }
    assert_eq!(reported, [Effect::Event(ip(), AddressEvent::Conflict(other))]);
    assert_eq!(world.takeover.obstacle(ip()), Some(AddressEvent::Conflict(other)));
}

/// What a foreign host can do to a take-over, for each value of `spec.conflictDetection`: whether the address is announced, and
/// within how many milliseconds; and what is reported.
#[test]
fn only_a_stable_foreign_host_that_answers_keeps_an_address_for_longer_than_a_second() {
    use AddressEvent::{Conflict, Contended, Duplicate};
    use ConflictDetection::{Enforce, Off, Warn};
    let answers: fn(u32) -> ProbeResult = |_| ProbeResult::Answered(FOREIGN);
    let answers_in_turn: fn(u32) -> ProbeResult = |probe| ProbeResult::Answered(numbered(probe % 2));
    let probes: fn(u32) -> ProbeResult = |_| ProbeResult::Contended(FOREIGN);
    let probes_with_new_macs: fn(u32) -> ProbeResult = |probe| ProbeResult::Contended(numbered(probe));
    let new_macs: fn(u32) -> ProbeResult = |probe| ProbeResult::Answered(numbered(probe));
    let cases = [
        (Off, answers, Some(90), vec![]),
        (Off, answers_in_turn, Some(90), vec![]),
        (Off, probes, Some(90), vec![]),
        (Off, probes_with_new_macs, Some(90), vec![]),
        (Off, new_macs, Some(90), vec![]),
        (Warn, answers, Some(90), vec![Duplicate(FOREIGN)]),
        (Warn, answers_in_turn, Some(90), vec![Duplicate(numbered(0))]),
        (Warn, probes, Some(90), vec![Contended(FOREIGN)]),
        (Warn, probes_with_new_macs, Some(90), vec![Contended(numbered(0))]),
        (Warn, new_macs, Some(90), vec![Duplicate(numbered(0))]),
        (Enforce, answers, None, vec![Conflict(FOREIGN)]),
        (Enforce, answers_in_turn, None, vec![Conflict(numbered(0))]),
        (Enforce, probes, Some(1180), vec![Contended(FOREIGN)]),
        (
            Enforce,
            probes_with_new_macs,
            Some(1180),
            vec![Contended(numbered(0))],
        ),
        (Enforce, new_macs, Some(1180), vec![Contended(numbered(3))]),
    ];
    for (index, (detection, result, limit, reports)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        let grant = Grant {
            conflict_detection: detection,
            ..grant()
        };
        world.role(Some(Role::Owner(grant)));
        let (after, events) = world.until_active(result);
        assert_eq!(events, reports, "case {index}");
        let limit = limit.map(Duration::from_millis);
        assert_eq!(after.is_some(), limit.is_some(), "case {index}");
        assert!(after <= limit, "case {index}: {after:?}");
    }
}

/// `Enforce` is for addresses that no client uses yet.
#[test]
fn a_foreign_host_delays_an_address_that_this_cluster_announced_in_the_last_ten_minutes_by_a_second_at_most()
{
    type Results = fn(u32) -> ProbeResult;
    let answers: Results = |_| ProbeResult::Answered(FOREIGN);
    let new_macs: Results = |probe| ProbeResult::Answered(numbered(probe));
    let probes: Results = |_| ProbeResult::Contended(FOREIGN);
    let both: Results = |probe| match probe % 2 {
        0 => ProbeResult::Contended(numbered(probe)),
        _ => ProbeResult::Answered(FOREIGN),
    };
    let announced_here: fn() -> World = || {
        let mut world = World::active();
        world.now = at(10_000_000);
        world.role(Some(standby()));
        world.handle_claim_of(mac(FIRST));
        world
    };
    let monitored: fn() -> World = || {
        let mut world = World::new();
        world.role(Some(Role::Backup {
            of: FIRST.into(),
            grant: grant(),
        }));
        world.until_due();
        world.probed(ProbeResult::Answered(mac(FIRST)));
        world
    };
    for start in [announced_here, monitored] {
        // A host that only probes has no address yet, so nothing is asked before the announcement.
        for (result, allowed) in [(answers, 1_090), (new_macs, 1_090), (probes, 90), (both, 90)] {
            let mut world = start();
            world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
            world.now = world.now + Duration::from_secs(595);
            assert_eq!(world.role(Some(elected())), [probe()]);
            let (after, events) = world.until_active(result);
            let after = after.expect("it is announced");
            assert!(after <= Duration::from_millis(allowed), "{after:?}");
            let is_reported = |event: &AddressEvent| {
                matches!(event, AddressEvent::Duplicate(_) | AddressEvent::Contended(_))
            };
            assert!(events.iter().all(is_reported) && !events.is_empty(), "{events:?}");
        }
        let mut world = start();
        world.now = world.now + Duration::from_secs(601);
        world.role(Some(elected()));
        assert_eq!(
            world.until_active(answers),
            (None, vec![AddressEvent::Conflict(FOREIGN)])
        );
    }
}

/// One of many MAC addresses of a foreign host.
fn numbered(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([6, 0, a, b, c, d])
}

#[test]
fn contention_and_answers_delay_a_take_over_by_a_second_together() {
    for lost in [false, true] {
        let mut world = World::probing();
        world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
        let (after, _) = world.until_active(|probe| match probe % 3 {
            0 => ProbeResult::Contended(if lost { mac(LAST) } else { FOREIGN }),
            1 => ProbeResult::Contended(mac(FIRST)),
            _ => ProbeResult::Contended(numbered(probe)),
        });
        assert!(
            after.is_some_and(|after| after <= Duration::from_millis(1180)),
            "{after:?}"
        );
    }
}

#[test]
fn of_two_contenders_one_probes_again_a_little_later() {
    for (other, pauses) in [(FOREIGN, 50..=400), (mac(FIRST), 400..=400)] {
        let mut world = World::probing();
        world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
        let events = world.probed(ProbeResult::Contended(other));
        let contended = Effect::Event(ip(), AddressEvent::Contended(FOREIGN));
        assert_eq!(events.contains(&contended), other == FOREIGN);
        assert_eq!(events.len(), usize::from(other == FOREIGN));
        let (pause, effects) = world.until_due();
        assert!(pauses.contains(&pause), "{pause}");
        assert_eq!(effects, [probe()]);
    }
}

#[test]
fn of_two_peers_that_contend_the_first_by_name_probes_again_immediately() {
    let mut world = World::probing();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    assert_eq!(world.probed(ProbeResult::Contended(mac(LAST))), [probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn an_active_address_is_defended_against_foreign_hosts_and_peers_of_worse_rank() {
    let mut world = World::active();
    let challenged = Effect::Event(ip(), AddressEvent::Challenged(FOREIGN));
    assert_eq!(
        world.handle_claim_of(FOREIGN),
        [challenged, Effect::Command(Command::Defend(ip()))]
    );
    assert_eq!(world.handle_claim_of(mac(LAST)), [defend()]);
}

#[test]
fn an_active_address_is_defended_against_peers_that_gossip_reaches() {
    for liveness in [Liveness::Alive, Liveness::Suspect] {
        let mut world = World::active();
        world.gossip(&[(FIRST, liveness), (LAST, Liveness::Down)]);
        assert_eq!(world.handle_claim_of(mac(FIRST)), [defend()]);
    }
}

#[test]
fn an_active_address_is_left_to_a_lost_peer_of_better_rank_and_monitored() {
    let mut world = World::active();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    let preempted = Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()));
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [withdraw(), preempted, lost(), probe()]
    );
    let deferred = Effect::Event(ip(), AddressEvent::Deferred(FIRST.into()));
    assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), [deferred]);
    assert_eq!(world.until_due(), (RETRY.as_millis(), vec![probe()]));
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

#[test]
fn the_last_announcement_of_a_peer_that_left_takes_nothing_back() {
    let mut world = World::active();
    let gone = Member {
        state: NodeState::Draining,
        ..member(FIRST, Liveness::Down)
    };
    let members = [gone, member(ME, Liveness::Alive), member(LAST, Liveness::Alive)];
    world.takeover.set_members(&members, world.now);
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [Effect::Command(Command::Defend(ip()))]
    );
    world.now = at(999);
    assert_eq!(
        world.handle_claim_of(mac(FIRST)),
        [Effect::Command(Command::Defend(ip()))]
    );
    // A much later announcement is one of its next process, which gossip has not reached, even if gossip repeats the leave.
    world.now = at(1000);
    let preempted = Effect::Event(ip(), AddressEvent::Preempted(FIRST.into()));
    let preempting = [withdraw(), preempted, lost(), probe()];
    assert_eq!(world.handle_claim_of(mac(FIRST)), preempting);
    world.takeover.set_members(&members, world.now);
    world.probed(ProbeResult::Silence);
    world.now = at(61_000);
    assert_eq!(world.handle_claim_of(mac(FIRST))[0], withdraw());
}

#[test]
fn a_node_in_the_minority_leaves_an_address_to_each_peer_that_claims_it() {
    let mut world = World::active();
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Down)]);
    let preempted = Effect::Event(ip(), AddressEvent::Preempted(LAST.into()));
    assert_eq!(
        world.handle_claim_of(mac(LAST)),
        [withdraw(), preempted, lost(), probe()]
    );
}

#[test]
fn claims_of_others_change_nothing_while_an_address_is_not_active() {
    assert_eq!(World::probing().handle_claim_of(mac(FIRST)), []);
    assert_eq!(World::in_conflict().handle_claim_of(FOREIGN), []);
    assert_eq!(World::new().handle_claim_of(FOREIGN), []);
}

#[test]
fn late_results_change_nothing() {
    for mut world in [
        World::active(),
        World::handing_over(),
        World::in_conflict(),
        World::new(),
    ] {
        assert_eq!(world.probed(ProbeResult::Silence), []);
        assert_eq!(world.probed(ProbeResult::Answered(mac(FIRST))), []);
    }
}

#[test]
fn a_successor_probes_before_it_takes_over() {
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
    // Gossip confirms the suspicion.
    assert_eq!(world.role(Some(elected())), []);
}

/// After a take-over, however its election goes on, this node has the address: what interrupts it later is no fail-over.
#[test]
fn a_take_over_is_counted_once_and_from_its_own_beginning() {
    let backup = || Role::Backup {
        of: FIRST.into(),
        grant: grant(),
    };
    let successor = || Role::Successor {
        of: FIRST.into(),
        grant: grant(),
    };
    let unanswered = ProbeResult::Unanswered {
        last_frame: Some(Duration::ZERO),
    };
    for is_acting_owner in [false, true] {
        let mut world = World::new();
        world.role(Some(backup()));
        world.until_due();
        world.probed(ProbeResult::Answered(mac(FIRST)));
        if is_acting_owner {
            while world.probed(unanswered) != [probe()] {
                world.until_due();
            }
        } else {
            world.gossip(&[(FIRST, Liveness::Suspect), (LAST, Liveness::Alive)]);
            assert_eq!(world.role(Some(successor())), [probe()]);
        }
        world.now = world.now + Duration::from_millis(92);
        let effects = world.probed(ProbeResult::Silence);
        let took_over = |effect: &&Effect| matches!(effect, Effect::TookOver(..));
        assert_eq!(effects.iter().filter(took_over).count(), 1, "{effects:?}");
        // Gossip confirms it, and a minute later this node is paused.
        world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
        world.role(Some(elected()));
        world.now = world.now + Duration::from_secs(60);
        world.takeover.handle_absence(world.now);
        assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
        assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
        // The same after an election that it lost and won again.
        world.role(Some(standby()));
        world.role(Some(elected()));
        world.takeover.handle_absence(world.now);
        world.effects();
        assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
    }
}

/// A node whose own link is cut hears no answer either: it replaces nobody, now or when it has a link again.
#[test]
fn a_node_without_a_link_takes_nothing_over() {
    let mut world = World::new();
    world.role(Some(standby()));
    world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
    assert_eq!(world.role(Some(elected())), [probe()]);
    assert_eq!(world.probed(ProbeResult::NoLink), [announce(), gained()]);
    world.takeover.handle_absence(world.now);
    assert_eq!(world.effects(), [withdraw(), lost(), probe()]);
    assert_eq!(world.probed(ProbeResult::Silence), [announce(), gained()]);
}

/// Of a node that failed, one successor took the address. When another node is elected after that, nothing fails over.
#[test]
fn an_address_that_a_living_peer_answers_for_is_not_taken_over_from_the_owner_before() {
    for is_taken in [true, false] {
        let mut world = World::new();
        world.role(Some(standby()));
        world.gossip(&[(FIRST, Liveness::Down), (LAST, Liveness::Alive)]);
        assert_eq!(world.role(Some(elected())), [probe()]);
        let result = if is_taken {
            ProbeResult::Answered(mac(LAST))
        } else {
            ProbeResult::Silence
        };
        let effects = world.probed(result);
        let took_over = effects
            .iter()
            .any(|effect| matches!(effect, Effect::TookOver(..)));
        assert_eq!(took_over, !is_taken, "{effects:?}");
    }
}

#[test]
fn a_shared_address_is_active_until_its_last_service_is_gone_and_probed_once() {
    let mut world = World::active();
    let other = ServiceKey::new("default", "other");
    world
        .takeover
        .set_role(&other, ip(), None, Some(&elected()), at(0));
    assert_eq!(world.effects(), [Effect::Gained(other.clone(), ip())]);
    assert_eq!(world.role(None), [lost()]);
    world
        .takeover
        .set_role(&other, ip(), Some(&elected()), None, at(0));
    assert_eq!(world.effects(), [withdraw(), Effect::Lost(other, ip())]);
}

#[test]
fn interfaces_of_sharers_are_united_and_shrink_again() {
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
    world
        .takeover
        .set_role(&other, ip(), None, Some(&on(&["eth1"])), at(0));
    let effects = world.effects();
    assert_eq!(effects[0], announced(&["eth0", "eth1"]));
    let effects = world.role(None);
    assert_eq!(effects, [announced(&["eth1"]), lost()]);
}

#[test]
fn without_verification_nothing_is_probed_and_no_address_is_handed_over() {
    let mut world = World::with(Takeover::new(ME.into(), false, 1));
    assert_eq!(world.role(Some(elected())), [announce(), gained()]);
    assert_eq!(world.role(Some(standby())), [withdraw(), lost()]);
}

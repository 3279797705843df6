//! The agent from its inputs to its outputs, without API server, sockets and clock.

use super::*;
use crate::announce::eligibility::TrafficPolicy;
use crate::announce::layer2::takeover::AddressEvent;
use crate::announce::layer2::{Announcement, ProbeResult};
use crate::config::{Catalog, RawL2Advertisement, RawPool};
use crate::{Features, Labels, Liveness, MacAddr, Profile};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

mod beside;
mod bgp;
mod network_check;

/// This node owns [`ADDRESS`] by MetalLB's order; the other node owns [`OTHER`].
const OWN: &str = "iris2";
const PEER: &str = "iris1";
const ADDRESS: &str = "10.20.30.1";
const OTHER: &str = "10.20.30.2";
const FOREIGN: MacAddr = MacAddr([9; 6]);

fn mac(node: &str) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, node.as_bytes()[4]])
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(address: &str) -> ServiceKey {
    ServiceKey::new("default", format!("web-{address}"))
}

fn member(node: &str, liveness: Liveness) -> Member {
    Member {
        macs: [mac(node)].into(),
        ..Member::new(node.into(), liveness, NodeState::Ready)
    }
}

fn announcement(address: &str) -> Announcement {
    Announcement {
        address: ip(address),
        interfaces: None,
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        labels: Labels::new(),
        network_unavailable: false,
        draining: false,
        addresses: Vec::new(),
    }
}

fn exposure(address: &str) -> Exposure {
    Exposure {
        key: key(address),
        created: 0,
        labels: Labels::new(),
        addresses: vec![ip(address)],
        foreign_ingress: false,
        traffic_policy: TrafficPolicy::Cluster,
        shares: false,
    }
}

fn eth0() -> Interfaces {
    let names = BTreeSet::from(["eth0".to_string()]);
    Interfaces {
        ipv6: names.clone(),
        names,
    }
}

struct Rig {
    agent: Agent,
    now: Time,
}

impl Rig {
    /// Creates an agent, not started, with two nodes and a Service for each of these addresses.
    fn new(has_gossip: bool, addresses: &[&str]) -> Self {
        Self::of_node(OWN, has_gossip, addresses)
    }

    /// Creates the agent of the node of this name.
    fn of_node(name: &str, has_gossip: bool, addresses: &[&str]) -> Self {
        let mut agent = Agent::new(Options {
            node: name.into(),
            has_gossip,
            ignore_exclude_label: false,
            takeover_verification: true,
            has_bgp: true,
            default_med: None,
            seed: 1,
        });
        let mut catalog = Catalog::new();
        catalog.set_pools(vec![RawPool {
            name: "pool".into(),
            addresses: vec!["10.20.30.0/24".into()],
            ..RawPool::default()
        }]);
        catalog.set_l2_advertisements(vec![RawL2Advertisement {
            name: "all".into(),
            ..RawL2Advertisement::default()
        }]);
        agent.set_config(catalog.pools(), catalog.l2_advertisements());
        agent.set_interfaces(eth0(), Time::ZERO);
        for node in [OWN, PEER] {
            agent.set_node(self::node(node));
        }
        for address in addresses {
            agent.set_service(exposure(address));
            let endpoints = Endpoints {
                any: true,
                ..Endpoints::default()
            };
            agent.set_endpoints(key(address), Some(endpoints.into()));
        }
        let mut rig = Self {
            agent,
            now: Time::ZERO,
        };
        rig.set_peer(Liveness::Alive);
        rig
    }

    fn started(addresses: &[&str]) -> Self {
        let mut rig = Self::new(true, addresses);
        rig.agent.start();
        rig
    }

    /// Announces all addresses of this node.
    fn announcing(addresses: &[&str]) -> Self {
        let mut rig = Self::started(addresses);
        for command in rig.commands() {
            if let Command::Probe(Announcement { address, .. }) = command {
                rig.probed(address, ProbeResult::Silence);
            }
        }
        for command in rig.commands() {
            if let Command::Announce(Announcement { address, .. }) = command {
                rig.agent.handle_wire(WireEvent::Announced(address), rig.now);
            }
        }
        rig.reports();
        rig.events();
        rig.statuses();
        rig
    }

    fn set_peer(&mut self, liveness: Liveness) {
        self.set_peer_as(member(PEER, liveness));
    }

    fn set_peer_as(&mut self, peer: Member) {
        let members = [peer, member(OWN, Liveness::Alive)];
        self.agent.set_members(members.into(), self.now);
    }

    fn probed(&mut self, address: IpAddr, result: ProbeResult) {
        self.agent
            .handle_wire(WireEvent::Probed(address, result), self.now);
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.agent.handle_timeout(self.now);
    }

    fn commands(&mut self) -> Vec<Command> {
        self.agent.decide(self.now);
        core::iter::from_fn(|| self.agent.poll_command()).collect()
    }

    fn reports(&mut self) -> Vec<AgentReport> {
        self.agent.decide(self.now);
        core::iter::from_fn(|| self.agent.poll_report()).collect()
    }

    /// Returns the events without changes of roles, which the tests of ownership cover.
    fn events(&mut self) -> Vec<AgentEvent> {
        self.agent.decide(self.now);
        let events = core::iter::from_fn(|| self.agent.poll_event());
        events
            .filter(|event| !matches!(event, AgentEvent::RoleChanged(..)))
            .collect()
    }

    fn statuses(&mut self) -> Vec<(ServiceKey, Option<AnnouncementStatus>)> {
        self.agent.decide(self.now);
        core::iter::from_fn(|| self.agent.poll_status()).collect()
    }
}

#[test]
fn no_command_is_sent_before_the_start_and_the_start_is_reported_once() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    assert_eq!(rig.commands(), []);
    assert_eq!(rig.statuses(), []);
    rig.agent.start();
    rig.agent.start();
    assert_eq!(rig.reports(), [AgentReport::State(NodeState::Ready)]);
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
}

#[test]
fn an_address_that_no_machine_answers_for_is_announced_and_published() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.commands();
    rig.events();
    rig.probed(ip(ADDRESS), ProbeResult::Silence);
    assert_eq!(rig.commands(), [Command::Announce(announcement(ADDRESS))]);
    let announced = AgentEvent::Announced {
        service: key(ADDRESS),
        address: ip(ADDRESS),
        is_first: true,
    };
    assert_eq!(rig.events(), [announced]);
    assert_eq!(rig.statuses(), [], "nothing was sent");
    rig.agent.handle_wire(WireEvent::Announced(ip(ADDRESS)), rig.now);
    assert_eq!(rig.statuses(), [(key(ADDRESS), Some(announced_status()))]);
    rig.agent.remove_service(&key(ADDRESS));
    assert_eq!(rig.commands(), [Command::Withdraw(ip(ADDRESS))]);
    assert_eq!(rig.statuses(), [(key(ADDRESS), None)]);
}

fn announced_status() -> AnnouncementStatus {
    AnnouncementStatus {
        is_elected: true,
        addresses: vec![ip(ADDRESS)],
        interfaces: BTreeSet::new(),
        obstacle: None,
    }
}

#[test]
fn what_is_published_stays_while_an_address_is_probed_again() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    rig.agent.set_interfaces(Interfaces::default(), rig.now);
    rig.agent.set_interfaces(eth0(), rig.now);
    rig.commands();
    assert_eq!(rig.statuses(), []);
    rig.probed(ip(ADDRESS), ProbeResult::Silence);
    rig.commands();
    assert_eq!(rig.statuses(), [], "the announcement was sent before");
    rig.agent.handle_wire(WireEvent::Announced(ip(ADDRESS)), rig.now);
    assert_eq!(rig.statuses(), [(key(ADDRESS), Some(announced_status()))]);
}

/// The reason in the only status, if it has one.
fn reported(rig: &mut Rig, service: &str) -> Option<(&'static str, String)> {
    let statuses = rig.statuses();
    let status = statuses.into_iter().rfind(|(key, _)| *key == self::key(service));
    let status = status.and_then(|(_, status)| status)?;
    assert_eq!((status.is_elected, &status.addresses[..]), (false, &[][..]));
    status.obstacle
}

#[test]
fn one_speaker_reports_why_a_service_is_not_announced_until_it_is() {
    let mut rig = Rig::started(&[ADDRESS, OTHER]);
    for address in [ADDRESS, OTHER] {
        rig.agent.set_endpoints(key(address), None);
    }
    let statuses = rig.statuses();
    let reporting = statuses.iter().filter(|(_, status)| status.is_some());
    assert_eq!(reporting.map(|(key, _)| key).collect::<Vec<_>>(), [&key(ADDRESS)]);
    rig.agent.set_endpoints(key(ADDRESS), None);
    assert_eq!(rig.statuses(), []);
    // The reporter for the other Service dies.
    rig.set_peer(Liveness::Down);
    let reason = reported(&mut rig, OTHER).map(|(reason, _)| reason);
    assert_eq!(reason, Some("NoEndpoints"));
    rig.set_peer(Liveness::Alive);
    assert!(rig.statuses().contains(&(key(OTHER), None)));
    let endpoints = Endpoints {
        any: true,
        ..Endpoints::default()
    };
    rig.agent.set_endpoints(key(ADDRESS), Some(endpoints.into()));
    assert_eq!(
        rig.statuses(),
        [],
        "the reason stays until the address is announced"
    );
    rig.probed(ip(ADDRESS), ProbeResult::Silence);
    rig.commands();
    rig.agent.handle_wire(WireEvent::Announced(ip(ADDRESS)), rig.now);
    assert_eq!(rig.statuses(), [(key(ADDRESS), Some(announced_status()))]);
}

#[test]
fn a_service_without_a_candidate_is_reported_with_the_reasons_of_the_nodes() {
    let mut rig = Rig::started(&[ADDRESS]);
    let drained = |name: &str| Node {
        draining: true,
        ..node(name)
    };
    for node in [OWN, PEER] {
        rig.agent.set_node(drained(node));
    }
    let message = |reasons: &str| {
        format!("{ADDRESS}: no node may announce the Service; the reasons of the nodes: {reasons}")
    };
    let expected = ("NoCandidate", message("Drained"));
    assert_eq!(reported(&mut rig, ADDRESS), Some(expected));
    rig.agent.set_node(Node {
        network_unavailable: true,
        ..drained(PEER)
    });
    let expected = ("NoCandidate", message("Drained, NetworkUnavailable"));
    assert_eq!(reported(&mut rig, ADDRESS), Some(expected));
}

#[test]
fn what_happens_to_one_node_after_the_other_does_not_change_the_reason() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.agent.set_service(Exposure {
        traffic_policy: TrafficPolicy::Local,
        ..exposure(ADDRESS)
    });
    let statuses = rig.statuses();
    assert_eq!(statuses.len(), 1);
    let mut statuses: BTreeMap<_, _> = statuses.into_iter().collect();
    let before = statuses.clone();
    for name in [PEER, OWN] {
        for changed in [
            Node {
                draining: true,
                ..node(name)
            },
            Node {
                network_unavailable: true,
                ..node(name)
            },
            node(name),
        ] {
            rig.agent.set_node(changed);
            statuses.extend(rig.statuses());
            assert_eq!(statuses, before);
        }
    }
    for liveness in [Liveness::Suspect, Liveness::Down, Liveness::Alive] {
        rig.set_peer(liveness);
        statuses.extend(rig.statuses());
        assert_eq!(statuses, before, "{liveness:?}");
    }
}

#[test]
fn members_that_change_only_in_what_does_not_concern_the_reports_cause_none() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.agent.set_endpoints(key(ADDRESS), None);
    assert_eq!(rig.statuses().len(), 1);
    rig.set_peer(Liveness::Suspect);
    assert_eq!(rig.statuses(), []);
    rig.agent.set_node(node(PEER));
    assert_eq!(rig.statuses(), [], "the Node is as it was");
}

#[test]
fn a_service_that_another_implementation_serves_is_not_reported() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.statuses();
    rig.agent.set_service(Exposure {
        foreign_ingress: true,
        ..exposure(ADDRESS)
    });
    assert_eq!(rig.statuses(), [(key(ADDRESS), None)]);
}

#[test]
fn a_backup_reports_an_owner_that_it_has_never_heard_and_that_it_hears_it_at_last() {
    let mut rig = Rig::announcing(&[OTHER]);
    let unanswered = ProbeResult::Unanswered {
        last_frame: Some(Duration::ZERO),
    };
    for _ in 0..4 {
        rig.pass(Duration::from_secs(5));
        rig.probed(ip(OTHER), unanswered);
    }
    let unheard = AddressEvent::OwnerUnheard(PEER.into());
    assert_eq!(rig.events(), [AgentEvent::Address(ip(OTHER), unheard.clone())]);
    let expected = ("OwnerUnheard", format!("{OTHER}: {unheard}"));
    assert_eq!(reported(&mut rig, OTHER), Some(expected));
    rig.pass(Duration::from_secs(5));
    rig.probed(ip(OTHER), unanswered);
    assert_eq!(rig.events(), [], "it is known");
    rig.pass(Duration::from_secs(5));
    rig.probed(ip(OTHER), ProbeResult::Answered(mac(PEER)));
    let recovered = AddressEvent::OwnerRecovered(PEER.into());
    assert_eq!(rig.events(), [AgentEvent::Address(ip(OTHER), recovered)]);
    assert_eq!(rig.statuses(), [(key(OTHER), None)]);
}

#[test]
fn a_foreign_host_is_reported_to_users_with_its_mac_address() {
    let mut rig = Rig::started(&[ADDRESS]);
    rig.commands();
    rig.events();
    rig.probed(ip(ADDRESS), ProbeResult::Answered(FOREIGN));
    rig.pass(Duration::from_millis(250));
    rig.probed(ip(ADDRESS), ProbeResult::Answered(FOREIGN));
    let conflict = AddressEvent::Conflict(FOREIGN);
    assert_eq!(rig.events(), [AgentEvent::Address(ip(ADDRESS), conflict.clone())]);
    let statuses = rig.statuses();
    let obstacle = statuses[0].1.clone().and_then(|status| status.obstacle);
    assert_eq!(
        obstacle,
        Some(("AddressConflict", format!("{ADDRESS}: {conflict}")))
    );
}

#[test]
fn a_dispute_that_this_node_loses_is_reported_to_users() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    let able = Profile {
        features: Features::OF_THIS_VERSION,
        ..Profile::default()
    };
    rig.set_peer_as(Member {
        profile: Some(able.into()),
        ..member(PEER, Liveness::Alive)
    });
    rig.now = rig.now + Duration::from_secs(10);
    rig.agent
        .handle_wire(WireEvent::Claimed(ip(ADDRESS), mac(PEER)), rig.now);
    let query = AgentReport::QueryPeer {
        peer: PEER.into(),
        address: ip(ADDRESS),
    };
    assert_eq!(rig.reports(), [query]);
    rig.agent.handle_query(PEER.into(), ip(ADDRESS));
    let yes = AgentReport::ReplyToPeer {
        peer: PEER.into(),
        address: ip(ADDRESS),
        announces: true,
    };
    assert_eq!(rig.reports(), [yes], "both announce it");
    for _ in 0..3 {
        rig.agent.handle_reply(&PEER.into(), ip(ADDRESS), true, rig.now);
        rig.pass(Duration::from_secs(2));
    }
    let disputed = AddressEvent::Disputed(PEER.into());
    let event = AgentEvent::Address(ip(ADDRESS), disputed.clone());
    assert!(rig.events().contains(&event));
    assert!(rig.commands().contains(&Command::Withdraw(ip(ADDRESS))));
    let statuses = rig.statuses();
    let obstacle = statuses[0].1.clone().and_then(|status| status.obstacle);
    let text = format!("{ADDRESS}: {disputed}");
    assert_eq!(obstacle, Some(("AddressDisputed", text)));
    rig.agent.handle_query(PEER.into(), ip(ADDRESS));
    let no = AgentReport::ReplyToPeer {
        peer: PEER.into(),
        address: ip(ADDRESS),
        announces: false,
    };
    assert!(rig.reports().contains(&no));
}

#[test]
fn the_addresses_of_a_suspect_peer_are_probed_and_taken_if_no_machine_answers() {
    let mut rig = Rig::announcing(&[ADDRESS, OTHER]);
    rig.set_peer(Liveness::Suspect);
    assert_eq!(rig.commands(), [Command::Probe(announcement(OTHER))]);
    rig.now = rig.now + Duration::from_millis(90);
    rig.probed(ip(OTHER), ProbeResult::Silence);
    assert_eq!(rig.commands(), [Command::Announce(announcement(OTHER))]);
    let took_over = AgentEvent::TookOver(ip(OTHER), Duration::from_millis(90));
    assert!(rig.events().contains(&took_over));
}

#[test]
fn the_claim_of_a_lost_peer_that_has_the_better_rank_preempts_this_node() {
    let mut rig = Rig::announcing(&[ADDRESS, OTHER]);
    rig.set_peer(Liveness::Down);
    rig.commands();
    rig.probed(ip(OTHER), ProbeResult::Silence);
    rig.commands();
    rig.events();
    rig.agent
        .handle_wire(WireEvent::Claimed(ip(OTHER), mac(PEER)), rig.now);
    let commands = rig.commands();
    assert!(commands.contains(&Command::Withdraw(ip(OTHER))), "{commands:?}");
    let preempted = AgentEvent::Address(ip(OTHER), AddressEvent::Preempted(PEER.into()));
    assert!(rig.events().contains(&preempted));
}

#[test]
fn a_node_that_was_unplugged_reports_one_flap_when_it_is_back() {
    let mut rig = Rig::announcing(&[]);
    for _ in 0..2 {
        rig.agent.set_interfaces(Interfaces::default(), rig.now);
        assert_eq!(rig.reports(), []);
    }
    for _ in 0..2 {
        rig.agent.set_interfaces(eth0(), rig.now);
    }
    assert_eq!(rig.reports(), [AgentReport::Flapped]);
}

#[test]
fn a_node_that_was_unplugged_withdraws_before_it_probes_again() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    rig.agent.set_interfaces(Interfaces::default(), rig.now);
    rig.commands();
    rig.agent.set_interfaces(eth0(), rig.now);
    assert_eq!(rig.agent.poll_command(), Some(Command::WithdrawAll));
    assert_eq!(
        rig.agent.poll_command(),
        None,
        "the rest follows when the links are set"
    );
    let probe = Command::Probe(announcement(ADDRESS));
    assert_eq!(rig.commands(), [Command::Withdraw(ip(ADDRESS)), probe]);
}

#[test]
fn a_peer_that_reports_this_node_unresponsive_is_believed_once() {
    let mut rig = Rig::announcing(&[]);
    let profile = Profile {
        unresponsive: vec![NodeName::from(OWN).tag()],
        ..Profile::default()
    };
    let reporter = Member {
        profile: Some(profile.into()),
        ..member(PEER, Liveness::Alive)
    };
    for _ in 0..2 {
        rig.set_peer_as(reporter.clone());
    }
    assert_eq!(rig.reports(), [AgentReport::ReportedUnresponsive]);
    assert_eq!(rig.events(), [AgentEvent::ReportedUnresponsive(PEER.into())]);
    rig.set_peer(Liveness::Alive);
    rig.set_peer_as(reporter);
    assert_eq!(rig.reports(), [AgentReport::ReportedUnresponsive]);
}

#[test]
fn a_backup_reports_the_owner_that_it_answers_for() {
    let mut rig = Rig::announcing(&[OTHER]);
    let unanswered = ProbeResult::Unanswered {
        last_frame: Some(Duration::ZERO),
    };
    rig.pass(Duration::from_secs(5));
    rig.probed(ip(OTHER), ProbeResult::Answered(mac(PEER)));
    for _ in 0..4 {
        rig.pass(Duration::from_secs(5));
        rig.probed(ip(OTHER), unanswered);
    }
    rig.probed(ip(OTHER), ProbeResult::Silence);
    let tag = NodeName::from(PEER).tag();
    assert_eq!(rig.reports(), [AgentReport::Unresponsive(vec![tag])]);
    rig.agent.handle_wire(WireEvent::Announced(ip(OTHER)), rig.now);
    let statuses = rig.statuses();
    let acting = statuses[0].1.as_ref().expect("the acting owner has a status");
    assert_eq!(
        (acting.is_elected, &acting.addresses[..]),
        (true, &[ip(OTHER)][..])
    );
    let reason = acting.obstacle.as_ref().map(|(reason, _)| *reason);
    assert_eq!(reason, Some("OwnerSilent"));
    rig.pass(Duration::from_secs(5));
    rig.probed(ip(OTHER), ProbeResult::Answered(mac(PEER)));
    assert_eq!(rig.reports(), [AgentReport::Unresponsive(vec![])]);
    assert_eq!(rig.statuses(), [(key(OTHER), None)]);
}

#[test]
fn a_speaker_that_stops_waits_for_its_successor_until_the_limit() {
    for is_claimed in [true, false] {
        let mut rig = Rig::announcing(&[ADDRESS]);
        rig.agent.handle_shutdown(false, rig.now);
        assert_eq!(rig.reports(), [AgentReport::State(NodeState::Draining)]);
        let draining = Member {
            state: NodeState::Draining,
            ..member(OWN, Liveness::Alive)
        };
        let members = [member(PEER, Liveness::Alive), draining];
        rig.agent.set_members(members.into(), rig.now);
        assert_eq!(rig.commands(), []);
        assert!(!rig.agent.has_stopped(rig.now));
        if is_claimed {
            let claim = WireEvent::Claimed(ip(ADDRESS), mac(PEER));
            rig.agent.handle_wire(claim, rig.now);
            assert_eq!(rig.commands(), [Command::Withdraw(ip(ADDRESS))]);
        } else {
            let due = rig.agent.poll_timeout().expect("a deadline");
            assert!(due <= rig.now + DRAIN_LIMIT);
            rig.now = rig.now + DRAIN_LIMIT;
        }
        assert!(rig.agent.has_stopped(rig.now));
    }
}

#[test]
fn without_gossip_a_speaker_reports_nothing_and_stops_at_once() {
    let mut rig = Rig::new(false, &[ADDRESS]);
    rig.agent.start();
    assert_eq!(rig.commands(), [Command::Probe(announcement(ADDRESS))]);
    rig.agent.handle_shutdown(false, rig.now);
    assert!(rig.agent.has_stopped(rig.now));
    assert_eq!(rig.reports(), []);
}

#[test]
fn gossip_that_reaches_no_ready_peer_is_reported_as_blocked_and_then_as_restored() {
    let mut rig = Rig::announcing(&[]);
    let node = SpeakerNode {
        address: ip("10.20.30.200"),
        is_ready: true,
    };
    rig.agent.set_speaker_nodes([(PEER.into(), node)].into(), rig.now);
    rig.set_peer(Liveness::Down);
    assert_eq!(rig.events(), []);
    assert_eq!(rig.agent.is_gossip_blocked(), Some(false));
    rig.pass(Duration::from_secs(70));
    let blocked = |before, after| AgentEvent::GossipBlocked { before, after };
    assert_eq!(rig.events(), [blocked(Some(false), Some(true))]);
    rig.set_peer(Liveness::Alive);
    assert_eq!(rig.events(), [blocked(Some(true), Some(false))]);
}

#[test]
fn the_explanation_names_each_node_and_agrees_with_the_role() {
    let mut rig = Rig::announcing(&[ADDRESS]);
    let explained = rig.agent.explain(&key(ADDRESS), ip(ADDRESS)).expect("candidates");
    let expected = [(&PEER.into(), Ok(0)), (&OWN.into(), Ok(0))];
    assert_eq!(explained, expected.into());
    rig.set_peer(Liveness::Down);
    let explained = rig.agent.explain(&key(ADDRESS), ip(ADDRESS)).expect("candidates");
    assert_eq!(explained[&NodeName::from(PEER)], Err(Exclusion::NoSpeaker));
    let unknown = ServiceKey::new("default", "unknown");
    assert_eq!(
        rig.agent.explain(&unknown, ip(ADDRESS)),
        Err(Exclusion::NoAddress)
    );
}

#[test]
fn a_speaker_that_stops_before_its_start_takes_nothing() {
    let mut rig = Rig::new(true, &[ADDRESS]);
    rig.agent.handle_shutdown(false, rig.now);
    assert_eq!(rig.commands(), []);
    assert!(rig.agent.has_stopped(rig.now));
}

//! Forged datagrams, as an attacker with the key (or where no key is set) can make them.

use foca::{Codec as _, Header, Message, PostcardCodec, State};

use super::*;
use crate::codec::report::SelfReport;
use crate::codec::{SWIM_MAX, envelope};
use crate::identity::Identity;
use crate::membership::receive::MAX_MEMBERS;

fn identity(node: NodeName, index: usize) -> Identity {
    Identity {
        epoch: Epoch::first_of(7),
        ..Identity::unknown(node, address(index))
    }
}

fn swim(src: Identity, dst: Identity, message: Message<Identity>, members: &[Identity]) -> Vec<u8> {
    let header = Header {
        src,
        src_incarnation: 0,
        dst,
        message,
    };
    let mut bytes = Vec::new();
    PostcardCodec.encode_header(&header, &mut bytes).expect("encodes");
    if !members.is_empty() {
        bytes.extend(u16::try_from(members.len()).expect("few").to_be_bytes());
    }
    for member in members {
        let member = foca::Member::new(member.clone(), 0, State::Alive);
        PostcardCodec.encode_member(&member, &mut bytes).expect("encodes");
    }
    assert!(bytes.len() <= SWIM_MAX.get());
    bytes
}

fn report(node: NodeName) -> Vec<u8> {
    let report = SelfReport {
        node,
        started: 7,
        version: 3,
        state: NodeState::Ready,
        macs: Arc::default(),
        profile: None,
    };
    report.emit()
}

fn content(reports: &[Vec<u8>], swim: &[u8]) -> Vec<u8> {
    let (content, count) = envelope::emit(
        None,
        reports.iter().map(Vec::as_slice),
        swim,
        crate::codec::DATAGRAM_MAX,
    );
    assert_eq!(count, reports.len());
    content
}

/// A report about `node` that it did not make: it is draining, and has the MAC address of another node.
fn forged_report(node: NodeName, started: u64, version: u32) -> Vec<u8> {
    let report = SelfReport {
        node,
        started,
        version,
        state: NodeState::Draining,
        macs: [link(99).mac].into(),
        profile: None,
    };
    report.emit()
}

/// The numbers of forged reports about a process that started at `started`.
fn forged_numbers(started: u64) -> [(u64, u32); 6] {
    let latest = u32::MAX - 1;
    [
        (started, 0),
        (started, 7),
        (started, latest),
        (started + 5, 0),
        (Epoch::LATEST_START - 1, latest),
        (Epoch::LATEST_START, latest),
    ]
}

impl Net {
    /// Whether all running members know each one as it reports itself.
    fn all_see_all_as_they_report(&self) -> bool {
        self.nodes.keys().all(|&subject| {
            let own = self.view(subject, subject).expect("each lists itself").clone();
            self.sees(subject, &own)
        })
    }

    /// Whether all other running members know `subject` like `own`.
    fn sees(&self, subject: usize, own: &Member) -> bool {
        self.all_see(subject, |member| member == own)
    }

    /// Lets node 2 report to node 0 something that node 1 did not report.
    fn forge(&mut self, started: u64, version: u32) {
        let gossip = swim(self.identity_of(2), self.identity_of(0), Message::Gossip, &[]);
        let forged = forged_report(name(1), started, version);
        assert_eq!(self.inject(&content(&[forged], &gossip), 2), Ok(()));
        self.run_for(millis(20));
    }

    /// Lets member 0 handle `content` as if it came from `from`.
    fn inject(&mut self, content: &[u8], from: usize) -> Result<(), Rejection> {
        let now = self.now;
        let result = self
            .node(0)
            .membership
            .handle_datagram(content, address(from), now);
        self.collect(0);
        result
    }

    fn identity_of(&self, index: usize) -> Identity {
        self.nodes[&index].membership.identity().clone()
    }
}

#[test]
fn a_node_name_of_any_length_does_not_stop_probing() {
    let mut net = Net::cluster(2, 1, 0.0);
    let announce = |length: usize| {
        let src = identity(NodeName::new("n".repeat(length)), 2);
        swim(
            src,
            Identity::unknown(name(0), address(0)),
            Message::Announce,
            &[],
        )
    };
    // The answer still fits, a probe of it does not.
    let longest = 800 + SWIM_MAX.get() - announce(800).len();
    assert_eq!(announce(longest).len(), SWIM_MAX.get());
    let result = net.inject(&content(&[], &announce(longest)), 2);
    assert_eq!(result, Err(Rejection::Malformed));
    net.run_for(Duration::from_secs(1));
    net.crash(1);
    let detected = net.run_until(Duration::from_secs(2), |net| {
        net.view(0, 1).is_some_and(|m| m.liveness == Liveness::Down)
    });
    assert!(detected.is_some());
}

#[test]
fn a_datagram_that_names_another_address_than_its_own_is_not_answered() {
    let mut net = Net::cluster(1, 1, 0.0);
    let src = identity(name(2), 2);
    let announce = swim(
        src,
        Identity::unknown(name(0), address(0)),
        Message::Announce,
        &[],
    );
    let announce = content(&[], &announce);
    assert_eq!(net.inject(&announce, 3), Err(Rejection::Address));
    assert_eq!(net.delivered, 0);
    assert_eq!(net.inject(&announce, 2), Ok(()));
    assert_eq!(net.delivered, 1);
}

#[test]
fn an_old_report_of_a_failed_member_does_not_make_it_ready_for_a_member_that_restarted() {
    let mut net = Net::cluster(2, 1, 0.0);
    let announce = swim(
        identity(name(2), 2),
        Identity::unknown(name(0), address(0)),
        Message::Announce,
        &[],
    );
    assert_eq!(net.inject(&content(&[report(name(2))], &announce), 2), Ok(()));
    net.run_for(millis(20));
    let member = net.view(0, 2).expect("known, as it announced itself");
    assert_eq!(member.state, NodeState::Starting);
    // The same from a member that answers this process.
    let gossip = swim(identity(name(2), 2), net.identity_of(0), Message::Gossip, &[]);
    assert_eq!(net.inject(&content(&[report(name(2))], &gossip), 2), Ok(()));
    net.run_for(millis(20));
    let member = net.view(0, 2).expect("still known");
    assert_eq!(member.state, NodeState::Ready);
}

#[test]
fn reports_of_unknown_nodes_are_neither_kept_nor_passed_on() {
    let mut net = Net::cluster(2, 1, 0.0);
    let gossip = swim(net.identity_of(1), net.identity_of(0), Message::Gossip, &[]);
    let unknown: Vec<Vec<u8>> = (100..120).map(|i| report(name(i))).collect();
    assert_eq!(net.inject(&content(&unknown, &gossip), 1), Ok(()));
    let now = net.now;
    let membership = &mut net.node(0).membership;
    membership.set_state(NodeState::Draining, now + millis(20));
    membership.handle_timeout(now + millis(20));
    let mut sent = 0;
    while let Some((_, content)) = membership.poll_transmit() {
        let reports = envelope::parse(&content).expect("well-formed").reports;
        let known = [name(0), name(1)];
        assert!(reports.iter().all(|report| known.contains(&report.node)));
        sent += 1;
    }
    assert!(sent > 0);
}

#[test]
fn invented_members_fill_no_memory_and_do_not_displace_expected_ones() {
    const BATCH: usize = 32;
    let mut net = Net::cluster(3, 1, 0.0);
    let mut result = Ok(());
    for start in (1000..1000 + 2 * MAX_MEMBERS).step_by(BATCH) {
        let unknown: Vec<Identity> = (start..start + BATCH).map(|i| identity(name(i), i)).collect();
        let from = &unknown[0];
        let gossip = swim(from.clone(), net.identity_of(0), Message::Gossip, &unknown[1..]);
        result = net.inject(&content(&[], &gossip), start);
    }
    assert_eq!(result, Err(Rejection::Full));
    let unknown = [identity(name(50_000), 50_000)];
    let gossip = swim(net.identity_of(1), net.identity_of(0), Message::Gossip, &unknown);
    assert_eq!(net.inject(&content(&[], &gossip), 1), Ok(()));
    assert_eq!(net.view(0, 50_000), None);
    assert!(net.nodes[&0].membership.members().len() < MAX_MEMBERS + BATCH + 3);
    // An expected peer that restarts is still admitted.
    net.crash(2);
    net.start(2, peers(0..3));
    let seen = net.run_until(Duration::from_secs(2), |net| {
        net.view(0, 2)
            .is_some_and(|m| (m.liveness, m.state) == (Liveness::Alive, NodeState::Starting))
    });
    assert!(seen.is_some());
}

#[test]
fn a_forged_report_about_us_is_outbid() {
    let started = Net::cluster(3, 1, 0.0).identity_of(1).epoch.started;
    for (started, version) in forged_numbers(started) {
        for loss in [0.0, 0.05] {
            let mut net = Net::cluster(3, 1, loss);
            net.forge(started, version);
            let healed = net.run_until(Duration::from_secs(10), Net::all_see_all_as_they_report);
            assert!(healed.is_some(), "{started} {version}");
            net.run_for(Duration::from_secs(1));
            assert!(net.all_see_all_as_they_report(), "{started} {version}");
            // It is also believed what it reports next.
            net.set_state(1, NodeState::Draining);
            net.run_for(Duration::from_secs(1));
            assert!(
                net.all_see(1, |member| member.state == NodeState::Draining),
                "{started} {version}"
            );
            assert!(net.all_see_all_as_they_report(), "{started} {version}");
        }
    }
}

#[test]
fn a_forged_report_is_forgotten_after_a_restart_of_the_victim() {
    let started = Net::cluster(3, 1, 0.0).identity_of(1).epoch.started;
    for (started, version) in forged_numbers(started) {
        let mut net = Net::cluster(3, 1, 0.0);
        // While the victim is away, nobody contradicts.
        net.crash(1);
        net.run_for(Duration::from_secs(1));
        net.forge(started, version);
        net.run_for(Duration::from_secs(5));
        net.start(1, peers(0..3));
        net.set_state(1, NodeState::Ready);
        let healed = net.run_until(Duration::from_secs(10), Net::all_see_all_as_they_report);
        assert!(healed.is_some(), "{started} {version}");
        assert!(
            net.all_see(1, |member| member.state == NodeState::Ready),
            "{started} {version}"
        );
    }
}

#[test]
fn a_forged_report_survives_no_rolling_restart() {
    let started = Net::cluster(3, 1, 0.0).identity_of(1).epoch.started;
    for (started, version) in forged_numbers(started) {
        let mut net = Net::cluster(3, 1, 0.0);
        net.forge(started, version);
        for index in [0, 2, 1] {
            net.crash(index);
            net.run_for(Duration::from_secs(1));
            net.start(index, peers(0..3));
            net.set_state(index, NodeState::Ready);
            net.run_for(Duration::from_secs(10));
            assert!(net.all_see_all_as_they_report(), "{started} {version}");
        }
        assert!(
            net.all_see_all(|member| member.state == NodeState::Ready),
            "{started} {version}"
        );
    }
}

#[test]
fn a_member_that_reports_nothing_wrong_is_never_outbid() {
    let mut net = Net::cluster(3, 1, 0.05);
    net.set_state(0, NodeState::Draining);
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.count_events(|event| *event == MembershipEvent::Superseded), 0);
    let versions = net.nodes.values().map(|node| node.membership.version());
    // Starting, ready; draining.
    assert_eq!(versions.collect::<Vec<u32>>(), [2, 1, 1]);
}

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

impl Net {
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

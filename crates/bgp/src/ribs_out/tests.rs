//! Peers that share routes, differ, and come together again.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use herald_core::Prefix;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::{Asn, BgpIdentifier, BgpMessage, HoldTime, MAX_LENGTH, NextHop, UpdateFormat, frame};

const FORMAT: UpdateFormat = UpdateFormat {
    four_octet_as: true,
    max_length: MAX_LENGTH,
    internal: false,
};

fn negotiated() -> Negotiated {
    Negotiated {
        local_asn: Asn(65_001),
        peer_asn: Asn(65_000),
        peer_identifier: BgpIdentifier::new([192, 0, 2, 1].into()).expect("not zero"),
        hold_time: HoldTime::NONE,
        keepalive: None,
        families: std::vec![Family::V4],
        format: FORMAT,
        extended_next_hop: false,
        enhanced_refresh: true,
        graceful_restart: false,
        notification_restart: false,
    }
}

fn next_hops() -> NextHops {
    NextHops {
        v4: Some(NextHop::V4([192, 0, 2, 254].into())),
        v6: None,
    }
}

fn name(peer: u8) -> Arc<str> {
    std::format!("router-{peer}").into()
}

fn change(peer: u8, n: u16, med: Option<u32>) -> RouteChange {
    let [high, low] = n.to_be_bytes();
    RouteChange {
        peer: name(peer),
        prefix: Prefix {
            address: [198, 51, high, low].into(),
            length: 32,
        },
        attributes: med.map(|med| RouteAttributes {
            med: Some(med),
            ..RouteAttributes::default()
        }),
    }
}

/// Routes by prefix, with their MED.
type Table = BTreeMap<Prefix, u32>;

/// The routes of peers, what they are to be, and routers that keep what they are sent.
#[derive(Default)]
struct Peers {
    ribs: RibsOut,
    now: Time,
    wanted: BTreeMap<u8, Table>,
    routers: BTreeMap<u8, Table>,
}

impl Peers {
    /// Returns peers that are known, and have sessions.
    fn with_sessions(count: u8) -> Self {
        let mut peers = Self::default();
        (0..count).for_each(|peer| peers.ribs.add_peer(&name(peer)));
        (0..count).for_each(|peer| peers.start(peer));
        peers
    }

    fn start(&mut self, peer: u8) {
        self.ribs.start_session(&name(peer), &negotiated(), next_hops());
        self.routers.insert(peer, Table::new());
    }

    fn end(&mut self, peer: u8) {
        self.ribs.end_session(&name(peer));
        self.routers.remove(&peer);
    }

    fn set(&mut self, peer: u8, n: u16, med: Option<u32>) {
        let change = change(peer, n, med);
        let wanted = self.wanted.entry(peer).or_default();
        match med {
            Some(med) => wanted.insert(change.prefix, med),
            None => wanted.remove(&change.prefix),
        };
        self.ribs.set_route(change, self.now);
    }

    /// Lets the time pass for which peers may differ.
    fn wait(&mut self) {
        self.now = self.now + DIFFERENCE_LASTS;
        self.ribs.handle_timeout(self.now);
        assert_eq!(self.ribs.poll_timeout(), None);
    }

    /// Sends one piece to a peer, and returns it.
    fn poll(&mut self, peer: u8) -> Option<Arc<[u8]>> {
        let messages = self.ribs.poll_messages(&name(peer))?;
        self.take(peer, &messages);
        Some(messages)
    }

    fn take(&mut self, peer: u8, mut bytes: &[u8]) {
        let router = self.routers.get_mut(&peer).expect("only peers with a session");
        while let Some(raw) = frame(bytes, MAX_LENGTH).expect("valid") {
            bytes = &bytes[raw.length()..];
            let Ok(BgpMessage::Update(update)) = BgpMessage::parse(raw, &FORMAT) else {
                continue;
            };
            for nlri in &update.withdrawn {
                router.remove(&nlri.prefix());
            }
            let med = update.attributes.and_then(|attributes| attributes.med);
            for nlri in update.reachable.iter().flat_map(|reachable| &reachable.nlri) {
                router.insert(nlri.prefix(), med.expect("routes have a MED"));
            }
        }
    }

    fn drain(&mut self, peer: u8) -> usize {
        core::iter::from_fn(|| self.poll(peer)).count()
    }

    /// Lets all peers read everything, and checks that each has its routes.
    fn settle(&mut self) {
        self.wait();
        let peers: Vec<u8> = self.routers.keys().copied().collect();
        // Those that read first may wait for others to be at the same place.
        for _ in 0..2 {
            for peer in &peers {
                self.drain(*peer);
            }
        }
        for peer in peers {
            let wanted = self.wanted.get(&peer).cloned().unwrap_or_default();
            assert_eq!(self.routers[&peer], wanted, "{peer}");
            assert_eq!(self.ribs.announced(&name(peer)), wanted.len());
            assert_eq!(self.ribs.sendable(&name(peer)), wanted.len());
        }
    }
}

#[test]
fn peers_with_the_same_routes_are_sent_the_same_bytes() {
    let mut peers = Peers::with_sessions(3);
    for n in 0..50 {
        for peer in 0..3 {
            peers.set(peer, n, Some(100));
        }
    }
    assert_eq!(peers.ribs.poll_timeout(), None, "they agree already");
    assert_eq!(peers.ribs.ribs.len(), 1);
    let sent: Vec<_> = (0..3).map(|peer| peers.poll(peer).expect("routes")).collect();
    assert!(sent.iter().all(|bytes| Arc::ptr_eq(bytes, &sent[0])));
    peers.settle();
}

#[test]
fn a_change_of_all_peers_waits_for_the_last_of_them_and_not_for_a_timer() {
    let mut peers = Peers::with_sessions(3);
    peers.settle();
    peers.set(0, 1, Some(100));
    peers.set(1, 1, Some(100));
    assert_eq!(peers.drain(0), 0, "the third may have it as well");
    peers.set(2, 1, Some(100));
    assert_eq!(peers.drain(0), 1);
    // What is taken back before all have it leaves nothing behind.
    peers.set(0, 2, Some(100));
    peers.set(0, 2, None);
    peers.settle();
    assert_eq!(peers.ribs.ribs.len(), 1);
}

#[test]
fn peers_that_differ_are_split_and_come_together_when_they_are_the_same_again() {
    let mut peers = Peers::with_sessions(4);
    for n in 0..20 {
        (0..4).for_each(|peer| peers.set(peer, n, Some(100)));
    }
    peers.settle();
    // Two alike, one alone, and one without a change.
    peers.set(0, 7, None);
    peers.set(1, 7, None);
    peers.set(2, 30, Some(50));
    peers.settle();
    assert_eq!(peers.ribs.ribs.len(), 3);
    (2..4).for_each(|peer| peers.set(peer, 7, None));
    peers.settle();
    assert_eq!(peers.ribs.ribs.len(), 2);
    peers.set(2, 30, None);
    peers.settle();
    assert_eq!(peers.ribs.ribs.len(), 1);
    // They share again from now on.
    (0..4).for_each(|peer| peers.set(peer, 40, Some(1)));
    let sent: Vec<_> = (0..4).map(|peer| peers.poll(peer).expect("a route")).collect();
    assert!(sent.iter().all(|bytes| Arc::ptr_eq(bytes, &sent[0])));
}

#[test]
fn routes_of_a_peer_that_is_not_known_yet_or_has_no_session_are_kept() {
    let mut peers = Peers::default();
    peers.set(0, 1, Some(100));
    peers.set(0, 2, Some(100));
    peers.set(0, 2, None);
    peers.ribs.add_peer(&name(0));
    peers.start(0);
    peers.settle();
    peers.end(0);
    peers.ribs.forget(&name(0));
    assert_eq!(peers.ribs.sendable(&name(0)), 1, "it is to have a route");
    peers.set(0, 1, None);
    peers.ribs.forget(&name(0));
    assert!(peers.ribs.ribs.is_empty() && peers.ribs.places.is_empty());
}

#[test]
fn a_peer_that_is_forgotten_does_not_hold_up_the_others() {
    let mut peers = Peers::with_sessions(3);
    peers.set(0, 1, Some(100));
    peers.set(1, 1, Some(100));
    peers.end(2);
    peers.ribs.forget(&name(2));
    peers.set(0, 1, Some(50));
    peers.set(1, 1, Some(50));
    peers.settle();
}

#[test]
fn peers_that_shared_their_routes_are_forgotten_when_they_have_none_any_more() {
    let mut peers = Peers::with_sessions(3);
    for n in 0..4 {
        (0..3).for_each(|peer| peers.set(peer, n, Some(100)));
    }
    peers.settle();
    // As the shell does: the peer first, then its routes.
    for peer in [1, 2] {
        peers.end(peer);
        peers.ribs.forget(&name(peer));
    }
    for n in 0..4 {
        peers.set(1, n, None);
        peers.set(2, n, None);
    }
    peers.settle();
    assert_eq!(peers.ribs.places.keys().cloned().collect::<Vec<_>>(), [name(0)]);
    assert_eq!(peers.ribs.ribs.len(), 1);
    // The last two leave together: no timer splits what they agree on.
    peers.ribs.add_peer(&name(1));
    peers.start(1);
    (0..4).for_each(|n| peers.set(1, n, Some(100)));
    peers.settle();
    for peer in [0, 1] {
        peers.end(peer);
        peers.ribs.forget(&name(peer));
    }
    for n in 0..4 {
        peers.set(0, n, None);
        peers.set(1, n, None);
    }
    assert!(peers.ribs.ribs.is_empty() && peers.ribs.places.is_empty() && peers.ribs.leaving.is_empty());
}

#[test]
fn a_peer_that_comes_back_before_its_routes_are_gone_is_kept() {
    let mut peers = Peers::with_sessions(2);
    (0..2).for_each(|peer| peers.set(peer, 1, Some(100)));
    peers.settle();
    peers.end(1);
    peers.ribs.forget(&name(1));
    peers.ribs.add_peer(&name(1));
    peers.start(1);
    peers.set(1, 1, None);
    peers.settle();
    assert!(peers.ribs.places.contains_key(&name(1)));
}

/// Returns whether these are an End-of-RIB alone.
fn is_end_of_rib(bytes: &[u8]) -> bool {
    let raw = frame(bytes, MAX_LENGTH).expect("valid").expect("whole");
    let message = BgpMessage::parse(raw, &FORMAT).expect("valid");
    matches!(message, BgpMessage::Update(update) if update.end_of_rib.is_some())
}

#[test]
fn a_new_session_has_its_end_of_rib_after_all_routes_of_the_decision() {
    let mut peers = Peers::with_sessions(1);
    peers.ribs.begin_decision();
    assert_eq!(peers.poll(0), None, "its routes are still to come");
    assert!(peers.ribs.has_pending(&name(0)));
    peers.set(0, 1, Some(100));
    assert!(!is_end_of_rib(&peers.poll(0).expect("a route")));
    assert_eq!(peers.poll(0), None, "there may be more of them");
    peers.set(0, 2, Some(100));
    peers.ribs.end_decision();
    let sent = [(); 2].map(|()| is_end_of_rib(&peers.poll(0).expect("a message")));
    assert_eq!(sent, [false, true]);
    assert!(!peers.ribs.has_pending(&name(0)));
    // A later decision is sent as it arrives.
    peers.ribs.begin_decision();
    peers.set(0, 3, Some(100));
    assert_eq!(peers.drain(0), 1);
    peers.ribs.end_decision();
    peers.settle();
}

#[test]
fn a_new_session_has_its_end_of_rib_after_routes_that_wait_for_other_peers() {
    let mut peers = Peers::with_sessions(2);
    peers.set(0, 1, Some(100));
    for peer in 0..2 {
        assert_eq!(
            peers.poll(peer),
            None,
            "the route of the first waits for the second"
        );
        assert!(peers.ribs.has_pending(&name(peer)));
    }
    peers.wait();
    let sent = [(); 2].map(|()| is_end_of_rib(&peers.poll(0).expect("a message")));
    assert_eq!(sent, [false, true]);
    assert!(is_end_of_rib(&peers.poll(1).expect("a message")));
    peers.settle();
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u16, Option<u32>),
    SetAll(u16, Option<u32>),
    Start(u8),
    End(u8),
    Forget(u8),
    Poll(u8),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..4_u8;
    let med = || prop::option::weighted(0.7, 0..3_u32);
    prop_oneof![
        8 => (peer(), 0..6_u16, med()).prop_map(|(peer, n, med)| Step::Set(peer, n, med)),
        8 => (0..6_u16, med()).prop_map(|(n, med)| Step::SetAll(n, med)),
        2 => peer().prop_map(Step::Start),
        1 => peer().prop_map(Step::End),
        1 => peer().prop_map(Step::Forget),
        8 => peer().prop_map(Step::Poll),
        4 => Just(Step::Wait),
    ]
}

proptest! {
    /// Whatever changes for whom and in whatever order: each peer that reads everything has its routes, and when all have read
    /// everything, those with the same routes share them.
    #[test]
    fn each_peer_has_its_routes_and_shares_those_that_are_the_same(steps in vec(step(), 0..200)) {
        let mut peers = Peers::default();
        for step in steps {
            match step {
                Step::Set(peer, n, med) => peers.set(peer, n, med),
                Step::SetAll(n, med) => (0..4).for_each(|peer| peers.set(peer, n, med)),
                Step::Start(peer) => peers.start(peer),
                Step::End(peer) => peers.end(peer),
                Step::Forget(peer) if !peers.routers.contains_key(&peer) => {
                    peers.ribs.forget(&name(peer));
                }
                Step::Forget(_) => {}
                Step::Poll(peer) => {
                    peers.poll(peer);
                }
                Step::Wait => peers.wait(),
            }
        }
        (0..4).for_each(|peer| peers.ribs.add_peer(&name(peer)));
        let without: Vec<u8> = (0..4).filter(|peer| !peers.routers.contains_key(peer)).collect();
        without.into_iter().for_each(|peer| peers.start(peer));
        peers.settle();
        let mut kinds: BTreeSet<Table> = peers.wanted.values().cloned().collect();
        if peers.wanted.len() < 4 {
            kinds.insert(Table::new());
        }
        prop_assert_eq!(peers.ribs.ribs.len(), kinds.len());
        let places: BTreeSet<u64> = peers.ribs.places.values().copied().collect();
        prop_assert_eq!(places.len(), peers.ribs.ribs.len());
        let members: usize = peers.ribs.ribs.values().map(|shared| shared.peers.len()).sum();
        prop_assert_eq!(members, 4);
    }
}

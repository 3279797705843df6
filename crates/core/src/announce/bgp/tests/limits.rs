//! What a session cannot have is in no status and in no count, and has a reason.

use super::*;

const FOUR: &str = "10.20.30.1";
const SIX: &str = "fc00:1::33";

/// Two dual-stack peers, and a Service of both families.
fn speaker() -> Speaker {
    let dual = |name: &str, address: &str| RawBgpPeer {
        dual_stack: Some(true),
        ..peer(name, address)
    };
    let mut speaker = Speaker::new(
        &[("both", &["10.20.30.0/24", "fc00:1::/120"])],
        &[advertisement("adv")],
        &[dual("peer1", "1.2.3.4"), dual("peer2", "1.2.3.5")],
    );
    speaker.change(|facts| facts.set_endpoints(key("test1"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test1", &[FOUR, SIX])));
    speaker
}

fn no_ipv6(limit: FamilyLimit) -> SessionLimits {
    SessionLimits {
        v6: Some(limit),
        ..SessionLimits::default()
    }
}

fn too_long(address: &str, length: u8) -> SessionLimits {
    let prefix = Prefix::of(address.parse().expect("an address"), length);
    SessionLimits {
        too_long: [prefix].into(),
        ..SessionLimits::default()
    }
}

impl Speaker {
    fn limit(&mut self, peer: &str, limits: SessionLimits) {
        self.routes.set_limits(&self.facts, &peer.into(), limits);
        assert_eq!(self.routes.poll_change(), None, "the routes stay as they are");
    }
}

#[test]
fn an_address_that_no_session_can_have_is_not_announced() {
    let mut speaker = speaker();
    assert_eq!(
        speaker.statuses(),
        ["test1: 10.20.30.1 fc00:1::33 by peer1 peer2"]
    );
    speaker.limit("peer1", no_ipv6(FamilyLimit::NotNegotiated));
    assert_eq!(speaker.statuses(), [""; 0], "the other peer has it");
    speaker.limit("peer2", no_ipv6(FamilyLimit::NoNextHop));
    assert_eq!(speaker.statuses(), ["test1: 10.20.30.1 by peer1 peer2"]);
    let counts = PrefixCounts {
        sendable: 1,
        unsendable: 1,
        reason: Some(PeerExclusion::NoNextHop(Family::V6)),
    };
    assert_eq!(speaker.routes.prefix_counts("peer2"), counts);
    speaker.limit("peer2", too_long(FOUR, 32));
    assert_eq!(
        speaker.statuses(),
        ["test1: 10.20.30.1 fc00:1::33 by peer1 peer2"]
    );
    speaker.limit("peer1", too_long(FOUR, 32));
    assert_eq!(speaker.statuses(), ["test1: fc00:1::33 by peer1 peer2"]);
    speaker.limit("peer1", SessionLimits::default());
    assert_eq!(
        speaker.statuses(),
        ["test1: 10.20.30.1 fc00:1::33 by peer1 peer2"]
    );
}

#[test]
fn a_peer_that_can_have_no_address_of_a_service_is_not_in_its_status() {
    let mut speaker = speaker();
    speaker.change(|facts| facts.set_service(service("test1", &[SIX])));
    assert_eq!(speaker.statuses(), ["test1: fc00:1::33 by peer1 peer2"]);
    speaker.limit("peer1", no_ipv6(FamilyLimit::NotNegotiated));
    assert_eq!(speaker.statuses(), ["test1: fc00:1::33 by peer2"]);
    let address = SIX.parse().expect("an address");
    let explained = speaker.routes.explain(&speaker.facts, &key("test1"), address);
    let explained = explained.expect("a peer has it");
    assert_eq!(
        explained["peer1"],
        Err(PeerExclusion::FamilyNotNegotiated(Family::V6))
    );
    assert_eq!(speaker.reasons_of_nodes("test1"), Some(String::new()));
    speaker.limit("peer2", too_long(SIX, 128));
    assert_eq!(speaker.statuses(), ["test1: nothing"]);
    let reasons = speaker
        .routes
        .reasons_with_limits(&speaker.facts, &key("test1"), address);
    assert_eq!(reasons, Some(["RouteTooLong".into()].into()));
    assert_eq!(
        speaker.reasons_of_nodes("test1"),
        Some(String::new()),
        "nothing else keeps it"
    );
    // The routes are there for the next session.
    assert_eq!(speaker.at("peer1"), ["fc00:1::33/128"]);
}

#[test]
fn limits_end_with_the_session() {
    let mut speaker = speaker();
    let peers = speaker.peers.clone();
    while speaker.routes.poll_peer().is_some() {}
    speaker.statuses();
    for peer in ["peer1", "peer2"] {
        speaker.limit(peer, too_long(FOUR, 32));
    }
    assert_eq!(speaker.statuses(), ["test1: fc00:1::33 by peer1 peer2"]);
    let mut without_peer2_for_a_moment = |is_ended: bool| {
        speaker.peers.pop();
        speaker.configure();
        if is_ended {
            while speaker.routes.poll_peer().is_some() {}
        }
        speaker.peers = peers.clone();
        speaker.configure();
        speaker.statuses()
    };
    assert_eq!(without_peer2_for_a_moment(false), [""; 0], "its session goes on");
    assert_eq!(
        without_peer2_for_a_moment(true),
        ["test1: 10.20.30.1 fc00:1::33 by peer1 peer2"],
        "the peer that came back has no limits"
    );
    speaker.limit("unknown", too_long(FOUR, 32));
}

/// The session reports what the peer negotiated, once, whatever the peer is to have.
#[test]
fn limits_of_a_family_count_from_when_the_peer_is_to_have_it() {
    let mut speaker = speaker();
    let dual = speaker.peers.clone();
    speaker.peers = vec![peer("peer1", "1.2.3.4")];
    speaker.configure();
    assert_eq!(speaker.statuses(), ["test1: 10.20.30.1 by peer1"]);
    let limits = no_ipv6(FamilyLimit::NotNegotiated);
    let concerned = speaker.routes.set_limits(&speaker.facts, &"peer1".into(), limits);
    assert_eq!(concerned, [], "it is not to have IPv6 routes");
    assert_eq!(speaker.routes.prefix_counts("peer1").unsendable, 0);
    speaker.peers = vec![dual[0].clone()];
    speaker.configure();
    assert_eq!(speaker.statuses(), [""; 0], "as before");
    speaker.at("peer1");
    let counts = PrefixCounts {
        sendable: 1,
        unsendable: 1,
        reason: Some(PeerExclusion::FamilyNotNegotiated(Family::V6)),
    };
    assert_eq!(speaker.routes.prefix_counts("peer1"), counts);
}

#[test]
fn a_wider_prefix_that_no_message_has_room_for_concerns_all_services_behind_it() {
    let mut speaker = speaker();
    speaker.advertisements = vec![RawBgpAdvertisement {
        aggregation_length: Some(24),
        ..advertisement("adv")
    }];
    speaker.configure();
    speaker.change(|facts| facts.set_endpoints(key("test2"), ready(&["iris"])));
    speaker.change(|facts| facts.set_service(service("test2", &["10.20.30.2"])));
    speaker.statuses();
    for peer in ["peer1", "peer2"] {
        speaker.limit(peer, too_long(FOUR, 24));
    }
    assert_eq!(
        speaker.statuses(),
        ["test1: fc00:1::33 by peer1 peer2", "test2: nothing"]
    );
}

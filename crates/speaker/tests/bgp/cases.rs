//! What holds with each router.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use herald_bgp::session::SessionEnd;
use herald_bgp::wire::notification::{CeaseSubcode, ErrorCode, OpenSubcode};
use herald_bgp::wire::{BgpIdentifier, HoldTime};
use herald_netns::blocking::{Host, Segment, block_on};
use herald_routers::{Kind, Neighbour, Router, Routes, Seen, wait_for};
use rtnetlink::LinkVrf;

use crate::bad_peer::BadPeer;
use crate::node::{Node, attributes, host_route, settings};

/// A test and its name.
pub(crate) type Case = (&'static str, fn(Kind));

/// The tests of all routers.
const ALL: &[Case] = &[
    ("routes_come_change_and_go_by_ebgp_over_ipv4", |kind| {
        routes(kind, false, false)
    }),
    ("routes_come_change_and_go_by_ebgp_over_ipv6", |kind| {
        routes(kind, false, true)
    }),
    ("routes_come_change_and_go_by_ibgp_over_ipv4", |kind| {
        routes(kind, true, false)
    }),
    ("routes_come_change_and_go_by_ibgp_over_ipv6", |kind| {
        routes(kind, true, true)
    }),
    (
        "only_the_right_password_connects",
        only_the_right_password_connects,
    ),
    (
        "a_change_resets_the_session_only_where_it_has_to",
        a_change_resets_the_session_only_where_it_has_to,
    ),
    (
        "a_router_that_comes_back_has_all_routes",
        a_router_that_comes_back_has_all_routes,
    ),
    ("a_wrong_as_number_is_named", a_wrong_as_number_is_named),
    (
        "a_large_table_comes_and_goes_whole",
        a_large_table_comes_and_goes_whole,
    ),
    (
        "bad_peers_cost_the_router_nothing",
        bad_peers_cost_the_router_nothing,
    ),
    (
        "while_a_session_stands_nothing_listens_on_the_node",
        while_a_session_stands_nothing_listens_on_the_node,
    ),
    (
        "a_node_without_ipv4_has_a_session_by_the_hash_of_its_name",
        a_node_without_ipv4_has_a_session_by_the_hash_of_its_name,
    ),
    (
        "a_session_leaves_by_the_device_that_it_is_bound_to",
        a_session_leaves_by_the_device_that_it_is_bound_to,
    ),
];

/// The tests of a router.
pub(crate) fn of(kind: Kind) -> impl Iterator<Item = &'static Case> {
    let unnumbered: &[Case] = match kind {
        Kind::Frr => &[("an_unnumbered_peer_is_found_on_its_link", |_| {
            an_unnumbered_peer_is_found_on_its_link()
        })],
        // BIRD and GoBGP find no neighbours by router advertisements.
        Kind::Bird | Kind::GoBgp => &[],
    };
    ALL.iter().chain(unnumbered)
}

const VRF: &str = "vrf0";
/// The identifier of a node without an address of IPv4 whose name is `123456789`.
const HASH: [u8; 4] = [38, 57, 244, 203];
const OWN_ASN: u32 = 65_001;
const ROUTER: ([u8; 6], &str, &str) = ([2, 0, 0, 0, 0, 1], "10.0.0.1", "fd00::1");
const NODE: ([u8; 6], &str, &str) = ([2, 0, 0, 0, 0, 2], "10.0.0.2", "fd00::2");

fn neighbour(is_internal: bool, over_ipv6: bool) -> Neighbour {
    let address = |(_, v4, v6): (_, &str, &str)| -> IpAddr {
        let text = if over_ipv6 { v6 } else { v4 };
        text.parse().expect("an address")
    };
    Neighbour {
        router_asn: if is_internal { OWN_ASN } else { 65_000 },
        router: address(ROUTER),
        asn: OWN_ASN,
        address: address(NODE),
        password: None,
        interface: None,
    }
}

/// Returns a router and a node on one segment.
fn pair(kind: Kind, neighbour: &Neighbour) -> (Router<Host>, Node, Segment) {
    let (router, node, segment) = hosts();
    let router = Router::start(kind, router, &[*neighbour]);
    (router, Node::start(node), segment)
}

/// Returns the host of a router and that of a node, on one segment.
fn hosts() -> (Host, Host, Segment) {
    let segment = Segment::new();
    let host = |(mac, v4, v6): ([u8; 6], &str, &str)| {
        let host = segment.host(mac, &[&format!("{v4}/24"), &format!("{v6}/64")]);
        host.set_up("lo", true);
        host
    };
    (host(ROUTER), host(NODE), segment)
}

/// The route to an address as the router is to show it.
fn seen(neighbour: &Neighbour, address: IpAddr, med: u64, local_pref: u64) -> Vec<Seen> {
    let is_internal = neighbour.router_asn == neighbour.asn;
    let (_, v4, v6) = NODE;
    vec![Seen {
        next_hop: if address.is_ipv4() { v4 } else { v6 }.to_owned(),
        as_path: if is_internal {
            String::new()
        } else {
            OWN_ASN.to_string()
        },
        med: Some(med),
        local_pref: is_internal.then_some(local_pref),
        communities: "65001:7".to_owned(),
    }]
}

/// Adds a VRF to a host.
pub(crate) fn add_vrf(host: &Host) -> anyhow::Result<()> {
    block_on(host.links().add(LinkVrf::new(VRF, 10).up().build()))
}

pub(crate) fn a_session_in_a_vrf_leaves_by_its_routes(kind: Kind) {
    let (router, node, _segment) = hosts();
    add_vrf(&node).expect("a VRF");
    node.set_controller("eth0", VRF);
    let neighbour = neighbour(false, false);
    let router = Router::start(kind, router, &[neighbour]);
    by_device(&neighbour, &router, Node::start(node), VRF);
}

fn a_session_leaves_by_the_device_that_it_is_bound_to(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (router, node, _segment) = pair(kind, &neighbour);
    by_device(&neighbour, &router, node, "eth0");
}

/// A device that the node lacks is named; with one that it has the route comes.
fn by_device(neighbour: &Neighbour, router: &Router<Host>, mut node: Node, device: &str) {
    let bound = |device: &str| {
        let mut settings = settings(neighbour);
        settings.dial.device = Some(device.to_owned());
        settings
    };
    let four: IpAddr = "198.51.100.1".parse().expect("an address");
    node.set_routes([(host_route(four), Some(attributes(100, None)))]);
    node.set_peer(bound("missing"));
    let (_, cause) = node.wait_for_end();
    assert_eq!(cause.as_deref(), Some("this node has no interface missing"));
    node.set_peer(bound(device));
    node.wait_for_session();
    let expected = Routes::from([(format!("{four}/32"), seen(neighbour, four, 100, 100))]);
    router.wait_for_routes(&expected);
}

fn routes(kind: Kind, is_internal: bool, over_ipv6: bool) {
    let neighbour = neighbour(is_internal, over_ipv6);
    let (router, mut node, _segment) = pair(kind, &neighbour);
    let four: IpAddr = "198.51.100.1".parse().expect("an address");
    let other: IpAddr = "198.51.100.2".parse().expect("an address");
    let six: IpAddr = "2001:db8::1".parse().expect("an address");
    let text = |address: IpAddr| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        format!("{address}/{length}")
    };
    node.set_peer(settings(&neighbour));
    node.set_routes([
        (host_route(four), Some(attributes(100, None))),
        (host_route(other), Some(attributes(100, None))),
        (host_route(six), Some(attributes(100, Some(200)))),
    ]);
    node.wait_for_session();
    let mut expected = Routes::from([
        (text(four), seen(&neighbour, four, 100, 100)),
        (text(other), seen(&neighbour, other, 100, 100)),
        (text(six), seen(&neighbour, six, 100, 200)),
    ]);
    router.wait_for_routes(&expected);
    // One goes, one changes, and the third stays as it is.
    node.set_routes([
        (host_route(four), None),
        (host_route(six), Some(attributes(50, Some(200)))),
    ]);
    expected.remove(&text(four));
    expected.insert(text(six), seen(&neighbour, six, 50, 200));
    router.wait_for_routes(&expected);
    assert!(node.poll_report().is_none(), "the session stands");
    node.remove_peer();
    router.wait_for_routes(&Routes::new());
    let (end, _) = node.wait_for_end();
    assert!(
        matches!(end, SessionEnd::Stopped(CeaseSubcode::AdministrativeShutdown, _)),
        "{end:?}"
    );
}

/// The router has no address of this node in its configuration, and this node none of the router.
fn an_unnumbered_peer_is_found_on_its_link() {
    let link_local = |(mac, _, _): ([u8; 6], &str, &str)| -> IpAddr {
        let [first, .., last] = mac;
        format!("fe80::{:x}:ff:fe00:{last:x}", u16::from(first ^ 2) << 8)
            .parse()
            .expect("an address")
    };
    let neighbour = Neighbour {
        router: IpAddr::from([0_u16; 8]),
        interface: Some("eth0"),
        ..neighbour(false, true)
    };
    let (mut router, mut node, _segment) = pair(Kind::Frr, &neighbour);
    node.set_peer(settings(&neighbour));
    let addresses: [IpAddr; 2] =
        ["198.51.100.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
    node.set_routes(addresses.map(|address| (host_route(address), Some(attributes(100, None)))));
    node.wait_for_session();
    let expected = addresses.map(|address| {
        let prefix = host_route(address);
        let mut seen = seen(&neighbour, address, 100, 100);
        seen[0].next_hop = link_local(NODE).to_string();
        (format!("{}/{}", prefix.address, prefix.length), seen)
    });
    router.wait_for_routes(&Routes::from(expected.clone()));
    // The router is away, and comes back with the same address.
    router.kill();
    node.wait_for_end();
    router.run();
    node.wait_for_session();
    router.wait_for_routes(&Routes::from(expected));
}

fn only_the_right_password_connects(kind: Kind) {
    for over_ipv6 in [false, true] {
        let mut neighbour = neighbour(false, over_ipv6);
        neighbour.password = Some("right");
        let (router, mut node, _segment) = pair(kind, &neighbour);
        let address: IpAddr = "198.51.100.1".parse().expect("an address");
        for password in [Some("wrong"), None] {
            node.set_peer(settings(&Neighbour {
                password,
                ..neighbour
            }));
            node.set_routes([(host_route(address), Some(attributes(100, None)))]);
            // The router does not answer, so the attempt ends with its time limit. A change ends it before that.
            while node.wait_for_end().0 != SessionEnd::NotConnected {}
        }
        assert_eq!(router.try_routes(), Ok(Routes::new()));
        node.set_peer(settings(&neighbour));
        let ends = node.wait_for_session();
        let is_attempt = |end: &SessionEnd| *end == SessionEnd::NotConnected;
        assert!(ends.iter().all(is_attempt), "{ends:?}");
        let expected =
            |med| Routes::from([("198.51.100.1/32".to_owned(), seen(&neighbour, address, med, 100))]);
        router.wait_for_routes(&expected(100));
        // On the live connection: what was signed with another password is sent again with the right one.
        node.set_peer(settings(&Neighbour {
            password: Some("wrong"),
            ..neighbour
        }));
        node.set_routes([(host_route(address), Some(attributes(50, None)))]);
        node.set_peer(settings(&neighbour));
        router.wait_for_routes(&expected(50));
        assert!(node.poll_report().is_none(), "the session stands");
    }
}

fn a_change_resets_the_session_only_where_it_has_to(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (router, mut node, _segment) = pair(kind, &neighbour);
    let address: IpAddr = "198.51.100.1".parse().expect("an address");
    let mut settings = settings(&neighbour);
    node.set_peer(settings.clone());
    node.set_routes([(host_route(address), Some(attributes(100, None)))]);
    node.wait_for_session();
    settings.session.keepalive = Some(std::time::Duration::from_secs(5));
    settings.session.connect_retry = Some(std::time::Duration::from_secs(2));
    settings.session.hold_time = HoldTime::new(30).expect("long enough");
    node.set_peer(settings.clone());
    // The next change shows that the one before was done.
    node.set_routes([(host_route(address), Some(attributes(50, None)))]);
    let expected = Routes::from([("198.51.100.1/32".to_owned(), seen(&neighbour, address, 50, 100))]);
    router.wait_for_routes(&expected);
    assert!(node.poll_report().is_none(), "the session stands");
    settings.session.identifier = BgpIdentifier::new([10, 0, 0, 3].into()).expect("not zero");
    node.set_peer(settings.clone());
    assert_eq!(node.wait_for_end().0, SessionEnd::Reconfigured);
    node.wait_for_session();
    router.wait_for_routes(&expected);
    settings.dial.source = Some(neighbour.address);
    node.set_peer(settings);
    assert_eq!(node.wait_for_end().0, SessionEnd::Reconfigured);
    node.wait_for_session();
    router.wait_for_routes(&expected);
}

fn a_router_that_comes_back_has_all_routes(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (mut router, mut node, _segment) = pair(kind, &neighbour);
    let addresses = || (1..=200_u8).map(|last| IpAddr::from([198, 51, 100, last]));
    node.set_peer(settings(&neighbour));
    node.set_routes(addresses().map(|address| (host_route(address), Some(attributes(100, None)))));
    node.wait_for_session();
    let routes = addresses().map(|address| (format!("{address}/32"), seen(&neighbour, address, 100, 100)));
    let mut expected: Routes = routes.collect();
    router.wait_for_routes(&expected);
    router.kill();
    let (end, _) = node.wait_for_end();
    assert!(matches!(end, SessionEnd::ConnectionClosed(_)), "{end:?}");
    // What changes meanwhile is right afterwards.
    node.set_routes([(host_route([198, 51, 100, 7]), None)]);
    expected.remove("198.51.100.7/32");
    router.run();
    node.wait_for_session();
    router.wait_for_routes(&expected);
}

fn a_wrong_as_number_is_named(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (_router, mut node, _segment) = pair(kind, &neighbour);
    // The router has another one than expected here.
    node.set_peer(settings(&Neighbour {
        router_asn: 65_009,
        ..neighbour
    }));
    // Before the router listens, attempts end for other reasons.
    let named = SessionEnd::PeerAs(herald_core::bgp::Asn(65_000));
    let mut ends = (0..20).map(|_| node.wait_for_end().0);
    assert!(ends.any(|end| end == named), "the AS number is named");
    // The router expects another one than it is shown.
    node.set_peer(settings(&Neighbour {
        asn: 65_009,
        ..neighbour
    }));
    // While it rests after an error, a router closes connections without a word.
    let is_refusal = |end: SessionEnd| {
        let bad_as = ErrorCode::Open(OpenSubcode::BadPeerAs);
        matches!(end, SessionEnd::Received(notification) if notification.error == bad_as)
    };
    let mut ends = (0..20).map(|_| node.wait_for_end().0);
    assert!(ends.any(is_refusal), "the router refuses the AS number");
}

fn a_large_table_comes_and_goes_whole(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (router, mut node, _segment) = pair(kind, &neighbour);
    let addresses =
        || (0..10_000_u16).map(|n| IpAddr::from([198, 51, n.to_be_bytes()[0], n.to_be_bytes()[1]]));
    node.set_peer(settings(&neighbour));
    node.wait_for_session();
    // Of some attributes there are many routes, of others one.
    node.set_routes(addresses().enumerate().map(|(n, address)| {
        let med = if n % 10 == 0 { n } else { 100 };
        let med = u32::try_from(med).expect("below 10 000");
        (host_route(address), Some(attributes(med, None)))
    }));
    let wait_for_all = |expected: &BTreeSet<String>| {
        wait_for("the router has all routes", || {
            let prefixes = router.try_prefixes()?;
            let (count, expected_count) = (prefixes.len(), expected.len());
            let is_right = prefixes == *expected;
            is_right
                .then_some(())
                .ok_or_else(|| format!("it has {count}, not {expected_count}"))
        });
    };
    wait_for_all(&addresses().map(|address| format!("{address}/32")).collect());
    node.set_routes(addresses().skip(1).map(|address| (host_route(address), None)));
    wait_for_all(&BTreeSet::from(["198.51.0.0/32".to_owned()]));
    assert!(node.poll_report().is_none(), "the session stands");
}

fn bad_peers_cost_the_router_nothing(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (router, mut node, segment) = pair(kind, &neighbour);
    node.set_peer(settings(&neighbour));
    node.wait_for_session();
    let bad = segment.host([2, 0, 0, 0, 0, 9], &["10.0.0.9/24"]);
    let peers = BadPeer::ALL.map(|peer| (peer, bad.run(move || peer.listen())));
    for (peer, port) in peers {
        let mut settings = settings(&neighbour);
        settings.dial.peer = ([10, 0, 0, 9], port).into();
        settings.session.peer_asn = herald_core::bgp::ExpectedAs::External(herald_core::bgp::Asn(OWN_ASN));
        node.set_other_peer(peer.name(), settings);
        let routes = (0..=255).map(|last| (host_route([203, 0, 113, last]), Some(attributes(1, None))));
        node.set_routes_of(peer.name(), routes);
    }
    // Each of them has shown what is wrong with it, those without an end that their session is established.
    let mut open: BTreeSet<&str> = BadPeer::ALL.iter().map(|peer| peer.name()).collect();
    let mut med = 0;
    while !open.is_empty() {
        med += 1;
        let address = [198, 51, 100, 1];
        node.set_routes([(host_route(address), Some(attributes(med, None)))]);
        let expected = seen(&neighbour, address.into(), med.into(), 100);
        router.wait_for_routes(&Routes::from([("198.51.100.1/32".to_owned(), expected)]));
        while let Some((peer, event)) = node.poll_any_report() {
            let bad = BadPeer::ALL.iter().find(|bad| *bad.name() == *peer);
            let bad = bad.unwrap_or_else(|| panic!("the session with {peer} stands: {event:?}"));
            if bad.has_shown(&event) {
                open.remove(bad.name());
            }
        }
        assert!(med < 500, "{open:?} have shown nothing");
    }
}

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Another program of the node may take port 179 at any time.
fn while_a_session_stands_nothing_listens_on_the_node(kind: Kind) {
    let neighbour = neighbour(false, false);
    let (_router, mut node, _segment) = pair(kind, &neighbour);
    node.set_peer(settings(&neighbour));
    node.wait_for_session();
    let sockets = node.host().run(|| {
        for address in ["0.0.0.0:179", "[::]:179"] {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        }
        ["tcp", "tcp6"].map(|name| {
            let path = format!("/proc/thread-self/net/{name}");
            std::fs::read_to_string(path).expect("the sockets of the namespace")
        })
    });
    let states: Vec<&str> = sockets
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert!(!states.is_empty(), "the connection of the session is there");
    assert!(!states.contains(&LISTENING), "{sockets:?}");
    assert!(node.poll_report().is_none(), "the session stands");
}

fn a_node_without_ipv4_has_a_session_by_the_hash_of_its_name(kind: Kind) {
    let (router, _, segment) = hosts();
    let node = segment.host([2, 0, 0, 0, 0, 3], &["fd00::3/64"]);
    node.set_up("lo", true);
    let address: IpAddr = "fd00::3".parse().expect("an address");
    let neighbour = Neighbour {
        address,
        ..neighbour(false, true)
    };
    let router = Router::start(kind, router, &[neighbour]);
    let mut node = Node::start(node);
    let mut settings = settings(&neighbour);
    settings.session.identifier = BgpIdentifier::new(HASH.into()).expect("not zero");
    node.set_peer(settings);
    let four: IpAddr = "198.51.100.1".parse().expect("an address");
    let six: IpAddr = "2001:db8::1".parse().expect("an address");
    node.set_routes([four, six].map(|address| (host_route(address), Some(attributes(100, None)))));
    node.wait_for_session();
    let mut seen = seen(&neighbour, six, 100, 100);
    seen[0].next_hop = address.to_string();
    // Without an address of IPv4 there is no next hop for such routes.
    router.wait_for_routes(&Routes::from([(format!("{six}/128"), seen)]));
    let sessions = router.try_sessions().expect("the sessions");
    let session = sessions.get(&address).expect("that of the node");
    assert_eq!(session.identifier, Ipv4Addr::from(HASH).to_string());
}

//! Peers of one node.

use super::*;

/// The names of the peers that run on a node, and of those set aside.
fn on_node(catalog: &BgpCatalog, labels: &Labels) -> (Vec<String>, Vec<String>) {
    assert_eq!(problems(catalog), [""; 0]);
    let peers = catalog.node_peers(labels);
    let running = peers.running.iter().map(|peer| peer.name.clone());
    let duplicates = peers.duplicates.iter();
    let duplicates = duplicates.map(|(peer, older)| format!("{} for {}", peer.name, older.name));
    (running.collect(), duplicates.collect())
}

fn peers(changes: &[fn(&mut RawBgpPeer)]) -> BgpCatalog {
    let peers = changes.iter().enumerate().map(|(place, change)| {
        let mut raw = peer();
        raw.name = format!("peer{place}");
        raw.address = Some(format!("1.2.3.{place}"));
        change(&mut raw);
        BgpChange::ApplyPeer(raw)
    });
    catalog(peers)
}

fn on(nodes: &[&str]) -> Vec<RawSelector> {
    let nodes = nodes.iter();
    nodes
        .map(|node| selector("kubernetes.io/hostname", node))
        .collect()
}

#[test]
fn the_peers_of_a_node_may_differ_in_everything_but_one_connection_has_one_session() {
    type Changes<'a> = &'a [fn(&mut RawBgpPeer)];
    let same: fn(&mut RawBgpPeer) = |raw| raw.address = text("1.2.3.4");
    let eth0: fn(&mut RawBgpPeer) = |raw| (raw.address, raw.interface) = (None, text("eth0"));
    let red: fn(&mut RawBgpPeer) = |raw| (raw.address, raw.vrf) = (text("1.2.3.4"), text("red"));
    let id: fn(&mut RawBgpPeer) = |raw| raw.router_id = text("1.2.3.4");
    let rows: [(&str, Changes<'_>, usize); 12] = [
        ("T1", &[id; 3], 3),
        (
            "T2",
            &[
                |raw| raw.router_id = text("1.2.3.4"),
                |raw| raw.router_id = text("1.2.3.4"),
                |raw| raw.router_id = text("1.2.3.5"),
            ],
            3,
        ),
        (
            "T3",
            &[
                |raw| raw.my_asn = 123,
                |raw| raw.my_asn = 123,
                |raw| raw.my_asn = 124,
            ],
            3,
        ),
        (
            "T4",
            &[
                |raw| raw.my_asn = 123,
                |raw| (raw.my_asn, raw.vrf) = (124, text("red")),
            ],
            2,
        ),
        ("T5", &[same, same], 1),
        (
            "T6",
            &[same, red, |raw| {
                (raw.address, raw.vrf) = (text("1.2.3.4"), text("green"))
            }],
            3,
        ),
        ("T7", &[red, red], 1),
        (
            "T8",
            &[eth0, |raw| (raw.address, raw.interface) = (None, text("eth1"))],
            2,
        ),
        ("T8 twice", &[eth0, eth0], 1),
        (
            "as parsed",
            &[
                |raw| raw.address = text("fc00::1"),
                |raw| raw.address = text("fc00:0::1"),
            ],
            1,
        ),
        (
            "ports",
            &[same, |raw| {
                (raw.address, raw.port) = (text("1.2.3.4"), Some(1179))
            }],
            2,
        ),
        (
            "sources",
            &[same, |raw| {
                (raw.address, raw.source_address) = (text("1.2.3.4"), text("1.2.3.9"))
            }],
            2,
        ),
    ];
    for (row, changes, count) in rows {
        let (running, duplicates) = on_node(&peers(changes), &Labels::new());
        assert_eq!(running.len(), count, "{row}: {running:?}");
        assert_eq!(duplicates.len(), changes.len() - count, "{row}");
    }
}

#[test]
fn the_older_of_two_peers_with_one_connection_runs() {
    let catalog = peers(&[
        |raw| (raw.address, raw.created) = (text("1.2.3.4"), 2),
        |raw| (raw.address, raw.created) = (text("1.2.3.4"), 1),
        |raw| (raw.address, raw.created) = (text("1.2.3.4"), 2),
    ]);
    let expected = (texts(&["peer1"]), texts(&["peer0 for peer1", "peer2 for peer1"]));
    assert_eq!(on_node(&catalog, &Labels::new()), expected);
}

#[test]
fn peers_of_different_nodes_may_have_one_address() {
    let node = |name: &str| labels(&[("kubernetes.io/hostname", name)]);
    let same = |nodes: &[&[&str]]| {
        let peers = nodes.iter().enumerate().map(|(place, nodes)| {
            BgpChange::ApplyPeer(RawBgpPeer {
                name: format!("peer{place}"),
                node_selectors: on(nodes),
                ..peer()
            })
        });
        catalog(peers)
    };
    for (row, nodes, of_node1, aside) in [
        ("T9", &[&["node1"][..], &["node2"]][..], "peer0", 0),
        ("T10", &[&["node1"], &["node1"]], "peer0", 1),
        ("T11", &[&["node1"], &["node2"], &["node1"]], "peer0", 1),
        ("T12", &[&["node1", "node2"], &["node3", "node4"]], "peer0", 0),
    ] {
        let (running, duplicates) = on_node(&same(nodes), &node("node1"));
        assert_eq!(running, [of_node1], "{row}");
        assert_eq!(duplicates.len(), aside, "{row}");
    }
}

#[test]
fn the_labels_of_a_node_decide_which_peers_it_has() {
    let mut catalog = peers(&[
        |_| (),
        |raw| raw.node_selectors = Vec::from([selector("foo", "bar")]),
    ]);
    let count = |catalog: &BgpCatalog, pairs: &[(&str, &str)]| on_node(catalog, &labels(pairs)).0.len();
    assert_eq!(count(&catalog, &[]), 1, "N1");
    assert_eq!(count(&catalog, &[("foo", "bar")]), 2, "N2");
    catalog.apply([BgpChange::ApplyPeer(RawBgpPeer {
        name: "peer1".into(),
        address: text("1.2.3.1"),
        node_selectors: Vec::from([expression("foo", "In", &["bar", "baz"])]),
        ..peer()
    })]);
    assert_eq!(count(&catalog, &[("foo", "baz")]), 2, "N3");
}

#[test]
fn a_bad_edit_leaves_the_last_good_version_and_everything_else_in_force() {
    let mut catalog = peers(&[|_| (), |_| ()]);
    catalog.apply([BgpChange::ApplyPeer(RawBgpPeer {
        name: "peer0".into(),
        hold_time: text("1s"),
        ..peer()
    })]);
    assert_eq!(catalog.peers().count(), 2);
    let found: Vec<String> = catalog.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "BGPPeer \"peer0\": spec.holdTime: invalid BGPPeer timers: invalid hold time \"1s\": must be 0 or >=3s, and at most \
          65535s (its last good version stays in force)"
        ]
    );
    catalog.apply([BgpChange::Delete(BgpKind::Peer, "peer0".into())]);
    assert_eq!(problems(&catalog), [""; 0]);
    assert_eq!(catalog.peers().count(), 1);
    let others = [
        (BgpKind::Advertisement, "BGPAdvertisement"),
        (BgpKind::Communities, "Community"),
        (BgpKind::BfdProfile, "BFDProfile"),
    ];
    for (kind, name) in others {
        assert_eq!(kind.to_string(), name);
        catalog.apply([BgpChange::Delete(kind, "missing".into())]);
    }
}

#[test]
fn a_change_can_be_looked_at_before_it_is_made() {
    let named = |name: &str, created| {
        BgpChange::ApplyCommunities(RawCommunities {
            name: name.into(),
            created,
            communities: Vec::from([("bar".into(), "1:2".into())]),
        })
    };
    let mut with_profile = peer();
    with_profile.bfd_profile = text("fast");
    let before = catalog([named("old", 5), BgpChange::ApplyPeer(with_profile)]);
    let of = |after: &BgpCatalog, kind, name| after.problems_of(kind, name).count();
    let after = before.after(named("new", 0));
    assert_eq!(
        of(&after, BgpKind::Communities, "new"),
        1,
        "it counts as the younger one"
    );
    assert_eq!(of(&after, BgpKind::Communities, "old"), 0);
    let profile = RawBfdProfile {
        name: "fast".into(),
        ..RawBfdProfile::default()
    };
    assert_eq!(of(&before, BgpKind::Peer, "peer1"), 1);
    let after = before.after(BgpChange::ApplyBfdProfile(profile));
    assert_eq!(of(&after, BgpKind::Peer, "peer1"), 0);
    assert_eq!(of(&before, BgpKind::Peer, "peer1"), 1, "nothing has changed");
    assert!(before.has(BgpKind::Peer, "peer1") && !before.has(BgpKind::Peer, "old"));
    assert_eq!(before.peer_with_profile("fast"), Some("peer1"));
    assert_eq!(before.peer_with_profile("slow"), None);
}

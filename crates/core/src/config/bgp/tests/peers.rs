//! One peer, and one profile of BFD.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::*;
use crate::Family;
use crate::bgp::{Asn, ExpectedAs};

#[expect(clippy::unnecessary_wraps, reason = "fields are optional")]
fn password(text: &str) -> Option<Password> {
    Some(Password(text.as_bytes().to_vec()))
}

fn secret(kind: &str, key: Option<Password>) -> BgpChange {
    BgpChange::ApplySecret(RawSecret {
        name: "secret".into(),
        kind: kind.into(),
        password: key,
    })
}

fn of(change: impl FnOnce(&mut RawBgpPeer)) -> BgpCatalog {
    let mut raw = peer();
    change(&mut raw);
    catalog([BgpChange::ApplyPeer(raw)])
}

fn parsed(row: &str, catalog: &BgpCatalog) -> BgpPeer {
    assert_accepted(row, catalog);
    catalog.peers().next().cloned().expect("a peer")
}

#[test]
fn timers_follow_from_each_other() {
    for (row, hold, keepalive, expected) in [
        ("P1", text("180s"), None, Some((180, 60))),
        ("P2", None, text("60s"), Some((180, 60))),
        ("P3", text("0s"), text("0s"), Some((0, 0))),
        ("P4", None, None, None),
        ("truncated to zero", text("500ms"), None, Some((0, 0))),
        ("at most a third", text("90s"), text("90s"), Some((90, 30))),
    ] {
        let catalog = of(|raw| (raw.hold_time, raw.keepalive_time) = (hold, keepalive));
        let expected = expected.map(|(hold, keepalive)| ProposedTimers {
            hold: Duration::from_secs(hold),
            keepalive: Duration::from_secs(keepalive),
        });
        assert_eq!(parsed(row, &catalog).timers, expected, "{row}");
    }
}

#[test]
fn each_mistake_of_a_peer_has_its_field_and_message() {
    type Change = fn(&mut RawBgpPeer);
    let rows: [(&str, Change, &str, &str); 35] = [
        (
            "P5",
            |raw| (raw.hold_time, raw.keepalive_time) = (text("30s"), text("90s")),
            "spec.keepaliveTime",
            "invalid keepaliveTime \"90s\", must be lower than holdTime \"30s\"",
        ),
        (
            "P6",
            |raw| raw.hold_time = text("1s"),
            "spec.holdTime",
            "invalid hold time \"1s\": must be 0 or >=3s",
        ),
        (
            "2.9 s",
            |raw| raw.hold_time = text("2.9s"),
            "spec.holdTime",
            "must be 0 or >=3s",
        ),
        (
            "keepalive alone",
            |raw| raw.keepalive_time = text("500ms"),
            "spec.holdTime",
            "must be 0 or >=3s",
        ),
        (
            "16 bits",
            |raw| raw.hold_time = text("65536s"),
            "spec.holdTime",
            "at most 65535s",
        ),
        (
            "hold",
            |raw| raw.hold_time = text("soon"),
            "spec.holdTime",
            "invalid duration \"soon\"",
        ),
        (
            "keepalive",
            |raw| raw.keepalive_time = text("-1s"),
            "spec.keepaliveTime",
            "invalid duration \"-1s\"",
        ),
        (
            "connect",
            |raw| raw.connect_time = text("1.5s"),
            "spec.connectTime",
            "invalid connect time \"1.5s\"",
        ),
        (
            "connect 0",
            |raw| raw.connect_time = text("0s"),
            "spec.connectTime",
            "whole seconds",
        ),
        (
            "P7",
            |raw| raw.address = text("1.2.3.400"),
            "spec.peerAddress",
            "invalid BGPPeer address \"1.2.3.400\"",
        ),
        (
            "zone",
            |raw| raw.address = text("fe80::1%eth0"),
            "spec.peerAddress",
            "without a zone",
        ),
        ("P8", |raw| raw.my_asn = 0, "spec.myASN", "missing local ASN"),
        (
            "33 bits",
            |raw| raw.my_asn = 1 << 32,
            "spec.myASN",
            "invalid ASN 4294967296",
        ),
        (
            "negative",
            |raw| raw.peer_asn = Some(-1),
            "spec.peerASN",
            "invalid ASN -1",
        ),
        (
            "local",
            |raw| raw.local_asn = Some(0),
            "spec.localASN",
            "invalid ASN 0",
        ),
        (
            "P9",
            |raw| raw.peer_asn = None,
            "spec.peerASN",
            "missing peer ASN and dynamicASN",
        ),
        (
            "P9 with 0",
            |raw| raw.peer_asn = Some(0),
            "spec.peerASN",
            "missing peer ASN and dynamicASN",
        ),
        (
            "P10",
            |raw| raw.multi_hop = Some(true),
            "spec.ebgpMultiHop",
            "invalid ebgp-multihop parameter set for an ibgp peer",
        ),
        (
            "P11",
            |raw| raw.router_id = text("oh god how do I BGP"),
            "spec.routerID",
            "invalid router ID \"oh god how do I BGP\"",
        ),
        (
            "not an identifier",
            |raw| raw.router_id = text("::1"),
            "spec.routerID",
            "invalid router ID",
        ),
        (
            "RFC 6286",
            |raw| raw.router_id = text("0.0.0.0"),
            "spec.routerID",
            "not 0.0.0.0",
        ),
        (
            "P15 key",
            |raw| raw.node_selectors = Vec::from([expression("", "In", &["a"])]),
            "spec.nodeSelectors[0]",
            "no key",
        ),
        (
            "P15 operator",
            |raw| raw.node_selectors = Vec::from([expression("a", "", &["a"])]),
            "spec.nodeSelectors[0]",
            "not a valid label selector operator",
        ),
        (
            "P15 Surrounds",
            |raw| raw.node_selectors = Vec::from([expression("a", "Surrounds", &["a"])]),
            "spec.nodeSelectors[0]",
            "Surrounds",
        ),
        (
            "P16",
            |raw| raw.node_selectors = Vec::from([expression("bar", "In", &["quux", "quux"])]),
            "spec.nodeSelectors[0]",
            "duplicate definition of match expression value in label selector \"quux\"",
        ),
        (
            "twice",
            |raw| raw.node_selectors = Vec::from([selector("a", "b"), selector("a", "b")]),
            "spec.nodeSelectors[1]",
            "duplicate definition of nodeSelectors",
        ),
        (
            "P18",
            |raw| raw.dynamic_asn = text("internal"),
            "spec.peerASN",
            "both peer ASN and dynamicASN specified",
        ),
        (
            "word",
            |raw| (raw.peer_asn, raw.dynamic_asn) = (None, text("any")),
            "spec.dynamicASN",
            "invalid dynamicASN \"any\"",
        ),
        (
            "P20",
            |raw| raw.address = None,
            "spec.peerAddress",
            "peer has no Address or Interface specified",
        ),
        (
            "P21",
            |raw| raw.interface = text("net0"),
            "spec.interface",
            "peer has both Address and Interface specified",
        ),
        (
            "P24",
            |raw| (raw.password, raw.password_secret) = (password("a"), text("secret")),
            "spec.passwordSecret",
            "can not have both password and secret ref set",
        ),
        (
            "source",
            |raw| raw.source_address = text("here"),
            "spec.sourceAddress",
            "invalid source IP \"here\"",
        ),
        (
            "families",
            |raw| raw.source_address = text("fc00::1"),
            "spec.sourceAddress",
            "different families",
        ),
        (
            "no address of its own",
            |raw| (raw.address, raw.interface, raw.source_address) = (None, text("net0"), text("1.2.3.5")),
            "spec.sourceAddress",
            "remove it",
        ),
        (
            "port",
            |raw| raw.port = Some(65_536),
            "spec.peerPort",
            "invalid peer port 65536",
        ),
    ];
    for (row, change, field, part) in rows {
        let catalog = of(change);
        assert_refused(row, &catalog, field, part);
        assert_eq!(catalog.peers().count(), 0, "{row}");
    }
}

#[test]
fn all_mistakes_of_a_peer_are_reported_at_once() {
    let catalog = catalog([BgpChange::ApplyPeer(RawBgpPeer {
        router_id: text("x"),
        source_address: text("y"),
        hold_time: text("z"),
        bfd_profile: text("p"),
        password_secret: text("s"),
        port: Some(-1),
        address: text("1.2.3.4"),
        ..RawBgpPeer::default()
    })]);
    let found = problems(&catalog);
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn every_field_of_a_peer_is_kept() {
    let raw = RawBgpPeer {
        my_asn: 42,
        peer_asn: Some(142),
        port: Some(1179),
        hold_time: text("180s"),
        connect_time: text("1s"),
        router_id: text("10.20.30.40"),
        source_address: text("10.20.30.40"),
        graceful_restart: Some(true),
        multi_hop: Some(true),
        vrf: text("foo"),
        created: 7,
        dual_stack: Some(true),
        ..peer()
    };
    let expected = BgpPeer {
        name: "peer1".into(),
        created: 7,
        local_asn: Asn(42),
        peer_asn: ExpectedAs::Exactly(Asn(142)),
        location: PeerLocation::Address(IpAddr::from([1, 2, 3, 4])),
        source_address: Some(IpAddr::from([10, 20, 30, 40])),
        port: 1179,
        vrf: text("foo"),
        timers: Some(ProposedTimers {
            hold: Duration::from_secs(180),
            keepalive: Duration::from_secs(60),
        }),
        connect_time: Some(Duration::from_secs(1)),
        router_id: Some(Ipv4Addr::new(10, 20, 30, 40)),
        node_selectors: Vec::new(),
        password: None,
        bfd: None,
        graceful_restart: true,
        multi_hop: true,
        dual_stack: true,
    };
    assert_eq!(parsed("P12", &catalog([BgpChange::ApplyPeer(raw)])), expected);
    let plain = parsed("defaults", &of(|_| ()));
    assert_eq!(
        (plain.port, plain.graceful_restart, plain.multi_hop),
        (179, true, false)
    );
    assert!(plain.carries(Family::V4) && !plain.carries(Family::V6));
    assert_eq!(parsed("from v1beta1", &of(|raw| raw.port = Some(0))).port, 179);
    assert!(!parsed("off", &of(|raw| raw.graceful_restart = Some(false))).graceful_restart);
}

#[test]
fn nodes_are_selected_by_any_selector() {
    let both = RawSelector {
        match_labels: labels(&[("foo", "bar")]),
        ..expression("bar", "In", &["quux"])
    };
    let peer = parsed("P13", &of(|raw| raw.node_selectors = Vec::from([both])));
    assert!(peer.selects_node(&labels(&[("foo", "bar"), ("bar", "quux")])));
    assert!(!peer.selects_node(&labels(&[("foo", "bar")])));
    let peer = parsed(
        "P14",
        &of(|raw| raw.node_selectors = Vec::from([RawSelector::default()])),
    );
    assert!(peer.selects_node(&labels(&[])));
}

#[test]
fn a_peer_may_be_dynamic_unnumbered_or_see_another_as_number() {
    let dynamic = |raw: &mut RawBgpPeer| (raw.peer_asn, raw.dynamic_asn) = (None, text("internal"));
    assert_eq!(
        parsed("P17", &of(dynamic)).peer_asn,
        ExpectedAs::Internal(Asn(42))
    );
    // The peer's number is compared with that of the cluster, not with the one that the peer is shown.
    let shown_another = |raw: &mut RawBgpPeer| {
        dynamic(raw);
        raw.local_asn = Some(65_410);
    };
    let peer = parsed("P17 and P23", &of(shown_another));
    assert_eq!(
        (peer.local_asn, peer.peer_asn),
        (Asn(65_410), ExpectedAs::Internal(Asn(42)))
    );
    let mapped = |raw: &mut RawBgpPeer| {
        raw.address = text("::ffff:10.0.0.1");
        raw.source_address = text("10.0.0.2");
    };
    let peer = parsed("an IPv4 address in an IPv6 address", &of(mapped));
    assert_eq!(peer.location, PeerLocation::Address(IpAddr::from([10, 0, 0, 1])));
    assert!(peer.carries(Family::V4));
    let peer = parsed(
        "P19",
        &of(|raw| {
            dynamic(raw);
            (raw.address, raw.interface) = (None, text("net0"));
        }),
    );
    assert_eq!(peer.location, PeerLocation::Interface("net0".into()));
    assert!(peer.carries(Family::V4) && peer.carries(Family::V6));
    let peer = parsed(
        "P23",
        &of(|raw| (raw.my_asn, raw.peer_asn, raw.local_asn) = (100, Some(200), Some(65_410))),
    );
    assert_eq!(peer.local_asn, Asn(65_410));
    // MetalLB accepts both.
    assert_accepted(
        "internal, more than one hop away",
        &of(|raw| {
            dynamic(raw);
            raw.multi_hop = Some(true);
        }),
    );
}

#[test]
fn the_password_may_be_in_a_secret() {
    let referring = || {
        BgpChange::ApplyPeer(RawBgpPeer {
            password_secret: text("secret"),
            ..peer()
        })
    };
    let basic = "kubernetes.io/basic-auth";
    for (row, secret, part) in [
        (
            "P25 opaque",
            Some(secret("Opaque", password("nopass"))),
            "secret type mismatch on \"secret\"",
        ),
        (
            "P25 no key",
            Some(secret(basic, None)),
            "password not specified in the secret \"secret\"",
        ),
        (
            "an empty key",
            Some(secret(basic, password(""))),
            "password not specified",
        ),
        ("P25 absent", None, "secret ref not found"),
        (
            "too long",
            Some(secret(basic, password(&"x".repeat(81)))),
            "81 bytes; the kernel takes at most 80",
        ),
    ] {
        let catalog = catalog([referring()].into_iter().chain(secret));
        assert_refused(row, &catalog, "spec.passwordSecret", part);
        let crate::config::ConfigError::Bgp(error) = &catalog.problems()[0].error else {
            panic!("{row}");
        };
        assert_eq!(error.is_transient(), row == "P25 absent", "{row}");
    }
    let mut catalog = catalog([referring(), secret(basic, password("nopass"))]);
    assert_eq!(parsed("P26", &catalog).password, password("nopass"));
    assert_eq!(
        alloc::format!("{:?}", parsed("P26", &catalog).password),
        "Some(Password(..))"
    );
    // The Secret is gone: the session goes on.
    catalog.apply([BgpChange::DeleteSecret("secret".into())]);
    assert_refused("deleted", &catalog, "spec.passwordSecret", "secret ref not found");
    assert!(catalog.problems()[0].older_in_force);
    assert_eq!(
        catalog.peers().next().map(|peer| peer.password.clone()),
        Some(password("nopass"))
    );
    assert_refused(
        "literal",
        &of(|raw| raw.password = password(&"x".repeat(81))),
        "spec.password",
        "at most 80",
    );
}

#[test]
fn a_profile_of_bfd_has_ranges_and_defaults() {
    let profile = |raw: &RawBfdProfile| {
        let raw = RawBfdProfile {
            name: "default".into(),
            ..raw.clone()
        };
        let referring = RawBgpPeer {
            bfd_profile: text("default"),
            ..peer()
        };
        catalog([BgpChange::ApplyPeer(referring), BgpChange::ApplyBfdProfile(raw)])
    };
    let plain = BfdProfile {
        receive_interval: Duration::from_millis(300),
        transmit_interval: Duration::from_millis(300),
        detect_multiplier: 3,
        echo_interval: Duration::from_millis(50),
        echo_mode: false,
        passive_mode: false,
        minimum_ttl: 254,
    };
    let parsed_plain = parsed("P27", &profile(&RawBfdProfile::default()));
    assert_eq!(parsed_plain.bfd, Some(plain));
    let written = RawBfdProfile {
        receive_interval: Some(50),
        transmit_interval: Some(51),
        detect_multiplier: Some(52),
        echo_interval: Some(54),
        echo_mode: Some(true),
        passive_mode: Some(true),
        minimum_ttl: Some(55),
        ..RawBfdProfile::default()
    };
    let expected = BfdProfile {
        receive_interval: Duration::from_millis(50),
        transmit_interval: Duration::from_millis(51),
        detect_multiplier: 52,
        echo_interval: Duration::from_millis(54),
        echo_mode: true,
        passive_mode: true,
        minimum_ttl: 55,
    };
    assert_eq!(parsed("B3", &profile(&written)).bfd, Some(expected));
    type Change = fn(&mut RawBfdProfile);
    let rows: [(&str, Change, &str); 6] = [
        (
            "B1",
            |raw| raw.receive_interval = Some(2),
            "spec.receiveInterval: invalid value 2, must be in 10-60000 range",
        ),
        (
            "B2",
            |raw| raw.receive_interval = Some(90_000),
            "spec.receiveInterval: invalid value 90000, must be in 10-60000 range",
        ),
        (
            "transmit",
            |raw| raw.transmit_interval = Some(0),
            "spec.transmitInterval: invalid value 0, must be in 10-60000 range",
        ),
        (
            "multiplier",
            |raw| raw.detect_multiplier = Some(256),
            "spec.detectMultiplier: invalid value 256, must be in 2-255 range",
        ),
        (
            "echo",
            |raw| raw.echo_interval = Some(-10),
            "spec.echoInterval: invalid value -10, must be in 10-60000 range",
        ),
        (
            "ttl",
            |raw| raw.minimum_ttl = Some(255),
            "spec.minimumTtl: invalid value 255, must be in 1-254 range",
        ),
    ];
    for (row, change, expected) in rows {
        let mut raw = RawBfdProfile::default();
        change(&mut raw);
        let missing = "spec.bfdProfile: peer referencing non existing bfd profile \"default\"";
        assert_eq!(problems(&profile(&raw)), [missing, expected], "{row}, P28");
    }
}

/// MetalLB refuses B4, because FRR has echo mode for IPv4 alone.
#[test]
fn echo_mode_is_accepted_for_peers_of_both_families() {
    let echo = || {
        BgpChange::ApplyBfdProfile(RawBfdProfile {
            name: "echo".into(),
            echo_mode: Some(true),
            ..RawBfdProfile::default()
        })
    };
    type Change = fn(&mut RawBgpPeer);
    let rows: [(&str, Change, &[Family]); 4] = [
        ("B4", |raw| raw.address = text("fc00::1"), &[Family::V6]),
        (
            "B4 dual-stack",
            |raw| raw.dual_stack = Some(true),
            &[Family::V4, Family::V6],
        ),
        (
            "B4 unnumbered",
            |raw| (raw.address, raw.interface) = (None, text("eth0")),
            &[Family::V4, Family::V6],
        ),
        ("B5", |_| (), &[Family::V4]),
    ];
    for (row, change, families) in rows {
        let mut raw = RawBgpPeer {
            bfd_profile: text("echo"),
            ..peer()
        };
        change(&mut raw);
        let everything = BgpChange::ApplyAdvertisement(advertisement());
        let peer = parsed(row, &catalog([echo(), BgpChange::ApplyPeer(raw), everything]));
        let carried = [Family::V4, Family::V6].into_iter();
        let carried: Vec<Family> = carried.filter(|family| peer.carries(*family)).collect();
        assert_eq!(carried, families, "{row}");
        assert!(peer.bfd.is_some_and(|bfd| bfd.echo_mode), "{row}");
    }
}

#[test]
fn a_profile_of_bfd_that_is_missing_may_come_later() {
    let mut catalog = of(|raw| raw.bfd_profile = text("default"));
    let missing = "peer referencing non existing bfd profile \"default\"";
    assert_refused("P28", &catalog, "spec.bfdProfile", missing);
    let crate::config::ConfigError::Bgp(error) = &catalog.problems()[0].error else {
        panic!("{:?}", catalog.problems());
    };
    assert!(error.is_transient());
    catalog.apply([BgpChange::ApplyBfdProfile(RawBfdProfile {
        name: "default".into(),
        ..RawBfdProfile::default()
    })]);
    assert!(parsed("P27", &catalog).bfd.is_some());
}

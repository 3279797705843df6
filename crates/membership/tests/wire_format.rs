//! The bytes on the wire, as recorded from earlier builds: speakers of different versions share a cluster during a rollout.
//! The present code must parse them to the same values, and emit the same bytes with nothing but fields added at the end of
//! a report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald_core::{Features, MacAddr, NodeName, NodeState, Prefix, Profile, Time};
use herald_membership::codec::envelope::{self, Envelope};
use herald_membership::codec::report::SelfReport;
use herald_membership::codec::seal::{Seal, Secret};
use herald_membership::identity::{Epoch, Identity};
use herald_membership::{LocalLink, Membership, Timings};

const IDENTITY_V4: &str = "10776f726b65722d312e6578616d706c6500c00002018a3eef9bafcdf8acd19101ac02";
const IDENTITY_V6: &str = "01770120010db80000000000000000000000018a3eef9bafcdf8acd19101ac02";
const BARE_REPORT: &str =
    "10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204020202000000000102000000ff02";
const FULL_REPORT: &str = concat!(
    "10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204010202000000000102000000ff02030270f92d",
    "74deadbeef04080a19c0000200b020010db80001ff20010db8000000000000000000000007020000000180000000",
);
const CROWDED_REPORT: &str = "10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a20400000000ffff";
const ENVELOPE_WITHOUT_FEATURES: &str = concat!(
    "0002002b10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204020202000000000102000000ff0200",
    "5e10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204010202000000000102000000ff02030270f9",
    "2d74deadbeef04080a19c0000200b020010db80001ff20010db800000000000000000000000702000000018000000073",
    "77696d",
);
const ENVELOPE: &str = concat!(
    "0002002b10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204020202000000000102000000ff0200",
    "6710776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204010202000000000102000000ff02030270f9",
    "2d74deadbeef04080a19c0000200b020010db80001ff20010db800000000000000000000000702000000018000000000",
    "00000301800000007377696d",
);
const SUSPECTING_ENVELOPE: &str = concat!(
    "01010202002b10776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204020202000000000102000000ff",
    "02006710776f726b65722d312e6578616d706c65ef9bafcdf8acd19101f0a204010202000000000102000000ff020302",
    "70f92d74deadbeef04080a19c0000200b020010db80001ff20010db80000000000000000000000070200000001800000",
    "000000000301800000007377696d",
);
/// The text `content`, sealed with a secret of 32 bytes of value 7 as the first datagram of a session.
const SEALED: &str = concat!(
    "01b162f2d7374404610000000000000000d1dd9b13df061e7a389e9b7cf386b2c5ccfd4469ab6c10a73b6d40f0c99a8f",
    "e8e1c612",
);
/// What [`conversation`] sends, a datagram's content a line.
const CONVERSATION: &str = include_str!("conversation.hex");
/// What [`conversation`] sent when reports had no features.
const CONVERSATION_WITHOUT_FEATURES: &str = include_str!("conversation-without-features.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("two digits"))
        .collect()
}

fn identity(node: &str, address: &str) -> Identity {
    Identity {
        node: NodeName::from(node).into(),
        address: address.parse().expect("an address"),
        epoch: Epoch {
            started: 0x0123_4567_89ab_cdef,
            renewal: 300,
        },
    }
}

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix {
        address: address.parse().expect("an address"),
        length,
    }
}

fn bare_report() -> SelfReport {
    SelfReport {
        node: NodeName::from("worker-1.example"),
        started: 0x0123_4567_89ab_cdef,
        version: 70_000,
        state: NodeState::Draining,
        macs: [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0xff, 2])].into(),
        profile: None,
    }
}

fn full_report() -> SelfReport {
    let profile = Profile {
        subnets: Some(vec![
            prefix("10.0.0.0", 8),
            prefix("192.0.2.0", 25),
            prefix("2001:db8:1::", 48),
            prefix("2001:db8::7", 128),
        ]),
        flaps: 3,
        unresponsive: vec![NodeName::from("worker-2").tag(), 0xdead_beef],
        interfaces: Some(vec![1, 0x8000_0000]),
        features: Features::from_bits(3),
        ipv6_interfaces: Some(vec![0x8000_0000]),
    };
    SelfReport {
        state: NodeState::Ready,
        profile: Some(Arc::new(profile)),
        ..bare_report()
    }
}

/// More subnets and interfaces than a report can name.
fn crowded_report() -> SelfReport {
    SelfReport {
        state: NodeState::Starting,
        macs: Arc::default(),
        profile: Some(Arc::new(Profile::default())),
        ..bare_report()
    }
}

/// Returns `report` as a version without features, and what follows them, parses it.
fn without_features(mut report: SelfReport) -> SelfReport {
    if let Some(profile) = &mut report.profile {
        let profile = Arc::make_mut(profile);
        profile.features = Features::NONE;
        profile.ipv6_interfaces = None;
    }
    report
}

/// What two members send when they join, probe each other, and one of them leaves.
fn conversation() -> Vec<Vec<u8>> {
    let at = |millis| Time::since_zero(Duration::from_millis(millis));
    let address = |host| SocketAddr::from(([192, 0, 2, host], 7946));
    let start = |host: u8, seed| {
        let node = NodeName::new(format!("node-{host}"));
        Membership::new(
            node,
            address(host),
            Epoch::first_of(1000 + u64::from(host)),
            Timings::FAST,
            seed,
        )
    };
    let (mut one, mut two) = (start(1, 1), start(2, 2));
    let prefixes = [prefix("192.0.2.1", 24), prefix("fe80::1", 64)];
    let link = LocalLink {
        name: "eth0",
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        prefixes: &prefixes,
    };
    one.set_links(&[link], at(0));
    one.set_state(NodeState::Ready, at(1));
    one.set_expected_peers([(NodeName::from("node-2"), address(2))].into(), at(2));
    two.set_expected_peers([(NodeName::from("node-1"), address(1))].into(), at(2));
    let mut sent = Vec::new();
    for millis in 2..500 {
        let now = at(millis);
        match millis {
            200 => one.set_unresponsive(vec![NodeName::from("node-2").tag()], now),
            300 => one.handle_flap(now),
            400 => one.leave(now),
            _ => {}
        }
        one.handle_timeout(now);
        two.handle_timeout(now);
        for _ in 0..4 {
            while let Some((_, content)) = one.poll_transmit() {
                two.handle_datagram(&content, address(1), now)
                    .expect("well-formed");
                sent.push(content);
            }
            while let Some((_, content)) = two.poll_transmit() {
                one.handle_datagram(&content, address(2), now)
                    .expect("well-formed");
                sent.push(content);
            }
        }
    }
    sent
}

#[test]
fn identities_are_encoded_as_recorded() {
    let cases = [
        (identity("worker-1.example", "192.0.2.1:7946"), IDENTITY_V4),
        (identity("w", "[2001:db8::1]:7946"), IDENTITY_V6),
    ];
    for (identity, recorded) in cases {
        let mut buffer = [0; 600];
        let emitted = postcard::to_slice(&identity, &mut buffer).expect("large enough");
        assert_eq!(hex(emitted), recorded);
        assert_eq!(postcard::from_bytes(&bytes(recorded)), Ok(identity));
    }
}

#[test]
fn reports_are_encoded_as_recorded() {
    let cases = [
        (bare_report(), BARE_REPORT, ""),
        (full_report(), FULL_REPORT, "000000030180000000"),
        (crowded_report(), CROWDED_REPORT, "00000000ff"),
    ];
    for (report, recorded, added) in cases {
        let emitted = [recorded, added].concat();
        assert_eq!(hex(&report.emit()), emitted);
        assert_eq!(SelfReport::parse(&bytes(&emitted)), Some(report.clone()));
        assert_eq!(
            SelfReport::parse(&bytes(recorded)),
            Some(without_features(report))
        );
    }
}

#[test]
fn envelopes_are_encoded_as_recorded() {
    let reports = vec![bare_report(), full_report()];
    for (suspicion, recorded) in [(None, ENVELOPE), (Some(0x0102), SUSPECTING_ENVELOPE)] {
        let encoded: Vec<Vec<u8>> = reports.iter().map(SelfReport::emit).collect();
        let (emitted, count) = envelope::emit(suspicion, encoded.iter().map(Vec::as_slice), b"swim", 1000);
        assert_eq!((hex(&emitted).as_str(), count), (recorded, 2));
        let expected = Envelope {
            suspicion,
            reports: reports.clone(),
            swim: b"swim",
        };
        assert_eq!(envelope::parse(&bytes(recorded)), Ok(expected));
    }
    let earlier = envelope::parse(&bytes(ENVELOPE_WITHOUT_FEATURES)).map(|envelope| envelope.reports);
    assert_eq!(earlier, Ok(reports.into_iter().map(without_features).collect()));
}

#[test]
fn datagrams_are_sealed_as_recorded() {
    let secret = || vec![Secret::new([7; 32]).expect("long enough")];
    let recorded = bytes(SEALED);
    let session = recorded[1..9].try_into().expect("eight bytes");
    let nonce = recorded[17..29].try_into().expect("twelve bytes");
    let mut sender = Seal::new(secret(), session);
    assert_eq!(hex(&sender.seal(b"content", nonce)), SEALED);
    let mut receiver = Seal::new(secret(), [1; 8]);
    assert_eq!(receiver.open(&recorded).as_deref(), Ok(&b"content"[..]));
}

#[test]
fn two_members_exchange_the_datagrams_that_were_recorded() {
    let sent: Vec<String> = conversation().iter().map(|content| hex(content)).collect();
    let recorded: Vec<&str> = CONVERSATION.lines().collect();
    assert_eq!(sent, recorded);
}

#[test]
fn the_features_and_the_ipv6_interfaces_are_all_that_was_added_to_the_datagrams() {
    let lines = || CONVERSATION_WITHOUT_FEATURES.lines().zip(CONVERSATION.lines());
    assert_eq!(
        CONVERSATION_WITHOUT_FEATURES.lines().count(),
        CONVERSATION.lines().count()
    );
    for (earlier, present) in lines() {
        let (earlier, present) = (bytes(earlier), bytes(present));
        let mut expected = envelope::parse(&present).expect("well-formed");
        expected.reports = expected.reports.into_iter().map(without_features).collect();
        assert_eq!(envelope::parse(&earlier), Ok(expected));
    }
}

//! IPv6: what clients, duplicate address detection and snooping bridges say.

use std::net::Ipv6Addr;
use std::time::Duration;

use herald_l2::MacAddr;
use herald_l2::wire::MAX_FRAME_LENGTH;
use herald_l2::wire::ndp::{Solicitation, solicited_node};
use herald_netns::blocking::{Host, Segment, wait_for};
use netlink_packet_route::address::AddressFlags;
use rtnetlink::LinkUnspec;

use crate::arp::{CLIENT, OTHER, OWNER, SILENCE, ip};
use crate::speaker::Speaker;

crate::tests![
    a_client_resolves_the_address_to_the_owner,
    duplicate_address_detection_of_another_host_fails,
    a_claim_moves_a_clients_entry,
    a_unicast_solicitation_is_answered,
    a_secured_solicitation_is_answered,
    solicitations_pass_a_snooping_bridge,
    thousands_of_addresses_are_joined,
    a_group_that_could_not_be_joined_is_joined_later,
];

const ADDRESS: &str = "2001:db8::100";
pub(crate) const SOLICITATION: u8 = 135;
pub(crate) const ADVERTISEMENT: u8 = 136;

pub(crate) fn is_ndp(frame: &[u8], kind: u8) -> bool {
    frame.len() >= 78 && frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == kind
}

/// What the client's kernel would ask.
pub(crate) fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let destination = solicited_node(target);
    let solicitation = Solicitation {
        source: "fe80::ff:fe00:c".parse().expect("address"),
        destination,
        target,
        link_address: Some(MacAddr(CLIENT)),
    };
    let mut frame = vec![0; MAX_FRAME_LENGTH];
    let length = solicitation.emit(MacAddr::multicast(destination), MacAddr(CLIENT), &mut frame);
    frame.truncate(length);
    frame
}

fn a_client_resolves_the_address_to_the_owner() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn duplicate_address_detection_of_another_host_fails() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = Host::new();
    segment.plug(&client, "eth0", CLIENT);
    client.run(|| {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_dad", "1").expect("detection can be turned on");
    });
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    speaker.wait_announced(ip(ADDRESS), 1);
    client.add_address_with_dad("eth0", "2001:db8::100/64");
    wait_for("the address is found to be taken", || {
        client
            .address_flags(ip(ADDRESS))?
            .contains(AddressFlags::Dadfailed)
            .then_some(())
    });
    client.add_address_with_dad("eth0", "2001:db8::101/64");
    wait_for("a free address becomes usable", || {
        let flags = client.address_flags(ip("2001:db8::101"))?;
        assert!(!flags.contains(AddressFlags::Dadfailed));
        (!flags.contains(AddressFlags::Tentative)).then_some(())
    });
}

fn a_claim_moves_a_clients_entry() {
    let segment = Segment::new();
    let first = segment.host(OWNER, &["2001:db8::1/64"]);
    let second = segment.host(OTHER, &["2001:db8::2/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    let owner = Speaker::start(&first);
    owner.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    drop(owner);
    let successor = Speaker::start(&second);
    successor.announce(ip(ADDRESS));
    wait_for("the entry moves", || {
        client.neighbour(ip(ADDRESS)).filter(|mac| *mac == OTHER)
    });
}

/// A kernel checks a stale entry with unicast solicitations, sent to the address itself.
fn a_unicast_solicitation_is_answered() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    client.run(|| {
        let neighbour = "/proc/sys/net/ipv6/neigh/eth0";
        std::fs::write(format!("{neighbour}/base_reachable_time_ms"), "20").expect("written");
        std::fs::write(format!("{neighbour}/delay_first_probe_time"), "0").expect("written");
    });
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    client.resolve(ip(ADDRESS));
    let capture = client.capture("eth0");
    let limit = Duration::from_millis(50);
    wait_for("a unicast solicitation and its answer", || {
        client.send_to(ip(ADDRESS));
        let unicast =
            |frame: &[u8], to: [u8; 6], kind| (frame[..6] == to && is_ndp(frame, kind)).then_some(());
        capture.next(limit, |frame| unicast(frame, OWNER, SOLICITATION))?;
        capture.next(limit, |frame| unicast(frame, CLIENT, ADVERTISEMENT))
    });
}

/// RFC 3971 section 5: options with public keys and signatures, here as long as a frame takes.
fn a_secured_solicitation_is_answered() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    speaker.wait_announced(ip(ADDRESS), 1);
    let capture = client.capture("eth0");
    for units in [23, 40, 178] {
        let mut frame = solicitation(ADDRESS.parse().expect("address"));
        // An RSA signature option of that many units of eight bytes.
        frame.extend([12, units]);
        frame.resize(frame.len() - 2 + 8 * usize::from(units), 0x5a);
        let payload = u16::try_from(frame.len() - 54).expect("a frame");
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
        write_checksum(&mut frame);
        capture.send(&frame);
        let answer = |frame: &[u8]| (frame[..6] == CLIENT && is_ndp(frame, ADVERTISEMENT)).then_some(());
        assert_eq!(
            capture.next(Duration::from_secs(5), answer),
            Some(()),
            "{} bytes",
            frame.len()
        );
    }
}

/// The checksum of ICMPv6 (RFC 4443 section 2.3).
fn write_checksum(frame: &mut [u8]) {
    frame[56..58].fill(0);
    let words = |bytes: &[u8]| -> u32 {
        let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&frame[22..]) + words(&frame[18..20]) + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[56..58].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The bridge asks which groups are wanted (MLD) and forwards no other, so joining must be announced.
fn solicitations_pass_a_snooping_bridge() {
    let segment = Segment::snooping();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    let capture = owner.capture("eth0");
    wait_for("the bridge holds solicitations of unwanted groups back", || {
        client.send_to(ip("2001:db8::200"));
        let solicitation =
            |frame: &[u8]| (is_ndp(frame, SOLICITATION) && frame[76..78] == [2, 0]).then_some(());
        capture.next(SILENCE, solicitation).is_none().then_some(())
    });
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

/// More groups than one socket can join.
fn thousands_of_addresses_are_joined() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let client = segment.host(CLIENT, &["2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    for last in 0x1000..0x2000 {
        speaker.announce(ip(&format!("2001:db8::{last:x}")));
    }
    for last in ["1000", "1800", "1fff"] {
        assert_eq!(client.resolve(ip(&format!("2001:db8::{last}"))), OWNER);
    }
    let groups = || owner.run(|| std::fs::read_to_string("/proc/thread-self/net/igmp6").expect("groups"));
    wait_for("all groups are joined", || {
        let joined = groups()
            .lines()
            .filter(|line| line.contains("ff0200000000000000000001ff00"))
            .count();
        (joined >= 0x1000).then_some(())
    });
    for last in 0x1000..0x2000 {
        speaker.withdraw(ip(&format!("2001:db8::{last:x}")));
    }
    wait_for("all groups are left", || {
        (!groups().contains("ff0200000000000000000001ff0018")).then_some(())
    });
}

/// The kernel takes IPv6 from an interface whose MTU is below its minimum, and gives it back later.
fn a_group_that_could_not_be_joined_is_joined_later() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    let speaker = Speaker::start_deaf(&owner, "eth0");
    let set_mtu = |mtu| owner.set_link(LinkUnspec::new_with_name("eth0").mtu(mtu).build());
    let unjoined = |groups| {
        let gauge = || speaker.metric("herald_layer2_groups_unjoined");
        wait_for("the gauge shows it", || gauge().filter(|shown| *shown == groups));
    };
    set_mtu(1000);
    speaker.announce(ip(ADDRESS));
    speaker.announce(ip("2001:db8::200"));
    unjoined(2);
    speaker.withdraw(ip("2001:db8::200"));
    unjoined(1);
    set_mtu(1500);
    unjoined(0);
    let groups = owner.run(|| std::fs::read_to_string("/proc/thread-self/net/igmp6").expect("groups"));
    assert!(groups.contains("ff0200000000000000000001ff000100"), "{groups}");
    assert!(!groups.contains("ff0200000000000000000001ff000200"), "{groups}");
}

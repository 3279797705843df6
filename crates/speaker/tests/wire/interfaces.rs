//! Which interfaces answer, and what happens when they come and go.

use std::time::Duration;

use herald_netns::blocking::{Host, Segment, wait_for};
use herald_speaker::wire::WireOptions;
use rtnetlink::{LinkBridge, LinkMacVlan, LinkUnspec, LinkVxlan};

use netlink_packet_route::link::MacVlanMode;

use crate::arp::{CLIENT, OTHER, OWNER, SILENCE, answer, ask, foreign, ip, request};
use crate::ndp::{ADVERTISEMENT, is_ndp};
use crate::speaker::Speaker;

crate::tests![
    an_interface_that_appears_later_starts_answering,
    an_interface_that_loses_and_regains_its_carrier_announces_anew,
    an_interface_that_is_switched_off_and_on_answers_again,
    an_interface_that_is_made_anew_answers_though_nobody_told,
    a_changed_ethernet_address_is_announced,
    two_interfaces_on_one_segment_never_show_two_ethernet_addresses,
    an_on_link_route_decides_which_interface_answers,
    an_advertised_prefix_decides_only_where_no_own_subnet_covers_the_address,
    only_selected_interfaces_answer,
    a_renamed_interface_is_selected_by_its_new_name,
    an_excluded_interface_does_not_answer,
    a_bridge_port_leaves_the_answer_to_its_bridge,
    a_macvlan_interface_answers,
    a_vxlan_interface_answers,
];

const ADDRESS: &str = "192.0.2.100";

fn an_interface_that_appears_later_starts_answering() {
    let segment = Segment::new();
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let owner = Host::new();
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    speaker.announce(ip("2001:db8::100"));
    segment.plug(&owner, "eth0", OWNER);
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    assert_eq!(client.resolve(ip("2001:db8::100")), OWNER);
}

fn an_interface_that_loses_and_regains_its_carrier_announces_anew() {
    let segment = Segment::new();
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let owner = Host::new();
    let port = segment.plug(&owner, "eth0", OWNER);
    let options = WireOptions {
        refresh: None,
        ..WireOptions::default()
    };
    let speaker = Speaker::start_with(&owner, options);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    // The whole first burst: whatever comes later is due to the carrier.
    speaker.wait_announced(ip(ADDRESS), 12);
    port.connect(false);
    let capture = client.capture("eth0");
    port.connect(true);
    let announced = capture.next(Duration::from_secs(10), |frame| foreign(frame, 0x0806, CLIENT));
    assert!(announced.is_some());
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn an_interface_that_is_switched_off_and_on_answers_again() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let speaker = Speaker::start(&owner);
    for address in [ip(ADDRESS), ip("2001:db8::100")] {
        speaker.announce(address);
        assert_eq!(client.resolve(address), OWNER);
    }
    owner.set_up("eth0", false);
    let unanswered = [ip("192.0.2.101"), ip("2001:db8::101")];
    for address in unanswered {
        speaker.announce(address);
        client.send_to(address);
    }
    owner.set_up("eth0", true);
    for address in unanswered {
        assert_eq!(client.resolve(address), OWNER);
    }
}

/// The kernel unbinds packet sockets for ever when their interface goes, and the next may get the same index.
fn an_interface_that_is_made_anew_answers_though_nobody_told() {
    const INDEX: u32 = 77;
    let segment = Segment::new();
    let owner = segment.host(OTHER, &[]);
    let client = segment.host(CLIENT, &["192.0.2.9/24", "2001:db8::9/64"]);
    let parent = owner.index("eth0");
    let make = || {
        let link = LinkMacVlan::new("vlan0", parent, MacVlanMode::Bridge).index(INDEX);
        owner.add_link(link.address(OWNER.to_vec()).up().build());
    };
    make();
    let speaker = Speaker::start_deaf(&owner, "vlan0");
    for address in ["192.0.2.100", "2001:db8::100"] {
        speaker.announce_on(ip(address), "vlan0");
        assert_eq!(client.resolve(ip(address)), OWNER);
    }
    owner.delete_link("vlan0");
    make();
    // Addresses that the client has no entry for, so that it must ask.
    for address in ["192.0.2.101", "2001:db8::101"] {
        speaker.announce_on(ip(address), "vlan0");
        assert_eq!(client.resolve(ip(address)), OWNER);
    }
}

fn a_changed_ethernet_address_is_announced() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    owner.set_mac("eth0", OTHER);
    wait_for("the entry moves", || {
        client.neighbour(ip(ADDRESS)).filter(|mac| *mac == OTHER)
    });
}

fn two_interfaces_on_one_segment_never_show_two_ethernet_addresses() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    segment.plug(&owner, "eth1", OTHER);
    owner.add_address("eth1", "192.0.2.2/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    let capture = client.capture("eth0");
    speaker.wait_announced(ip(ADDRESS), 2);
    let first = ask(&capture, [192, 0, 2, 100]).expect("a reply");
    assert_eq!(first[6..12], OWNER);
    assert_eq!(answer(&capture, SILENCE), None);
}

/// A host whose own addresses are elsewhere.
fn an_on_link_route_decides_which_interface_answers() {
    let segment = Segment::new();
    let owner = segment.host(OTHER, &["198.51.100.1/24"]);
    segment.plug(&owner, "eth1", OWNER);
    owner.add_route("eth1", "192.0.2.0/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    let capture = client.capture("eth0");
    speaker.wait_announced(ip(ADDRESS), 2);
    let first = ask(&capture, [192, 0, 2, 100]).expect("a reply");
    assert_eq!(first[6..12], OWNER);
    assert_eq!(answer(&capture, SILENCE), None);
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    owner.add_route("eth0", "192.0.2.0/25");
    wait_for("the entry moves to where the longer prefix is", || {
        client.neighbour(ip(ADDRESS)).filter(|mac| *mac == OTHER)
    });
}

/// A host on the segment of `eth1` advertises a longer prefix than that of the subnet.
fn an_advertised_prefix_decides_only_where_no_own_subnet_covers_the_address() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["2001:db8::1/64"]);
    segment.plug(&owner, "eth1", OTHER);
    owner.add_advertised_route("eth1", "2001:db8::/120");
    owner.add_advertised_route("eth1", "2001:db8:1::/64");
    let client = segment.host(CLIENT, &["2001:db8::9/64", "2001:db8:1::9/64"]);
    let speaker = Speaker::start(&owner);
    for (address, mac) in [("2001:db8::7", OWNER), ("2001:db8:1::7", OTHER)] {
        speaker.announce(ip(address));
        let capture = client.capture("eth0");
        speaker.wait_announced(ip(address), 1);
        assert_eq!(client.resolve(ip(address)), mac);
        let others = |frame: &[u8]| {
            let is_other = frame[6..12] != mac && frame[6..12] != CLIENT;
            (is_other && is_ndp(frame, ADVERTISEMENT)).then_some(())
        };
        assert_eq!(capture.next(SILENCE, others), None);
    }
}

fn only_selected_interfaces_answer() {
    let (left, right) = (Segment::new(), Segment::new());
    let owner = left.host(OWNER, &["192.0.2.1/24"]);
    right.plug(&owner, "eth1", OTHER);
    let near = left.host(CLIENT, &["192.0.2.9/24"]);
    let far = right.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce_on(ip(ADDRESS), "eth1");
    assert_eq!(far.resolve(ip(ADDRESS)), OTHER);
    let (capture, arriving) = (near.capture("eth0"), owner.capture("eth0"));
    let request = request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 100]);
    capture.send(&request);
    let arrived = arriving.next(Duration::from_secs(5), |frame| {
        frame.starts_with(&request).then_some(())
    });
    assert!(arrived.is_some());
    assert_eq!(
        capture.next(SILENCE, |frame| foreign(frame, 0x0806, CLIENT)),
        None
    );
}

fn a_renamed_interface_is_selected_by_its_new_name() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce_on(ip(ADDRESS), "net9");
    let capture = client.capture("eth0");
    capture.send(&request(CLIENT, [192, 0, 2, 9], [192, 0, 2, 100]));
    assert_eq!(
        capture.next(SILENCE, |frame| foreign(frame, 0x0806, CLIENT)),
        None
    );
    let index = owner.index("eth0");
    // Not every kernel renames an interface that is up.
    owner.set_link(LinkUnspec::new_with_index(index).down().build());
    owner.set_link(LinkUnspec::new_with_index(index).name("net9").up().build());
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn an_excluded_interface_does_not_answer() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["192.0.2.1/24"]);
    segment.plug(&owner, "net1", OTHER);
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let exclude = vec![regex::Regex::new("^eth").expect("pattern")];
    let speaker = Speaker::start_with(
        &owner,
        WireOptions {
            exclude,
            ..WireOptions::default()
        },
    );
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OTHER);
}

fn a_bridge_port_leaves_the_answer_to_its_bridge() {
    let segment = Segment::new();
    let owner = segment.host(OTHER, &[]);
    owner.add_link(LinkBridge::new("br0").address(OWNER.to_vec()).up().build());
    owner.set_controller("eth0", "br0");
    owner.add_address("br0", "192.0.2.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn a_macvlan_interface_answers() {
    let segment = Segment::new();
    let owner = segment.host(OTHER, &[]);
    let parent = owner.index("eth0");
    let link = LinkMacVlan::new("vlan0", parent, MacVlanMode::Bridge);
    owner.add_link(link.address(OWNER.to_vec()).up().build());
    owner.add_address("vlan0", "192.0.2.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

fn a_vxlan_interface_answers() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &["198.51.100.1/24"]);
    let client = segment.host(CLIENT, &["198.51.100.2/24"]);
    let tunnel = |remote: [u8; 4]| {
        LinkVxlan::new("vxlan0", 7)
            .remote(remote.into())
            .port(4789)
            .up()
            .build()
    };
    owner.add_link(tunnel([198, 51, 100, 2]));
    client.add_link(tunnel([198, 51, 100, 1]));
    owner.add_address("vxlan0", "192.0.2.1/24");
    client.add_address("vxlan0", "192.0.2.9/24");
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), owner.mac("vxlan0"));
}

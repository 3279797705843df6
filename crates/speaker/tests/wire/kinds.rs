//! Kinds of links that not every kernel has. Where one is missing its test is ignored and says so, under continuous
//! integration as well: no package brings it.

use herald_netns::blocking::{Host, Segment, block_on};
use libtest_mimic::{Completion, Trial};
use netlink_packet_route::link::{BondMode, LinkMessage};
use rtnetlink::{LinkBond, LinkVrf};

use crate::arp::{CLIENT, OTHER, OWNER, ip};
use crate::speaker::Speaker;

const ADDRESS: &str = "192.0.2.100";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        needing(
            "bond",
            bond,
            "wire::kinds::a_bond_answers_with_its_own_ethernet_address_and_its_ports_do_not",
            a_bond_answers_with_its_own_ethernet_address_and_its_ports_do_not,
        ),
        needing(
            "VRF",
            vrf,
            "wire::kinds::a_member_of_a_vrf_answers",
            a_member_of_a_vrf_answers,
        ),
    ]
}

fn needing(kind: &'static str, link: fn() -> LinkMessage, name: &str, run: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let host = Host::new();
        if let Err(error) = block_on(host.links().add(link())) {
            return Ok(Completion::ignored_with(format!(
                "this kernel has no {kind}: {error:#}"
            )));
        }
        run();
        Ok(Completion::Completed)
    })
}

/// Whose ports take turns: no other mode works without the switch's consent.
fn bond() -> LinkMessage {
    LinkBond::new("bond0")
        .mode(BondMode::ActiveBackup)
        .miimon(20)
        .address(OWNER.to_vec())
        .up()
        .build()
}

fn vrf() -> LinkMessage {
    LinkVrf::new("vrf0", 10).up().build()
}

fn a_bond_answers_with_its_own_ethernet_address_and_its_ports_do_not() {
    const THIRD: [u8; 6] = [2, 0, 0, 0, 0, 0xd];
    let segment = Segment::new();
    let owner = Host::new();
    owner.add_link(bond());
    let first = segment.plug(&owner, "eth0", OTHER);
    segment.plug(&owner, "eth1", THIRD);
    for port in ["eth0", "eth1"] {
        // An interface must be down to become a port.
        owner.set_up(port, false);
        owner.set_controller(port, "bond0");
    }
    owner.add_address("bond0", "192.0.2.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
    first.connect(false);
    speaker.announce(ip("192.0.2.101"));
    assert_eq!(client.resolve(ip("192.0.2.101")), OWNER);
}

fn a_member_of_a_vrf_answers() {
    let segment = Segment::new();
    let owner = segment.host(OWNER, &[]);
    owner.add_link(vrf());
    owner.set_controller("eth0", "vrf0");
    owner.add_address("eth0", "192.0.2.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

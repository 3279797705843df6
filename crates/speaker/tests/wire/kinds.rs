//! Kinds of links that not every kernel has. Where one is missing its test is ignored and says so, under continuous
//! integration as well: no package brings it.

use libtest_mimic::{Completion, Trial};
use netlink_packet_route::link::{BondMode, LinkMessage};
use rtnetlink::{LinkBond, LinkUnspec, LinkVrf};

use crate::arp::{CLIENT, OTHER, OWNER, ip};
use crate::host::Host;
use crate::segment::Segment;
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
        if let Err(error) = host.run(move |inside| inside.try_add(link())) {
            return Ok(Completion::ignored_with(format!(
                "this kernel has no {kind}: {error}"
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
    owner.run(|inside| inside.add(bond()));
    let first = segment.plug(&owner, "eth0", OTHER);
    segment.plug(&owner, "eth1", THIRD);
    owner.run(|inside| {
        let bond = inside.link("bond0").header.index;
        for port in ["eth0", "eth1"] {
            // A port must be down to be taken in.
            inside.set(LinkUnspec::new_with_name(port).down().build());
            inside.set(LinkUnspec::new_with_name(port).controller(bond).build());
        }
    });
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
    owner.run(|inside| {
        inside.add(vrf());
        let vrf = inside.link("vrf0").header.index;
        inside.set(LinkUnspec::new_with_name("eth0").controller(vrf).build());
    });
    owner.add_address("eth0", "192.0.2.1/24");
    let client = segment.host(CLIENT, &["192.0.2.9/24"]);
    let speaker = Speaker::start(&owner);
    speaker.announce(ip(ADDRESS));
    assert_eq!(client.resolve(ip(ADDRESS)), OWNER);
}

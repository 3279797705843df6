//! Which peer a MAC address belongs to.

use super::*;

/// A machine that was one node and is another one now: the MAC address belongs to the node that is alive, regardless of names.
#[test]
fn a_mac_address_belongs_to_the_node_that_is_alive() {
    for (down, alive) in [(FIRST, LAST), (LAST, FIRST)] {
        let mut world = World::probing();
        let of = |node: &str, liveness| Member {
            macs: [mac(alive)].into(),
            ..member(node, liveness)
        };
        let mut members = [
            of(down, Liveness::Down),
            member(ME, Liveness::Alive),
            of(alive, Liveness::Alive),
        ];
        members.sort_by(|one, other| one.node.cmp(&other.node));
        world.takeover.set_members(&members, world.now);
        // A peer that is alive and not elected stops when it receives our announcement.
        assert_eq!(
            world.probed(ProbeResult::Answered(mac(alive))),
            [announce(), gained()],
            "{alive}"
        );
    }
}

//! Whose an Ethernet address is.

use super::*;

/// A machine that was one node and is another one now: whoever lives has the Ethernet address, whatever their names.
#[test]
fn an_ethernet_address_is_that_of_the_node_that_lives() {
    for (dead, living) in [(FIRST, LAST), (LAST, FIRST)] {
        let mut world = World::probing();
        let of = |node: &str, liveness| Member {
            macs: [mac(living)].into(),
            ..member(node, liveness)
        };
        let mut members = [
            of(dead, Liveness::Down),
            member(ME, Liveness::Alive),
            of(living, Liveness::Alive),
        ];
        members.sort_by(|one, other| one.node.cmp(&other.node));
        world.takeover.set_members(&members, world.now);
        // One that lives and is not elected yields.
        assert_eq!(
            world.probed(ProbeResult::Answered(mac(living))),
            [announce(), gained()],
            "{living}"
        );
    }
}

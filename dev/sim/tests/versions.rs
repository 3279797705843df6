//! An update of the speakers, node by node, from the version that elects for each Service alone to the one that elects for each
//! address, and back.

use std::time::Duration;

use herald_sim::{Sharing, World, address, for_each_seed};

/// How long two nodes may answer while the members learn one after the other that a rule holds.
const DOUBLED: Duration = Duration::from_millis(1000);

/// Rolls all speakers to another version.
fn roll(world: &mut World, to_old: bool) {
    for index in 0..world.size() {
        world.stop(index);
        world.run_for(Duration::from_secs(3));
        world.set_version(index, to_old);
        world.start(index);
        world.run_for(Duration::from_secs(5));
    }
}

#[test]
fn an_update_back_and_forth_moves_shared_addresses_without_an_outage() {
    for_each_seed(4, |seed| {
        let nodes = 3 + seed as usize % 3;
        let mut world = World::sharing(nodes, 9, Sharing::Twins, seed);
        let by_address = world.judge().owners();
        // The nodes with the ready endpoints; the addresses are in ascending order, not in that of the Services.
        let mut expected: Vec<_> = (0..9)
            .map(|service| (address(service), vec![(service + 1) % nodes]))
            .collect();
        expected.sort();
        let expected: Vec<Vec<usize>> = expected.into_iter().map(|(_, owner)| owner).collect();
        assert_eq!(by_address, expected);
        world.reset_judge();
        roll(&mut world, true);
        let by_service = world.judge().owners();
        assert_ne!(by_service, by_address, "the rules differ");
        assert!(
            by_service.iter().all(|owners| owners.len() == 1),
            "{by_service:?}"
        );
        roll(&mut world, false);
        assert_eq!(world.judge().owners(), by_address);
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
        let doubled = world.judge().longest_doubled();
        assert!(doubled <= DOUBLED, "two owners for {doubled:?}");
    });
}

#[test]
fn an_update_ends_the_second_owner_of_an_address_that_a_dual_stack_service_shares() {
    for_each_seed(4, |seed| {
        let mut world = World::sharing(4, 18, Sharing::DualStack, seed);
        let by_address = world.judge().owners();
        assert!(
            by_address.iter().all(|owners| owners.len() == 1),
            "{by_address:?}"
        );
        world.reset_judge();
        roll(&mut world, true);
        let by_service = world.judge().owners();
        assert!(
            by_service.iter().any(|owners| owners.len() == 2),
            "{by_service:?}"
        );
        roll(&mut world, false);
        assert_eq!(world.judge().owners(), by_address);
        assert_eq!(world.judge().longest_unserved(), Duration::ZERO);
    });
}

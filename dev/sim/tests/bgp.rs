//! Each router has what the nodes announce, whatever happens to connections, speakers and routers.

use std::time::Duration;

use herald_core::Prefix;
use herald_sim::{BgpFault, BgpWorld, for_each_seed};

const NODES: usize = 3;
const ROUTERS: usize = 2;

/// Until an undisturbed change is at each router: it travels, and peers may differ for 5 ms.
const CHANGE: Duration = Duration::from_millis(20);
/// Until all routers have everything after the last fault: the hold time (9 s), the longest pause before the next attempt (30 s), and an
/// attempt that was under way (5 s).
const RECOVERY: Duration = Duration::from_secs(45);

fn prefix(number: usize) -> Prefix {
    let [.., high, low] = number.to_be_bytes();
    Prefix {
        address: [198, 51, high, low].into(),
        length: 32,
    }
}

/// Changes a route, mostly for all routers.
fn change(world: &mut BgpWorld, prefixes: usize) {
    let (node, number) = (world.roll(NODES), world.roll(prefixes));
    let med = (world.roll(4) > 0).then(|| u32::try_from(world.roll(3)).expect("small"));
    let only = Some(world.roll(ROUTERS)).filter(|_| world.roll(5) == 0);
    for router in (0..ROUTERS).filter(|router| only.is_none_or(|only| only == *router)) {
        world.set_route(node, router, prefix(number), med);
    }
}

fn fault(world: &mut BgpWorld) -> BgpFault {
    let (node, router) = (world.roll(NODES), world.roll(ROUTERS));
    match world.roll(6) {
        0 | 1 => BgpFault::Reset(node, router),
        2 => BgpFault::Cut(node, router, true),
        3 => BgpFault::Cut(node, router, false),
        4 => BgpFault::RestartNode(node),
        _ => BgpFault::RestartRouter(router),
    }
}

fn expect_all(world: &BgpWorld) {
    for (node, router) in (0..NODES).flat_map(|node| (0..ROUTERS).map(move |router| (node, router))) {
        let (has, wants) = (world.routes(node, router), world.wanted(node, router));
        assert!(
            has == *wants,
            "router {router} has of node {node} {has:?} instead of {wants:?}"
        );
    }
}

#[test]
fn a_change_is_at_each_router_at_once() {
    for_each_seed(20, |seed| {
        let mut world = BgpWorld::new(NODES, ROUTERS, seed);
        world.run_for(Duration::from_secs(1));
        for _ in 0..200 {
            change(&mut world, 50);
            world.run_for(CHANGE);
            expect_all(&world);
        }
    });
}

#[test]
fn each_router_has_all_routes_after_faults() {
    for_each_seed(100, |seed| {
        let mut world = BgpWorld::new(NODES, ROUTERS, seed);
        // With many, a table takes several messages, and a slow router longer than until the next fault.
        let prefixes = [5, 300][world.roll(2)];
        for _ in 0..40 {
            (0..world.roll(60)).for_each(|_| change(&mut world, prefixes));
            let fault = fault(&mut world);
            world.inject(fault);
            let time = [1, 50, 3_000, 15_000][world.roll(4)];
            world.run_for(Duration::from_millis(time));
        }
        for (node, router) in (0..NODES).flat_map(|node| (0..ROUTERS).map(move |router| (node, router))) {
            world.inject(BgpFault::Cut(node, router, false));
        }
        world.run_for(RECOVERY);
        expect_all(&world);
    });
}

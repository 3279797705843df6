//! Real routers get the addresses of Services by BGP: what the end-to-end tests of MetalLB assert, with FRR, BIRD and GoBGP at once.
//!
//! `crates/speaker/tests/bgp` has each router with each sort of session. Here each lab has one session of another sort with each.

mod advertisements;
mod beside;
mod demo;
mod migration;
mod objects;
mod resources;
mod routers;
mod services;
mod sessions;
mod timers;
mod unnumbered;

use herald_lab::Lab;
use herald_routers::Kind;
use libtest_mimic::Trial;

use crate::in_lab;

/// The AS numbers of the nodes and of routers of another AS.
const ASN: u32 = 65_001;
const ROUTER_ASN: u32 = 65_000;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        of_routers(
            "routers_have_the_addresses_of_services_by_bgp_while_they_are_served",
            objects::shown,
        ),
        of_routers(
            "each_router_has_each_service_from_exactly_the_nodes_that_serve_it",
            services::served,
        ),
        of_routers(
            "sessions_are_as_the_peers_say_and_no_peer_disturbs_another",
            sessions::configured,
        ),
        of_routers(
            "advertisements_decide_what_each_router_has",
            advertisements::updated,
        ),
        of_routers(
            "bgp_goes_beside_layer_2_and_nodes_take_no_routes",
            beside::layer_2,
        ),
        of_routers("pools_and_timers_change_while_sessions_stand", timers::changed),
        of_routers(
            "a_router_is_found_on_its_link_and_has_the_routes_of_both_families",
            unnumbered::connected,
        ),
        demo::of_demo(),
    ];
    trials.extend(migration::trials());
    trials
}

/// A test that needs the programs of routers. In CI their absence is a failure, elsewhere the test shows as ignored.
fn of_routers<F>(name: &str, body: F) -> Trial
where
    F: AsyncFnOnce(&mut Lab) -> anyhow::Result<()> + Send + 'static,
{
    let obstacle = Kind::ALL.into_iter().find_map(Kind::obstacle);
    match obstacle.filter(|_| std::env::var_os("CI").is_none()) {
        None => in_lab(name, body),
        Some(obstacle) => Trial::test(format!("{name} ({obstacle})"), || Ok(())).with_ignored_flag(true),
    }
}

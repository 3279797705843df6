use herald_api::state::{AddressState, ControllerState};
use serde_json::{Value, json};

use super::*;
use crate::ui::address_map::{CellState, MapCell};
use crate::world::World;

fn overview(cluster: &ClusterView) -> Overview {
    Overview::new(cluster, Some("metallb-system"), Ok(LeaderLine::None))
}

/// Returns the states of the cells of the first pool, each with the first address and how many there are.
fn cells(cluster: &ClusterView) -> Vec<(String, u64, CellState)> {
    let overview = overview(cluster);
    let ranges = overview.pools[0].ranges.iter();
    let cells = ranges.flat_map(|range| &range.cells);
    cells
        .map(|cell| (cell.first.clone(), cell.count, cell.state))
        .collect()
}

fn of(cluster: &ClusterView, address: &str) -> MapCell {
    let overview = overview(cluster);
    let ranges = overview.pools.into_iter().flat_map(|pool| pool.ranges);
    let mut cells = ranges.flat_map(|range| range.cells);
    cells.find(|cell| cell.first == address).expect("a cell")
}

fn answers(address: &str, obstacle: Option<&str>) -> AddressState {
    let state = json!({
        "address": address, "stage": "Active", "answers": obstacle.is_none(), "since": "2026-01-01T00:00:00Z", "services": [], "obstacle": obstacle,
    });
    serde_json::from_value(state).expect("a state")
}

fn controller(address: &str) -> ControllerState {
    let state = json!({
        "version": 1, "time": "2026-01-01T00:00:00Z", "truncated": false, "active": true, "waitsForMetalLB": false,
        "quarantine": [{"address": address, "lastService": "default/gone", "until": "2999-01-01T00:00:00Z"}],
    });
    serde_json::from_value(state).expect("a state")
}

#[test]
fn each_state_of_an_address_is_shown() {
    let mut world = World::new(2);
    world.pool = "192.0.2.0-192.0.2.8".to_owned();
    world.add("web", "192.0.2.1", json!({}), &["node-0"]);
    for name in ["a", "b"] {
        world.add(name, "192.0.2.2", json!({}), &["node-0"]);
        world.services.get_mut(name).expect("a Service")["metadata"]["annotations"]["metallb.io/allow-shared-ip"] =
            "k".into();
    }
    world.add("disputed", "192.0.2.5", json!({}), &["node-0"]);
    world.nodes.get_mut("node-1").expect("a node")["status"] =
        json!({"addresses": [{"type": "InternalIP", "address": "192.0.2.6"}]});
    world.add(
        "outside",
        "198.51.100.1",
        json!({"type": "ClusterIP", "externalIPs": ["192.0.2.8"]}),
        &[],
    );
    let mut cluster = world.cluster();
    let pool = &mut cluster.objects.pools[0];
    let mut object = serde_json::to_value(&*pool).expect("JSON");
    object["spec"]["avoidBuggyIPs"] = true.into();
    object["spec"]["reservations"] = json!([{"address": "192.0.2.3", "namespace": "default", "service": "later"}, {"address": "192.0.2.1", "namespace": "default", "service": "web"}]);
    *pool = serde_json::from_value(object).expect("a pool");
    cluster.states.controller = Some(controller("192.0.2.4"));
    cluster.states.speakers[0].addresses = vec![
        answers("192.0.2.1", None),
        answers("192.0.2.5", Some("AddressConflict")),
    ];

    let states: Vec<CellState> = cells(&cluster).into_iter().map(|(_, _, state)| state).collect();
    let expected = [
        CellState::NotGivenOut,
        CellState::Used,
        CellState::Shared,
        CellState::Reserved,
        CellState::Quarantined,
        CellState::Conflict,
        CellState::UsedExternally,
        CellState::Free,
        CellState::UsedExternally,
    ];
    assert_eq!(states, expected);
    let used = of(&cluster, "192.0.2.1");
    assert_eq!(
        (used.services, used.answered_by),
        (vec!["default/web".to_owned()], vec!["node-0".to_owned()])
    );
    assert_eq!(used.notes, ["reserved for default/web"]);
    assert_eq!(of(&cluster, "192.0.2.2").services, ["default/a", "default/b"]);
    for (address, note) in [
        ("192.0.2.0", "the pool does not give it out (avoidBuggyIPs)"),
        ("192.0.2.3", "reserved for default/later"),
        (
            "192.0.2.4",
            "in quarantine until 2999-01-01T00:00:00Z; default/gone had it last",
        ),
        ("192.0.2.5", "obstacle: AddressConflict"),
        ("192.0.2.6", "node node-1 has the address itself"),
        ("192.0.2.8", "Service default/outside uses it without Herald"),
    ] {
        assert_eq!(of(&cluster, address).notes, [note], "{address}");
    }
}

#[test]
fn free_addresses_of_a_large_pool_are_shown_together() {
    let mut world = World::new(1);
    world.pool = "fd00::/64".to_owned();
    world.add("web", "fd00::10", json!({}), &["node-0"]);
    let expected = [
        ("fd00::".to_owned(), 16, CellState::Free),
        ("fd00::10".to_owned(), 1, CellState::Used),
        ("fd00::11".to_owned(), u64::MAX - 16, CellState::Free),
    ];
    assert_eq!(cells(&world.cluster()), expected);
}

#[test]
fn the_cells_of_a_pool_are_bounded_whatever_is_in_use() {
    let mut world = World::new(1);
    world.pool = "10.0.0.0/16".to_owned();
    // Runs of two addresses, each after a free one: too many for a cell each.
    for address in (0..6000_u32).filter(|address| address % 3 != 0) {
        let text = std::net::Ipv4Addr::from_bits((10 << 24) + address).to_string();
        world.add(&format!("web-{address}"), &text, json!({}), &[]);
    }
    let cluster = world.cluster();
    let overview = overview(&cluster);
    let range = &overview.pools[0].ranges[0];
    assert_eq!(range.cells.len(), CELLS_OF_POOL);
    assert_eq!((range.cells[1].count, range.cells[1].state), (2, CellState::Used));
    assert_eq!(range.cells[1].last.as_deref(), Some("10.0.0.2"));
    let shown: u64 = range.cells.iter().map(|cell| cell.count).sum();
    assert_eq!(shown + range.omitted, 1 << 16);
    assert_eq!(overview.services.len(), SERVICES);
}

#[test]
fn a_small_range_after_a_large_one_has_its_cells() {
    let mut world = World::new(1);
    world.pool = "10.0.0.0/8".to_owned();
    let mut cluster = world.cluster();
    let mut object = serde_json::to_value(&cluster.objects.pools[0]).expect("JSON");
    object["spec"]["addresses"] = json!(["10.0.0.0/8", "192.0.2.0/30"]);
    cluster.objects.pools[0] = serde_json::from_value(object).expect("a pool");
    let counts: Vec<u64> = cells(&cluster).into_iter().map(|(_, count, _)| count).collect();
    assert_eq!(counts, [1 << 24, 1, 1, 1, 1]);
}

#[test]
fn services_in_trouble_come_first_and_say_what_explain_says() {
    let mut world = World::new(2);
    world.add("a-well", "192.0.2.1", json!({}), &["node-0"]);
    world.add("z-empty", "192.0.2.2", json!({}), &[]);
    let announced = json!({"type": "herald.io/Announced", "status": "True", "reason": "Announced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    world.services.get_mut("a-well").expect("a Service")["status"]["conditions"] = json!([announced]);
    let cluster = world.cluster();
    let overview = overview(&cluster);
    let names: Vec<&str> = overview
        .services
        .iter()
        .map(|service| service.service.as_str())
        .collect();
    assert_eq!(names, ["default/z-empty", "default/a-well"]);
    for service in &overview.services {
        let mut model = Model::of(&cluster);
        let name = service.service.strip_prefix("default/").expect("its namespace");
        let object = cluster.objects.services.iter();
        let mut object = object.filter(|object| object.metadata.name.as_deref() == Some(name));
        let object = object.next().expect("a Service");
        let addresses = convert::ingress_addresses(object).into_iter().collect();
        let explained =
            ServiceExplainer::new(&cluster, &mut model, &addresses).explain(object, History::default());
        assert_eq!(
            (&service.next, service.is_well),
            (&explained.next.text, explained.next.is_well)
        );
    }
    assert!(
        overview.services[0].next.contains("make a Pod ready"),
        "{}",
        overview.services[0].next
    );
}

#[test]
fn what_is_unknown_is_not_shown_as_nothing() {
    let mut world = World::new(1);
    world.add("web", "192.0.2.1", json!({}), &["node-0"]);
    let mut cluster = world.cluster();
    let absence = crate::cluster::Absence::Forbidden("services".to_owned());
    cluster.unknown.push(absence.to_string());
    cluster.objects.missing.insert("Service", absence);
    let value = serde_json::to_value(overview(&cluster)).expect("JSON");
    assert_eq!(value["status"]["services"], Value::Null);
    let unknown = value["status"]["unknown"].as_array().expect("a list");
    assert!(
        unknown[0]
            .as_str()
            .is_some_and(|line| line.contains("you may not list services")),
        "{value}"
    );
}

#[test]
fn tenants_text_stays_text() {
    let script = "<script>alert(1)</script>";
    let mut world = World::new(1);
    world.add(script, "192.0.2.1", json!({}), &["node-0"]);
    let value = serde_json::to_value(overview(&world.cluster())).expect("JSON");
    assert_eq!(value["services"][0]["service"], format!("default/{script}"));
    assert_eq!(
        value["pools"][0]["ranges"][0]["cells"][1]["services"][0],
        format!("default/{script}")
    );
}

#[test]
fn the_page_has_no_way_to_turn_text_into_elements() {
    let page = include_str!("../page.html");
    let script = include_str!("../page.js");
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
    ] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
    // The policy of the page refuses scripts and styles in it, and other origins.
    for forbidden in ["<style", "style=", " onclick", " onload", "http:", "https:"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(page.matches("<script").count(), 1);
}

//! Tests of parsing and of the versions in force.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{Labels, PoolName, RawRequirement, RawSelector, Service, ServiceKey};

fn pool(name: &str, addresses: &[&str]) -> RawPool {
    RawPool {
        name: name.into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..RawPool::default()
    }
}

fn aged(created: i64, pool: RawPool) -> RawPool {
    RawPool { created, ..pool }
}

fn catalog(pools: Vec<RawPool>) -> Catalog {
    let mut catalog = Catalog::new();
    catalog.set_pools(pools);
    catalog
}

/// Field and message of each problem.
fn problems(catalog: &Catalog) -> Vec<(&str, String)> {
    catalog
        .problems()
        .iter()
        .map(|problem| (problem.field.as_str(), problem.error.to_string()))
        .collect()
}

/// The pools in force with their first addresses.
fn in_force(catalog: &Catalog) -> Vec<(&str, String)> {
    let first = |pool: &Pool| pool.addresses.ranges()[0].to_string();
    catalog
        .pools()
        .iter()
        .map(|pool| (pool.name.as_str(), first(pool)))
        .collect()
}

fn labels(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_string(), value.to_string())])
}

fn selector(key: &str, value: &str) -> RawSelector {
    RawSelector {
        match_labels: labels(key, value),
        ..RawSelector::default()
    }
}

fn operator(operator: &str, values: &[&str]) -> RawSelector {
    let values = values.iter().map(ToString::to_string).collect();
    let requirement = RawRequirement {
        key: "k".into(),
        operator: operator.into(),
        values,
    };
    RawSelector {
        match_expressions: Vec::from([requirement]),
        ..RawSelector::default()
    }
}

#[test]
fn every_mistake_of_a_pool_is_reported_with_its_field() {
    let allocation = RawAllocation {
        priority: 0,
        namespaces: ["a", "b", "a"].map(String::from).to_vec(),
        namespace_selectors: Vec::from([selector("x", "y"), selector("x", "y")]),
        service_selectors: Vec::from([operator("in", &["v"]), operator("In", &["v", "v"])]),
    };
    let broken = RawPool {
        addresses: ["10.0.0.0/33", "10.0.0.0/24", "10.0.0.7/32", "10.9.0.2-10.9.0.1"]
            .map(String::from)
            .to_vec(),
        allocation: Some(allocation),
        quota_per_namespace: Some(-1),
        ..pool("p", &[])
    };
    let catalog = catalog(Vec::from([broken, pool("good", &["10.0.0.0/24"])]));
    let expected = [
        ("spec.addresses[0]", "prefix length"),
        (
            "spec.addresses[3]",
            "start IP \"10.9.0.2\" is after the end IP \"10.9.0.1\"",
        ),
        (
            "spec.addresses[2]",
            "CIDR \"10.0.0.7/32\" in pool \"p\" overlaps with already defined CIDR \"10.0.0.0/24\"",
        ),
        (
            "spec.serviceAllocation.namespaces[2]",
            "duplicate definition in namespaces field",
        ),
        (
            "spec.serviceAllocation.serviceSelectors[0]",
            "invalid service label selector",
        ),
        (
            "spec.serviceAllocation.serviceSelectors[1]",
            "duplicate definition of match expression value in label selector \"v\"",
        ),
        (
            "spec.serviceAllocation.namespaceSelectors[1]",
            "duplicate definition of namespaceSelectors",
        ),
        ("spec.quota.perNamespace", "must be 0 or more"),
    ];
    let found = problems(&catalog);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((field, message), (expected_field, part)) in found.iter().zip(expected) {
        assert_eq!(*field, expected_field);
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(in_force(&catalog), [("good", "10.0.0.0/24".to_string())]);
    assert_eq!(
        catalog.withheld().into_iter().collect::<Vec<_>>(),
        [PoolName::from("p")]
    );
}

#[test]
fn a_pool_needs_a_name_and_addresses() {
    let catalog = catalog(Vec::from([pool("", &[])]));
    let messages: Vec<String> = problems(&catalog)
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    assert_eq!(messages[0], "missing pool name");
    assert!(messages[1].starts_with("pool has no prefixes defined"));
}

#[test]
fn reservations_name_an_address_of_the_pool_and_a_service_once() {
    let reservation = |address: &str, service: &str| RawReservation {
        address: address.into(),
        namespace: "default".into(),
        service: service.into(),
    };
    let mut reserving = pool("p", &["10.0.0.0/30"]);
    reserving.avoid_buggy_ips = Some(true);
    reserving.reservations = Vec::from([
        reservation("10.0.0.1", "a"),
        reservation("10.0.0.1", "b"),
        reservation("10.0.0.0", "c"),
        reservation("10.0.0.2", ""),
        reservation("10.0.0.2/32", "d"),
    ]);
    let catalog = catalog(Vec::from([reserving]));
    let fields: Vec<&str> = problems(&catalog).into_iter().map(|(field, _)| field).collect();
    let expected =
        ["[1].address", "[2].address", "[3]", "[4].address"].map(|end| format!("spec.reservations{end}"));
    assert_eq!(fields, expected);
}

#[test]
fn a_bad_edit_leaves_the_last_good_version_and_everything_else_in_force() {
    let mut catalog = catalog(Vec::from([
        pool("a", &["10.0.0.0/24"]),
        pool("b", &["10.0.1.0/24"]),
    ]));
    catalog.set_pool(&pool("a", &["10.0.0.0"]));
    catalog.set_pool(&pool("b", &["10.0.2.0/24"]));
    assert_eq!(
        in_force(&catalog),
        [("a", "10.0.0.0/24".into()), ("b", "10.0.2.0/24".into())]
    );
    let problem = &catalog.problems()[0];
    assert!(problem.older_in_force);
    assert_eq!(
        problem.to_string(),
        "IPAddressPool \"a\": spec.addresses[0]: invalid CIDR \"10.0.0.0\": a single address needs its prefix length; \
         use 10.0.0.0/32 (its last good version stays in force)"
    );
    assert!(catalog.withheld().is_empty());
    // The pool is as before: there is no problem any more.
    catalog.set_pool(&pool("a", &["10.0.0.0/24"]));
    assert_eq!(catalog.problems(), []);
    catalog.remove_pool(&PoolName::from("a"));
    assert_eq!(in_force(&catalog), [("b", "10.0.2.0/24".into())]);
}

#[test]
fn of_two_new_pools_that_overlap_the_older_one_is_used_then_the_first_by_name() {
    let both = Vec::from([
        aged(2, pool("a-young", &["10.0.0.0/24"])),
        aged(1, pool("b-old", &["10.0.0.128-10.0.1.5"])),
        aged(1, pool("c-as-old", &["10.0.1.0/24"])),
    ]);
    let expected = [("b-old", "10.0.0.128-10.0.1.5".to_string())];
    assert_eq!(in_force(&catalog(both.clone())), expected);
    // One by one the result is the same, in any order.
    for turn in 0..3 {
        let mut one_by_one = Catalog::new();
        let mut pools = both.clone();
        pools.rotate_left(turn);
        for pool in &pools {
            one_by_one.set_pool(pool);
        }
        assert_eq!(in_force(&one_by_one), expected, "turned by {turn}");
    }
    assert_eq!(
        problems(&catalog(both))[0].1.split("; ").next(),
        Some(
            "CIDR \"10.0.0.0/24\" in pool \"a-young\" overlaps with already defined CIDR \
             \"10.0.0.128-10.0.1.5\" of pool \"b-old\""
        )
    );
}

#[test]
fn an_edit_that_overlaps_a_younger_pool_in_force_is_set_aside_until_that_pool_moves() {
    let mut catalog = catalog(Vec::from([
        aged(1, pool("old", &["10.0.0.0/24"])),
        aged(2, pool("young", &["10.0.1.0/24"])),
    ]));
    catalog.set_pool(&aged(1, pool("old", &["10.0.0.0/23"])));
    assert_eq!(
        in_force(&catalog),
        [("old", "10.0.0.0/24".into()), ("young", "10.0.1.0/24".into())]
    );
    assert_eq!(catalog.problems().len(), 1);
    assert!(catalog.problems()[0].older_in_force);
    catalog.set_pool(&aged(2, pool("young", &["10.0.2.0/24"])));
    assert_eq!(
        in_force(&catalog),
        [("old", "10.0.0.0/23".into()), ("young", "10.0.2.0/24".into())]
    );
    assert_eq!(catalog.problems(), []);
}

#[test]
fn pools_may_swap_their_addresses() {
    let pools = |one: &str, other: &str| Vec::from([pool("a", &[one]), pool("b", &[other])]);
    let mut catalog = catalog(pools("10.0.0.0/24", "10.0.1.0/24"));
    catalog.set_pools(pools("10.0.1.0/24", "10.0.0.0/24"));
    assert_eq!(
        in_force(&catalog),
        [("a", "10.0.1.0/24".into()), ("b", "10.0.0.0/24".into())]
    );
    catalog.set_pool(&pool("a", &["10.0.0.0/24"]));
    catalog.set_pool(&pool("b", &["10.0.1.0/24"]));
    assert_eq!(
        in_force(&catalog),
        [("a", "10.0.0.0/24".into()), ("b", "10.0.1.0/24".into())]
    );
}

#[test]
fn a_duplicate_name_is_reported_and_the_first_pool_is_used() {
    let catalog = catalog(Vec::from([
        pool("p", &["10.0.0.0/24"]),
        pool("p", &["10.0.1.0/24"]),
    ]));
    assert_eq!(in_force(&catalog), [("p", "10.0.0.0/24".into())]);
    assert!(
        problems(&catalog)[0]
            .1
            .starts_with("duplicate definition of IPAddressPool \"p\"")
    );
}

#[test]
fn ten_thousand_pools_that_all_overlap_are_handled_in_time() {
    let all = (0..10_000).map(|n| aged(n, pool(&format!("p{n:05}"), &["0.0.0.0/0", "::/0"])));
    let catalog = catalog(all.collect());
    assert_eq!(in_force(&catalog), [("p00000", "0.0.0.0/0".into())]);
    assert_eq!(catalog.problems().len(), 2 * 9_999);
}

#[test]
fn namespaces_decide_what_namespace_selectors_select() {
    let allocation = RawAllocation {
        namespaces: Vec::from(["listed".to_string()]),
        namespace_selectors: Vec::from([selector("team", "a"), selector("team", "b")]),
        ..RawAllocation::default()
    };
    let mut catalog = catalog(Vec::from([RawPool {
        allocation: Some(allocation),
        ..pool("p", &["10.0.0.0/24"])
    }]));
    let allows = |catalog: &Catalog, namespace: &str| {
        catalog.pools()[0].allows(&Service::new(ServiceKey::new(namespace, "s")))
    };
    assert!(allows(&catalog, "listed") && !allows(&catalog, "one"));
    catalog.set_namespaces(BTreeMap::from([("one".to_string(), labels("team", "b"))]));
    assert!(allows(&catalog, "listed") && allows(&catalog, "one") && !allows(&catalog, "two"));
    catalog.set_namespaces(BTreeMap::from([("one".to_string(), labels("team", "c"))]));
    assert!(!allows(&catalog, "one"));
}

#[test]
fn an_advertisement_selects_pools_by_name_or_label_and_all_pools_only_without_both() {
    let mut labelled = pool("labelled", &["10.0.1.0/24"]);
    labelled.labels = labels("tier", "gold");
    let catalog = catalog(Vec::from([labelled, pool("plain", &["10.0.0.0/24"])]));
    for (pools, selectors, expected) in [
        (&[][..], &[][..], [true, true]),
        (&["plain", "missing"], &[], [false, true]),
        (&[], &[selector("tier", "gold")], [true, false]),
        (&["plain"], &[selector("tier", "gold")], [true, true]),
        (&[], &[selector("tier", "none")], [false, false]),
    ] {
        let raw = RawL2Advertisement {
            pools: pools.iter().map(ToString::to_string).collect(),
            pool_selectors: selectors.to_vec(),
            ..RawL2Advertisement::default()
        };
        let advertisement = L2Advertisement::parse(&raw).expect("good");
        let selected: Vec<bool> = catalog
            .pools()
            .iter()
            .map(|pool| advertisement.scope.selects_pool(pool))
            .collect();
        assert_eq!(selected, expected, "{pools:?} {selectors:?}");
    }
}

#[test]
fn nodes_services_and_scores_follow_their_selectors() {
    let raw = RawL2Advertisement {
        node_selectors: Vec::from([selector("rack", "1"), selector("rack", "2")]),
        service_selectors: Vec::from([selector("app", "web")]),
        interfaces: ["eth1", "eth0", "eth1"].map(String::from).to_vec(),
        preferred_nodes: Vec::from([
            (10, selector("rack", "1")),
            (10, selector("rack", "1")),
            (5, RawSelector::default()),
        ]),
        ..RawL2Advertisement::default()
    };
    let advertisement = L2Advertisement::parse(&raw).expect("good");
    assert!(
        advertisement.scope.selects_node(&labels("rack", "2"))
            && !advertisement.scope.selects_node(&labels("rack", "3"))
    );
    assert!(
        advertisement.scope.selects_service(&labels("app", "web"))
            && !advertisement.scope.selects_service(&Labels::new())
    );
    assert_eq!(advertisement.interfaces, ["eth0", "eth1"]);
    assert_eq!(advertisement.score(&labels("rack", "1")), 25);
    assert_eq!(advertisement.score(&labels("rack", "2")), 5);
}

#[test]
fn every_mistake_of_an_advertisement_is_reported_and_its_last_good_version_stays() {
    let good = RawL2Advertisement {
        name: "ad".into(),
        pools: Vec::from(["p".to_string()]),
        ..RawL2Advertisement::default()
    };
    let broken = RawL2Advertisement {
        name: "ad".into(),
        pools: ["p", "q", "p"].map(String::from).to_vec(),
        pool_selectors: Vec::from([selector("x", "y"), selector("x", "y")]),
        node_selectors: Vec::from([operator("Exists", &["v"])]),
        service_selectors: Vec::from([operator("In", &[])]),
        preferred_nodes: Vec::from([(1, operator("near", &[]))]),
        ..RawL2Advertisement::default()
    };
    let mut catalog = Catalog::new();
    catalog.set_l2_advertisements(Vec::from([
        good,
        RawL2Advertisement {
            name: "other".into(),
            ..broken.clone()
        },
    ]));
    catalog.set_l2_advertisement(&broken);
    let names: Vec<&str> = catalog
        .l2_advertisements()
        .iter()
        .map(|ad| ad.name.as_str())
        .collect();
    assert_eq!(names, ["ad"]);
    let of = |catalog: &Catalog, name: &str| -> Vec<(String, bool)> {
        let problems = catalog.problems().iter().filter(|problem| problem.name == name);
        problems
            .map(|problem| (problem.field.clone(), problem.older_in_force))
            .collect()
    };
    let fields = [
        "spec.ipAddressPools[2]",
        "spec.ipAddressPoolSelectors[1]",
        "spec.nodeSelectors[0]",
        "spec.serviceSelectors[0]",
        "spec.preferredNodeSelectors[0].preference",
    ];
    assert_eq!(of(&catalog, "ad"), fields.map(|field| (field.to_string(), true)));
    assert_eq!(
        of(&catalog, "other"),
        fields.map(|field| (field.to_string(), false))
    );
    catalog.remove_l2_advertisement("ad");
    assert!(catalog.l2_advertisements().is_empty() && of(&catalog, "ad").is_empty());
}

proptest! {
    /// In any order of any edits, pools in force never overlap, and each pool whose latest version is not in force has a
    /// problem.
    #[test]
    fn pools_in_force_never_overlap(
        edits in prop::collection::vec((0u8..5, 0i64..3, prop::option::weighted(0.9, (0u32..24, 1u32..9))), 1..30),
    ) {
        let mut catalog = Catalog::new();
        let mut written: BTreeMap<PoolName, RawPool> = BTreeMap::new();
        for (name, created, range) in edits {
            let name = format!("p{name}");
            let Some((start, length)) = range else {
                catalog.remove_pool(&PoolName::new(&name));
                written.remove(&PoolName::new(&name));
                continue;
            };
            let raw = aged(created, pool(&name, &[&format!("10.0.0.{start}-10.0.0.{}", start + length)]));
            catalog.set_pool(&raw);
            written.insert(PoolName::new(&name), raw);
            let ranges = catalog.pools().iter().flat_map(|pool| pool.addresses.ranges().to_vec()).collect();
            prop_assert!(crate::AddressSet::new(ranges).is_ok());
            for (name, raw) in &written {
                let wanted = raw.addresses[0].parse::<crate::AddressRange>().expect("good");
                let mut taken = catalog.pools().iter().filter(|pool| pool.name == *name);
                let is_as_written = taken.any(|pool| pool.addresses.ranges() == [wanted]);
                let has_problem = catalog.problems().iter().any(|problem| problem.name == name.as_str());
                prop_assert_eq!(has_problem, !is_as_written);
                let overlaps = |pool: &Pool| pool.name != *name && pool.addresses.ranges()[0].overlaps(&wanted);
                let is_blocked = catalog.pools().iter().any(overlaps);
                prop_assert!(is_as_written || is_blocked, "{} is set aside for a reason", name);
            }
        }
    }
}

#[test]
fn ten_thousand_pools_that_move_by_one_address_are_handled_in_time() {
    const POOLS: u32 = 10_000;
    let at = |place: u32| Ipv4Addr::from_bits((10 << 24) + place).to_string();
    let one = |n: u32, place| {
        aged(
            n.into(),
            pool(&format!("p{n:05}"), &[&format!("{}/32", at(place))]),
        )
    };
    let mut catalog = catalog((0..POOLS).map(|n| one(n, n)).collect());
    assert!(catalog.problems().is_empty());
    // This pool overlaps for ever, so that not all pools can be used at once.
    let overlapping = aged(POOLS.into(), pool("z", &["10.0.0.9/32"]));
    catalog.set_pools((0..POOLS).map(|n| one(n, n + 1)).chain([overlapping]).collect());
    assert_eq!(catalog.problems().len(), 1);
    let first = catalog
        .pools()
        .first()
        .and_then(|pool| pool.addresses.ranges().first().copied());
    assert_eq!(
        first.map(|range| range.first()),
        Some(Ipv4Addr::new(10, 0, 0, 1).into())
    );
}

//! Tests of checks that change nothing.

use alloc::string::ToString;

use proptest::prelude::*;

use super::*;
use crate::RawSelector;
use crate::config::RawAllocation;

fn pool(name: &str, created: i64, addresses: &[&str]) -> RawPool {
    RawPool {
        name: name.into(),
        created,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..RawPool::default()
    }
}

fn catalog(pools: &[RawPool]) -> Catalog {
    let mut catalog = Catalog::new();
    catalog.set_pools(pools.to_vec());
    catalog
}

fn fields(problems: &[Problem]) -> Vec<(&str, &str, bool)> {
    let mut fields = Vec::new();
    for problem in problems {
        fields.push((
            problem.name.as_str(),
            problem.field.as_str(),
            problem.older_in_force,
        ));
    }
    fields
}

#[test]
fn a_new_pool_that_overlaps_another_one_has_a_problem_however_old_it_says_it_is() {
    let catalog = catalog(&[pool("old", 5, &["10.0.0.0/24"])]);
    let new = pool("new", 0, &["10.1.0.0/24", "10.0.0.9/32"]);
    let problems = catalog.check(&ConfigChange::ApplyPool(new));
    assert_eq!(fields(&problems), [("new", "spec.addresses[1]", false)]);
    assert_eq!(
        problems[0].error,
        ConfigError::Overlap {
            entry: "10.0.0.9/32".into(),
            pool: "new".into(),
            other: "10.0.0.0/24".into(),
            other_pool: "old".into(),
        }
    );
    assert_eq!(
        catalog.problems(),
        [],
        "the catalog is as before, and the checked pool is not in it"
    );
    assert_eq!(catalog.pools().len(), 1);
}

#[test]
fn a_good_pool_and_an_edit_without_overlap_have_no_problems() {
    let catalog = catalog(&[pool("a", 1, &["10.0.0.0/24"]), pool("b", 2, &["10.0.1.0/24"])]);
    for good in [pool("c", 3, &["10.0.2.0/24"]), pool("a", 1, &["10.0.0.0/25"])] {
        assert_eq!(catalog.check(&ConfigChange::ApplyPool(good)), []);
    }
}

#[test]
fn an_edit_that_overlaps_another_pool_has_a_problem_and_its_last_good_version_stays() {
    let catalog = catalog(&[pool("a", 1, &["10.0.0.0/24"]), pool("b", 2, &["10.0.1.0/24"])]);
    let problems = catalog.check(&ConfigChange::ApplyPool(pool("a", 1, &["10.0.0.0/23"])));
    assert_eq!(fields(&problems), [("a", "spec.addresses[0]", true)]);
    assert_eq!(
        catalog.pools()[0].addresses.ranges()[0].to_string(),
        "10.0.0.0/24"
    );
}

#[test]
fn every_mistake_of_a_pool_is_reported() {
    let broken = RawPool {
        allocation: Some(RawAllocation {
            namespace_selectors: Vec::from([RawSelector::default(), RawSelector::default()]),
            ..RawAllocation::default()
        }),
        quota_per_namespace: Some(-1),
        ..pool("p", 0, &["10.0.0.0/33", "10.0.0.9-10.0.0.1"])
    };
    let problems = Catalog::new().check(&ConfigChange::ApplyPool(broken));
    let expected = [
        ("p", "spec.addresses[0]", false),
        ("p", "spec.addresses[1]", false),
        ("p", "spec.serviceAllocation.namespaceSelectors[1]", false),
        ("p", "spec.quota.perNamespace", false),
    ];
    assert_eq!(fields(&problems), expected);
    let nameless = Catalog::new().check(&ConfigChange::ApplyPool(pool("", 0, &[])));
    assert_eq!(
        fields(&nameless),
        [("", "metadata.name", false), ("", "spec.addresses", false)]
    );
}

#[test]
fn every_mistake_of_an_advertisement_is_reported() {
    let mut catalog = catalog(&[pool("p", 1, &["10.0.0.0/24"])]);
    let good = RawL2Advertisement {
        name: "ad".into(),
        pools: Vec::from(["p", "missing"].map(String::from)),
        ..RawL2Advertisement::default()
    };
    assert_eq!(
        catalog.check(&ConfigChange::ApplyL2Advertisement(good.clone())),
        []
    );
    let broken = RawL2Advertisement {
        pools: Vec::from(["p", "p"].map(String::from)),
        node_selectors: Vec::from([RawSelector::default(), RawSelector::default()]),
        ..good.clone()
    };
    let change = ConfigChange::ApplyL2Advertisement(broken);
    let places = ["spec.ipAddressPools[1]", "spec.nodeSelectors[1]"];
    let problems = catalog.check(&change);
    assert_eq!(fields(&problems), places.map(|field| ("ad", field, false)));
    catalog.set_l2_advertisement(&good);
    let problems = catalog.check(&change);
    assert_eq!(fields(&problems), places.map(|field| ("ad", field, true)));
    assert_eq!(catalog.problems(), []);
}

#[test]
fn a_deleted_resource_has_no_problems() {
    let mut catalog = catalog(&[pool("p", 1, &["10.0.0.0/24"])]);
    catalog.set_l2_advertisement(&RawL2Advertisement {
        name: "ad".into(),
        pools: Vec::from([String::from("p")]),
        ..RawL2Advertisement::default()
    });
    assert_eq!(catalog.check(&ConfigChange::DeletePool("p".into())), []);
    assert_eq!(
        catalog.check(&ConfigChange::DeleteL2Advertisement("ad".into())),
        []
    );
    assert_eq!((catalog.pools().len(), catalog.l2_advertisements().len()), (1, 1));
}

proptest! {
    /// A check returns exactly the problems that the resource has after the change, and changes nothing.
    #[test]
    fn a_check_finds_what_an_applied_change_would_cause(
        pools in prop::collection::vec((0u8..6, 0u32..24, 1u32..9), 0..8),
        (name, start, length) in (0u8..6, 0u32..24, 1u32..9),
    ) {
        let range = |start, length| alloc::format!("10.0.0.{start}-10.0.0.{}", start + length);
        let mut catalog = Catalog::new();
        for (created, (name, start, length)) in pools.into_iter().enumerate() {
            let name = alloc::format!("p{name}");
            let known = catalog.pool_records.created(&name.as_str().into());
            let created = known.unwrap_or(created as i64);
            catalog.set_pool(&pool(&name, created, &[&range(start, length)]));
        }
        let name = alloc::format!("p{name}");
        let created = catalog.pool_records.created(&name.as_str().into()).unwrap_or(100);
        let changed = pool(&name, created, &[&range(start, length)]);
        let before = (catalog.pools().to_vec(), catalog.problems().to_vec());
        let found = catalog.check(&ConfigChange::ApplyPool(changed.clone()));
        prop_assert_eq!(&(catalog.pools().to_vec(), catalog.problems().to_vec()), &before);
        catalog.set_pool(&changed);
        let applied = catalog.problems().iter().filter(|problem| problem.name == name);
        prop_assert_eq!(found, applied.cloned().collect::<Vec<_>>());
    }
}

#[test]
fn the_catalog_after_a_change_has_the_problems_of_the_change_and_holds_no_namespaces_against_its_selectors() {
    let mut catalog = catalog(&[pool("old", 5, &["10.0.0.0/24"])]);
    let labels = || Labels::from([("team".to_string(), "a".to_string())]);
    catalog.set_namespaces((0..100).map(|n| (alloc::format!("n{n}"), labels())).collect());
    for addresses in ["10.1.0.0/24", "10.0.0.9/32", "x"] {
        let selector = RawSelector {
            match_labels: labels(),
            ..RawSelector::default()
        };
        let new = RawPool {
            allocation: Some(RawAllocation {
                namespace_selectors: [selector].into(),
                ..RawAllocation::default()
            }),
            ..pool("new", 6, &[addresses])
        };
        let after = catalog.after(ConfigChange::ApplyPool(new.clone()));
        let mut applied = catalog.clone();
        applied.set_pool(&new);
        assert_eq!(after.problems(), applied.problems());
        assert_eq!(after.pools().len(), applied.pools().len());
        assert!(after.namespaces.is_empty());
        assert_eq!(
            fields(&catalog.check(&ConfigChange::ApplyPool(new))),
            fields(after.problems())
        );
    }
}

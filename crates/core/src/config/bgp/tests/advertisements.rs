//! Advertisements and communities.

use super::*;
use crate::bgp::{Community, LargeCommunity};
use crate::config::{Catalog, ConfigError, RawPool};

fn of(change: impl FnOnce(&mut RawBgpAdvertisement)) -> BgpCatalog {
    let mut raw = advertisement();
    change(&mut raw);
    catalog([BgpChange::ApplyAdvertisement(raw)])
}

fn parsed(row: &str, catalog: &BgpCatalog) -> BgpAdvertisement {
    assert_accepted(row, catalog);
    catalog
        .advertisements()
        .next()
        .cloned()
        .expect("an advertisement")
}

fn names(name: &str, created: i64, pairs: &[(&str, &str)]) -> BgpChange {
    let pairs = pairs.iter();
    BgpChange::ApplyCommunities(RawCommunities {
        name: name.into(),
        created,
        communities: pairs
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    })
}

#[test]
fn an_advertisement_without_fields_is_for_all() {
    let plain = parsed("A1", &of(|_| ()));
    assert_eq!((plain.length_v4, plain.length_v6), (32, 128));
    assert_eq!((plain.local_pref, plain.med), (None, None));
    assert_eq!(plain.communities, Communities::default());
    assert!(plain.selects_peer("any") && plain.scope.selects_node(&Labels::new()));
    assert_eq!(
        parsed("0 is none", &of(|raw| raw.local_pref = Some(0))).local_pref,
        None
    );
    let highest = parsed("32 bits", &of(|raw| raw.local_pref = Some(u32::MAX.into())));
    assert_eq!(highest.local_pref, Some(u32::MAX));
    assert_eq!(parsed("MED", &of(|raw| raw.med = Some(0))).med, Some(0));
    let few = parsed("peers", &of(|raw| raw.peers = texts(&["a", "b"])));
    assert!(few.selects_peer("b") && !few.selects_peer("c"));
}

#[test]
fn each_mistake_of_an_advertisement_has_its_field_and_message() {
    type Change = fn(&mut RawBgpAdvertisement);
    let rows: [(&str, Change, &str, &str); 17] = [
        (
            "A2",
            |raw| raw.aggregation_length = Some(34),
            "spec.aggregationLength",
            "invalid aggregation length 34 for IPv4",
        ),
        (
            "0",
            |raw| raw.aggregation_length = Some(0),
            "spec.aggregationLength",
            "from 1 to 32",
        ),
        (
            "V6 0",
            |raw| raw.aggregation_length_v6 = Some(0),
            "spec.aggregationLengthV6",
            "invalid aggregation length 0 for IPv6",
        ),
        (
            "V6 129",
            |raw| raw.aggregation_length_v6 = Some(129),
            "spec.aggregationLengthV6",
            "from 1 to 128",
        ),
        (
            "V6 -1",
            |raw| raw.aggregation_length_v6 = Some(-1),
            "spec.aggregationLengthV6",
            "invalid aggregation length -1",
        ),
        (
            "A8 pools",
            |raw| raw.pools = texts(&["p", "p"]),
            "spec.ipAddressPools[1]",
            "duplicate definition of ipAddressPools \"p\"",
        ),
        (
            "A8 peers",
            |raw| raw.peers = texts(&["peer1", "peer1"]),
            "spec.peers[1]",
            "duplicate definition of peers \"peer1\"",
        ),
        (
            "A8 communities",
            |raw| raw.communities = texts(&["1234:5678", "1234:5678"]),
            "spec.communities[1]",
            "duplicate definition of communities \"1234:5678\"",
        ),
        (
            "A9",
            |raw| raw.communities = texts(&["community"]),
            "spec.communities[0]",
            "invalid community format: community",
        ),
        (
            "A12",
            |raw| {
                (raw.service_selectors, raw.aggregation_length) =
                    (Vec::from([selector("app", "nginx")]), Some(24))
            },
            "spec.aggregationLength",
            "serviceSelectors and aggregationLength are mutually exclusive",
        ),
        (
            "A12 V6",
            |raw| {
                (raw.service_selectors, raw.aggregation_length_v6) =
                    (Vec::from([selector("app", "nginx")]), Some(64))
            },
            "spec.aggregationLengthV6",
            "serviceSelectors and aggregationLengthV6 are mutually exclusive",
        ),
        (
            "A15",
            |raw| raw.service_selectors = Vec::from([selector("app", "nginx"), selector("app", "nginx")]),
            "spec.serviceSelectors[1]",
            "duplicate definition of serviceSelectors",
        ),
        (
            "localPref",
            |raw| raw.local_pref = Some(-1),
            "spec.localPref",
            "invalid localPref -1",
        ),
        (
            "med",
            |raw| raw.med = Some(1 << 32),
            "spec.med",
            "invalid med 4294967296",
        ),
        (
            "C5",
            |raw| raw.communities = texts(&["99999999:1"]),
            "spec.communities[0]",
            "invalid section \"99999999\" of community \"99999999:1\"",
        ),
        (
            "C5 second",
            |raw| raw.communities = texts(&["1:99999999"]),
            "spec.communities[0]",
            "invalid section \"99999999\"",
        ),
        (
            "node",
            |raw| raw.node_selectors = Vec::from([expression("a", "In", &[])]),
            "spec.nodeSelectors[0]",
            "failed to parse node selector",
        ),
    ];
    for (row, change, field, part) in rows {
        let catalog = of(change);
        assert_refused(row, &catalog, field, part);
        let ConfigError::Bgp(error) = &catalog.problems()[0].error else {
            continue;
        };
        assert_eq!(error.is_transient(), row == "A9", "{row}");
    }
}

#[test]
fn selectors_of_services_go_with_host_routes_only() {
    for (v4, v6) in [(Some(32), None), (None, Some(128)), (Some(32), Some(128))] {
        let catalog = of(|raw| {
            raw.service_selectors = Vec::from([selector("app", "nginx"), selector("app", "apache")]);
            (raw.aggregation_length, raw.aggregation_length_v6) = (v4, v6);
        });
        let scope = parsed("A13", &catalog).scope;
        let selects = |app| scope.selects_service(&labels(&[("app", app)]));
        assert_eq!(
            ["nginx", "apache", "other"].map(selects),
            [true, true, false],
            "A14"
        );
    }
}

#[test]
fn pools_are_selected_by_label() {
    let mut pools = Catalog::new();
    let pool = |name: &str, addresses: &str| RawPool {
        name: name.into(),
        labels: labels(&[("test", name)]),
        addresses: texts(&[addresses]),
        ..RawPool::default()
    };
    pools.set_pools(Vec::from([
        pool("pool1", "10.20.0.0/16"),
        pool("pool2", "30.0.0.0/16"),
    ]));
    for (row, value, expected) in [
        ("A10", "pool1", [true, false]),
        ("A10", "pool2", [false, true]),
        ("A16", "x", [false; 2]),
    ] {
        let scope = parsed(
            row,
            &of(|raw| raw.pool_selectors = Vec::from([selector("test", value)])),
        )
        .scope;
        let selected: Vec<bool> = pools
            .pools()
            .iter()
            .map(|pool| scope.selects_pool(pool))
            .collect();
        assert_eq!(selected, expected, "{row}");
    }
}

#[test]
fn communities_are_standard_or_large() {
    for (row, value, expected) in [
        ("C1", "12345:12345", Ok((Some(Community(12_345, 12_345)), None))),
        ("zeros", "0001:65535", Ok((Some(Community(1, 65_535)), None))),
        ("C2", "12345", Err("invalid community format: 12345")),
        (
            "C3",
            "large:12345:12345:12345",
            Ok((None, Some(LargeCommunity(12_345, 12_345, 12_345)))),
        ),
        ("C4", "12345:12345:12345", Err("invalid community format")),
        (
            "marker",
            "small:1:2:3",
            Err("expected community to be of format large:<uint32>:<uint32>:<uint32>"),
        ),
        ("five parts", "large:1:2:3:4", Err("invalid community format")),
        ("sign", "+1:1", Err("invalid section \"+1\"")),
        ("hexadecimal", "0x1:1", Err("invalid section \"0x1\"")),
        ("space", "1: 1", Err("invalid section \" 1\"")),
        ("nothing", ":", Err("invalid section \"\"")),
        (
            "33 bits",
            "large:1:2:4294967296",
            Err("invalid section \"4294967296\""),
        ),
        ("well-known", "no-export", Err("invalid community format")),
    ] {
        let catalog = of(|raw| raw.communities = texts(&[value]));
        match expected {
            Ok((standard, large)) => {
                let communities = parsed(row, &catalog).communities;
                assert!(communities.standard.into_iter().eq(standard), "{row}");
                assert!(communities.large.into_iter().eq(large), "{row}");
            }
            Err(part) => assert_refused(row, &catalog, "spec.communities[0]", part),
        }
    }
    assert_eq!(
        LargeCommunity(12_345, 12_345, 12_345).to_string(),
        "12345:12345:12345",
        "C3"
    );
    assert!(Community(0, 1234) < Community(0, 2345), "C8");
    assert!(LargeCommunity(1234, 0, 0) < LargeCommunity(1234, 0, 1), "C8");
}

#[test]
fn names_of_communities_come_first() {
    let listing = |list: &[&str]| {
        let mut raw = advertisement();
        raw.communities = texts(list);
        BgpChange::ApplyAdvertisement(raw)
    };
    let defined = names("a", 0, &[("bar", "1:2"), ("3:4", "large:5:6:7"), ("same", "1:2")]);
    let catalog = catalog([listing(&["3:4", "bar", "same", "9:9"]), defined]);
    let communities = parsed("names", &catalog).communities;
    assert!(
        communities
            .standard
            .into_iter()
            .eq([Community(1, 2), Community(9, 9)])
    );
    assert!(communities.large.into_iter().eq([LargeCommunity(5, 6, 7)]));
}

#[test]
fn a_name_of_a_community_is_defined_once() {
    let field = "spec.communities[0].value";
    assert_refused(
        "C6",
        &catalog([names("a", 0, &[("x", "1234")])]),
        field,
        "parsing community \"x\": invalid community format: 1234",
    );
    assert_refused(
        "C5",
        &catalog([names("a", 0, &[("x", "99999999:1")])]),
        field,
        "invalid section",
    );
    assert_refused(
        "C5",
        &catalog([names("a", 0, &[("x", "1:99999999")])]),
        field,
        "invalid section",
    );
    let twice = catalog([names("a", 0, &[("bar", "1:1"), ("bar", "1:1")])]);
    assert_refused(
        "C7 in one",
        &twice,
        "spec.communities[1].name",
        "duplicate definition of community \"bar\"",
    );
    // The older resource defines it, whatever the names.
    let mut raw = advertisement();
    raw.communities = texts(&["bar"]);
    let mut catalog = catalog([
        names("a", 2, &[("bar", "1:1")]),
        names("b", 1, &[("bar", "2:2")]),
        BgpChange::ApplyAdvertisement(raw),
    ]);
    assert_refused(
        "C7 in two",
        &catalog,
        "spec.communities[0].name",
        "duplicate definition of community \"bar\"",
    );
    assert_eq!(catalog.problems()[0].name, "a");
    let value = |catalog: &BgpCatalog| {
        let advertisement = catalog.advertisements().next().expect("one");
        advertisement
            .communities
            .standard
            .first()
            .map(ToString::to_string)
    };
    assert_eq!(value(&catalog).as_deref(), Some("2:2"));
    catalog.apply([BgpChange::Delete(BgpKind::Communities, "b".into())]);
    assert_accepted("deleted", &catalog);
    assert_eq!(value(&catalog).as_deref(), Some("1:1"));
    // Without the name the advertisement stays as it was.
    catalog.apply([BgpChange::Delete(BgpKind::Communities, "a".into())]);
    assert_refused(
        "A9",
        &catalog,
        "spec.communities[0]",
        "invalid community format: bar",
    );
    assert!(catalog.problems()[0].older_in_force);
    assert_eq!(value(&catalog).as_deref(), Some("1:1"));
}

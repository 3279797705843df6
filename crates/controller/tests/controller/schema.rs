//! The definition of a pool compared with the controller: the definition refuses nothing that the controller accepts.

use herald_core::RawSelector;
use herald_core::config::{Catalog, RawAllocation, RawPool};
use serde_json::json;

use crate::cluster::{Cluster, NAMESPACE};

/// An entry of `spec.addresses`, whether it is valid, and if not, whether a schema can detect that.
const ENTRIES: &[(&str, bool, bool)] = &[
    ("192.168.10.0/24", true, true),
    ("192.168.10.100/24", true, true),
    ("192.168.10.7/32", true, true),
    ("fc00:f853:0ccd:e799::/124", true, true),
    ("FC00::1/64", true, true),
    ("::ffff:192.168.10.0/120", true, true),
    ("192.168.10.10-192.168.10.20", true, true),
    ("192.168.10.10 - 192.168.10.20", true, true),
    ("192.168.10.10-192.168.10.10", true, true),
    ("fc00::1-fc00::ff", true, true),
    ("::ffff:192.168.10.1-::FFFF:192.168.10.9", true, true),
    ("192.168.10.1-::ffff:192.168.10.9", true, true),
    ("192.168.10.7", false, true),
    ("fc00::1", false, true),
    ("", false, true),
    (" 192.168.10.0/24", false, true),
    ("192.168.10.0/24 ", false, true),
    ("192.168.10.0/33", false, true),
    ("192.168.010.0/24", false, true),
    ("192.168.10.0/", false, true),
    ("fe80::1%eth0/64", false, true),
    ("192.168.10.0/255.255.255.0", false, true),
    ("192.168.10.10-20", false, true),
    ("192.168.10.10-", false, true),
    ("-192.168.10.20", false, true),
    ("192.168.10.0/28-192.168.10.20", false, true),
    ("192.168.10.10-192.168.10.20-192.168.10.30", false, true),
    ("192.168.10.10–192.168.10.20", false, true),
    ("1.2.3.4-fc00::1", false, true),
    ("example.org/24", false, true),
    ("192.168.10.20-192.168.10.10", false, false),
    ("::ffff:192.168.10.0/200", false, false),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_refuses_what_the_controller_refuses_and_accepts_what_it_accepts() {
    let cluster = Cluster::start().await;
    let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/ipaddresspools");
    for (index, (entry, is_good, shows)) in ENTRIES.iter().enumerate() {
        let mut catalog = Catalog::new();
        catalog.set_pools(vec![RawPool {
            name: "pool".to_owned(),
            addresses: vec![(*entry).to_owned()],
            ..RawPool::default()
        }]);
        assert_eq!(
            catalog.problems().is_empty(),
            *is_good,
            "{entry:?}: {:?}",
            catalog.problems()
        );
        let pool = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": format!("pool-{index}"), "namespace": NAMESPACE},
            "spec": {"addresses": [entry]},
        });
        match cluster.send("POST", &path, "application/json", pool).await {
            Ok(_) => assert!(*is_good || !shows, "{entry:?} is taken"),
            Err(error) => {
                let error = error.to_string();
                assert!(!is_good && *shows, "{entry:?} is refused: {error}");
                assert!(error.contains("spec.addresses[0]"), "{error}");
                assert!(
                    error.contains("such as") || error.contains("same family"),
                    "{error}"
                );
            }
        }
    }
}

/// Key and value of a label in a selector, and whether they are valid.
const LABELS: &[(&str, &str, bool)] = &[
    ("app", "", true),
    ("app", "Web_1.x-y", true),
    ("app.kubernetes.io/name", "web", true),
    ("a-b.c/A_b.c", "1", true),
    ("", "web", false),
    ("-app", "web", false),
    ("a b", "web", false),
    ("/app", "web", false),
    ("a/b/c", "web", false),
    ("App.io/name", "web", false),
    (
        "x234567890123456789012345678901234567890123456789012345678901234",
        "web",
        false,
    ),
    ("app", "a/b", false),
    ("app", "-", false),
    ("app", "a b", false),
    (
        "app",
        "x234567890123456789012345678901234567890123456789012345678901234",
        false,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_refuses_the_label_selectors_that_the_controller_refuses() {
    let cluster = Cluster::start().await;
    let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/ipaddresspools");
    for (index, (key, value, is_good)) in LABELS.iter().enumerate() {
        let mut selector = RawSelector::default();
        selector
            .match_labels
            .insert((*key).to_owned(), (*value).to_owned());
        let mut catalog = Catalog::new();
        catalog.set_pools(vec![RawPool {
            name: "pool".to_owned(),
            addresses: vec!["192.0.2.0/24".to_owned()],
            allocation: Some(RawAllocation {
                service_selectors: vec![selector],
                ..RawAllocation::default()
            }),
            ..RawPool::default()
        }]);
        assert_eq!(catalog.problems().is_empty(), *is_good, "{key:?} {value:?}");
        let by_label = json!({"matchLabels": {*key: value}});
        let by_expression = json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]});
        for (form, selector) in [by_label, by_expression].into_iter().enumerate() {
            let pool = json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
                "metadata": {"name": format!("pool-{index}-{form}"), "namespace": NAMESPACE},
                "spec": {"addresses": ["192.0.2.0/24"], "serviceAllocation": {"serviceSelectors": [selector]}},
            });
            match cluster.send("POST", &path, "application/json", pool).await {
                Ok(_) => assert!(*is_good, "{key:?} {value:?} is taken"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!is_good, "{key:?} {value:?} is refused: {error}");
                    assert!(
                        error.contains("spec.serviceAllocation.serviceSelectors[0]"),
                        "{error}"
                    );
                }
            }
        }
    }
}

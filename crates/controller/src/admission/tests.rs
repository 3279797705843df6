//! Reviews as an API server asks for them, with the real catalog and allocator and no server.

mod bgp;

use std::time::Duration;

use herald_core::ipam::{Allocator, ExternalUser};
use herald_core::{Labels, NodeName, RawPool};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::configuration::BgpConfiguration;
use crate::effects::EffectSource;
use herald_api::{MOST_ENTRIES, convert};
use herald_runtime::admin::ReviewError;

const NAMESPACE: &str = "metallb-system";

/// What a controller knows.
struct Fixture {
    catalog: Catalog,
    bgp: BgpConfiguration,
    effects: Effects,
    reconciler: Reconciler,
}

impl Fixture {
    /// A controller that has listed a pool, its advertisement, a Node and a Service with an address.
    fn new(is_active: bool) -> Self {
        let now = Time::ZERO;
        let mut fixture = Self {
            catalog: Catalog::new(),
            bgp: BgpConfiguration::default(),
            effects: Effects::default(),
            reconciler: Reconciler::new(Allocator::with_quarantine(Duration::ZERO)),
        };
        for object in [
            pool("first", json!(["192.0.2.0/28"])),
            advertisement(json!({"ipAddressPools": ["first"]})),
        ] {
            let request = review("CREATE", &object, &Value::Null);
            let Ok(ProposedChange::Resource { change, .. }) = proposed(&request) else {
                panic!("not a resource: {object}");
            };
            fixture.catalog.apply([change]);
        }
        fixture.effects.set_node(&NodeName::new("node-1"), Labels::new());
        let node = ExternalUser::Node(NodeName::new("node-1"));
        fixture
            .reconciler
            .set_external_user(node, &["198.51.100.1".parse().expect("an address")], now);
        for source in [
            EffectSource::Pools,
            EffectSource::Advertisements,
            EffectSource::Bgp,
            EffectSource::Nodes,
            EffectSource::Speakers,
        ] {
            fixture.effects.handle_listed(source);
        }
        let mut holder = service("other", "holder", json!({}));
        holder["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        holder["metadata"]["annotations"] = json!({"metallb.io/ip-allocated-from-pool": "first"});
        let holder = serde_json::from_value(holder).expect("a Service");
        fixture.reconciler.set_catalog(&fixture.catalog, now);
        let observed = crate::observed::ObservedService::new(&holder, None);
        fixture.reconciler.set_service(observed, now);
        if is_active {
            fixture.reconciler.set_active(true, now);
        }
        fixture
    }

    fn decide(&mut self, change: ProposedChange) -> ReviewAnswer {
        match change {
            ProposedChange::Resource { change, keeps_spec } => {
                review_resource(change, keeps_spec, &self.catalog, &self.effects, &self.reconciler)
            }
            ProposedChange::Bgp(proposal) => review_bgp(*proposal, &self.bgp, &self.catalog, &self.effects),
            ProposedChange::Service { service, deprecated } => {
                review_service(&service, deprecated, &mut self.reconciler, Time::ZERO)
            }
        }
    }

    /// Returns the response to a request.
    async fn respond(&mut self, operation: &str, object: &Value, old: &Value) -> Value {
        let (reviews, mut requests) = mpsc::channel::<ReviewRequest>(1);
        let request = review(operation, object, old).to_string().into_bytes();
        let scope = scope();
        let answer = tokio::spawn(async move { answer(&request, &scope, &reviews).await });
        while let Some((change, answer)) = requests.recv().await {
            answer.send(self.decide(change)).expect("it is awaited");
        }
        let answer = answer.await.expect("no panic").expect("an answer");
        let review: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(
            (&review["kind"], &review["apiVersion"]),
            (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
        );
        assert_eq!(review["response"]["uid"], "u");
        review["response"].clone()
    }

    /// Returns the refusal, or the warnings, of a new object.
    async fn create(&mut self, object: &Value) -> (String, Vec<String>) {
        texts(&self.respond("CREATE", object, &Value::Null).await)
    }
}

fn texts(response: &Value) -> (String, Vec<String>) {
    let refusal = match response["allowed"].as_bool() {
        Some(true) => "",
        Some(false) | None => response["status"]["message"].as_str().expect("a message"),
    };
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let warnings = warnings
        .filter_map(|text| Some(text.as_str()?.to_owned()))
        .collect();
    (refusal.to_owned(), warnings)
}

fn scope() -> AdmissionScope {
    AdmissionScope {
        namespace: NAMESPACE.to_owned(),
        class: None,
    }
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = if object.is_null() {
        &old["kind"]
    } else {
        &object["kind"]
    };
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "operation": operation, "object": object, "oldObject": old, "userInfo": {"username": "me"},
        "kind": {"group": "", "version": "v1", "kind": kind},
        "resource": {"group": "", "version": "v1", "resource": "x"},
    }})
}

fn read(request: &Value) -> review::AdmissionRequest {
    review::read(request.to_string().as_bytes()).expect("a review")
}

fn proposed(request: &Value) -> Result<ProposedChange, ReviewAnswer> {
    scope().proposed(read(request))
}

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "spec": spec,
        "metadata": {"namespace": NAMESPACE, "name": name}})
}

fn pool(name: &str, addresses: Value) -> Value {
    resource("IPAddressPool", name, json!({"addresses": addresses}))
}

fn advertisement(spec: Value) -> Value {
    resource("L2Advertisement", "a", spec)
}

fn service(namespace: &str, name: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}})
}

fn none() -> (String, Vec<String>) {
    (String::new(), Vec::new())
}

/// Returns the message of the condition of a pool that is written without a webhook.
fn message_of_condition(fixture: &mut Fixture, object: &Value) -> String {
    let Ok(ProposedChange::Resource { change, .. }) = proposed(&review("CREATE", object, &Value::Null))
    else {
        panic!("not a resource");
    };
    let ConfigChange::ApplyPool(raw) = change else {
        panic!("not a pool");
    };
    let name = raw.name.clone();
    let change = ConfigChange::ApplyPool(RawPool { created: 9, ..raw });
    fixture.catalog.apply([change]);
    let effect = fixture
        .effects
        .effect(&fixture.catalog, ResourceKind::Pool, &name);
    effect.message
}

#[tokio::test]
async fn a_resource_that_is_wrong_by_itself_is_refused_in_the_words_of_its_condition() {
    let mut fixture = Fixture::new(false);
    let twice = pool("second", json!(["203.0.113.0/28", "203.0.113.8/29"]));
    let (refusal, warnings) = fixture.create(&twice).await;
    assert!(
        refusal.starts_with(r#"IPAddressPool "second": spec.addresses[1]: CIDR "203.0.113.8/29""#),
        "{refusal}"
    );
    assert!(warnings.is_empty());
    assert_eq!(message_of_condition(&mut fixture, &twice), refusal);
    let twice = advertisement(json!({"ipAddressPools": ["first", "first"]}));
    let (refusal, _) = fixture.create(&twice).await;
    assert!(refusal.contains("name each pool once"), "{refusal}");
}

#[tokio::test]
async fn a_pool_that_overlaps_with_another_is_permitted_with_a_warning_because_the_other_may_be_next() {
    let mut fixture = Fixture::new(false);
    let receiving = pool("second", json!(["192.0.2.8/29"]));
    let (refusal, warnings) = fixture.create(&receiving).await;
    assert_eq!(refusal, "");
    assert_eq!(warnings, [message_of_condition(&mut fixture, &receiving)]);
    // The pool that gives the range away; now there is nothing to warn of.
    let giving = pool("first", json!(["192.0.2.0/29"]));
    let (refusal, _) = texts(&fixture.respond("UPDATE", &giving, &Value::Null).await);
    assert_eq!(refusal, "");
    let change = proposed(&review("UPDATE", &giving, &Value::Null));
    let Ok(ProposedChange::Resource { change, .. }) = change else {
        panic!("not a resource");
    };
    fixture.catalog.apply([change]);
    let (_, warnings) = fixture.create(&receiving).await;
    assert!(!warnings.concat().contains("overlaps"), "{warnings:?}");
}

#[tokio::test]
async fn metadata_of_an_invalid_resource_can_be_changed_and_it_can_be_deleted() {
    let mut fixture = Fixture::new(false);
    let broken = pool("second", json!(["203.0.113.9-203.0.113.1"]));
    let mut labelled = broken.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let (refusal, warnings) = texts(&fixture.respond("UPDATE", &labelled, &broken).await);
    assert_eq!((refusal.as_str(), warnings.len()), ("", 1));
    let other = pool("second", json!(["203.0.113.9-203.0.113.2"]));
    assert_ne!(texts(&fixture.respond("UPDATE", &other, &broken).await).0, "");
    let mut leaving = other;
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(texts(&fixture.respond("UPDATE", &leaving, &broken).await), none());
    assert_eq!(
        texts(&fixture.respond("DELETE", &Value::Null, &broken).await),
        none()
    );
}

#[tokio::test]
async fn a_resource_that_this_version_cannot_read_is_refused_only_when_its_spec_changes() {
    let mut fixture = Fixture::new(false);
    let unreadable = resource("IPAddressPool", "second", json!({"addresses": 7}));
    let (refusal, _) = fixture.create(&unreadable).await;
    assert_ne!(refusal, "");
    let (refusal, warnings) = texts(&fixture.respond("UPDATE", &unreadable, &unreadable).await);
    assert_eq!((refusal.as_str(), warnings.len()), ("", 1));
    let mut other_status = pool("second", json!(["203.0.113.0/24"]));
    other_status["status"] = json!({"conditions": 7});
    assert_eq!(fixture.create(&other_status).await.0, "");
}

#[tokio::test]
async fn lists_that_the_definition_does_not_allow_are_not_compared_with_anything() {
    let mut fixture = Fixture::new(false);
    let selector = json!({"matchLabels": {"a": "b"}});
    let lists = |length: usize| {
        let selectors = vec![selector.clone(); length];
        [
            resource(
                "IPAddressPool",
                "second",
                json!({"addresses": vec!["203.0.113.1/32"; length]}),
            ),
            resource(
                "IPAddressPool",
                "second",
                json!({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"namespaceSelectors": &selectors}}),
            ),
            advertisement(json!({"nodeSelectors": &selectors})),
            advertisement(
                json!({"preferredNodeSelectors": vec![json!({"weight": 1, "preference": &selector}); length]}),
            ),
        ]
    };
    for object in lists(MOST_ENTRIES + 1) {
        let (refusal, _) = fixture.create(&object).await;
        assert_eq!(refusal, "a list has more than 1024 entries");
    }
    // A megabyte of these is refused as well, though the definitions do not limit them.
    let names = vec![""; 300_000];
    for object in [
        resource(
            "IPAddressPool",
            "second",
            json!({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"namespaces": &names}}),
        ),
        advertisement(json!({"ipAddressPools": &names})),
        advertisement(json!({"interfaces": &names})),
    ] {
        let (refusal, _) = fixture.create(&object).await;
        assert_eq!(refusal, "a list has more than 10000 entries");
    }
    // Nor do they limit what one selector has.
    let expression = |index| json!({"key": format!("k{index}"), "operator": "Exists"});
    let values: Vec<String> = (0..4_096).map(|index| format!("v{index}")).collect();
    let expressions = |length: usize| (0..length).map(expression).collect::<Vec<Value>>();
    let labels: serde_json::Map<String, Value> = (0..4_097)
        .map(|index| (format!("k{index}"), json!("v")))
        .collect();
    let selectors = [
        json!({"matchExpressions": expressions(4_097)}),
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": values}]}),
        json!({"matchLabels": labels}),
    ];
    let with = |selector: &Value| {
        [
            resource(
                "IPAddressPool",
                "second",
                json!({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"namespaceSelectors": [selector]}}),
            ),
            resource(
                "IPAddressPool",
                "second",
                json!({"addresses": ["203.0.113.0/24"], "serviceAllocation": {"serviceSelectors": [selector]}}),
            ),
            advertisement(json!({"ipAddressPoolSelectors": [selector]})),
            advertisement(json!({"nodeSelectors": [selector]})),
            advertisement(json!({"serviceSelectors": [selector]})),
            advertisement(json!({"preferredNodeSelectors": [{"weight": 1, "preference": selector}]})),
        ]
    };
    for object in selectors.iter().flat_map(with) {
        let (refusal, _) = fixture.create(&object).await;
        assert_eq!(
            refusal,
            "the selectors have more than 4096 labels, expressions and values"
        );
    }
    let most = json!({"matchExpressions": expressions(4_096)});
    for object in with(&most).into_iter().chain(lists(MOST_ENTRIES)) {
        let change = proposed(&review("CREATE", &object, &Value::Null));
        assert!(change.is_ok(), "{change:?}");
    }
}

#[tokio::test]
async fn the_work_of_a_review_is_bounded_whatever_the_resource_selects() {
    let warnings_of = |list: &'static str, length: usize| {
        let mut fixture = bgp::fixture(&[]);
        for index in 0..30 {
            let labels = Labels::from([("app".to_owned(), index.to_string())]);
            fixture
                .effects
                .set_node(&NodeName::new(format!("node-{index}")), labels);
        }
        let expression = |index| json!({"key": format!("k{index}"), "operator": "DoesNotExist"});
        let mut expressions: Vec<Value> = (1..length).map(expression).collect();
        expressions.push(json!({"key": "z", "operator": "Exists"}));
        let selector = json!({"matchExpressions": expressions});
        let none = json!({"matchExpressions": [{"key": "z", "operator": "Exists"}]});
        let mut spec = json!({"ipAddressPools": ["first"], "nodeSelectors": [none]});
        spec[list] = match list {
            "preferredNodeSelectors" => json!([{"weight": 1, "preference": selector}]),
            _ => json!([selector]),
        };
        let is_of_layer2 = list != "serviceSelectors";
        let object = if is_of_layer2 {
            advertisement(spec)
        } else {
            bgp::bgp_advertisement(spec)
        };
        async move { fixture.create(&object).await }
    };
    // 31 Nodes and a pool are too many for the longest list that is compared with them.
    for (list, length, expected) in [
        ("nodeSelectors", 1_000, "spec.nodeSelectors select no Node"),
        ("nodeSelectors", 4_096, NOT_CHECKED),
        (
            "preferredNodeSelectors",
            4_000,
            "spec.nodeSelectors select no Node",
        ),
        ("serviceSelectors", 4_000, "spec.nodeSelectors select no Node"),
    ] {
        let (refusal, warnings) = warnings_of(list, length).await;
        assert_eq!((refusal.as_str(), warnings.len()), ("", 1), "{list} {warnings:?}");
        assert!(warnings[0].contains(expected), "{list} {warnings:?}");
    }
}

#[tokio::test]
async fn a_resource_without_all_its_effect_is_permitted_with_a_warning() {
    let mut fixture = Fixture::new(false);
    let (refusal, warnings) = fixture.create(&pool("second", json!(["198.51.100.0/24"]))).await;
    assert_eq!(refusal, "");
    assert_eq!(
        warnings[0],
        "no advertisement selects the pool, so its addresses are not announced"
    );
    assert!(warnings[1].contains("198.51.100.1 (node node-1)"), "{warnings:?}");
    let unknown =
        advertisement(json!({"ipAddressPools": ["none"], "nodeSelectors": [{"matchLabels": {"a": "b"}}]}));
    let (_, warnings) = fixture.create(&unknown).await;
    assert_eq!(
        warnings,
        [
            "spec.ipAddressPools names pools that do not exist: none",
            "spec.nodeSelectors select no Node"
        ]
    );
    assert_eq!(
        fixture
            .create(&advertisement(json!({"ipAddressPools": ["first"]})))
            .await,
        none()
    );
    assert_eq!(
        fixture
            .create(&pool("first", json!(["192.0.2.0/28", "203.0.113.0/24"])))
            .await,
        none()
    );
}

#[tokio::test]
async fn resources_of_another_namespace_are_permitted_with_a_warning() {
    let mut fixture = Fixture::new(false);
    let mut elsewhere = pool("second", json!(["192.0.2.8/29"]));
    elsewhere["metadata"]["namespace"] = json!("default");
    let (refusal, warnings) = fixture.create(&elsewhere).await;
    assert_eq!(refusal, "");
    assert_eq!(
        warnings,
        ["the Herald in namespace metallb-system reads only the resources of namespace metallb-system"]
    );
}

#[tokio::test]
async fn a_service_is_never_refused_and_warned_of_what_it_would_not_get() {
    // A review may say any namespace, also that of the holder.
    let namespaces = ["default", "other"];
    for (is_active, namespace) in [false, true]
        .into_iter()
        .zip(namespaces)
        .chain([(true, "default")])
    {
        let mut fixture = Fixture::new(is_active);
        let cases = [
            (json!({}), ""),
            (json!({"metallb.io/loadBalancerIPs": "192.0.2.2"}), ""),
            (
                json!({"metallb.io/address-pool": "none"}),
                r#"unknown pool "none""#,
            ),
            (
                json!({"metallb.io/loadBalancerIPs": "203.0.113.1"}),
                "not allowed in config",
            ),
            (
                json!({"metallb.io/loadBalancerIPs": "x"}),
                "invalid metallb.io/loadBalancerIPs",
            ),
            (
                json!({"metallb.io/loadBalancerIPs": "192.0.2.1"}),
                "address also in use by another Service",
            ),
            (
                json!({"metallb.universe.tf/address-pool": "first"}),
                "annotation metallb.universe.tf/address-pool is deprecated; use metallb.io/address-pool",
            ),
        ];
        for (annotations, expected) in cases {
            let (refusal, warnings) = fixture
                .create(&service(namespace, "web", annotations.clone()))
                .await;
            assert_eq!(refusal, "", "{annotations}");
            assert_eq!(
                warnings.is_empty(),
                expected.is_empty(),
                "{annotations}: {warnings:?}"
            );
            assert!(
                warnings.join("; ").contains(expected),
                "{annotations}: {warnings:?}"
            );
            assert!(
                !warnings.join("; ").contains("holder"),
                "{annotations}: {warnings:?}"
            );
        }
    }
}

#[tokio::test]
async fn services_of_others_are_not_looked_at() {
    let mut fixture = Fixture::new(false);
    let unmet = json!({"metallb.io/address-pool": "none"});
    let mut of_class = service("default", "web", unmet.clone());
    of_class["spec"]["loadBalancerClass"] = json!("other");
    let mut internal = service("default", "web", unmet);
    internal["spec"]["type"] = json!("ClusterIP");
    let unreadable =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": 7}});
    for object in [of_class, internal, unreadable] {
        assert_eq!(fixture.create(&object).await, none());
    }
}

#[tokio::test]
async fn warnings_are_few_and_short() {
    let mut fixture = Fixture::new(false);
    let names: Vec<String> = (0..60).map(|i| format!("pool-{i}")).collect();
    let (_, warnings) = fixture
        .create(&advertisement(json!({"ipAddressPools": names})))
        .await;
    assert!(
        warnings.len() == 1 && warnings[0].len() <= LONGEST_WARNING,
        "{warnings:?}"
    );
    let deprecated = (0..40).map(|i| format!("metallb.universe.tf/a{i}")).collect();
    let service = serde_json::from_value(service("default", "web", json!({}))).expect("a Service");
    let answer = review_service(
        &convert::service(&service),
        deprecated,
        &mut fixture.reconciler,
        Time::ZERO,
    );
    assert_eq!(answer.warnings.len(), MOST_WARNINGS);
}

#[tokio::test]
async fn a_refusal_is_short() {
    let mut fixture = Fixture::new(false);
    let addresses = vec!["203.0.113.0/28"; 1000];
    let (refusal, _) = fixture.create(&pool("second", json!(addresses))).await;
    assert!(
        !refusal.is_empty() && refusal.len() <= LONGEST_MESSAGE,
        "{refusal}"
    );
    let long = "x".repeat(10_000);
    let unreadable = resource("IPAddressPool", "second", json!({"addresses": {long: 7}}));
    let (refusal, _) = fixture.create(&unreadable).await;
    assert!(
        !refusal.is_empty() && refusal.len() <= LONGEST_MESSAGE,
        "{refusal}"
    );
}

#[tokio::test]
async fn what_is_no_review_is_malformed_and_without_the_driver_there_is_no_answer() {
    let (reviews, requests) = mpsc::channel(1);
    for request in [
        "",
        "{}",
        r#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}"#,
    ] {
        let answer = answer(request.as_bytes(), &scope(), &reviews).await;
        assert!(
            matches!(answer, Err(ReviewError::Malformed(_))),
            "{request}: {answer:?}"
        );
    }
    drop(requests);
    let request = review(
        "CREATE",
        &pool("second", json!(["198.51.100.0/24"])),
        &Value::Null,
    )
    .to_string();
    let answer = answer(request.as_bytes(), &scope(), &reviews).await;
    assert_eq!(answer, Err(ReviewError::Unavailable));
}

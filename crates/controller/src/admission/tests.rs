//! Reviews as an API server asks for them, with the real catalog and allocator and no server.

use std::time::Duration;

use herald_core::ipam::{Allocator, ExternalUser};
use herald_core::{Labels, NodeName, RawPool};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::effects::EffectSource;
use herald_api::convert;

const NAMESPACE: &str = "metallb-system";

/// What a controller knows.
struct Fixture {
    catalog: Catalog,
    effects: Effects,
    reconciler: Reconciler,
}

impl Fixture {
    /// A controller that has listed a pool, its advertisement, a Node and a Service with an address.
    fn new(is_active: bool) -> Self {
        let now = Time::ZERO;
        let mut fixture = Self {
            catalog: Catalog::new(),
            effects: Effects::default(),
            reconciler: Reconciler::new(Allocator::with_quarantine(Duration::ZERO)),
        };
        for object in [
            pool("first", json!(["192.0.2.0/28"])),
            advertisement(json!({"ipAddressPools": ["first"]})),
        ] {
            let request = review("CREATE", &object, &Value::Null);
            let Ok(Some(ProposedChange::Resource { change, .. })) = proposed(&request) else {
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

    fn decide(&mut self, change: ProposedChange) -> AdmissionVerdict {
        match change {
            ProposedChange::Resource { change, keeps_spec } => {
                review_resource(change, keeps_spec, &self.catalog, &self.effects, &self.reconciler)
            }
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
        while let Some((change, verdict)) = requests.recv().await {
            verdict.send(self.decide(change)).expect("it is awaited");
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

fn proposed(request: &Value) -> Result<Option<ProposedChange>, String> {
    let request = super::review::read(request.to_string().as_bytes()).expect("a review");
    scope().proposed(request)
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

#[tokio::test]
async fn a_resource_with_problems_is_refused_in_the_words_of_its_condition() {
    let mut fixture = Fixture::new(false);
    let overlapping = pool("second", json!(["192.0.2.8/29"]));
    let (refusal, warnings) = fixture.create(&overlapping).await;
    assert!(
        refusal.starts_with(r#"IPAddressPool "second": spec.addresses[0]: CIDR "192.0.2.8/29""#),
        "{refusal}"
    );
    assert!(warnings.is_empty());
    // The condition of the same pool, written without a webhook.
    let Ok(Some(ProposedChange::Resource { change, .. })) =
        proposed(&review("CREATE", &overlapping, &Value::Null))
    else {
        panic!("not a resource");
    };
    let ConfigChange::ApplyPool(raw) = change else {
        panic!("not a pool");
    };
    let change = ConfigChange::ApplyPool(RawPool { created: 9, ..raw });
    fixture.catalog.apply([change]);
    let effect = fixture
        .effects
        .effect(&fixture.catalog, ResourceKind::Pool, "second");
    assert_eq!(effect.message, refusal);
    let twice = advertisement(json!({"ipAddressPools": ["first", "first"]}));
    let (refusal, _) = fixture.create(&twice).await;
    assert!(refusal.contains("name each pool once"), "{refusal}");
}

#[tokio::test]
async fn metadata_of_an_invalid_resource_can_be_changed_and_it_can_be_deleted() {
    let mut fixture = Fixture::new(false);
    let broken = pool("second", json!(["192.0.2.8/29"]));
    let mut labelled = broken.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let (refusal, warnings) = texts(&fixture.respond("UPDATE", &labelled, &broken).await);
    assert_eq!((refusal.as_str(), warnings.len()), ("", 1));
    assert!(warnings[0].contains("overlaps"), "{warnings:?}");
    let other = pool("second", json!(["192.0.2.9/32"]));
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
async fn a_resource_without_all_its_effect_is_permitted_with_a_warning() {
    let mut fixture = Fixture::new(false);
    let (refusal, warnings) = fixture.create(&pool("second", json!(["198.51.100.0/24"]))).await;
    assert_eq!(refusal, "");
    assert_eq!(
        warnings[0],
        "no L2Advertisement selects the pool, so its addresses are not announced"
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
async fn resources_of_another_namespace_are_refused_only_when_they_are_created() {
    let mut fixture = Fixture::new(false);
    let mut elsewhere = pool("second", json!(["192.0.2.8/29"]));
    elsewhere["metadata"]["namespace"] = json!("default");
    let (refusal, _) = fixture.create(&elsewhere).await;
    assert_eq!(refusal, "resource must be created in metallb-system namespace");
    assert_eq!(
        texts(&fixture.respond("UPDATE", &elsewhere, &elsewhere).await),
        none()
    );
}

#[tokio::test]
async fn a_service_is_never_refused_and_warned_of_what_it_would_not_get() {
    for is_active in [false, true] {
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
                "a Service of another namespace",
            ),
            (
                json!({"metallb.universe.tf/address-pool": "first"}),
                "annotation metallb.universe.tf/address-pool is deprecated; use metallb.io/address-pool",
            ),
        ];
        for (annotations, expected) in cases {
            let (refusal, warnings) = fixture
                .create(&service("default", "web", annotations.clone()))
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
    let verdict = review_service(
        &convert::service(&service),
        deprecated,
        &mut fixture.reconciler,
        Time::ZERO,
    );
    assert_eq!(verdict.warnings.len(), MOST_WARNINGS);
}

#[tokio::test]
async fn what_is_no_review_is_refused_and_without_the_driver_there_is_no_answer() {
    let (reviews, requests) = mpsc::channel(1);
    for request in [
        "",
        "{}",
        r#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}"#,
    ] {
        let answer = answer(request.as_bytes(), &scope(), &reviews)
            .await
            .expect("an answer");
        let review: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(review["response"]["allowed"], false);
    }
    drop(requests);
    let request = review(
        "CREATE",
        &pool("second", json!(["198.51.100.0/24"])),
        &Value::Null,
    )
    .to_string();
    assert_eq!(answer(request.as_bytes(), &scope(), &reviews).await, None);
}

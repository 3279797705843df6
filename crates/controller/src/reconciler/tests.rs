//! The reconciler with the real allocator and no server: Services, decisions and results of writes go in, patches and events
//! come out.

use std::time::Duration;

use herald_core::config::RawPool;
use herald_runtime::ObjectKey;
use serde_json::json;

use super::*;
use crate::announcements::SpeakerStatus;
use herald_runtime::Update;

mod hostile;

/// A reconciler, driven as the driver does it.
struct Fixture {
    reconciler: Reconciler,
    now: Time,
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn catalog(addresses: &[&str]) -> Catalog {
    let mut catalog = Catalog::new();
    catalog.set_pool(&RawPool {
        name: "pool".to_owned(),
        addresses: addresses.iter().map(|entry| (*entry).to_owned()).collect(),
        ..RawPool::default()
    });
    catalog
}

/// A Service as the watch shows it, after a merge patch.
fn object(name: &str, version: u64, changes: &Value) -> Value {
    let mut object = json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(), "annotations": {}},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
        "status": {},
    });
    merge(&mut object, changes);
    object
}

fn merge(object: &mut Value, changes: &Value) {
    match (object, changes) {
        (Value::Object(object), Value::Object(changes)) => {
            for (name, value) in changes {
                if value.is_null() {
                    object.remove(name);
                } else {
                    merge(object.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (object, changes) => *object = changes.clone(),
    }
}

fn observed(object: Value) -> ObservedService {
    ObservedService::new(&serde_json::from_value(object).expect("a Service"), None)
}

fn addresses(patch: &Value) -> Vec<&str> {
    let ingress = patch["status"]["loadBalancer"]["ingress"].as_array();
    let entries = ingress.into_iter().flatten();
    entries.filter_map(|entry| entry["ip"].as_str()).collect()
}

fn reason(patch: &Value) -> &str {
    patch["status"]["conditions"][0]["reason"]
        .as_str()
        .expect("a reason")
}

impl Fixture {
    /// A standby that knows a pool.
    fn standby(pool: &[&str]) -> Self {
        let mut reconciler = Reconciler::new(Allocator::with_quarantine(Duration::ZERO));
        reconciler.set_catalog(&catalog(pool), Time::ZERO);
        Self {
            reconciler,
            now: Time::ZERO,
        }
    }

    fn active(pool: &[&str]) -> Self {
        let mut fixture = Self::standby(pool);
        fixture.reconciler.set_active(true, Time::ZERO);
        fixture
    }

    fn show(&mut self, object: Value) {
        self.reconciler.set_service(observed(object), Time::ZERO);
    }

    /// Takes all decisions, then all writes.
    fn writes(&mut self) -> Vec<(String, Option<Value>)> {
        while self.reconciler.poll_decision().is_some() {}
        let next = || self.reconciler.poll_write(Timestamp::UNIX_EPOCH, self.now);
        let writes = std::iter::from_fn(next);
        writes.map(|(key, patch)| (key.name.to_string(), patch)).collect()
    }

    /// The only patch that there is to write.
    fn patch(&mut self) -> Value {
        let [(_, Some(patch))] = &self.writes()[..] else {
            panic!("one patch is expected");
        };
        patch.clone()
    }

    fn events(&mut self) -> Vec<(&'static str, String)> {
        let events = std::iter::from_fn(|| self.reconciler.poll_event());
        events.map(|event| (event.reason, event.note)).collect()
    }

    fn written(&mut self, name: &str, written: Written) {
        self.reconciler.handle_written(&key(name), &written);
    }

    /// The object after a patch was applied to it.
    fn applied(name: &str, version: u64, patch: &Value) -> Value {
        let mut changes = patch.clone();
        changes["metadata"]["resourceVersion"] = json!(version.to_string());
        object(name, version, &changes)
    }

    /// A Service that has its address, and the object that shows it.
    fn served(&mut self, name: &str, version: u64) -> Value {
        self.show(object(name, version, &json!({})));
        let patch = self.patch();
        self.written(name, Written::Version(Some(version + 1)));
        let object = Self::applied(name, version + 1, &patch);
        self.show(object.clone());
        assert_eq!(self.writes(), []);
        object
    }
}

#[test]
fn a_new_service_gets_one_patch_and_one_event_and_nothing_more_when_the_watch_shows_it() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    let patch = fixture.patch();
    assert_eq!(addresses(&patch), ["192.0.2.1"]);
    assert_eq!(patch["metadata"]["resourceVersion"], "5");
    assert_eq!(patch["metadata"]["uid"], "uid-web");
    assert_eq!(reason(&patch), "Allocated");
    let events = fixture.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].0, "IPAllocated");

    fixture.written("web", Written::Version(Some(6)));
    assert_eq!(fixture.writes(), []);
    fixture.show(Fixture::applied("web", 6, &patch));
    assert_eq!(fixture.writes(), []);
    assert_eq!(fixture.events(), []);
}

#[test]
fn a_status_that_is_in_flight_is_not_written_twice() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    // Another field of the Service changes meanwhile.
    fixture.show(object(
        "web",
        6,
        &json!({"metadata": {"annotations": {"team": "blue"}}}),
    ));
    assert_eq!(fixture.writes(), []);
}

#[test]
fn services_are_counted_by_what_they_show_while_the_controller_is_active() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.served("web", 5);
    fixture.show(object("api", 7, &json!({})));
    fixture.show(object("db", 9, &json!({})));
    fixture.writes();
    let counts = fixture.reconciler.count_services();
    let counts: Vec<(&str, &str, &str, i64)> = counts
        .iter()
        .map(|(state, count)| (state.condition, state.status, &*state.reason, *count))
        .collect();
    let expected = [
        ("Allocated", "False", "PoolExhausted", 2),
        ("Announced", "Unknown", "Pending", 1),
    ];
    assert_eq!(counts, expected);
    fixture.reconciler.set_active(false, Time::ZERO);
    assert_eq!(fixture.reconciler.count_services(), BTreeMap::new());
}

#[test]
fn a_refusal_is_in_condition_and_event_and_ends_when_an_address_is_free() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.served("web", 5);
    fixture.events();
    fixture.show(object("api", 7, &json!({})));
    let patch = fixture.patch();
    assert_eq!((reason(&patch), addresses(&patch)), ("PoolExhausted", vec![]));
    let events = fixture.events();
    assert_eq!(events[0].0, "AllocationFailed");
    assert!(
        events[0]
            .1
            .starts_with("Failed to allocate IP for \"default/api\": ")
    );
    fixture.written("api", Written::Version(Some(8)));
    fixture.show(Fixture::applied("api", 8, &patch));
    assert_eq!(fixture.writes(), []);

    fixture.reconciler.remove_service(&key("web"), Time::ZERO);
    let writes = fixture.writes();
    let of_api = writes.iter().find(|(name, _)| name == "api");
    let patch = of_api.and_then(|(_, patch)| patch.as_ref());
    assert_eq!(addresses(patch.expect("a patch")), ["192.0.2.1"]);
}

#[test]
fn statuses_are_written_in_the_order_of_the_decisions() {
    let mut fixture = Fixture::standby(&["192.0.2.0/24"]);
    for (name, created) in [("a", "2026-01-03"), ("b", "2026-01-02"), ("c", "2026-01-01")] {
        let created = json!({"metadata": {"creationTimestamp": format!("{created}T00:00:00Z")}});
        fixture.show(object(name, 5, &created));
    }
    fixture.reconciler.set_active(true, Time::ZERO);
    let names: Vec<String> = fixture.writes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["c", "b", "a"], "the oldest Service first");
}

#[test]
fn a_deprecated_annotation_is_reported() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    let annotations = json!({"metadata": {"annotations": {"metallb.universe.tf/address-pool": "pool"}}});
    fixture.show(object("web", 5, &annotations));
    fixture.writes();
    let reasons: Vec<&str> = fixture.events().iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, ["IPAllocated", "deprecatedAnnotation"]);
}

#[test]
fn labels_that_are_not_kept_are_reported() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    let labels: serde_json::Map<String, Value> = (0..65).map(|n| (n.to_string(), json!(""))).collect();
    fixture.show(object("web", 5, &json!({"metadata": {"labels": labels}})));
    fixture.writes();
    let reasons: Vec<&str> = fixture.events().iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, ["IPAllocated", "LabelsTooLong"]);
}

#[test]
fn after_a_conflict_the_version_that_the_watch_shows_is_patched() {
    // The watch is first.
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    fixture.show(object("web", 6, &json!({})));
    assert_eq!(fixture.writes(), []);
    fixture.written("web", Written::Outdated);
    assert_eq!(fixture.patch()["metadata"]["resourceVersion"], "6");

    // The conflict is first: nothing is written to the version that is known to be outdated.
    fixture.written("web", Written::Outdated);
    assert_eq!(fixture.writes(), []);
    fixture.show(object("web", 7, &json!({})));
    assert_eq!(fixture.patch()["metadata"]["resourceVersion"], "7");
}

#[test]
fn after_a_conflict_that_the_watch_does_not_explain_the_pause_allows_another_attempt() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    fixture.written("web", Written::Outdated);
    assert_eq!(fixture.writes(), []);
    fixture.reconciler.handle_pause_over(&key("web"));
    assert_eq!(fixture.patch()["metadata"]["resourceVersion"], "5");
}

#[test]
fn after_a_failure_the_same_status_waits_for_the_pause_and_a_newer_one_does_not() {
    let failures = [
        Written::Failed("away".to_owned()),
        Written::Refused("policy".to_owned()),
        Written::Fenced,
    ];
    for failure in failures {
        let mut fixture = Fixture::active(&["192.0.2.1-192.0.2.2"]);
        fixture.show(object("web", 5, &json!({})));
        fixture.patch();
        fixture.written("web", failure.clone());
        fixture.show(object("web", 6, &json!({})));
        assert_eq!(fixture.writes(), [], "{failure:?}");
        let request = json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.2"}}});
        fixture.show(object("web", 7, &request));
        assert_eq!(addresses(&fixture.patch()), ["192.0.2.2"]);
        fixture.written("web", failure);
        fixture.reconciler.handle_pause_over(&key("web"));
        assert_eq!(addresses(&fixture.patch()), ["192.0.2.2"]);
    }
}

#[test]
fn an_older_version_that_the_watch_still_shows_is_no_news() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    let patch = fixture.patch();
    fixture.written("web", Written::Version(Some(8)));
    fixture.show(object("web", 6, &json!({})));
    fixture.show(object("web", 7, &json!({})));
    assert_eq!(fixture.writes(), []);
    fixture.show(Fixture::applied("web", 8, &patch));
    assert_eq!(fixture.writes(), []);
    // A newer version that lacks the address: another program removed it.
    fixture.show(object("web", 9, &json!({})));
    assert_eq!(addresses(&fixture.patch()), ["192.0.2.1"]);
}

#[test]
fn after_a_list_versions_count_anew_as_the_api_server_may_have_been_restored_from_a_backup() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.served("web", 500);
    fixture.show(object("web", 30, &json!({})));
    assert_eq!(fixture.writes(), []);
    fixture.reconciler.handle_synced(Time::ZERO);
    let patch = fixture.patch();
    assert_eq!(patch["metadata"]["resourceVersion"], "30");
    assert_eq!(addresses(&patch), ["192.0.2.1"]);
}

#[test]
fn a_standby_writes_nothing_and_the_next_active_controller_keeps_what_statuses_have() {
    let mut fixture = Fixture::standby(&["192.0.2.0/24"]);
    let assigned = json!({
        "metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": "pool"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.77"}]}},
    });
    fixture.show(object("web", 5, &assigned));
    fixture.show(object("api", 6, &json!({})));
    assert_eq!(fixture.writes(), []);
    fixture.reconciler.set_active(true, Time::ZERO);
    let writes = fixture.writes();
    let names: Vec<&str> = writes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["api", "web"]);
    // Only the condition is missing.
    assert_eq!(addresses(writes[1].1.as_ref().expect("a patch")), ["192.0.2.77"]);
}

#[test]
fn a_controller_that_loses_the_lease_drops_what_it_had_decided_and_writes_it_after_it_is_active_again() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    fixture.reconciler.set_active(false, Time::ZERO);
    fixture.written("web", Written::Fenced);
    fixture.reconciler.handle_pause_over(&key("web"));
    fixture.show(object("web", 6, &json!({})));
    assert_eq!(fixture.writes(), []);
    assert_eq!(fixture.events(), []);
    fixture.reconciler.set_active(true, Time::ZERO);
    assert_eq!(fixture.patch()["metadata"]["resourceVersion"], "6");
}

#[test]
fn a_service_that_is_no_load_balancer_any_more_is_retracted_until_the_api_server_has_it() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.served("web", 5);
    fixture.reconciler.remove_service(&key("web"), Time::ZERO);
    let patch = fixture.patch();
    assert_eq!(patch["metadata"]["uid"], "uid-web");
    assert_eq!(patch["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(patch["status"]["loadBalancer"]["ingress"], Value::Null);
    assert_eq!(patch["status"]["conditions"][0]["$patch"], "delete");
    fixture.written("web", Written::Failed("away".to_owned()));
    assert_eq!(fixture.writes(), []);
    fixture.reconciler.handle_pause_over(&key("web"));
    assert_eq!(fixture.patch(), patch);
    fixture.written("web", Written::Outdated);
    fixture.reconciler.handle_pause_over(&key("web"));
    assert_eq!(fixture.reconciler.services(), 0);
}

#[test]
fn a_retraction_waits_for_the_write_in_flight_and_outlives_its_end() {
    for ended in [
        Written::Outdated,
        Written::Version(Some(7)),
        Written::Failed("away".to_owned()),
    ] {
        let mut fixture = Fixture::active(&["192.0.2.1/32"]);
        fixture.show(object("web", 5, &json!({})));
        fixture.patch();
        fixture.reconciler.remove_service(&key("web"), Time::ZERO);
        let retraction = fixture.patch();
        assert_eq!(retraction["status"]["loadBalancer"]["ingress"], Value::Null);
        fixture.written("web", ended.clone());
        assert_eq!(fixture.reconciler.services(), 1);
        // The speaker removes its status of the Service.
        fixture.reconciler.handle_pause_over(&key("web"));
        assert_eq!(fixture.patch(), retraction);
        fixture.written("web", Written::Version(Some(8)));
        assert_eq!(fixture.reconciler.services(), 0, "{ended:?}");
    }
}

#[test]
fn a_retraction_after_a_failed_write_ends_with_its_own_write() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    fixture.written("web", Written::Failed("away".to_owned()));
    fixture.reconciler.remove_service(&key("web"), Time::ZERO);
    fixture.patch();
    fixture.written("web", Written::Version(Some(8)));
    assert_eq!(fixture.reconciler.services(), 0);
}

#[test]
fn a_service_that_returns_during_its_retraction_gets_its_address_again() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.served("web", 5);
    fixture.reconciler.remove_service(&key("web"), Time::ZERO);
    fixture.patch();
    fixture.show(object("web", 8, &json!({})));
    assert_eq!(addresses(&fixture.patch()), ["192.0.2.1"]);
    // The retraction made a newer version.
    fixture.written("web", Written::Version(Some(9)));
    assert_eq!(fixture.writes(), []);
    fixture.show(object("web", 9, &json!({})));
    let patch = fixture.patch();
    assert_eq!(patch["metadata"]["resourceVersion"], "9");
    assert_eq!(addresses(&patch), ["192.0.2.1"]);
}

#[test]
fn a_service_that_never_had_anything_of_this_controller_is_not_retracted() {
    let mut fixture = Fixture::standby(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.reconciler.remove_service(&key("web"), Time::ZERO);
    assert!(fixture.writes().iter().all(|(_, patch)| patch.is_none()));
}

#[test]
fn a_service_of_another_class_is_forgotten_and_its_waiting_write_is_dropped() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.show(object("web", 5, &json!({})));
    fixture.patch();
    let class = json!({"spec": {"loadBalancerClass": "example.org/other"}});
    fixture.show(object("web", 6, &class));
    assert_eq!(fixture.writes(), [("web".to_owned(), None)]);
    assert_eq!(fixture.reconciler.services(), 0);
}

#[test]
fn an_address_is_written_to_its_next_service_after_the_last_one_shows_it_no_more() {
    let mut fixture = Fixture::active(&["192.0.2.1-192.0.2.2"]);
    let request =
        |address: &str| json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": address}}});
    fixture.show(object("old", 5, &request("192.0.2.1")));
    let patch = fixture.patch();
    fixture.written("old", Written::Version(Some(6)));
    let mut before = Fixture::applied("old", 6, &patch);
    fixture.show(before.clone());
    fixture.show(object("new", 7, &request("192.0.2.1")));
    let refusal = fixture.patch();
    assert_eq!(reason(&refusal), "AddressInUse");
    fixture.written("new", Written::Version(Some(8)));
    let mut waiting = refusal;
    merge(&mut waiting, &request("192.0.2.1"));
    fixture.show(Fixture::applied("new", 8, &waiting));

    merge(&mut before, &request("192.0.2.2"));
    before["metadata"]["resourceVersion"] = json!("9");
    fixture.show(before.clone());
    // `new` has the address now, but the status of `old` shows it.
    let patch = fixture.patch();
    assert_eq!(addresses(&patch), ["192.0.2.2"]);
    fixture.written("old", Written::Version(Some(10)));
    merge(&mut before, &patch);
    before["metadata"]["resourceVersion"] = json!("10");
    fixture.show(before);
    let patch = fixture.patch();
    assert_eq!(addresses(&patch), ["192.0.2.1"]);
}

/// A report of the speaker with this object, of which the condition has this status and reason.
fn report(
    object: &str,
    version: u64,
    addresses: &[&str],
    status: &str,
    reason: &str,
) -> Update<Option<SpeakerStatus>> {
    let object = json!({
        "metadata": {"name": object, "resourceVersion": version.to_string()},
        "status": {"node": object, "serviceName": "web", "serviceNamespace": "default", "addresses": addresses,
            "conditions": [{
                "type": "herald.io/Announced", "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
    });
    Update::Applied(SpeakerStatus::new(
        &serde_json::from_value(object).expect("a ServiceL2Status"),
    ))
}

fn gone(name: &str) -> Update<Option<SpeakerStatus>> {
    Update::Deleted(ObjectKey {
        namespace: "metallb-system".to_owned(),
        name: name.to_owned(),
    })
}

fn announced(patch: &Value) -> (&str, &str) {
    let condition = &patch["status"]["conditions"][1];
    assert_eq!(condition["type"], "herald.io/Announced");
    let text = |field: &str| condition[field].as_str().expect("a text");
    (text("status"), text("reason"))
}

impl Fixture {
    fn handle(&mut self, update: Update<Option<SpeakerStatus>>) {
        self.reconciler.handle_announcements(update, self.now);
    }

    /// Applies the only patch that there is to write.
    fn apply(&mut self, version: u64) -> Value {
        let patch = self.patch();
        self.written("web", Written::Version(Some(version)));
        self.show(Self::applied("web", version, &patch));
        assert_eq!(self.writes(), []);
        patch
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.reconciler.handle_timeout(self.now);
    }

    fn superseded(&mut self) -> Vec<(String, u64)> {
        let superseded = std::iter::from_fn(|| self.reconciler.poll_superseded());
        superseded.map(|object| (object.name, object.version)).collect()
    }
}

#[test]
fn a_service_with_an_address_is_pending_from_its_first_patch_until_a_speaker_reports() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.handle(Update::Synced);
    fixture.show(object("web", 5, &json!({})));
    assert_eq!(announced(&fixture.apply(6)), ("Unknown", "Pending"));
    fixture.handle(report("a", 7, &["192.0.2.1"], "True", "Announced"));
    assert_eq!(announced(&fixture.apply(8)), ("True", "Announced"));
    // Another speaker takes over: no write, and the object of the first one is deleted.
    fixture.handle(report("b", 9, &["192.0.2.1"], "True", "Announced"));
    assert_eq!(fixture.writes(), []);
    assert_eq!(fixture.superseded(), [("a".to_owned(), 7)]);
    fixture.handle(gone("a"));
    assert_eq!((fixture.writes(), fixture.superseded()), (vec![], vec![]));
}

#[test]
fn what_no_speaker_reports_any_more_stays_for_a_while_as_it_may_be_about_to_move() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.handle(Update::Synced);
    fixture.show(object("web", 5, &json!({})));
    fixture.apply(6);
    fixture.handle(report("a", 7, &["192.0.2.1"], "True", "Announced"));
    fixture.apply(8);
    for _ in 0..2 {
        fixture.handle(gone("a"));
        fixture.pass(9);
        assert_eq!(fixture.writes(), []);
        fixture.handle(report("a", 9, &["192.0.2.1"], "True", "Announced"));
        assert_eq!(fixture.writes(), []);
        fixture.pass(9);
    }
    fixture.handle(gone("a"));
    fixture.writes();
    let due = fixture.reconciler.poll_timeout().expect("a deadline");
    assert!(due <= fixture.now + Duration::from_secs(10));
    fixture.pass(10);
    assert_eq!(announced(&fixture.apply(10)), ("False", "NotAnnounced"));
    fixture.pass(100);
    assert_eq!(fixture.writes(), []);
    fixture.handle(report("b", 11, &["192.0.2.1"], "True", "Announced"));
    assert_eq!(announced(&fixture.apply(12)), ("True", "Announced"));
}

#[test]
fn a_service_that_speakers_do_not_report_although_they_report_others_is_not_announced_after_five_minutes() {
    let mut fixture = Fixture::active(&["192.0.2.1/32"]);
    fixture.handle(Update::Synced);
    fixture.show(object("web", 5, &json!({})));
    fixture.apply(6);
    for second in 0..60 {
        let mut other = report("x", 7 + second, &["192.0.2.9"], "True", "Announced");
        if let Update::Applied(Some(status)) = &mut other {
            status.set_service(key("other"));
        }
        fixture.handle(other);
        assert_eq!(
            fixture
                .writes()
                .iter()
                .filter(|(_, patch)| patch.is_some())
                .count(),
            0
        );
        fixture.pass(5);
    }
    assert_eq!(announced(&fixture.apply(70)), ("False", "NotAnnounced"));
}

#[test]
fn another_address_is_pending_until_it_is_announced_too() {
    let mut fixture = Fixture::active(&["192.0.2.1-192.0.2.2"]);
    fixture.handle(Update::Synced);
    fixture.show(object("web", 5, &json!({})));
    fixture.apply(6);
    fixture.handle(report("a", 7, &["192.0.2.1"], "True", "Announced"));
    let mut before = fixture.apply(8);
    let request = json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.2"}}});
    merge(&mut before, &request);
    fixture.show(Fixture::applied("web", 9, &before));
    let patch = fixture.patch();
    assert_eq!(
        (addresses(&patch), announced(&patch)),
        (vec!["192.0.2.2"], ("Unknown", "Pending"))
    );
    merge(&mut before, &patch);
    fixture.written("web", Written::Version(Some(10)));
    fixture.show(Fixture::applied("web", 10, &before));
    fixture.handle(report("a", 11, &["192.0.2.2"], "True", "Announced"));
    assert_eq!(announced(&fixture.patch()), ("True", "Announced"));
}

#[test]
fn a_standby_deletes_no_object_and_the_next_active_controller_does() {
    let mut fixture = Fixture::standby(&["192.0.2.1/32"]);
    fixture.handle(Update::Synced);
    fixture.handle(report("a", 7, &[], "False", "NotAnnounced"));
    assert_eq!(fixture.superseded(), []);
    fixture.reconciler.set_active(true, Time::ZERO);
    assert_eq!(fixture.superseded(), [("a".to_owned(), 7)]);
    fixture.reconciler.handle_deletion_over("a");
    assert_eq!(fixture.superseded(), [("a".to_owned(), 7)]);
}

#[test]
fn a_status_of_another_load_balancer_is_left_alone_while_no_pool_is_open_to_the_service() {
    let foreign = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}});
    let hostname = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.org"}]}}});
    for status in [foreign, hostname] {
        let mut fixture = Fixture::active(&[]);
        fixture.show(object("web", 5, &status));
        assert_eq!((fixture.writes(), fixture.events()), (vec![], vec![]));
        // It is ours as soon as a pool is open to it.
        fixture
            .reconciler
            .set_catalog(&catalog(&["192.0.2.1/32"]), Time::ZERO);
        assert_eq!(addresses(&fixture.patch()), ["192.0.2.1"]);
        // A status that this controller wrote is cleared.
        let mut own = status.clone();
        merge(
            &mut own,
            &json!({"metadata": {"annotations": {"metallb.io/ip-allocated-from-pool": "gone"}}}),
        );
        let mut fixture = Fixture::active(&[]);
        fixture.show(object("web", 5, &own));
        assert_eq!(addresses(&fixture.patch()), [""; 0]);
    }
}

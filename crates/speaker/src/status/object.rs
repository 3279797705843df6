//! The `ServiceL2Status` objects of this node: what they should be, and which writes lead there.
//!
//! ```text
//!   desired ──► in flight ──► written
//!      ▲            │ failed, │ deleted by the controller or a user:
//!      └────────────┴─────────┘ after a pause
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use herald_api::ServiceL2Status;
use herald_api::crd::{ANNOUNCED, ServiceL2StatusFields};
use herald_api::reason::ConditionReason;
use herald_core::announce::agent::AnnouncementStatus;
use herald_core::{Namespace, ServiceKey, Time as MonotonicTime};
use herald_runtime::Update;
use herald_runtime::fair_queue::FairQueue;
use herald_runtime::log::shorten;
use herald_runtime::reconcile::Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PartialObjectMeta};
use serde_json::{Value, json};

use super::restoration::Restorations;

/// Label with the node of the speaker.
pub(super) const NODE: &str = "metallb.io/node";
const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// Longest message of a condition, in bytes: as much as a person reads.
const LONGEST_MESSAGE: usize = 1024;

/// A write of one object.
#[derive(Debug)]
pub(super) struct ObjectWrite {
    /// The object without its status.
    pub(super) object: ServiceL2Status,
    /// Whether it has to be created first, as far as is known.
    pub(super) is_new: bool,
    /// Whether this node publishes nothing about the Service any more.
    pub(super) is_withdrawal: bool,
    /// A merge patch of the status.
    pub(super) patch: Value,
}

/// The objects of this node, one for each Service that it publishes something about.
#[derive(Debug)]
pub(super) struct StatusObjects {
    node: String,
    /// The Pod of this speaker; Kubernetes deletes the objects together with it. `None` until it is known.
    owner: Option<OwnerReference>,
    /// Whether the objects of this node were listed.
    is_listed: bool,
    /// Whether the agent has had the time to decide on every Service.
    has_settled: bool,
    /// Boxed, because a B-tree has room for almost twice as many values as it holds.
    records: BTreeMap<ServiceKey, Box<StatusRecord>>,
    /// The objects of this Pod that the watch shows, by name: their Services and versions.
    observed: BTreeMap<Box<str>, (ServiceKey, Option<u64>)>,
    restorations: Restorations,
    /// Services whose objects may differ from what they should be. The namespaces take turns.
    stale: FairQueue<Namespace, ServiceKey>,
}

/// An object of this node as the watch shows it.
#[derive(Debug)]
pub(super) struct ObservedObject {
    name: Box<str>,
    /// The Service that it is about.
    service: Option<ServiceKey>,
    /// The `resourceVersion`, if it is a number.
    version: Option<u64>,
}

#[derive(Debug, Default)]
struct StatusRecord {
    desired: Desired,
    /// What is being written; after a failure it stays until the pause is over.
    in_flight: Option<Box<Desired>>,
    /// Whether the object exists, as far as is known.
    exists: bool,
    /// Whether the object was deleted while a write was in flight: before or after it.
    is_deleted: bool,
    /// Whether an earlier container of this Pod wrote the object, and this one has decided nothing about the Service yet.
    is_inherited: bool,
    /// The version that the last write made.
    written: Option<u64>,
}

/// What an object should say, and since when its condition has its status.
#[derive(Debug, Clone, PartialEq, Default)]
struct Desired {
    status: Option<AnnouncementStatus>,
    since: Timestamp,
}

impl StatusObjects {
    /// Starts without objects.
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            owner: None,
            is_listed: false,
            has_settled: false,
            records: BTreeMap::new(),
            observed: BTreeMap::new(),
            restorations: Restorations::default(),
            stale: FairQueue::default(),
        }
    }

    /// Takes the Pod that owns the objects.
    pub(super) fn set_owner(&mut self, owner: OwnerReference) {
        self.owner = Some(owner);
    }

    /// Takes a change of the objects of this node. Those of another Pod are left alone. What is desired and was deleted is
    /// written again after a pause, and at once what a list does not show as it was written.
    pub(super) fn update(&mut self, update: Update<ObservedObject>, wall: Timestamp, now: MonotonicTime) {
        match update {
            Update::Applied(object) => self.handle_observed(object, wall),
            Update::Deleted(key) => {
                if let Some((service, _)) = self.observed.remove(&*key.name) {
                    self.handle_deleted(&service, now);
                }
            }
            Update::Synced => {
                self.is_listed = true;
                let services = self.records.keys();
                let lost = services.filter(|service| !self.is_shown(service)).cloned();
                let lost: Vec<ServiceKey> = lost.collect();
                for service in lost {
                    self.stale.push(service.namespace.clone(), service);
                }
            }
        }
    }

    fn handle_observed(&mut self, object: ObservedObject, wall: Timestamp) {
        let Some((service, owner)) = object.service.as_ref().zip(self.owner.as_ref()) else {
            return;
        };
        if *object.name != *name_of(service, owner) {
            return;
        }
        if !self.is_listed {
            // It was written before the container was restarted.
            let is_inherited = !self.has_settled && !self.records.contains_key(service);
            let record = self.records.entry(service.clone()).or_default();
            record.exists = true;
            record.is_inherited = is_inherited;
            record.desired.since = wall;
        }
        // One copy of the names, where there is a record.
        let known = self.records.get_key_value(service);
        let service = known.map_or(service, |(known, _)| known).clone();
        self.observed.insert(object.name, (service, object.version));
    }

    fn handle_deleted(&mut self, service: &ServiceKey, now: MonotonicTime) {
        let Some(record) = self.records.get_mut(service) else {
            return;
        };
        if record.in_flight.is_some() {
            record.is_deleted = true;
            return;
        }
        record.exists = false;
        record.is_inherited = false;
        if record.desired.status.is_some() {
            self.restorations.insert(service, now);
        } else {
            self.stale.push(service.namespace.clone(), service.clone());
        }
    }

    /// Whether the watch shows the object as it was written last.
    fn is_shown(&self, service: &ServiceKey) -> bool {
        let written = self.records.get(service).and_then(|record| record.written);
        let name = self.owner.as_ref().map(|owner| name_of(service, owner));
        let observed = name.and_then(|name| self.observed.get(&*name));
        written.is_some() && observed.is_some_and(|(_, version)| *version == written)
    }

    /// Takes that the agent has had the time to decide on every Service: an object that it has not asked for is withdrawn.
    pub(super) fn settle(&mut self) {
        self.has_settled = true;
        for (service, record) in &mut self.records {
            if std::mem::take(&mut record.is_inherited) {
                self.stale.push(service.namespace.clone(), service.clone());
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.restorations.poll_timeout()
    }

    /// Creates objects again whose pause after their deletion is over.
    pub(super) fn handle_timeout(&mut self, now: MonotonicTime) {
        while let Some(service) = self.restorations.poll_due(now) {
            if self.records.get(&service).is_some_and(|record| !record.exists) {
                self.stale.push(service.namespace.clone(), service);
            }
        }
    }

    /// Replaces what this node publishes about a Service; `None` is nothing.
    pub(super) fn set(&mut self, service: ServiceKey, status: Option<AnnouncementStatus>, now: Timestamp) {
        if status.is_none() && !self.records.contains_key(&service) {
            return;
        }
        let record = self.records.entry(service.clone());
        let record = record.or_insert_with(|| {
            let mut new = Box::<StatusRecord>::default();
            new.desired.since = now;
            new
        });
        let was_inherited = std::mem::take(&mut record.is_inherited);
        let desired = &mut record.desired;
        if desired.status == status && !was_inherited {
            return;
        }
        // Also what was interrupted for a moment is newer than what other nodes have written before.
        if is_so(desired.status.as_ref()) != is_so(status.as_ref()) {
            desired.since = now;
        }
        desired.status = status;
        self.stale.push(service.namespace.clone(), service);
    }

    /// Returns the next object to be written.
    pub(super) fn poll_write(&mut self) -> Option<(ServiceKey, ObjectWrite)> {
        let owner = self.owner.as_ref().filter(|_| self.is_listed)?;
        while let Some(service) = self.stale.pop() {
            let Some(record) = self.records.get_mut(&service) else {
                continue;
            };
            if record.in_flight.is_some() || record.is_inherited {
                continue;
            }
            if record.desired.status.is_none() && !record.exists {
                self.records.remove(&service);
                continue;
            }
            let write = ObjectWrite {
                object: object(&service, &self.node, owner),
                is_new: !record.exists,
                is_withdrawal: record.desired.status.is_none(),
                patch: patch(&service, &self.node, &record.desired),
            };
            record.in_flight = Some(Box::new(record.desired.clone()));
            return Some((service, write));
        }
        None
    }

    /// Records how a write ended. After a failure the next one waits until the pause is over.
    pub(super) fn handle_written(&mut self, service: &ServiceKey, written: &Written, now: MonotonicTime) {
        let Written::Version(version) = written else {
            return;
        };
        let Some(record) = self.records.get_mut(service) else {
            return;
        };
        let sent = record.in_flight.take();
        record.written = *version;
        // A withdrawn object is deleted sooner or later.
        record.exists = sent.as_ref().is_some_and(|sent| sent.status.is_some());
        if sent.as_deref() != Some(&record.desired) || record.desired.status.is_none() {
            self.stale.push(service.namespace.clone(), service.clone());
        }
        if std::mem::take(&mut record.is_deleted) {
            self.handle_deleted(service, now);
        }
    }

    /// Records that an object may be written again after a failure.
    pub(super) fn handle_pause_over(&mut self, service: &ServiceKey) {
        if let Some(record) = self.records.get_mut(service) {
            record.in_flight = None;
            record.exists &= !std::mem::take(&mut record.is_deleted);
            self.stale.push(service.namespace.clone(), service.clone());
        }
    }
}

impl ObservedObject {
    /// Reads an object.
    pub(super) fn new(object: &PartialObjectMeta<ServiceL2Status>) -> Self {
        let labels = object.labels();
        let service = labels.get(SERVICE_NAMESPACE).zip(labels.get(SERVICE_NAME));
        Self {
            name: object.name_any().into(),
            service: service.map(|(namespace, name)| ServiceKey::new(namespace.as_str(), name.as_str())),
            version: object.resource_version().and_then(|version| version.parse().ok()),
        }
    }
}

/// Whether the condition is True.
fn is_so(status: Option<&AnnouncementStatus>) -> bool {
    status.is_some_and(|status| status.obstacle.is_none())
}

/// Returns the name of the object: always the same for a Pod, so that no object is created twice, and another one for the
/// next Pod on the node, whose objects do not go with those of the last.
fn name_of(service: &ServiceKey, owner: &OwnerReference) -> String {
    let mut hasher = DefaultHasher::new();
    (&*service.namespace, &*service.name, &owner.uid).hash(&mut hasher);
    format!("l2-{:016x}", hasher.finish())
}

fn object(service: &ServiceKey, node: &str, owner: &OwnerReference) -> ServiceL2Status {
    let labels = [
        (NODE, node),
        (SERVICE_NAME, &service.name),
        (SERVICE_NAMESPACE, &service.namespace),
    ];
    let labels = labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    ServiceL2Status {
        metadata: ObjectMeta {
            name: Some(name_of(service, owner)),
            labels: Some(labels.collect()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: ServiceL2StatusFields::default(),
        status: None,
    }
}

/// Returns the merge patch of the status. What is null is removed.
fn patch(service: &ServiceKey, node: &str, desired: &Desired) -> Value {
    let status = desired.status.as_ref();
    let (is_so, reason, message) = match status.map(|status| &status.obstacle) {
        Some(None) => ("True", ConditionReason::Announced.reason(), String::new()),
        Some(Some((reason, message))) => ("False", *reason, shorten(message, LONGEST_MESSAGE)),
        None => ("False", ConditionReason::NotAnnounced.reason(), String::new()),
    };
    let condition = json!({
        "type": ANNOUNCED, "status": is_so, "reason": reason, "message": message,
        "lastTransitionTime": Time(desired.since),
    });
    let list = |values: Vec<Value>| {
        if values.is_empty() {
            Value::Null
        } else {
            json!(values)
        }
    };
    let addresses = status.iter().flat_map(|status| &status.addresses);
    let interfaces = status.iter().flat_map(|status| &status.interfaces);
    let is_elected = status.is_some_and(|status| status.is_elected);
    json!({"status": {
        "node": is_elected.then_some(node),
        "serviceName": &*service.name,
        "serviceNamespace": &*service.namespace,
        "addresses": list(addresses.map(|address| json!(address)).collect()),
        "interfaces": list(interfaces.map(|name| json!({"name": name})).collect()),
        "conditions": [condition],
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_runtime::ObjectKey;
    use std::time::Duration;

    fn key() -> ServiceKey {
        ServiceKey::new("default", "web")
    }

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    fn announced(obstacle: Option<&'static str>) -> AnnouncementStatus {
        AnnouncementStatus {
            is_elected: true,
            addresses: vec![[192, 0, 2, 1].into()],
            interfaces: ["eth0".to_owned()].into(),
            obstacle: obstacle.map(|reason| (reason, "why".to_owned())),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn started() -> StatusObjects {
        let mut objects = StatusObjects::new("node-1".to_owned());
        objects.set_owner(owner("pod"));
        objects.update(Update::Synced, at(0), now(0));
        objects.settle();
        objects
    }

    fn now(second: u64) -> MonotonicTime {
        MonotonicTime::since_zero(Duration::from_secs(second))
    }

    fn observed(name: &str, pod: &str, version: u64) -> Update<ObservedObject> {
        let service = ServiceKey::new("default", name);
        Update::Applied(ObservedObject {
            name: name_of(&service, &owner(pod)).into(),
            service: Some(service),
            version: Some(version),
        })
    }

    fn deleted() -> Update<ObservedObject> {
        Update::Deleted(ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: name_of(&key(), &owner("pod")),
        })
    }

    /// An object that was written as version 7 and is shown.
    fn written() -> StatusObjects {
        let mut objects = started();
        objects.set(key(), Some(announced(None)), at(1));
        write(&mut objects);
        objects.handle_written(&key(), &Written::Version(Some(7)), now(1));
        objects.update(observed("web", "pod", 7), at(1), now(1));
        objects
    }

    fn write(objects: &mut StatusObjects) -> ObjectWrite {
        let (service, write) = objects.poll_write().expect("a write");
        assert_eq!(service, key());
        assert!(objects.poll_write().is_none());
        write
    }

    fn condition(write: &ObjectWrite) -> (Value, Value, Value) {
        let condition = &write.patch["status"]["conditions"][0];
        let of = |field: &str| condition[field].clone();
        (of("status"), of("reason"), of("lastTransitionTime"))
    }

    #[test]
    fn an_object_has_the_labels_and_fields_of_metallb_and_its_addresses() {
        let mut objects = started();
        objects.set(key(), Some(announced(None)), at(5));
        let write = write(&mut objects);
        assert!(write.is_new && !write.is_withdrawal);
        let labels = [
            ("metallb.io/node", "node-1"),
            ("metallb.io/service-name", "web"),
            ("metallb.io/service-namespace", "default"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(write.object.labels(), &labels.into());
        assert_eq!(write.object.owner_references(), [owner("pod")]);
        let status = json!({
            "node": "node-1", "serviceName": "web", "serviceNamespace": "default",
            "addresses": ["192.0.2.1"], "interfaces": [{"name": "eth0"}],
            "conditions": [{"type": "herald.io/Announced", "status": "True", "reason": "Announced", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:05Z"}],
        });
        assert_eq!(write.patch, json!({"status": status}));
    }

    #[test]
    fn a_report_of_a_service_that_no_node_announces_names_no_node() {
        let mut objects = started();
        let report = AnnouncementStatus {
            is_elected: false,
            addresses: Vec::new(),
            interfaces: [].into(),
            obstacle: Some(("NoEndpoints", "x".repeat(2000))),
        };
        objects.set(key(), Some(report), at(0));
        let write = write(&mut objects);
        let status = &write.patch["status"];
        assert_eq!(
            (&status["node"], &status["addresses"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(condition(&write).1, "NoEndpoints");
        let message = status["conditions"][0]["message"].as_str().expect("a message");
        assert!(message.len() <= LONGEST_MESSAGE);
    }

    #[test]
    fn one_write_is_in_flight_and_the_newest_state_follows() {
        let mut objects = started();
        objects.set(key(), Some(announced(None)), at(1));
        write(&mut objects);
        for reason in ["First", "Second"] {
            objects.set(key(), Some(announced(Some(reason))), at(2));
            assert!(objects.poll_write().is_none());
        }
        objects.handle_written(&key(), &Written::Version(Some(7)), now(1));
        let second = write(&mut objects);
        assert_eq!(condition(&second).1, "Second");
        assert!(!second.is_new);
        objects.handle_written(&key(), &Written::Version(Some(8)), now(1));
        assert!(objects.poll_write().is_none());
        objects.set(key(), Some(announced(Some("Second"))), at(3));
        assert!(objects.poll_write().is_none(), "it is written");
    }

    #[test]
    fn a_failed_write_is_repeated_after_the_pause_with_the_newest_state() {
        for failure in [
            Written::Failed("away".to_owned()),
            Written::Refused("policy".to_owned()),
            Written::Outdated,
        ] {
            let mut objects = started();
            objects.set(key(), Some(announced(None)), at(1));
            write(&mut objects);
            objects.handle_written(&key(), &failure, now(1));
            objects.set(key(), Some(announced(Some("Newer"))), at(2));
            assert!(objects.poll_write().is_none(), "{failure:?}");
            objects.handle_pause_over(&key());
            assert_eq!(condition(&write(&mut objects)).1, "Newer");
        }
    }

    #[test]
    fn what_was_interrupted_is_written_again_with_the_time_of_its_return() {
        let mut objects = started();
        objects.set(key(), Some(announced(None)), at(1));
        write(&mut objects);
        objects.handle_written(&key(), &Written::Version(Some(7)), now(1));
        objects.set(key(), None, at(2));
        objects.set(key(), Some(announced(None)), at(3));
        let (status, _, time) = condition(&write(&mut objects));
        assert_eq!((status, time), (json!("True"), json!("1970-01-01T00:00:03Z")));
    }

    #[test]
    fn a_withdrawal_is_written_once_and_then_forgotten() {
        let mut objects = started();
        objects.set(key(), Some(announced(None)), at(1));
        write(&mut objects);
        objects.handle_written(&key(), &Written::Version(Some(7)), now(1));
        objects.set(key(), None, at(2));
        let withdrawal = write(&mut objects);
        assert!(withdrawal.is_withdrawal && !withdrawal.is_new);
        let status = &withdrawal.patch["status"];
        assert_eq!(
            (&status["node"], &status["addresses"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(condition(&withdrawal).1, "NotAnnounced");
        objects.handle_written(&key(), &Written::Failed("away".to_owned()), now(1));
        objects.handle_pause_over(&key());
        assert!(write(&mut objects).is_withdrawal);
        objects.handle_written(&key(), &Written::Version(Some(8)), now(1));
        assert!(objects.poll_write().is_none());
        assert!(objects.records.is_empty());
        // The controller deletes the object meanwhile.
        objects.set(key(), Some(announced(None)), at(3));
        assert!(write(&mut objects).is_new);
    }

    #[test]
    fn nothing_is_written_before_the_owner_is_known_and_nothing_that_is_over_by_then() {
        let mut objects = StatusObjects::new("node-1".to_owned());
        objects.set(key(), Some(announced(None)), at(1));
        let other = ServiceKey::new("default", "other");
        objects.set(other.clone(), Some(announced(None)), at(1));
        objects.set(other, None, at(2));
        assert!(objects.poll_write().is_none());
        objects.set_owner(owner("pod"));
        assert!(objects.poll_write().is_none());
        objects.update(Update::Synced, at(3), now(3));
        assert!(write(&mut objects).is_new);
    }

    /// The Services of all writes, with whether each is new and whether it is a withdrawal.
    fn writes(objects: &mut StatusObjects) -> BTreeMap<String, (bool, bool)> {
        let writes = std::iter::from_fn(|| objects.poll_write());
        let writes =
            writes.map(|(service, write)| (service.name.to_string(), (write.is_new, write.is_withdrawal)));
        writes.collect()
    }

    #[test]
    fn the_namespaces_take_turns() {
        let mut objects = started();
        for (namespace, name) in [("noisy", "a"), ("noisy", "b"), ("noisy", "c"), ("quiet", "web")] {
            objects.set(ServiceKey::new(namespace, name), Some(announced(None)), at(1));
        }
        let written = std::iter::from_fn(|| objects.poll_write()).map(|(service, _)| service.to_string());
        assert_eq!(
            written.collect::<Vec<_>>(),
            ["noisy/a", "quiet/web", "noisy/b", "noisy/c"]
        );
    }

    #[test]
    fn after_a_restart_nothing_is_withdrawn_before_the_agent_has_decided() {
        let mut objects = StatusObjects::new("node-1".to_owned());
        objects.set(key(), Some(announced(None)), at(1));
        objects.set_owner(owner("pod"));
        let existing = [
            ("web", "pod"),
            ("later", "pod"),
            ("no-more", "pod"),
            ("gone", "pod"),
            ("before", "pod-before"),
        ];
        for (name, pod) in existing {
            objects.update(observed(name, pod, 5), at(2), now(2));
        }
        objects.update(Update::Synced, at(2), now(2));
        let of = |name: &str, write| (name.to_owned(), write);
        assert_eq!(writes(&mut objects), BTreeMap::from([of("web", (false, false))]));
        objects.set(ServiceKey::new("default", "later"), Some(announced(None)), at(3));
        objects.set(ServiceKey::new("default", "no-more"), None, at(3));
        let expected = BTreeMap::from([of("later", (false, false)), of("no-more", (false, true))]);
        assert_eq!(writes(&mut objects), expected);
        objects.settle();
        assert_eq!(writes(&mut objects), BTreeMap::from([of("gone", (false, true))]));
    }

    #[test]
    fn a_desired_object_that_was_deleted_returns_after_a_pause_that_doubles() {
        let mut objects = written();
        assert!(objects.poll_write().is_none());
        let mut second = 10;
        for pause in [1, 2, 4] {
            objects.update(deleted(), at(10), now(second));
            objects.handle_timeout(now(second));
            assert!(objects.poll_write().is_none());
            second += pause;
            assert_eq!(objects.poll_timeout(), Some(now(second)));
            objects.handle_timeout(now(second));
            assert!(write(&mut objects).is_new);
            objects.handle_written(&key(), &Written::Version(Some(second)), now(second));
            objects.update(observed("web", "pod", second), at(10), now(second));
        }
        // What changes meanwhile is not held up, and is written once.
        objects.update(deleted(), at(20), now(20));
        objects.set(key(), Some(announced(Some("Newer"))), at(20));
        assert!(write(&mut objects).is_new);
        objects.handle_written(&key(), &Written::Version(Some(30)), now(20));
        objects.handle_timeout(now(28));
        assert!(objects.poll_write().is_none());
    }

    #[test]
    fn a_deletion_during_a_write_may_have_come_after_it() {
        let mut objects = written();
        objects.set(key(), Some(announced(Some("Newer"))), at(2));
        write(&mut objects);
        objects.update(deleted(), at(2), now(2));
        objects.handle_written(&key(), &Written::Version(Some(8)), now(2));
        assert!(objects.poll_write().is_none());
        objects.handle_timeout(now(3));
        assert!(write(&mut objects).is_new);
    }

    #[test]
    fn a_withdrawn_object_that_is_deleted_does_not_return() {
        let mut objects = written();
        objects.set(key(), None, at(2));
        assert!(write(&mut objects).is_withdrawal);
        objects.update(deleted(), at(2), now(2));
        objects.handle_written(&key(), &Written::Version(Some(8)), now(2));
        assert!(objects.poll_write().is_none());
        assert_eq!(objects.poll_timeout(), None);
        assert!(objects.records.is_empty() && objects.observed.is_empty());
    }

    #[test]
    fn what_a_list_does_not_show_as_it_was_written_is_written_again() {
        let mut objects = written();
        objects.update(Update::Synced, at(9), now(9));
        assert!(objects.poll_write().is_none());
        objects.update(observed("web", "pod", 3), at(9), now(9));
        objects.update(Update::Synced, at(9), now(9));
        assert!(!write(&mut objects).is_new);
    }
}

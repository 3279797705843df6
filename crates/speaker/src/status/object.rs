//! The `ServiceL2Status` objects of this node: what they should be, and which writes lead there.
//!
//! ```text
//!   desired ──► in flight ──► written
//!      ▲            │ failed: after a pause
//!      └────────────┘
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use herald_api::ServiceL2Status;
use herald_api::crd::{ANNOUNCED, ServiceL2StatusFields};
use herald_api::reason::ConditionReason;
use herald_core::ServiceKey;
use herald_core::announce::agent::AnnouncementStatus;
use herald_runtime::log::shorten;
use herald_runtime::reconcile::Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

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
    records: BTreeMap<ServiceKey, StatusRecord>,
    /// Services whose objects may differ from what they should be.
    stale: Vec<ServiceKey>,
}

#[derive(Debug, Default)]
struct StatusRecord {
    desired: Desired,
    /// What is being written; after a failure it stays until the pause is over.
    in_flight: Option<Desired>,
    /// Whether the object exists, as far as is known.
    exists: bool,
}

/// What an object should say, and since when its condition has its status.
#[derive(Debug, Clone, PartialEq, Default)]
struct Desired {
    status: Option<AnnouncementStatus>,
    since: Timestamp,
}

impl StatusObjects {
    /// Starts without objects.
    pub(super) const fn new(node: String) -> Self {
        Self {
            node,
            owner: None,
            records: BTreeMap::new(),
            stale: Vec::new(),
        }
    }

    /// Starts to write. The objects of this Pod that exist already were written before its container was restarted.
    pub(super) fn start(&mut self, owner: OwnerReference, existing: &[ServiceL2Status], now: Timestamp) {
        for object in existing {
            let Some(service) = service_of(object) else {
                continue;
            };
            if object.name_any() == name_of(&service, &owner) {
                let record = self.records.entry(service).or_default();
                record.exists = true;
                record.desired.since = now;
            }
        }
        self.owner = Some(owner);
        self.stale = self.records.keys().cloned().collect();
    }

    /// Replaces what this node publishes about a Service; `None` is nothing.
    pub(super) fn set(&mut self, service: ServiceKey, status: Option<AnnouncementStatus>, now: Timestamp) {
        if status.is_none() && !self.records.contains_key(&service) {
            return;
        }
        let record = self.records.entry(service.clone());
        let record = record.or_insert_with(|| StatusRecord {
            desired: Desired {
                status: None,
                since: now,
            },
            ..StatusRecord::default()
        });
        let desired = &mut record.desired;
        if desired.status == status {
            return;
        }
        // Also what was interrupted for a moment is newer than what other nodes have written before.
        if is_so(desired.status.as_ref()) != is_so(status.as_ref()) {
            desired.since = now;
        }
        desired.status = status;
        self.stale.push(service);
    }

    /// Returns the next object to be written.
    pub(super) fn poll_write(&mut self) -> Option<(ServiceKey, ObjectWrite)> {
        let owner = self.owner.as_ref()?;
        while let Some(service) = self.stale.pop() {
            let Some(record) = self.records.get_mut(&service) else {
                continue;
            };
            if record.in_flight.is_some() {
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
            record.in_flight = Some(record.desired.clone());
            return Some((service, write));
        }
        None
    }

    /// Records how a write ended. After a failure the next one waits until the pause is over.
    pub(super) fn handle_written(&mut self, service: &ServiceKey, written: &Written) {
        if !matches!(written, Written::Version(_)) {
            return;
        }
        let Some(record) = self.records.get_mut(service) else {
            return;
        };
        let sent = record.in_flight.take();
        // A withdrawn object is deleted sooner or later.
        record.exists = sent.as_ref().is_some_and(|sent| sent.status.is_some());
        if sent.as_ref() != Some(&record.desired) || record.desired.status.is_none() {
            self.stale.push(service.clone());
        }
    }

    /// Records that an object may be written again after a failure.
    pub(super) fn handle_pause_over(&mut self, service: &ServiceKey) {
        if let Some(record) = self.records.get_mut(service) {
            record.in_flight = None;
            self.stale.push(service.clone());
        }
    }
}

/// Whether the condition is True.
fn is_so(status: Option<&AnnouncementStatus>) -> bool {
    status.is_some_and(|status| status.obstacle.is_none())
}

fn service_of(object: &ServiceL2Status) -> Option<ServiceKey> {
    let labels = object.labels();
    Some(ServiceKey::new(
        labels.get(SERVICE_NAMESPACE)?,
        labels.get(SERVICE_NAME)?,
    ))
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
        objects.start(owner("pod"), &[], at(0));
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
        objects.handle_written(&key(), &Written::Version(Some(7)));
        let second = write(&mut objects);
        assert_eq!(condition(&second).1, "Second");
        assert!(!second.is_new);
        objects.handle_written(&key(), &Written::Version(Some(8)));
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
            objects.handle_written(&key(), &failure);
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
        objects.handle_written(&key(), &Written::Version(Some(7)));
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
        objects.handle_written(&key(), &Written::Version(Some(7)));
        objects.set(key(), None, at(2));
        let withdrawal = write(&mut objects);
        assert!(withdrawal.is_withdrawal && !withdrawal.is_new);
        let status = &withdrawal.patch["status"];
        assert_eq!(
            (&status["node"], &status["addresses"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(condition(&withdrawal).1, "NotAnnounced");
        objects.handle_written(&key(), &Written::Failed("away".to_owned()));
        objects.handle_pause_over(&key());
        assert!(write(&mut objects).is_withdrawal);
        objects.handle_written(&key(), &Written::Version(Some(8)));
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
        objects.start(owner("pod"), &[], at(3));
        assert!(write(&mut objects).is_new);
    }

    #[test]
    fn after_a_restart_the_objects_of_the_same_pod_go_on_and_those_of_other_pods_are_left_alone() {
        let of = |name: &str, pod: &str| object(&ServiceKey::new("default", name), "node-1", &owner(pod));
        let existing = [of("web", "pod"), of("gone", "pod"), of("before", "pod-before")];
        let mut objects = StatusObjects::new("node-1".to_owned());
        objects.set(key(), Some(announced(None)), at(1));
        objects.start(owner("pod"), &existing, at(2));
        let writes = std::iter::from_fn(|| objects.poll_write());
        let writes =
            writes.map(|(service, write)| (service.name.to_string(), (write.is_new, write.is_withdrawal)));
        let expected = [("gone", (false, true)), ("web", (false, false))];
        let expected = expected.map(|(name, write)| (name.to_owned(), write));
        assert_eq!(writes.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    }
}

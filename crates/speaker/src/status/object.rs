//! The objects of one kind that this node writes: what they should be, and which writes lead there.
//!
//! ```text
//!   desired ──► in flight ──► written
//!      ▲            │ failed, │ deleted by the controller or a user, or differs and rests:
//!      └────────────┴─────────┘ after a pause
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use herald_core::{Namespace, Time as MonotonicTime};
use herald_runtime::Update;
use herald_runtime::fair_queue::FairQueue;
use herald_runtime::reconcile::{WriteTarget, Written};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PartialObjectMeta};
use serde_json::Value;

use super::kind::SpeakerObject;
use super::restoration::Restorations;

/// A write of one object.
#[derive(Debug)]
pub(super) struct ObjectWrite<O> {
    /// The object without its status.
    pub(super) object: O,
    /// Whether it has to be created first, as far as is known.
    pub(super) is_new: bool,
    /// Whether this node publishes nothing about the subject any more.
    pub(super) is_withdrawal: bool,
    /// A merge patch of the status.
    pub(super) patch: Value,
}

/// The objects of this node, one for each subject that it publishes something about, such as a Service.
#[derive(Debug)]
pub(super) struct StatusObjects<O: SpeakerObject> {
    node: String,
    /// The Pod of this speaker; Kubernetes deletes the objects together with it. `None` until it is known.
    owner: Option<OwnerReference>,
    /// Whether the objects of this node were listed.
    is_listed: bool,
    /// Whether the speaker has had the time to decide on everything.
    has_settled: bool,
    /// Boxed, because a B-tree has room for almost twice as many values as it holds.
    records: BTreeMap<O::Key, Box<StatusRecord<O::Status>>>,
    /// The objects of this Pod that the watch shows, by name: their subjects and versions.
    observed: BTreeMap<Box<str>, (O::Key, Option<u64>)>,
    restorations: Restorations<O::Key>,
    /// Subjects whose objects may differ from what they should be. The namespaces take turns.
    stale: FairQueue<Namespace, O::Key>,
    /// Whether nothing is to be written for now but that this node publishes nothing any more.
    is_paused: bool,
    /// Subjects that wait for the end of the pause.
    held: BTreeSet<O::Key>,
}

/// An object of this node as the watch shows it.
#[derive(Debug)]
pub(super) struct ObservedObject<K> {
    name: Box<str>,
    /// What it is about.
    key: Option<K>,
    /// The `resourceVersion`, if it is a number.
    version: Option<u64>,
}

#[derive(Debug)]
struct StatusRecord<S> {
    desired: Desired<S>,
    /// What is being written; after a failure it stays until the pause is over.
    in_flight: Option<Box<Desired<S>>>,
    /// What was written; until the pause after it is over nothing else is.
    resting: Option<Box<Desired<S>>>,
    /// Whether the object exists, as far as is known.
    exists: bool,
    /// Whether the object was deleted while a write was in flight: before or after it.
    is_deleted: bool,
    /// Whether an earlier container of this Pod wrote the object, and this one has decided nothing about it yet.
    is_inherited: bool,
    /// The version that the last write made.
    written: Option<u64>,
}

/// What an object should say, and since when what it says is so, or not.
#[derive(Debug, Clone, PartialEq)]
struct Desired<S> {
    status: Option<S>,
    since: Timestamp,
}

impl<S> StatusRecord<S> {
    /// The record of an object that nothing is desired of.
    const fn new(since: Timestamp) -> Self {
        Self {
            desired: Desired { status: None, since },
            in_flight: None,
            resting: None,
            exists: false,
            is_deleted: false,
            is_inherited: false,
            written: None,
        }
    }
}

impl<O: SpeakerObject> StatusObjects<O> {
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
            is_paused: false,
            held: BTreeSet::new(),
        }
    }

    /// Stops writing, or writes again all that differs. Objects that this kind deletes are deleted in a pause as well: what they say is
    /// not so any more.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if !is_paused {
            for key in std::mem::take(&mut self.held) {
                self.push(key);
            }
        }
    }

    /// Takes the Pod that owns the objects.
    pub(super) fn set_owner(&mut self, owner: OwnerReference) {
        self.owner = Some(owner);
    }

    /// Takes a change of the objects of this node. Those of another Pod are left alone. What is desired and was deleted is
    /// written again after a pause, and at once what a list does not show as it was written.
    pub(super) fn update(
        &mut self,
        update: Update<ObservedObject<O::Key>>,
        wall: Timestamp,
        now: MonotonicTime,
    ) {
        match update {
            Update::Applied(object) => self.handle_observed(object, wall),
            Update::Deleted(key) => {
                if let Some((subject, _)) = self.observed.remove(&*key.name) {
                    self.handle_deleted(&subject, now);
                }
            }
            Update::Synced => {
                self.is_listed = true;
                let keys = self.records.keys();
                let lost: Vec<O::Key> = keys.filter(|key| !self.is_shown(key)).cloned().collect();
                for key in lost {
                    self.push(key);
                }
            }
        }
    }

    fn handle_observed(&mut self, object: ObservedObject<O::Key>, wall: Timestamp) {
        let Some((key, owner)) = object.key.as_ref().zip(self.owner.as_ref()) else {
            return;
        };
        if *object.name != *name_of::<O>(key, owner) {
            return;
        }
        if !self.is_listed {
            // It was written before the container was restarted.
            let is_inherited = !self.has_settled && !self.records.contains_key(key);
            let record = self.records.entry(key.clone());
            let record = record.or_insert_with(|| Box::new(StatusRecord::new(wall)));
            record.exists = true;
            record.is_inherited = is_inherited;
            record.desired.since = wall;
        }
        // One copy of the names, where there is a record.
        let known = self.records.get_key_value(key);
        let key = known.map_or(key, |(known, _)| known).clone();
        self.observed.insert(object.name, (key, object.version));
    }

    /// Notes that the object of a subject may differ from what it should be.
    fn push(&mut self, key: O::Key) {
        self.stale.push(Namespace::new(key.namespace()), key);
    }

    fn handle_deleted(&mut self, key: &O::Key, now: MonotonicTime) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        if record.in_flight.is_some() {
            record.is_deleted = true;
            return;
        }
        record.exists = false;
        record.is_inherited = false;
        if record.desired.status.is_some() {
            self.restorations.insert(key, now);
        } else {
            self.push(key.clone());
        }
    }

    /// Whether the watch shows the object as it was written last.
    fn is_shown(&self, key: &O::Key) -> bool {
        let written = self.records.get(key).and_then(|record| record.written);
        let name = self.owner.as_ref().map(|owner| name_of::<O>(key, owner));
        let observed = name.and_then(|name| self.observed.get(&*name));
        written.is_some() && observed.is_some_and(|(_, version)| *version == written)
    }

    /// Takes that the speaker has had the time to decide on everything: an object that it has not asked for is withdrawn.
    pub(super) fn settle(&mut self) {
        self.has_settled = true;
        for (key, record) in &mut self.records {
            if std::mem::take(&mut record.is_inherited) {
                self.stale.push(Namespace::new(key.namespace()), key.clone());
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.restorations.poll_timeout()
    }

    /// Creates objects again whose pause after their deletion is over.
    pub(super) fn handle_timeout(&mut self, now: MonotonicTime) {
        while let Some(key) = self.restorations.poll_due(now) {
            if self.records.get(&key).is_some_and(|record| !record.exists) {
                self.push(key);
            }
        }
    }

    /// Replaces what this node publishes about a subject; `None` is nothing.
    pub(super) fn set(&mut self, key: O::Key, status: Option<O::Status>, now: Timestamp) {
        if status.is_none() && !self.records.contains_key(&key) {
            return;
        }
        let record = self.records.entry(key.clone());
        let record = record.or_insert_with(|| Box::new(StatusRecord::new(now)));
        let was_inherited = std::mem::take(&mut record.is_inherited);
        let desired = &mut record.desired;
        if desired.status == status && !was_inherited {
            return;
        }
        // Also what was interrupted for a moment is newer than what other nodes have written before.
        let is_so = |status: Option<&O::Status>| status.is_some_and(O::is_so);
        if is_so(desired.status.as_ref()) != is_so(status.as_ref()) {
            desired.since = now;
        }
        desired.status = status;
        self.push(key);
    }

    /// Returns the next object to be written.
    pub(super) fn poll_write(&mut self) -> Option<(O::Key, ObjectWrite<O>)> {
        let owner = self.owner.as_ref().filter(|_| self.is_listed)?;
        while let Some(key) = self.stale.pop() {
            let Some(record) = self.records.get_mut(&key) else {
                continue;
            };
            if record.in_flight.is_some() || record.resting.is_some() || record.is_inherited {
                continue;
            }
            if record.desired.status.is_none() && !record.exists {
                self.records.remove(&key);
                continue;
            }
            let is_deletion = O::DELETES && record.desired.status.is_none();
            if self.is_paused && !is_deletion {
                self.held.insert(key);
                continue;
            }
            let desired = &record.desired;
            let write = ObjectWrite {
                object: object(&key, &self.node, owner),
                is_new: !record.exists,
                is_withdrawal: desired.status.is_none(),
                patch: O::patch(&key, &self.node, desired.status.as_ref(), desired.since),
            };
            record.in_flight = Some(Box::new(desired.clone()));
            return Some((key, write));
        }
        None
    }

    /// Records how a write ended. After a failure the next one waits until the pause is over, and so it does after a success if the
    /// kind has a spacing.
    pub(super) fn handle_written(&mut self, key: &O::Key, written: &Written, now: MonotonicTime) {
        let Written::Version(version) = written else {
            return;
        };
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let sent = record.in_flight.take();
        record.written = *version;
        // A withdrawn object is deleted sooner or later.
        record.exists = sent.as_ref().is_some_and(|sent| sent.status.is_some());
        let is_stale = sent.as_deref() != Some(&record.desired) || record.desired.status.is_none();
        let is_deleted = std::mem::take(&mut record.is_deleted);
        if key.spacing().is_some() {
            record.resting = sent;
        } else if is_stale {
            self.push(key.clone());
        }
        if is_deleted {
            self.handle_deleted(key, now);
        }
    }

    /// Records that an object may be written again after a failure, or after a success of a kind with spacing.
    pub(super) fn handle_pause_over(&mut self, key: &O::Key) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        let written = record.resting.take();
        if written.is_none() {
            record.in_flight = None;
            record.exists &= !std::mem::take(&mut record.is_deleted);
        }
        let is_as_desired = record.exists && written.as_deref() == Some(&record.desired);
        if !is_as_desired {
            self.push(key.clone());
        }
    }
}

impl<K> ObservedObject<K> {
    /// Reads an object.
    pub(super) fn new<O: SpeakerObject<Key = K>>(object: &PartialObjectMeta<O>) -> Self {
        Self {
            name: object.name_any().into(),
            key: O::key_of(&object.metadata),
            version: object.resource_version().and_then(|version| version.parse().ok()),
        }
    }
}

/// Returns the name of the object: always the same for a Pod, so that no object is created twice, and another one for the
/// next Pod on the node, whose objects do not go with those of the last.
fn name_of<O: SpeakerObject>(key: &O::Key, owner: &OwnerReference) -> String {
    let mut hasher = DefaultHasher::new();
    (key, &owner.uid).hash(&mut hasher);
    format!("{}-{:016x}", O::PREFIX, hasher.finish())
}

fn object<O: SpeakerObject>(key: &O::Key, node: &str, owner: &OwnerReference) -> O {
    O::new(ObjectMeta {
        name: Some(name_of::<O>(key, owner)),
        owner_references: Some(vec![owner.clone()]),
        ..O::metadata(key, node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_api::{BGPSessionState, ServiceBGPStatus, ServiceL2Status};
    use herald_core::ServiceKey;
    use herald_core::announce::agent::AnnouncementStatus;
    use herald_core::announce::bgp::{BgpStatus, PeerExclusion, PrefixCounts};
    use herald_runtime::ObjectKey;
    use serde_json::json;
    use std::time::Duration;

    use crate::status::kind::{ESTABLISHED, LONGEST_MESSAGE, SessionKey, SessionStatus};

    type StatusObjects = super::StatusObjects<ServiceL2Status>;
    type ObjectWrite = super::ObjectWrite<ServiceL2Status>;
    type ObservedObject = super::ObservedObject<ServiceKey>;

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
            name: name_of::<ServiceL2Status>(&service, &owner(pod)).into(),
            key: Some(service),
            version: Some(version),
        })
    }

    fn deleted() -> Update<ObservedObject> {
        Update::Deleted(ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: name_of::<ServiceL2Status>(&key(), &owner("pod")),
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

    /// The objects of sessions, and what was written of one of them: the state, and the error.
    struct Sessions(super::StatusObjects<BGPSessionState>);

    impl Sessions {
        fn new() -> Self {
            let mut objects = super::StatusObjects::new("node-1".to_owned());
            objects.set_owner(owner("pod"));
            objects.update(Update::Synced, at(0), now(0));
            objects.settle();
            Self(objects)
        }

        fn set(&mut self, state: Option<&'static str>, second: i64) {
            let status = state.map(|state| SessionStatus {
                peer_address: "192.0.2.1".to_owned(),
                vrf: None,
                state,
                prefixes: PrefixCounts {
                    sendable: 3,
                    unsendable: 1,
                    reason: Some(PeerExclusion::RouteTooLong),
                },
                last_error: (state != ESTABLISHED).then(|| "the peer is away".to_owned()),
            });
            self.0.set(session(), status, at(second));
        }

        fn write(&mut self) -> Option<super::ObjectWrite<BGPSessionState>> {
            let (key, write) = self.0.poll_write()?;
            assert_eq!(key, session());
            Some(write)
        }
    }

    fn session() -> SessionKey {
        SessionKey("router".into())
    }

    #[test]
    fn a_session_is_written_with_its_peer_and_since_when_it_is_as_it_is() {
        let mut sessions = Sessions::new();
        sessions.set(Some(ESTABLISHED), 5);
        let write = sessions.write().expect("a write");
        assert!(write.is_new);
        assert_eq!(write.object.labels()["metallb.io/node"], "node-1");
        assert_eq!(write.object.annotations()["herald.io/peer"], "router");
        let status = json!({
            "node": "node-1", "peer": "router", "peerAddress": "192.0.2.1", "vrf": null, "bgpStatus": "Established",
            "bfdStatus": "N/A", "since": "1970-01-01T00:00:05Z", "prefixes": 3, "lastError": null,
            "unsendablePrefixes": 1, "unsendableReason": PeerExclusion::RouteTooLong.to_string(),
        });
        assert_eq!(write.patch, json!({"status": status}));
        assert_eq!(BGPSessionState::key_of(&write.object.metadata), Some(session()));
    }

    #[test]
    fn a_session_that_flaps_is_written_once_in_a_pause_and_as_it_is_at_its_end() {
        let mut sessions = Sessions::new();
        let written = Written::Version(Some(7));
        sessions.set(Some(ESTABLISHED), 0);
        assert!(sessions.write().is_some());
        sessions.0.handle_written(&session(), &written, now(0));
        for second in 1..9 {
            sessions.set(Some("Active"), second);
            assert!(sessions.write().is_none());
            sessions.set(Some(ESTABLISHED), second);
            assert!(sessions.write().is_none());
        }
        sessions.set(Some("Active"), 9);
        sessions.0.handle_pause_over(&session());
        let write = sessions.write().expect("a write");
        assert_eq!(write.patch["status"]["bgpStatus"], "Active");
        sessions.0.handle_written(&session(), &written, now(10));
        sessions.0.handle_pause_over(&session());
        assert!(sessions.write().is_none(), "it is as desired");
        // Without a pause before it, a change is written at once.
        sessions.set(Some(ESTABLISHED), 100);
        assert!(sessions.write().is_some());
        sessions
            .0
            .handle_written(&session(), &Written::Failed("away".to_owned()), now(100));
        assert!(sessions.write().is_none());
        sessions.0.handle_pause_over(&session());
        assert!(sessions.write().is_some());
    }

    #[test]
    fn an_object_that_is_not_true_any_more_is_deleted_in_a_pause_and_nothing_else_is_written() {
        let mut sessions = Sessions::new();
        sessions.set(Some(ESTABLISHED), 0);
        assert!(sessions.write().is_some());
        sessions
            .0
            .handle_written(&session(), &Written::Version(Some(7)), now(0));
        sessions.0.handle_pause_over(&session());
        sessions.0.set_paused(true);
        sessions.set(Some("Active"), 1);
        assert!(sessions.write().is_none());
        sessions.set(None, 2);
        assert!(sessions.write().is_some_and(|write| write.is_withdrawal));
        sessions
            .0
            .handle_written(&session(), &Written::Version(None), now(2));
        sessions.0.handle_pause_over(&session());
        sessions.set(Some("Connect"), 3);
        assert!(sessions.write().is_none());
        sessions.0.set_paused(false);
        let write = sessions.write().expect("it is written after the pause");
        assert_eq!(write.patch["status"]["bgpStatus"], "Connect");
        // Objects that others delete stay.
        let mut objects = written();
        objects.set_paused(true);
        objects.set(key(), None, at(2));
        assert!(objects.poll_write().is_none());
        objects.set_paused(false);
        assert!(self::write(&mut objects).is_withdrawal);
    }

    #[test]
    fn the_object_of_a_session_that_is_gone_is_withdrawn_and_forgotten() {
        let mut sessions = Sessions::new();
        sessions.set(Some(ESTABLISHED), 0);
        assert!(sessions.write().is_some());
        sessions
            .0
            .handle_written(&session(), &Written::Version(Some(7)), now(0));
        sessions.set(None, 1);
        sessions.0.handle_pause_over(&session());
        assert!(sessions.write().is_some_and(|write| write.is_withdrawal));
        sessions
            .0
            .handle_written(&session(), &Written::Version(None), now(11));
        sessions.0.handle_pause_over(&session());
        assert!(sessions.write().is_none());
        assert!(sessions.0.records.is_empty());
    }

    #[test]
    fn an_object_of_bgp_names_the_peers_and_the_addresses() {
        let status = BgpStatus {
            addresses: vec![[192, 0, 2, 1].into()],
            peers: vec!["a".into(), "b".into()],
        };
        let expected = json!({
            "node": "node-1", "serviceName": "web", "serviceNamespace": "default", "peers": ["a", "b"],
            "addresses": ["192.0.2.1"],
        });
        let patch = ServiceBGPStatus::patch(&key(), "node-1", Some(&status), at(0));
        assert_eq!(patch, json!({"status": expected}));
    }
}

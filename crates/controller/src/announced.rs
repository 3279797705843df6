//! Which Services are announced, by the `ServiceL2Status` objects of the speakers, which may not write Services.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::crd::{ANNOUNCED, ServiceL2Status};
use herald_api::reason::ConditionReason;
use herald_core::ServiceKey;
use herald_runtime::Update;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

/// The condition `herald.io/Announced` of a Service. It does not name the node, so that an address that moves costs no
/// write; the `ServiceL2Status` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) is_so: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Announced {
    fn yes() -> Self {
        Self {
            is_so: true,
            reason: ConditionReason::Announced.reason().to_owned(),
            message: String::new(),
        }
    }

    /// Reads a condition.
    pub(crate) fn of_condition(condition: &Condition) -> Self {
        Self {
            is_so: condition.status == "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }

    /// A Service that was announced before and that no speaker reports any more.
    fn by_no_speaker() -> Self {
        Self {
            is_so: false,
            reason: ConditionReason::NotAnnounced.reason().to_owned(),
            message: "no speaker announces the Service: see its events, its endpoints and the L2Advertisements of its pool"
                .to_owned(),
        }
    }
}

/// What one speaker reports of one Service.
#[derive(Debug)]
pub(crate) struct SpeakerStatus {
    object: String,
    service: ServiceKey,
    announced: Announced,
}

impl SpeakerStatus {
    /// Reads an object; `None` while its status is not written, so that its Service is not known.
    pub(crate) fn new(object: &ServiceL2Status) -> Option<Self> {
        let status = object.status.as_ref()?;
        let (namespace, name) = (status.service_namespace.as_ref()?, status.service_name.as_ref()?);
        let mut conditions = status.conditions.iter();
        let condition = conditions.find(|condition| condition.type_ == ANNOUNCED);
        Some(Self {
            object: object.name_any(),
            service: ServiceKey::new(namespace, name),
            announced: condition.map_or_else(Announced::yes, Announced::of_condition),
        })
    }
}

/// What all speakers report.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// Whether all objects have been listed. Allocation does not wait for that.
    is_listed: bool,
    services: BTreeMap<ServiceKey, BTreeMap<String, Announced>>,
    /// For which Service each object is.
    objects: BTreeMap<String, ServiceKey>,
}

impl Announcements {
    /// Takes a change and returns the Services concerned; after a list that may be all others, too.
    pub(crate) fn update(&mut self, update: Update<Option<SpeakerStatus>>) -> BTreeSet<ServiceKey> {
        match update {
            Update::Applied(report) => report.into_iter().map(|report| self.set(report)).collect(),
            Update::Deleted(key) => self.remove(&key.name).into_iter().collect(),
            Update::Synced => {
                self.is_listed = true;
                BTreeSet::new()
            }
        }
    }

    /// Whether a Service is announced whose status has the condition `before`; `None` when no speaker ever reported it. While
    /// an address moves two speakers may report the Service, and one speaker that announces it is enough.
    pub(crate) fn of(&self, service: &ServiceKey, before: Option<Announced>) -> Option<Announced> {
        if !self.is_listed {
            return before;
        }
        let Some(reports) = self.services.get(service) else {
            return before.map(|_| Announced::by_no_speaker());
        };
        let announcing = reports.values().find(|report| report.is_so);
        announcing.or_else(|| reports.values().next()).cloned()
    }

    fn set(&mut self, report: SpeakerStatus) -> ServiceKey {
        let reports = self.services.entry(report.service.clone()).or_default();
        reports.insert(report.object.clone(), report.announced);
        self.objects.insert(report.object, report.service.clone());
        report.service
    }

    fn remove(&mut self, object: &str) -> Option<ServiceKey> {
        let service = self.objects.remove(object)?;
        if let Some(reports) = self.services.get_mut(&service) {
            reports.remove(object);
            if reports.is_empty() {
                self.services.remove(&service);
            }
        }
        Some(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_runtime::ObjectKey;
    use serde_json::json;

    fn web() -> ServiceKey {
        ServiceKey::new("default", "web")
    }

    fn report(object: &str, obstacle: Option<&str>) -> Option<SpeakerStatus> {
        let condition = json!({
            "type": ANNOUNCED, "status": if obstacle.is_some() { "False" } else { "True" },
            "reason": obstacle.unwrap_or("Announced"), "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let object = json!({
            "metadata": {"name": object},
            "status": {"node": object, "serviceName": "web", "serviceNamespace": "default", "conditions": [condition]},
        });
        SpeakerStatus::new(&serde_json::from_value(object).expect("a ServiceL2Status"))
    }

    fn gone(object: &str) -> ObjectKey {
        ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: object.to_owned(),
        }
    }

    /// The reason for a Service whose status had this condition, or none, before.
    fn reason(announcements: &Announcements, before: Option<Announced>) -> Option<String> {
        announcements.of(&web(), before).map(|announced| announced.reason)
    }

    #[test]
    fn one_speaker_that_announces_is_enough() {
        let mut announcements = Announcements::default();
        announcements.update(Update::Synced);
        let changes = [
            (
                Update::Applied(report("a", Some("AddressConflict"))),
                "AddressConflict",
            ),
            (Update::Applied(report("b", None)), "Announced"),
            (Update::Deleted(gone("b")), "AddressConflict"),
            (Update::Applied(report("a", None)), "Announced"),
        ];
        assert_eq!(reason(&announcements, None), None);
        for (change, expected) in changes {
            assert_eq!(announcements.update(change), BTreeSet::from([web()]));
            assert_eq!(reason(&announcements, None).as_deref(), Some(expected));
        }
        announcements.update(Update::Deleted(gone("a")));
        assert_eq!(reason(&announcements, None), None);
        let was_so = Some(Announced::yes());
        assert_eq!(reason(&announcements, was_so).as_deref(), Some("NotAnnounced"));
    }

    #[test]
    fn before_the_first_list_the_condition_of_a_status_stays() {
        let mut announcements = Announcements::default();
        let was_so = || Some(Announced::yes());
        assert_eq!(announcements.of(&web(), was_so()), was_so());
        announcements.update(Update::Applied(report("a", Some("AddressConflict"))));
        assert_eq!(announcements.of(&web(), was_so()), was_so());
        announcements.update(Update::Synced);
        assert_eq!(
            reason(&announcements, was_so()).as_deref(),
            Some("AddressConflict")
        );
        announcements.update(Update::Deleted(gone("a")));
        assert_eq!(reason(&announcements, was_so()).as_deref(), Some("NotAnnounced"));
    }

    #[test]
    fn an_object_of_metallb_has_no_condition_and_means_that_the_service_is_announced() {
        let object = json!({
            "metadata": {"name": "l2-x"},
            "status": {"node": "a", "serviceName": "web", "serviceNamespace": "default"},
        });
        let report = SpeakerStatus::new(&serde_json::from_value(object).expect("a ServiceL2Status"));
        assert!(report.expect("the object names its Service").announced.is_so);
        let fresh = json!({"metadata": {"name": "l2-x"}});
        assert!(SpeakerStatus::new(&serde_json::from_value(fresh).expect("a ServiceL2Status")).is_none());
    }
}

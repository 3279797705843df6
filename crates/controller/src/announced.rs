//! Which Services are announced, as the speakers say in their `ServiceL2Status` objects: they may not write Services.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::crd::{ANNOUNCED, ServiceL2Status};
use herald_api::reason::ConditionReason;
use herald_core::ServiceKey;
use herald_runtime::Update;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

/// What the condition `herald.io/Announced` of a Service says. It does not name the node, so that an address that moves
/// costs no write; the `ServiceL2Status` does.
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

    /// What a condition says.
    pub(crate) fn said_by(condition: &Condition) -> Self {
        Self {
            is_so: condition.status == "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }

    /// Nobody says anything of a Service that was announced before.
    fn by_nobody() -> Self {
        Self {
            is_so: false,
            reason: ConditionReason::NotAnnounced.reason().to_owned(),
            message: "no speaker announces the Service: see its events, its endpoints and the L2Advertisements of its pool"
                .to_owned(),
        }
    }
}

/// What one speaker says of one Service.
#[derive(Debug)]
pub(crate) struct Report {
    object: String,
    service: ServiceKey,
    announced: Announced,
}

impl Report {
    /// Reads an object; `None` if it does not say for which Service it is, which is so until its status is written.
    pub(crate) fn new(object: &ServiceL2Status) -> Option<Self> {
        let status = object.status.as_ref()?;
        let (namespace, name) = (status.service_namespace.as_ref()?, status.service_name.as_ref()?);
        let mut conditions = status.conditions.iter();
        let condition = conditions.find(|condition| condition.type_ == ANNOUNCED);
        Some(Self {
            object: object.name_any(),
            service: ServiceKey::new(namespace, name),
            announced: condition.map_or_else(Announced::yes, Announced::said_by),
        })
    }
}

/// What all speakers say.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    /// Whether that is known. Nothing waits for it: allocation does not depend on it.
    is_listed: bool,
    services: BTreeMap<ServiceKey, BTreeMap<String, Announced>>,
    /// For which Service each object is.
    objects: BTreeMap<String, ServiceKey>,
}

impl Announcements {
    /// Takes what has changed, and tells for which Services; with a list it may be all others as well.
    pub(crate) fn update(&mut self, update: Update<Option<Report>>) -> BTreeSet<ServiceKey> {
        match update {
            Update::Applied(report) => report.into_iter().map(|report| self.set(report)).collect(),
            Update::Deleted(key) => self.remove(&key.name).into_iter().collect(),
            Update::Synced => {
                self.is_listed = true;
                BTreeSet::new()
            }
        }
    }

    /// Whether a Service is announced whose status says `before`; `None` when nobody has ever said anything of it. While an
    /// address moves two speakers may, and one that announces is enough.
    pub(crate) fn of(&self, service: &ServiceKey, before: Option<Announced>) -> Option<Announced> {
        if !self.is_listed {
            return before;
        }
        let Some(reports) = self.services.get(service) else {
            return before.map(|_| Announced::by_nobody());
        };
        let announcing = reports.values().find(|report| report.is_so);
        announcing.or_else(|| reports.values().next()).cloned()
    }

    fn set(&mut self, report: Report) -> ServiceKey {
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

    fn report(object: &str, obstacle: Option<&str>) -> Option<Report> {
        let condition = json!({
            "type": ANNOUNCED, "status": if obstacle.is_some() { "False" } else { "True" },
            "reason": obstacle.unwrap_or("Announced"), "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let object = json!({
            "metadata": {"name": object},
            "status": {"node": object, "serviceName": "web", "serviceNamespace": "default", "conditions": [condition]},
        });
        Report::new(&serde_json::from_value(object).expect("a ServiceL2Status"))
    }

    fn gone(object: &str) -> ObjectKey {
        ObjectKey {
            namespace: "metallb-system".to_owned(),
            name: object.to_owned(),
        }
    }

    /// What is said of a Service whose status said nothing, or this, before.
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
    fn before_the_first_list_what_a_status_says_stays() {
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
        let report = Report::new(&serde_json::from_value(object).expect("a ServiceL2Status"));
        assert!(report.expect("it names its Service").announced.is_so);
        let fresh = json!({"metadata": {"name": "l2-x"}});
        assert!(Report::new(&serde_json::from_value(fresh).expect("a ServiceL2Status")).is_none());
    }
}

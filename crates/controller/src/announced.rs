//! Which Services are announced, as the speakers say in their `ServiceL2Status` objects: they may not write Services.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::crd::{ANNOUNCED, ServiceL2Status};
use herald_core::ServiceKey;
use herald_runtime::Update;
use kube::ResourceExt;

/// Reason of the condition when a speaker announces the Service.
const REASON: &str = "Announced";
/// Its reason when none does any more.
const NOBODY: &str = "NotAnnounced";

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
            reason: REASON.to_owned(),
            message: String::new(),
        }
    }

    /// Nobody says anything of a Service that was announced before.
    pub(crate) fn by_nobody() -> Self {
        Self {
            is_so: false,
            reason: NOBODY.to_owned(),
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
        let obstacle = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == ANNOUNCED && condition.status != "True");
        Some(Self {
            object: object.name_any(),
            service: ServiceKey::new(namespace, name),
            announced: obstacle.map_or_else(Announced::yes, |obstacle| Announced {
                is_so: false,
                reason: obstacle.reason.clone(),
                message: obstacle.message.clone(),
            }),
        })
    }
}

/// What all speakers say.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    services: BTreeMap<ServiceKey, BTreeMap<String, Announced>>,
}

impl Announcements {
    /// Takes what has changed, and tells for which Services.
    pub(crate) fn update(&mut self, update: Update<Option<Report>>) -> BTreeSet<ServiceKey> {
        match update {
            Update::Applied(report) => report.into_iter().map(|report| self.set(report)).collect(),
            Update::Deleted(report) => report.into_iter().map(|report| self.remove(report)).collect(),
            Update::Replaced(all) => {
                let before = std::mem::take(&mut self.services);
                let now = all.into_iter().flatten().map(|report| self.set(report));
                let now: BTreeSet<ServiceKey> = now.collect();
                before.into_keys().chain(now).collect()
            }
        }
    }

    /// Whether a Service is announced; `None` when nobody says anything of it. While an address moves two speakers
    /// may, and one that announces is enough.
    pub(crate) fn of(&self, service: &ServiceKey) -> Option<&Announced> {
        let reports = self.services.get(service)?;
        let announcing = reports.values().find(|report| report.is_so);
        announcing.or_else(|| reports.values().next())
    }

    fn set(&mut self, report: Report) -> ServiceKey {
        let reports = self.services.entry(report.service.clone()).or_default();
        reports.insert(report.object, report.announced);
        report.service
    }

    fn remove(&mut self, report: Report) -> ServiceKey {
        if let Some(reports) = self.services.get_mut(&report.service) {
            reports.remove(&report.object);
            if reports.is_empty() {
                self.services.remove(&report.service);
            }
        }
        report.service
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn reason(announcements: &Announcements) -> Option<&str> {
        announcements
            .of(&web())
            .map(|announced| announced.reason.as_str())
    }

    #[test]
    fn one_speaker_that_announces_is_enough() {
        let mut announcements = Announcements::default();
        assert_eq!(reason(&announcements), None);
        let changed = announcements.update(Update::Applied(report("a", Some("AddressConflict"))));
        assert_eq!(changed, BTreeSet::from([web()]));
        assert_eq!(reason(&announcements), Some("AddressConflict"));
        announcements.update(Update::Applied(report("b", None)));
        assert_eq!(reason(&announcements), Some("Announced"));
        announcements.update(Update::Deleted(report("b", None)));
        assert_eq!(reason(&announcements), Some("AddressConflict"));
        announcements.update(Update::Applied(report("a", None)));
        assert_eq!(reason(&announcements), Some("Announced"));
        announcements.update(Update::Deleted(report("a", None)));
        assert_eq!(reason(&announcements), None);
    }

    #[test]
    fn a_list_tells_of_services_that_are_no_longer_in_it() {
        let mut announcements = Announcements::default();
        announcements.update(Update::Replaced(vec![report("a", None)]));
        assert_eq!(
            announcements.update(Update::Replaced(Vec::new())),
            BTreeSet::from([web()])
        );
        assert_eq!(reason(&announcements), None);
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

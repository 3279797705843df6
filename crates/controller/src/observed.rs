//! The observed state of a Service, its desired status, and the patch from one to the other.

use std::fmt::Display;
use std::net::IpAddr;

use herald_api::crd::{ALLOCATED, ANNOUNCED};
use herald_api::reason::ConditionReason;
use herald_api::{annotation, convert};
use herald_core::ipam::{AllocationOutcome, Note};
use herald_core::{Addresses, PoolName, Service, ServiceKey};
use herald_runtime::log::shorten;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;
use serde_json::{Value, json};

use crate::announced::{Announced, ConditionStatus};

/// What is kept of a Service object as the last watch event had it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObservedService {
    pub(crate) key: ServiceKey,
    /// What the allocator needs of it, until the allocator has it.
    pub(crate) service: Option<Box<Service>>,
    /// The addresses in the status.
    pub(crate) assigned: Addresses,
    assigned_pool: Option<PoolName>,
    foreign_ingress: bool,
    /// Whether the object has something that only this controller writes.
    pub(crate) is_marked: bool,
    /// Whether it is of our class.
    pub(crate) ours: bool,
    /// `spec.externalIPs`.
    external_ips: Box<[IpAddr]>,
    /// A precondition of writes.
    uid: Option<Box<str>>,
    /// Another precondition of writes.
    resource_version: Option<String>,
    /// Annotations with the deprecated prefix.
    pub(crate) deprecated: Vec<String>,
    /// Whether its labels are too long to be kept.
    pub(crate) has_too_long_labels: bool,
    /// The conditions of this controller in the status.
    allocated: Option<Condition>,
    announced: Option<Condition>,
    generation: Option<i64>,
}

/// Longest message of a condition, in bytes: as much as a person reads. Kubernetes allows 32 768.
const LONGEST_MESSAGE: usize = 1024;
/// The deprecated annotations of a Service that are reported: more than MetalLB has ever had.
const DEPRECATED: usize = 8;

impl ObservedService {
    pub(crate) fn new(object: &core_v1::Service, class: Option<&str>) -> Self {
        let annotations = object.metadata.annotations.iter();
        let condition = |type_| {
            let conditions = object.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|condition| condition.type_ == type_)
                .cloned()
        };
        let service = convert::service(object);
        Self {
            key: service.key.clone(),
            assigned: service.assigned.clone(),
            assigned_pool: service.assigned_pool.clone(),
            foreign_ingress: service.foreign_ingress,
            is_marked: service.is_marked,
            service: Some(Box::new(service)),
            ours: convert::is_ours(object, class),
            external_ips: convert::external_ips(object),
            uid: object.metadata.uid.as_deref().map(Into::into),
            resource_version: object.metadata.resource_version.clone(),
            deprecated: annotations
                .flat_map(annotation::deprecated)
                .map(str::to_owned)
                .take(DEPRECATED)
                .collect(),
            has_too_long_labels: convert::has_too_long_labels(object),
            allocated: condition(ALLOCATED),
            announced: condition(ANNOUNCED),
            generation: object.metadata.generation,
        }
    }

    /// Returns the object that events are about.
    pub(crate) fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(core_v1::Service::api_version(&()).into_owned()),
            kind: Some(core_v1::Service::kind(&()).into_owned()),
            namespace: Some(self.key.namespace.to_string()),
            name: Some(self.key.name.to_string()),
            uid: self.uid.as_deref().map(str::to_owned),
            ..ObjectReference::default()
        }
    }

    /// Returns the `resourceVersion` as a number, by which API servers order versions; `None` if it is no number.
    pub(crate) fn version(&self) -> Option<u64> {
        self.resource_version.as_deref()?.parse().ok()
    }

    /// Returns the addresses that the Service uses without this controller: `spec.externalIPs`, and what another load balancer
    /// wrote into the status.
    pub(crate) fn external_use(&self) -> Vec<IpAddr> {
        let is_foreign = !self.ours || !self.is_marked;
        let given = self.assigned.iter().filter(|_| is_foreign);
        given.chain(&self.external_ips).copied().collect()
    }

    /// Whether the status stays as another load balancer wrote it, because no pool is open to the Service.
    pub(crate) fn is_left_alone(&self, outcome: &AllocationOutcome) -> bool {
        let has_ingress = !self.assigned.is_empty() || self.foreign_ingress;
        match outcome {
            AllocationOutcome::Unassigned(refusal) => {
                has_ingress && !self.is_marked && refusal.is_of_closed_pools()
            }
            AllocationOutcome::Assigned(_) => false,
        }
    }

    /// Returns the condition `herald.io/Announced` of the status.
    pub(crate) fn announced(&self) -> Option<Announced> {
        self.announced.as_ref().map(Announced::of_condition)
    }

    /// Returns the patch that makes the status as desired; `None` if it is so already.
    pub(crate) fn difference(&self, desired: &DesiredStatus, now: Timestamp) -> Option<Value> {
        (!self.is_already(desired)).then(|| self.patch(desired, now))
    }

    /// Whether the status is as desired. Fields that the API server fills in, such as `ipMode`, are no difference.
    fn is_already(&self, desired: &DesiredStatus) -> bool {
        let has_addresses = match &desired.outcome {
            AllocationOutcome::Assigned(wanted) => {
                self.assigned == wanted.addresses && self.assigned_pool.as_ref() == Some(&wanted.pool)
            }
            AllocationOutcome::Unassigned(_) => self.assigned.is_empty() && self.assigned_pool.is_none(),
        };
        has_addresses
            && !self.foreign_ingress
            && has_text(self.allocated.as_ref(), Some(&desired.allocated()))
            && has_text(self.announced.as_ref(), desired.announced().as_ref())
    }

    /// Returns the strategic merge patch of `services/status` that makes the status as desired: one request for addresses,
    /// annotation and conditions. It applies only to the version that the decision was made for (`uid`,
    /// `resourceVersion`).
    fn patch(&self, desired: &DesiredStatus, now: Timestamp) -> Value {
        let (ingress, pool) = match &desired.outcome {
            AllocationOutcome::Assigned(wanted) => {
                let entries: Vec<Value> = wanted.addresses.iter().map(|ip| json!({"ip": ip})).collect();
                (json!(entries), json!(wanted.pool.as_str()))
            }
            AllocationOutcome::Unassigned(_) => (Value::Null, Value::Null),
        };
        let allocated = self.condition(ALLOCATED, desired.allocated(), self.allocated.as_ref(), now);
        let announced = match (desired.announced(), &self.announced) {
            (Some(text), before) => Some(self.condition(ANNOUNCED, text, before.as_ref(), now)),
            (None, before) => before.as_ref().map(|_| without(ANNOUNCED)),
        };
        let conditions: Vec<Value> = [allocated].into_iter().chain(announced).collect();
        self.with_precondition(json!({
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": {annotation::ALLOCATED_FROM_POOL: pool},
            },
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": conditions},
        }))
    }

    /// Returns a `metav1.Condition`. Its time is that of the last change of `status`.
    fn condition(
        &self,
        type_: &str,
        text: ConditionText,
        before: Option<&Condition>,
        now: Timestamp,
    ) -> Value {
        let unchanged = before.filter(|before| before.status == text.status);
        json!(Condition {
            type_: type_.to_owned(),
            status: text.status.to_owned(),
            reason: text.reason,
            message: text.message,
            observed_generation: self.generation,
            last_transition_time: unchanged.map_or(Time(now), |before| before.last_transition_time.clone()),
        })
    }

    /// Returns the patch for a Service that is no load balancer any more: it removes what this controller wrote,
    /// whatever else has changed.
    pub(crate) fn retraction(&self) -> Value {
        self.with_precondition(json!({
            "metadata": {"annotations": {annotation::ALLOCATED_FROM_POOL: null}},
            "status": {
                "loadBalancer": {"ingress": null},
                "conditions": [without(ALLOCATED), without(ANNOUNCED)],
            },
        }))
    }

    /// Restricts a patch to this Service: a Service of the same name that is created later is another one.
    fn with_precondition(&self, mut patch: Value) -> Value {
        patch["metadata"]["uid"] = json!(self.uid);
        patch
    }
}

/// Returns the entry of a strategic merge patch that removes a condition.
fn without(type_: &str) -> Value {
    json!({"type": type_, "$patch": "delete"})
}

/// A condition without its times.
#[derive(PartialEq)]
struct ConditionText {
    status: &'static str,
    reason: String,
    message: String,
}

impl ConditionText {
    fn new(status: ConditionStatus, reason: &str, message: impl Display) -> Self {
        Self {
            status: status.as_str(),
            reason: reason.to_owned(),
            message: shorten(message, LONGEST_MESSAGE),
        }
    }
}

/// Whether a condition has this text, or is absent as desired.
fn has_text(condition: Option<&Condition>, wanted: Option<&ConditionText>) -> bool {
    match (condition, wanted) {
        (Some(condition), Some(text)) => {
            condition.status == text.status
                && condition.reason == text.reason
                && condition.message == text.message
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The desired status of a Service: its addresses or the refusal, and what else the user should know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DesiredStatus {
    pub(crate) outcome: AllocationOutcome,
    /// A request that is not met although the Service has addresses.
    pub(crate) caveat: Option<Note>,
    /// Whether the addresses are announced, if there are any.
    pub(crate) announced: Option<Announced>,
}

impl DesiredStatus {
    fn allocated(&self) -> ConditionText {
        match (&self.outcome, &self.caveat) {
            (AllocationOutcome::Unassigned(refusal), _) => {
                ConditionText::new(ConditionStatus::False, refusal.reason(), refusal)
            }
            (AllocationOutcome::Assigned(_), Some(note)) => {
                ConditionText::new(ConditionStatus::True, note.reason(), note)
            }
            (AllocationOutcome::Assigned(wanted), None) => ConditionText::new(
                ConditionStatus::True,
                ConditionReason::Allocated.reason(),
                format_args!("from pool {}", wanted.pool),
            ),
        }
    }

    /// Returns `None` for a Service without addresses: the condition is removed.
    fn announced(&self) -> Option<ConditionText> {
        let announced = self.announced.as_ref();
        let announced = announced.filter(|_| matches!(self.outcome, AllocationOutcome::Assigned(_)))?;
        Some(ConditionText::new(
            announced.status,
            &announced.reason,
            &announced.message,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::ipam::{Assignment, Refusal};

    fn observed(status: Value, annotations: Value) -> ObservedService {
        let object = json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
            "status": status,
        });
        ObservedService::new(&serde_json::from_value(object).expect("a Service"), None)
    }

    fn assigned(addresses: &[&str]) -> DesiredStatus {
        DesiredStatus {
            outcome: AllocationOutcome::Assigned(Assignment {
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                pool: "first".into(),
            }),
            caveat: None,
            announced: None,
        }
    }

    fn refused() -> DesiredStatus {
        DesiredStatus {
            outcome: AllocationOutcome::Unassigned(Refusal::NoPool),
            caveat: None,
            announced: None,
        }
    }

    fn conditions(desired: &DesiredStatus) -> Value {
        observed(json!({}), json!({})).patch(desired, Timestamp::UNIX_EPOCH)["status"]["conditions"].take()
    }

    #[test]
    fn a_status_that_is_as_desired_is_recognised() {
        let pool = json!({"metallb.io/ip-allocated-from-pool": "first"});
        let status = |ingress: Value, desired: &DesiredStatus| json!({"loadBalancer": {"ingress": ingress}, "conditions": conditions(desired)});
        let has_one = assigned(&["192.0.2.1"]);
        let one = observed(
            status(json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]), &has_one),
            pool.clone(),
        );
        assert!(one.is_already(&has_one));
        assert!(!one.is_already(&assigned(&["192.0.2.2"])));
        assert!(!one.is_already(&assigned(&["192.0.2.1", "fc00::1"])));
        assert!(!one.is_already(&refused()));
        assert!(observed(status(json!([]), &refused()), json!({})).is_already(&refused()));
        assert!(!observed(status(json!([]), &refused()), pool.clone()).is_already(&refused()));
        assert!(!observed(status(json!([{"hostname": "x"}]), &refused()), json!({})).is_already(&refused()));
        let without_condition = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert!(!observed(without_condition, pool).is_already(&has_one));
    }

    #[test]
    fn one_patch_has_addresses_pool_and_condition_for_exactly_this_object() {
        let both = assigned(&["192.0.2.1", "fc00::1"]);
        let patch = observed(json!({}), json!({})).patch(&both, Timestamp::UNIX_EPOCH);
        let expected = json!({
            "metadata": {"uid": "u", "resourceVersion": "7",
                "annotations": {"metallb.io/ip-allocated-from-pool": "first"}},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "fc00::1"}]},
                "conditions": [{"type": "herald.io/Allocated", "status": "True", "reason": "Allocated",
                    "message": "from pool first", "observedGeneration": 3,
                    "lastTransitionTime": "1970-01-01T00:00:00Z"}],
            },
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn the_patch_that_removes_an_address_removes_the_annotation_too_and_has_the_reason() {
        let patch = observed(json!({}), json!({})).patch(&refused(), Timestamp::UNIX_EPOCH);
        assert_eq!(patch["status"]["loadBalancer"]["ingress"], Value::Null);
        assert_eq!(
            patch["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"],
            Value::Null
        );
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("NoPool"))
        );
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(60);
        let time = |desired: &DesiredStatus, before: &DesiredStatus| {
            let before = observed(json!({"conditions": conditions(before)}), json!({}));
            before.patch(desired, later)["status"]["conditions"][0]["lastTransitionTime"].take()
        };
        assert_eq!(
            time(&assigned(&["192.0.2.1"]), &assigned(&["192.0.2.2"])),
            json!("1970-01-01T00:00:00Z")
        );
        assert_eq!(
            time(&refused(), &assigned(&["192.0.2.2"])),
            json!("1970-01-01T00:01:00Z")
        );
    }

    #[test]
    fn a_request_that_is_not_met_is_in_the_condition_although_there_is_an_address() {
        let kept = Note::Kept {
            addresses: vec!["192.0.2.1".parse().unwrap()].into(),
            because: Refusal::PoolUnknown("gold".into()),
        };
        let desired = DesiredStatus {
            caveat: Some(kept),
            ..assigned(&["192.0.2.1"])
        };
        let condition = &conditions(&desired)[0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("RequestNotMet"))
        );
    }

    #[test]
    fn only_a_service_with_addresses_has_the_condition_announced() {
        let conflict = Announced {
            status: ConditionStatus::False,
            reason: "AddressConflict".into(),
            message: "192.0.2.1: taken".into(),
        };
        let announced = |desired: DesiredStatus| DesiredStatus {
            announced: Some(conflict.clone()),
            ..desired
        };
        let desired = announced(assigned(&["192.0.2.1"]));
        let conditions_of_conflict = conditions(&desired);
        let expected = json!({"type": "herald.io/Announced", "status": "False", "reason": "AddressConflict",
            "message": "192.0.2.1: taken", "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z"});
        assert_eq!(conditions_of_conflict[1], expected);

        let status =
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": conditions_of_conflict});
        let observed = observed(status, json!({"metallb.io/ip-allocated-from-pool": "first"}));
        assert_eq!(observed.announced(), Some(conflict.clone()));
        assert!(observed.is_already(&desired));
        assert!(!observed.is_already(&assigned(&["192.0.2.1"])));
        let patch = observed.patch(&announced(refused()), Timestamp::UNIX_EPOCH);
        let gone = json!({"type": "herald.io/Announced", "$patch": "delete"});
        assert_eq!(patch["status"]["conditions"][1], gone);
        assert_eq!(
            conditions(&announced(refused())).as_array().map(Vec::len),
            Some(1)
        );
    }
}

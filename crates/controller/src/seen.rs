//! A Service as the API server last showed it, and what its status should be instead.

use herald_api::crd::ANNOUNCED;
use herald_api::reason::ConditionReason;
use herald_api::{annotation, convert};
use herald_core::Service;
use herald_core::ipam::{AllocationOutcome, Note};
use herald_runtime::log::cut;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;
use serde_json::{Value, json};

use crate::announced::Announced;

/// What is kept of a Service object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// The allocator's view.
    pub(crate) service: Service,
    /// Whether it is of our class.
    pub(crate) ours: bool,
    /// For events; its `uid` is a precondition of writes.
    pub(crate) reference: ObjectReference,
    /// The other precondition.
    resource_version: Option<String>,
    /// Annotations with the prefix that is out of use.
    pub(crate) deprecated: Vec<String>,
    /// Our conditions as they stand in the status.
    allocated: Option<Condition>,
    announced: Option<Condition>,
    generation: Option<i64>,
}

/// Type of the condition that says whether a Service has its addresses, and why not.
const ALLOCATED: &str = "herald.io/Allocated";
/// Bytes of its message: what a person reads. Kubernetes would take 32 768.
const LONGEST_MESSAGE: usize = 1024;

impl Seen {
    pub(crate) fn new(object: &core_v1::Service, class: Option<&str>) -> Self {
        let annotations = object.metadata.annotations.iter();
        let condition = |type_| {
            let conditions = object.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|condition| condition.type_ == type_)
                .cloned()
        };
        Self {
            service: convert::service(object),
            ours: convert::is_ours(object, class),
            reference: object.object_ref(&()),
            resource_version: object.metadata.resource_version.clone(),
            deprecated: annotations
                .flat_map(annotation::deprecated)
                .map(str::to_owned)
                .collect(),
            allocated: condition(ALLOCATED),
            announced: condition(ANNOUNCED),
            generation: object.metadata.generation,
        }
    }

    /// Versions are compared as numbers, as API servers order them; `None` if they are not.
    pub(crate) fn version(&self) -> Option<u64> {
        self.resource_version.as_deref()?.parse().ok()
    }

    /// Whether the object carries something that only we write.
    pub(crate) fn is_marked(&self) -> bool {
        self.service.assigned_pool.is_some() || self.allocated.is_some()
    }

    /// What the status says of who announces the Service.
    pub(crate) fn announced(&self) -> Option<Announced> {
        self.announced.as_ref().map(Announced::said_by)
    }

    /// Whether the status is as decided. Fields that the API server fills in, such as `ipMode`, are no difference.
    pub(crate) fn is_already(&self, decided: &Decided) -> bool {
        let service = &self.service;
        let has_addresses = match &decided.outcome {
            AllocationOutcome::Assigned(wanted) => {
                service.assigned == wanted.addresses && service.assigned_pool.as_ref() == Some(&wanted.pool)
            }
            AllocationOutcome::Unassigned(_) => {
                service.assigned.is_empty() && service.assigned_pool.is_none()
            }
        };
        has_addresses
            && !service.foreign_ingress
            && says(self.allocated.as_ref(), Some(&decided.allocated()))
            && says(self.announced.as_ref(), decided.announced().as_ref())
    }

    /// The strategic merge patch of `services/status` that makes it so: one request for addresses, annotation and
    /// conditions. It only applies to the object that the decision was made for (`uid`, `resourceVersion`).
    pub(crate) fn patch(&self, decided: &Decided, now: Timestamp) -> Value {
        let (ingress, pool) = match &decided.outcome {
            AllocationOutcome::Assigned(wanted) => {
                let entries: Vec<Value> = wanted.addresses.iter().map(|ip| json!({"ip": ip})).collect();
                (json!(entries), json!(wanted.pool.as_str()))
            }
            AllocationOutcome::Unassigned(_) => (Value::Null, Value::Null),
        };
        let allocated = self.condition(ALLOCATED, decided.allocated(), self.allocated.as_ref(), now);
        let announced = match (decided.announced(), &self.announced) {
            (Some(said), before) => Some(self.condition(ANNOUNCED, said, before.as_ref(), now)),
            (None, before) => before.as_ref().map(|_| without(ANNOUNCED)),
        };
        let conditions: Vec<Value> = [allocated].into_iter().chain(announced).collect();
        self.guarded(json!({
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": {annotation::ALLOCATED_FROM_POOL: pool},
            },
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": conditions},
        }))
    }

    /// `metav1.Condition`: the time is that of the last change of `status`.
    fn condition(&self, type_: &str, said: Said, before: Option<&Condition>, now: Timestamp) -> Value {
        let unchanged = before.filter(|before| before.status == said.status);
        json!(Condition {
            type_: type_.to_owned(),
            status: said.status.to_owned(),
            reason: said.reason,
            message: said.message,
            observed_generation: self.generation,
            last_transition_time: unchanged.map_or(Time(now), |before| before.last_transition_time.clone()),
        })
    }

    /// The patch for a Service that stopped being a load balancer: it takes back what we wrote, whatever else
    /// has changed since.
    pub(crate) fn farewell(&self) -> Value {
        self.guarded(json!({
            "metadata": {"annotations": {annotation::ALLOCATED_FROM_POOL: null}},
            "status": {
                "loadBalancer": {"ingress": null},
                "conditions": [without(ALLOCATED), without(ANNOUNCED)],
            },
        }))
    }

    /// A Service of the same name that was created later is another one.
    fn guarded(&self, mut patch: Value) -> Value {
        patch["metadata"]["uid"] = json!(self.reference.uid);
        patch
    }
}

/// The entry of a strategic merge patch that takes a condition out.
fn without(type_: &str) -> Value {
    json!({"type": type_, "$patch": "delete"})
}

/// What a condition says, but for its times.
#[derive(PartialEq)]
struct Said {
    status: &'static str,
    reason: String,
    message: String,
}

impl Said {
    fn new(is_so: bool, reason: &str, message: &str) -> Self {
        Self {
            status: if is_so { "True" } else { "False" },
            reason: reason.to_owned(),
            message: cut(message, LONGEST_MESSAGE).to_owned(),
        }
    }
}

/// Whether a condition is there and says this, or is not there and should not be.
fn says(condition: Option<&Condition>, wanted: Option<&Said>) -> bool {
    match (condition, wanted) {
        (Some(condition), Some(said)) => {
            condition.status == said.status
                && condition.reason == said.reason
                && condition.message == said.message
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// What a Service's status must say: its addresses or why it has none, and what else the user should know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    pub(crate) outcome: AllocationOutcome,
    /// A wish that is not met although the Service has addresses.
    pub(crate) unmet: Option<Note>,
    /// Whether the addresses are announced, if that is known.
    pub(crate) announced: Option<Announced>,
}

impl Decided {
    fn allocated(&self) -> Said {
        match (&self.outcome, &self.unmet) {
            (AllocationOutcome::Unassigned(refusal), _) => {
                Said::new(false, refusal.reason(), &refusal.to_string())
            }
            (AllocationOutcome::Assigned(_), Some(note)) => Said::new(true, note.reason(), &note.to_string()),
            (AllocationOutcome::Assigned(wanted), None) => Said::new(
                true,
                ConditionReason::Allocated.reason(),
                &format!("from pool {}", wanted.pool),
            ),
        }
    }

    /// Nothing is said of a Service without addresses.
    fn announced(&self) -> Option<Said> {
        let announced = self.announced.as_ref();
        let announced = announced.filter(|_| matches!(self.outcome, AllocationOutcome::Assigned(_)))?;
        Some(Said::new(announced.is_so, &announced.reason, &announced.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::ipam::{Assignment, Refusal};

    fn seen(status: Value, annotations: Value) -> Seen {
        let object = json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
            "status": status,
        });
        Seen::new(&serde_json::from_value(object).expect("a Service"), None)
    }

    fn assigned(addresses: &[&str]) -> Decided {
        Decided {
            outcome: AllocationOutcome::Assigned(Assignment {
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                pool: "first".into(),
            }),
            unmet: None,
            announced: None,
        }
    }

    fn refused() -> Decided {
        Decided {
            outcome: AllocationOutcome::Unassigned(Refusal::NoPool),
            unmet: None,
            announced: None,
        }
    }

    fn conditions(decided: &Decided) -> Value {
        seen(json!({}), json!({})).patch(decided, Timestamp::UNIX_EPOCH)["status"]["conditions"].take()
    }

    #[test]
    fn what_is_already_so_is_not_written() {
        let pool = json!({"metallb.io/ip-allocated-from-pool": "first"});
        let status = |ingress: Value, decided: &Decided| json!({"loadBalancer": {"ingress": ingress}, "conditions": conditions(decided)});
        let has_one = assigned(&["192.0.2.1"]);
        let one = seen(
            status(json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]), &has_one),
            pool.clone(),
        );
        assert!(one.is_already(&has_one));
        assert!(!one.is_already(&assigned(&["192.0.2.2"])));
        assert!(!one.is_already(&assigned(&["192.0.2.1", "fc00::1"])));
        assert!(!one.is_already(&refused()));
        assert!(seen(status(json!([]), &refused()), json!({})).is_already(&refused()));
        assert!(!seen(status(json!([]), &refused()), pool.clone()).is_already(&refused()));
        assert!(!seen(status(json!([{"hostname": "x"}]), &refused()), json!({})).is_already(&refused()));
        let without_condition = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert!(!seen(without_condition, pool).is_already(&has_one));
    }

    #[test]
    fn one_patch_carries_addresses_pool_and_condition_for_exactly_this_object() {
        let both = assigned(&["192.0.2.1", "fc00::1"]);
        let patch = seen(json!({}), json!({})).patch(&both, Timestamp::UNIX_EPOCH);
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
    fn taking_an_address_back_removes_the_annotation_too_and_says_why() {
        let patch = seen(json!({}), json!({})).patch(&refused(), Timestamp::UNIX_EPOCH);
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
    fn the_time_of_a_condition_moves_only_with_its_status() {
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(60);
        let time = |decided: &Decided, before: &Decided| {
            let before = seen(json!({"conditions": conditions(before)}), json!({}));
            before.patch(decided, later)["status"]["conditions"][0]["lastTransitionTime"].take()
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
    fn a_wish_that_is_not_met_is_said_although_there_is_an_address() {
        let kept = Note::Kept {
            addresses: vec!["192.0.2.1".parse().unwrap()].into(),
            because: Refusal::PoolUnknown("gold".into()),
        };
        let decided = Decided {
            unmet: Some(kept),
            ..assigned(&["192.0.2.1"])
        };
        let condition = &conditions(&decided)[0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("RequestNotMet"))
        );
    }

    #[test]
    fn whether_it_is_announced_is_said_of_a_service_with_addresses_only() {
        let conflict = Announced {
            is_so: false,
            reason: "AddressConflict".into(),
            message: "192.0.2.1: taken".into(),
        };
        let announced = |decided: Decided| Decided {
            announced: Some(conflict.clone()),
            ..decided
        };
        let decided = announced(assigned(&["192.0.2.1"]));
        let told = conditions(&decided);
        let expected = json!({"type": "herald.io/Announced", "status": "False", "reason": "AddressConflict",
            "message": "192.0.2.1: taken", "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z"});
        assert_eq!(told[1], expected);

        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": told});
        let seen = seen(status, json!({"metallb.io/ip-allocated-from-pool": "first"}));
        assert_eq!(seen.announced(), Some(conflict.clone()));
        assert!(seen.is_already(&decided));
        assert!(!seen.is_already(&assigned(&["192.0.2.1"])));
        let patch = seen.patch(&announced(refused()), Timestamp::UNIX_EPOCH);
        let gone = json!({"type": "herald.io/Announced", "$patch": "delete"});
        assert_eq!(patch["status"]["conditions"][1], gone);
        assert_eq!(
            conditions(&announced(refused())).as_array().map(Vec::len),
            Some(1)
        );
    }
}

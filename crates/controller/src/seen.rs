//! A Service as the API server last showed it, and what its status should be instead.

use herald_api::{annotation, convert};
use herald_core::Service;
use herald_core::allocator::Outcome;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde_json::{Value, json};

/// What is kept of a Service object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// The allocator's view.
    pub(crate) service: Service,
    /// Whether it is of our class.
    pub(crate) ours: bool,
    /// For events, and as precondition of writes.
    pub(crate) reference: ObjectReference,
    /// Annotations with the prefix that is out of use.
    pub(crate) deprecated: Vec<String>,
}

impl Seen {
    pub(crate) fn new(object: &core_v1::Service, class: Option<&str>) -> Self {
        let annotations = object.metadata.annotations.iter();
        Self {
            service: convert::service(object),
            ours: convert::is_ours(object, class),
            reference: object.object_ref(&()),
            deprecated: annotations
                .flat_map(annotation::deprecated)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Versions are compared as numbers, as API servers order them; `None` if they are not.
    pub(crate) fn version(&self) -> Option<u64> {
        self.reference.resource_version.as_deref()?.parse().ok()
    }

    /// Whether the status is as decided. Fields that the API server fills in, such as `ipMode`, are no difference.
    pub(crate) fn is_already(&self, outcome: &Outcome) -> bool {
        let service = &self.service;
        if service.foreign_ingress {
            return false;
        }
        match outcome {
            Outcome::Assigned(wanted) => {
                service.assigned == wanted.addresses && service.assigned_pool.as_ref() == Some(&wanted.pool)
            }
            Outcome::Unassigned(_) => service.assigned.is_empty() && service.assigned_pool.is_none(),
        }
    }

    /// The merge patch of `services/status` that makes it so: one request for addresses and annotation. It only
    /// applies to the object that the decision was made for (`uid`, `resourceVersion`).
    pub(crate) fn patch(&self, outcome: &Outcome) -> Value {
        let (ingress, pool) = match outcome {
            Outcome::Assigned(wanted) => {
                let entries: Vec<Value> = wanted.addresses.iter().map(|ip| json!({"ip": ip})).collect();
                (json!(entries), json!(wanted.pool.as_str()))
            }
            Outcome::Unassigned(_) => (Value::Null, Value::Null),
        };
        self.guarded(json!({
            "metadata": {
                "resourceVersion": self.reference.resource_version,
                "annotations": {annotation::ALLOCATED_FROM_POOL: pool},
            },
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
    }

    /// The patch for a Service that stopped being a load balancer: it takes back what we wrote, whatever else
    /// has changed since.
    pub(crate) fn farewell(&self) -> Value {
        self.guarded(json!({
            "metadata": {"annotations": {annotation::ALLOCATED_FROM_POOL: null}},
            "status": {"loadBalancer": {"ingress": null}},
        }))
    }

    /// A Service of the same name that was created later is another one.
    fn guarded(&self, mut patch: Value) -> Value {
        patch["metadata"]["uid"] = json!(self.reference.uid);
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::allocator::{Assignment, Refusal};

    fn seen(status: Value, annotations: Value) -> Seen {
        let object = json!({
            "metadata": {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": "7",
                "annotations": annotations},
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
            "status": {"loadBalancer": status},
        });
        Seen::new(&serde_json::from_value(object).expect("a Service"), None)
    }

    fn assigned(addresses: &[&str]) -> Outcome {
        Outcome::Assigned(Assignment {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            pool: "first".into(),
        })
    }

    #[test]
    fn what_is_already_so_is_not_written() {
        let pool = json!({"metallb.io/ip-allocated-from-pool": "first"});
        let one = seen(
            json!({"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}),
            pool.clone(),
        );
        assert!(one.is_already(&assigned(&["192.0.2.1"])));
        assert!(!one.is_already(&assigned(&["192.0.2.2"])));
        assert!(!one.is_already(&assigned(&["192.0.2.1", "fc00::1"])));
        assert!(!one.is_already(&Outcome::Unassigned(Refusal::NoPool)));
        let none = seen(json!({}), json!({}));
        assert!(none.is_already(&Outcome::Unassigned(Refusal::NoPool)));
        assert!(!seen(json!({}), pool).is_already(&Outcome::Unassigned(Refusal::NoPool)));
        let foreign = seen(json!({"ingress": [{"hostname": "x"}]}), json!({}));
        assert!(!foreign.is_already(&Outcome::Unassigned(Refusal::NoPool)));
    }

    #[test]
    fn one_patch_carries_addresses_and_pool_for_exactly_this_object() {
        let patch = seen(json!({}), json!({})).patch(&assigned(&["192.0.2.1", "fc00::1"]));
        let expected = json!({
            "metadata": {"uid": "u", "resourceVersion": "7",
                "annotations": {"metallb.io/ip-allocated-from-pool": "first"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "fc00::1"}]}},
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn taking_an_address_back_removes_the_annotation_too() {
        let patch = seen(json!({}), json!({})).patch(&Outcome::Unassigned(Refusal::NoPool));
        assert_eq!(patch["status"]["loadBalancer"]["ingress"], Value::Null);
        assert_eq!(
            patch["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"],
            Value::Null
        );
    }
}

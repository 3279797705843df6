//! Converts pools and advertisements.

use herald_core::config::{RawAllocation, RawL2Advertisement, RawPool, RawReservation};
use herald_core::{RawRequirement, RawSelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::crd::{IPAddressPool, L2Advertisement, Reservation, ServiceAllocation};

/// Converts a pool.
pub fn pool(pool: &IPAddressPool) -> RawPool {
    RawPool {
        name: name(&pool.metadata),
        created: created(&pool.metadata),
        labels: pool.metadata.labels.clone().unwrap_or_default(),
        addresses: pool.spec.addresses.clone(),
        auto_assign: pool.spec.auto_assign,
        avoid_buggy_ips: pool.spec.avoid_buggy_ips,
        allocation: pool.spec.service_allocation.as_ref().map(allocation),
        conflict_detection: pool.spec.conflict_detection.unwrap_or_default(),
        quota_per_namespace: pool.spec.quota.as_ref().and_then(|quota| quota.per_namespace),
        reservations: pool.spec.reservations.iter().map(reservation).collect(),
        requests: pool.spec.requests.unwrap_or_default(),
        sharing: pool.spec.sharing,
    }
}

/// Converts an advertisement.
pub fn l2_advertisement(advertisement: &L2Advertisement) -> RawL2Advertisement {
    let spec = &advertisement.spec.spec;
    RawL2Advertisement {
        name: name(&advertisement.metadata),
        pools: spec.ip_address_pools.clone(),
        pool_selectors: selectors(&spec.ip_address_pool_selectors),
        node_selectors: selectors(&spec.node_selectors),
        interfaces: spec.interfaces.clone(),
        service_selectors: selectors(&spec.service_selectors),
        preferred_nodes: spec
            .preferred_node_selectors
            .iter()
            .map(|p| (p.weight, selector(&p.preference)))
            .collect(),
    }
}

fn allocation(allocation: &ServiceAllocation) -> RawAllocation {
    let priority = allocation.priority.unwrap_or_default();
    RawAllocation {
        // Only the order of priorities is important, so a value beyond 32 bits saturates.
        priority: i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX }),
        namespaces: allocation.namespaces.clone(),
        namespace_selectors: selectors(&allocation.namespace_selectors),
        service_selectors: selectors(&allocation.service_selectors),
    }
}

fn reservation(reservation: &Reservation) -> RawReservation {
    RawReservation {
        address: reservation.address.clone(),
        namespace: reservation.namespace.clone(),
        service: reservation.service.clone(),
    }
}

pub(super) fn selectors(selectors: &[LabelSelector]) -> Vec<RawSelector> {
    selectors.iter().map(selector).collect()
}

fn selector(selector: &LabelSelector) -> RawSelector {
    RawSelector {
        match_labels: selector.match_labels.clone().unwrap_or_default(),
        match_expressions: selector
            .match_expressions
            .iter()
            .flatten()
            .map(|expression| RawRequirement {
                key: expression.key.clone(),
                operator: expression.operator.clone(),
                values: expression.values.clone().unwrap_or_default(),
            })
            .collect(),
    }
}

pub(super) fn name(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

/// Returns `metadata.creationTimestamp` in seconds since 1970; 0 for an object that was never stored.
pub(super) fn created(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |t| t.0.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald_core::config::{ConflictDetection, RequestScope, SharingScope};
    use serde_json::json;

    #[test]
    fn a_pool_is_converted_field_by_field() {
        let object: IPAddressPool = serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": "first", "labels": {"tier": "gold"}, "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"addresses": ["192.0.2.0/24"], "avoidBuggyIPs": true, "serviceAllocation": {
                "priority": 5_000_000_000_i64, "namespaces": ["a"],
                "serviceSelectors": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]},
                "quota": {"perNamespace": 3},
                "reservations": [{"address": "192.0.2.1", "namespace": "a", "service": "web"}]}
        }))
        .expect("a pool");
        let raw = pool(&object);
        assert_eq!((raw.name.as_str(), raw.created), ("first", 60));
        assert_eq!((raw.auto_assign, raw.avoid_buggy_ips), (Some(true), Some(true)));
        assert_eq!(raw.addresses, ["192.0.2.0/24"]);
        assert_eq!(
            (raw.quota_per_namespace, raw.reservations[0].service.as_str()),
            (Some(3), "web")
        );
        let allocation = raw.allocation.expect("an allocation");
        assert_eq!(
            (allocation.priority, allocation.namespaces),
            (i32::MAX, vec!["a".to_owned()])
        );
        assert_eq!(allocation.service_selectors[0].match_expressions[0].values, ["v"]);
    }

    #[test]
    fn a_value_of_an_enumeration_is_read_and_written_as_its_text() {
        let with = |spec: serde_json::Value| {
            let metadata = json!({"name": "first"});
            let object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": metadata, "spec": spec});
            serde_json::from_value::<IPAddressPool>(object)
        };
        let read = |field: &str, value: &str| {
            let object = with(json!({"addresses": [], field: value})).expect("a pool");
            let written = serde_json::to_value(&object).expect("JSON");
            assert_eq!(written["spec"][field], value);
            pool(&object)
        };
        for value in ConflictDetection::ALL {
            assert_eq!(
                read("conflictDetection", value.as_str()).conflict_detection,
                value
            );
        }
        for value in RequestScope::ALL {
            assert_eq!(read("requests", value.as_str()).requests, value);
        }
        for value in SharingScope::ALL {
            assert_eq!(read("sharing", value.as_str()).sharing, Some(value));
        }
        let absent = with(json!({"addresses": []})).expect("a pool");
        let raw = pool(&absent);
        assert_eq!(raw.conflict_detection, ConflictDetection::Enforce);
        assert_eq!((raw.requests, raw.sharing), (RequestScope::Any, None));
        for field in ["conflictDetection", "requests", "sharing"] {
            let error = with(json!({"addresses": [], field: "any"}))
                .expect_err("unknown")
                .to_string();
            assert!(error.contains("unknown value `any`, expected one of"), "{error}");
            assert_eq!(
                serde_json::to_value(&absent).expect("JSON")["spec"].get(field),
                None
            );
        }
    }
}

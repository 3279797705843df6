//! The custom resources of group `metallb.io`, version `v1beta1`, and their definitions.

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column repeats the same keys"
)]

mod configuration_state;
mod ip_address_pool;
mod l2_advertisement;
mod schema;
mod service_l2_status;

pub use configuration_state::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus};
pub use ip_address_pool::{
    EFFECTIVE, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, Quota, READY, Reservation,
    ServiceAllocation,
};
pub use l2_advertisement::{
    L2Advertisement, L2AdvertisementFields, L2AdvertisementSpec, L2AdvertisementStatus, NodePreference,
};
pub use schema::MOST_ENTRIES;
pub use service_l2_status::{
    ALLOCATED, ANNOUNCED, InterfaceInfo, ServiceL2Status, ServiceL2StatusFields, ServiceL2StatusStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Returns the definitions of all custom resources, as they are applied to a cluster.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        ConfigurationState::crd(),
        IPAddressPool::crd(),
        L2Advertisement::crd(),
        ServiceL2Status::crd(),
    ]
    .into_iter()
    .map(schema::as_kubernetes_writes_it)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn schema_of(kind: &str) -> Value {
        let crd = crds()
            .into_iter()
            .find(|crd| crd.spec.names.kind == kind)
            .expect("a definition of this kind");
        serde_json::to_value(&crd.spec.versions[0]).expect("serializes")
    }

    fn columns(version: &Value) -> Vec<(&str, &str)> {
        version["additionalPrinterColumns"]
            .as_array()
            .expect("columns")
            .iter()
            .map(|c| {
                (
                    c["name"].as_str().expect("name"),
                    c["jsonPath"].as_str().expect("path"),
                )
            })
            .collect()
    }

    #[test]
    fn every_definition_is_namespaced_without_short_names_and_has_a_status() {
        for crd in crds() {
            assert_eq!(crd.spec.group, "metallb.io");
            assert_eq!(crd.spec.scope, "Namespaced");
            assert_eq!(crd.spec.names.short_names, None);
            assert_eq!(crd.spec.names.categories, None);
            let version = &crd.spec.versions[0];
            assert_eq!((version.name.as_str(), version.storage), ("v1beta1", true));
            assert!(version.subresources.as_ref().is_some_and(|s| s.status.is_some()));
        }
    }

    #[test]
    fn a_pool_needs_addresses_and_has_the_defaults_of_metallb() {
        let version = schema_of("IPAddressPool");
        let schema = &version["schema"]["openAPIV3Schema"];
        assert_eq!(schema["required"], json!(["spec"]));
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["required"], json!(["addresses"]));
        assert_eq!(spec["properties"]["autoAssign"]["default"], json!(true));
        assert_eq!(spec["properties"]["avoidBuggyIPs"]["default"], json!(false));
        let selectors = &spec["properties"]["serviceAllocation"]["properties"]["namespaceSelectors"];
        assert_eq!(selectors["items"]["x-kubernetes-map-type"], "atomic");
        assert_eq!(
            columns(&version),
            [
                ("Auto Assign", ".spec.autoAssign"),
                ("Avoid Buggy IPs", ".spec.avoidBuggyIPs"),
                ("Addresses", ".spec.addresses"),
                (
                    "Effective",
                    ".status.conditions[?(@.type=='herald.io/Effective')].status"
                )
            ]
        );
    }

    #[test]
    fn an_advertisement_may_have_no_spec() {
        let version = schema_of("L2Advertisement");
        let schema = &version["schema"]["openAPIV3Schema"];
        assert_eq!(schema.get("required"), None);
        let weight = &schema["properties"]["spec"]["properties"]["preferredNodeSelectors"]["items"]["properties"]
            ["weight"];
        assert_eq!(
            (weight["minimum"].as_f64(), weight["maximum"].as_f64()),
            (Some(1.0), Some(100.0))
        );
        let bare: L2Advertisement = serde_json::from_value(json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": "all"}
        }))
        .expect("an advertisement without a spec");
        assert_eq!(bare.spec.spec, L2AdvertisementSpec::default());
    }

    #[test]
    fn nothing_in_a_schema_is_nullable() {
        for crd in crds() {
            let text = serde_json::to_string(&crd).expect("serializes");
            assert!(!text.contains("nullable"), "{}", crd.spec.names.kind);
        }
    }

    #[test]
    fn the_node_of_a_service_status_is_immutable() {
        let version = schema_of("ServiceL2Status");
        let node = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["node"];
        assert_eq!(node["x-kubernetes-validations"][0]["rule"], "self == oldSelf");
        assert_eq!(
            node["x-kubernetes-validations"][0]["message"],
            "Value is immutable"
        );
    }

    #[test]
    fn conditions_of_a_configuration_state_are_a_map_by_type() {
        let version = schema_of("ConfigurationState");
        let properties = &version["schema"]["openAPIV3Schema"]["properties"];
        assert_eq!(properties.get("spec"), None);
        let status = &properties["status"]["properties"];
        assert_eq!(status["result"]["enum"], json!(["Valid", "Invalid", "Unknown"]));
        assert_eq!(status["conditions"]["x-kubernetes-list-type"], "map");
        assert_eq!(
            status["conditions"]["x-kubernetes-list-map-keys"],
            json!(["type"])
        );
    }
}

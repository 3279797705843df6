//! The custom resources, and their definitions: MetalLB's in group `metallb.io`, and one of group `herald.io`.

#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column repeats the same keys"
)]

mod bfd_profile;
mod bgp_advertisement;
mod bgp_peer;
mod bgp_peer_v1beta1;
mod bgp_session_state;
mod community;
mod configuration_state;
mod ip_address_pool;
mod l2_advertisement;
mod schema;
mod service_bgp_status;
mod service_l2_status;

pub use bfd_profile::{BFDProfile, BFDProfileSpec};
pub use bgp_advertisement::{BGPAdvertisement, BGPAdvertisementSpec};
pub use bgp_peer::{BGPPeer, BGPPeerSpec, PasswordText};
pub use bgp_peer_v1beta1::{BGPPeerV1Beta1, BGPPeerV1Beta1Fields, BGPPeerV1Beta1Spec};
pub use bgp_session_state::{BGPSessionState, BGPSessionStateFields, BGPSessionStateStatus};
pub use community::{Community, CommunitySpec, NamedCommunity};
pub use configuration_state::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus};
pub use ip_address_pool::{
    EFFECTIVE, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, Quota, READY, Reservation,
    ServiceAllocation,
};
pub use l2_advertisement::{
    L2Advertisement, L2AdvertisementFields, L2AdvertisementSpec, L2AdvertisementStatus, NodePreference,
};
pub use schema::MOST_ENTRIES;
pub use service_bgp_status::{ServiceBGPStatus, ServiceBGPStatusFields, ServiceBGPStatusStatus};
pub use service_l2_status::{
    ALLOCATED, ANNOUNCED, InterfaceInfo, ServiceL2Status, ServiceL2StatusFields, ServiceL2StatusStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::crd::merge_crds;

/// Returns the definitions of all custom resources, as they are applied to a cluster.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let peer_versions = vec![BGPPeer::crd(), BGPPeerV1Beta1::crd()];
    [
        BFDProfile::crd(),
        BGPAdvertisement::crd(),
        merge_crds(peer_versions, "v1beta2").expect("versions of one kind"),
        BGPSessionState::crd(),
        Community::crd(),
        ConfigurationState::crd(),
        IPAddressPool::crd(),
        L2Advertisement::crd(),
        ServiceBGPStatus::crd(),
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
            let (group, version) = match crd.spec.names.kind.as_str() {
                "BGPSessionState" => ("herald.io", "v1beta1"),
                "BGPPeer" => ("metallb.io", "v1beta2"),
                _ => ("metallb.io", "v1beta1"),
            };
            assert_eq!(crd.spec.group, group);
            assert_eq!(crd.spec.scope, "Namespaced");
            assert_eq!(crd.spec.names.short_names, None);
            assert_eq!(crd.spec.names.categories, None);
            let stored = &crd.spec.versions[0];
            assert_eq!((stored.name.as_str(), stored.storage), (version, true));
            for version in &crd.spec.versions {
                assert!(version.served);
                assert!(version.subresources.as_ref().is_some_and(|s| s.status.is_some()));
            }
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
    fn a_peer_is_served_in_both_versions_with_the_columns_of_metallb() {
        let crds = crds();
        let peer = crds.iter().find(|crd| crd.spec.names.kind == "BGPPeer");
        let versions = &peer.expect("a definition").spec.versions;
        let names: Vec<&str> = versions.iter().map(|version| &*version.name).collect();
        assert_eq!(names, ["v1beta2", "v1beta1"]);
        assert_eq!((versions[0].storage, versions[1].storage), (true, false));
        assert_eq!(
            (versions[1].deprecated, versions[1].deprecation_warning.as_deref()),
            (Some(true), Some("v1beta1 is deprecated, please use v1beta2"))
        );
        for version in versions {
            let version = serde_json::to_value(version).expect("serializes");
            assert_eq!(
                columns(&version),
                [
                    ("Address", ".spec.peerAddress"),
                    ("ASN", ".spec.peerASN"),
                    ("BFD Profile", ".spec.bfdProfile"),
                    ("Multi Hops", ".spec.ebgpMultiHop")
                ]
            );
            let schema = &version["schema"]["openAPIV3Schema"];
            assert_eq!(schema.get("required"), None, "the spec is optional");
            assert_eq!(schema["properties"]["status"]["properties"], Value::Null);
        }
        let required = |version: usize| {
            let version = serde_json::to_value(&versions[version]).expect("serializes");
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"].clone()
        };
        assert_eq!(required(0), json!(["myASN"]));
        assert_eq!(required(1), json!(["myASN", "peerASN", "peerAddress"]));
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

//! `L2Advertisement`: which pools are announced, from which nodes, on which interfaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of an `L2Advertisement`. An advertisement without a `spec` announces every pool.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    namespaced,
    no_spec,
    status = "L2AdvertisementStatus",
    derive = "PartialEq",
    doc = "L2Advertisement allows to advertise the LoadBalancer IPs provided by the selected pools via L2.",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(
        name = "Node Selectors",
        type_ = "string",
        json_path = ".spec.nodeSelectors",
        priority = 10
    ),
    printcolumn(
        name = "Effective",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='herald.io/Effective')].status"
    )
)]
pub struct L2AdvertisementFields {
    /// L2AdvertisementSpec defines the desired state of L2Advertisement.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "optional_spec")]
    pub spec: L2AdvertisementSpec,
}

fn is_default(spec: &L2AdvertisementSpec) -> bool {
    *spec == L2AdvertisementSpec::default()
}

/// Returns the schema of the spec without the default that serde's attribute would add.
fn optional_spec(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    L2AdvertisementSpec::json_schema(generator)
}

/// L2AdvertisementSpec defines the desired state of L2Advertisement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// Names of the IPAddressPools that this advertisement announces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,
    /// Label selectors of the IPAddressPools that this advertisement announces. Without selectors and names, the
    /// advertisement applies to all pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Label selectors of the nodes that may announce the addresses; any may match. If empty, all nodes may
    /// announce them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// Names of the interfaces that may announce the addresses. If not set, all interfaces of the node may announce
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Label selectors of the Services that this advertisement applies to; any may match. If empty, it applies to
    /// all Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
    /// Preferences among the nodes that may announce: the node with the highest sum of weights comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MOST_ENTRIES))]
    pub preferred_node_selectors: Vec<NodePreference>,
}

/// A weighted preference for the nodes that a selector matches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NodePreference {
    /// Weight added to the score of a matching node, from 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes that get the weight; an empty selector matches every node.
    #[schemars(schema_with = "schema::label_selector")]
    pub preference: LabelSelector,
}

/// L2AdvertisementStatus defines the observed state of L2Advertisement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct L2AdvertisementStatus {
    /// ObservedGeneration is the generation of the advertisement that the conditions are about. Not in MetalLB.
    #[serde(
        default,
        rename = "observedGeneration",
        skip_serializing_if = "Option::is_none"
    )]
    pub observed_generation: Option<i64>,
    /// Conditions contains Ready: whether the advertisement is in force as it is written; and herald.io/Effective: whether it has
    /// the effect that it is written for, and if not, why. Not in MetalLB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

//! `BGPAdvertisement`: which pools are announced to which peers, from which nodes, and with which attributes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of a `BGPAdvertisement`. An advertisement without a `spec` announces every pool to every peer.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    namespaced,
    no_spec,
    status = "BGPAdvertisementStatus",
    derive = "PartialEq",
    doc = "BGPAdvertisement allows to advertise the IPs coming from the selected IPAddressPools via BGP, setting the parameters of the BGP Advertisement.",
    printcolumn(name = "IPAddressPools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(
        name = "IPAddressPool Selectors",
        type_ = "string",
        json_path = ".spec.ipAddressPoolSelectors"
    ),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
    printcolumn(
        name = "Node Selectors",
        type_ = "string",
        json_path = ".spec.nodeSelectors",
        priority = 10
    )
)]
pub struct BGPAdvertisementFields {
    /// BGPAdvertisementSpec defines the desired state of BGPAdvertisement.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::bgp::advertisement_spec")]
    pub spec: BGPAdvertisementSpec,
}

fn is_default(spec: &BGPAdvertisementSpec) -> bool {
    *spec == BGPAdvertisementSpec::default()
}

/// BGPAdvertisementSpec defines the desired state of BGPAdvertisement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPAdvertisementSpec {
    /// Length of the prefixes that IPv4 addresses are announced with.
    #[serde(default = "host_v4", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub aggregation_length: Option<i32>,
    /// Length of the prefixes that IPv6 addresses are announced with.
    #[serde(
        default = "host_v6",
        rename = "aggregationLengthV6",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 128))]
    pub aggregation_length_v6: Option<i32>,
    /// LOCAL_PREF of the routes, for peers of the own AS; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub local_pref: Option<i64>,
    /// MULTI_EXIT_DISC of the routes. If not set, that of the speaker (100 unless its flag --bgp-med says otherwise). Not in
    /// MetalLB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub med: Option<i64>,
    /// Communities of the routes: 65000:1 (RFC 1997), large:65000:1:1 (RFC 8092), or names that Community resources define.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::bgp::communities")]
    pub communities: Vec<String>,
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
    /// Names of the BGPPeers that the addresses are announced to. If empty, they are announced to all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Label selectors of the Services that this advertisement applies to; any may match. If empty, it applies to
    /// all Services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn host_v4() -> Option<i32> {
    Some(32)
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn host_v6() -> Option<i32> {
    Some(128)
}

/// BGPAdvertisementStatus defines the observed state of BGPAdvertisement. Herald writes nothing into it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BGPAdvertisementStatus {}

//! `BGPPeer` of the deprecated version v1beta1, for its definition: Herald reads and stores v1beta2.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bgp_peer::{BGPPeerStatus, PasswordText};
use super::schema;

/// The top level of a `BGPPeer` of v1beta1.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPPeer",
    plural = "bgppeers",
    root = "BGPPeerV1Beta1",
    namespaced,
    no_spec,
    storage = false,
    deprecated = "v1beta1 is deprecated, please use v1beta2",
    status = "BGPPeerStatus",
    derive = "PartialEq",
    doc = "BGPPeer is a router that nodes have BGP sessions with.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(name = "Multi Hops", type_ = "string", json_path = ".spec.ebgpMultiHop")
)]
pub struct BGPPeerV1Beta1Fields {
    /// BGPPeerSpec defines the desired state of Peer.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::bgp::peer_v1beta1_spec")]
    pub spec: BGPPeerV1Beta1Spec,
}

fn is_default(spec: &BGPPeerV1Beta1Spec) -> bool {
    *spec == BGPPeerV1Beta1Spec::default()
}

/// BGPPeerSpec defines the desired state of Peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerV1Beta1Spec {
    /// AS number of this side of the session.
    #[serde(rename = "myASN")]
    #[schemars(schema_with = "schema::bgp::my_asn")]
    pub my_asn: i64,
    /// AS number that the peer must have; 0 if the annotation metallb.io/v1beta2-fields has a dynamicASN.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub peer_asn: i64,
    /// Address of the peer; empty if the annotation metallb.io/v1beta2-fields has an interface.
    #[schemars(schema_with = "schema::bgp::address")]
    pub peer_address: String,
    /// Own address of the connection. If not set, the kernel chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::address")]
    pub source_address: Option<String>,
    /// TCP port of the peer; 0 and no port are 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 16384))]
    pub peer_port: Option<i32>,
    /// Proposed hold time, such as 90s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::hold_time")]
    pub hold_time: Option<String>,
    /// Pause between KEEPALIVE messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::duration")]
    pub keepalive_time: Option<String>,
    /// BGP identifier of this side, an IPv4 address.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::router_id")]
    pub router_id: Option<String>,
    /// Selectors of the nodes that have a session with the peer; any may match. If empty, all nodes have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// Password of the connection (TCP MD5, RFC 2385).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub password: Option<PasswordText>,
    /// Name of the BFDProfile by which BFD watches the peer. Without effect yet: this version has no BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the peer is more than one hop away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
}

//! `BGPSessionState`: the session of a node with a peer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of a `BGPSessionState`: only a status.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "herald.io",
    version = "v1beta1",
    kind = "BGPSessionState",
    plural = "bgpsessionstates",
    namespaced,
    no_spec,
    status = "BGPSessionStateStatus",
    derive = "PartialEq",
    doc = "BGPSessionState shows the BGP session of a node with a peer. Not in MetalLB: frr-k8s has a resource of this name in its own group.",
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Peer", type_ = "string", json_path = ".status.peer"),
    printcolumn(name = "VRF", type_ = "string", json_path = ".status.vrf"),
    printcolumn(name = "BGP", type_ = "string", json_path = ".status.bgpStatus"),
    printcolumn(name = "BFD", type_ = "string", json_path = ".status.bfdStatus"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
    printcolumn(name = "Prefixes", type_ = "integer", json_path = ".status.prefixes"),
    printcolumn(
        name = "Not Sent",
        type_ = "integer",
        json_path = ".status.unsendablePrefixes",
        priority = 1
    ),
    printcolumn(
        name = "Last Error",
        type_ = "string",
        json_path = ".status.lastError",
        priority = 1
    )
)]
pub struct BGPSessionStateFields {}

/// BGPSessionStateStatus defines the observed state of a session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPSessionStateStatus {
    /// Node of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub node: Option<String>,
    /// Name of the BGPPeer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub peer: Option<String>,
    /// Address of the peer, or the interface that it is reached by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// VRF device that the session runs in; absent for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// State of the session (RFC 4271 section 8.2.2): Connect (the first attempt), Active (a later one, or the pause before it), or
    /// Established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_status: Option<String>,
    /// State of BFD. Always N/A: this version has no BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_status: Option<String>,
    /// Since when the session is established, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::date_time")]
    pub since: Option<Time>,
    /// How many prefixes the peer is to have and can be sent; 0 without a session. It is written once it has settled, 3 s after the last
    /// change. The metric metallb_bgp_announced_prefixes_total has those that the peer was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<i64>,
    /// How many prefixes the peer should get but cannot be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsendable_prefixes: Option<i64>,
    /// Why the peer cannot be sent the first of them: it did not negotiate their family, the node has no next hop for them, or their
    /// communities do not fit into a message. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsendable_reason: Option<String>,
    /// Why the session ended last, or cannot be established. Absent if it never ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

//! `BGPPeer`: a router that nodes have sessions with.

use std::fmt;

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of a `BGPPeer`.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta2",
    kind = "BGPPeer",
    plural = "bgppeers",
    namespaced,
    no_spec,
    status = "BGPPeerStatus",
    derive = "PartialEq",
    doc = "BGPPeer is a router that nodes have BGP sessions with.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "string", json_path = ".spec.peerASN"),
    printcolumn(name = "BFD Profile", type_ = "string", json_path = ".spec.bfdProfile"),
    printcolumn(name = "Multi Hops", type_ = "string", json_path = ".spec.ebgpMultiHop")
)]
pub struct BGPPeerFields {
    /// BGPPeerSpec defines the desired state of Peer.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::bgp::peer_spec")]
    pub spec: BGPPeerSpec,
}

fn is_default(spec: &BGPPeerSpec) -> bool {
    *spec == BGPPeerSpec::default()
}

/// BGPPeerSpec defines the desired state of Peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerSpec {
    /// AS number of this side of the session.
    #[serde(rename = "myASN")]
    #[schemars(schema_with = "schema::bgp::my_asn")]
    pub my_asn: i64,
    /// AS number that the peer must have. Either this or dynamicASN.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub peer_asn: Option<i64>,
    /// AS number that this peer is shown in place of myASN.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub local_asn: Option<i64>,
    /// Which AS numbers the peer may have instead of one: internal (that of myASN) or external (any other).
    #[serde(default, rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::dynamic_asn")]
    pub dynamic_asn: Option<String>,
    /// Address of the peer. Either this or interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::address")]
    pub peer_address: Option<String>,
    /// Interface of the node on whose link the peer is the only router: both sides use their link-local addresses
    /// (unnumbered).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Own address of the connection. If not set, the kernel chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::address")]
    pub source_address: Option<String>,
    /// TCP port of the peer.
    #[serde(default = "bgp_port", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16384))]
    pub peer_port: Option<i32>,
    /// Proposed hold time, such as 90s; 0s for a session without timers. If only keepaliveTime is set, three times that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::hold_time")]
    pub hold_time: Option<String>,
    /// Pause between KEEPALIVE messages, a third of the hold time at most. If not set, a third of the hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::duration")]
    pub keepalive_time: Option<String>,
    /// Pause between attempts to connect, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::connect_time")]
    pub connect_time: Option<String>,
    /// BGP identifier of this side, an IPv4 address. If not set, that of the node.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::router_id")]
    pub router_id: Option<String>,
    /// Label selectors of the nodes that have a session with the peer; any may match. If empty, all nodes have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub node_selectors: Vec<LabelSelector>,
    /// Password of the connection (TCP MD5, RFC 2385). A Secret is the better place: passwordSecret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub password: Option<PasswordText>,
    /// Secret of type kubernetes.io/basic-auth whose key password has the password of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::secret_reference")]
    pub password_secret: Option<SecretReference>,
    /// Name of the BFDProfile by which BFD watches the peer. Without effect yet: this version has no BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,
    /// Whether the peer is asked to keep the routes while the speaker restarts (RFC 4724). Without effect yet: a speaker that stops
    /// withdraws its routes. Only a speaker beside MetalLB asks that those of MetalLB's speaker are kept until its own are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_graceful_restart: Option<bool>,
    /// Whether the peer is more than one hop away. A session does not need it: packets are sent with a TTL of 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebgp_multi_hop: Option<bool>,
    /// VRF device that the session runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Deprecated, without effect.
    #[serde(
        default = "super::ip_address_pool::no",
        rename = "disableMP",
        skip_serializing_if = "Option::is_none"
    )]
    pub disable_mp: Option<bool>,
    /// Whether routes of both IP families are exchanged on this session. If not, only those of the family of the peer's address.
    #[serde(
        default = "super::ip_address_pool::no",
        skip_serializing_if = "Option::is_none"
    )]
    pub dual_stack_address_family: Option<bool>,
}

/// The port of BGP (RFC 4271 section 8.2.1).
#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn bgp_port() -> Option<i32> {
    Some(179)
}

/// The text of a password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PasswordText(pub String);

impl fmt::Debug for PasswordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordText(..)")
    }
}

/// BGPPeerStatus defines the observed state of Peer. Herald writes nothing into it: BGPSessionState shows the sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BGPPeerStatus {}

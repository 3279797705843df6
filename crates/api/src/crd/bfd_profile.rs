//! `BFDProfile`: how BFD watches a peer.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The top level of a `BFDProfile`.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    namespaced,
    no_spec,
    status = "BFDProfileStatus",
    derive = "PartialEq",
    doc = "BFDProfile represents the settings of the bfd session that can be optionally associated with a BGP session.",
    printcolumn(name = "Passive Mode", type_ = "boolean", json_path = ".spec.passiveMode"),
    printcolumn(
        name = "Transmit Interval",
        type_ = "integer",
        json_path = ".spec.transmitInterval"
    ),
    printcolumn(
        name = "Receive Interval",
        type_ = "integer",
        json_path = ".spec.receiveInterval"
    ),
    printcolumn(name = "Multiplier", type_ = "integer", json_path = ".spec.detectMultiplier")
)]
pub struct BFDProfileFields {
    /// BFDProfileSpec defines the desired state of BFDProfile.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "optional_spec")]
    pub spec: BFDProfileSpec,
}

fn is_default(spec: &BFDProfileSpec) -> bool {
    *spec == BFDProfileSpec::default()
}

/// Returns the schema of the spec without the default that serde's attribute would add.
fn optional_spec(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    BFDProfileSpec::json_schema(generator)
}

/// BFDProfileSpec defines the desired state of BFDProfile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// The least pause between control packets that this side can receive, in milliseconds. If not set, 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub receive_interval: Option<i32>,
    /// The least pause between control packets that this side would send, in milliseconds. If not set, 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub transmit_interval: Option<i32>,
    /// After how many missing packets the peer is down. If not set, 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<i32>,
    /// The pause between echo packets, in milliseconds. If not set, 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<i32>,
    /// Whether echo packets are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,
    /// Whether the peer has to send the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,
    /// The least TTL of packets of a peer that is more than one hop away. If not set, 254.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<i32>,
}

/// BFDProfileStatus defines the observed state of BFDProfile. Herald writes nothing into it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BFDProfileStatus {}

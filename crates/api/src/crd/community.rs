//! `Community`: names of BGP communities.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of a `Community`.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    namespaced,
    no_spec,
    status = "CommunityStatus",
    derive = "PartialEq",
    doc = "Community is a collection of aliases for communities. Users can define named aliases to be used in the BGPPeer CRD."
)]
pub struct CommunityFields {
    /// CommunitySpec defines the desired state of Community.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "optional_spec")]
    pub spec: CommunitySpec,
}

fn is_default(spec: &CommunitySpec) -> bool {
    spec.communities.is_empty()
}

/// Returns the schema of the spec without the default that serde's attribute would add.
fn optional_spec(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    CommunitySpec::json_schema(generator)
}

/// CommunitySpec defines the desired state of Community.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CommunitySpec {
    /// Names of communities. A name may be defined once, in all resources together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MOST_ENTRIES))]
    pub communities: Vec<NamedCommunity>,
}

/// A name of a community.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NamedCommunity {
    /// The name, which BGPAdvertisements use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::community_name")]
    pub name: Option<String>,
    /// The community: 65000:1 (RFC 1997) or large:65000:1:1 (RFC 8092).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bgp::community_value")]
    pub value: Option<String>,
}

/// CommunityStatus defines the observed state of Community. Herald writes nothing into it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CommunityStatus {}

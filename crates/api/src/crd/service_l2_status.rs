//! `ServiceL2Status`: which node announces a Service, and on which interfaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The top level of a `ServiceL2Status`: its `spec` is an empty object.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ServiceL2Status",
    plural = "servicel2statuses",
    namespaced,
    no_spec,
    status = "ServiceL2StatusStatus",
    derive = "PartialEq",
    doc = "ServiceL2Status reveals the actual traffic status of loadbalancer services in layer2 mode.",
    printcolumn(name = "Allocated Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Service Name", type_ = "string", json_path = ".status.serviceName"),
    printcolumn(
        name = "Service Namespace",
        type_ = "string",
        json_path = ".status.serviceNamespace"
    ),
    printcolumn(
        name = "Announced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='herald.io/Announced')].status"
    )
)]
pub struct ServiceL2StatusFields {
    /// ServiceL2StatusSpec defines the desired state of ServiceL2Status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ServiceL2StatusSpec>,
}

/// Empty: the resource only reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServiceL2StatusSpec {}

/// MetalLBServiceL2Status defines the observed state of a Service announced by layer 2.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceL2StatusStatus {
    /// Node that announces addresses of the Service and receives their traffic. Absent if the object only reports why no
    /// node announces the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub node: Option<String>,
    /// Name of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub service_name: Option<String>,
    /// Namespace of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::immutable_string")]
    pub service_namespace: Option<String>,
    /// Addresses of the Service that the node announces. Not in MetalLB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Interfaces that announce the addresses; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceInfo>,
    /// Conditions contains herald.io/Announced: whether the node announces the Service, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Type of the condition of a Service that says whether it has its addresses, and if not, why.
pub const ALLOCATED: &str = "herald.io/Allocated";
/// Type of the condition that shows whether a Service is announced, and why not.
pub const ANNOUNCED: &str = "herald.io/Announced";

/// An interface that announces the addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceInfo {
    /// Name of the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

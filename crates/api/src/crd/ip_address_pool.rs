//! `IPAddressPool`: the addresses that Services may be given.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// IPAddressPoolSpec defines the desired state of IPAddressPool.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    namespaced,
    status = "IPAddressPoolStatus",
    derive = "PartialEq",
    doc = "IPAddressPool represents a pool of IP addresses that can be allocated to LoadBalancer services.",
    printcolumn(name = "Auto Assign", type_ = "boolean", json_path = ".spec.autoAssign"),
    printcolumn(
        name = "Avoid Buggy IPs",
        type_ = "boolean",
        json_path = ".spec.avoidBuggyIPs"
    ),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses")
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// A list of IP address ranges over which Herald has authority. You can list multiple ranges in a single
    /// pool, they will all share the same settings. Each range can be either a CIDR prefix, or an explicit
    /// start-end range of IPs.
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,
    /// AutoAssign flag used to prevent Herald from automatic allocation for a pool.
    #[serde(default = "yes", skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
    /// AvoidBuggyIPs prevents addresses ending with .0 and .255 to be used by a pool.
    #[serde(
        default = "no",
        rename = "avoidBuggyIPs",
        skip_serializing_if = "Option::is_none"
    )]
    pub avoid_buggy_ips: Option<bool>,
    /// Allocate IPs from this pool only to the Services selected here, and with this priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
    /// Addresses of this pool that are kept for particular Services, whether these exist or not. Herald's own
    /// addition to MetalLB's fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub reservations: Vec<Reservation>,
    /// What to do when a machine that runs no speaker answers for an address of this pool that is to be announced: Enforce
    /// (not to announce it), Warn (to announce it all the same and say so) or Off. Herald's own addition to MetalLB's
    /// fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_detection: Option<ConflictDetection>,
    /// How much of this pool may be used. Herald's own addition to MetalLB's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn yes() -> Option<bool> {
    Some(true)
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn no() -> Option<bool> {
    Some(false)
}

/// Which Services may be given addresses of the pool, and how much it is preferred.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Priority given for ip pool while ip allocation on a service: a lower positive number is preferred,
    /// 0 (unset) comes last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer")]
    pub priority: Option<i64>,
    /// Namespaces whose Services may use the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Label selectors to select namespaces for the pool, an alternative to the namespace list; any may match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Label selectors to select Services for the pool; any may match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

/// What to do when somebody else answers for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictDetection {
    /// Not to announce it as long as that machine does.
    Enforce,
    /// To announce it all the same, and say so.
    Warn,
    /// To announce it.
    Off,
}

/// An address that is kept for one Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// The address; it has to be in the pool.
    #[schemars(schema_with = "schema::address")]
    pub address: String,
    /// Namespace of the Service that may have it.
    pub namespace: String,
    /// Name of the Service that may have it.
    pub service: String,
}

/// Limits on the use of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// The most addresses of this pool that the Services of one namespace may hold. Lowering it takes nothing away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_namespace: Option<i64>,
}

/// IPAddressPoolStatus defines the observed state of IPAddressPool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IPAddressPoolStatus {
    /// AssignedIPv4 is the number of assigned IPv4 addresses.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// AssignedIPv6 is the number of assigned IPv6 addresses.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// AvailableIPv4 is the number of available IPv4 addresses.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// AvailableIPv6 is the number of available IPv6 addresses.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
}

//! Resources as written by the user. Only fields that are enums are parsed already: the API server and serde refuse other
//! values.

use alloc::string::String;
use alloc::vec::Vec;

use super::conflict_detection::ConflictDetection;
use super::tenancy::{RequestScope, SharingScope};
use crate::{Labels, RawSelector};

/// An `IPAddressPool` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawPool {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp` in seconds since 1970; of two overlapping pools the older one stays in force.
    pub created: i64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.addresses`.
    pub addresses: Vec<String>,
    /// `spec.autoAssign`; absent is true.
    pub auto_assign: Option<bool>,
    /// `spec.avoidBuggyIPs`; absent is false.
    pub avoid_buggy_ips: Option<bool>,
    /// `spec.serviceAllocation`.
    pub allocation: Option<RawAllocation>,
    /// `spec.quota.perNamespace`: the most addresses of this pool that one namespace may have.
    pub quota_per_namespace: Option<i64>,
    /// `spec.reservations`.
    pub reservations: Vec<RawReservation>,
    /// `spec.requests`.
    pub requests: RequestScope,
    /// `spec.sharing`.
    pub sharing: Option<SharingScope>,
    /// `spec.conflictDetection`.
    pub conflict_detection: ConflictDetection,
}

/// `spec.serviceAllocation` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawAllocation {
    /// `priority`: the lowest positive number comes first; a number of 0 or less comes last.
    pub priority: i32,
    /// `namespaces`.
    pub namespaces: Vec<String>,
    /// `namespaceSelectors`.
    pub namespace_selectors: Vec<RawSelector>,
    /// `serviceSelectors`.
    pub service_selectors: Vec<RawSelector>,
}

/// One entry of `spec.reservations` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawReservation {
    /// The reserved address.
    pub address: String,
    /// The namespace of the Service.
    pub namespace: String,
    /// The name of the Service.
    pub service: String,
}

/// An `L2Advertisement` as written by the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawL2Advertisement {
    /// `metadata.name`.
    pub name: String,
    /// `spec.ipAddressPools`.
    pub pools: Vec<String>,
    /// `spec.ipAddressPoolSelectors`.
    pub pool_selectors: Vec<RawSelector>,
    /// `spec.nodeSelectors`.
    pub node_selectors: Vec<RawSelector>,
    /// `spec.interfaces`.
    pub interfaces: Vec<String>,
    /// `spec.serviceSelectors`.
    pub service_selectors: Vec<RawSelector>,
    /// `spec.preferredNodeSelectors`: weight and preference of each.
    pub preferred_nodes: Vec<(i32, RawSelector)>,
}

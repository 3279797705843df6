//! `IPAddressPool`: the addresses that Services may be given.

use herald_core::config::{ConflictDetection, RequestScope, SharingScope};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
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
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(
        name = "Effective",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='herald.io/Effective')].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// The IP address ranges of the pool. A pool may have several ranges, which share its settings. Each range is a
    /// CIDR prefix or an explicit range from start to end.
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,
    /// Whether Services that do not request this pool get addresses from it.
    #[serde(default = "yes", skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
    /// AvoidBuggyIPs excludes the addresses that end in .0 and .255.
    #[serde(
        default = "no",
        rename = "avoidBuggyIPs",
        skip_serializing_if = "Option::is_none"
    )]
    pub avoid_buggy_ips: Option<bool>,
    /// Restricts the pool to the selected Services, and sets its priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
    /// Addresses of this pool that are reserved for particular Services, whether these exist or not. Not in
    /// MetalLB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MOST_ENTRIES))]
    pub reservations: Vec<Reservation>,
    /// What to do when a foreign host, a machine without a speaker, answers for an address of this pool: Enforce (do not
    /// announce the address), Warn (announce it and report the conflict) or Off (announce it). With Enforce a hostile host can
    /// keep addresses of new Services from being announced; an address that this cluster announced in the last ten minutes is
    /// announced nevertheless. Not in MetalLB.
    #[serde(default, with = "enumeration", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conflict_detection")]
    pub conflict_detection: Option<ConflictDetection>,
    /// Which requests for particular addresses of this pool are met: Any (those of every Service that may use the pool; an
    /// address that a Service released a moment ago is kept for its namespace), SameNamespace (not for an address that a
    /// Service of another namespace has, or had last) or Reserved (only for addresses that reservations keep for the
    /// Service). Not in MetalLB.
    #[serde(default, with = "enumeration", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::request_scope")]
    pub requests: Option<RequestScope>,
    /// Which Services with the same sharing key may share an address of this pool: SameNamespace (those of one namespace)
    /// or Any. If not set, Services with externalTrafficPolicy Local need the same namespace, others do not. Not in
    /// MetalLB.
    #[serde(default, with = "enumeration", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::sharing_scope")]
    pub sharing: Option<SharingScope>,
    /// Limits on the use of this pool. Not in MetalLB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// Fields that are the text of a value.
mod enumeration {
    use herald_core::config::{ConflictDetection, RequestScope, SharingScope};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A type that has a text for each of its values.
    pub(super) trait Enumeration: Copy + 'static {
        const VALUES: &'static [Self];
        fn text(self) -> &'static str;
    }

    macro_rules! enumeration {
        ($($type:ty),*) => {
            $(impl Enumeration for $type {
                const VALUES: &'static [Self] = &Self::ALL;
                fn text(self) -> &'static str {
                    self.as_str()
                }
            })*
        };
    }
    enumeration!(ConflictDetection, RequestScope, SharingScope);

    pub(super) fn serialize<T: Enumeration, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(T::text).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Enumeration, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let value = T::VALUES.iter().find(|value| value.text() == text);
        let Some(value) = value else {
            let texts: Vec<&str> = T::VALUES.iter().map(|value| value.text()).collect();
            let message = format!("unknown value `{text}`, expected one of {}", texts.join(", "));
            return Err(D::Error::custom(message));
        };
        Ok(Some(*value))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
fn yes() -> Option<bool> {
    Some(true)
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
pub(super) fn no() -> Option<bool> {
    Some(false)
}

/// The Services that may get addresses of the pool, and the pool's priority.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Priority of the pool when a Service gets an address: lower positive numbers come first, 0 (unset) comes
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer")]
    pub priority: Option<i64>,
    /// Namespaces whose Services may use the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Label selectors of namespaces whose Services may use the pool, in addition to the list of names; any may match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Label selectors of Services that may use the pool; any may match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub service_selectors: Vec<LabelSelector>,
}

/// An address that is reserved for one Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// The address; it must be in the pool.
    #[schemars(schema_with = "schema::address")]
    pub address: String,
    /// Namespace of the Service that may have the address.
    pub namespace: String,
    /// Name of the Service that may have the address.
    pub service: String,
}

/// Limits on the use of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// The most addresses of this pool that the Services of one namespace may have. Lowering it takes no address away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub per_namespace: Option<i64>,
}

/// Type of the condition that shows whether a pool or an advertisement has the effect that it is written for.
pub const EFFECTIVE: &str = "herald.io/Effective";

/// Type of the condition that shows whether a pool or an advertisement is in force as it is written. It has no prefix, so that
/// tools which wait for what they have applied wait for it.
pub const READY: &str = "Ready";

/// IPAddressPoolStatus defines the observed state of IPAddressPool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// ObservedGeneration is the generation of the pool that the conditions are about. Not in MetalLB.
    #[serde(
        default,
        rename = "observedGeneration",
        skip_serializing_if = "Option::is_none"
    )]
    pub observed_generation: Option<i64>,
    /// Conditions contains Ready: whether the pool is in force as it is written; and herald.io/Effective: whether its addresses
    /// can be used and are announced, and if not, why. Not in MetalLB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

//! List types and patch strategies of built-in kinds.
//!
//! The published OpenAPI documents of Kubernetes carry these as `x-kubernetes-*` extensions; the
//! schemas that are generated for Rust leave them out, so they are listed here and written back into
//! the schemas (from where `kubectl` reads them, too).

use serde_json::{Map, Value, json};

/// How the list (or struct) behind one field is merged.
enum Merge {
    /// Strategic merge by one key, owned by these keys: `(merge key, list map keys)`.
    Keyed(&'static str, &'static [&'static str]),
    /// A list of scalars, merged by value.
    Set,
    /// A struct whose keys a patch retains explicitly.
    RetainKeys,
    /// A list that is owned as a whole.
    Atomic,
    /// A map that is owned as a whole.
    AtomicMap,
    /// Not a list: a field with this default, because it is a key of an associative list.
    Default(&'static str),
}

use Merge::{Atomic, AtomicMap, Default, Keyed, RetainKeys, Set};

const FIELDS: &[(&str, &str, Merge)] = &[
    ("apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", Set),
    (
        "apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        Keyed("uid", &["uid"]),
    ),
    (
        "api.core.v1.ServiceSpec",
        "ports",
        Keyed("port", &["port", "protocol"]),
    ),
    ("api.core.v1.ServiceSpec", "selector", AtomicMap),
    ("api.core.v1.ServicePort", "protocol", Default("TCP")),
    ("api.core.v1.ContainerPort", "protocol", Default("TCP")),
    (
        "api.core.v1.ServiceStatus",
        "conditions",
        Keyed("type", &["type"]),
    ),
    ("api.core.v1.NodeStatus", "addresses", Keyed("type", &["type"])),
    ("api.core.v1.NodeStatus", "conditions", Keyed("type", &["type"])),
    ("api.core.v1.NodeSpec", "podCIDRs", Set),
    (
        "api.core.v1.NamespaceStatus",
        "conditions",
        Keyed("type", &["type"]),
    ),
    ("api.core.v1.PodSpec", "containers", Keyed("name", &["name"])),
    ("api.core.v1.PodSpec", "initContainers", Keyed("name", &["name"])),
    (
        "api.core.v1.PodSpec",
        "ephemeralContainers",
        Keyed("name", &["name"]),
    ),
    ("api.core.v1.PodSpec", "volumes", Keyed("name", &["name"])),
    (
        "api.core.v1.PodSpec",
        "imagePullSecrets",
        Keyed("name", &["name"]),
    ),
    ("api.core.v1.PodSpec", "hostAliases", Keyed("ip", &["ip"])),
    (
        "api.core.v1.PodSpec",
        "topologySpreadConstraints",
        Keyed("topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    ),
    ("api.core.v1.PodStatus", "conditions", Keyed("type", &["type"])),
    ("api.core.v1.PodStatus", "podIPs", Keyed("ip", &["ip"])),
    ("api.core.v1.PodStatus", "hostIPs", Keyed("ip", &["ip"])),
    ("api.core.v1.Container", "env", Keyed("name", &["name"])),
    (
        "api.core.v1.Container",
        "ports",
        Keyed("containerPort", &["containerPort", "protocol"]),
    ),
    (
        "api.core.v1.Container",
        "volumeMounts",
        Keyed("mountPath", &["mountPath"]),
    ),
    (
        "api.core.v1.Container",
        "volumeDevices",
        Keyed("devicePath", &["devicePath"]),
    ),
    ("api.discovery.v1.EndpointSlice", "endpoints", Atomic),
    ("api.apps.v1.DeploymentSpec", "strategy", RetainKeys),
    (
        "api.apps.v1.DeploymentStatus",
        "conditions",
        Keyed("type", &["type"]),
    ),
    (
        "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        "conditions",
        Keyed("type", &["type"]),
    ),
];

/// Definitions whose values are owned as a whole wherever they stand.
const ATOMIC_STRUCTS: &[&str] = &[
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectReference",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.TypedLocalObjectReference",
    "api.core.v1.SecretReference",
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ResourceFieldSelector",
];

/// Definitions that take any JSON (or any number besides a string), although they are generated with a type.
const UNTYPED: &[&str] = &[
    "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "apimachinery.pkg.api.resource.Quantity",
];

/// Writes the extensions into the definitions; names that are absent are skipped, because which
/// definitions there are depends on the kinds that are served.
pub(super) fn annotate(definitions: &mut Map<String, Value>) {
    for (definition, field, merge) in FIELDS {
        let Some(schema) = definitions.get_mut(&format!("io.k8s.{definition}")) else {
            continue;
        };
        let property = &mut schema["properties"][*field];
        assert!(property.is_object(), "{definition} has no field {field}");
        apply(property, merge);
    }
    for definition in UNTYPED {
        let schema = definitions
            .get_mut(&format!("io.k8s.{definition}"))
            .and_then(Value::as_object_mut);
        schema.and_then(|schema| schema.remove("type"));
    }
    for definition in ATOMIC_STRUCTS {
        if let Some(schema) = definitions.get_mut(&format!("io.k8s.{definition}")) {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
    }
}

fn apply(property: &mut Value, merge: &Merge) {
    match merge {
        Keyed(merge_key, list_keys) => {
            property["x-kubernetes-patch-strategy"] = json!("merge");
            property["x-kubernetes-patch-merge-key"] = json!(merge_key);
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(list_keys);
        }
        Set => {
            property["x-kubernetes-patch-strategy"] = json!("merge");
            property["x-kubernetes-list-type"] = json!("set");
        }
        RetainKeys => property["x-kubernetes-patch-strategy"] = json!("retainKeys"),
        Atomic => property["x-kubernetes-list-type"] = json!("atomic"),
        AtomicMap => property["x-kubernetes-map-type"] = json!("atomic"),
        Default(value) => property["default"] = json!(value),
    }
}

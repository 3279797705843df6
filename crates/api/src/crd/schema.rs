//! Schemas that the derive macro cannot express, and the form that Kubernetes' own generator gives a definition.

pub(super) mod bgp;

use herald_core::config::{ConflictDetection, RequestScope, SharingScope};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The form of a label's value, as a regular expression.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";
/// The form of a label's key, apart from the length of the DNS name in it.
const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
    [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// The length of the longest key: a DNS name of 253 characters, `/`, and 63 characters.
const LONGEST_KEY: u32 = 317;
/// The most entries of `spec.addresses`, of `spec.reservations` and of a list of selectors: more than are written by hand, or than
/// nodes are named one by one. The API server's cost estimate needs a bound.
pub const MOST_ENTRIES: usize = 1024;
/// The most labels of a selector.
const MOST_LABELS: u32 = 64;

/// Schema of a list of `metav1.LabelSelector`s; an object must match any of them.
pub(super) fn label_selectors(_: &mut SchemaGenerator) -> Schema {
    let item = Value::from(label_selector_schema());
    json_schema!({"type": "array", "maxItems": MOST_ENTRIES, "items": item})
}

/// Schema of one `metav1.LabelSelector`.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    label_selector_schema()
}

/// `metav1.LabelSelector` with the list and map types that Kubernetes declares for it. Checks keys and values, so that a
/// problem shows at `kubectl apply`; it accepts all that `herald_core::selector` accepts.
fn label_selector_schema() -> Schema {
    json_schema!({
        "description": "A label selector is a label query over a set of resources. The result of matchLabels and \
            matchExpressions are ANDed. An empty label selector matches all objects.",
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "A map of {key,value} pairs; each is equivalent to an element of matchExpressions \
                    whose operator is \"In\" and whose values hold only that value. The requirements are ANDed.",
                "type": "object",
                "maxProperties": MOST_LABELS,
                "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
                // A schema has no pattern for keys.
                "x-kubernetes-validations": [{
                    "rule": format!("self.all(key, key.matches('{LABEL_KEY}'))"),
                    "message": "each key must be the key of a label, such as app or app.kubernetes.io/name"
                }]
            },
            "matchExpressions": {
                "description": "Label selector requirements. The requirements are ANDed.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "A selector that relates a key and values by an operator.",
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label key that the selector applies to.",
                            "type": "string",
                            "maxLength": LONGEST_KEY,
                            "pattern": LABEL_KEY
                        },
                        "operator": {
                            "description": "The relation between key and values: In, NotIn, Exists or DoesNotExist.",
                            "type": "string"
                        },
                        "values": {
                            "description": "The values: at least one for In and NotIn, none for Exists and \
                                DoesNotExist.",
                            "type": "array",
                            "items": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
                            "x-kubernetes-list-type": "atomic"
                        }
                    }
                }
            }
        }
    })
}

/// Schema of `spec.addresses`: checks the syntax of a CIDR or a range as far as a schema can, so that a problem shows at
/// `kubectl apply`. It accepts all that `herald_core::config` accepts, which reports the other problems (a start after
/// the end, prefix lengths of IPv4-mapped addresses, overlaps).
///
/// The bounds keep the API server's cost estimate for the rules low; 128 characters hold two full IPv6 addresses with spaces.
pub(super) fn addresses(_: &mut SchemaGenerator) -> Schema {
    // Kubernetes' functions refuse IPv4-mapped IPv6 addresses, which count as IPv4 here.
    let is_ip = |ip: &str| format!("(isIP({ip}) || {ip}.lowerAscii().startsWith('::ffff:'))");
    let (first, last) = ("self.split('-', 2)[0].trim()", "self.split('-', 2)[1].trim()");
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_ENTRIES,
        "items": {
            "type": "string",
            "maxLength": 128,
            "x-kubernetes-validations": [
                {
                    "rule": "self.contains('-') || isCIDR(self) || self.lowerAscii().startsWith('::ffff:')",
                    "message": "must be address/prefix, such as 192.168.10.0/24, 192.168.10.7/32 or fc00::/64, or a range, \
                        such as 192.168.10.10-192.168.10.20"
                },
                {
                    "rule": format!("!self.contains('-') || ({} && {})", is_ip(first), is_ip(last)),
                    "message": "both ends of a range must be addresses without a prefix length, such as \
                        192.168.10.10-192.168.10.20"
                },
                {
                    "rule": format!(
                        "!self.contains('-') || !isIP({first}) || !isIP({last}) || ip({first}).family() == ip({last}).family()"
                    ),
                    "message": "both ends of a range must be of the same family"
                }
            ]
        }
    })
}

/// Schema of `spec.conflictDetection`.
pub(super) fn conflict_detection(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ConflictDetection::ALL.map(ConflictDetection::as_str)})
}

/// Schema of `spec.requests`.
pub(super) fn request_scope(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": RequestScope::ALL.map(RequestScope::as_str)})
}

/// Schema of `spec.sharing`.
pub(super) fn sharing_scope(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": SharingScope::ALL.map(SharingScope::as_str)})
}

/// Schema of `spec.reservations[].address`.
pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 64,
        "x-kubernetes-validations": [{
            "rule": "isIP(self) || self.lowerAscii().startsWith('::ffff:')",
            "message": "must be an IP address, such as 192.168.10.7 or fc00::7"
        }]
    })
}

/// Schema of an integer without bounds or format, as Go's `int` is written.
pub(super) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer"})
}

/// Schema of a point in time (RFC 3339).
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Schema of a string that cannot change once written.
pub(super) fn immutable_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}]
    })
}

/// Schema of `metav1.Condition`s, one per type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One aspect of the current state of this resource.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "Time of the last change from one status to another.",
                    "type": "string", "format": "date-time"
                },
                "message": {
                    "description": "Details of the transition as text. May be empty.",
                    "type": "string", "maxLength": 32768
                },
                "observedGeneration": {
                    "description": "The metadata.generation that the condition was set upon.",
                    "type": "integer", "format": "int64", "minimum": 0
                },
                "reason": {
                    "description": "Reason for the last change, in one CamelCase word.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": {
                    "description": "Status of the condition: True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"]
                },
                "type": {
                    "description": "Type of the condition in CamelCase or in foo.example.com/CamelCase.",
                    "type": "string", "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}

/// Removes `nullable`, which kube sets for optional fields and MetalLB's definitions do not have: the fields are absent, never
/// null.
pub(super) fn as_kubernetes_writes_it(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.names.short_names = crd.spec.names.short_names.filter(|names| !names.is_empty());
    crd.spec.names.categories = crd.spec.names.categories.filter(|names| !names.is_empty());
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.take()) else {
            continue;
        };
        let mut schema = serde_json::to_value(root).expect("a schema is JSON");
        drop_nullable(&mut schema);
        let root = serde_json::from_value(schema).expect("dropping a keyword keeps a schema a schema");
        version.schema.get_or_insert_default().open_api_v3_schema = Some(root);
    }
    crd
}

fn drop_nullable(schema: &mut Value) {
    if let Value::Object(map) = schema {
        map.remove("nullable");
        map.values_mut().for_each(drop_nullable);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(drop_nullable);
    }
}

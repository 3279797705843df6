//! Rules of single kinds for writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kinds::{CRDS, Kind};
use crate::object::{entries_mut, meta_mut, section_mut, set};
use crate::operation::Part;
use crate::schema::{cel, default, validate};
use crate::status::FieldError;
use crate::{crd, services};

/// The status of a new object is the server's business; Nodes register with theirs.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value) {
    if kind.has_status && !kind.is("nodes") {
        let status = match kind.collection.as_str() {
            "namespaces" => Some(json!({"phase": "Active"})),
            "pods" => Some(json!({"phase": "Pending", "qosClass": "BestEffort"})),
            "services" => Some(json!({"loadBalancer": {}})),
            _ => None,
        };
        set(
            object.as_object_mut().expect("decoded to an object"),
            "status",
            status,
        );
    }
}

/// A write to one part leaves the other as it was. Built-in kinds let a status write change
/// labels and annotations; custom resources do not.
pub(crate) fn keep_other_part(kind: &Kind, object: &mut Value, old: &Value, part: Part) {
    let fields = object.as_object_mut().expect("decoded to an object");
    match part {
        Part::Main if kind.has_status => set(fields, "status", old.get("status").cloned()),
        Part::Main => {}
        Part::Status => {
            for (name, value) in old.as_object().into_iter().flatten() {
                if name != "status" && name != "metadata" {
                    fields.insert(name.clone(), value.clone());
                }
            }
            fields.retain(|name, _| name == "status" || old.get(name).is_some());
            if kind.custom.is_some() || kind.is(CRDS) {
                let managed = fields["metadata"].get("managedFields").cloned();
                fields.insert("metadata".into(), old["metadata"].clone());
                set(meta_mut(object), "managedFields", managed);
            }
        }
    }
}

/// Whether the desired state differs: all but metadata and, where it is a subresource, status.
pub(crate) fn desired_state_differs(kind: &Kind, old: &Value, new: &Value) -> bool {
    let desired = |object: &Value| {
        let mut fields = object.as_object().cloned().unwrap_or_default();
        fields.remove("metadata");
        if kind.has_status {
            fields.remove("status");
        }
        fields
    };
    desired(old) != desired(new)
}

/// Defaults, allocations and rules. Returns the rules that are broken.
pub(crate) fn settle(
    cluster: &Cluster,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    part: Part,
) -> Vec<FieldError> {
    default::fill(kind.schema(), object);
    let mut errors = validate::validate(kind.schema(), object);
    if kind.custom.is_some() {
        errors.extend(validate::repetitions(kind.schema(), object));
    }
    if !errors.is_empty() {
        return errors;
    }
    if kind.custom.is_some() {
        return cel::check(kind.schema(), object, old);
    }
    match (kind.collection.as_str(), part) {
        ("services", Part::Main) => {
            errors.extend(services::settle(object, old, &cluster.allocations));
            services::settle_status(object);
        }
        ("services", Part::Status) => {
            services::settle_status(object);
            errors.extend(services::status_errors(object));
        }
        ("namespaces", Part::Main) => label_namespace(object),
        ("secrets", _) => errors.extend(settle_secret(object, old)),
        ("pods", Part::Main) => fill_pod(object),
        ("deployments.apps", Part::Main) => {
            section_mut(object, "spec").entry("replicas").or_insert(json!(1));
        }
        (CRDS, Part::Main) => errors.extend(crd::settle(object, old)),
        _ => {}
    }
    errors
}

fn label_namespace(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    let labels = meta_mut(namespace).entry("labels").or_insert(json!({}));
    labels["kubernetes.io/metadata.name"] = name;
}

fn settle_secret(secret: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    let fields = secret.as_object_mut().expect("decoded to an object");
    let plain = fields.remove("stringData");
    let before = old.map(|old| old["type"].clone());
    let secret_type = fields
        .entry("type")
        .or_insert_with(|| before.clone().unwrap_or_else(|| json!("Opaque")))
        .clone();
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        section_mut(secret, "data").insert(key.clone(), encoded.into());
    }
    if before.is_some_and(|before| before != secret_type) {
        return vec![FieldError::invalid("type", &secret_type, "field is immutable")];
    }
    let data = secret["data"].as_object().into_iter().flatten();
    data.filter(|(_, value)| STANDARD.decode(value.as_str().unwrap_or_default()).is_err())
        .map(|(key, value)| FieldError::invalid(format!("data[{key}]"), value, "must be base64"))
        .collect()
}

fn fill_pod(pod: &mut Value) {
    let spec = section_mut(pod, "spec");
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        spec.entry(field).or_insert(value);
    }
    for port in entries_mut(pod, "/spec/containers").flat_map(|container| entries_mut(container, "/ports")) {
        if port["protocol"].is_null() {
            port["protocol"] = json!("TCP");
        }
    }
}

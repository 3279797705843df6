//! Values for MetalLB's chart, read by the schema of Herald's.

use serde_json::Value;

use super::metallb::MetalLbObjects;
use super::{MigrationCheck, MigrationFinding};
use crate::output::quoted;

/// The schema of the chart.
const SCHEMA: &str = include_str!("../../../../charts/herald/values.schema.json");
/// The reference of values that have no effect.
const UNUSED: &str = "#/definitions/unused";

pub(super) fn findings(values: Option<&Value>, metallb: &MetalLbObjects) -> Vec<MigrationFinding> {
    let Some(values) = values else {
        let found = "not checked; give those of MetalLB by -f (helm get values RELEASE -n NAMESPACE)";
        return vec![MigrationFinding::unknown(MigrationCheck::Values, found)];
    };
    let mut found = Vec::new();
    match serde_json::from_str::<Value>(SCHEMA) {
        Ok(schema) => walk(values, &schema, &schema, "", &mut found),
        Err(error) => {
            return vec![MigrationFinding::unknown(
                MigrationCheck::Values,
                error.to_string(),
            )];
        }
    }
    for program in ["controller", "speaker"] {
        found.extend(image(values, program));
    }
    found.extend(class(values, metallb));
    if found.is_empty() {
        found.push(MigrationFinding::pass(
            MigrationCheck::Values,
            "the chart has them all",
        ));
    }
    found
}

/// Compares a value with its schema. Only what the chart does not have at all, what has no effect, and what is of another type is found;
/// Helm checks the rest.
fn walk(value: &Value, schema: &Value, root: &Value, path: &str, found: &mut Vec<MigrationFinding>) {
    let Some(fields) = value.as_object() else {
        return;
    };
    for (name, value) in fields {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let Some(of_field) = schema["properties"].get(name) else {
            if schema["additionalProperties"] == false {
                found.push(MigrationFinding::fail(
                    MigrationCheck::Values,
                    format!("the chart has no value {}, and refuses it", quoted(&path)),
                    format!("remove {}; MetalLB's chart had it", quoted(&path)),
                ));
            }
            continue;
        };
        if path == "configInline" && !is_empty(value) {
            found.push(MigrationFinding::fail(
                MigrationCheck::Values,
                "configInline is refused",
                "create IPAddressPool, L2Advertisement, BGPPeer and BGPAdvertisement resources (heraldctl convert), and remove it",
            ));
        } else if of_field["$ref"] == UNUSED {
            if !is_empty(value) {
                let why = of_field["description"].as_str().unwrap_or_default();
                found.push(MigrationFinding::warn(
                    MigrationCheck::Values,
                    format!("{} has no effect", quoted(&path)),
                    format!("{path}: {why}"),
                ));
            }
        } else {
            walk(value, resolved(of_field, root), root, &path, found);
        }
    }
}

/// Returns what a schema refers to.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let name = schema["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix("#/definitions/"));
    name.map_or(schema, |name| &root["definitions"][name])
}

/// Whether a value says nothing: it is absent, false, or has no entry.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn image(values: &Value, program: &str) -> Option<MigrationFinding> {
    let repository = values[program]["image"]["repository"].as_str();
    let is_of_metallb = |name: &str| {
        let mut parts = name.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some("metallb-controller" | "metallb-speaker"), _) => true,
            (Some("controller" | "speaker"), before) => before == Some("metallb"),
            _ => false,
        }
    };
    let repository = repository.filter(|name| is_of_metallb(name))?;
    Some(MigrationFinding::fail(
        MigrationCheck::Values,
        format!("{program}.image.repository is MetalLB's: {}", quoted(repository)),
        format!("set {program}.image.repository to the image of Herald, and remove MetalLB's tag"),
    ))
}

/// The Services that Herald would handle have to be MetalLB's.
fn class(values: &Value, metallb: &MetalLbObjects) -> Option<MigrationFinding> {
    if metallb.pods.is_empty() {
        return None;
    }
    let now = metallb.class().unwrap_or_default();
    let then = values["loadBalancerClass"].as_str().unwrap_or_default();
    let text = |class: &str| {
        if class.is_empty() {
            "none".to_owned()
        } else {
            quoted(class)
        }
    };
    (now != then).then(|| {
        MigrationFinding::fail(
            MigrationCheck::Values,
            format!(
                "MetalLB handles Services of the class {}, and Herald would handle {}",
                text(&now),
                text(then)
            ),
            format!("set loadBalancerClass: {now:?}"),
        )
    })
}

//! Values for MetalLB's chart, read by the schema of Herald's.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{anyhow, bail, ensure};
use serde_json::Value;

use super::metallb::MetalLbObjects;
use super::{MigrationCheck, MigrationFinding, beside};
use crate::output::quoted;
use crate::validate::ManifestFile;

/// The schema of the chart.
const SCHEMA: &str = include_str!("../../../../charts/herald/values.schema.json");
/// The values of the chart, where the user gives none.
const DEFAULTS: &str = include_str!("../../../../charts/herald/values.yaml");
/// The reference of values that have no effect.
const UNUSED: &str = "#/definitions/unused";

/// The values that the user gives.
#[derive(Debug)]
pub(super) struct GivenValues {
    /// Those of each file.
    files: Vec<Value>,
    /// As Helm merges them: later files win, and `null` removes a value.
    pub(super) merged: Value,
}

impl GivenValues {
    /// Reads files; `-` is standard input. `None` without any.
    ///
    /// # Errors
    /// When a file cannot be read, is no YAML, or has something else than values.
    pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Option<Self>> {
        let mut files = Vec::new();
        for path in paths {
            ensure!(
                !path.is_dir(),
                "{} is a directory; give its files",
                path.display()
            );
            let read = ManifestFile::read_all(std::slice::from_ref(path));
            let read = read.map_err(|errors| anyhow!("{}", texts(&errors)))?;
            for file in read {
                files.push(parse(&file)?);
            }
        }
        Ok((!files.is_empty()).then(|| Self::of(files)))
    }

    pub(super) fn of(files: Vec<Value>) -> Self {
        let mut merged = Value::Null;
        for values in &files {
            json_patch::merge(&mut merged, values);
        }
        Self { files, merged }
    }
}

fn texts(errors: &[crate::validate::FileError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Returns the values of a file.
fn parse(file: &ManifestFile) -> anyhow::Result<Value> {
    let name = &file.name;
    let first = file.text.lines().next().unwrap_or_default().trim_end();
    // As Helm begins its table.
    if matches!(first, "USER-SUPPLIED VALUES:" | "COMPUTED VALUES:") {
        bail!(
            "{name} begins with {}, which is no value; write it by helm get values RELEASE -n NAMESPACE -o yaml",
            quoted(first)
        );
    }
    let values = serde_saphyr::from_str::<Value>(&file.text);
    let values = values.map_err(|error| {
        // The other lines show the place in the text.
        let error = error.to_string();
        anyhow!("{name} is no YAML: {}", error.lines().next().unwrap_or_default())
    })?;
    match values {
        Value::Object(_) => Ok(values),
        // A release without values, or an empty file.
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            bail!(
                "{name} has no mapping of names to values; write it by helm get values RELEASE -n NAMESPACE -o yaml"
            )
        }
    }
}

/// Returns the values of the chart, where the user gives none.
pub(super) fn defaults() -> Value {
    serde_saphyr::from_str(DEFAULTS).unwrap_or_default()
}

pub(super) fn findings(given: Option<&GivenValues>, metallb: &MetalLbObjects) -> Vec<MigrationFinding> {
    let Some(given) = given else {
        let found = "not checked; give those of MetalLB by -f (helm get values RELEASE -n NAMESPACE -o yaml)";
        return vec![MigrationFinding::unknown(MigrationCheck::Values, found)];
    };
    let values = &given.merged;
    let mut found = Vec::new();
    match serde_json::from_str::<Value>(SCHEMA) {
        Ok(schema) => {
            // Merging drops those that are null, which Helm refuses as well.
            let mut absent = BTreeSet::new();
            for file in &given.files {
                unknown_names(file, &schema, &schema, "", &mut absent);
            }
            found.extend(absent.iter().map(|path| is_unknown(path)));
            walk(values, &schema, &schema, "", &mut found);
        }
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
    found.extend(beside::findings(values, metallb));
    if found.is_empty() {
        found.push(MigrationFinding::pass(
            MigrationCheck::Values,
            "the chart has them all",
        ));
    }
    found
}

fn is_unknown(path: &str) -> MigrationFinding {
    MigrationFinding::fail(
        MigrationCheck::Values,
        format!("the chart has no value {}, and refuses it", quoted(path)),
        format!(
            "remove {}; if MetalLB's chart had it, Herald has no counterpart",
            quoted(path)
        ),
    )
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Finds the values that the chart does not have.
fn unknown_names(value: &Value, schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = joined(path, name);
        match schema["properties"].get(name) {
            Some(of_field) => unknown_names(value, resolved(of_field, root), root, &path, found),
            None if schema["additionalProperties"] == false => {
                found.insert(path);
            }
            None => {}
        }
    }
}

/// Finds the values that have no effect. Types are not compared: Helm does that.
fn walk(value: &Value, schema: &Value, root: &Value, path: &str, found: &mut Vec<MigrationFinding>) {
    let Some(fields) = value.as_object() else {
        return;
    };
    for (name, value) in fields {
        let path = joined(path, name);
        let Some(of_field) = schema["properties"].get(name) else {
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

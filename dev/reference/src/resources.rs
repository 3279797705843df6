//! The custom resources and the annotations.

use anyhow::Context;
use herald_core::announce::eligibility::{DRAIN_ANNOTATION, EXCLUDE_LABEL};
use serde_json::Value;

use crate::page::{Page, code};
use crate::source;

/// What a page shows of a custom resource, in the order of the page: those that administrators write come first.
const KINDS: [&str; 10] = [
    "IPAddressPool",
    "L2Advertisement",
    "BGPPeer",
    "BGPAdvertisement",
    "Community",
    "BFDProfile",
    "ServiceL2Status",
    "ServiceBGPStatus",
    "BGPSessionState",
    "ConfigurationState",
];

/// Returns the page of the custom resources.
pub(crate) fn page() -> anyhow::Result<String> {
    let mut page = Page::new("Resources");
    page.paragraph(
        "Administrators write `IPAddressPool`, `L2Advertisement`, `BGPPeer`, `BGPAdvertisement`, `Community` and `BFDProfile`; \
         Herald writes the others and each `status`. All are in the namespace of Herald. Lists of label selectors have the form of Kubernetes (`matchLabels`, `matchExpressions`).",
    );
    let definitions = herald_api::crds();
    for kind in KINDS {
        let definition = definitions.iter().find(|crd| crd.spec.names.kind == kind);
        let definition = definition.with_context(|| format!("there is no definition of {kind}"))?;
        let version = definition
            .spec
            .versions
            .first()
            .context("a definition has a version")?;
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema.with_context(|| format!("{kind} has no schema"))?)?;
        page.heading(kind);
        let older = definition.spec.versions.iter().skip(1);
        let older: Vec<String> = older
            .map(|older| format!(" `{}` is served as well.", older.name))
            .collect();
        page.paragraph(&format!(
            "`apiVersion: {}/{}`.{} {}",
            definition.spec.group,
            version.name,
            older.concat(),
            text(&schema, "description")
        ));
        let mut rows = Vec::new();
        for part in ["spec", "status"] {
            fields(&schema["properties"][part], part, &mut rows);
        }
        page.table(["field", "type", "default", ""], rows);
    }
    Ok(page.finish())
}

/// Adds a row for each field of a schema.
fn fields(schema: &Value, path: &str, rows: &mut Vec<[String; 4]>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let items = &field["items"];
        let default = if !field["default"].is_null() {
            code(field["default"].to_string().trim_matches('"'))
        } else if path.starts_with("spec") && required.contains(&&**name) {
            "required".to_owned()
        } else {
            String::new()
        };
        rows.push([code(&path), type_of(field), default, description(field)]);
        if is_selector(field) || is_selector(items) || name == "conditions" {
            continue;
        }
        fields(field, &path, rows);
        fields(items, &format!("{path}[]"), rows);
    }
}

fn is_selector(schema: &Value) -> bool {
    schema["properties"].get("matchLabels").is_some()
}

fn type_of(schema: &Value) -> String {
    let item = &schema["items"];
    if is_selector(schema) {
        "label selector".to_owned()
    } else if item.is_object() {
        format!(
            "list of {}",
            if is_selector(item) {
                "label selectors".to_owned()
            } else {
                text(item, "type")
            }
        )
    } else {
        text(schema, "type")
    }
}

/// Returns the description, with the values of an enumeration where the text has not all of them.
fn description(schema: &Value) -> String {
    let mut text = text(schema, "description");
    let values: Vec<&str> = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !values.iter().all(|value| text.contains(value)) {
        let values: Vec<String> = values.iter().map(|value| code(value)).collect();
        text = format!("{text} One of {}.", values.join(", "));
    }
    text
}

fn text(schema: &Value, key: &str) -> String {
    schema[key].as_str().unwrap_or_default().to_owned()
}

/// Returns the page of annotations and labels.
pub(crate) fn annotations() -> anyhow::Result<String> {
    let mut page = Page::new("Annotations and labels");
    let services = source::constants(&source::parse("crates/api/src/annotation.rs")?);
    let prefix = &services.get("PREFIX").context("the prefix of annotations")?.0;
    let rows = |is_written: bool| {
        let constants = services.iter().filter(|(name, _)| !name.ends_with("PREFIX"));
        let constants = constants.filter(move |(_, (value, _))| value.contains('/') == is_written);
        constants.map(|(_, (value, doc))| {
            let key = if value.contains('/') {
                value.clone()
            } else {
                format!("{prefix}{value}")
            };
            [code(&key), doc.clone()]
        })
    };
    page.heading("Annotations of Services that users write");
    page.table(["annotation", ""], rows(false));
    page.paragraph(
        "The same names with the prefix `metallb.universe.tf/` are read as well, where there is none with `metallb.io/`; the \
         event `deprecatedAnnotation` reports them.",
    );
    page.heading("Annotations of Services that the controller writes");
    page.table(["annotation", ""], rows(true));
    page.heading("Of Nodes");
    let nodes = source::constants(&source::parse("crates/core/src/announce/eligibility.rs")?);
    let of = |value: &str| {
        nodes
            .values()
            .find(|(text, _)| text == value)
            .map(|(_, doc)| doc.clone())
    };
    page.table(
        ["name", ""],
        [
            [
                code(DRAIN_ANNOTATION),
                of(DRAIN_ANNOTATION).context("a doc comment")?,
            ],
            [code(EXCLUDE_LABEL), of(EXCLUDE_LABEL).context("a doc comment")?],
        ],
    );
    Ok(page.finish())
}

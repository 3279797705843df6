//! OpenAPI v3 documents, one per group and version: what kubectl validates and explains with.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::kinds::{Kind, Kinds};
use crate::schema::builtin::{OBJECT_META, builtin};

const REFERENCE: &str = "#/components/schemas/";

/// `/openapi/v3`: where the documents are.
pub(crate) fn index(kinds: &Kinds) -> Value {
    let paths: Map<String, Value> = kinds
        .group_versions()
        .into_iter()
        .map(|(group, version)| {
            let path = path(&group, &version);
            let url = format!("/openapi/v3/{path}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({ "paths": paths })
}

/// The document of a group and version; none when nothing is served there.
pub(crate) fn document(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Kind> = kinds
        .all()
        .map(AsRef::as_ref)
        .filter(|kind| kind.group == group && kind.version == version)
        .collect();
    if served.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for kind in served {
        let name = definition_name(kind);
        let mut schema = root_schema(kind);
        schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind)]);
        add_references(&schema, &mut schemas);
        add_paths(kind, &name, &mut paths);
        schemas.insert(name, schema);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0+devkube"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn group_version_kind(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn definition_name(kind: &Kind) -> String {
    if kind.custom.is_none() {
        return kind.definition.clone();
    }
    let mut reversed: Vec<&str> = kind.group.split('.').collect();
    reversed.reverse();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

fn root_schema(kind: &Kind) -> Value {
    let Some(custom) = &kind.custom else {
        return builtin()
            .definitions
            .get(&kind.definition)
            .cloned()
            .unwrap_or_default();
    };
    let mut schema = custom.schema.clone();
    let text = json!({"type": "string"});
    for (name, field) in [
        ("apiVersion", text.clone()),
        ("kind", text),
        (
            "metadata",
            json!({"allOf": [{"$ref": format!("{REFERENCE}{OBJECT_META}")}]}),
        ),
    ] {
        schema["properties"][name] = field;
    }
    schema
}

/// Copies every built-in definition that a schema refers to, directly or not.
fn add_references(schema: &Value, schemas: &mut Map<String, Value>) {
    let mut wanted = BTreeSet::new();
    collect_references(schema, &mut wanted);
    for name in wanted {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(definition) = builtin().definitions.get(&name) {
            schemas.insert(name, definition.clone());
            add_references(definition, schemas);
        }
    }
}

fn collect_references(schema: &Value, wanted: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix(REFERENCE)) {
                wanted.insert(name.to_string());
            }
            fields
                .values()
                .for_each(|value| collect_references(value, wanted));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// kubectl learns from the PATCH operation that the server validates fields.
fn add_paths(kind: &Kind, definition: &str, paths: &mut Map<String, Value>) {
    let scope = if kind.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("/{}{scope}/{}", path(&kind.group, &kind.version), kind.plural);
    let content = json!({"application/json": {"schema": {"$ref": format!("{REFERENCE}{definition}")}}});
    let operation = |action: &str| {
        json!({
            "parameters": [query("dryRun"), query("fieldManager"), query("fieldValidation")],
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group_version_kind(kind),
        })
    };
    paths.insert(
        collection.clone(),
        json!({"get": operation("list"), "post": operation("post")}),
    );
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get"), "put": operation("put"), "patch": operation("patch"),
            "delete": operation("delete"),
        }),
    );
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

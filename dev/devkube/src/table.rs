//! Tables, as `kubectl get` prints them.

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::view::metadata_of;

mod age;
mod builtin;
mod custom;

/// One column: how it is declared and what it shows of an object.
pub(crate) struct Column {
    name: String,
    /// OpenAPI type: `string`, `integer`, `date`.
    kind: &'static str,
    /// 0 is always shown, 1 only by `-o wide`.
    priority: u64,
    cell: Box<dyn Fn(&Value) -> Value + Send + Sync>,
}

/// A Table of objects; `include` says what of each object comes along (`None`, `Metadata`, `Object`).
pub(crate) fn table<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    include: &str,
    revision: &Value,
) -> Value {
    let columns = columns(kind);
    let definitions: Vec<Value> = columns.iter().map(definition).collect();
    let rows: Vec<Value> = objects.map(|object| row(&columns, object, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision},
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Column> {
    match &kind.custom {
        Some(custom) => custom::columns(custom),
        None => builtin::columns(kind.collection.as_str()),
    }
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({
        "name": column.name, "type": column.kind, "format": format, "description": "", "priority": column.priority,
    })
}

fn row(columns: &[Column], object: &Value, include: &str) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(object)).collect();
    let object = match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => metadata_of(object),
    };
    json!({"cells": cells, "object": object})
}

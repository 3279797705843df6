//! Columns of custom resources.

use serde_json::{Value, json};

use super::Column;
use super::builtin::{age, name};
use crate::kinds::Custom;

/// Name, the `additionalPrinterColumns`, or else the age.
pub(super) fn columns(custom: &Custom) -> Vec<Column> {
    let mut columns = vec![name()];
    columns.extend(custom.columns.iter().map(printer_column));
    if custom.columns.is_empty() {
        columns.push(age());
    }
    columns
}

fn printer_column(column: &Value) -> Column {
    let path = column["jsonPath"].as_str().unwrap_or_default().to_string();
    let kind = match column["type"].as_str() {
        Some("integer") => "integer",
        Some("number") => "number",
        Some("boolean") => "boolean",
        Some("date") => "date",
        _ => "string",
    };
    Column {
        name: column["name"].as_str().unwrap_or_default().to_string(),
        kind,
        priority: column["priority"].as_u64().unwrap_or(0),
        cell: Box::new(move |object| cell(kind, &select(object, &path))),
    }
}

fn cell(kind: &str, found: &[&Value]) -> Value {
    let Some(first) = found.first() else {
        return Value::Null;
    };
    match (kind, first) {
        ("date", Value::String(time)) => json!(super::age::since(time)),
        ("string", Value::String(_)) if found.len() == 1 => (*first).clone(),
        ("string", _) => {
            let texts: Vec<String> = found
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string))
                .collect();
            json!(texts.join(","))
        }
        _ => (*first).clone(),
    }
}

/// The values at a JSON path: fields, `['field']`, `[index]`, `[*]` and `[?(@.field=="value")]`.
fn select<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    for step in steps(path) {
        found = found.into_iter().flat_map(|value| take(value, &step)).collect();
    }
    found
}

enum Step {
    Field(String),
    Index(usize),
    All,
    Where(String, String),
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    let items = || value.as_array().into_iter().flatten();
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => value.get(index).into_iter().collect(),
        Step::All => items()
            .chain(value.as_object().into_iter().flat_map(serde_json::Map::values))
            .collect(),
        Step::Where(field, wanted) => items()
            .filter(|item| item[field.as_str()] == wanted.as_str())
            .collect(),
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some((inner, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            steps.push(bracket(inner));
            rest = after;
            continue;
        }
        rest = rest.trim_start_matches('.');
        let end = field_end(rest);
        if end > 0 {
            let name = rest[..end].replace("\\.", ".");
            steps.push(if name == "*" { Step::All } else { Step::Field(name) });
        }
        rest = &rest[end..];
    }
    steps
}

/// A field ends at a dot that is not escaped, or at a bracket.
fn field_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = !escaped && (c == '.' || c == '[');
        escaped = c == '\\';
        ends
    });
    end.unwrap_or(text.len())
}

fn bracket(inner: &str) -> Step {
    let unquoted = |text: &str| text.trim_matches(['\'', '"']).to_string();
    if inner == "*" {
        return Step::All;
    }
    if let Some((field, value)) = inner
        .strip_prefix("?(@.")
        .and_then(|f| f.strip_suffix(')')?.split_once("=="))
    {
        return Step::Where(field.trim().to_string(), unquoted(value.trim()));
    }
    inner
        .parse()
        .map_or_else(|_| Step::Field(unquoted(inner)), Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_paths_select_what_printer_columns_need() {
        let object = json!({
            "spec": {"addresses": ["a", "b"], "a.b": 1},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]},
        });
        for (path, result) in [
            (".spec.addresses", json!("[\"a\",\"b\"]")),
            (".spec.addresses[*]", json!("a,b")),
            (".spec.addresses[1]", json!("b")),
            (".spec['a.b']", json!("1")),
            (".spec.a\\.b", json!("1")),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.nothing", Value::Null),
        ] {
            assert_eq!(cell("string", &select(&object, path)), result, "{path}");
        }
    }
}

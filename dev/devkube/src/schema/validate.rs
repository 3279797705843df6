//! Validation of values against a schema, in the words that the Kubernetes API server uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::prune::join;
use super::{ListType, Node, Schema, Type};
use crate::status::{FieldError, type_name};

/// Every rule that `value` breaks.
pub(crate) fn validate(schema: Schema<'_>, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, value, "", &mut errors);
    errors
}

/// Every entry that a set or an associative list has twice. The API server holds custom resources to this; built-in
/// kinds have rules of their own (a dual-stack Node has two addresses of the type InternalIP).
pub(crate) fn repetitions(schema: Schema<'_>, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk_repetitions(schema, value, "", &mut errors);
    errors
}

/// Every place whose JSON type is not the declared one; what decoding into Go types would trip over.
pub(crate) fn type_errors(schema: Schema<'_>, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk_types(schema, value, "", &mut errors);
    errors
}

fn walk_types(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !check_type(schema.node, value, path, errors) {
        return;
    }
    for (field, child, at) in children(schema, value, path) {
        walk_types(field, child, &at, errors);
    }
}

fn walk(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && schema.node.nullable {
        return;
    }
    if !check_type(schema.node, value, path, errors) {
        return;
    }
    match value {
        Value::Object(_) => check_object(schema, value, path, errors),
        Value::Array(items) => check_list(schema, items, path, errors),
        Value::String(text) => check_string(schema.node, text, path, errors),
        Value::Number(_) => check_number(schema.node, value, path, errors),
        Value::Null | Value::Bool(_) => {}
    }
    check_allowed(schema.node, value, path, errors);
    check_logic(schema, value, path, errors);
    for (field, child, at) in children(schema, value, path) {
        walk(field, child, &at, errors);
    }
}

fn children<'a>(schema: Schema<'a>, value: &'a Value, path: &str) -> Vec<(Schema<'a>, &'a Value, String)> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, child)| schema.field(name).map(|field| (field, child, join(path, name))))
            .collect(),
        Value::Array(items) => schema.items().map_or_else(Vec::new, |item| {
            items
                .iter()
                .enumerate()
                .map(|(i, child)| (item, child, format!("{path}[{i}]")))
                .collect()
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn check_type(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) -> bool {
    if node.int_or_string {
        let fits = value.is_string() || is_integer(value);
        if !fits {
            errors.push(type_error(path, value, "integer,string"));
        }
        return fits;
    }
    let Some(kind) = node.kind else { return true };
    let (fits, name) = match kind {
        Type::Array => (value.is_array(), "array"),
        Type::Boolean => (value.is_boolean(), "boolean"),
        Type::Integer => (is_integer(value), "integer"),
        Type::Number => (value.is_number(), "number"),
        Type::Object => (value.is_object(), "object"),
        Type::String => (value.is_string(), "string"),
    };
    let null_is_fine = value.is_null() && node.nullable;
    if !fits && !null_is_fine {
        errors.push(type_error(path, value, name));
    }
    fits
}

fn type_error(path: &str, value: &Value, want: &str) -> FieldError {
    let detail = format!("{path} in body must be of type {want}: {:?}", type_name(value));
    FieldError::wrong_type(path, value, detail)
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9e15)
}

fn check_object(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for name in &schema.node.required {
        if value.get(name).is_none() {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
    let count = value.as_object().map_or(0, serde_json::Map::len);
    let bounds = &schema.node.bounds;
    if bounds.min_properties.is_some_and(|min| (count as u64) < min) {
        let min = bounds.min_properties.unwrap_or_default();
        let detail = format!("{path} in body should have at least {min} properties");
        errors.push(FieldError::invalid(path, &count.into(), detail));
    }
    if let Some(max) = bounds.max_properties.filter(|max| count as u64 > *max) {
        errors.push(FieldError::too_many(path, count, max));
    }
}

fn check_list(schema: Schema<'_>, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let bounds = &schema.node.bounds;
    let count = items.len();
    if let Some(min) = bounds.min_items.filter(|min| (count as u64) < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        errors.push(FieldError::invalid(path, &count.into(), detail));
    }
    if let Some(max) = bounds.max_items.filter(|max| count as u64 > *max) {
        errors.push(FieldError::too_many(path, count, max));
    }
    if bounds.unique_items {
        for (i, item) in items.iter().enumerate() {
            if items[..i].contains(item) {
                errors.push(FieldError::duplicate(format!("{path}[{i}]"), item));
            }
        }
    }
}

fn walk_repetitions(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Value::Array(items) = value {
        let identities: Vec<_> = match &schema.node.list_type {
            ListType::Map(keys) => items.iter().map(|item| identity(schema, item, keys)).collect(),
            ListType::Set => items.clone(),
            ListType::Atomic => Vec::new(),
        };
        for (i, identity) in identities.iter().enumerate() {
            if identities[..i].contains(identity) {
                errors.push(FieldError::duplicate(format!("{path}[{i}]"), identity));
            }
        }
    }
    for (field, child, at) in children(schema, value, path) {
        walk_repetitions(field, child, &at, errors);
    }
}

/// The key values of an entry of an associative list, defaults filled in.
pub(crate) fn identity(list: Schema<'_>, item: &Value, keys: &[String]) -> Value {
    let default = |key: &str| {
        list.items()
            .and_then(|i| i.property(key))
            .and_then(Schema::default)
            .cloned()
    };
    keys.iter()
        .filter_map(|key| Some((key.clone(), item.get(key).cloned().or_else(|| default(key))?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn check_string(node: &Node, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let bounds = &node.bounds;
    let value = Value::from(text);
    let length = text.chars().count() as u64;
    if let Some(min) = bounds.min_length.filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        errors.push(FieldError::invalid(path, &value, detail));
    }
    if let Some(max) = bounds.max_length.filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, max));
    }
    if let Some(pattern) = bounds.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        let detail = format!("{path} in body should match '{pattern}'");
        errors.push(FieldError::invalid(path, &value, detail));
    }
    if let Some(format) = bounds
        .format
        .as_deref()
        .filter(|format| !has_format(format, text))
    {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        errors.push(FieldError::invalid(path, &value, detail));
    }
}

/// Formats that are not checked here are not checked by Kubernetes for these kinds either.
fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => is_date_time(text),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "ip" => text.parse::<IpAddr>().is_ok(),
        "uuid" => uuid::Uuid::parse_str(text).is_ok(),
        _ => true,
    }
}

/// Whether a text is a time of RFC 3339, which has a day more than `jiff::Timestamp`.
fn is_date_time(text: &str) -> bool {
    jiff::fmt::temporal::Pieces::parse(text)
        .is_ok_and(|pieces| pieces.time().is_some() && pieces.offset().is_some())
}

fn check_number(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(number) = value.as_f64() else { return };
    let bounds = &node.bounds;
    if let Some(min) = bounds.minimum
        && (number < min || (bounds.exclusive_minimum && number <= min))
    {
        let than = if bounds.exclusive_minimum {
            "greater than"
        } else {
            "greater than or equal to"
        };
        errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body should be {than} {min}"),
        ));
    }
    if let Some(max) = bounds.maximum
        && (number > max || (bounds.exclusive_maximum && number >= max))
    {
        let than = if bounds.exclusive_maximum {
            "less than"
        } else {
            "less than or equal to"
        };
        errors.push(FieldError::invalid(
            path,
            value,
            format!("{path} in body should be {than} {max}"),
        ));
    }
    if let Some(factor) = bounds
        .multiple_of
        .filter(|factor| (number / factor).fract() != 0.0)
    {
        let detail = format!("{path} in body should be a multiple of {factor}");
        errors.push(FieldError::invalid(path, value, detail));
    }
    let int32 = f64::from(i32::MIN)..=f64::from(i32::MAX);
    if bounds.format.as_deref() == Some("int32") && !int32.contains(&number) {
        let detail = format!("{path} in body must be of type int32: {number}");
        errors.push(FieldError::invalid(path, value, detail));
    }
}

fn check_allowed(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(allowed) = node.allowed.as_ref().filter(|allowed| !allowed.contains(value)) {
        let supported: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        errors.push(FieldError::not_supported(path, value, &supported));
    }
}

fn check_logic(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let holds = |branch: Schema<'_>| {
        let mut broken = Vec::new();
        walk(branch, value, path, &mut broken);
        broken.is_empty()
    };
    for branch in schema.all(&schema.node.all_of) {
        walk(branch, value, path, errors);
    }
    let mut refuse = |detail: &str| {
        errors.push(FieldError::invalid(path, value, format!("{path:?} {detail}")));
    };
    if !schema.node.any_of.is_empty() && !schema.all(&schema.node.any_of).any(holds) {
        refuse("must validate at least one schema (anyOf)");
    }
    if !schema.node.one_of.is_empty() && schema.all(&schema.node.one_of).filter(|b| holds(*b)).count() != 1 {
        refuse("must validate one and only one schema (oneOf)");
    }
    if schema.node.not.is_some_and(|not| holds(schema.document.at(not))) {
        refuse("must not validate the schema (not)");
    }
}

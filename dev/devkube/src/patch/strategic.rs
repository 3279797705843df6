//! Strategic merge patch: a merge patch that knows which lists are keyed.
//!
//! See <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>.

use serde_json::{Map, Value};

use crate::object::entries;
use crate::schema::Schema;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `target`, whose schema is `schema` (none where anything goes).
pub(crate) fn merge(schema: Option<Schema<'_>>, target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    match changes.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(changes);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => {
            return Err(format!(
                "unknown patch type {other:?}; use replace, delete or merge"
            ));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(keep) = changes.get(RETAIN_KEYS).and_then(Value::as_array) {
        fields.retain(|name, _| keep.iter().any(|kept| kept == name));
    }
    for (name, change) in changes {
        if !name.starts_with('$') {
            merge_field(schema.and_then(|s| s.field(name)), fields, name, change)?;
        }
    }
    for (directive, values) in changes {
        if let Some(name) = directive.strip_prefix(DELETE_PRIMITIVES) {
            if let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut) {
                list.retain(|item| !entries(values).contains(item));
            }
        } else if let Some(name) = directive.strip_prefix(SET_ORDER) {
            order(
                schema.and_then(|s| s.field(name)),
                fields.get_mut(name),
                entries(values),
            );
        }
    }
    Ok(())
}

fn merge_field(
    schema: Option<Schema<'_>>,
    fields: &mut Map<String, Value>,
    name: &str,
    change: &Value,
) -> Result<(), String> {
    match change {
        Value::Null => {
            fields.remove(name);
            Ok(())
        }
        Value::Object(directives) if directives.get(PATCH).is_some_and(|p| p == "delete") => {
            fields.remove(name);
            Ok(())
        }
        Value::Array(changes) if schema.is_some_and(|s| s.patch().merge) => {
            let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if !list.is_array() {
                *list = Value::Array(Vec::new());
            }
            list.as_array_mut()
                .map_or(Ok(()), |list| merge_list(schema, list, changes))
        }
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            fields.insert(name.to_string(), change.clone());
            Ok(())
        }
        Value::Object(_) => merge(schema, fields.entry(name).or_insert(Value::Null), change),
    }
}

fn merge_list(schema: Option<Schema<'_>>, list: &mut Vec<Value>, changes: &[Value]) -> Result<(), String> {
    let Some(key) = schema.and_then(|s| s.patch().merge_key.as_deref()) else {
        for change in changes {
            if !list.contains(change) {
                list.push(change.clone());
            }
        }
        return Ok(());
    };
    if changes.iter().any(|change| change[PATCH] == "replace") {
        let rest = changes.iter().filter(|change| change.get(PATCH).is_none());
        *list = rest.cloned().collect();
        return Ok(());
    }
    for change in changes {
        let Some(value) = change.get(key) else {
            return Err(format!(
                "map: {change} does not contain declared merge key: {key}"
            ));
        };
        if change[PATCH] == "delete" {
            list.retain(|item| item.get(key) != Some(value));
            continue;
        }
        let item_schema = schema.and_then(Schema::items);
        match list.iter_mut().find(|item| item.get(key) == Some(value)) {
            Some(item) => merge(item_schema, item, change)?,
            None => {
                let mut item = Value::Object(Map::new());
                merge(item_schema, &mut item, change)?;
                list.push(item);
            }
        }
    }
    Ok(())
}

/// Puts the entries into the order asked for; those not mentioned keep their place after the
/// entry that they followed.
fn order(schema: Option<Schema<'_>>, list: Option<&mut Value>, wanted: &[Value]) {
    let Some(list) = list.and_then(Value::as_array_mut) else {
        return;
    };
    let key = schema.and_then(|s| s.patch().merge_key.as_deref());
    let identity = |item: &Value| key.map_or_else(|| item.clone(), |key| item[key].clone());
    let position = |item: &Value| wanted.iter().position(|w| identity(w) == identity(item));
    let mut last = None;
    let mut ranked: Vec<(Option<usize>, usize, Value)> = Vec::new();
    for (i, item) in std::mem::take(list).into_iter().enumerate() {
        let at = position(&item);
        if at.is_some() {
            last = at;
        }
        ranked.push((at.or(last), if at.is_some() { 0 } else { i + 1 }, item));
    }
    ranked.sort_by_key(|(at, own, _)| (*at, *own));
    list.extend(ranked.into_iter().map(|(_, _, item)| item));
}

fn without_directives(fields: &Map<String, Value>) -> Value {
    fields
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin::builtin;

    fn merged(definition: &str, target: Value, patch: Value) -> Value {
        let schema = builtin().document.definition(&format!("io.k8s.api.{definition}"));
        let mut result = target;
        merge(schema, &mut result, &patch).expect("a valid patch");
        result
    }

    #[test]
    fn each_directive_does_what_the_specification_says() {
        for (what, target, patch, result) in [
            (
                "entries merge by key",
                json!({"ports": [{"port": 80, "name": "a"}, {"port": 81}]}),
                json!({"ports": [{"port": 80, "nodePort": 30000}, {"port": 82}]}),
                json!({"ports": [{"port": 80, "name": "a", "nodePort": 30000}, {"port": 81}, {"port": 82}]}),
            ),
            (
                "$patch delete removes an entry",
                json!({"ports": [{"port": 80}, {"port": 81}]}),
                json!({"ports": [{"$patch": "delete", "port": 80}]}),
                json!({"ports": [{"port": 81}]}),
            ),
            (
                "$patch replace replaces a list",
                json!({"ports": [{"port": 80}, {"port": 81}]}),
                json!({"ports": [{"port": 82}, {"$patch": "replace"}]}),
                json!({"ports": [{"port": 82}]}),
            ),
            (
                "$setElementOrder orders",
                json!({"ports": [{"port": 80}, {"port": 81}]}),
                json!({"$setElementOrder/ports": [{"port": 82}, {"port": 81}, {"port": 80}], "ports": [{"port": 82}]}),
                json!({"ports": [{"port": 82}, {"port": 81}, {"port": 80}]}),
            ),
            (
                "maps merge, null removes",
                json!({"selector": {"a": "1", "b": "2"}}),
                json!({"selector": {"a": null, "c": "3"}}),
                json!({"selector": {"b": "2", "c": "3"}}),
            ),
            (
                "$patch replace replaces a map",
                json!({"selector": {"a": "1"}}),
                json!({"selector": {"$patch": "replace", "b": "2"}}),
                json!({"selector": {"b": "2"}}),
            ),
            (
                "atomic lists are replaced",
                json!({"externalIPs": ["1.1.1.1"]}),
                json!({"externalIPs": ["2.2.2.2"]}),
                json!({"externalIPs": ["2.2.2.2"]}),
            ),
        ] {
            assert_eq!(merged("core.v1.ServiceSpec", target, patch), result, "{what}");
        }
    }

    #[test]
    fn primitive_lists_merge_and_shrink() {
        let definition = "core.v1.Service";
        let target = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}});
        assert_eq!(
            merged(definition, target, patch),
            json!({"metadata": {"finalizers": ["b", "c"]}})
        );
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let target = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
        let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
        let result = json!({"strategy": {"type": "Recreate"}});
        assert_eq!(merged("apps.v1.DeploymentSpec", target, patch), result);
    }

    #[test]
    fn an_entry_without_its_key_is_refused() {
        let schema = builtin().document.definition("io.k8s.api.core.v1.ServiceSpec");
        let mut target = json!({"ports": []});
        let error = merge(schema, &mut target, &json!({"ports": [{"name": "a"}]})).expect_err("refused");
        assert!(
            error.contains("does not contain declared merge key: port"),
            "{error}"
        );
    }
}

//! From a JSON schema document to [`Document`].

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::cel::Rule;
use super::error::ParseError;
use super::{Bounds, Document, ListType, Node, NodeId, PatchStrategy, Type};

impl Document {
    /// Parses a set of definitions that refer to each other by `#/components/schemas/NAME`.
    pub(crate) fn of_definitions(definitions: &Map<String, Value>) -> Result<Self, ParseError> {
        Self::parse(definitions, false)
    }

    /// Parses the `openAPIV3Schema` of a custom resource, which must be structural; its root is the
    /// definition "".
    pub(crate) fn of_custom_resource(schema: &Value) -> Result<Self, ParseError> {
        Self::parse(&Map::from_iter([(String::new(), schema.clone())]), true)
    }

    fn parse(definitions: &Map<String, Value>, structural: bool) -> Result<Self, ParseError> {
        let mut parser = Parser {
            nodes: Vec::new(),
            named: BTreeMap::new(),
            definitions,
            structural,
        };
        for name in definitions.keys() {
            parser.named(name)?;
        }
        Ok(Self {
            nodes: parser.nodes,
            named: parser.named,
        })
    }
}

struct Parser<'a> {
    nodes: Vec<Node>,
    named: BTreeMap<String, NodeId>,
    definitions: &'a Map<String, Value>,
    /// Every field must have a type of its own, as Kubernetes demands of custom resources.
    structural: bool,
}

impl Parser<'_> {
    fn named(&mut self, name: &str) -> Result<NodeId, ParseError> {
        if let Some(id) = self.named.get(name) {
            return Ok(*id);
        }
        let Some(schema) = self.definitions.get(name) else {
            return Err(ParseError {
                path: String::new(),
                message: format!("no definition named {name:?}"),
            });
        };
        // The slot exists before its content is parsed, so that a definition may refer to itself.
        let id = self.slot();
        self.named.insert(name.to_string(), id);
        let node = self.node(schema, "")?;
        self.nodes[id.0] = node;
        Ok(id)
    }

    fn slot(&mut self) -> NodeId {
        self.nodes.push(Node::default());
        NodeId(self.nodes.len() - 1)
    }

    /// The schema of a field, an entry or a map's value.
    fn value(&mut self, schema: &Value, path: &str) -> Result<NodeId, ParseError> {
        let untyped = [
            "type",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
        ]
        .iter()
        .all(|key| schema.get(key).is_none());
        let fault = match (self.structural, untyped) {
            (true, _) if schema.get("$ref").is_some() => "$ref is not supported",
            (true, true) => "type: Required value: must not be empty, schemas are structural",
            (true, false) | (false, _) => return self.child(schema, path),
        };
        Err(ParseError {
            path: path.to_string(),
            message: fault.to_string(),
        })
    }

    fn child(&mut self, schema: &Value, path: &str) -> Result<NodeId, ParseError> {
        if let Some(target) = reference(schema) {
            let id = self.named(target)?;
            // List and patch extensions stand beside the reference, at the field.
            return if has_extensions(schema) {
                self.overlay(id, schema, path)
            } else {
                Ok(id)
            };
        }
        let id = self.slot();
        let node = self.node(schema, path)?;
        self.nodes[id.0] = node;
        Ok(id)
    }

    fn overlay(&mut self, target: NodeId, schema: &Value, path: &str) -> Result<NodeId, ParseError> {
        let id = self.slot();
        let mut node = self.node(schema, path)?;
        let base = &self.nodes[target.0];
        node.kind = base.kind;
        node.int_or_string = base.int_or_string;
        node.atomic_map |= base.atomic_map;
        node.properties = base.properties.clone();
        node.additional = base.additional;
        node.items = base.items;
        node.required = base.required.clone();
        node.preserve_unknown = base.preserve_unknown;
        self.nodes[id.0] = node;
        Ok(id)
    }

    fn children(&mut self, schemas: Option<&Value>, path: &str) -> Result<Vec<NodeId>, ParseError> {
        let list = schemas
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        list.iter()
            .enumerate()
            .map(|(i, schema)| self.child(schema, &format!("{path}[{i}]")))
            .collect()
    }

    fn node(&mut self, schema: &Value, path: &str) -> Result<Node, ParseError> {
        let fail = |message: String| ParseError {
            path: path.to_string(),
            message,
        };
        let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
        let kind = schema
            .get("type")
            .map(|t| parse_type(t).map_err(fail))
            .transpose()?;
        let properties = self.properties(schema, path)?;
        let additional = self.additional(schema, path)?;
        Ok(Node {
            kind,
            int_or_string: flag("x-kubernetes-int-or-string"),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            properties,
            additional,
            items: schema
                .get("items")
                .map(|items| self.value(items, &format!("{path}.items")))
                .transpose()?,
            required: strings(&schema["required"]),
            allowed: schema["enum"].as_array().cloned(),
            default: schema.get("default").cloned(),
            bounds: bounds(schema).map_err(fail)?,
            list_type: list_type(schema).map_err(fail)?,
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            patch: patch_strategy(schema),
            all_of: self.children(schema.get("allOf"), &format!("{path}.allOf"))?,
            any_of: self.children(schema.get("anyOf"), &format!("{path}.anyOf"))?,
            one_of: self.children(schema.get("oneOf"), &format!("{path}.oneOf"))?,
            not: schema
                .get("not")
                .map(|not| self.child(not, &format!("{path}.not")))
                .transpose()?,
            rules: Rule::parse_all(&schema["x-kubernetes-validations"], path)?,
        })
    }

    fn properties(&mut self, schema: &Value, path: &str) -> Result<BTreeMap<String, NodeId>, ParseError> {
        let Some(declared) = schema["properties"].as_object() else {
            return Ok(BTreeMap::new());
        };
        declared
            .iter()
            .map(|(name, child)| {
                Ok((
                    name.clone(),
                    self.value(child, &format!("{path}.properties[{name}]"))?,
                ))
            })
            .collect()
    }

    fn additional(&mut self, schema: &Value, path: &str) -> Result<Option<NodeId>, ParseError> {
        match &schema["additionalProperties"] {
            Value::Null | Value::Bool(false) => Ok(None),
            Value::Bool(true) => {
                let id = self.slot();
                self.nodes[id.0].preserve_unknown = true;
                Ok(Some(id))
            }
            child @ (Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::String(_)) => self
                .value(child, &format!("{path}.additionalProperties"))
                .map(Some),
        }
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"]
        .as_str()
        .and_then(|r| r.strip_prefix("#/components/schemas/"))
}

fn has_extensions(schema: &Value) -> bool {
    schema
        .as_object()
        .is_some_and(|s| s.keys().any(|key| key.starts_with("x-kubernetes-")))
}

fn parse_type(value: &Value) -> Result<Type, String> {
    match value.as_str() {
        Some("array") => Ok(Type::Array),
        Some("boolean") => Ok(Type::Boolean),
        Some("integer") => Ok(Type::Integer),
        Some("number") => Ok(Type::Number),
        Some("object") => Ok(Type::Object),
        Some("string") => Ok(Type::String),
        _ => Err(format!(
            "unsupported type {value}; use array, boolean, integer, number, object or string"
        )),
    }
}

fn bounds(schema: &Value) -> Result<Bounds, String> {
    let pattern = schema["pattern"].as_str().map(|pattern| {
        Regex::new(pattern)
            .map_err(|error| format!("pattern {pattern:?} is not a regular expression: {error}"))
    });
    Ok(Bounds {
        minimum: schema["minimum"].as_f64(),
        maximum: schema["maximum"].as_f64(),
        exclusive_minimum: schema["exclusiveMinimum"].as_bool().unwrap_or(false),
        exclusive_maximum: schema["exclusiveMaximum"].as_bool().unwrap_or(false),
        multiple_of: schema["multipleOf"].as_f64(),
        min_length: schema["minLength"].as_u64(),
        max_length: schema["maxLength"].as_u64(),
        min_items: schema["minItems"].as_u64(),
        max_items: schema["maxItems"].as_u64(),
        unique_items: schema["uniqueItems"].as_bool().unwrap_or(false),
        min_properties: schema["minProperties"].as_u64(),
        max_properties: schema["maxProperties"].as_u64(),
        pattern: pattern.transpose()?,
        format: schema["format"].as_str().map(str::to_string),
    })
}

fn list_type(schema: &Value) -> Result<ListType, String> {
    match schema["x-kubernetes-list-type"].as_str() {
        None | Some("atomic") => Ok(ListType::Atomic),
        Some("set") => Ok(ListType::Set),
        Some("map") => match strings(&schema["x-kubernetes-list-map-keys"]) {
            keys if keys.is_empty() => {
                Err("x-kubernetes-list-type map needs x-kubernetes-list-map-keys".into())
            }
            keys => Ok(ListType::Map(keys)),
        },
        Some(other) => Err(format!(
            "unsupported x-kubernetes-list-type {other:?}; use atomic, set or map"
        )),
    }
}

fn patch_strategy(schema: &Value) -> PatchStrategy {
    let strategy = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
    PatchStrategy {
        merge: strategy.split(',').any(|s| s == "merge"),
        retain_keys: strategy.split(',').any(|s| s == "retainKeys"),
        merge_key: schema["x-kubernetes-patch-merge-key"]
            .as_str()
            .map(str::to_string),
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect()
}

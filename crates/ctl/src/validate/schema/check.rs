//! Checks the fields of an object by the definition of its kind.

use serde_json::Value;

use super::Schemas;
use crate::validate::finding::Findings;
use crate::validate::mistake::SchemaMistake;
use crate::validate::name;
use crate::validate::node::{MarkedNode, MarkedValue};
use crate::validate::object::ManifestObject;
use crate::validate::path::FieldPath;
use crate::validate::yaml::{after_dash, split_at_colon};

/// The fields that the definitions of custom resources do not have, because every object has them.
const COMMON: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// The fields of a Secret that are secret.
const SECRET: [&str; 2] = ["data", "stringData"];

impl Schemas {
    /// Checks an object. Of one whose kind is not known only the metadata are checked. The status is not, because nobody writes it.
    pub(crate) fn check(&self, object: &ManifestObject<'_>, findings: &mut Findings) {
        let root = FieldPath::default();
        if let Some(metadata) = object.node.child("metadata") {
            let mut check = Check::new(self, &self.metadata, object, findings);
            check.node(&self.metadata, metadata, &root.field("metadata"));
        }
        if let Some(schema) = self.get(&object.api_version, &object.kind) {
            let mut check = Check::new(self, schema, object, findings);
            check.top(schema);
        }
    }
}

struct Check<'a, 'f> {
    schemas: &'a Schemas,
    /// The document of the definition, which has those that it refers to.
    root: &'a Value,
    object: &'a ManifestObject<'a>,
    findings: &'f mut Findings,
    /// How many mistakes may still be named.
    remaining: usize,
}

/// The most mistakes of one object that are named.
const MOST_MISTAKES: usize = 100;

impl<'a, 'f> Check<'a, 'f> {
    const fn new(
        schemas: &'a Schemas,
        root: &'a Value,
        object: &'a ManifestObject<'a>,
        findings: &'f mut Findings,
    ) -> Self {
        Self {
            schemas,
            root,
            object,
            findings,
            remaining: MOST_MISTAKES,
        }
    }

    /// Checks the fields at the top of the object.
    fn top(&mut self, schema: &'a Value) {
        let root = FieldPath::default();
        let properties = &schema["properties"];
        for entry in self.object.node.entries() {
            // Those that are misspelt were named before.
            if COMMON
                .iter()
                .any(|common| entry.key == *common || name::is_near(&entry.key, common))
            {
                continue;
            }
            let path = root.field(&entry.key);
            match properties.get(&entry.key) {
                Some(_) if self.object.kind == "Secret" && SECRET.contains(&entry.key.as_str()) => {
                    self.secrets(&entry.node, &path);
                }
                Some(schema) => self.node(schema, &entry.node, &path),
                None if self.resolve(&properties["spec"])["properties"]
                    .get(&entry.key)
                    .is_some() =>
                {
                    self.push_key(path, SchemaMistake::FieldOfSpec(entry.key.clone()));
                }
                None => self.unknown(&entry.key, properties, path),
            }
        }
        self.required(schema, self.object.node, &root);
    }

    /// Checks the values of a Secret and shows none of them.
    fn secrets(&mut self, values: &MarkedNode, path: &FieldPath) {
        for entry in values.entries() {
            if !entry.node.is_null() && entry.node.text().is_none() {
                self.push_key(path.field(&entry.key), SchemaMistake::SecretValue);
            }
        }
    }

    /// Returns the definition that another one refers to.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix('#'));
        let target = reference.and_then(|pointer| self.root.pointer(pointer));
        target.unwrap_or(schema)
    }

    fn node(&mut self, schema: &'a Value, node: &MarkedNode, path: &FieldPath) {
        let schema = self.resolve(schema);
        // A field that is null counts as absent.
        if node.is_null() || schema["x-kubernetes-preserve-unknown-fields"] == true {
            return;
        }
        if let Some(mistake) = wrong_type(schema, node) {
            self.push(path.clone(), mistake);
            return;
        }
        match &node.value {
            MarkedValue::Scalar { .. } => self.scalar(schema, &node.scalar(), path),
            MarkedValue::Sequence(items) => {
                self.length(schema, items.len(), ("minItems", "maxItems"), "entries", path);
                for (place, item) in items.iter().enumerate() {
                    let path = path.index(place);
                    if item.is_null() {
                        self.push(path, null(self.resolve(&schema["items"])));
                    } else {
                        self.node(&schema["items"], item, &path);
                    }
                }
            }
            MarkedValue::Mapping(_) => self.mapping(schema, node, path),
        }
    }

    fn mapping(&mut self, schema: &'a Value, node: &MarkedNode, path: &FieldPath) {
        let properties = &schema["properties"];
        let additional = schema.get("additionalProperties");
        for entry in node.entries() {
            let path = path.field(&entry.key);
            match (properties.get(&entry.key), additional) {
                (Some(schema), _) | (None, Some(schema)) => self.node(schema, &entry.node, &path),
                (None, None) if properties.is_object() => self.unknown(&entry.key, properties, path),
                (None, None) => {}
            }
        }
        self.required(schema, node, path);
    }

    fn required(&mut self, schema: &Value, node: &MarkedNode, path: &FieldPath) {
        let required = schema["required"].as_array().into_iter().flatten();
        for field in required.filter_map(Value::as_str) {
            // A field whose name is misspelt is named as that.
            let mut entries = node.entries().iter();
            let is_misspelt = entries.any(|entry| name::is_near(&entry.key, field));
            if node.child(field).is_none() && !is_misspelt {
                self.push(path.field(field), SchemaMistake::MissingField(field.to_owned()));
            }
        }
    }

    fn unknown(&mut self, field: &str, properties: &Value, path: FieldPath) {
        let known = properties.as_object().into_iter().flatten();
        let right = name::nearest(field, known.map(|(name, _)| name.as_str()));
        let (found, right) = (field.to_owned(), right.map(str::to_owned));
        self.push_key(path, SchemaMistake::UnknownField { found, right });
    }

    fn scalar(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        if let Some(allowed) = schema["enum"]
            .as_array()
            .filter(|allowed| !allowed.contains(value))
        {
            let (value, allowed) = (value.to_string(), allowed.iter().map(plain).collect());
            self.push(path.clone(), SchemaMistake::Value { value, allowed });
            return;
        }
        if let Some(number) = value.as_f64() {
            let least = schema["minimum"].as_f64().filter(|least| number < *least);
            let most = schema["maximum"].as_f64().filter(|most| number > *most);
            let least = least.map(|least| format!("{least} or more"));
            if let Some(bound) = least.or_else(|| most.map(|most| format!("{most} or less"))) {
                let value = value.clone();
                self.push(path.clone(), SchemaMistake::Bound { value, bound });
            }
        }
        let Some(text) = value.as_str() else { return };
        let length = text.chars().count();
        self.length(schema, length, ("minLength", "maxLength"), "characters", path);
        let pattern = schema["pattern"].as_str();
        if let Some(pattern) = pattern.filter(|pattern| !self.schemas.matches(pattern, text)) {
            let (value, pattern) = (text.to_owned(), pattern.to_owned());
            self.push(path.clone(), SchemaMistake::Pattern { value, pattern });
        }
    }

    fn length(
        &mut self,
        schema: &Value,
        length: usize,
        bounds: (&str, &str),
        unit: &'static str,
        path: &FieldPath,
    ) {
        let bound = |name: &str| usize::try_from(schema[name].as_u64()?).ok();
        let least = bound(bounds.0).filter(|least| length < *least);
        let most = bound(bounds.1).filter(|most| length > *most);
        let least = least.map(|least| format!("{least} or more"));
        if let Some(bound) = least.or_else(|| most.map(|most| format!("{most} or less"))) {
            self.push(path.clone(), SchemaMistake::Length { length, unit, bound });
        }
    }

    fn push(&mut self, path: FieldPath, mistake: SchemaMistake) {
        if let Some(mistake) = self.bounded(mistake) {
            self.findings.push_at(self.object, path, mistake);
        }
    }

    /// Adds what is wrong with a key.
    fn push_key(&mut self, path: FieldPath, mistake: SchemaMistake) {
        if let Some(mistake) = self.bounded(mistake) {
            let span = path.locate_key(self.object.node);
            self.findings
                .push_object(self.object, span, Some(path), mistake.into());
        }
    }

    /// Returns the mistake while there are few; then once that there are more.
    fn bounded(&mut self, mistake: SchemaMistake) -> Option<SchemaMistake> {
        let before = self.remaining;
        self.remaining = before.saturating_sub(1);
        match before {
            0 => None,
            1 => Some(SchemaMistake::More),
            _ => Some(mistake),
        }
    }
}

/// Returns a value as it is written.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), |text| text.to_owned())
}

/// Returns what a type is called.
fn type_name(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn null(schema: &Value) -> SchemaMistake {
    SchemaMistake::Type {
        expected: type_name(schema["type"].as_str().unwrap_or("string")),
        found: "nothing is written".to_owned(),
        hint: "; write it, or remove the entry".to_owned(),
    }
}

/// Returns what is wrong if a value is of another type than its definition has.
fn wrong_type(schema: &Value, node: &MarkedNode) -> Option<SchemaMistake> {
    if schema["x-kubernetes-int-or-string"] == true {
        let is_right = matches!(&node.value, MarkedValue::Scalar { .. }) && !node.scalar().is_boolean();
        return (!is_right).then(|| mismatch("string", node));
    }
    let kind = schema["type"].as_str()?;
    let value = node.scalar();
    let is_right = match (&node.value, kind) {
        (MarkedValue::Mapping(_), "object") | (MarkedValue::Sequence(_), "array") => true,
        (MarkedValue::Scalar { .. }, "string") => value.is_string(),
        (MarkedValue::Scalar { .. }, "boolean") => value.is_boolean(),
        (MarkedValue::Scalar { .. }, "integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        (MarkedValue::Scalar { .. }, "number") => value.is_number(),
        _ => false,
    };
    (!is_right).then(|| mismatch(kind, node))
}

fn mismatch(kind: &str, node: &MarkedNode) -> SchemaMistake {
    let (found, hint) = match &node.value {
        MarkedValue::Sequence(_) => ("a list is written".to_owned(), of_list(kind)),
        MarkedValue::Mapping(_) => ("a mapping is written".to_owned(), of_mapping(kind)),
        MarkedValue::Scalar { text, is_plain } => of_scalar(kind, text, *is_plain, &node.scalar()),
    };
    SchemaMistake::Type {
        expected: type_name(kind),
        found,
        hint,
    }
}

fn of_list(kind: &str) -> String {
    match kind {
        "object" => "; write its fields without a dash".to_owned(),
        _ => "; write one value, without a dash".to_owned(),
    }
}

fn of_mapping(kind: &str) -> String {
    match kind {
        "array" => "; write a dash and a blank before each of its entries".to_owned(),
        _ => String::new(),
    }
}

/// Returns what a scalar of another type is, and what would be right.
fn of_scalar(kind: &str, text: &str, is_plain: bool, value: &Value) -> (String, String) {
    let what = match value {
        Value::Bool(_) => format!("{text} without quotes is true or false in YAML"),
        Value::Number(_) => format!("{text} without quotes is a number"),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => format!("{text:?} is a text"),
    };
    let entry = after_dash(text).filter(|_| is_plain);
    let hint = match (kind, entry, split_at_colon(text).filter(|_| is_plain)) {
        ("array", Some(entry), _) => format!(", because no blank follows the dash; write `- {entry}`"),
        ("array", None, _) => format!("; write `- {text}`"),
        ("object", _, Some((key, value))) => {
            format!(", because no blank follows the colon; write `{key}: {value}`")
        }
        ("string", ..) => format!("; write {text:?} with the quotes"),
        ("boolean" | "integer" | "number", ..) if !is_plain && is_meant(kind, text) => {
            format!("; write {text} without quotes")
        }
        _ => String::new(),
    };
    (what, hint)
}

/// Whether a text would be of this type without quotes.
fn is_meant(kind: &str, text: &str) -> bool {
    match kind {
        "boolean" => matches!(text, "true" | "false"),
        _ => text.parse::<f64>().is_ok(),
    }
}

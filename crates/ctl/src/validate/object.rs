//! The objects of a document, and what each object of Kubernetes has: a version, a kind and a name.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::finding::Findings;
use super::mistake::{Mistake, ObjectMistake, SyntaxMistake};
use super::name;
use super::node::{MarkedEntry, MarkedNode, MarkedValue};
use super::path::FieldPath;
use super::schema::Schemas;
use super::yaml::TEMPLATE;

/// An object of a file.
#[derive(Debug, Clone)]
pub(crate) struct ManifestObject<'a> {
    /// The place of its file.
    pub(crate) file: usize,
    /// Its text.
    pub(crate) node: &'a MarkedNode,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    /// Empty if it is missing.
    pub(crate) name: String,
}

impl ManifestObject<'_> {
    /// Returns the object as the API server gets it, without its status.
    pub(crate) fn json(&self) -> Value {
        let mut value = self.node.json();
        if let Some(object) = value.as_object_mut() {
            object.remove("status");
            // Also if the names of these fields are misspelt.
            object.insert("apiVersion".to_owned(), self.api_version.clone().into());
            object.insert("kind".to_owned(), self.kind.clone().into());
        }
        value
    }

    /// Whether it is of this version and kind.
    pub(crate) fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version == api_version && self.kind == kind
    }
}

/// Reads the objects of documents.
pub(crate) struct ObjectReader<'a, 'f> {
    pub(crate) schemas: &'a Schemas,
    pub(crate) findings: &'f mut Findings,
    /// The first object of each version, kind, namespace and name.
    pub(crate) seen: BTreeMap<[String; 4], (usize, Range<usize>)>,
}

const API_VERSION: &str = "an apiVersion, such as `apiVersion: metallb.io/v1beta1`";
const KIND: &str = "a kind, such as `kind: IPAddressPool`";
const NAME: &str = "a name, such as `name: first-pool`";

impl ObjectReader<'_, '_> {
    /// Reads the object of a document; those of a `List` one by one. Objects without a version or kind are left out.
    pub(crate) fn read<'n>(
        &mut self,
        file: usize,
        node: &'n MarkedNode,
        objects: &mut Vec<ManifestObject<'n>>,
    ) {
        if !matches!(node.value, MarkedValue::Mapping(_)) {
            let what = match node.value {
                MarkedValue::Sequence(_) => "list",
                MarkedValue::Scalar { .. } | MarkedValue::Mapping(_) => "text",
            };
            let span = FieldPath::default().locate(node);
            self.findings
                .add(file, span, ObjectMistake::NotAMapping(what).into());
            return;
        }
        let items = node.entry("items").map(|entry| entry.node.items());
        if let (Some(items), Some(true)) = (items, text(node, "kind").map(|kind| kind.ends_with("List"))) {
            for item in items {
                self.read(file, item, objects);
            }
            return;
        }
        if let Some(object) = self.object(file, node) {
            objects.push(object);
        }
    }

    fn object<'n>(&mut self, file: usize, node: &'n MarkedNode) -> Option<ManifestObject<'n>> {
        let has = |field: &str| node.child(field).is_some() || misspelt(node, field).is_some();
        if !has("apiVersion") && !has("kind") {
            let span = FieldPath::default().locate(node);
            self.findings.add(file, span, ObjectMistake::NoObject.into());
            return None;
        }
        let api_version = self.field(file, node, "apiVersion", API_VERSION);
        let kind = self.field(file, node, "kind", KIND);
        let (api_version, kind) = (api_version?, kind?);
        let mut object = ManifestObject {
            file,
            node,
            api_version,
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        self.check_kind(&object);
        let is_known = self.schemas.has(&object.api_version, &object.kind);
        // Configuration of tools and the like looks like an object, and has no metadata.
        if !is_known && node.child("metadata").is_none() {
            return Some(object);
        }
        let metadata = node.child("metadata");
        let metadata = metadata.filter(|metadata| matches!(metadata.value, MarkedValue::Mapping(_)));
        let namespace = metadata.and_then(|metadata| metadata.child("namespace")?.text());
        object.namespace = namespace.unwrap_or_default().to_owned();
        object.name = self.name(&object, metadata).unwrap_or_default();
        if is_known && !object.name.is_empty() {
            self.check_unique(&object);
        }
        Some(object)
    }

    /// Returns the text of a field at the top of an object, also if its name is misspelt.
    fn field(
        &mut self,
        file: usize,
        node: &MarkedNode,
        field: &str,
        example: &'static str,
    ) -> Option<String> {
        let path = FieldPath::default().field(field);
        let Some(value) = node.child(field) else {
            if let Some(entry) = misspelt(node, field) {
                let (found, right) = (entry.key.clone(), field.to_owned());
                let mistake = ObjectMistake::Misspelt { found, right };
                self.findings.add(file, entry.key_span.clone(), mistake.into());
                return entry.node.text().map(str::to_owned);
            }
            let mistake = ObjectMistake::Missing(example).into();
            self.findings.push_field(file, path.locate(node), path, mistake);
            return None;
        };
        let text = value.text().map(str::to_owned);
        if text.is_none() {
            let mistake = ObjectMistake::NoText(example).into();
            self.findings.push_field(file, path.locate(node), path, mistake);
        }
        text
    }

    /// Checks that the kind is one of its group, and the group and version those of the kind.
    fn check_kind(&mut self, object: &ManifestObject<'_>) {
        let ManifestObject {
            api_version, kind, ..
        } = object;
        if self.schemas.has(api_version, kind) {
            return;
        }
        let Some((field, mistake)) = self.schemas.unknown(api_version, kind) else {
            return;
        };
        let path = FieldPath::default().field(field);
        let span = path.locate(object.node);
        self.findings
            .push_object(object, span, Some(path), mistake.into());
    }

    /// Returns the name of an object; none if it is missing or no text.
    fn name(&mut self, object: &ManifestObject<'_>, metadata: Option<&MarkedNode>) -> Option<String> {
        let path = FieldPath::parse("metadata.name");
        let span = path.locate(object.node);
        let name = metadata.and_then(|metadata| metadata.child("name"));
        let Some(name) = name else {
            let is_generated = metadata.is_some_and(|metadata| metadata.child("generateName").is_some());
            let is_misspelt = metadata.is_some_and(|metadata| misspelt(metadata, "name").is_some());
            // A field of metadata that does not exist is named with the schema.
            if !is_generated && !is_misspelt {
                let mistake = ObjectMistake::Missing(NAME).into();
                self.findings.push_object(object, span, Some(path), mistake);
            }
            return None;
        };
        // Another type is named with the schema.
        let name = name.text()?;
        if name.contains(TEMPLATE) {
            self.findings
                .push_object(object, span, None, SyntaxMistake::Template.into());
            return None;
        }
        if let Some(rule) = name::broken_rule(&object.api_version, &object.kind, name) {
            let name = name.to_owned();
            let mistake = ObjectMistake::Name { name, rule }.into();
            self.findings.push_object(object, span, Some(path), mistake);
        }
        Some(name.to_owned())
    }

    fn check_unique(&mut self, object: &ManifestObject<'_>) {
        let ManifestObject {
            api_version,
            kind,
            namespace,
            name,
            ..
        } = object;
        // Versions of one group are the same objects.
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let key = [group, kind, namespace, name].map(str::to_owned);
        let path = FieldPath::parse("metadata.name");
        let span = path.locate(object.node);
        match self.seen.get(&key) {
            Some(first) => {
                let mistake = Mistake::duplicate(kind, name);
                let first = first.clone();
                self.findings.push_object(object, span, Some(path), mistake).first = Some(first);
            }
            None => {
                self.seen.insert(key, (object.file, span));
            }
        }
    }
}

fn text<'n>(node: &'n MarkedNode, field: &str) -> Option<&'n str> {
    node.child(field)?.text()
}

/// Returns the entry of a mapping whose key is almost `field`.
fn misspelt<'n>(node: &'n MarkedNode, field: &str) -> Option<&'n MarkedEntry> {
    let mut entries = node.entries().iter();
    entries.find(|entry| name::is_near(&entry.key, field))
}

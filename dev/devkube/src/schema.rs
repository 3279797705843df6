//! Structural schemas: what an object of a kind may look like, for built-in kinds and custom resources alike.
//!
//! A schema document is parsed once into a [`Document`]; validation, pruning, defaulting, strategic
//! merge and field ownership all walk the same nodes.

pub(crate) mod annotations;
pub(crate) mod builtin;
pub(crate) mod cel;
pub(crate) mod default;
mod error;
mod parse;
pub(crate) mod prune;
pub(crate) mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

/// JSON type that a value must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

/// How a list is merged and owned (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// As a whole.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By the entries' values of these keys.
    Map(Vec<String>),
}

/// How a strategic merge patch treats the field (`x-kubernetes-patch-strategy`, `-merge-key`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PatchStrategy {
    /// Lists are merged rather than replaced.
    pub(crate) merge: bool,
    /// The patch must name the keys to keep (`$retainKeys`).
    pub(crate) retain_keys: bool,
    /// Key by which entries of a merged list of objects are distinguished.
    pub(crate) merge_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeId(usize);

#[derive(Debug, Default)]
pub(crate) struct Bounds {
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    unique_items: bool,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    pattern: Option<Regex>,
    format: Option<String>,
}

#[derive(Debug, Default)]
struct Node {
    kind: Option<Type>,
    int_or_string: bool,
    nullable: bool,
    preserve_unknown: bool,
    embedded_resource: bool,
    properties: BTreeMap<String, NodeId>,
    additional: Option<NodeId>,
    items: Option<NodeId>,
    required: Vec<String>,
    allowed: Option<Vec<Value>>,
    default: Option<Value>,
    bounds: Bounds,
    list_type: ListType,
    atomic_map: bool,
    patch: PatchStrategy,
    all_of: Vec<NodeId>,
    any_of: Vec<NodeId>,
    one_of: Vec<NodeId>,
    not: Option<NodeId>,
    rules: Vec<cel::Rule>,
}

/// All nodes of one schema document; recursive schemas refer back by index.
#[derive(Debug)]
pub(crate) struct Document {
    nodes: Vec<Node>,
    named: BTreeMap<String, NodeId>,
}

/// One place in a schema document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema<'a> {
    document: &'a Document,
    node: &'a Node,
}

impl Document {
    /// The definition of this name (`io.k8s.api.core.v1.Service`; the root of a custom resource is "").
    pub(crate) fn definition(&self, name: &str) -> Option<Schema<'_>> {
        self.named.get(name).map(|id| self.at(*id))
    }

    fn at(&self, id: NodeId) -> Schema<'_> {
        Schema {
            document: self,
            node: &self.nodes[id.0],
        }
    }
}

impl<'a> Schema<'a> {
    /// The type that values must have; none for `x-kubernetes-int-or-string` and free-form values.
    pub(crate) fn kind(self) -> Option<Type> {
        self.node.kind
    }

    /// Schema of a declared property.
    pub(crate) fn property(self, name: &str) -> Option<Self> {
        self.node.properties.get(name).map(|id| self.document.at(*id))
    }

    /// Schema of the values of a map (`additionalProperties`).
    pub(crate) fn additional(self) -> Option<Self> {
        self.node.additional.map(|id| self.document.at(id))
    }

    /// Schema of a field by name: declared, or any entry of a map.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        self.property(name).or_else(|| self.additional())
    }

    /// Schema of a list's entries.
    pub(crate) fn items(self) -> Option<Self> {
        self.node.items.map(|id| self.document.at(id))
    }

    /// How lists here are merged and owned.
    pub(crate) fn list_type(self) -> &'a ListType {
        &self.node.list_type
    }

    /// Whether a map here is owned as a whole (`x-kubernetes-map-type: atomic`).
    pub(crate) fn is_atomic_map(self) -> bool {
        self.node.atomic_map
    }

    /// How a strategic merge patch treats the field.
    pub(crate) fn patch(self) -> &'a PatchStrategy {
        &self.node.patch
    }

    /// Whether undeclared fields are kept here.
    pub(crate) fn preserves_unknown(self) -> bool {
        self.node.preserve_unknown
    }

    /// Value that an absent field gets.
    pub(crate) fn default(self) -> Option<&'a Value> {
        self.node.default.as_ref()
    }

    fn properties(self) -> impl Iterator<Item = (&'a str, Schema<'a>)> {
        self.node
            .properties
            .iter()
            .map(move |(name, id)| (name.as_str(), self.document.at(*id)))
    }

    fn all(self, ids: &'a [NodeId]) -> impl Iterator<Item = Schema<'a>> {
        ids.iter().map(move |id| self.document.at(*id))
    }
}

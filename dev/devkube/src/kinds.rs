//! Which kinds are served, built-in and custom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::schema::builtin::builtin;
use crate::schema::{Document, Schema};
use crate::status::Subject;

mod table;

/// Names one store of objects: `services`, `deployments.apps`. Several kinds may be views of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Collection(Arc<str>);

impl Collection {
    /// The collection of a resource in a group.
    pub(crate) fn new(group: &str, plural: &str) -> Self {
        Self(if group.is_empty() {
            plural.into()
        } else {
            format!("{plural}.{group}").into()
        })
    }

    /// `services`, `deployments.apps`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a kind's form relates to the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The stored form, up to `apiVersion`.
    Same,
    /// `events.k8s.io/v1`, stored as core Events.
    NewEvents,
}

/// What a custom kind has beyond a built-in one.
#[derive(Debug)]
pub(crate) struct Custom {
    /// `openAPIV3Schema`, as the CRD has it.
    pub(crate) schema: Value,
    /// `additionalPrinterColumns`, as the CRD has them.
    pub(crate) columns: Vec<Value>,
    /// JSON paths of `selectableFields`, without the leading dot.
    pub(crate) selectable: Vec<String>,
}

/// One kind in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// Version, as `v1`.
    pub(crate) version: String,
    /// The kind's name, as `Service`.
    pub(crate) kind: String,
    /// The list's kind, as `ServiceList`.
    pub(crate) list_kind: String,
    /// Resource name, as `services`.
    pub(crate) plural: String,
    /// As `service`.
    pub(crate) singular: String,
    /// As `svc`.
    pub(crate) short_names: Vec<String>,
    /// As `all`.
    pub(crate) categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Whether `/status` is a subresource.
    pub(crate) has_status: bool,
    /// Whether `metadata.generation` follows changes of the desired state.
    pub(crate) has_generation: bool,
    /// Where its objects are stored.
    pub(crate) collection: Collection,
    /// `apiVersion` of the stored form.
    pub(crate) stored_api_version: String,
    /// How its form relates to the stored one.
    pub(crate) view: View,
    /// Set for kinds defined by a CRD.
    pub(crate) custom: Option<Custom>,
    /// Where its schema is.
    pub(crate) document: Arc<Document>,
    /// Its definition's name in the document.
    pub(crate) definition: String,
}

impl Kind {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        join_version(&self.group, &self.version)
    }

    /// The kind's schema.
    pub(crate) fn schema(&self) -> Schema<'_> {
        self.document
            .definition(&self.definition)
            .expect("every kind is made with its definition")
    }

    /// The resource and a name, for refusals about an object.
    pub(crate) fn object<'a>(&'a self, name: &'a str) -> Subject<'a> {
        Subject {
            group: &self.group,
            resource: &self.plural,
            name,
        }
    }

    /// The kind and a name, for refusals about an object's content.
    pub(crate) fn content<'a>(&'a self, name: &'a str) -> Subject<'a> {
        Subject {
            group: &self.group,
            resource: &self.kind,
            name,
        }
    }

    /// Whether this is the built-in resource (`services`, `deployments.apps`).
    pub(crate) fn is(&self, collection: &str) -> bool {
        self.collection.as_str() == collection
    }

    /// Whether a PUT must carry the version that it replaces.
    pub(crate) fn needs_resource_version(&self) -> bool {
        self.custom.is_some() || self.is("leases.coordination.k8s.io") || self.is(CRDS)
    }
}

/// The collection of CustomResourceDefinitions.
pub(crate) const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// `v1`, or `group/v1`.
pub(crate) fn join_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_string()
    } else {
        format!("{group}/{version}")
    }
}

/// Every kind that is served.
#[derive(Debug)]
pub(crate) struct Kinds {
    /// By group, version and plural.
    served: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// The built-in kinds.
    pub(crate) fn builtin() -> Self {
        let mut kinds = Self {
            served: BTreeMap::new(),
        };
        for row in table::BUILTIN {
            kinds.add(row.kind(&builtin().document));
        }
        kinds
    }

    /// Serves a kind, in place of any of the same group, version and plural.
    pub(crate) fn add(&mut self, kind: Kind) {
        let key = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.served.insert(key, Arc::new(kind));
    }

    /// Stops serving all versions of a custom resource.
    pub(crate) fn remove(&mut self, collection: &Collection) {
        self.served
            .retain(|_, kind| kind.collection != *collection || kind.custom.is_none());
    }

    /// The kind behind a resource path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.served
            .get(&(group.into(), version.into(), plural.into()))
            .cloned()
    }

    /// Any kind whose objects are in the collection; the stored form is preferred.
    pub(crate) fn of_collection(&self, collection: &Collection) -> Option<Arc<Kind>> {
        let mut kinds = self.served.values().filter(|kind| kind.collection == *collection);
        kinds
            .clone()
            .find(|k| k.stored_api_version == k.api_version())
            .or_else(|| kinds.next())
            .cloned()
    }

    /// All kinds, by group, version and plural.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.served.values()
    }

    /// The served `(group, version)` pairs, in order.
    pub(crate) fn group_versions(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = self
            .served
            .keys()
            .map(|(g, v, _)| (g.clone(), v.clone()))
            .collect();
        pairs.dedup();
        pairs
    }
}

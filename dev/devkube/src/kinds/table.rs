//! The built-in kinds.

use std::sync::Arc;

use super::{Collection, Kind, View, join_version};
use crate::schema::Document;

/// One built-in kind.
pub(super) struct Row {
    definition: &'static str,
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    traits: &'static [Trait],
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Trait {
    Namespaced,
    Status,
    Generation,
    /// In the category `all`.
    All,
    /// A view of the core Events.
    NewEvents,
}

use Trait::{All, Generation, Namespaced, NewEvents, Status};

macro_rules! rows {
    ($($definition:literal, $group:literal, $kind:literal, $plural:literal, $short:expr, $traits:expr;)*) => {
        &[$(Row {
            definition: $definition, group: $group, kind: $kind, plural: $plural, short: &$short, traits: &$traits,
        }),*]
    };
}

pub(super) const BUILTIN: &[Row] = rows! {
    "api.core.v1", "", "Namespace", "namespaces", ["ns"], [Status];
    "api.core.v1", "", "Node", "nodes", ["no"], [Status];
    "api.core.v1", "", "Service", "services", ["svc"], [Namespaced, Status, All];
    "api.core.v1", "", "Pod", "pods", ["po"], [Namespaced, Status, Generation, All];
    "api.core.v1", "", "Secret", "secrets", [], [Namespaced];
    "api.core.v1", "", "ConfigMap", "configmaps", ["cm"], [Namespaced];
    "api.core.v1", "", "Event", "events", ["ev"], [Namespaced];
    "api.events.v1", "events.k8s.io", "Event", "events", ["ev"], [Namespaced, NewEvents];
    "api.discovery.v1", "discovery.k8s.io", "EndpointSlice", "endpointslices", [], [Namespaced, Generation];
    "api.coordination.v1", "coordination.k8s.io", "Lease", "leases", [], [Namespaced];
    "api.apps.v1", "apps", "Deployment", "deployments", ["deploy"], [Namespaced, Status, Generation, All];
    "apiextensions-apiserver.pkg.apis.apiextensions.v1", "apiextensions.k8s.io", "CustomResourceDefinition",
        "customresourcedefinitions", ["crd", "crds"], [Status, Generation];
};

impl Row {
    /// The kind that this row describes.
    pub(super) fn kind(&self, document: &Arc<Document>) -> Kind {
        let has = |t: Trait| self.traits.contains(&t);
        // Both Event kinds are views of one collection, whose stored form is the core one.
        let (group, view) = if has(NewEvents) {
            ("", View::NewEvents)
        } else {
            (self.group, View::Same)
        };
        Kind {
            group: self.group.into(),
            version: "v1".into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase(),
            short_names: self.short.iter().map(ToString::to_string).collect(),
            categories: if has(All) { vec!["all".into()] } else { Vec::new() },
            namespaced: has(Namespaced),
            has_status: has(Status),
            has_generation: has(Generation),
            collection: Collection::new(group, self.plural),
            stored_api_version: join_version(group, "v1"),
            view,
            custom: None,
            document: Arc::clone(document),
            definition: format!("io.k8s.{}.{}", self.definition, self.kind),
        }
    }
}

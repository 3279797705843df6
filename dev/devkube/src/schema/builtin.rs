//! Schemas of the built-in kinds, taken from the types that clients use.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api::{
    apps::v1 as apps, coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    events::v1 as events,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Document, annotations};

/// Definition of the metadata that all objects share.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Definition of a field that takes any JSON value, such as a default or an enum's member.
const ANY_JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";

/// The definitions in both forms: as published, and parsed.
pub(crate) struct Builtin {
    /// JSON schemas by definition name, references as `#/components/schemas/NAME`.
    pub(crate) definitions: Map<String, Value>,
    /// The same, parsed.
    pub(crate) document: Arc<Document>,
}

/// The built-in definitions; made once per process.
pub(crate) fn builtin() -> &'static Builtin {
    static BUILTIN: OnceLock<Builtin> = OnceLock::new();
    BUILTIN.get_or_init(|| {
        let definitions = definitions();
        let document = Document::of_definitions(&definitions);
        let document = Arc::new(document.expect("the generated schemas are well-formed"));
        Builtin {
            definitions,
            document,
        }
    })
}

fn definitions() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    add::<core::Namespace>(&mut generator);
    add::<core::Node>(&mut generator);
    add::<core::Service>(&mut generator);
    add::<core::Pod>(&mut generator);
    add::<core::Secret>(&mut generator);
    add::<core::ConfigMap>(&mut generator);
    add::<core::Event>(&mut generator);
    add::<events::Event>(&mut generator);
    add::<discovery::EndpointSlice>(&mut generator);
    add::<coordination::Lease>(&mut generator);
    add::<apps::Deployment>(&mut generator);
    add::<apiextensions::CustomResourceDefinition>(&mut generator);
    add::<meta::DeleteOptions>(&mut generator);
    add::<meta::Status>(&mut generator);
    let mut definitions = generator.take_definitions(false);
    annotations::annotate(&mut definitions);
    // Declared an object, which the published schema does not do: it may be a string or a number.
    if let Some(any) = definitions.get_mut(ANY_JSON).and_then(Value::as_object_mut) {
        any.remove("type");
    }
    for schema in definitions.values_mut() {
        open_free_form(schema);
    }
    definitions
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// A built-in object type without declared fields (`RawExtension`, `FieldsV1`) takes anything.
fn open_free_form(schema: &mut Value) {
    let closed = [
        "properties",
        "additionalProperties",
        "$ref",
        "allOf",
        "x-kubernetes-int-or-string",
    ];
    let typed = schema["type"].is_string() && schema["type"] != "object";
    if let Some(object) = schema.as_object_mut() {
        if !typed && !closed.iter().any(|key| object.contains_key(*key)) {
            object.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
        }
        let children = object.get_mut("properties").and_then(Value::as_object_mut);
        children
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(open_free_form);
        for key in ["items", "additionalProperties"] {
            object
                .get_mut(key)
                .filter(|child| child.is_object())
                .into_iter()
                .for_each(open_free_form);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ListType, prune::prune};

    #[test]
    fn service_ports_are_told_apart_by_port_and_protocol() {
        let service = builtin()
            .document
            .definition("io.k8s.api.core.v1.Service")
            .expect("Service");
        let ports = service
            .property("spec")
            .and_then(|s| s.property("ports"))
            .expect("ports");
        assert_eq!(
            ports.list_type(),
            &ListType::Map(vec!["port".into(), "protocol".into()])
        );
        assert_eq!(ports.patch().merge_key.as_deref(), Some("port"));
        assert!(
            ports
                .items()
                .is_some_and(|item| item.property("nodePort").is_some())
        );
    }

    #[test]
    fn an_unknown_field_is_found_by_its_path() {
        let service = builtin()
            .document
            .definition("io.k8s.api.core.v1.Service")
            .expect("Service");
        let mut value =
            json!({"metadata": {"name": "a"}, "spec": {"foo": 1, "ports": [{"port": 1, "bar": 2}]}});
        assert_eq!(prune(service, &mut value), ["spec.foo", "spec.ports[0].bar"]);
        assert_eq!(
            value,
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}})
        );
    }
}

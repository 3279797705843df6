//! Objects that are parsed one by one, so that one that cannot be parsed concerns nothing else.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::core::{DynamicResourceScope, Resource};
use serde::de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::log::shorten;

/// What nobody uses, and users can write: a time in it may be one that only Go can read.
const SKIPPED: &[&str] = &["metadata", "managedFields"];
/// Bytes of an error that are kept.
const ERROR_LENGTH: usize = 256;

/// An object of a list, a watch or an answer. `metadata.managedFields` is not parsed.
#[derive(Debug, Clone)]
pub enum Item<K> {
    /// The object.
    Object(K),
    /// An object that cannot be parsed as its kind.
    Unreadable {
        /// Its namespace, name and `resourceVersion`.
        metadata: Box<ObjectMeta>,
        /// Why, cut.
        error: String,
    },
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Without(SKIPPED).deserialize(deserializer)?;
        retain_readable_conditions(&mut object);
        let metadata =
            identity(&object).ok_or_else(|| D::Error::missing_field("metadata.resourceVersion"))?;
        Ok(match K::deserialize(Value::Object(object)) {
            Ok(object) => Self::Object(object),
            Err(error) => Self::Unreadable {
                metadata: Box::new(metadata),
                error: shorten(error, ERROR_LENGTH),
            },
        })
    }
}

/// Removes the conditions in the status with a time that cannot be parsed: users of other programs may write some, and one of
/// them must not hide the rest of the object.
fn retain_readable_conditions(object: &mut Map<String, Value>) {
    let status = object.get_mut("status").and_then(Value::as_object_mut);
    let conditions = status.and_then(|status| status.get_mut("conditions"));
    if let Some(conditions) = conditions.and_then(Value::as_array_mut) {
        conditions.retain(|condition| {
            let time = condition.get("lastTransitionTime");
            let time = time.filter(|time| !time.is_null());
            time.is_none_or(|time| Time::deserialize(time).is_ok())
        });
    }
}

/// Returns namespace, name and version, if there is a version.
fn identity(object: &Map<String, Value>) -> Option<ObjectMeta> {
    let metadata = object.get("metadata")?;
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectMeta {
        namespace: text("namespace"),
        name: text("name"),
        resource_version: Some(text("resourceVersion")?),
        ..ObjectMeta::default()
    })
}

/// Reads a JSON object without the field at a path.
struct Without(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Without {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Without {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = match self.0 {
                [skipped] if *skipped == key => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
                [outer, inner @ ..] if *outer == key => fields.next_value_seed(Self(inner))?.into(),
                _ => fields.next_value()?,
            };
            object.insert(key, value);
        }
        Ok(object)
    }
}

impl<K: Resource> Resource for Item<K> {
    type DynamicType = K::DynamicType;
    type Scope = DynamicResourceScope;

    fn kind(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use kube::api::{ObjectList, WatchEvent};
    use serde_json::json;

    /// A time that RFC 3339 and Go know, and jiff does not.
    const LATE: &str = "9999-12-31T23:59:59Z";

    fn good(name: &str) -> Value {
        json!({"metadata": {"namespace": "default", "name": name, "resourceVersion": "7"}})
    }

    fn bad(name: &str) -> Value {
        let mut object = good(name);
        object["metadata"]["creationTimestamp"] = json!(LATE);
        object
    }

    #[test]
    fn an_object_that_cannot_be_parsed_leaves_the_rest_of_a_list() {
        let list = json!({
            "kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"},
            "items": [good("a"), bad("b"), good("c")],
        })
        .to_string();
        assert!(serde_json::from_str::<ObjectList<Service>>(&list).is_err());
        let list: ObjectList<Item<Service>> = serde_json::from_str(&list).expect("a list");
        let [Item::Object(a), unreadable, Item::Object(c)] = &list.items[..] else {
            panic!("{:?}", list.items);
        };
        assert_eq!(a.metadata.name.as_deref(), Some("a"));
        assert_eq!(c.metadata.name.as_deref(), Some("c"));
        let meta = unreadable.meta();
        assert_eq!(meta.namespace.as_deref(), Some("default"));
        assert_eq!(meta.name.as_deref(), Some("b"));
        assert_eq!(meta.resource_version.as_deref(), Some("7"));
        let Item::Unreadable { error, .. } = unreadable else {
            panic!("{unreadable:?}");
        };
        assert!(!error.is_empty() && error.len() <= ERROR_LENGTH);
    }

    #[test]
    fn an_event_with_an_object_that_cannot_be_parsed_has_its_version() {
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            // In either order.
            for event in [
                format!(r#"{{"type":"{kind}","object":{}}}"#, bad("b")),
                format!(r#"{{"object":{},"type":"{kind}"}}"#, bad("b")),
            ] {
                assert!(serde_json::from_str::<WatchEvent<Service>>(&event).is_err());
                let event: WatchEvent<Item<Service>> = serde_json::from_str(&event).expect("an event");
                let (WatchEvent::Added(item) | WatchEvent::Modified(item) | WatchEvent::Deleted(item)) =
                    event
                else {
                    panic!("{event:?}");
                };
                assert!(matches!(item, Item::Unreadable { .. }));
                assert_eq!(item.meta().resource_version.as_deref(), Some("7"));
            }
        }
    }

    #[test]
    fn a_condition_that_cannot_be_parsed_leaves_the_rest_of_the_object() {
        let condition = |type_: &str, time: &str| json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": time});
        let mut object = good("a");
        object["status"] = json!({
            "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]},
            "conditions": [condition("Late", LATE), condition("Good", "2026-01-01T00:00:00Z")],
        });
        let text = object.to_string();
        assert!(serde_json::from_str::<Service>(&text).is_err());
        let item: Item<Service> = serde_json::from_str(&text).expect("an object");
        let Item::Object(service) = item else {
            panic!("{item:?}");
        };
        let status = service.status.expect("a status");
        assert!(status.load_balancer.and_then(|status| status.ingress).is_some());
        let types = status
            .conditions
            .into_iter()
            .flatten()
            .map(|condition| condition.type_);
        assert_eq!(types.collect::<Vec<_>>(), ["Good"]);
    }

    #[test]
    fn managed_fields_are_not_parsed() {
        let mut object = good("a");
        object["metadata"]["managedFields"] = json!([{"time": LATE}]);
        object["metadata"]["labels"] = json!({"managedFields": "kept"});
        let text = object.to_string();
        assert!(serde_json::from_str::<Service>(&text).is_err());
        let item: Item<Service> = serde_json::from_str(&text).expect("an object");
        let Item::Object(service) = item else {
            panic!("{item:?}");
        };
        assert_eq!(service.metadata.managed_fields, None);
        assert_eq!(service.metadata.labels.expect("labels")["managedFields"], "kept");
    }

    #[test]
    fn without_a_version_there_is_no_object() {
        for object in [
            json!({}),
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": 1}),
        ] {
            assert!(serde_json::from_value::<Item<Service>>(object).is_err());
        }
    }
}

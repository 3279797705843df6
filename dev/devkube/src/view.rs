//! Stored objects in the form of the kind that a client asked for, and back.

use serde_json::{Value, json};

use crate::kinds::{Kind, View};

/// Core Event field, and what `events.k8s.io/v1` calls it.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A stored object, as `kind` shows it.
pub(crate) fn present(kind: &Kind, stored: &Value) -> Value {
    let mut object = stored.clone();
    present_in_place(kind, &mut object);
    object
}

/// [`present`] for an object that is the caller's own.
pub(crate) fn present_in_place(kind: &Kind, object: &mut Value) {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = json!(kind.kind);
    if kind.view == View::NewEvents {
        rename(object, EVENT_FIELDS.iter().copied());
    }
}

/// The form in which an object of `kind` is stored.
pub(crate) fn to_stored(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = kind.stored_api_version.clone().into();
    if kind.view == View::NewEvents {
        rename(&mut object, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
    }
    object
}

/// The `PartialObjectMetadata` of an object.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_string(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn an_event_written_in_the_new_form_reads_in_the_old_one_and_back() {
        let kinds = Kinds::builtin();
        let new = kinds.find("events.k8s.io", "v1", "events").expect("kind");
        let core = kinds.find("", "v1", "events").expect("kind");
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
            "regarding": {"name": "web"}, "note": "hello", "reportingController": "herald", "reason": "R",
        });
        let stored = to_stored(&new, event.clone());
        let read = present(&core, &stored);
        assert_eq!(read["involvedObject"]["name"], "web");
        assert_eq!(
            (&read["message"], &read["reportingComponent"]),
            (&json!("hello"), &json!("herald"))
        );
        assert_eq!(read["apiVersion"], "v1");
        assert_eq!(present(&new, &stored), event);
    }
}

//! `metadata.managedFields`: who owns which field.

use serde_json::Value;

use crate::kinds::Kind;
use crate::object::{entries, meta_mut, set_meta};
use crate::write::Write;

/// Records a write that is not an apply.
pub(crate) fn track(_kind: &Kind, old: Option<&Value>, new: &mut Value, _write: &Write) {
    set_meta(new, "managedFields", old.and_then(|old| old["metadata"].get("managedFields").cloned()));
}

/// Whether a write changed nothing but the times in `managedFields`.
pub(crate) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        let managed: Vec<Value> = entries(&object["metadata"]["managedFields"])
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                entry.as_object_mut().and_then(|fields| fields.remove("time"));
                entry
            })
            .collect();
        meta_mut(&mut object).insert("managedFields".into(), managed.into());
        object
    };
    timeless(old) == timeless(new)
}

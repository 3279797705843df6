//! CustomResourceDefinitions: checked when written, served at once.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kinds::{Collection, Custom, Kind, View, join_version};
use crate::object::{entries, now, section_mut, strings};
use crate::schema::Document;
use crate::status::FieldError;

/// Completes a CRD that is about to be stored. Returns the rules that it breaks.
pub(crate) fn settle(crd: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    fill(crd);
    let mut errors = check(crd);
    if let Some(old) = old {
        for path in ["group", "scope"] {
            if crd["spec"][path] != old["spec"][path] {
                let detail = "field is immutable";
                errors.push(FieldError::invalid(
                    format!("spec.{path}"),
                    &crd["spec"][path],
                    detail,
                ));
            }
        }
    }
    if errors.is_empty() {
        establish(crd);
    }
    errors
}

fn fill(crd: &mut Value) {
    let names = &mut crd["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_string();
    let names = section_mut(&mut crd["spec"], "names");
    names.entry("singular").or_insert(json!(kind.to_lowercase()));
    names.entry("listKind").or_insert(json!(format!("{kind}List")));
    section_mut(crd, "spec")
        .entry("conversion")
        .or_insert(json!({"strategy": "None"}));
}

fn check(crd: &Value) -> Vec<FieldError> {
    let spec = &crd["spec"];
    let mut errors = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let full_name = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if crd["metadata"]["name"] != full_name {
        let detail = format!("must be spec.names.plural+\".\"+spec.group: {full_name:?}");
        errors.push(FieldError::invalid(
            "metadata.name",
            &crd["metadata"]["name"],
            detail,
        ));
    }
    errors.extend(check_group(crd));
    if !matches!(spec["scope"].as_str(), Some("Namespaced" | "Cluster")) {
        let supported = ["\"Cluster\"".to_string(), "\"Namespaced\"".to_string()];
        errors.push(FieldError::not_supported(
            "spec.scope",
            &spec["scope"],
            &supported,
        ));
    }
    let versions = entries(&spec["versions"]);
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &spec["versions"], detail));
    }
    if spec["conversion"]["strategy"] == "Webhook" && versions.len() > 1 {
        let detail = "devkube calls no webhooks: a CRD of several versions needs strategy None";
        errors.push(FieldError::forbidden("spec.conversion.strategy", detail));
    }
    for (i, version) in versions.iter().enumerate() {
        errors.extend(check_version(version, &format!("spec.versions[{i}]")));
    }
    errors
}

/// Groups of the project itself are open to approved CRDs only, so none can take a built-in kind's place.
fn check_group(crd: &Value) -> Option<FieldError> {
    const APPROVED: &str = "api-approved.kubernetes.io";
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        return Some(FieldError::invalid("spec.group", &json!(group), detail));
    }
    let protected = group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io");
    let approved = crd["metadata"]["annotations"][APPROVED].is_string();
    (protected && !approved).then(|| {
        let detail = format!("protected groups must have approval annotation {APPROVED:?}");
        FieldError::required(format!("metadata.annotations[{APPROVED}]"), &detail)
    })
}

fn check_version(version: &Value, path: &str) -> Vec<FieldError> {
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut errors = Vec::new();
    if schema["type"] != "object" {
        let detail = "schemas are required, and their root must be of type object";
        errors.push(FieldError::required(
            format!("{path}.schema.openAPIV3Schema.type"),
            detail,
        ));
    } else if let Err(error) = Document::of_custom_resource(schema) {
        let field = format!("{path}.schema.openAPIV3Schema{}", error.path);
        errors.push(FieldError::invalid(field, &json!({}), error.message));
    }
    if version["subresources"].get("scale").is_some() {
        errors.push(FieldError::forbidden(
            format!("{path}.subresources.scale"),
            "devkube does not implement scale",
        ));
    }
    errors
}

fn establish(crd: &mut Value) {
    let storage: Vec<Value> = entries(&crd["spec"]["versions"])
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let names = crd["spec"]["names"].clone();
    let accepted = &crd["status"]["conditions"];
    let since = entries(accepted)
        .first()
        .map_or_else(|| json!(now()), |c| c["lastTransitionTime"].clone());
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    crd["status"] = json!({
        "acceptedNames": names,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": storage,
    });
}

/// Serves what a CRD defines from the moment it is stored until it is removed.
pub(crate) fn follow(cluster: &mut Cluster, before: Option<&Value>, after: Option<&Value>) {
    if let Some(before) = before {
        cluster.kinds.remove(&collection(before));
    }
    for kind in after.into_iter().flat_map(kinds) {
        cluster.kinds.add(kind);
    }
}

fn collection(crd: &Value) -> Collection {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    Collection::new(
        &text(&crd["spec"]["group"]),
        &text(&crd["spec"]["names"]["plural"]),
    )
}

fn kinds(crd: &Value) -> Vec<Kind> {
    let versions = entries(&crd["spec"]["versions"]);
    let stored = versions
        .iter()
        .find(|version| version["storage"] == true)
        .unwrap_or(&Value::Null);
    let served = versions.iter().filter(|version| version["served"] == true);
    served
        .filter_map(|version| kind(crd, version, &stored["name"]))
        .collect()
}

fn kind(crd: &Value, version: &Value, stored_version: &Value) -> Option<Kind> {
    let spec = &crd["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let list = |value: &Value| strings(value).into_iter().map(str::to_string).collect();
    let schema = version["schema"]["openAPIV3Schema"].clone();
    let document = Document::of_custom_resource(&schema).ok()?;
    let group = text(&spec["group"]);
    let selectable = entries(&version["selectableFields"])
        .iter()
        .filter_map(|f| f["jsonPath"].as_str());
    Some(Kind {
        version: text(&version["name"]),
        kind: text(&spec["names"]["kind"]),
        list_kind: text(&spec["names"]["listKind"]),
        plural: text(&spec["names"]["plural"]),
        singular: text(&spec["names"]["singular"]),
        short_names: list(&spec["names"]["shortNames"]),
        categories: list(&spec["names"]["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        has_status: version["subresources"].get("status").is_some(),
        has_generation: true,
        collection: collection(crd),
        stored_api_version: join_version(&group, stored_version.as_str()?),
        view: View::Same,
        custom: Some(Custom {
            selectable: selectable
                .map(|path| path.trim_start_matches('.').to_string())
                .collect(),
            columns: entries(&version["additionalPrinterColumns"]).to_vec(),
            schema,
        }),
        document: Arc::new(document),
        definition: String::new(),
        group,
    })
}

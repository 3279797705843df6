//! Which groups, versions and resources there are, in the legacy and the aggregated form.

use hyper::Response;
use serde_json::{Value, json};

use crate::kinds::{Kind, Kinds, join_version};
use crate::reply::{Body, bytes_reply, json_reply};
use crate::request::Format;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/version`: what clients compare themselves with.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+devkube", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux",
    })
}

/// `/api`: the core group.
pub(crate) fn core(kinds: &Kinds, format: Format) -> Response<Body> {
    if format == Format::Discovery {
        return aggregated(kinds, true);
    }
    json_reply(
        200,
        &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
    )
}

/// `/apis`: all other groups.
pub(crate) fn groups(kinds: &Kinds, format: Format) -> Response<Body> {
    if format == Format::Discovery {
        return aggregated(kinds, false);
    }
    let groups: Vec<Value> = group_names(kinds)
        .iter()
        .map(|name| group_value(kinds, name))
        .collect();
    json_reply(
        200,
        &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
    )
}

/// `/apis/GROUP`; none when there is no such group.
pub(crate) fn group(kinds: &Kinds, name: &str) -> Option<Value> {
    let known = group_names(kinds).iter().any(|group| group == name);
    known.then(|| {
        let mut group = group_value(kinds, name);
        group["kind"] = json!("APIGroup");
        group["apiVersion"] = json!("v1");
        group
    })
}

/// `/api/v1` or `/apis/GROUP/VERSION`; none when nothing is served there.
pub(crate) fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Kind> = served(kinds, group, version).collect();
    let resources: Vec<Value> = served
        .iter()
        .flat_map(|kind| {
            let status = kind.has_status.then(|| {
                json!({
                    "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                    "kind": kind.kind, "verbs": STATUS_VERBS,
                })
            });
            let resource = json!({
                "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
            });
            [Some(resource), status].into_iter().flatten()
        })
        .collect();
    let group_version = join_version(group, version);
    (!served.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
        })
    })
}

fn served<'a>(kinds: &'a Kinds, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    kinds
        .all()
        .map(AsRef::as_ref)
        .filter(move |kind| kind.group == group && kind.version == version)
}

fn group_names(kinds: &Kinds) -> Vec<String> {
    let mut names: Vec<String> = kinds
        .group_versions()
        .into_iter()
        .map(|(group, _)| group)
        .collect();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

fn versions(kinds: &Kinds, group: &str) -> Vec<String> {
    let pairs = kinds.group_versions().into_iter();
    let mut versions: Vec<String> = pairs
        .filter(|(g, _)| g == group)
        .map(|(_, version)| version)
        .collect();
    // The preferred version comes first: stable ones before betas, then the highest.
    versions.sort_by_key(|version| {
        (
            version.contains("alpha"),
            version.contains("beta"),
            std::cmp::Reverse(version.clone()),
        )
    });
    versions
}

fn group_value(kinds: &Kinds, name: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, name)
        .iter()
        .map(|version| json!({"groupVersion": join_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn aggregated(kinds: &Kinds, core: bool) -> Response<Body> {
    let names = if core {
        vec![String::new()]
    } else {
        group_names(kinds)
    };
    let items: Vec<Value> = names
        .iter()
        .map(|name| {
            let versions: Vec<Value> = versions(kinds, name)
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        served(kinds, name, version).map(aggregated_resource).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": {"name": name}, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    bytes_reply(200, AGGREGATED, list.to_string().into())
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response_kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let status = json!({"subresource": "status", "responseKind": response_kind, "verbs": STATUS_VERBS});
    let subresources: Vec<&Value> = kind.has_status.then_some(&status).into_iter().collect();
    json!({
        "resource": kind.plural, "responseKind": response_kind, "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": kind.short_names, "categories": kind.categories, "verbs": VERBS, "subresources": subresources,
    })
}

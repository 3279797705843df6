//! Columns of built-in kinds, as kubectl users know them.

use serde_json::{Value, json};

use super::{Column, age};
use crate::object::{at_path, entries, is_terminating, labels, strings, text_map};

/// The columns of a built-in collection.
pub(super) fn columns(collection: &str) -> Vec<Column> {
    let mut columns = vec![name()];
    columns.extend(match collection {
        "namespaces" => vec![path("Status", "status.phase"), age()],
        "nodes" => nodes(),
        "services" => services(),
        "pods" => pods(),
        "events" => return events(),
        "secrets" => vec![
            path("Type", "type"),
            count("Data", |secret| size(&secret["data"])),
            age(),
        ],
        "configmaps" => vec![
            count("Data", |map| size(&map["data"]) + size(&map["binaryData"])),
            age(),
        ],
        "endpointslices.discovery.k8s.io" => slices(),
        "leases.coordination.k8s.io" => vec![path("Holder", "spec.holderIdentity"), age()],
        "deployments.apps" => vec![
            text("Ready", |d| {
                format!(
                    "{}/{}",
                    number(&d["status"]["readyReplicas"]),
                    number(&d["spec"]["replicas"])
                )
            }),
            count("Up-to-date", |d| number(&d["status"]["updatedReplicas"])),
            count("Available", |d| number(&d["status"]["availableReplicas"])),
            age(),
        ],
        crate::kinds::CRDS => vec![text("Created At", |crd| {
            plain(&crd["metadata"]["creationTimestamp"])
        })],
        _ => vec![age()],
    });
    columns
}

/// The `Name` column.
pub(super) fn name() -> Column {
    path("Name", "metadata.name")
}

/// The `Age` column.
pub(super) fn age() -> Column {
    text("Age", |object| {
        age::since(&plain(&object["metadata"]["creationTimestamp"]))
    })
}

fn text(name: &str, cell: impl Fn(&Value) -> String + Send + Sync + 'static) -> Column {
    Column {
        name: name.into(),
        kind: "string",
        priority: 0,
        cell: Box::new(move |object| json!(cell(object))),
    }
}

fn wide(name: &str, cell: impl Fn(&Value) -> String + Send + Sync + 'static) -> Column {
    Column {
        priority: 1,
        ..text(name, cell)
    }
}

fn count(name: &str, cell: impl Fn(&Value) -> u64 + Send + Sync + 'static) -> Column {
    Column {
        name: name.into(),
        kind: "integer",
        priority: 0,
        cell: Box::new(move |object| json!(cell(object))),
    }
}

fn path(name: &str, path: &'static str) -> Column {
    text(name, move |object| plain(at_path(object, path)))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(
        || {
            if value.is_null() {
                String::new()
            } else {
                value.to_string()
            }
        },
        str::to_string,
    )
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn size(value: &Value) -> u64 {
    value.as_object().map_or(0, serde_json::Map::len) as u64
}

fn services() -> Vec<Column> {
    vec![
        path("Type", "spec.type"),
        text("Cluster-IP", |s| or_none(plain(&s["spec"]["clusterIP"]))),
        text("External-IP", external_ip),
        text("Port(s)", ports),
        age(),
        wide("Selector", |s| {
            let pairs: Vec<String> = text_map(&s["spec"]["selector"])
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            or_none(pairs.join(","))
        }),
    ]
}

fn external_ip(service: &Value) -> String {
    let external = strings(&service["spec"]["externalIPs"]);
    match service["spec"]["type"].as_str() {
        Some("ExternalName") => plain(&service["spec"]["externalName"]),
        Some("LoadBalancer") => {
            let ingress = entries(&service["status"]["loadBalancer"]["ingress"]);
            let given = ingress
                .iter()
                .filter_map(|entry| entry["ip"].as_str().or_else(|| entry["hostname"].as_str()));
            let all: Vec<&str> = given.chain(external).collect();
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",")
            }
        }
        _ => or_none(external.join(",")),
    }
}

fn ports(service: &Value) -> String {
    let all: Vec<String> = entries(&service["spec"]["ports"])
        .iter()
        .map(|port| match number(&port["nodePort"]) {
            0 => format!("{}/{}", port["port"], plain(&port["protocol"])),
            node_port => format!("{}:{node_port}/{}", port["port"], plain(&port["protocol"])),
        })
        .collect();
    or_none(all.join(","))
}

fn pods() -> Vec<Column> {
    vec![
        text("Ready", |pod| {
            let statuses = entries(&pod["status"]["containerStatuses"]);
            let ready = statuses.iter().filter(|status| status["ready"] == true).count();
            format!("{ready}/{}", entries(&pod["spec"]["containers"]).len())
        }),
        text("Status", |pod| match pod["status"]["reason"].as_str() {
            _ if is_terminating(pod) => "Terminating".into(),
            Some(reason) => reason.to_string(),
            None => plain(&pod["status"]["phase"]),
        }),
        count("Restarts", |pod| {
            entries(&pod["status"]["containerStatuses"])
                .iter()
                .map(|status| number(&status["restartCount"]))
                .sum()
        }),
        age(),
        wide("IP", |pod| or_none(plain(&pod["status"]["podIP"]))),
        wide("Node", |pod| or_none(plain(&pod["spec"]["nodeName"]))),
        wide("Nominated Node", |pod| {
            or_none(plain(&pod["status"]["nominatedNodeName"]))
        }),
        wide("Readiness Gates", |_| "<none>".into()),
    ]
}

fn nodes() -> Vec<Column> {
    let address = |kind: &'static str| {
        move |node: &Value| {
            let found = entries(&node["status"]["addresses"])
                .iter()
                .find(|address| address["type"] == kind);
            or_none(
                found
                    .map(|address| plain(&address["address"]))
                    .unwrap_or_default(),
            )
        }
    };
    let info = |field: &'static str| {
        move |node: &Value| {
            let text = plain(&node["status"]["nodeInfo"][field]);
            if text.is_empty() {
                "<unknown>".to_string()
            } else {
                text
            }
        }
    };
    vec![
        text("Status", node_status),
        text("Roles", |node| {
            let roles: Vec<&str> = labels(node)
                .keys()
                .filter_map(|label| label.strip_prefix("node-role.kubernetes.io/"))
                .collect();
            or_none(roles.join(","))
        }),
        age(),
        text("Version", |node| {
            plain(&node["status"]["nodeInfo"]["kubeletVersion"])
        }),
        wide("Internal-IP", address("InternalIP")),
        wide("External-IP", address("ExternalIP")),
        wide("OS-Image", info("osImage")),
        wide("Kernel-Version", info("kernelVersion")),
        wide("Container-Runtime", info("containerRuntimeVersion")),
    ]
}

fn node_status(node: &Value) -> String {
    let ready = entries(&node["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| condition["status"].as_str()) {
        Some(Some("True")) => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_string();
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn slices() -> Vec<Column> {
    vec![
        path("AddressType", "addressType"),
        text("Ports", |slice| {
            let ports: Vec<String> = entries(&slice["ports"])
                .iter()
                .map(|port| plain(&port["port"]))
                .collect();
            if ports.is_empty() {
                "<unset>".into()
            } else {
                ports.join(",")
            }
        }),
        text("Endpoints", |slice| {
            let all: Vec<&str> = entries(&slice["endpoints"])
                .iter()
                .flat_map(|e| strings(&e["addresses"]))
                .collect();
            match all.len() {
                0 => "<unset>".into(),
                1..=3 => all.join(","),
                more => format!("{} + {} more...", all[..3].join(","), more - 3),
            }
        }),
        age(),
    ]
}

/// Fields are found under both of their names, because both Event kinds print alike.
fn events() -> Vec<Column> {
    let either = |object: &Value, names: [&str; 2]| names.map(|name| plain(&object[name])).concat();
    vec![
        text("Last Seen", move |event| {
            let series = plain(&event["series"]["lastObservedTime"]);
            let last = either(event, ["lastTimestamp", "deprecatedLastTimestamp"]);
            let times = [
                series,
                last,
                plain(&event["eventTime"]),
                plain(&event["metadata"]["creationTimestamp"]),
            ];
            age::since(
                times
                    .iter()
                    .find(|time| !time.is_empty())
                    .map(String::as_str)
                    .unwrap_or_default(),
            )
        }),
        path("Type", "type"),
        path("Reason", "reason"),
        text("Object", |event| {
            let about = if event["regarding"].is_object() {
                &event["regarding"]
            } else {
                &event["involvedObject"]
            };
            format!(
                "{}/{}",
                plain(&about["kind"]).to_lowercase(),
                plain(&about["name"])
            )
        }),
        wide("Source", move |event| {
            let source = plain(&event["source"]["component"]);
            if source.is_empty() {
                either(event, ["reportingComponent", "reportingController"])
            } else {
                source
            }
        }),
        text("Message", move |event| either(event, ["message", "note"])),
        wide("Count", move |event| {
            let series = plain(&event["series"]["count"]);
            let count = either(event, ["count", "deprecatedCount"]);
            [series, count, "1".into()]
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        }),
        wide("Name", |event| plain(&event["metadata"]["name"])),
    ]
}

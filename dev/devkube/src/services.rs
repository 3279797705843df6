//! What the API server does to Services: defaults, cluster IPs, node ports, and their rules.

mod allocation;
mod defaults;
mod families;
mod rules;

use serde_json::{Value, json};

pub(crate) use allocation::Allocations;

use crate::object::{at_path, entries, section_mut};
use crate::status::FieldError;

/// Completes a Service that is about to be stored: defaults, fields kept from (or dropped with) the
/// old one, and new allocations. Returns the rules that it breaks; then it must not be stored.
pub(crate) fn settle(service: &mut Value, old: Option<&Value>, taken: &Allocations) -> Vec<FieldError> {
    defaults::fill(service);
    if let Some(old) = old {
        defaults::carry_over(service, old);
        defaults::drop_type_dependent(service, old);
    }
    families::normalize(service, old);
    let mut errors = rules::check(service, old);
    if errors.is_empty() {
        errors = families::settle(service, old);
    }
    if errors.is_empty() {
        errors = allocation::allocate(service, taken);
    }
    errors
}

/// Completes `status.loadBalancer`: an entry with an address and no mode is a VIP.
pub(crate) fn settle_status(service: &mut Value) {
    if spec_type(service) != "LoadBalancer" {
        section_mut(service, "status").insert("loadBalancer".into(), json!({}));
        return;
    }
    let ingress = service["status"]["loadBalancer"]
        .get_mut("ingress")
        .and_then(Value::as_array_mut);
    for entry in ingress.into_iter().flatten() {
        if entry["ip"].is_string() && entry["ipMode"].is_null() {
            entry["ipMode"] = json!("VIP");
        }
    }
}

/// Rules on `status.loadBalancer`.
pub(crate) fn status_errors(service: &Value) -> Vec<FieldError> {
    rules::check_status(service)
}

fn spec_type(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None"
}

fn needs_cluster_ip(service: &Value) -> bool {
    spec_type(service) != "ExternalName"
}

fn needs_node_port(service: &Value) -> bool {
    match spec_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn needs_health_check_port(service: &Value) -> bool {
    spec_type(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn is_external(service: &Value) -> bool {
    matches!(spec_type(service), "NodePort" | "LoadBalancer")
        || !entries(at_path(service, "spec.externalIPs")).is_empty()
}

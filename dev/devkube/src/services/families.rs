//! IP families of a Service on a dual-stack cluster whose first family is IPv4.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{is_headless, needs_cluster_ip};
use crate::object::{section_mut, strings};
use crate::status::FieldError;

const V4: &str = "IPv4";
const V6: &str = "IPv6";

/// Brings `clusterIP` and `clusterIPs` in line: clients may set either.
pub(super) fn normalize(service: &mut Value, old: Option<&Value>) {
    if !needs_cluster_ip(service) {
        return;
    }
    let single = service["spec"]["clusterIP"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let many = strings(&service["spec"]["clusterIPs"])
        .into_iter()
        .map(str::to_string)
        .collect::<Vec<_>>();
    let single_changed = old.is_some_and(|old| old["spec"]["clusterIP"] != service["spec"]["clusterIP"]);
    let many_changed = old.is_some_and(|old| old["spec"]["clusterIPs"] != service["spec"]["clusterIPs"]);
    let spec = section_mut(service, "spec");
    match (single.is_empty(), many.first()) {
        (false, None) => _ = spec.insert("clusterIPs".into(), json!([single])),
        (true, Some(first)) => _ = spec.insert("clusterIP".into(), json!(first)),
        (false, Some(_)) if single_changed && !many_changed => {
            spec.insert("clusterIPs".into(), json!([single]));
        }
        (true, None) | (false, Some(_)) => {}
    }
}

/// Settles `ipFamilyPolicy` and `ipFamilies`, and drops the second address on a downgrade.
pub(super) fn settle(service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    if !needs_cluster_ip(service) {
        return Vec::new();
    }
    let policy = policy(service);
    let mut families = requested_families(service);
    let asked = families.len();
    if policy == "SingleStack" && asked > 1 && was_dual(old) {
        families.truncate(1);
        truncate(service, "clusterIPs");
    } else if policy == "SingleStack" && asked > 1 {
        let detail = "must be RequireDualStack or PreferDualStack when multiple ipFamilies are specified";
        return vec![FieldError::invalid("spec.ipFamilyPolicy", &json!(policy), detail)];
    }
    if families.is_empty() {
        families.push(V4);
    }
    if policy != "SingleStack" && families.len() == 1 {
        families.push(if families[0] == V4 { V6 } else { V4 });
    }
    let errors = mismatches(service, &families, old);
    let spec = section_mut(service, "spec");
    spec.insert("ipFamilyPolicy".into(), json!(policy));
    spec.insert("ipFamilies".into(), json!(families));
    errors
}

/// A headless Service without selector is open to both families; all others ask for one by default.
fn policy(service: &Value) -> String {
    let open = is_headless(service)
        && service["spec"]["selector"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
        && service["spec"]["ipFamilies"].as_array().is_none_or(Vec::is_empty);
    let default = if open { "RequireDualStack" } else { "SingleStack" };
    service["spec"]["ipFamilyPolicy"]
        .as_str()
        .unwrap_or(default)
        .to_string()
}

fn requested_families(service: &Value) -> Vec<&'static str> {
    let named: Vec<_> = strings(&service["spec"]["ipFamilies"])
        .into_iter()
        .map(constant)
        .collect();
    let addresses = addresses(service);
    let of_addresses = addresses.iter().map(|ip| if ip.is_ipv4() { V4 } else { V6 });
    let known = named.len();
    named.into_iter().chain(of_addresses.skip(known)).collect()
}

fn constant(family: &str) -> &'static str {
    if family == V6 { V6 } else { V4 }
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    strings(&service["spec"]["clusterIPs"])
        .into_iter()
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

fn was_dual(old: Option<&Value>) -> bool {
    old.is_some_and(|old| strings(&old["spec"]["ipFamilies"]).len() > 1)
}

fn truncate(service: &mut Value, field: &str) {
    if let Some(list) = section_mut(service, "spec")
        .get_mut(field)
        .and_then(Value::as_array_mut)
    {
        list.truncate(1);
    }
}

fn mismatches(service: &Value, families: &[&str], old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, (ip, family)) in addresses(service).iter().zip(families).enumerate() {
        if ip.is_ipv4() != (*family == V4) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{i}]"),
                &json!(ip.to_string()),
                detail,
            ));
        }
    }
    let before = old
        .filter(|old| needs_cluster_ip(old))
        .map(|old| strings(&old["spec"]["ipFamilies"]));
    if let Some(first) = before
        .and_then(|before| before.first().copied())
        .filter(|first| *first != families[0])
    {
        let detail = format!("field is immutable: the first family is {first}");
        errors.push(FieldError::invalid(
            "spec.ipFamilies[0]",
            &json!(families[0]),
            detail,
        ));
    }
    errors
}

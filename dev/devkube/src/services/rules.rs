//! Validation of Services.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    is_external, is_headless, needs_cluster_ip, needs_health_check_port, needs_node_port, spec_type,
};
use crate::object::{entries, strings};
use crate::status::FieldError;

/// Every rule that the spec breaks, on its own and as a successor of `old`.
pub(super) fn check(service: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = check_enums(service);
    if errors.is_empty() {
        errors.extend(check_ports(service));
        errors.extend(check_addresses(service));
        errors.extend(check_type_dependent(service));
    }
    if let Some(old) = old {
        errors.extend(check_immutable(service, old));
    }
    errors
}

fn check_enums(service: &Value) -> Vec<FieldError> {
    const ENUMS: &[(&str, &[&str])] = &[
        ("type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
        ("sessionAffinity", &["ClientIP", "None"]),
        ("externalTrafficPolicy", &["Cluster", "Local"]),
        ("internalTrafficPolicy", &["Cluster", "Local"]),
        (
            "ipFamilyPolicy",
            &["SingleStack", "PreferDualStack", "RequireDualStack"],
        ),
    ];
    let mut errors = Vec::new();
    for (field, allowed) in ENUMS {
        errors.extend(check_enum(
            format!("spec.{field}"),
            &service["spec"][*field],
            allowed,
        ));
    }
    for (i, family) in entries(&service["spec"]["ipFamilies"]).iter().enumerate() {
        errors.extend(check_enum(
            format!("spec.ipFamilies[{i}]"),
            family,
            &["IPv4", "IPv6"],
        ));
        if entries(&service["spec"]["ipFamilies"])[..i].contains(family) {
            errors.push(FieldError::duplicate(format!("spec.ipFamilies[{i}]"), family));
        }
    }
    errors
}

fn check_enum(field: String, value: &Value, allowed: &[&str]) -> Option<FieldError> {
    let text = value.as_str()?;
    let supported: Vec<String> = allowed.iter().map(|a| format!("{a:?}")).collect();
    (!allowed.contains(&text)).then(|| FieldError::not_supported(field, value, &supported))
}

fn check_ports(service: &Value) -> Vec<FieldError> {
    let ports = entries(&service["spec"]["ports"]);
    let mut errors = Vec::new();
    if ports.is_empty() && needs_cluster_ip(service) && !is_headless(service) {
        errors.push(FieldError::required("spec.ports", ""));
    }
    for (i, port) in ports.iter().enumerate() {
        errors.extend(check_port(port, &format!("spec.ports[{i}]"), ports.len() > 1));
        let twin = |other: &Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if ports[..i].iter().any(twin) {
            errors.push(FieldError::duplicate(format!("spec.ports[{i}]"), &json!({})));
        }
        if port["name"].is_string() && ports[..i].iter().any(|other| other["name"] == port["name"]) {
            errors.push(FieldError::duplicate(
                format!("spec.ports[{i}].name"),
                &port["name"],
            ));
        }
        let same_node_port =
            |other: &Value| other["nodePort"] == port["nodePort"] && other["protocol"] == port["protocol"];
        if port["nodePort"].as_u64().is_some_and(|p| p != 0) && ports[..i].iter().any(same_node_port) {
            errors.push(FieldError::duplicate(
                format!("spec.ports[{i}].nodePort"),
                &port["nodePort"],
            ));
        }
        if port["nodePort"].as_u64().is_some_and(|p| p != 0) && !is_external(service) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("spec.ports[{i}].nodePort"), detail));
        }
    }
    errors
}

fn check_port(port: &Value, path: &str, named: bool) -> Vec<FieldError> {
    const RANGE: &str = "must be between 1 and 65535, inclusive";
    let mut errors = Vec::new();
    let name = port["name"].as_str().unwrap_or_default();
    if named && name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if !name.is_empty() && !crate::names::is_dns_label(name) {
        errors.push(FieldError::invalid(
            format!("{path}.name"),
            &port["name"],
            crate::names::DNS_LABEL_RULE,
        ));
    }
    if !is_port(&port["port"]) {
        errors.push(FieldError::invalid(format!("{path}.port"), &port["port"], RANGE));
    }
    errors.extend(check_enum(
        format!("{path}.protocol"),
        &port["protocol"],
        &["SCTP", "TCP", "UDP"],
    ));
    let target = &port["targetPort"];
    let (fits, rule) = match target.as_str() {
        Some(name) => (
            crate::names::is_port_name(name),
            "must be a valid port name: at most 15 lower case letters, digits and '-'",
        ),
        None => (is_port(target), RANGE),
    };
    if !fits {
        errors.push(FieldError::invalid(format!("{path}.targetPort"), target, rule));
    }
    errors
}

fn is_port(value: &Value) -> bool {
    value.as_u64().is_some_and(|port| (1..=65535).contains(&port))
}

fn check_addresses(service: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let addresses = strings(&service["spec"]["clusterIPs"]);
    if !needs_cluster_ip(service) && !addresses.is_empty() {
        errors.push(FieldError::forbidden(
            "spec.clusterIPs[0]",
            "may not be set for ExternalName services",
        ));
        return errors;
    }
    for (i, address) in addresses.iter().enumerate() {
        let headless = i == 0 && *address == "None" && addresses.len() == 1;
        if !headless && address.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{i}]"),
                &json!(address),
                detail,
            ));
        }
    }
    if addresses.len() > 2 {
        errors.push(FieldError::too_many("spec.clusterIPs", addresses.len(), 2));
    }
    if addresses
        .first()
        .is_some_and(|first| service["spec"]["clusterIP"] != *first)
    {
        let detail = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(
            "spec.clusterIPs",
            &service["spec"]["clusterIPs"],
            detail,
        ));
    }
    errors
}

fn check_type_dependent(service: &Value) -> Vec<FieldError> {
    let spec = &service["spec"];
    let mut errors = Vec::new();
    let is_balancer = spec_type(service) == "LoadBalancer";
    if spec_type(service) == "ExternalName" && spec["externalName"].as_str().is_none_or(str::is_empty) {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    if is_headless(service) && is_balancer {
        let detail = "may not be set to 'None' for LoadBalancer services";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!("None"), detail));
    }
    if !is_external(service) && spec["externalTrafficPolicy"].is_string() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            "spec.externalTrafficPolicy",
            &spec["externalTrafficPolicy"],
            detail,
        ));
    }
    for field in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
        if !is_balancer && !spec[field].is_null() {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.push(FieldError::forbidden(format!("spec.{field}"), detail));
        }
    }
    if !needs_health_check_port(service) && spec["healthCheckNodePort"].as_u64().unwrap_or(0) != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(
            "spec.healthCheckNodePort",
            &spec["healthCheckNodePort"],
            detail,
        ));
    }
    for (i, range) in strings(&spec["loadBalancerSourceRanges"]).iter().enumerate() {
        if range.trim().parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(
                format!("spec.loadBalancerSourceRanges[{i}]"),
                &json!(range),
                detail,
            ));
        }
    }
    errors
}

fn check_immutable(service: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if needs_cluster_ip(service) && needs_cluster_ip(old) {
        let before = &old["spec"]["clusterIPs"][0];
        let after = &service["spec"]["clusterIPs"][0];
        if !before.is_null() && !after.is_null() && before != after {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                after,
                "may not change once set",
            ));
        }
    }
    let both_balancers = spec_type(service) == "LoadBalancer" && spec_type(old) == "LoadBalancer";
    let class = |service: &Value| service["spec"]["loadBalancerClass"].clone();
    if both_balancers && class(service) != class(old) {
        errors.push(FieldError::invalid(
            "spec.loadBalancerClass",
            &class(service),
            "may not change once set",
        ));
    }
    let port = |service: &Value| service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    let both = needs_health_check_port(service) && needs_health_check_port(old) && needs_node_port(old);
    if both && port(service) != 0 && port(service) != port(old) {
        let value = json!(port(service));
        errors.push(FieldError::forbidden(
            "spec.healthCheckNodePort",
            &format!("field is immutable: {value}"),
        ));
    }
    errors
}

/// Rules on `status.loadBalancer.ingress`.
pub(super) fn check_status(service: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, entry) in entries(&service["status"]["loadBalancer"]["ingress"])
        .iter()
        .enumerate()
    {
        let at = |field: &str| format!("status.loadBalancer.ingress[{i}].{field}");
        match entry["ip"].as_str() {
            Some(ip) if ip.parse::<IpAddr>().is_err() => {
                let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                errors.push(FieldError::invalid(at("ip"), &entry["ip"], detail));
            }
            None if !entry["ipMode"].is_null() => {
                errors.push(FieldError::forbidden(
                    at("ipMode"),
                    "may not be specified when `ip` is not set",
                ));
            }
            Some(_) | None => {}
        }
        errors.extend(check_enum(at("ipMode"), &entry["ipMode"], &["Proxy", "VIP"]));
    }
    errors
}

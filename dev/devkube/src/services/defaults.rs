//! Defaults of a Service, and what an update keeps or drops.

use serde_json::{Map, Value, json};

use super::{is_external, needs_cluster_ip, needs_health_check_port, needs_node_port, spec_type};
use crate::object::{entries, entries_mut, section_mut};

/// Fills the fields that have a default.
pub(super) fn fill(service: &mut Value) {
    let spec = section_mut(service, "spec");
    let mut or = |field: &str, value: Value| {
        spec.entry(field).or_insert(value);
    };
    or("type", json!("ClusterIP"));
    or("sessionAffinity", json!("None"));
    let service_type = spec_type(service).to_string();
    let external = is_external(service);
    let spec = section_mut(service, "spec");
    if spec["sessionAffinity"] == "ClientIP" {
        spec.entry("sessionAffinityConfig")
            .or_insert(json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    if service_type != "ExternalName" {
        spec.entry("internalTrafficPolicy").or_insert(json!("Cluster"));
    }
    if external {
        spec.entry("externalTrafficPolicy").or_insert(json!("Cluster"));
    }
    if service_type == "LoadBalancer" {
        spec.entry("allocateLoadBalancerNodePorts").or_insert(json!(true));
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        fill_port(port);
    }
}

fn fill_port(port: &mut Value) {
    let number = port["port"].clone();
    let Some(port) = port.as_object_mut() else { return };
    port.entry("protocol").or_insert(json!("TCP"));
    let target = port.entry("targetPort").or_insert(number.clone());
    if *target == 0 || *target == "" {
        *target = number;
    }
}

/// Keeps what was allocated to the old Service where an update leaves it out.
pub(super) fn carry_over(service: &mut Value, old: &Value) {
    if needs_cluster_ip(service) && needs_cluster_ip(old) {
        for field in ["clusterIP", "clusterIPs"] {
            keep(service, old, field);
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            keep(service, old, field);
        }
    }
    if needs_node_port(service) && needs_node_port(old) {
        carry_over_node_ports(service, old);
    }
    if needs_health_check_port(service) && needs_health_check_port(old) {
        keep(service, old, "healthCheckNodePort");
    }
}

fn keep(service: &mut Value, old: &Value, field: &str) {
    let empty = [Value::Null, json!(""), json!([]), json!(0)].contains(&service["spec"][field]);
    if empty && !old["spec"][field].is_null() {
        service["spec"][field] = old["spec"][field].clone();
    }
}

fn carry_over_node_ports(service: &mut Value, old: &Value) {
    let wanted: Vec<Value> = entries(&service["spec"]["ports"])
        .iter()
        .map(|port| port["nodePort"].clone())
        .collect();
    for port in entries_mut(service, "/spec/ports") {
        if port["nodePort"].as_u64().unwrap_or(0) != 0 {
            continue;
        }
        let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        let before = entries(&old["spec"]["ports"])
            .iter()
            .find(same)
            .map(|other| other["nodePort"].clone());
        if let Some(number) = before.filter(|number| !number.is_null() && !wanted.contains(number)) {
            port["nodePort"] = number;
        }
    }
}

/// Drops what the old type had and the new type cannot have, unless the update asked for it.
pub(super) fn drop_type_dependent(service: &mut Value, old: &Value) {
    let unchanged = |service: &Value, field: &str| service["spec"][field] == old["spec"][field];
    let mut drop: Vec<&str> = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(service) {
        let family = [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ];
        drop.extend(family.iter().filter(|field| unchanged(service, field)));
    }
    if needs_health_check_port(old) && !needs_health_check_port(service) {
        drop.extend(
            ["healthCheckNodePort"]
                .iter()
                .filter(|field| unchanged(service, field)),
        );
    }
    if spec_type(old) == "LoadBalancer" && spec_type(service) != "LoadBalancer" {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        drop.extend(fields.iter().filter(|field| unchanged(service, field)));
    }
    if is_external(old) && !is_external(service) {
        drop.extend(
            ["externalTrafficPolicy"]
                .iter()
                .filter(|field| unchanged(service, field)),
        );
    }
    let spec = section_mut(service, "spec");
    for field in drop {
        spec.remove(field);
    }
    if needs_node_port(old) && !needs_node_port(service) {
        drop_node_ports(service, old);
    }
}

fn drop_node_ports(service: &mut Value, old: &Value) {
    let before: Vec<&Value> = entries(&old["spec"]["ports"])
        .iter()
        .map(|port| &port["nodePort"])
        .collect();
    for port in entries_mut(service, "/spec/ports").filter_map(Value::as_object_mut) {
        if port
            .get("nodePort")
            .is_some_and(|number| before.contains(&number))
        {
            Map::remove(port, "nodePort");
        }
    }
}

//! Cluster IPs and node ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

use super::{is_headless, needs_cluster_ip, needs_health_check_port, needs_node_port};
use crate::object::{Key, entries, entries_mut, section_mut, strings};
use crate::status::FieldError;

const CLUSTER_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
const CLUSTER_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112);
/// Kubernetes keeps the first address for the `kubernetes` Service, and clusters .10 for DNS.
const FIRST_OFFSET: u16 = 16;

/// Which Service has which address and node port; follows the stored Services.
#[derive(Debug, Clone)]
pub(crate) struct Allocations {
    addresses: BTreeMap<IpAddr, Key>,
    node_ports: BTreeMap<u16, Key>,
    next_v4: u16,
    next_v6: u16,
    next_port: u16,
    port_range: RangeInclusive<u16>,
}

impl Allocations {
    /// Nothing taken yet; node ports come from this range.
    pub(crate) fn new(port_range: RangeInclusive<u16>) -> Self {
        Self {
            addresses: BTreeMap::new(),
            node_ports: BTreeMap::new(),
            next_v4: FIRST_OFFSET,
            next_v6: FIRST_OFFSET,
            next_port: *port_range.start(),
            port_range,
        }
    }

    /// Follows a change of one Service.
    pub(crate) fn record(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let addresses = |service: Option<&Value>| service.map(cluster_ips).unwrap_or_default();
        let ports = |service: Option<&Value>| service.map(node_ports).unwrap_or_default();
        for ip in addresses(before) {
            self.addresses.remove(&ip);
        }
        for port in ports(before) {
            self.node_ports.remove(&port);
        }
        // The search goes on behind what was taken last, so that a full range is not searched from its start.
        for ip in addresses(after) {
            if !addresses(before).contains(&ip) {
                let next = if ip.is_ipv4() {
                    &mut self.next_v4
                } else {
                    &mut self.next_v6
                };
                *next = offset(ip).saturating_add(1);
            }
            self.addresses.insert(ip, key.clone());
        }
        for port in ports(after) {
            if !ports(before).contains(&port) {
                self.next_port = port.saturating_add(1);
            }
            self.node_ports.insert(port, key.clone());
        }
    }

    fn free_address(&self, v4: bool) -> Option<IpAddr> {
        let start = if v4 { self.next_v4 } else { self.next_v6 }.max(FIRST_OFFSET);
        let candidates = (start..u16::MAX).chain(FIRST_OFFSET..start);
        candidates
            .map(|offset| address(v4, offset))
            .find(|ip| !self.addresses.contains_key(ip))
    }

    fn free_port(&self, also_taken: &BTreeSet<u16>) -> Option<u16> {
        let (first, last) = (*self.port_range.start(), *self.port_range.end());
        let start = self.next_port.clamp(first, last);
        let mut candidates = (start..=last).chain(first..start);
        candidates.find(|port| !self.node_ports.contains_key(port) && !also_taken.contains(port))
    }
}

fn address(v4: bool, offset: u16) -> IpAddr {
    if v4 {
        Ipv4Addr::from_bits(CLUSTER_V4.addr().to_bits() + u32::from(offset)).into()
    } else {
        Ipv6Addr::from_bits(CLUSTER_V6.addr().to_bits() + u128::from(offset)).into()
    }
}

fn offset(ip: IpAddr) -> u16 {
    match ip {
        IpAddr::V4(v4) => u16::from_be_bytes([v4.octets()[2], v4.octets()[3]]),
        IpAddr::V6(v6) => v6.segments()[7],
    }
}

fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    strings(&service["spec"]["clusterIPs"])
        .into_iter()
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

fn node_ports(service: &Value) -> BTreeSet<u16> {
    let health = &service["spec"]["healthCheckNodePort"];
    let ports = entries(&service["spec"]["ports"])
        .iter()
        .map(|port| &port["nodePort"]);
    ports
        .chain([health])
        .filter_map(Value::as_u64)
        .filter_map(|p| u16::try_from(p).ok())
        .filter(|p| *p != 0)
        .collect()
}

/// Gives a Service the addresses and ports that it needs and lacks, and checks those it asks for.
pub(super) fn allocate(service: &mut Value, taken: &Allocations) -> Vec<FieldError> {
    let key = Key::of(service);
    let mut errors = Vec::new();
    if needs_cluster_ip(service) && !is_headless(service) {
        allocate_addresses(service, taken, &key, &mut errors);
    }
    if needs_node_port(service) || needs_health_check_port(service) {
        allocate_ports(service, taken, &key, &mut errors);
    }
    errors
}

fn allocate_addresses(service: &mut Value, taken: &Allocations, key: &Key, errors: &mut Vec<FieldError>) {
    let mut addresses = cluster_ips(service);
    for ip in &addresses {
        if let Err(why) = check_address(*ip, taken, key) {
            let given = service["spec"]["clusterIPs"].clone();
            errors.push(FieldError::invalid(
                "spec.clusterIPs",
                &given,
                format!("failed to allocate IP {ip}: {why}"),
            ));
        }
    }
    for family in strings(&service["spec"]["ipFamilies"])
        .into_iter()
        .skip(addresses.len())
    {
        match taken.free_address(family == "IPv4") {
            Some(ip) => addresses.push(ip),
            None => errors.push(FieldError::invalid(
                "spec.clusterIPs",
                &json!([]),
                "failed to allocate an IP: range is full",
            )),
        }
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let spec = section_mut(service, "spec");
    spec.insert("clusterIP".into(), texts.first().cloned().into());
    spec.insert("clusterIPs".into(), json!(texts));
}

fn check_address(ip: IpAddr, taken: &Allocations, key: &Key) -> Result<(), String> {
    let range: IpNet = if ip.is_ipv4() {
        CLUSTER_V4.into()
    } else {
        CLUSTER_V6.into()
    };
    if !range.contains(&ip) {
        return Err(format!(
            "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
        ));
    }
    match taken.addresses.get(&ip) {
        Some(owner) if owner != key => Err("provided IP is already allocated".into()),
        Some(_) | None => Ok(()),
    }
}

fn allocate_ports(service: &mut Value, taken: &Allocations, key: &Key, errors: &mut Vec<FieldError>) {
    let mut own = node_ports(service);
    for port in own.clone() {
        if let Err(why) = check_port(port, taken, key) {
            errors.push(FieldError::invalid(port_field(service, port), &json!(port), why));
        }
    }
    // TCP and UDP on one port share a node port.
    let mut by_port: BTreeMap<u64, Value> = entries(&service["spec"]["ports"])
        .iter()
        .filter(|port| !is_unset(&port["nodePort"]))
        .filter_map(|port| Some((port["port"].as_u64()?, port["nodePort"].clone())))
        .collect();
    let mut allocate = |slot: &mut Value| match taken.free_port(&own) {
        Some(port) => {
            own.insert(port);
            *slot = json!(port);
        }
        None => errors.push(FieldError::invalid(
            "spec.ports",
            &json!([]),
            "no node port is free",
        )),
    };
    if needs_node_port(service) {
        for port in entries_mut(service, "/spec/ports").filter(|port| is_unset(&port["nodePort"])) {
            let number = port["port"].as_u64().unwrap_or(0);
            match by_port.get(&number) {
                Some(shared) => port["nodePort"] = shared.clone(),
                None => {
                    allocate(&mut port["nodePort"]);
                    by_port.insert(number, port["nodePort"].clone());
                }
            }
        }
    }
    if needs_health_check_port(service) && is_unset(&service["spec"]["healthCheckNodePort"]) {
        allocate(&mut service["spec"]["healthCheckNodePort"]);
    }
}

fn is_unset(port: &Value) -> bool {
    port.as_u64().unwrap_or(0) == 0
}

fn check_port(port: u16, taken: &Allocations, key: &Key) -> Result<(), String> {
    if !taken.port_range.contains(&port) {
        let (low, high) = (taken.port_range.start(), taken.port_range.end());
        return Err(format!(
            "provided port is not in the valid range. The range of valid ports is {low}-{high}"
        ));
    }
    match taken.node_ports.get(&port) {
        Some(owner) if owner != key => Err("provided port is already allocated".into()),
        Some(_) | None => Ok(()),
    }
}

fn port_field(service: &Value, port: u16) -> String {
    let index = entries(&service["spec"]["ports"])
        .iter()
        .position(|entry| entry["nodePort"] == port);
    index.map_or_else(
        || "spec.healthCheckNodePort".into(),
        |i| format!("spec.ports[{i}].nodePort"),
    )
}

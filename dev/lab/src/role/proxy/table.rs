//! What a node should accept and where it should go, worked out from Services and EndpointSlices.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use herald_api::convert::ingress_addresses;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Transport protocols that the stand-in forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A load balancer address and port that a Service is reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Frontend {
    /// Its address and port.
    pub(super) address: SocketAddr,
    /// Its protocol.
    pub(super) transport: Transport,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.transport, self.address)
    }
}

/// What one node should do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The addresses that its kernel accepts, with or without an endpoint behind them.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Where to listen, and the endpoints to go to; never without any.
    pub(super) frontends: BTreeMap<Frontend, Vec<SocketAddr>>,
}

impl Table {
    /// Works out what `node` should do.
    pub(super) fn new(
        services: &[impl Borrow<Service>],
        slices: &[impl Borrow<EndpointSlice>],
        node: &str,
    ) -> Self {
        let mut table = Self::default();
        for service in services {
            table.add(service.borrow(), slices, node);
        }
        table
    }

    fn add(&mut self, service: &Service, slices: &[impl Borrow<EndpointSlice>], node: &str) {
        let spec = service.spec.as_ref();
        let local = spec.and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local");
        let slices: Vec<&EndpointSlice> = slices
            .iter()
            .map(Borrow::borrow)
            .filter(|slice| belongs_to(slice, service))
            .collect();
        for address in ingress_addresses(service) {
            self.addresses.insert(address);
            for port in spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default() {
                let Some(frontend) = frontend(port, address) else {
                    continue;
                };
                let name = port.name.as_deref().unwrap_or_default();
                let endpoints = endpoints(&slices, name, address, local.then_some(node));
                if !endpoints.is_empty() {
                    self.frontends.insert(frontend, endpoints);
                }
            }
        }
    }
}

/// `None` for what the stand-in does not forward.
fn frontend(port: &ServicePort, address: IpAddr) -> Option<Frontend> {
    let transport = match port.protocol.as_deref() {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        Some(other) => {
            tracing::warn!("the stand-in for kube-proxy does not forward {other}");
            return None;
        }
    };
    let address = SocketAddr::new(address, u16::try_from(port.port).ok()?);
    Some(Frontend { address, transport })
}

fn belongs_to(slice: &EndpointSlice, service: &Service) -> bool {
    let named = slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SERVICE_NAME));
    slice.metadata.namespace == service.metadata.namespace && named == service.metadata.name.as_ref()
}

/// The usable endpoints of the port called `name`, in the family of `frontend`, on `node` only if one is given.
fn endpoints(slices: &[&EndpointSlice], name: &str, frontend: IpAddr, node: Option<&str>) -> Vec<SocketAddr> {
    let family = if frontend.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut found = BTreeSet::new();
    for slice in slices.iter().filter(|slice| slice.address_type == family) {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let port = ports
            .iter()
            .find(|port| port.name.as_deref().unwrap_or_default() == name);
        let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else {
            continue;
        };
        let usable = slice
            .endpoints
            .iter()
            .flatten()
            .filter(|endpoint| is_usable(endpoint));
        let here = usable.filter(|endpoint| node.is_none() || endpoint.node_name.as_deref() == node);
        let addresses = here
            .flat_map(|endpoint| &endpoint.addresses)
            .filter_map(|text| text.parse().ok());
        found.extend(addresses.map(|address: IpAddr| SocketAddr::new(address, port)));
    }
    found.into_iter().collect()
}

/// Ready (or not said otherwise), or terminating but still serving, as the speaker sees it.
fn is_usable(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .is_none_or(|conditions| conditions.ready.unwrap_or(true) || conditions.serving == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(policy: &str, ingress: &[&str]) -> Service {
        let ingress: Vec<Value> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"externalTrafficPolicy": policy, "ports": [
                {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": ingress}}
        }))
        .unwrap()
    }

    fn slice(family: &str, endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "labels": {SERVICE_NAME: "web"}},
            "addressType": family, "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080}]
        }))
        .unwrap()
    }

    fn two_nodes() -> EndpointSlice {
        slice(
            "IPv4",
            json!([
                {"addresses": ["10.244.1.2"], "nodeName": "node-1", "conditions": {"ready": true}},
                {"addresses": ["10.244.2.2"], "nodeName": "node-2", "conditions": {}},
                {"addresses": ["10.244.2.3"], "nodeName": "node-2", "conditions": {"ready": false}},
                {"addresses": ["10.244.2.4"], "nodeName": "node-2",
                 "conditions": {"ready": false, "serving": true, "terminating": true}},
            ]),
        )
    }

    fn http(address: &str) -> Frontend {
        Frontend {
            address: address.parse().unwrap(),
            transport: Transport::Tcp,
        }
    }

    fn endpoints_of(table: &Table, frontend: &str) -> Vec<String> {
        let endpoints = table.frontends.get(&http(frontend)).cloned().unwrap_or_default();
        endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policy_cluster_goes_to_every_usable_endpoint() {
        let table = Table::new(
            &[service("Cluster", &["192.168.67.120"])],
            &[two_nodes()],
            "node-1",
        );
        let expected = ["10.244.1.2:8080", "10.244.2.2:8080", "10.244.2.4:8080"];
        assert_eq!(endpoints_of(&table, "192.168.67.120:80"), expected);
    }

    #[test]
    fn policy_local_goes_to_endpoints_of_the_node_only() {
        let services = [service("Local", &["192.168.67.120"])];
        let here = Table::new(&services, &[two_nodes()], "node-1");
        assert_eq!(endpoints_of(&here, "192.168.67.120:80"), ["10.244.1.2:8080"]);
        let elsewhere = Table::new(&services, &[two_nodes()], "node-3");
        assert!(
            elsewhere.frontends.is_empty(),
            "nobody listens, so clients are refused"
        );
        assert_eq!(elsewhere.addresses.len(), 1, "but the kernel takes the packets");
    }

    #[test]
    fn each_family_has_endpoints_of_its_own() {
        let services = [service("Cluster", &["192.168.67.120", "fd00:67::120"])];
        let six = slice(
            "IPv6",
            json!([{"addresses": ["fd00:244:1::2"], "nodeName": "node-1"}]),
        );
        let table = Table::new(&services, &[two_nodes(), six], "node-1");
        assert_eq!(
            endpoints_of(&table, "[fd00:67::120]:80"),
            ["[fd00:244:1::2]:8080"]
        );
        assert_eq!(endpoints_of(&table, "192.168.67.120:80").len(), 3);
    }

    #[test]
    fn a_slice_of_another_service_or_namespace_is_not_taken() {
        let mut foreign = two_nodes();
        foreign.metadata.namespace = Some("elsewhere".into());
        let mut other = two_nodes();
        other.metadata.labels = Some([(SERVICE_NAME.to_owned(), "other".to_owned())].into());
        let table = Table::new(
            &[service("Cluster", &["192.168.67.120"])],
            &[foreign, other],
            "node-1",
        );
        assert!(table.frontends.is_empty());
    }

    #[test]
    fn a_service_without_an_address_is_not_listened_for() {
        let table = Table::new(&[service("Cluster", &[])], &[two_nodes()], "node-1");
        assert_eq!(table, Table::default());
    }
}

//! Converts Services.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use herald_core::announce::eligibility::{Exposure, TrafficPolicy};
use herald_core::{
    AddressRequest, Addresses, Family, FamilyPolicy, PoolName, Port, RequestError, Service, ServiceKey,
    Transport,
};
use k8s_openapi::api::core::v1 as core_v1;
use sha2::{Digest, Sha256};

use super::config::created;
use super::labels::labels;
use crate::annotation::{self, Annotations};
use crate::crd::ALLOCATED;

/// The longest request that is parsed, in bytes. Two IPv6 addresses have 80.
const LONGEST_REQUEST: usize = 1024;
/// The most addresses of a request that is parsed. Two can be met.
const MOST_ADDRESSES: usize = 4;
/// The most ports of a Service that shares its address; they are kept, so that no port is used twice. A Service that has an address
/// keeps it with more ports, of which the lowest are kept.
const MOST_SHARED_PORTS: usize = 1024;
/// The addresses of `spec.externalIPs` that are kept: more than a Service has in practice, so that one of 10 000 Services cannot
/// take the memory of the others.
const MOST_EXTERNAL_IPS: usize = 16;
/// How much of a request that is too long is kept, in bytes.
const EXCERPT: usize = 64;
/// The longest text of a Service that is kept as it is, in bytes: the longest name of a Kubernetes object.
const LONGEST_TEXT: usize = 253;

/// Returns the namespace and name of a Service.
pub fn key(service: &core_v1::Service) -> ServiceKey {
    let metadata = &service.metadata;
    ServiceKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Returns whether a Service is ours: of type `LoadBalancer` and of `class`. Without `class` these are the Services without a
/// class.
pub fn is_ours(service: &core_v1::Service, class: Option<&str>) -> bool {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|s| s.type_.as_deref());
    kind == Some("LoadBalancer") && spec.and_then(|s| s.load_balancer_class.as_deref()) == class
}

/// Converts a Service for the allocator.
pub fn service(object: &core_v1::Service) -> Service {
    let empty = Annotations::new();
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
    let spec = object.spec.clone().unwrap_or_default();
    let (assigned, foreign_ingress) = ingress(object);
    let families = spec.ip_families.iter().flatten();
    let sharing_key = annotation::non_empty(annotations, annotation::ALLOW_SHARED_IP);
    let ports = spec.ports.as_ref().map_or(0, Vec::len);
    Service {
        key: key(object),
        created: created(&object.metadata),
        labels: labels(object),
        cluster_ips: cluster_ips(&spec),
        family_policy: match spec.ip_family_policy.as_deref() {
            Some("PreferDualStack") => FamilyPolicy::PreferDualStack,
            Some("RequireDualStack") => FamilyPolicy::RequireDualStack,
            Some(_) | None => FamilyPolicy::SingleStack,
        },
        primary_family: families.map(|f| family(f)).next().flatten(),
        request: AddressRequest {
            addresses: if sharing_key.is_some() && ports > MOST_SHARED_PORTS {
                Err(RequestError::TooManyPorts {
                    ports,
                    most: MOST_SHARED_PORTS,
                })
            } else {
                requested(annotations, spec.load_balancer_ip.as_deref())
            },
            pool: annotation::non_empty(annotations, annotation::ADDRESS_POOL).map(pool_name),
        },
        sharing_key: sharing_key
            .map_or_else(String::new, |key| bounded(key.to_owned()))
            .into(),
        backend_key: backend_key(&spec),
        is_local: is_local(Some(&spec)),
        ports: shared_ports(&spec, sharing_key.is_some()),
        assigned,
        foreign_ingress,
        assigned_pool: annotations
            .get(annotation::ALLOCATED_FROM_POOL)
            .map(|pool| pool_name(pool)),
        is_marked: is_marked(object, annotations),
    }
}

/// Returns whether the object has something that only a controller writes, this one or MetalLB's.
fn is_marked(object: &core_v1::Service, annotations: &Annotations) -> bool {
    let conditions = object.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let mut conditions = conditions.filter(|condition| condition.type_ == ALLOCATED);
    conditions.next().is_some()
        || [
            annotation::ALLOCATED_FROM_POOL,
            annotation::DEPRECATED_ALLOCATED_FROM_POOL,
        ]
        .iter()
        .any(|name| annotations.contains_key(*name))
}

/// Returns `spec.externalIPs`, as many as are kept. Entries that are no addresses are left out.
pub fn external_ips(object: &core_v1::Service) -> Box<[IpAddr]> {
    let listed = object.spec.iter().flat_map(|s| s.external_ips.iter().flatten());
    let parsed = listed.filter_map(|text| address(text));
    parsed.take(MOST_EXTERNAL_IPS).collect()
}

/// Converts a Service for the speakers.
pub fn exposure(object: &core_v1::Service) -> Exposure {
    let annotations = object.metadata.annotations.as_ref();
    let (addresses, foreign_ingress) = ingress(object);
    Exposure {
        key: key(object),
        created: created(&object.metadata),
        labels: labels(object),
        addresses: addresses.to_vec(),
        foreign_ingress,
        traffic_policy: if is_local(object.spec.as_ref()) {
            TrafficPolicy::Local
        } else {
            TrafficPolicy::Cluster
        },
        shares: annotations.is_some_and(|a| annotation::value(a, annotation::ALLOW_SHARED_IP).is_some()),
    }
}

/// Returns the addresses in `status.loadBalancer.ingress`. Entries without an address are left out.
pub fn ingress_addresses(object: &core_v1::Service) -> Addresses {
    ingress(object).0
}

/// Returns the addresses in `status.loadBalancer.ingress`, and whether an entry is not an address.
fn ingress(object: &core_v1::Service) -> (Addresses, bool) {
    let status = object.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let mut foreign = false;
    let entries = status.and_then(|s| s.ingress.as_ref()).into_iter().flatten();
    let addresses = entries
        .filter_map(|entry| {
            let address = entry.ip.as_deref().and_then(address);
            foreign |= address.is_none();
            address
        })
        .collect();
    (addresses, foreign)
}

/// Returns the ports that no other sharer of the address may have: none if the Service does not share, otherwise the lowest.
fn shared_ports(spec: &core_v1::ServiceSpec, shares: bool) -> BTreeSet<Port> {
    let mut ports = BTreeSet::new();
    for port in spec.ports.iter().flatten().filter(|_| shares).filter_map(port) {
        ports.insert(port);
        if ports.len() > MOST_SHARED_PORTS {
            ports.pop_last();
        }
    }
    ports
}

/// Parses an address; an IPv4-mapped one counts as IPv4, as in MetalLB.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Returns the cluster IPs, without `None` (headless) and entries that cannot be parsed: these have no family.
fn cluster_ips(spec: &core_v1::ServiceSpec) -> Addresses {
    let all = spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
    let all = all.unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    all.iter().filter_map(|ip| address(ip)).collect()
}

/// Returns the requested addresses. Equal requests by the annotation and by the field are one request.
fn requested(annotations: &Annotations, field: Option<&str>) -> Result<Vec<IpAddr>, RequestError> {
    let list = annotation::non_empty(annotations, annotation::LOAD_BALANCER_IPS);
    let field = field.filter(|ip| !ip.is_empty());
    if let Some(text) = [list, field].into_iter().flatten().find(|text| is_too_long(text)) {
        return Err(RequestError::TooLong(excerpt(text).to_owned()));
    }
    let of_list = |list: &str| {
        let mut addresses = Vec::new();
        for ip in list.split(',') {
            let ip = address(ip.trim()).ok_or_else(|| RequestError::Annotation(list.to_owned()))?;
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Ok(addresses)
    };
    let of_field = |ip: &str| address(ip).ok_or_else(|| RequestError::Field(ip.to_owned()));
    match (list, field) {
        (None, None) => Ok(Vec::new()),
        (Some(list), None) => of_list(list),
        (None, Some(ip)) => Ok(vec![of_field(ip)?]),
        (Some(list), Some(ip)) => {
            let (addresses, other) = (of_list(list)?, of_field(ip)?);
            if addresses == [other] {
                Ok(addresses)
            } else {
                Err(RequestError::Both)
            }
        }
    }
}

fn is_too_long(request: &str) -> bool {
    request.len() > LONGEST_REQUEST || request.split(',').nth(MOST_ADDRESSES).is_some()
}

/// Returns the beginning of `text`.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(EXCERPT)]
}

/// Returns the name of a pool. Of a text that no object can have as its name only the beginning is kept.
fn pool_name(text: &str) -> PoolName {
    if text.len() <= LONGEST_TEXT {
        PoolName::from(text)
    } else {
        PoolName::new(format!("{}...", excerpt(text)))
    }
}

/// Returns `text`, or the digest of a text that is too long to be kept: such texts are only compared.
fn bounded(text: String) -> String {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let digest = Sha256::digest(text);
    digest.iter().fold(String::from("sha256:"), |mut hex, byte| {
        // Writing to a String does not fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}

/// Returns, for `externalTrafficPolicy: Local`, the selector as `k=v` pairs sorted by key, so that only Services with the same
/// backends share an address.
fn backend_key(spec: &core_v1::ServiceSpec) -> String {
    if !is_local(Some(spec)) {
        return String::new();
    }
    let selector = spec.selector.iter().flatten();
    let pairs: Vec<String> = selector.map(|(k, v)| format!("{k}={v}")).collect();
    bounded(pairs.join(","))
}

fn is_local(spec: Option<&core_v1::ServiceSpec>) -> bool {
    spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local")
}

fn port(port: &core_v1::ServicePort) -> Option<Port> {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        Some("SCTP") => Transport::Sctp,
        Some(_) => return None,
    };
    let number = u16::try_from(port.port).ok()?;
    Some(Port { protocol, number })
}

fn family(name: &str) -> Option<Family> {
    match name {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> core_v1::Service {
        serde_json::from_value(value).expect("a Service")
    }

    fn with_request(annotations: Value, field: Option<&str>) -> Result<Vec<IpAddr>, RequestError> {
        let mut value = json!({"metadata": {"annotations": annotations}, "spec": {}});
        if let Some(ip) = field {
            value["spec"]["loadBalancerIP"] = ip.into();
        }
        service(&object(value)).request.addresses
    }

    #[test]
    fn only_load_balancers_of_the_class_are_ours() {
        let of = |kind: &str, class: Option<&str>| {
            object(json!({"spec": {"type": kind, "loadBalancerClass": class}}))
        };
        // (type, class of the Service, our class, ours)
        let table = [
            ("LoadBalancer", None, None, true),
            ("LoadBalancer", Some("x"), None, false),
            ("LoadBalancer", None, Some("x"), false),
            ("LoadBalancer", Some("x"), Some("x"), true),
            ("LoadBalancer", Some("y"), Some("x"), false),
            ("ClusterIP", None, None, false),
            ("NodePort", None, None, false),
            ("ExternalName", None, None, false),
        ];
        for (kind, class, our_class, ours) in table {
            assert_eq!(
                is_ours(&of(kind, class), our_class),
                ours,
                "{kind} {class:?} {our_class:?}"
            );
        }
    }

    #[test]
    fn a_request_comes_from_the_annotation_or_the_field_or_both_if_they_are_equal() {
        let list = json!({"metallb.io/loadBalancerIPs": "fc00::1 , 192.0.2.1"});
        let both: Vec<IpAddr> = vec!["fc00::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        assert_eq!(with_request(list.clone(), None), Ok(both));
        assert_eq!(with_request(list, Some("192.0.2.1")), Err(RequestError::Both));
        let one = Ok(vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(with_request(json!({}), Some("192.0.2.1")), one);
        for equal in [
            "192.0.2.1",
            " 192.0.2.1 ",
            "::ffff:192.0.2.1",
            "192.0.2.1,192.0.2.1",
        ] {
            let list = json!({"metallb.universe.tf/loadBalancerIPs": equal});
            assert_eq!(with_request(list.clone(), Some("192.0.2.1")), one, "{equal}");
            assert_eq!(with_request(list, None), one, "{equal}");
        }
        let other = json!({"metallb.io/loadBalancerIPs": "192.0.2.2"});
        assert_eq!(with_request(other, Some("192.0.2.1")), Err(RequestError::Both));
        assert_eq!(
            with_request(json!({}), Some(" 192.0.2.1")),
            Err(RequestError::Field(" 192.0.2.1".into()))
        );
        let stray = json!({"metallb.io/loadBalancerIPs": "192.0.2.1,"});
        assert_eq!(
            with_request(stray, None),
            Err(RequestError::Annotation("192.0.2.1,".into()))
        );
        assert_eq!(
            with_request(json!({"metallb.io/loadBalancerIPs": ""}), None),
            Ok(Vec::new())
        );
    }

    #[test]
    fn a_request_that_is_too_long_is_not_parsed_and_only_its_beginning_is_kept() {
        let long = "192.0.2.1,".repeat(25_000);
        let start = "192.0.2.1,192.0.2.1,192.0.2.1,192.0.2.1,192.0.2.1,192.0.2.1,192.";
        let too_long = Err(RequestError::TooLong(start.into()));
        assert_eq!(
            with_request(json!({"metallb.io/loadBalancerIPs": long}), None),
            too_long
        );
        assert_eq!(with_request(json!({}), Some(&long)), too_long);
        assert_eq!(
            with_request(json!({"metallb.io/loadBalancerIPs": "192.0.2.1"}), Some(&long)),
            too_long
        );
        // (request, too long)
        for (request, is_too_long) in [
            ("192.0.2.1,".repeat(3) + "192.0.2.1", false),
            ("192.0.2.1,".repeat(4) + "192.0.2.1", true),
            ("x".repeat(1024), false),
            ("x".repeat(1025), true),
            ("\u{e4}".repeat(513), true),
        ] {
            let parsed = with_request(json!({"metallb.io/loadBalancerIPs": request}), None);
            match parsed {
                Err(RequestError::TooLong(kept)) => assert!(is_too_long && kept.len() <= 64, "{kept}"),
                other => assert!(!is_too_long, "{other:?}"),
            }
        }
    }

    #[test]
    fn the_ports_of_a_service_that_shares_are_kept_up_to_a_limit_beyond_which_it_gets_no_new_address() {
        let with = |ports: u16, annotations: Value| {
            let ports: Vec<_> = (1..=ports).rev().map(|port| json!({"port": port})).collect();
            service(&object(
                json!({"metadata": {"annotations": annotations}, "spec": {"ports": ports}}),
            ))
        };
        let alone = with(20_000, json!({}));
        assert_eq!((alone.ports.len(), alone.request.addresses), (0, Ok(Vec::new())));
        let shares = json!({"metallb.io/allow-shared-ip": "key"});
        let most = with(1024, shares.clone());
        assert_eq!((most.ports.len(), most.request.addresses), (1024, Ok(Vec::new())));
        let more = with(1025, shares);
        assert_eq!(more.ports, most.ports);
        let refused = RequestError::TooManyPorts {
            ports: 1025,
            most: 1024,
        };
        assert_eq!(more.request.addresses, Err(refused));
    }

    #[test]
    fn what_is_kept_of_hostile_texts_is_bounded_and_different_texts_stay_different() {
        let of = |text: &str| {
            service(&object(json!({
                "metadata": {"annotations": {
                    "metallb.io/address-pool": text, "metallb.io/allow-shared-ip": text,
                    "metallb.io/ip-allocated-from-pool": text,
                }},
                "spec": {"externalTrafficPolicy": "Local", "selector": {"app": text}},
            })))
        };
        let texts = |service: Service| {
            let pools = [service.request.pool, service.assigned_pool].map(|pool| pool.expect("a pool"));
            (
                pools.map(|pool| pool.to_string()),
                service.sharing_key.to_string(),
                service.backend_key,
            )
        };
        let long = "x".repeat(200_000);
        let (pools, sharing, backend) = texts(of(&long));
        // No object can have such a name.
        assert_eq!(pools, [(); 2].map(|()| format!("{}...", "x".repeat(64))));
        assert!(sharing.len() < 100 && backend.len() < 100);
        let (_, other_sharing, other_backend) = texts(of(&(long.clone() + "y")));
        assert!(sharing != other_sharing && backend != other_backend);
        assert_eq!(texts(of(&long)), (pools, sharing, backend));
        let short = "x".repeat(249);
        let kept = texts(of(&short));
        assert_eq!(
            kept,
            (
                [short.clone(), short.clone()],
                short.clone(),
                format!("app={short}")
            )
        );
    }

    #[test]
    fn the_status_is_read_and_an_entry_that_is_no_address_is_noticed() {
        let both = object(json!({"status": {"loadBalancer": {"ingress": [
            {"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "elsewhere"}]}}}));
        let seen = exposure(&both);
        assert_eq!((seen.addresses.len(), seen.foreign_ingress), (1, true));
        assert_eq!(service(&both).assigned.to_vec(), seen.addresses);
    }

    #[test]
    fn the_backend_key_is_the_sorted_selector_of_a_local_service() {
        let of = |policy: &str| {
            let spec = json!({"externalTrafficPolicy": policy, "selector": {"b": "2", "a": "1"}});
            let service = service(&object(json!({"spec": spec})));
            (service.backend_key, service.is_local)
        };
        assert_eq!(of("Local"), ("a=1,b=2".to_owned(), true));
        assert_eq!(of("Cluster"), (String::new(), false));
    }

    #[test]
    fn a_headless_service_has_no_cluster_ip_and_families_are_read() {
        let headless = service(&object(
            json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        ));
        assert!(headless.cluster_ips.is_empty());
        let dual = service(&object(json!({"spec": {"clusterIPs": ["10.96.0.1", "fd00::1"],
            "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}})));
        assert_eq!(dual.cluster_ips.len(), 2);
        assert_eq!(dual.family_policy, FamilyPolicy::RequireDualStack);
        assert_eq!(dual.primary_family, Some(Family::V6));
    }
}

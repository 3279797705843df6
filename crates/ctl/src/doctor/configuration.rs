//! Checks of pools and advertisements.

use std::net::IpAddr;

use herald_core::Prefix;
use herald_core::config::{AdvertisingNode, Ineffective, Pool, ReportedInterfaces, ResourceKind};

use super::others::OtherObjects;
use super::{DoctorCheck, DoctorFinding, names};
use crate::cluster::{Absence, ClusterView};
use crate::explain::advertisements_of;
use crate::model::Model;

pub(super) fn findings(cluster: &ClusterView, model: &Model, others: &OtherObjects) -> Vec<DoctorFinding> {
    let mut findings = vec![definitions(cluster)];
    if let Some(absence) = cluster.absent(&[
        "IPAddressPool",
        "L2Advertisement",
        "BGPAdvertisement",
        "Namespace",
    ]) {
        findings.push(DoctorFinding::unknown(DoctorCheck::Configuration, absence));
        return findings;
    }
    if cluster.objects.pools.is_empty() {
        if !cluster.installation.pods.is_empty() {
            findings.push(DoctorFinding::warn(
                DoctorCheck::Configuration,
                "there is no IPAddressPool",
                "create an IPAddressPool and an advertisement; Services wait until then",
            ));
        }
        return findings;
    }
    findings.push(problems(model));
    findings.push(advertisements(cluster, model));
    findings.push(networks(cluster, model, others));
    findings
}

fn definitions(cluster: &ClusterView) -> DoctorFinding {
    let missing = cluster.objects.missing.iter();
    let missing = missing.filter(|(_, absence)| matches!(absence, Absence::NotInstalled(_)));
    let missing: Vec<&str> = missing.map(|(kind, _)| *kind).collect();
    let others = cluster.objects.missing.values();
    let failed = others
        .filter(|absence| !matches!(absence, Absence::NotInstalled(_)))
        .map(ToString::to_string);
    let failed: Vec<String> = failed.collect();
    if missing.is_empty() && !failed.is_empty() {
        return DoctorFinding::unknown(DoctorCheck::Definitions, names(failed.iter().map(String::as_str)));
    }
    if missing.is_empty() {
        return DoctorFinding::pass(DoctorCheck::Definitions, "all kinds are known to the API server");
    }
    let finding = if cluster.installation.pods.is_empty() {
        DoctorFinding::warn
    } else {
        DoctorFinding::fail
    };
    finding(
        DoctorCheck::Definitions,
        format!("the API server does not know {}", names(missing)),
        "install the definitions: the chart does it with crds.enabled, and kubectl apply -f crds/ does it by hand".to_owned(),
    )
}

fn problems(model: &Model) -> DoctorFinding {
    let problems: Vec<String> = model.problems().collect();
    if problems.is_empty() {
        return DoctorFinding::pass(
            DoctorCheck::Configuration,
            "all pools, advertisements and peers are in force as they are written",
        );
    }
    DoctorFinding::fail(
        DoctorCheck::Configuration,
        names(problems.iter().map(String::as_str)),
        "correct the field that each message names; until then the last good version is in force, if there is one",
    )
}

fn advertisements(cluster: &ClusterView, model: &Model) -> DoctorFinding {
    let nodes = cluster.objects.nodes.iter().map(|node| AdvertisingNode {
        labels: node.metadata.labels.clone().unwrap_or_default(),
        interfaces: ReportedInterfaces::Unreported,
    });
    let nodes: Vec<AdvertisingNode> = nodes.collect();
    let mut found = Vec::new();
    for pool in model.catalog.pools() {
        if advertisements_of(model, pool).is_empty() {
            found.push(format!(
                "IPAddressPool {}: {}",
                pool.name,
                Ineffective::NoAdvertisement
            ));
        }
    }
    for advertisement in model.catalog.l2_advertisements() {
        let (kind, name) = (ResourceKind::L2Advertisement, &advertisement.name);
        let reasons = model.catalog.ineffective(kind, name, nodes.iter());
        let reasons = reasons
            .iter()
            .filter(|reason| !matches!(reason, Ineffective::SetAside(_)));
        found.extend(reasons.map(|reason| format!("L2Advertisement {name}: {reason}")));
    }
    if found.is_empty() {
        return DoctorFinding::pass(
            DoctorCheck::Advertisements,
            "each pool is announced, and each advertisement selects pools and nodes",
        );
    }
    DoctorFinding::warn(
        DoctorCheck::Advertisements,
        names(found.iter().map(String::as_str)),
        "create an advertisement for the pool, or correct the names and selectors",
    )
}

fn networks(cluster: &ClusterView, model: &Model, others: &OtherObjects) -> DoctorFinding {
    if let Some(absence) = cluster.absent(&["Node"]) {
        return DoctorFinding::unknown(DoctorCheck::PoolNetworks, absence);
    }
    let mut found = Vec::new();
    for pool in model.catalog.pools() {
        found.extend(model.allocator.node_overlap(pool).map(|overlap| {
            let examples = overlap
                .examples
                .iter()
                .map(|(address, user)| format!("{address} ({user})"));
            format!(
                "IPAddressPool {} has addresses of nodes: {}",
                pool.name,
                examples.collect::<Vec<_>>().join(", ")
            )
        }));
        let pods = cluster.objects.nodes.iter().flat_map(|node| {
            let spec = node.spec.as_ref();
            spec.into_iter()
                .flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(spec.pod_cidr.iter()))
        });
        let pods = pods.map(|cidr| ("Pods", cidr));
        let services = others
            .service_networks
            .iter()
            .map(|cidr| ("the cluster's Services", cidr));
        for (whose, cidr) in pods.chain(services) {
            let text = format!(
                "IPAddressPool {} overlaps the network {cidr} of {whose}",
                pool.name
            );
            if prefix(cidr).is_some_and(|network| overlaps(pool, network)) && !found.contains(&text) {
                found.push(text);
            }
        }
    }
    if found.is_empty() {
        let text = match others.service_networks.as_slice() {
            [] => {
                "no pool has addresses of nodes or of Pods; the networks of the cluster's Services are unknown"
            }
            [..] => "no pool has addresses of nodes, of Pods or of the cluster's Services",
        };
        return DoctorFinding::pass(DoctorCheck::PoolNetworks, text);
    }
    DoctorFinding::fail(
        DoctorCheck::PoolNetworks,
        names(found.iter().map(String::as_str)),
        "take these addresses out of the pool",
    )
}

fn prefix(cidr: &str) -> Option<Prefix> {
    let (network, length) = cidr.split_once('/')?;
    Some(Prefix::of(network.parse().ok()?, length.parse().ok()?))
}

fn overlaps(pool: &Pool, network: Prefix) -> bool {
    let within = |address: IpAddr| network.contains(address);
    let ranges = pool.addresses.ranges().iter();
    pool.contains(network.address)
        || ranges
            .clone()
            .any(|range| within(range.first()) || within(range.last()))
}

//! Resources and Services, by the parser and the allocator of Herald.

use std::net::IpAddr;

use herald_api::{annotation, convert};
use herald_core::ipam::{AllocationOutcome, Note};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::metallb::MetalLbObjects;
use super::{MigrationCheck, MigrationFinding};
use crate::cluster::ClusterView;
use crate::doctor::names;
use crate::explain::pool_message;
use crate::model::Model;
use crate::output::quoted;

/// The kinds without which nothing can be said of Services.
const DECISIVE: [&str; 4] = ["Service", "Namespace", "Node", "IPAddressPool"];

pub(super) fn findings(
    cluster: &ClusterView,
    metallb: &MetalLbObjects,
    model: &mut Model,
) -> Vec<MigrationFinding> {
    let mut findings = problems(cluster, model);
    findings.extend(fields(cluster, metallb, model));
    findings.extend(services(cluster, model));
    findings
}

fn problems(cluster: &ClusterView, model: &Model) -> Vec<MigrationFinding> {
    let kinds = [
        "IPAddressPool",
        "L2Advertisement",
        "BGPPeer",
        "BGPAdvertisement",
        "Community",
        "BFDProfile",
    ];
    if let Some(absence) = cluster.absent(&kinds) {
        return vec![MigrationFinding::unknown(MigrationCheck::Resources, absence)];
    }
    let remedy = "correct them: Herald sets such a resource aside, and has no last good version of it at its first start";
    let found = model
        .problems()
        .map(|problem| MigrationFinding::fail(MigrationCheck::Resources, problem, remedy));
    let mut found: Vec<_> = found.collect();
    if found.is_empty() {
        let objects = &cluster.objects;
        let pools = objects.pools.len();
        let others =
            objects.l2_advertisements.len() + objects.bgp.advertisements.len() + objects.bgp.peers.len();
        found.push(MigrationFinding::pass(
            MigrationCheck::Resources,
            format!("{pools} pools, and {others} advertisements and peers, can be used as they are"),
        ));
    }
    found
}

/// Fields of `BGPPeer`s that mean something else to Herald.
fn fields(cluster: &ClusterView, metallb: &MetalLbObjects, model: &Model) -> Vec<MigrationFinding> {
    let mut found = Vec::new();
    for (kind, name, reason) in model.bgp.ineffective(false) {
        found.push(MigrationFinding::warn(
            MigrationCheck::Fields,
            format!("{kind} {}: {}", quoted(&name), reason.reason()),
            reason.to_string(),
        ));
    }
    for peer in &cluster.objects.bgp.peers {
        let (name, spec) = (quoted(&peer.name_any()), &peer.spec.spec);
        if spec.enable_graceful_restart == Some(false) {
            found.push(MigrationFinding::warn(
                MigrationCheck::Fields,
                format!("BGPPeer {name}: enableGracefulRestart is false"),
                "remove the field before the nodes move: without it routers keep the routes until those of Herald are there",
            ));
        }
        if metallb.uses_frr_k8s() {
            let source = spec.source_address.as_ref();
            let source = source.map(|address| ("sourceAddress", address.clone()));
            let local = spec.local_asn.map(|asn| ("localASN", asn.to_string()));
            found.extend([source, local].into_iter().flatten().map(|(field, value)| {
                MigrationFinding::warn(
                    MigrationCheck::Fields,
                    format!("BGPPeer {name}: {field} is {}", value),
                    format!(
                        "BGPPeer {name}: Herald will use {field}, MetalLB ignored it (frr-k8s): remove it, or look whether it is right"
                    ),
                )
            }));
        }
    }
    found
}

fn services(cluster: &ClusterView, model: &mut Model) -> Vec<MigrationFinding> {
    if let Some(absence) = cluster.absent(&DECISIVE) {
        return vec![MigrationFinding::unknown(MigrationCheck::Services, absence)];
    }
    let class = model.class.clone();
    let (mut handled, mut deprecated, mut found) = (0_usize, Vec::new(), Vec::new());
    for service in cluster
        .objects
        .services
        .iter()
        .filter(|service| convert::is_ours(service, class.as_deref()))
    {
        handled += 1;
        let key = convert::key(service);
        if service
            .metadata
            .annotations
            .iter()
            .flat_map(annotation::deprecated)
            .next()
            .is_some()
        {
            deprecated.push(key.to_string());
        }
        let held = convert::ingress_addresses(service);
        let Some((outcome, caveat)) = model.allocator.decision(&key) else {
            continue;
        };
        match outcome {
            AllocationOutcome::Assigned(assignment) if held.is_empty() || assignment.addresses == held => {
                found.extend(caveat.map(|note| {
                    MigrationFinding::warn(
                        MigrationCheck::Services,
                        format!("{key}: {}", note.reason()),
                        format!("{key}: {note:#}"),
                    )
                }));
            }
            AllocationOutcome::Assigned(assignment) => found.push(MigrationFinding::fail(
                MigrationCheck::Services,
                format!(
                    "{key}: has {}, and would get {}",
                    texts(&held),
                    texts(&assignment.addresses)
                ),
                format!("{key}: {}", reason(model, service, &held, caveat.as_ref())),
            )),
            AllocationOutcome::Unassigned(refusal) if held.is_empty() => found.push(MigrationFinding::warn(
                MigrationCheck::Services,
                format!("{key}: has no address, and would get none: {}", refusal.reason()),
                format!("{key}: {refusal:#}"),
            )),
            AllocationOutcome::Unassigned(refusal) => found.push(MigrationFinding::fail(
                MigrationCheck::Services,
                format!("{key}: would lose {}: {}", texts(&held), refusal.reason()),
                format!("{key}: {refusal:#}"),
            )),
        }
    }
    if !deprecated.is_empty() {
        let found_text = format!(
            "{} have annotations with the prefix {}, which still work: {}",
            deprecated.len(),
            annotation::DEPRECATED_PREFIX,
            names(deprecated.iter().map(String::as_str))
        );
        let remedy = format!("write the prefix {} instead", annotation::PREFIX);
        found.push(MigrationFinding::warn(
            MigrationCheck::Services,
            found_text,
            remedy,
        ));
    }
    if found.is_empty() {
        found.push(MigrationFinding::pass(
            MigrationCheck::Services,
            format!("all {handled} of the class that Herald would handle keep their addresses"),
        ));
    }
    found
}

/// Returns why a Service does not keep its addresses: what it asks for, what is noted, or what the pools of these addresses say.
fn reason(model: &mut Model, service: &Service, held: &[IpAddr], caveat: Option<&Note>) -> String {
    let service = convert::service(service);
    if let Ok(requested) = &service.request.addresses
        && requested.iter().any(|address| !held.contains(address))
    {
        return format!("the Service asks for {}", texts(requested));
    }
    if let Some(note) = caveat {
        return format!("{note:#}");
    }
    let answers = model.allocator.explain(&service.key, model.now);
    let answers = answers.unwrap_or_default();
    let reasons = held.iter().map(|address| {
        let mut pools = model.catalog.pools().iter();
        let Some(pool) = pools.find(|pool| pool.owns(*address)) else {
            return format!("no pool in force has {address}");
        };
        let answer = answers.iter().find(|(name, _)| *name == pool.name);
        let answer = answer
            .map(|(_, outcome)| pool_message(outcome))
            .unwrap_or_default();
        format!("{address} is of pool {}: {answer}", pool.name)
    });
    reasons.collect::<Vec<_>>().join("; ")
}

fn texts(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

//! Resources and Services, by the parser and the allocator of Herald.

use herald_api::{annotation, convert};
use herald_core::ipam::AllocationOutcome;
use kube::ResourceExt;

use super::{MigrationCheck, MigrationFinding};
use crate::cluster::ClusterView;
use crate::doctor::names;
use crate::model::Model;
use crate::output::quoted;

/// The kinds without which nothing can be said of Services.
const DECISIVE: [&str; 4] = ["Service", "Namespace", "Node", "IPAddressPool"];

pub(super) fn findings(cluster: &ClusterView, model: &Model) -> Vec<MigrationFinding> {
    let mut findings = problems(cluster, model);
    findings.extend(fields(cluster, model));
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
fn fields(cluster: &ClusterView, model: &Model) -> Vec<MigrationFinding> {
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
        if spec.source_address.is_some() || spec.local_asn.is_some() {
            found.push(MigrationFinding::warn(
                MigrationCheck::Fields,
                format!("BGPPeer {name}: sourceAddress or localASN is set"),
                "look whether it is right: Herald uses it, and MetalLB with frr-k8s does not",
            ));
        }
    }
    found
}

fn services(cluster: &ClusterView, model: &Model) -> Vec<MigrationFinding> {
    if let Some(absence) = cluster.absent(&DECISIVE) {
        return vec![MigrationFinding::unknown(MigrationCheck::Services, absence)];
    }
    let class = model.class.as_deref();
    let (mut handled, mut deprecated, mut found) = (0_usize, Vec::new(), Vec::new());
    for service in cluster
        .objects
        .services
        .iter()
        .filter(|service| convert::is_ours(service, class))
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
        let texts = |addresses: &[std::net::IpAddr]| {
            addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
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
                format!("heraldctl explain service {key} says why, once Herald is installed"),
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

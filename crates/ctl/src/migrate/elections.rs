//! The addresses for which another node is elected when MetalLB is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use herald_api::convert::{self, MetalLbProgram};
use herald_core::{Features, Liveness, Member, NodeName, NodeState, Profile};
use jiff::Timestamp;
use kube::ResourceExt;

use super::metallb::MetalLbObjects;
use super::{MigrationCheck, MigrationFinding};
use crate::cluster::{ClusterView, Program};
use crate::doctor::names;
use crate::explain::DECISIVE;
use crate::model::{AnnouncementModel, Model};

/// What makes elections differ.
const REMEDY: &str = "these addresses move when MetalLB is gone, which clients see as a short outage: choose the time of the removal by that";

pub(super) fn finding(cluster: &ClusterView, metallb: &MetalLbObjects, model: &Model) -> MigrationFinding {
    if let Some(absence) = cluster.absent(&DECISIVE) {
        return MigrationFinding::unknown(MigrationCheck::Elections, absence);
    }
    let speakers = cluster.installation.of(Program::Speaker).count();
    if speakers == 0 {
        return of_objects(cluster, metallb, model);
    }
    if !cluster.has_all_states() {
        let reasons = cluster.states.reasons().join("; ");
        return MigrationFinding::unknown(MigrationCheck::Elections, reasons);
    }
    let states = &cluster.states.speakers;
    if let Some(found) = not_beside(cluster, metallb, model.today) {
        return found;
    }
    let differences = states.iter().flat_map(|state| &state.election_differences);
    let addresses: BTreeSet<&str> = differences
        .map(|difference| difference.address.as_str())
        .collect();
    let moving: Vec<&str> = addresses.into_iter().collect();
    outcome(&moving, "as Herald's speakers say")
}

/// Returns what is said if some of Herald's programs do not run beside MetalLB.
fn not_beside(cluster: &ClusterView, metallb: &MetalLbObjects, today: Timestamp) -> Option<MigrationFinding> {
    let check = MigrationCheck::Elections;
    let (beside, alone): (Vec<_>, Vec<_>) = cluster
        .states
        .speakers
        .iter()
        .partition(|state| state.beside_metallb);
    let alone = names(alone.iter().map(|state| state.node.as_str()));
    let mut programs = Vec::new();
    if !metallb.speaker_nodes().is_empty() && !alone.is_empty() {
        programs.push(format!("Herald's speakers on {alone}"));
    }
    let controller = cluster.states.controller.as_ref();
    let has_controller = metallb.is_left(MetalLbProgram::Controller, today);
    if has_controller && controller.is_some_and(|state| !state.waits_for_metallb) {
        programs.push("Herald's active controller".to_owned());
    }
    if !programs.is_empty() {
        return Some(MigrationFinding::fail(
            check,
            format!(
                "MetalLB runs, and these do not run beside it: {}",
                programs.join(", and ")
            ),
            "both announce and write: set migration.besideMetalLB: true, or uninstall Herald",
        ));
    }
    if !beside.is_empty() {
        return None;
    }
    if let Some(absence) = &metallb.no_pods {
        return Some(MigrationFinding::unknown(check, absence.to_string()));
    }
    if has_controller || metallb.is_left(MetalLbProgram::Speaker, today) {
        return Some(MigrationFinding::warn(
            check,
            "Pods of MetalLB are there, but no speaker of it is ready, and Herald's speakers elect by their own rules",
            "run this again when MetalLB's speakers are ready, or delete what is left of MetalLB",
        ));
    }
    Some(MigrationFinding::pass(
        check,
        "no Pod of MetalLB is left, and Herald's speakers elect by their own rules",
    ))
}

/// Compares the elections by what objects show. Subnets and interfaces of nodes are on no object.
fn of_objects(cluster: &ClusterView, metallb: &MetalLbObjects, model: &Model) -> MigrationFinding {
    let services = cluster.objects.services.iter();
    let ours = services.filter(|service| convert::is_ours(service, model.class.as_deref()));
    let addresses: BTreeSet<IpAddr> = ours.flat_map(convert::ingress_addresses).collect();
    let nodes = metallb.speaker_nodes();
    let nodes: Vec<String> = if nodes.is_empty() {
        cluster.objects.nodes.iter().map(ResourceExt::name_any).collect()
    } else {
        nodes.into_iter().map(str::to_owned).collect()
    };
    let owners = |features: Features| -> BTreeMap<IpAddr, Option<NodeName>> {
        let members = nodes.iter().map(|node| member(node, features)).collect();
        let decided = AnnouncementModel::with_members(
            &addresses,
            &cluster.objects,
            &cluster.installation,
            Some(members),
            model,
        );
        let owner = |address: &IpAddr| {
            let mut roles = decided.ownership.roles(*address).iter();
            (*address, roles.find_map(|(_, role)| role.owner()).cloned())
        };
        addresses.iter().map(owner).collect()
    };
    let alone = owners(Features::OF_THIS_VERSION);
    let beside = owners(Features::OF_THIS_VERSION.with(Features::BESIDE_METALLB));
    let moving: Vec<String> = alone
        .iter()
        .filter(|(address, owner)| beside.get(address) != Some(owner))
        .map(|(address, _)| address.to_string())
        .collect();
    let moving: Vec<&str> = moving.iter().map(String::as_str).collect();
    outcome(
        &moving,
        "as far as objects show; subnets and interfaces of nodes count, too, and are known when Herald runs beside MetalLB",
    )
}

/// Returns a speaker that says nothing of its interfaces.
fn member(node: &str, features: Features) -> Member {
    let profile = Profile {
        features,
        ..Profile::default()
    };
    Member {
        profile: Some(Arc::new(profile)),
        ..Member::new(NodeName::from(node), Liveness::Alive, NodeState::Ready)
    }
}

fn outcome(moving: &[&str], source: &str) -> MigrationFinding {
    if moving.is_empty() {
        return MigrationFinding::pass(
            MigrationCheck::Elections,
            format!("the same nodes are elected for all addresses, {source}"),
        );
    }
    let text = format!(
        "another node is elected for {} addresses, {source}: {}",
        moving.len(),
        names(moving.iter().copied())
    );
    MigrationFinding::warn(MigrationCheck::Elections, text, REMEDY)
}

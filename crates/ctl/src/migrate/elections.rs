//! The addresses for which another node is elected when MetalLB is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use herald_api::convert;
use herald_core::{Features, Liveness, Member, NodeName, NodeState, Profile};
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
    if !states.iter().any(|state| state.beside_metallb) {
        return MigrationFinding::pass(
            MigrationCheck::Elections,
            "Herald's speakers see no MetalLB, and elect by their own rules",
        );
    }
    let differences = states.iter().flat_map(|state| &state.election_differences);
    let addresses: BTreeSet<&str> = differences
        .map(|difference| difference.address.as_str())
        .collect();
    let moving: Vec<&str> = addresses.into_iter().collect();
    outcome(&moving, "as Herald's speakers say")
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

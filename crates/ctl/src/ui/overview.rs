//! What the page shows, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use herald_api::convert;
use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use super::address_map::{AddressUses, RangeMap};
use crate::cluster::ClusterView;
use crate::explain::{History, MoveLine, ServiceExplainer, advertisements_of, last_moves};
use crate::model::Model;
use crate::status::{LeaderLine, NodeLine, PoolLine, Status};

/// The cells of all maps, at most.
const CELLS: usize = 4096;
/// The cells of the map of a pool, at most.
const CELLS_OF_POOL: usize = 1024;
/// The pools that are shown.
const POOLS: usize = 128;
/// The Services that are listed, those in trouble first.
const SERVICES: usize = 250;
/// The addresses that are listed of all nodes.
const OWNED: usize = 2048;
/// The moves that are shown.
const MOVES: usize = 200;

/// Herald in a cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    /// When it was read (RFC 3339), by the clock of this machine.
    time: String,
    status: Status,
    pub(super) pools: Vec<PoolMap>,
    /// The pools that are not shown.
    more_pools: usize,
    pub(super) services: Vec<ServiceOverview>,
    nodes: Vec<NodeOverview>,
    /// The last moves, newest first.
    moves: Vec<MoveLine>,
}

/// A pool and its addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolMap {
    #[serde(flatten)]
    line: PoolLine,
    /// Whether it is in force, perhaps in an older version.
    is_in_force: bool,
    advertisements: Vec<String>,
    pub(super) ranges: Vec<RangeMap>,
}

/// A Service, and the one thing to do next about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceOverview {
    pub(super) service: String,
    addresses: Vec<String>,
    answered_by: BTreeSet<String>,
    /// What its conditions say is wrong: the reason.
    reason: Option<String>,
    pub(super) is_well: bool,
    /// What to do next, as `heraldctl explain` says it.
    pub(super) next: String,
}

/// A node and the addresses that it answers for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeOverview {
    #[serde(flatten)]
    line: NodeLine,
    owned: Vec<OwnedAddress>,
}

/// An address that a node answers for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnedAddress {
    address: String,
    since: String,
    obstacle: Option<String>,
}

impl Overview {
    /// Returns what the page shows of a cluster.
    pub(super) fn new(
        cluster: &ClusterView,
        namespace: Option<&str>,
        leader: Result<LeaderLine, String>,
    ) -> Self {
        let mut model = Model::of(cluster);
        let mut status = Status::of_cluster(cluster, namespace, leader);
        let uses = AddressUses::of(cluster);
        let lines = status.pools.take().unwrap_or_default();
        let more_pools = lines.len().saturating_sub(POOLS);
        let budget = (CELLS / lines.len().clamp(1, POOLS)).min(CELLS_OF_POOL);
        let pools = lines.into_iter().take(POOLS).map(|line| {
            let mut in_force = model.catalog.pools().iter();
            let pool = in_force.find(|pool| pool.name.as_str() == line.pool);
            PoolMap {
                is_in_force: pool.is_some(),
                advertisements: pool.map_or_else(Vec::new, |pool| advertisements_of(&model, pool)),
                ranges: pool.map_or_else(Vec::new, |pool| uses.map(pool, budget)),
                line,
            }
        });
        Self {
            time: model.today.to_string(),
            pools: pools.collect(),
            more_pools,
            services: services(cluster, &mut model, &status),
            nodes: nodes(cluster, &mut status),
            moves: last_moves(cluster, MOVES, |_| true),
            status,
        }
    }
}

fn services(cluster: &ClusterView, model: &mut Model, status: &Status) -> Vec<ServiceOverview> {
    // Without the Pods the class that Herald handles is not known.
    if cluster.absent(&["Pod", "Service"]).is_some() {
        return Vec::new();
    }
    let class = cluster.installation.class();
    let handled = cluster.objects.services.iter();
    let handled = handled.filter(|service| convert::is_ours(service, class));
    let mut shown: Vec<(bool, String, &Service)> = handled
        .map(|service| (true, convert::key(service).to_string(), service))
        .collect();
    let reasons: BTreeMap<&str, &str> = status
        .troubled
        .iter()
        .map(|line| (line.service.as_str(), line.reason.as_str()))
        .collect();
    for (is_well, key, _) in &mut shown {
        *is_well = !reasons.contains_key(key.as_str());
    }
    shown.sort_by(|(a_well, a, _), (b_well, b, _)| (a_well, a).cmp(&(b_well, b)));
    shown.truncate(SERVICES);
    let addresses = shown
        .iter()
        .flat_map(|(_, _, service)| convert::ingress_addresses(service));
    let addresses = addresses.collect();
    let mut explainer = ServiceExplainer::new(cluster, model, &addresses);
    let overview = |(_, key, service): (bool, String, &Service)| {
        let explained = explainer.explain(service, History::default());
        let answered_by = explained.announcements.into_iter();
        ServiceOverview {
            reason: reasons.get(key.as_str()).map(|reason| (*reason).to_owned()),
            service: explained.service,
            addresses: explained.addresses,
            answered_by: answered_by.filter_map(|one| one.answered_by).flatten().collect(),
            is_well: explained.next.is_well,
            next: explained.next.text,
        }
    };
    shown.into_iter().map(overview).collect()
}

fn nodes(cluster: &ClusterView, status: &mut Status) -> Vec<NodeOverview> {
    let lines = std::mem::take(&mut status.nodes);
    let share = OWNED / lines.len().max(1);
    let overview = |line: NodeLine| {
        let mut states = cluster.states.speakers.iter();
        let own = states.find(|state| state.node == line.node);
        let answered = own.iter().flat_map(|own| &own.addresses);
        let owned = answered.filter(|address| address.answers).take(share);
        let owned = owned.map(|address| OwnedAddress {
            address: address.address.clone(),
            since: address.since.clone(),
            obstacle: address.obstacle.as_ref().map(ToString::to_string),
        });
        NodeOverview {
            owned: owned.collect(),
            line,
        }
    };
    lines.into_iter().map(overview).collect()
}

#[cfg(test)]
mod tests;

//! What a pool gives, to whom, and who announces its addresses.

use herald_api::convert;
use herald_core::PoolName;
use herald_core::config::{AdvertisingNode, Ineffective, Pool, ReportedInterfaces, ResourceKind};
use herald_core::ipam::Usage;
use serde::Serialize;

use super::find;
use crate::cluster::ClusterView;
use crate::model::Model;
use crate::output::{Printable, Table, bar, good, heading, unknown_text, warning};

/// The Services that the text shows.
const SHOWN: usize = 20;

/// The explanation of a pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolExplanation {
    pool: String,
    /// `spec.addresses`.
    addresses: Vec<String>,
    /// Whether it is in force, perhaps in an older version.
    is_in_force: bool,
    /// Why it is not in force as it is written, or has less effect: the reason and the message.
    problems: Vec<(String, String)>,
    auto_assign: Option<bool>,
    usage: Option<UsageLine>,
    /// The `L2Advertisement`s and `BGPAdvertisement`s that select it.
    advertisements: Vec<String>,
    /// The addresses in use, each with the Services.
    holders: Vec<HolderLine>,
    reservations: Vec<(String, String)>,
    unknown: Vec<String>,
}

/// How many addresses are in use; numbers saturate at 2^63 - 1.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageLine {
    pub(crate) assigned: u64,
    pub(crate) available: u64,
}

impl From<Usage> for UsageLine {
    fn from(usage: Usage) -> Self {
        let sum = |v4: u128, v6: u128| u64::try_from(v4.saturating_add(v6)).unwrap_or(u64::MAX);
        Self {
            assigned: sum(usage.assigned_v4, usage.assigned_v6),
            available: sum(usage.available_v4, usage.available_v6),
        }
    }
}

/// A Service that has an address of the pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HolderLine {
    address: String,
    service: String,
}

/// Explains a pool.
///
/// # Errors
/// When there is no such pool.
pub(crate) fn explain(
    cluster: &ClusterView,
    model: &mut Model,
    name: &str,
) -> anyhow::Result<PoolExplanation> {
    let name_of = |pool: &herald_api::IPAddressPool| pool.metadata.name.clone().unwrap_or_default();
    let object = find("IPAddressPool", name, &cluster.objects.pools, name_of)?;
    let nodes: Vec<AdvertisingNode> = cluster.objects.nodes.iter().map(advertising).collect();
    let ineffective = model.catalog.ineffective(ResourceKind::Pool, name, nodes.iter());
    let in_force = model
        .catalog
        .pools()
        .iter()
        .find(|pool| pool.name.as_str() == name);
    let advertisements = in_force.map_or_else(Vec::new, |pool| advertisements_of(model, pool));
    let has_bgp = advertisements.iter().any(|name| name.starts_with("BGP"));
    let is_known = cluster.absent(&["L2Advertisement", "BGPAdvertisement"]).is_none();
    let is_guess =
        |reason: &Ineffective| matches!(reason, Ineffective::NoAdvertisement) && (has_bgp || !is_known);
    let problems = ineffective.iter().filter(|reason| !is_guess(reason));
    let mut holders = Vec::new();
    for service in &cluster.objects.services {
        for address in convert::ingress_addresses(service) {
            if in_force.is_some_and(|pool| pool.contains(address)) {
                holders.push((address, convert::key(service).to_string()));
            }
        }
    }
    holders.sort();
    let reservations = in_force.iter().flat_map(|pool| &pool.reservations);
    Ok(PoolExplanation {
        pool: name.to_owned(),
        addresses: object.spec.addresses.clone(),
        is_in_force: in_force.is_some(),
        problems: problems
            .map(|reason| (reason.reason().to_owned(), reason.to_string()))
            .collect(),
        auto_assign: in_force.map(|pool| pool.auto_assign),
        usage: model.allocator.usage(&PoolName::new(name)).map(Into::into),
        advertisements,
        reservations: reservations
            .map(|(address, service)| (address.to_string(), service.to_string()))
            .collect(),
        holders: holders
            .into_iter()
            .map(|(address, service)| HolderLine {
                address: address.to_string(),
                service,
            })
            .collect(),
        unknown: cluster.unknown.clone(),
    })
}

fn advertising(node: &k8s_openapi::api::core::v1::Node) -> AdvertisingNode {
    AdvertisingNode {
        labels: node.metadata.labels.clone().unwrap_or_default(),
        interfaces: ReportedInterfaces::Unreported,
    }
}

/// Returns the advertisements in force that select a pool.
pub(crate) fn advertisements_of(model: &Model, pool: &Pool) -> Vec<String> {
    let l2 = model.catalog.l2_advertisements().iter();
    let l2 = l2
        .filter(|one| one.scope.selects_pool(pool))
        .map(|one| format!("L2Advertisement {}", one.name));
    let bgp = model
        .bgp
        .advertisements()
        .filter(|one| one.scope.selects_pool(pool));
    l2.chain(bgp.map(|one| format!("BGPAdvertisement {}", one.name)))
        .collect()
}

impl Printable for PoolExplanation {
    fn text(&self, is_wide: bool) -> String {
        let state = match (self.is_in_force, self.problems.is_empty()) {
            (true, true) => good("in force"),
            (true, false) => warning("in force, with less effect than it was written for"),
            (false, _) => warning("not in force"),
        };
        let mut text = format!("IPAddressPool {}: {state}\n", heading(&self.pool));
        let mut line = |name: &str, value: &str| text += &format!("  {name:<15}{value}\n");
        line("addresses", &crate::output::escaped(&self.addresses.join(", ")));
        for (reason, message) in &self.problems {
            line(
                "problem",
                &format!("{}: {}", warning(reason), crate::output::escaped(message)),
            );
        }
        if let Some(usage) = &self.usage {
            let capacity = usage.assigned.saturating_add(usage.available);
            line(
                "usage",
                &format!(
                    "{} {} of {capacity} in use",
                    bar(usage.assigned, capacity),
                    usage.assigned
                ),
            );
        }
        if self.auto_assign == Some(false) {
            line(
                "autoAssign",
                "false: only Services that ask for the pool get its addresses",
            );
        }
        let advertisements = self.advertisements.join(", ");
        line(
            "announced by",
            if advertisements.is_empty() {
                "no advertisement that is known"
            } else {
                &advertisements
            },
        );
        for (address, service) in &self.reservations {
            line("reserved", &format!("{address} for {service}"));
        }
        let mut table = Table::new(&["ADDRESS", "SERVICE"]);
        let shown = if is_wide { usize::MAX } else { SHOWN };
        for holder in self.holders.iter().take(shown) {
            table.row([holder.address.as_str().into(), holder.service.as_str().into()]);
        }
        if !table.is_empty() {
            text += &format!("\n{}", table.text(2));
        }
        if let more @ 1.. = self.holders.len().saturating_sub(shown) {
            text += &format!("  and {more} more; -o wide shows all\n");
        }
        text + &unknown_text(&self.unknown)
    }
}

//! `heraldctl plan`: what would change if manifests were applied. Nothing is written.

mod manifest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueHint};
use herald_api::convert;
use herald_core::ServiceKey;
use herald_core::announce::layer2::ownership::Role;
use herald_core::ipam::AllocationOutcome;
use serde::Serialize;

use crate::cluster::{ClusterView, CommonArgs};
use crate::model::{AnnouncementModel, Model};
use crate::output::{Printable, Table, good, heading, unknown_text, warning};
use manifest::Manifest;

/// The changes of a kind that the text shows.
const SHOWN: usize = 50;

/// What would be applied.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A file with manifests, or - for standard input.
    #[arg(long, short, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    filename: Vec<PathBuf>,
    /// The namespace of Services whose manifests have none; if not given, that of the context.
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    /// The problems that resources would have, and have not now.
    problems: Vec<String>,
    services: Vec<ServiceChange>,
    owners: Vec<OwnerChange>,
    /// The objects of the files that change no decision of Herald.
    ignored: Vec<String>,
    unknown: Vec<String>,
}

/// A Service that would have other addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceChange {
    service: String,
    /// The addresses that it has, or is to have.
    before: Vec<String>,
    after: Vec<String>,
    /// Why it would have none, or not those that it asks for: the reason and the message.
    reason: Option<(String, String)>,
}

/// An address that another node would be elected for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnerChange {
    address: String,
    before: Option<String>,
    after: Option<String>,
    /// Why no node would announce it.
    reason: Option<(String, String)>,
}

impl PlanArgs {
    /// Prints what would change.
    ///
    /// # Errors
    /// When a file cannot be read, or the API server does not answer.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let manifests = manifest::read(&self.filename)?;
        let (connection, cluster) = self.common.read().await?;
        let namespace = self.namespace.as_deref().unwrap_or(&connection.namespace);
        self.common.output.print(&plan(cluster, manifests, namespace)?)
    }
}

/// The kinds without which nothing can be compared.
const NEEDED: [&str; 7] = [
    "Pod",
    "Service",
    "Namespace",
    "Node",
    "EndpointSlice",
    "IPAddressPool",
    "L2Advertisement",
];

/// Compares what the controller and the speakers decide now with what they would decide. Services without a namespace are of
/// `namespace`.
fn plan(mut cluster: ClusterView, manifests: Vec<Manifest>, namespace: &str) -> anyhow::Result<Plan> {
    if let Some(absence) = cluster.absent(&NEEDED) {
        bail!("nothing can be compared: {absence}");
    }
    let mut model = Model::of(&cluster);
    let problems: BTreeSet<String> = model.problems().collect();
    let decisions = decisions(&cluster, &model);
    let owners = owners(&cluster, &model);
    let mut ignored = Vec::new();
    for manifest in manifests {
        let name = manifest.to_string();
        if !manifest.apply(&mut cluster, &mut model, namespace)? {
            ignored.push(name);
        }
    }
    model.update(&cluster);
    let now = self::decisions(&cluster, &model);
    set_addresses(&mut cluster, &now);
    let keys: BTreeSet<&ServiceKey> = decisions.keys().chain(now.keys()).collect();
    let changed = keys
        .into_iter()
        .filter(|key| decisions.get(*key) != now.get(*key));
    let addresses =
        |decided: Option<&PlannedService>| decided.map_or_else(Vec::new, |decided| texts(&decided.addresses));
    let gone = || {
        (
            "NotHandled".to_owned(),
            "Herald would no longer handle the Service: its type or class".to_owned(),
        )
    };
    let service = |key: &ServiceKey| ServiceChange {
        service: key.to_string(),
        before: addresses(decisions.get(key)),
        after: addresses(now.get(key)),
        reason: now
            .get(key)
            .map_or_else(|| Some(gone()), |after| after.reason.clone()),
    };
    // Whether a new Service has endpoints is not known.
    let before: BTreeSet<IpAddr> = owners.keys().copied().collect();
    let existing = decisions
        .keys()
        .filter_map(|key| now.get(key))
        .flat_map(|after| after.addresses.iter().copied());
    let compared: BTreeSet<IpAddr> = before.into_iter().chain(existing).collect();
    let mut owners_then = self::owners(&cluster, &model);
    owners_then.retain(|address, _| compared.contains(address));
    Ok(Plan {
        problems: model
            .problems()
            .filter(|problem| !problems.contains(problem))
            .collect(),
        services: changed.map(service).collect(),
        owners: changed_owners(&owners, &owners_then),
        ignored,
        unknown: cluster.unknown,
    })
}

/// What is decided on a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlannedService {
    addresses: Vec<IpAddr>,
    reason: Option<(String, String)>,
}

fn decisions(cluster: &ClusterView, model: &Model) -> BTreeMap<ServiceKey, PlannedService> {
    let services = cluster.objects.services.iter();
    let ours = services.filter(|service| convert::is_ours(service, cluster.installation.class()));
    let decided = |service| {
        let key = convert::key(service);
        let (outcome, caveat) = model.allocator.decision(&key)?;
        let decided = match outcome {
            AllocationOutcome::Assigned(assignment) => PlannedService {
                addresses: assignment.addresses.to_vec(),
                reason: caveat.map(|note| (note.reason().to_owned(), format!("{note:#}"))),
            },
            AllocationOutcome::Unassigned(refusal) => PlannedService {
                addresses: Vec::new(),
                reason: Some((refusal.reason().to_owned(), format!("{refusal:#}"))),
            },
        };
        Some((key, decided))
    };
    ours.filter_map(decided).collect()
}

/// Writes the addresses into the statuses, as the controller would.
fn set_addresses(cluster: &mut ClusterView, decisions: &BTreeMap<ServiceKey, PlannedService>) {
    use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus};
    for service in &mut cluster.objects.services {
        let Some(decided) = decisions.get(&convert::key(service)) else {
            continue;
        };
        let ingress = decided.addresses.iter().map(|address| LoadBalancerIngress {
            ip: Some(address.to_string()),
            ..LoadBalancerIngress::default()
        });
        service.status.get_or_insert_default().load_balancer = Some(LoadBalancerStatus {
            ingress: Some(ingress.collect()),
        });
    }
}

/// Which node is elected for an address, or why none.
type PlannedOwner = Result<String, (String, String)>;

fn owners(cluster: &ClusterView, model: &Model) -> BTreeMap<IpAddr, PlannedOwner> {
    let services = cluster.objects.services.iter();
    let ours = services.filter(|service| convert::is_ours(service, cluster.installation.class()));
    let addresses: BTreeSet<IpAddr> = ours.flat_map(convert::ingress_addresses).collect();
    let announcements = AnnouncementModel::of(
        &addresses,
        &cluster.objects,
        &cluster.states,
        &cluster.installation,
        model,
    );
    if !announcements.knows_members {
        return BTreeMap::new();
    }
    let owner = |address: IpAddr| {
        let roles = announcements.ownership.roles(address);
        let owner = roles.iter().find_map(|(_, role)| role.owner());
        if let Some(owner) = owner {
            return Some((address, Ok(owner.to_string())));
        }
        let excluded = roles.iter().find_map(|(_, role)| {
            if let Role::Unowned(exclusion) = role {
                Some(exclusion)
            } else {
                None
            }
        });
        excluded.map(|excluded| (address, Err((excluded.reason().to_owned(), excluded.to_string()))))
    };
    addresses.into_iter().filter_map(owner).collect()
}

fn changed_owners(
    before: &BTreeMap<IpAddr, PlannedOwner>,
    after: &BTreeMap<IpAddr, PlannedOwner>,
) -> Vec<OwnerChange> {
    let addresses: BTreeSet<&IpAddr> = before.keys().chain(after.keys()).collect();
    let changed = addresses
        .into_iter()
        .filter(|address| before.get(*address) != after.get(*address));
    let node = |owner: Option<&PlannedOwner>| owner.and_then(|owner| owner.clone().ok());
    let change = |address: &IpAddr| OwnerChange {
        address: address.to_string(),
        before: node(before.get(address)),
        after: node(after.get(address)),
        reason: after.get(address).and_then(|owner| owner.clone().err()),
    };
    changed.map(change).collect()
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

impl Printable for Plan {
    fn text(&self, is_wide: bool) -> String {
        let shown = if is_wide { usize::MAX } else { SHOWN };
        let mut text = String::new();
        for problem in &self.problems {
            text += &format!("{}: {}\n", warning("problem"), crate::output::escaped(problem));
        }
        let join = |addresses: &[String]| {
            if addresses.is_empty() {
                "none".to_owned()
            } else {
                addresses.join(",")
            }
        };
        let reason = |reason: &Option<(String, String)>| {
            reason
                .as_ref()
                .map_or_else(String::new, |(reason, message)| format!("{reason}: {message}"))
        };
        let mut table = Table::new(&["SERVICE", "ADDRESSES NOW", "THEN", "REASON"]);
        for change in self.services.iter().take(shown) {
            table.row([
                change.service.as_str().into(),
                join(&change.before).into(),
                join(&change.after).into(),
                reason(&change.reason).into(),
            ]);
        }
        text += &section("Addresses", &table, self.services.len().saturating_sub(shown));
        let mut table = Table::new(&["ADDRESS", "OWNER NOW", "THEN", "REASON"]);
        for change in self.owners.iter().take(shown) {
            let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "none".to_owned());
            table.row([
                change.address.as_str().into(),
                name(&change.before).into(),
                name(&change.after).into(),
                reason(&change.reason).into(),
            ]);
        }
        text += &section("Owners", &table, self.owners.len().saturating_sub(shown));
        if text.is_empty() {
            text = format!("{}\n", good("no address and no owner would change"));
        }
        if !self.ignored.is_empty() {
            text += &format!(
                "\nnot looked at: {}\n",
                crate::output::escaped(&self.ignored.join(", "))
            );
        }
        text + &unknown_text(&self.unknown)
    }
}

fn section(name: &str, table: &Table, more: usize) -> String {
    if table.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n{}", heading(name), table.text(2));
    if more > 0 {
        text += &format!("  and {more} more; -o wide shows all\n");
    }
    text
}

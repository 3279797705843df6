//! `heraldctl drain` and `undrain`: moves the addresses of a node to others before maintenance, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use herald_api::convert;
use herald_core::announce::eligibility::DRAIN_ANNOTATION;
use herald_core::announce::layer2::ownership::Role;
use herald_core::{NodeName, ServiceKey};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{ClusterView, CommonArgs, plain};
use crate::explain::AddressAnnouncement;
use crate::model::{AnnouncementModel, Model};
use crate::output::{good, print, warning};

/// Between two looks at what has moved.
const PERIOD: Duration = Duration::from_millis(500);
/// The addresses that are listed.
const SHOWN: usize = 20;

/// Which node, and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The name of the Node.
    node: String,
    /// Seconds after which waiting ends; the annotation of the node stays.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// Where an address is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the node to any other.
    Away,
    /// To the node.
    Back,
}

impl DrainArgs {
    /// Drains the node, and waits until other nodes answer for all addresses that it answered for.
    ///
    /// # Errors
    /// When an address has not moved in time; it is named with the reason. When the API server refuses.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        let (connection, cluster) = self.common.read().await?;
        let addresses = answered_by(&cluster, &self.node);
        annotate(&connection.client, &self.node, Some("true")).await?;
        let Some(addresses) = addresses else {
            return unobserved(&self.node, &cluster);
        };
        self.follow(Direction::Away, &addresses).await
    }

    /// Ends the drain of the node, and waits until it answers for all addresses that it is elected for.
    ///
    /// # Errors
    /// When an address has not moved in time; it is named with the reason. When the API server refuses.
    pub(crate) async fn undrain(self) -> anyhow::Result<()> {
        let connection = self.common.connect().await?;
        annotate(&connection.client, &self.node, None).await?;
        let (_, cluster) = self.common.read().await?;
        if answered_by(&cluster, &self.node).is_none() {
            return unobserved(&self.node, &cluster);
        }
        let addresses = elected(&cluster, &self.node);
        self.follow(Direction::Back, &addresses).await
    }

    /// Prints how many addresses have moved, until all have.
    async fn follow(&self, direction: Direction, addresses: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut last = None;
        loop {
            let (_, cluster) = self.common.read().await?;
            let left = left(&cluster, &self.node, direction, addresses);
            let moved = addresses.len() - left.len();
            if last != Some(moved) {
                print(&format!("{moved} of {} addresses have moved\n", addresses.len()))?;
                last = Some(moved);
            }
            if left.is_empty() {
                let text = match direction {
                    Direction::Away => format!("{} answers for no address any more", self.node),
                    Direction::Back => {
                        format!("{} answers for all addresses that it is elected for", self.node)
                    }
                };
                return print(&format!("{}\n", good(&text)));
            }
            if Instant::now() >= deadline {
                print(&reasons(&cluster, &left))?;
                bail!(
                    "{} addresses have not moved within {} s",
                    left.len(),
                    self.timeout
                );
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// Sets or removes the annotation by which a node is drained.
async fn annotate(client: &Client, node: &str, value: Option<&str>) -> anyhow::Result<()> {
    let mut annotations = serde_json::Map::new();
    annotations.insert(
        DRAIN_ANNOTATION.to_owned(),
        value.map_or(Value::Null, Value::from),
    );
    let patch = json!({"metadata": {"annotations": annotations}});
    let nodes = Api::<Node>::all(client.clone());
    let patched = nodes
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.map_err(|error| {
        anyhow!("the annotation {DRAIN_ANNOTATION} of Node {node} cannot be changed: {}; your user needs the verb patch on nodes", plain(&error))
    })?;
    print(&match value {
        Some(value) => format!("Node {node}: {DRAIN_ANNOTATION}={value}\n"),
        None => format!("Node {node}: {DRAIN_ANNOTATION} removed\n"),
    })
}

/// Returns the addresses that a node answers for, as it says; `None` if that is unknown.
fn answered_by(cluster: &ClusterView, node: &str) -> Option<BTreeSet<IpAddr>> {
    let state = cluster.states.speakers.iter().find(|state| state.node == node)?;
    let answered = state.addresses.iter().filter(|address| address.answers);
    Some(
        answered
            .filter_map(|address| address.address.parse().ok())
            .collect(),
    )
}

fn unobserved(node: &str, cluster: &ClusterView) -> anyhow::Result<()> {
    let reasons = cluster.states.reasons().join("; ");
    print(&format!(
        "{}\n",
        warning(&format!("what {node} answers for is unknown: {reasons}"))
    ))
}

/// Returns the addresses that have not moved yet.
fn left(
    cluster: &ClusterView,
    node: &str,
    direction: Direction,
    addresses: &BTreeSet<IpAddr>,
) -> Vec<IpAddr> {
    let mut answering: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for state in &cluster.states.speakers {
        for address in state.addresses.iter().filter(|address| address.answers) {
            if let Ok(address) = address.address.parse() {
                answering.entry(address).or_default().insert(&state.node);
            }
        }
    }
    let is_left = |address: &&IpAddr| {
        let nodes = answering.get(*address);
        let is_here = nodes.is_some_and(|nodes| nodes.contains(node));
        match direction {
            Direction::Away => is_here || nodes.is_none(),
            Direction::Back => !is_here,
        }
    };
    // A Service that is gone has no address to move.
    let exists = |address: &&IpAddr| {
        let mut services = cluster.objects.services.iter();
        services.any(|service| convert::ingress_addresses(service).contains(address))
    };
    addresses.iter().filter(is_left).filter(exists).copied().collect()
}

/// Returns the addresses that a node is elected for.
fn elected(cluster: &ClusterView, node: &str) -> BTreeSet<IpAddr> {
    let services = cluster.objects.services.iter();
    let ours = services.filter(|service| convert::is_ours(service, cluster.installation.class()));
    let all: BTreeSet<IpAddr> = ours.flat_map(convert::ingress_addresses).collect();
    let announcements = announcements(cluster, &all);
    let node = NodeName::from(node);
    let is_elected = |address: &IpAddr| {
        let roles = announcements.ownership.roles(*address);
        roles
            .iter()
            .any(|(_, role)| matches!(role, Role::Standby { owner, .. } if *owner == node))
    };
    all.into_iter().filter(is_elected).collect()
}

fn announcements(cluster: &ClusterView, addresses: &BTreeSet<IpAddr>) -> AnnouncementModel {
    let model = Model::of(cluster);
    AnnouncementModel::of(
        addresses,
        &cluster.objects,
        &cluster.states,
        &cluster.installation,
        &model,
    )
}

/// Returns why addresses have not moved.
fn reasons(cluster: &ClusterView, left: &[IpAddr]) -> String {
    let addresses: BTreeSet<IpAddr> = left.iter().copied().collect();
    let announcements = announcements(cluster, &addresses);
    let mut text = String::new();
    for address in left.iter().take(SHOWN) {
        let oldest: Option<&ServiceKey> = announcements.facts.sharers(*address).first();
        if let Some(service) = oldest {
            text += &AddressAnnouncement::new(cluster, &announcements, service, *address).text(false);
        }
    }
    if let more @ 1.. = left.len().saturating_sub(SHOWN) {
        text += &format!("  and {more} more\n");
    }
    text
}

//! `heraldctl drain` and `undrain`: moves the addresses of a node to others before maintenance, and back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use herald_api::convert;
use herald_api::state::SpeakerState;
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
use crate::output::{good, print};

/// Between two looks at what has moved.
const PERIOD: Duration = Duration::from_secs(1);
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

impl DrainArgs {
    /// Drains the node, and waits until it answers for no address and has no route, and other nodes answer for all addresses that it
    /// answered for.
    ///
    /// # Errors
    /// When an address has not moved in time, or what the node does is unknown; the annotation stays. When the API server refuses.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        let (connection, cluster) = self.common.read().await?;
        annotate(&connection.client, &self.node, Some("true")).await?;
        let addresses = self.answered_by(&cluster)?;
        let text = format!("{} announces nothing any more", self.node);
        let progress = |cluster: &ClusterView| DrainProgress::of(cluster, &self.node, &addresses);
        self.follow(&connection.client, cluster, addresses.len(), progress, &text)
            .await
    }

    /// Ends the drain of the node, and waits until it answers for all addresses that it is elected for.
    ///
    /// # Errors
    /// When an address has not moved in time, or what the node does is unknown. When the API server refuses.
    pub(crate) async fn undrain(self) -> anyhow::Result<()> {
        let connection = self.common.connect().await?;
        annotate(&connection.client, &self.node, None).await?;
        let (connection, cluster) = self.common.read().await?;
        self.answered_by(&cluster)?;
        let addresses = elected(&cluster, &self.node);
        let text = format!("{} answers for all addresses that it is elected for", self.node);
        let progress = |cluster: &ClusterView| {
            let own = answered_by(cluster, &self.node);
            let is_left = |address: &&IpAddr| own.as_ref().is_none_or(|own| !own.contains(*address));
            DrainProgress {
                is_known: own.is_some(),
                left: addresses.iter().filter(is_left).copied().collect(),
                routes: 0,
            }
        };
        self.follow(&connection.client, cluster, addresses.len(), progress, &text)
            .await
    }

    /// Shows the progress about `all` addresses until it is done, and prints `done` then.
    ///
    /// # Errors
    /// When it is not done in time.
    async fn follow(
        &self,
        client: &Client,
        mut cluster: ClusterView,
        all: usize,
        progress: impl Fn(&ClusterView) -> DrainProgress,
        done: &str,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut last = None;
        loop {
            let progress = progress(&cluster);
            self.show(&progress, all, &mut last)?;
            if progress.is_done() {
                return print(&format!("{}\n", good(done)));
            }
            if Instant::now() >= deadline {
                return self.give_up(&cluster, &progress);
            }
            tokio::time::sleep(PERIOD).await;
            cluster.states = self.common.read_states(client, &cluster.installation).await;
        }
    }

    /// Returns the addresses that the node answers for.
    ///
    /// # Errors
    /// When that is unknown, so that nothing can be waited for.
    fn answered_by(&self, cluster: &ClusterView) -> anyhow::Result<BTreeSet<IpAddr>> {
        if let Some(absence) = cluster.absent(&["Pod", "Service"]) {
            bail!("whether the addresses move is unknown: {absence}");
        }
        answered_by(cluster, &self.node).with_context(|| {
            let reasons = cluster.states.reasons().join("; ");
            format!(
                "what {} answers for is unknown, so nothing can be waited for: {reasons}",
                self.node
            )
        })
    }

    fn show(
        &self,
        progress: &DrainProgress,
        all: usize,
        last: &mut Option<(usize, u64)>,
    ) -> anyhow::Result<()> {
        let now = (progress.left.len(), progress.routes);
        if !progress.is_known || *last == Some(now) {
            return Ok(());
        }
        *last = Some(now);
        let mut text = format!(
            "{} of {all} addresses have moved",
            all.saturating_sub(progress.left.len())
        );
        if progress.routes > 0 {
            text += &format!("; {} has {} routes at BGP peers", self.node, progress.routes);
        }
        print(&format!("{text}\n"))
    }

    fn give_up(&self, cluster: &ClusterView, progress: &DrainProgress) -> anyhow::Result<()> {
        if !progress.is_known {
            let reasons = cluster.states.reasons().join("; ");
            bail!("what {} answers for is unknown: {reasons}", self.node);
        }
        print(&reasons(cluster, &progress.left))?;
        bail!(
            "{} addresses have not moved within {} s, and {} routes are left",
            progress.left.len(),
            self.timeout,
            progress.routes
        )
    }
}

/// How far a drain has come.
struct DrainProgress {
    /// Whether the node says what it answers for.
    is_known: bool,
    /// The addresses that have not moved.
    left: Vec<IpAddr>,
    /// The prefixes that BGP peers have from the node.
    routes: u64,
}

impl DrainProgress {
    fn of(cluster: &ClusterView, node: &str, addresses: &BTreeSet<IpAddr>) -> Self {
        let own = answered_by(cluster, node);
        let mut elsewhere = BTreeSet::new();
        for state in cluster.states.speakers.iter().filter(|state| state.node != node) {
            elsewhere.extend(answered(state));
        }
        let services = cluster.objects.services.iter();
        let existing: BTreeSet<IpAddr> = services.flat_map(convert::ingress_addresses).collect();
        let state = cluster.states.speakers.iter().find(|state| state.node == node);
        let here = own.iter().flatten();
        // Those that the node gained meanwhile count, too. One whose Service is gone has nowhere to move.
        let all: BTreeSet<IpAddr> = addresses.iter().chain(here).copied().collect();
        let is_left = |address: &IpAddr| {
            let is_here = own.as_ref().is_none_or(|own| own.contains(address));
            is_here || (!elsewhere.contains(address) && existing.contains(address))
        };
        Self {
            is_known: own.is_some(),
            left: all.into_iter().filter(is_left).collect(),
            routes: state.map_or(0, |state| state.bgp_peers.iter().map(|peer| peer.sent).sum()),
        }
    }

    fn is_done(&self) -> bool {
        self.is_known && self.left.is_empty() && self.routes == 0
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
    // Addresses beyond the size of a state are not in it.
    (!state.truncated).then(|| answered(state).collect())
}

fn answered(state: &SpeakerState) -> impl Iterator<Item = IpAddr> {
    let answered = state.addresses.iter().filter(|address| address.answers);
    answered.filter_map(|address| address.address.parse().ok())
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

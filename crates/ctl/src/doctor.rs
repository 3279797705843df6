//! `heraldctl doctor`: checks a cluster before installation, and one that runs, and names each remedy.

mod configuration;
mod network;
mod others;
mod programs;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::ensure;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::{ClusterView, CommonArgs, NetworkReports};
use crate::model::Model;
use crate::output::{Cell, Printable, Table, error, faint, good, heading, unknown_text, warning};
use others::OtherObjects;

/// How the cluster is reached, and the findings are shown.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum DoctorCheck {
    /// The definitions of the custom resources are installed.
    Definitions,
    /// A controller is ready.
    Controller,
    /// Each node has a speaker that is ready.
    Speakers,
    /// All programs have one version.
    Versions,
    /// The clocks of the programs and of this machine agree.
    Clocks,
    /// Each speaker hears all others by gossip.
    Gossip,
    /// No two nodes have the same MAC address.
    MacAddresses,
    /// Pools and advertisements are in force as they are written.
    Configuration,
    /// Each pool is announced, and each advertisement selects something.
    Advertisements,
    /// No pool has addresses of nodes, of Pods or of the cluster's Services.
    PoolNetworks,
    /// A node has an interface in the subnet of each pool.
    Subnets,
    /// A node can announce IPv6 addresses, if pools have any.
    LinkLocal,
    /// Nodes may announce: none has a label that excludes it.
    ExcludedNodes,
    /// kube-proxy leaves the answers for addresses of Services to the owner.
    KubeProxy,
    /// No other load balancer handles the same Services.
    OtherBalancers,
    /// The sessions of BGP are established.
    BgpSessions,
    /// No machine on the network stands in the way of an address.
    Obstacles,
    /// No machine answers for free addresses of pools.
    FreeAddresses,
    /// The owner of an address answers for it, and no other machine.
    AnnouncedAddresses,
    /// No two machines answer for the address of a node.
    NodeAddresses,
    /// Each speaker gets an answer from each other one at the port of gossip.
    GossipPort,
}

/// What is checked, by its title.
pub(crate) trait CheckTitle {
    /// Returns the title.
    fn title(&self) -> &'static str;
}

impl CheckTitle for DoctorCheck {
    fn title(&self) -> &'static str {
        match self {
            Self::Definitions => "custom resource definitions",
            Self::Controller => "controller",
            Self::Speakers => "speakers",
            Self::Versions => "versions",
            Self::Clocks => "clocks",
            Self::Gossip => "gossip",
            Self::MacAddresses => "MAC addresses",
            Self::Configuration => "configuration",
            Self::Advertisements => "advertisements",
            Self::PoolNetworks => "networks of pools",
            Self::Subnets => "subnets of pools",
            Self::LinkLocal => "IPv6 link-local addresses",
            Self::ExcludedNodes => "excluded nodes",
            Self::KubeProxy => "kube-proxy",
            Self::OtherBalancers => "other load balancers",
            Self::BgpSessions => "BGP sessions",
            Self::Obstacles => "other machines",
            Self::FreeAddresses => "free addresses",
            Self::AnnouncedAddresses => "announced addresses",
            Self::NodeAddresses => "addresses of nodes",
            Self::GossipPort => "gossip port",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Outcome {
    /// It is as it should be.
    Pass,
    /// Herald works, but perhaps not as it was meant.
    Warn,
    /// Herald cannot work as it was meant.
    Fail,
    /// It could not be looked at.
    Unknown,
}

/// A check and its result. A check may have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoctorFinding<C = DoctorCheck> {
    pub(crate) check: C,
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) found: String,
    /// What to do; empty if there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) remedy: String,
}

impl<C> DoctorFinding<C> {
    pub(crate) fn pass(check: C, found: impl Into<String>) -> Self {
        Self::new(check, Outcome::Pass, found, "")
    }

    pub(crate) fn warn(check: C, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warn, found, remedy)
    }

    pub(crate) fn fail(check: C, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Outcome::Fail, found, remedy)
    }

    pub(crate) fn unknown(check: C, found: impl Into<String>) -> Self {
        Self::new(check, Outcome::Unknown, found, "")
    }

    fn new(check: C, outcome: Outcome, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            outcome,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoctorResult {
    is_installed: bool,
    findings: Vec<DoctorFinding>,
    unknown: Vec<String>,
}

impl DoctorArgs {
    /// Checks the cluster, and prints the findings.
    ///
    /// # Errors
    /// When a check fails, or the API server does not answer.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (connection, cluster) = self.common.read().await?;
        let client = &connection.client;
        let (others, reports) = tokio::join!(
            OtherObjects::list(client),
            NetworkReports::request(client, &cluster, self.common.state)
        );
        let result = diagnose(&cluster, &others, &reports, Timestamp::now());
        self.common.output.print(&result)?;
        ensure_none_failed(&result.findings)
    }
}

/// Looks at everything. Before the installation only what does not need Herald is looked at.
fn diagnose(
    cluster: &ClusterView,
    others: &OtherObjects,
    reports: &NetworkReports,
    today: Timestamp,
) -> DoctorResult {
    let model = Model::new(
        &cluster.objects,
        &cluster.states,
        cluster.installation.class(),
        today,
    );
    // Without the right to list Pods it is not known.
    let is_installed = !cluster.installation.pods.is_empty() || cluster.absent(&["Pod"]).is_some();
    let mut findings = Vec::new();
    if let Some(absence) = cluster.absent(&["Pod"]) {
        findings.push(DoctorFinding::unknown(DoctorCheck::Controller, absence));
    } else if is_installed {
        findings.extend(programs::findings(cluster));
        findings.extend(network::findings(cluster, &model));
        findings.extend(segments::findings(reports));
    }
    findings.extend(configuration::findings(cluster, &model, others));
    findings.extend(others::findings(cluster, others));
    findings.sort_by(|a, b| (a.check, &a.found).cmp(&(b.check, &b.found)));
    DoctorResult {
        is_installed,
        findings,
        unknown: cluster.unknown.clone(),
    }
}

impl Printable for DoctorResult {
    fn text(&self, _is_wide: bool) -> String {
        let mut text = String::new();
        if !self.is_installed {
            text += &format!(
                "{}: only what does not need it is checked\n",
                heading("Herald is not installed")
            );
        }
        text + &findings_text(&self.findings) + &unknown_text(&self.unknown)
    }
}

/// Fails if a check failed.
///
/// # Errors
/// How many failed.
pub(crate) fn ensure_none_failed<C>(findings: &[DoctorFinding<C>]) -> anyhow::Result<()> {
    let failed = findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Fail)
        .count();
    ensure!(failed == 0, "failed checks: {failed}");
    Ok(())
}

/// Returns the table of findings, and what to do.
pub(crate) fn findings_text<C: CheckTitle>(findings: &[DoctorFinding<C>]) -> String {
    let mut table = Table::new(&["RESULT", "CHECK", "FOUND"]);
    for finding in findings {
        let outcome = match finding.outcome {
            Outcome::Pass => Cell::from("pass").styled(good),
            Outcome::Warn => Cell::from("WARN").styled(warning),
            Outcome::Fail => Cell::from("FAIL").styled(error),
            Outcome::Unknown => Cell::from("unknown").styled(faint),
        };
        table.row([
            outcome,
            finding.check.title().into(),
            finding.found.as_str().into(),
        ]);
    }
    let mut text = table.text(0);
    // Several findings can have one remedy.
    let mut said = BTreeSet::new();
    let remedies: Vec<&DoctorFinding<C>> = findings
        .iter()
        .filter(|finding| {
            !finding.remedy.is_empty() && said.insert((finding.check.title(), finding.remedy.as_str()))
        })
        .collect();
    if !remedies.is_empty() {
        text += &format!("\n{}\n", heading("What to do"));
    }
    for finding in remedies {
        text += &format!(
            "  {}: {}\n",
            finding.check.title(),
            crate::output::escaped(&finding.remedy)
        );
    }
    text
}

/// Joins names for a sentence: the first ones, and how many more there are.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<&str> = names.into_iter().collect();
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

//! `heraldctl migrate check`: what would differ if Herald took the place of MetalLB in a cluster.

mod beside;
mod elections;
mod metallb;
mod resources;
#[cfg(test)]
mod tests;
mod values;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::{ClusterView, CommonArgs, TIMEOUT};
use crate::doctor::{CheckTitle, DoctorFinding, ensure_none_failed, findings_text};
use crate::model::Model;
use crate::output::{Printable, heading, unknown_text};
use metallb::MetalLbObjects;
use values::GivenValues;

/// What to do about a migration.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    step: MigrationStep,
}

#[derive(Debug, Subcommand)]
enum MigrationStep {
    /// Checks a cluster with MetalLB: what would differ with Herald, and what to do. Nothing is written.
    Check(Box<MigrateCheckArgs>),
}

#[derive(Debug, Args)]
struct MigrateCheckArgs {
    /// A file with the values for Herald's chart, for example those of MetalLB's (helm get values -o yaml), or - for standard input;
    /// later files win.
    #[arg(long = "values", short = 'f', value_name = "FILE", value_hint = ValueHint::FilePath)]
    values: Vec<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum MigrationCheck {
    /// The Pods of MetalLB are those that Herald sees.
    MetalLb,
    /// The values of the chart.
    Values,
    /// Pools, advertisements and the resources of BGP are in force as they are written.
    Resources,
    /// Fields that have no effect, or another one.
    Fields,
    /// `ConfigMap`s that Herald does not read.
    ConfigMaps,
    /// `FRRConfiguration`s, which have no counterpart.
    FrrConfigurations,
    /// The Services keep their addresses.
    Services,
    /// The same nodes are elected.
    Elections,
}

impl CheckTitle for MigrationCheck {
    fn title(&self) -> &'static str {
        match self {
            Self::MetalLb => "MetalLB",
            Self::Values => "values of the chart",
            Self::Resources => "resources",
            Self::Fields => "fields",
            Self::ConfigMaps => "ConfigMaps",
            Self::FrrConfigurations => "FRRConfigurations",
            Self::Services => "Services",
            Self::Elections => "elections",
        }
    }
}

type MigrationFinding = DoctorFinding<MigrationCheck>;

/// All findings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MigrationResult {
    findings: Vec<MigrationFinding>,
    unknown: Vec<String>,
    /// The values to add so that Herald can run beside MetalLB, as YAML, if some are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    values_beside_metallb: Option<&'static str>,
}

impl MigrateArgs {
    /// Checks, and prints the findings.
    ///
    /// # Errors
    /// When a check fails, a file cannot be read, or the API server does not answer.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let MigrationStep::Check(args) = self.step;
        let values = GivenValues::read(&args.values)?;
        let connection = args.common.connect().await?;
        let metallb = MetalLbObjects::list(&connection.client).await;
        // As MetalLB does, Herald reads the resources of one namespace.
        let namespace = metallb.namespace();
        let cluster = args
            .common
            .read_by(&connection, TIMEOUT, namespace.as_deref())
            .await;
        let result = check(cluster, &metallb, values.as_ref(), Timestamp::now());
        args.common.output.print(&result)?;
        ensure_none_failed(&result.findings)
    }
}

/// Looks at everything.
fn check(
    cluster: ClusterView,
    metallb: &MetalLbObjects,
    values: Option<&GivenValues>,
    today: Timestamp,
) -> MigrationResult {
    let class = class(metallb, values);
    let mut model = Model::new(&cluster.objects, &cluster.states, class.as_deref(), today);
    let mut findings = metallb.findings(&cluster);
    findings.extend(values::findings(values, metallb));
    findings.extend(resources::findings(&cluster, metallb, &mut model));
    findings.push(elections::finding(&cluster, metallb, &model));
    if let (None, Some(absence)) = (values, &metallb.no_pods) {
        // What would be said of Services would be of those of another class.
        let checks = [MigrationCheck::Services, MigrationCheck::Elections];
        findings.retain(|finding| !checks.contains(&finding.check));
        let text = format!("the class of the Services is not known: {absence}; give the values by --values");
        findings.extend(checks.map(|check| MigrationFinding::unknown(check, &text)));
    }
    findings.sort_by(|one, other| (one.check, &one.found).cmp(&(other.check, &other.found)));
    let beside = values.map(|values| beside::findings(&values.merged, metallb));
    let is_incomplete = beside.is_some_and(|beside| !beside.is_empty());
    MigrationResult {
        findings,
        values_beside_metallb: is_incomplete.then_some(beside::BESIDE),
        // That Herald is not installed is why this is run.
        unknown: cluster
            .objects
            .missing
            .values()
            .map(ToString::to_string)
            .collect(),
    }
}

/// Returns the class that Herald would handle: that of its values, or of MetalLB.
fn class(metallb: &MetalLbObjects, values: Option<&GivenValues>) -> Option<String> {
    let given = values.map(|values| {
        values.merged["loadBalancerClass"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    given
        .or_else(|| metallb.class())
        .filter(|class| !class.is_empty())
}

impl Printable for MigrationResult {
    fn text(&self, _is_wide: bool) -> String {
        let mut text = findings_text(&self.findings);
        if let Some(values) = self.values_beside_metallb {
            let title = "Values that let Herald run beside MetalLB";
            text += &format!("\n{}\n{values}", heading(title));
        }
        text + &unknown_text(&self.unknown)
    }
}

//! What the speakers say of the network when they are asked to check it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use herald_api::checks::{ChecksReport, ChecksRequest, NetworkCheck, VERSION};
use hyper::StatusCode;
use kube::Client;

use super::ClusterView;
use super::installation::{Pod, Program};
use super::programs::{ProgramClient, Reach, refusal};
use super::states::StateArgs;

/// The speakers of a segment that ask on the wire: what one of them sees, the others see, too, but for one thing. A node that
/// monitors an address does not ask for it, so there must be others.
const ON_THE_WIRE: usize = 3;
/// The speakers that check at a time.
const AT_ONCE: usize = 16;
/// The time that one speaker has: a run takes 30 s at most.
const TIMEOUT: Duration = Duration::from_secs(40);

/// The reports of the speakers.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkReports {
    /// By node.
    pub(crate) reports: Vec<ChecksReport>,
    /// The checks that a speaker did not make: its node, and the reason.
    pub(crate) unknown: BTreeMap<NetworkCheck, Vec<(String, String)>>,
}

impl NetworkReports {
    /// Asks the speakers to check the network.
    pub(crate) async fn request(client: &Client, cluster: &ClusterView, args: StateArgs) -> Self {
        let mut reports = Self::default();
        let asked = assign(cluster);
        if args.state == Reach::None {
            for (pod, checks) in &asked {
                reports.set_unknown(pod, checks, "--state=none");
            }
            return reports;
        }
        let is_known = !cluster.states.speakers.is_empty();
        let (asked, silent): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .partition(|(pod, _)| !is_known || has_state(cluster, pod));
        for (pod, checks) in &silent {
            reports.set_unknown(pod, checks, "its speaker did not answer for /state");
        }
        let programs = ProgramClient::new(client, &cluster.installation, args.state).await;
        let runs = asked.into_iter().map(|(pod, checks)| {
            let programs = &programs;
            async move {
                let answer = tokio::time::timeout(TIMEOUT, run(programs, pod, &checks)).await;
                let answer = answer.unwrap_or_else(|_| bail!("no answer within {} s", TIMEOUT.as_secs()));
                (pod, checks, answer)
            }
        });
        let mut runs = futures::stream::iter(runs).buffer_unordered(AT_ONCE);
        while let Some((pod, checks, answer)) = runs.next().await {
            match answer {
                Ok(report) => reports.reports.push(report),
                Err(error) => reports.set_unknown(pod, &checks, &format!("{error:#}")),
            }
        }
        drop(runs);
        reports.reports.sort_by(|a, b| a.node.cmp(&b.node));
        reports
    }

    fn set_unknown(&mut self, pod: &Pod, checks: &BTreeSet<NetworkCheck>, reason: &str) {
        let node = pod.node.as_ref().unwrap_or(&pod.name);
        for check in checks {
            let unknown = self.unknown.entry(*check).or_default();
            unknown.push((node.clone(), reason.to_owned()));
        }
    }
}

/// Whether the state of a speaker was read. One that does not answer, where others do, would cost the time of a whole run.
fn has_state(cluster: &ClusterView, pod: &Pod) -> bool {
    let mut states = cluster.states.speakers.iter();
    states.any(|state| pod.node.as_ref() == Some(&state.node))
}

/// Returns the speakers that are ready, and what each checks: gossip all of them, the segments some of each set of subnets.
fn assign(cluster: &ClusterView) -> Vec<(&Pod, BTreeSet<NetworkCheck>)> {
    let members = cluster.states.speakers.iter().flat_map(|state| &state.members);
    let mut subnets: BTreeMap<&str, &Vec<String>> = BTreeMap::new();
    for member in members {
        let own = member
            .profile
            .as_ref()
            .and_then(|profile| profile.subnets.as_ref());
        subnets.extend(own.map(|own| (member.node.as_str(), own)));
    }
    let mut askers: BTreeMap<Option<&Vec<String>>, usize> = BTreeMap::new();
    let ready = cluster
        .installation
        .of(Program::Speaker)
        .filter(|pod| pod.is_ready);
    let assigned = ready.map(|pod| {
        let own = pod.node.as_deref().and_then(|node| subnets.get(node).copied());
        let place = askers.entry(own).or_default();
        *place += 1;
        let is_on_the_wire = *place <= ON_THE_WIRE;
        let checks = NetworkCheck::ALL.into_iter();
        (
            pod,
            checks
                .filter(|check| *check == NetworkCheck::GossipPort || is_on_the_wire)
                .collect(),
        )
    });
    assigned.collect()
}

async fn run(
    programs: &ProgramClient,
    pod: &Pod,
    checks: &BTreeSet<NetworkCheck>,
) -> anyhow::Result<ChecksReport> {
    let request = ChecksRequest {
        checks: checks.clone(),
    };
    let (status, body) = programs
        .post(pod, "/checks", serde_json::to_vec(&request)?)
        .await?;
    // axum says so of a path that is not served.
    ensure!(
        status != StatusCode::NOT_FOUND,
        "the speaker checks no network (speaker.checks.enabled: false, prometheus.plainHTTP: true, or an earlier version)"
    );
    ensure!(status == StatusCode::OK, "{}", refusal(status, &body));
    let report: ChecksReport =
        serde_json::from_slice(&body).context("the report is not as this heraldctl knows it")?;
    ensure!(
        report.version == VERSION,
        "the report has version {}, and this heraldctl reads version {VERSION}",
        report.version
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn all_speakers_ask_by_gossip_and_three_of_each_set_of_subnets_on_the_wire() {
        let mut cluster = World::new(5).cluster();
        let on_the_wire = |cluster: &ClusterView| -> Vec<String> {
            let assigned = assign(cluster);
            assert!(
                assigned
                    .iter()
                    .all(|(_, checks)| checks.contains(&NetworkCheck::GossipPort))
            );
            let wire = assigned
                .iter()
                .filter(|(_, checks)| checks.len() == NetworkCheck::ALL.len());
            wire.filter_map(|(pod, _)| pod.node.clone()).collect()
        };
        assert_eq!(on_the_wire(&cluster), ["node-0", "node-1", "node-2"]);
        for state in &mut cluster.states.speakers {
            for member in &mut state.members {
                let profile = member.profile.as_mut().filter(|_| member.node == "node-4");
                if let Some(profile) = profile {
                    profile.subnets = Some(vec!["198.51.100.0/24".to_owned()]);
                }
            }
        }
        assert_eq!(on_the_wire(&cluster), ["node-0", "node-1", "node-2", "node-4"]);
        cluster
            .installation
            .pods
            .iter_mut()
            .for_each(|pod| pod.is_ready = false);
        assert!(assign(&cluster).is_empty());
    }
}

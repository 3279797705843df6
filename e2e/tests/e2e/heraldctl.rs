//! heraldctl with the rights that the chart grants, on Kubernetes' own control plane.

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::metrics::values;
use crate::{DEADLINE, in_cluster_with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![in_cluster_with(
        "heraldctl_reads_states_over_tls_with_a_token_of_the_chart_s_account_and_needs_its_right",
        values(),
        states,
    )]
}

/// Waits until all speakers know each other and the elected one answers for a Service at its address; returns its node. Before that
/// another node may have it for a moment.
pub(crate) async fn settled_owner(lab: &Lab, service: &str) -> anyhow::Result<String> {
    wait_for("the elected node answers", DEADLINE, async || {
        let status = lab.heraldctl(&["status"]).await?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        if !nodes.iter().all(|node| node["alive"] == nodes.len()) {
            return Ok(None);
        }
        let explained = lab
            .heraldctl(&["explain", "service", service, "--namespace=default"])
            .await?;
        let announcement = &explained["announcements"][0];
        let parts = announcement["nodes"].as_array().into_iter().flatten();
        let owner = parts
            .filter(|line| line["part"] == "Owner")
            .find_map(|line| line["node"].as_str());
        let is_alone = announcement["answeredBy"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 1);
        let owner = owner.filter(|owner| is_alone && announcement["answeredBy"][0] == **owner);
        Ok(owner.map(str::to_owned))
    })
    .await
}

async fn states(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let known = wait_for("all states are known", DEADLINE, async || {
        let status = lab.heraldctl(&["status"]).await?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        let is_known = nodes.len() == 3 && nodes.iter().all(|node| node["alive"] == 3);
        Ok((is_known && unknown(&status).is_empty()).then_some(()))
    });
    known.await?;
    let checked = wait_for("the speakers check the network", DEADLINE, async || {
        let printed = doctor(lab).await;
        Ok(printed.contains("gets an answer from all others").then_some(()))
    });
    checked.await?;
    kubectl
        .run(["delete", "clusterrolebinding", "herald:doctor"])
        .await?;
    // An answer of the API server counts for a minute, and each run of heraldctl has a new token.
    let status = lab.heraldctl(&["status"]).await?;
    let unknown = unknown(&status).join("; ");
    ensure!(
        unknown.contains("status 403") && unknown.contains("/state"),
        "{status:#}"
    );
    ensure!(
        status["nodes"][0]["alive"].is_null(),
        "what is unknown is no number: {status:#}"
    );
    // A program asks the API server five times a second at most, and answers 429 beyond that.
    wait_for("the checks are refused", DEADLINE, async || {
        let printed = doctor(lab).await;
        let is_refused = printed.contains("checked nothing: status 403")
            && printed.contains("the verb post on the nonResourceURL /checks");
        ensure!(is_refused, "{printed}");
        Ok(Some(()))
    })
    .await
}

/// Returns what the doctor prints, also when it finds a fault.
async fn doctor(lab: &Lab) -> String {
    let printed = lab.heraldctl_text(&["doctor"]).await;
    printed.unwrap_or_else(|error| format!("{error:#}"))
}

fn unknown(status: &Value) -> Vec<&str> {
    let lines = status["unknown"].as_array();
    lines.into_iter().flatten().filter_map(Value::as_str).collect()
}

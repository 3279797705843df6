//! `herald-lab demo --bgp`, as a user runs it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use herald_routers::Kind;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::process::Command;

use crate::{PROCESSORS, trial};

/// The hold time of the demo, and what timers, the end of a node and a loaded machine may add.
const LATEST: f64 = 15_000.0;

pub(super) fn of_demo() -> Trial {
    let name = "the_demo_with_a_router_shows_that_a_dead_node_is_left";
    let trial = trial(name, demo);
    let is_possible = [Kind::Frr, Kind::Bird]
        .into_iter()
        .any(|kind| kind.obstacle().is_none());
    if is_possible || std::env::var_os("CI").is_some() {
        return trial;
    }
    let name = format!("{name} (needs FRR or BIRD)");
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

async fn demo() -> anyhow::Result<()> {
    let _shared = PROCESSORS.read().await;
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald-lab"));
    command
        .args(["demo", "--json", "--bgp"])
        .env("TMPDIR", directory.path())
        .kill_on_drop(true);
    let output = command.output().await?;
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{told}{complaint}");
    let steps: Vec<Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let of = |step: &str| -> Vec<&Value> { steps.iter().filter(|one| one["step"] == step).collect() };
    // Three addresses, and the return of the node after each of two faults.
    let routed = of("routed");
    let is_whole = |step: &&Value| step["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3);
    ensure!(routed.len() == 5 && routed.iter().all(is_whole), "{routed:?}");
    let answered = of("answered");
    let nodes: BTreeSet<&str> = answered.iter().filter_map(|one| one["node"].as_str()).collect();
    ensure!(nodes.len() > 1, "only {nodes:?} answered");
    let [failure, stop] = of("withdrawn")[..] else {
        anyhow::bail!("not two faults: {told}");
    };
    for fault in [failure, stop] {
        let after = fault["after_ms"].as_f64().context("a number")?;
        ensure!(after < LATEST, "{fault}");
    }
    ensure!(failure["outage"]["answered_requests"] != 0, "{failure}");
    ensure!(steps.last().is_some_and(|last| last["ok"] == true), "{told}");
    Ok(())
}

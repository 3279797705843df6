//! The condition `Ready` of pools and advertisements, as tools wait for it, and its end with an installation.

use std::process::Command;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{DEADLINE, QUICKSTART, in_cluster};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster(
            "kubectl_waits_until_a_pool_is_in_force_or_set_aside_with_its_reason",
            set_aside,
        ),
        in_cluster("the_documented_commands_remove_everything", removed),
    ]
}

fn pool(name: &str, addresses: &str) -> String {
    format!(
        "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: {name}, namespace: {NAMESPACE}}}, spec: {{addresses: [{addresses}]}}}}"
    )
}

/// Has kubectl wait for the condition `Ready` of an object.
async fn ready(kubectl: &Kubectl, object: &str, status: &str) -> anyhow::Result<()> {
    let condition = format!("--for=condition=Ready={status}");
    let wait = ["wait", &condition, "--timeout=60s", "-n", NAMESPACE, object];
    kubectl.run(wait).await?;
    Ok(())
}

async fn set_aside(_lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    ready(kubectl, "ipaddresspool/first-pool", "True").await?;
    ready(kubectl, "l2advertisement/example", "True").await?;
    // The webhook permits it: the other pool may be about to change.
    kubectl.apply(&pool("second", "192.168.67.0/24")).await?;
    let second = "ipaddresspool/second";
    ready(kubectl, second, "False").await?;
    let found = kubectl.get(&[second, "-n", NAMESPACE]).await?;
    let conditions = found["status"]["conditions"]
        .as_array()
        .context("no conditions")?;
    let mut conditions = conditions.iter();
    let condition = conditions
        .find(|condition| condition["type"] == "Ready")
        .context("no Ready")?;
    ensure!(condition["reason"] == "ConfigurationError", "{condition}");
    let message = condition["message"].as_str().context("no message")?;
    ensure!(
        message.contains("overlaps") && message.contains("first-pool"),
        "{condition}"
    );
    let generation = &found["metadata"]["generation"];
    ensure!(
        found["status"]["observedGeneration"] == *generation,
        "{}",
        found["status"]
    );
    ready(kubectl, "ipaddresspool/first-pool", "True").await?;
    kubectl.apply(&pool("second", "198.51.100.0/24")).await?;
    ready(kubectl, second, "True").await
}

const PAGE: &str = include_str!("../../../docs/tasks/uninstall.md");

/// The commands of the page after the one for Helm: those of the first block that has `kubectl`, and those of the table.
fn commands() -> (Vec<String>, Vec<String>) {
    let mut blocks = PAGE.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains("kubectl")).unwrap_or_default();
    let block = block.replace("\\\n", " ");
    let lines = block.lines().filter_map(|line| line.strip_prefix("$ "));
    let rows = PAGE.lines().filter(|line| line.starts_with("| "));
    let of_row = |row: &str| {
        let (_, command) = row.split_once("| `kubectl ")?;
        Some(format!(
            "kubectl {}",
            command.split('`').next()?.replace("\\|", "|")
        ))
    };
    (
        lines.map(str::to_owned).collect(),
        rows.filter_map(of_row).collect(),
    )
}

fn run(lab: &Lab, command: &str) -> anyhow::Result<()> {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", command])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("KUBECONFIG", lab.kubeconfig())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {printed}");
    Ok(())
}

async fn removed(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(QUICKSTART).await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    ready(kubectl, "ipaddresspool/first-pool", "True").await?;
    ready(kubectl, "l2advertisement/example", "True").await?;
    let (uninstall, rest) = commands();
    ensure!(uninstall.len() == 2 && rest.len() == 5, "{uninstall:?} {rest:?}");
    lab.kill_controller().await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).stop_speaker().await?;
    }
    for command in &uninstall {
        run(lab, command)?;
    }
    let kinds = kubectl
        .run(["api-resources", "--verbs=list", "-o", "name"])
        .await?;
    let kinds = kinds.lines().collect::<Vec<&str>>().join(",");
    let labelled = [
        "get",
        &kinds,
        "-A",
        "-o",
        "name",
        "-l",
        "app.kubernetes.io/name=herald",
    ];
    let left = kubectl.run(labelled).await?;
    // The lab plays the part of the controllers that delete the Pods.
    let mut left = left.lines().filter(|name| !name.starts_with("pod/"));
    let other = left.find(|name| !name.starts_with("customresourcedefinition"));
    ensure!(other.is_none(), "left behind: {other:?}");
    // The definitions come first in the table, and delete all pools.
    for command in rest.iter().skip(1) {
        run(lab, command)?;
    }
    let kept = ["ipaddresspools,l2advertisements,secrets", "-n", NAMESPACE];
    let kept = kubectl.get(&kept).await?;
    let kept = kept["items"].as_array().context("no list")?;
    let is_left = |field: &str| kept.iter().any(|object| object["status"].get(field).is_some());
    ensure!(kept.len() >= 2, "{kept:?}");
    ensure!(
        !is_left("conditions") && !is_left("observedGeneration"),
        "{kept:?}"
    );
    let secrets = ["herald-webhook", "herald-memberlist"];
    let is_secret = |object: &Value| secrets.iter().any(|name| object["metadata"]["name"] == *name);
    ensure!(!kept.iter().any(is_secret), "{kept:?}");
    run(lab, &rest[0])?;
    let definitions = kubectl.run(["get", "crd", "-o", "name"]).await?;
    ensure!(!definitions.contains("metallb.io"), "{definitions}");
    Ok(())
}

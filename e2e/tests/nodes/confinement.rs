//! What Herald's Pods may do on a node.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, ensure};
use herald_lab::objects::NAMESPACE;
use libtest_mimic::Trial;

use crate::Stage;
use crate::cluster::{Cluster, condition};

pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    vec![stage.trial(
        "the_chart_brings_its_pods_up_with_no_more_than_net_raw",
        no_more_than_net_raw,
    )]
}

/// `CAP_NET_RAW`, as `/proc` shows a set of capabilities.
const NET_RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

async fn no_more_than_net_raw(cluster: &mut Cluster) -> anyhow::Result<()> {
    let pods = cluster.pods().await?;
    ensure!(pods.len() == 5, "{} Pods", pods.len());
    for pod in &pods {
        let name = &pod["metadata"]["name"];
        ensure!(condition(pod, "Ready") == Some("True"), "{name} is not ready");
        // One that is starved or killed first would lose its addresses first.
        ensure!(
            pod["status"]["qosClass"] == "Burstable",
            "{name}: {}",
            pod["status"]["qosClass"]
        );
        ensure!(
            pod["spec"]["priority"].as_i64() >= Some(2_000_000_000),
            "{name}: {}",
            pod["spec"]["priority"]
        );
    }
    let mut controllers = 0;
    for machine in cluster.machines() {
        let own_network = network_of("/proc/self")?;
        let speakers = machine.processes("/herald-speaker");
        let [speaker] = speakers[..] else {
            anyhow::bail!("{} speakers on {}", speakers.len(), machine.name());
        };
        ensure_confined(speaker, "0", NET_RAW)?;
        let kubelets: Vec<u32> = machine.processes(&kubelet()?);
        let kubelet = kubelets.first().context("no kubelet runs")?;
        let node = network_of(&format!("/proc/{kubelet}"))?;
        ensure!(node != own_network, "the node has no network of its own");
        ensure!(
            network_of(&format!("/proc/{speaker}"))? == node,
            "the speaker is not on the node's network"
        );
        for controller in machine.processes("/herald-controller") {
            controllers += 1;
            ensure_confined(controller, "65534", NONE)?;
            ensure!(
                network_of(&format!("/proc/{controller}"))? != node,
                "the controller is on the node's network"
            );
        }
    }
    ensure!(controllers == 2, "{controllers} controllers");

    // Pod Security names the Pods that do not meet a level, also in a dry run.
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let tried = cluster
        .kubectl
        .try_run([
            "label",
            "--dry-run=server",
            "--overwrite",
            "namespace",
            NAMESPACE,
            label,
        ])
        .await?;
    let warnings = String::from_utf8_lossy(&tried.stderr).into_owned();
    ensure!(
        tried.status.success() && warnings.contains("herald-speaker-"),
        "{warnings}"
    );
    ensure!(!warnings.contains("herald-controller-"), "{warnings}");

    let events = cluster.kubectl.get(&["events", "-n", NAMESPACE]).await?;
    let events = events["items"].as_array().context("no list")?;
    let unexpected: Vec<String> = events
        .iter()
        .filter(|event| event["type"] == "Warning" && event["reportingComponent"] != REPAIR)
        .map(|event| format!("{}: {}", event["reason"], event["message"]))
        .filter(|text| !EXPECTED.iter().any(|expected| text.contains(expected)))
        .collect();
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}

/// The part of an API server that reports a Service which was created during its first round.
const REPAIR: &str = "ipallocator-repair-controller";

/// A program is ready when it has listed all objects; the controller makes the gossip key that the speakers' Pods wait for. The others
/// are of a machine that is busy with something else.
const EXPECTED: [&str; 4] = [
    "Readiness probe failed",
    "MountVolume.SetUp failed",
    "Client.Timeout exceeded",
    "NodeNotReady",
];

/// Checks what `/proc` shows of a process.
fn ensure_confined(id: u32, user: &str, capabilities: &str) -> anyhow::Result<()> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let fields: BTreeMap<&str, Vec<&str>> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, values)| (name, values.split_whitespace().collect()))
        .collect();
    let expected = [
        ("Uid", vec![user; 4]),
        ("Gid", vec![user; 4]),
        ("CapPrm", vec![capabilities]),
        ("CapEff", vec![capabilities]),
        ("CapBnd", vec![capabilities]),
        ("CapAmb", vec![NONE]),
        ("NoNewPrivs", vec!["1"]),
        // A filter.
        ("Seccomp", vec!["2"]),
    ];
    for (name, values) in expected {
        ensure!(
            fields.get(name) == Some(&values),
            "process {id} has {name} {:?}, not {values:?}",
            fields.get(name)
        );
    }
    let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo"))?;
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(4) == Some(&"/"))
        .context("no root")?;
    ensure!(
        root[5].split(',').any(|option| option == "ro"),
        "the root of process {id} is {}",
        root[5]
    );
    Ok(())
}

fn network_of(process: &str) -> anyhow::Result<std::path::PathBuf> {
    Ok(fs::read_link(format!("{process}/ns/net"))?)
}

fn kubelet() -> anyhow::Result<String> {
    let directory = std::env::var("HERALD_CONTROL_PLANE")?;
    Ok(fs::canonicalize(directory)?.join("kubelet").display().to_string())
}

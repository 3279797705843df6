//! The chart, its rights and its upgrades.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_e2e::rights::{self, Right};
use herald_lab::Lab;
use herald_lab::install;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use k8s_openapi::api::rbac::v1::PolicyRule;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::heraldctl::settled_owner;
use crate::{DEADLINE, QUICKSTART, in_cluster, in_cluster_with, metrics};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster_with(
            "each_right_is_needed_and_none_is_missing",
            metrics::values(),
            each_right,
        ),
        in_cluster("an_upgrade_moves_no_address_and_keeps_the_gossip_key", upgrade),
        in_cluster(
            "a_gossip_key_that_an_older_chart_made_survives_upgrade_and_rollback",
            inherited_key,
        ),
        in_cluster("the_documented_commands_rotate_the_gossip_key", rotation),
        in_cluster(
            "one_manifest_installs_everything_and_does_not_differ_on_the_second_look",
            manifest,
        ),
        in_cluster("uninstalling_keeps_pools_and_definitions", uninstall),
    ]
}

/// A right of the speakers that only those of the version before use, during an upgrade.
const OF_THE_VERSION_BEFORE: &str = "speaker: delete servicel2statuses.metallb.io";

/// Has the programs do all that they can do; then the server's own record is held against the roles.
/// A router that does not answer, to which all addresses are announced.
const UNREACHABLE_ROUTER: &str = "
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router, namespace: metallb-system}
spec: {myASN: 64512, peerASN: 64513, peerAddress: 192.168.67.254}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: all, namespace: metallb-system}
";

async fn each_right(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let owner = settled_owner(lab, "hello").await?;
    announced_by(lab, "hello", &owner).await?;
    // Away and back: a status is deleted, another made, and the same event is counted again.
    for (drain, but) in [
        ("true", Some(owner.as_str())),
        ("false", None),
        ("true", Some(owner.as_str())),
        ("false", None),
    ] {
        kubectl
            .run([
                "annotate",
                "node",
                &owner,
                &format!("herald.io/drain={drain}"),
                "--overwrite",
            ])
            .await?;
        match but {
            Some(_) => announcer(lab, "hello", but).await?,
            None => announced_by(lab, "hello", &owner).await?,
        };
    }
    // A mistake that only the programs see: their states of the configuration change.
    kubectl.apply("{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: overlapping, namespace: metallb-system}, spec: {addresses: [192.168.67.0/24]}}").await?;
    let programs = lab.nodes().len() + 1;
    wait_for("all programs tell of the mistake", DEADLINE, async || {
        let states = kubectl.get(&["configurationstates", "-n", NAMESPACE]).await?;
        let states = states["items"].as_array().context("no list")?.iter();
        let told = states.filter(|state| state.to_string().contains("overlaps"));
        Ok((told.count() == programs).then_some(()))
    })
    .await?;
    // A user removes their labels; they are put back.
    let names = kubectl
        .run(["get", "configurationstates", "-n", NAMESPACE, "-o", "name"])
        .await?;
    for state in names.lines() {
        kubectl
            .run([
                "patch",
                state,
                "-n",
                NAMESPACE,
                "--type=merge",
                "-p",
                r#"{"metadata":{"labels":null}}"#,
            ])
            .await?;
        wait_for("the labels are back", DEADLINE, async || {
            let state = kubectl.get(&[state, "-n", NAMESPACE]).await?;
            Ok(state["metadata"]["labels"].is_object().then_some(()))
        })
        .await?;
    }
    announce_by_bgp_for_a_while(lab, kubectl).await?;
    // The same event twice.
    for kind in ["ClusterIP", "LoadBalancer"] {
        let patch = json!({"spec": {"type": kind}}).to_string();
        kubectl
            .run(["patch", "service", "hello-dual", "-p", &patch])
            .await?;
        lab.wait_for_addresses("hello-dual", if kind == "ClusterIP" { 0 } else { 2 }, DEADLINE)
            .await?;
    }
    // A program that is killed has not written the events that wait.
    wait_for("each program counts an event again", DEADLINE, async || {
        let events = kubectl.get(&["events", "-n", "default"]).await?;
        let counted: BTreeSet<&str> = events["items"]
            .as_array()
            .context("no list")?
            .iter()
            .filter(|event| event["count"].as_u64() > Some(1))
            .filter_map(|event| event["source"]["component"].as_str())
            .collect();
        Ok((counted.len() == 2).then_some(()))
    })
    .await?;
    // Prometheus asks for the metrics, the programs ask who Prometheus is.
    metrics::scrape_all(lab, kubectl).await?;
    // The certificate of the webhook is replaced in its Secret.
    wait_for("the webhook has a certificate", DEADLINE, async || {
        let spoil = r#"{"data": {"tls.crt": ""}}"#;
        kubectl
            .run(["patch", "secret", "herald-webhook", "-n", NAMESPACE, "-p", spoil])
            .await?;
        Ok(Some(()))
    })
    .await?;
    // Everything that a program does at its start, a second time.
    lab.kill_controller().await?;
    lab.start_controller().await?;

    let granted = granted(kubectl).await?;
    ensure!(granted.len() > 30, "only {} rights are granted", granted.len());
    let all_used = wait_for("each right is used", DEADLINE, async || {
        let requests = rights::requests(&record(lab)?)?;
        let forbidden: BTreeSet<String> = requests
            .iter()
            .filter(|r| r.forbidden)
            .map(|r| r.right.to_string())
            .collect();
        let unused: Vec<String> = rights::unused(&granted, &requests)
            .iter()
            .map(ToString::to_string)
            .filter(|right| !right.ends_with(OF_THE_VERSION_BEFORE))
            .collect();
        ensure!(unused.is_empty(), "nobody needed: {unused:#?}");
        Ok(Some(forbidden))
    });
    let forbidden = all_used.await?;
    ensure!(forbidden.is_empty(), "needed, but not granted: {forbidden:#?}");
    Ok(())
}

/// Each node tells of its session with a router, although that does not answer, and which Services it announces there; then of nothing.
async fn announce_by_bgp_for_a_while(lab: &Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let kinds = ["bgpsessionstates.herald.io", "servicebgpstatuses.metallb.io"];
    let nodes_with = async |kind: &str| {
        let list = kubectl.get(&[kind, "-n", NAMESPACE]).await?;
        let objects = list["items"].as_array().context("no list")?.iter();
        let nodes = objects.filter_map(|object| object["status"]["node"].as_str().map(str::to_owned));
        anyhow::Ok(nodes.collect::<BTreeSet<_>>().len())
    };
    kubectl.apply(UNREACHABLE_ROUTER).await?;
    for (verb, nodes) in [("tells", lab.nodes().len()), ("no longer tells", 0)] {
        for kind in kinds {
            let what = format!("each node {verb} by {kind}");
            wait_for(&what, DEADLINE, async || {
                Ok((nodes_with(kind).await? == nodes).then_some(()))
            })
            .await?;
        }
        let peers = ["bgppeers,bgpadvertisements", "--all", "-n", NAMESPACE];
        kubectl.run(["delete"].into_iter().chain(peers)).await?;
    }
    Ok(())
}

/// The record, without a line that is just being written.
pub(crate) fn record(lab: &Lab) -> anyhow::Result<String> {
    let mut log = lab
        .cluster()
        .control_plane()
        .kubernetes()
        .context("no control plane")?
        .audit()?;
    log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
    Ok(log)
}

pub(crate) async fn granted(kubectl: &Kubectl) -> anyhow::Result<BTreeSet<Right>> {
    let mut granted = BTreeSet::new();
    for (bindings, roles) in [("clusterrolebindings", "clusterrole"), ("rolebindings", "role")] {
        let what = [bindings, "-n", NAMESPACE, "-l", "app.kubernetes.io/name=herald"];
        let list = kubectl.get(&what).await?;
        for binding in list["items"].as_array().context("no list")? {
            let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
            let account = text(&binding["subjects"][0]["name"])?;
            let role = kubectl
                .get(&[roles, &text(&binding["roleRef"]["name"])?, "-n", NAMESPACE])
                .await?;
            let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone())?;
            granted.append(&mut rights::granted(&account, &rules));
        }
    }
    Ok(granted)
}

async fn announcer(lab: &Lab, service: &str, but: Option<&str>) -> anyhow::Result<String> {
    wait_for("the Service is announced", DEADLINE, async || {
        Ok(lab
            .cluster()
            .announcer(service)
            .await?
            .filter(|node| Some(node.as_str()) != but))
    })
    .await
}

async fn announced_by(lab: &Lab, service: &str, node: &str) -> anyhow::Result<String> {
    wait_for(&format!("{node} announces the Service"), DEADLINE, async || {
        Ok(lab
            .cluster()
            .announcer(service)
            .await?
            .filter(|announcer| announcer == node))
    })
    .await
}

async fn upgrade(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let single = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    let dual = lab.wait_for_addresses("hello-dual", 2, DEADLINE).await?;
    let key = async || anyhow::Ok(kubectl.get(&["secret", KEY, "-n", NAMESPACE]).await?["data"].clone());
    let before = key().await?;
    ensure!(before["secretkey"].is_string(), "no gossip key: {before}");
    // An older chart had less in a definition; the upgrade brings it.
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/reservations";
    let older = older_chart("metallb.io_ipaddresspools.yaml", "reservations")?;
    let path = older.path().join("herald").display().to_string();
    lab.helm(&["upgrade", "herald", &path, "--namespace", NAMESPACE])
        .await?;
    let definition = kubectl.get(&["crd", "ipaddresspools.metallb.io"]).await?;
    ensure!(
        definition.pointer(field).is_none(),
        "the older chart has {field}, too"
    );
    lab.upgrade_chart(&json!({
        "controller": {"logLevel": "debug", "replicas": 1, "quarantine": 5},
        "speaker": {"logLevel": "debug", "refreshInterval": 5},
        "prometheus": {"scrapeAnnotations": true},
    }))
    .await?;
    let definition = kubectl.get(&["crd", "ipaddresspools.metallb.io"]).await?;
    ensure!(
        definition.pointer(field).is_some(),
        "the definition was not upgraded"
    );
    ensure!(key().await? == before, "the gossip key was changed");
    let deployment = kubectl
        .get(&["deployment", "herald-controller", "-n", NAMESPACE])
        .await?
        .to_string();
    ensure!(deployment.contains("--quarantine=5"), "{deployment}");
    // The new programs, one after another.
    lab.kill_controller().await?;
    lab.start_controller().await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).stop_speaker().await?;
        lab.node_mut(index).start_speaker().await?;
    }
    kubectl.apply("{apiVersion: v1, kind: Service, metadata: {name: a-newcomer}, spec: {type: LoadBalancer, ports: [{port: 80}]}}").await?;
    let new = lab.wait_for_addresses("a-newcomer", 1, DEADLINE).await?;
    ensure!(
        lab.cluster().addresses("hello").await? == single,
        "hello lost {single:?}"
    );
    ensure!(
        lab.cluster().addresses("hello-dual").await? == dual,
        "hello-dual lost {dual:?}"
    );
    ensure!(
        !single.contains(&new[0]) && !dual.contains(&new[0]),
        "{new:?} was given twice"
    );
    announcer(lab, "hello", None).await?;
    Ok(())
}

/// The Secret with the gossip key.
const KEY: &str = "herald-memberlist";

/// The template of the Secret in charts before 0.2.
const TEMPLATE_OF_KEY: &str = r#"
{{- $there := lookup "v1" "Secret" .Release.Namespace "herald-memberlist" }}
apiVersion: v1
kind: Secret
metadata:
  name: herald-memberlist
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "herald.labels" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
  {{- if and $there $there.data }}
  {{- toYaml $there.data | nindent 2 }}
  {{- else }}
  secretkey: {{ randAlphaNum 64 | b64enc }}
  {{- end }}
"#;

async fn inherited_key(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.kill_controller().await?;
    lab.helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    kubectl.run(["delete", "secret", KEY, "-n", NAMESPACE]).await?;
    let older = older_chart("metallb.io_ipaddresspools.yaml", "reservations")?;
    let path = older.path().join("herald");
    fs::write(path.join("templates/secret.yaml"), TEMPLATE_OF_KEY)?;
    let path = path.display().to_string();
    let secret = async || kubectl.get(&["secret", KEY, "-n", NAMESPACE]).await;
    lab.helm(&["install", "herald", &path, "--namespace", NAMESPACE])
        .await?;
    let made = secret().await?;
    ensure!(made["data"]["secretkey"].is_string(), "no gossip key: {made}");
    let steps: [&[&str]; 5] = [
        &["upgrade", "herald", install::CHART],
        &["rollback", "herald", "1"],
        &["upgrade", "herald", install::CHART],
        &["upgrade", "herald", &path],
        &["upgrade", "herald", install::CHART],
    ];
    for step in steps {
        lab.helm(&[step, &["--namespace", NAMESPACE]].concat()).await?;
        // The controller of the new chart has nothing to do, that of the old one does nothing.
        lab.start_controller().await?;
        wait_for(
            "the controller has an address for a Service",
            DEADLINE,
            async || {
                lab.apply("quickstart.yaml", QUICKSTART).await?;
                Ok(Some(lab.wait_for_addresses("hello", 1, DEADLINE).await?))
            },
        )
        .await?;
        lab.kill_controller().await?;
        let now = secret().await?;
        ensure!(now["data"] == made["data"], "{step:?} changed the key");
        ensure!(
            now["metadata"]["uid"] == made["metadata"]["uid"],
            "{step:?} made another Secret"
        );
    }
    Ok(())
}

async fn rotation(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let guide = include_str!("../../../docs/tasks/rotate-key.md");
    let prefix = format!("$ kubectl -n {NAMESPACE} patch secret {KEY} ");
    let commands = guide.lines().filter(|line| line.starts_with(&prefix));
    let commands: Vec<&str> = commands.map(|line| &line[2..]).collect();
    ensure!(commands.len() == 3, "{commands:?}");
    let data = async || {
        let secret = kubectl.get(&["secret", KEY, "-n", NAMESPACE]).await?;
        anyhow::Ok(secret["data"].as_object().cloned().unwrap_or_default())
    };
    let [own, next, previous] = ["secretkey", "secretkey.next", "secretkey.previous"];
    let mut seen = vec![data().await?];
    for command in commands {
        let status = Command::new("bash")
            .args(["-c", command])
            .env("KUBECONFIG", lab.kubeconfig())
            .status()?;
        ensure!(status.success(), "{command}: {status}");
        seen.push(data().await?);
    }
    let names: Vec<Vec<&str>> = seen
        .iter()
        .map(|data| data.keys().map(String::as_str).collect())
        .collect();
    ensure!(
        names == [vec![own], vec![own, next], vec![own, previous], vec![own]],
        "{names:?}"
    );
    let new = &seen[1][next];
    ensure!(seen[1][own] == seen[0][own] && *new != seen[0][own], "{seen:?}");
    ensure!(
        seen[2][own] == *new && seen[2][previous] == seen[0][own],
        "{seen:?}"
    );
    ensure!(seen[3][own] == *new, "{seen:?}");
    Ok(())
}

/// A copy of the chart whose definition in `file` lacks a property.
fn older_chart(file: &str, property: &str) -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let copied = Command::new("cp")
        .args(["--recursive", "--dereference", install::CHART])
        .arg(directory.path())
        .status()?;
    ensure!(copied.success(), "cp: {copied}");
    let path = directory.path().join("herald/files/crds").join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = format!("{property}:");
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines
        .iter()
        .position(|line| line.trim() == key)
        .context("no such property")?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let length = lines[begin + 1..]
        .iter()
        .take_while(|line| indent(line) > indent(lines[begin]))
        .count();
    let kept: Vec<&str> = lines[..begin]
        .iter()
        .chain(&lines[begin + 1 + length..])
        .copied()
        .collect();
    fs::write(&path, kept.join("\n"))?;
    Ok(directory)
}

async fn manifest(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.kill_controller().await?;
    for index in 0..lab.nodes().len() {
        lab.node_mut(index).stop_speaker().await?;
    }
    lab.helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    kubectl.run(["delete", "secret", KEY, "-n", NAMESPACE]).await?;
    // The definitions of the release before; a cluster without Herald has none.
    kubectl
        .run(["delete", "crd", "-l", "app.kubernetes.io/name=herald"])
        .await?;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/herald.yaml");
    kubectl.run(["apply", "-f", file]).await?;
    lab.start_installed().await?;
    wait_for("the definitions are in use", DEADLINE, async || {
        Ok(Some(lab.apply("quickstart.yaml", QUICKSTART).await?))
    })
    .await?;
    lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    announcer(lab, "hello", None).await?;
    kubectl.run(["apply", "-f", file]).await?;
    let differences = kubectl.try_run(["diff", "-f", file]).await?;
    ensure!(
        differences.status.success() && differences.stdout.is_empty(),
        "differs on the second look: {}{}",
        String::from_utf8_lossy(&differences.stdout),
        String::from_utf8_lossy(&differences.stderr)
    );
    // The ServiceAccounts, roles and programs of the file serve as those of the chart do.
    let forbidden: Vec<String> = rights::requests(&record(lab)?)?
        .iter()
        .filter(|request| request.forbidden)
        .map(|request| request.right.to_string())
        .collect();
    ensure!(forbidden.is_empty(), "needed, but not granted: {forbidden:#?}");
    Ok(())
}

async fn uninstall(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.apply("quickstart.yaml", QUICKSTART).await?;
    let addresses = lab.wait_for_addresses("hello", 1, DEADLINE).await?;
    lab.kill_controller().await?;
    lab.helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    let left = kubectl
        .run([
            "get",
            "-n",
            NAMESPACE,
            "-o",
            "name",
            "deployment,daemonset,serviceaccount,role,rolebinding,configmap",
            "-l",
            "app.kubernetes.io/name=herald",
        ])
        .await?;
    ensure!(left.is_empty(), "left behind: {left}");
    let kept = kubectl
        .run([
            "get",
            "-n",
            NAMESPACE,
            "-o",
            "name",
            "ipaddresspool,l2advertisement,secret",
        ])
        .await?;
    for name in [
        "ipaddresspool.metallb.io/first-pool",
        "l2advertisement.metallb.io/example",
        "secret/",
    ] {
        ensure!(kept.contains(name), "{name} is gone: {kept}");
    }
    lab.upgrade_chart(&json!({})).await?;
    lab.start_controller().await?;
    kubectl.apply("{apiVersion: v1, kind: Service, metadata: {name: a-newcomer}, spec: {type: LoadBalancer, ports: [{port: 80}]}}").await?;
    lab.wait_for_addresses("a-newcomer", 1, DEADLINE).await?;
    ensure!(
        lab.cluster().addresses("hello").await? == addresses,
        "hello lost {addresses:?}"
    );
    Ok(())
}

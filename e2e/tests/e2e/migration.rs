//! Herald takes the place of MetalLB and gives it back: the commands of docs/install/migrate.md, as they are written there.
//!
//! MetalLB's release is a chart of this test with the names of MetalLB's, whose definitions are templates. The Pods are stand-ins for
//! MetalLB's speakers ([`MetalLb`]): no kubelet runs what a chart installs. What clients notice is judged in the lab's own test.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_lab::Lab;
use herald_lab::metallb::MetalLb;
use herald_lab::objects::NAMESPACE;
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{DEADLINE, in_cluster};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster(
            "the_documented_commands_take_the_place_of_metallbs_chart_and_give_it_back",
            chart,
        ),
        in_cluster(
            "the_documented_commands_take_the_place_of_metallbs_manifests",
            manifests,
        ),
    ]
}

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const GUIDE: &str = include_str!("../../../docs/install/migrate.md");
/// The version of the chart that stands in for MetalLB's.
const VERSION: &str = "0.16.1";
/// The names of MetalLB's workloads, and the label that names the program: by its chart and by its manifests.
const OF_CHART: [&str; 3] = ["metallb-speaker", "metallb-controller", "app.kubernetes.io/name"];
const OF_MANIFESTS: [&str; 3] = ["speaker", "controller", "app"];

const CONFIGURATION: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: [192.168.67.120-192.168.67.129]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: metallb-system}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {metallb.io/ip-allocated-from-pool: pool}
spec: {type: LoadBalancer, selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}
";

/// The commands of the guide, run where a reader would run them.
struct Guide {
    kubeconfig: PathBuf,
    /// The home directory, the values and the chart of MetalLB.
    files: TempDir,
}

impl Guide {
    fn new(lab: &Lab) -> anyhow::Result<Self> {
        let guide = Self {
            kubeconfig: lab.kubeconfig(),
            files: tempfile::tempdir()?,
        };
        fs::write(guide.values(), values()?)?;
        guide.write_chart()?;
        Ok(guide)
    }

    fn values(&self) -> PathBuf {
        self.files.path().join("values.yaml")
    }

    fn chart(&self) -> PathBuf {
        self.files.path().join("metallb")
    }

    /// Writes a chart with the names of MetalLB's. Its definitions are templates, as MetalLB's are.
    fn write_chart(&self) -> anyhow::Result<()> {
        let templates = self.chart().join("templates");
        fs::create_dir_all(&templates)?;
        let chart = json!({"apiVersion": "v2", "name": "metallb", "version": VERSION});
        fs::write(self.chart().join("Chart.yaml"), chart.to_string())?;
        fs::write(self.chart().join("values.yaml"), "crds: {enabled: true}\n")?;
        fs::write(templates.join("metallb.yaml"), workloads(OF_CHART))?;
        for (name, definition) in definitions()? {
            let template = format!("{{{{- if .Values.crds.enabled }}}}\n{definition}\n{{{{- end }}}}\n");
            fs::write(templates.join(name), template)?;
        }
        Ok(())
    }

    /// Runs a command of the guide; returns what it printed.
    ///
    /// # Errors
    /// When it fails, or is not in the guide.
    fn run(&self, command: &str) -> anyhow::Result<String> {
        let text = GUIDE.split_whitespace().collect::<Vec<_>>().join(" ");
        let written = command.replace("\\\n", " ");
        let words = written.split_whitespace().collect::<Vec<_>>().join(" ");
        // In the guide, a backslash ends each line of a command but the last.
        ensure!(
            text.replace("\\ ", "").contains(&words),
            "not in the guide: {command}"
        );
        self.run_freely(&written)
    }

    fn run_freely(&self, command: &str) -> anyhow::Result<String> {
        let programs = std::env::var("HERALD_CONTROL_PLANE").context("no directory with helm")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let command = command
            .replace("metallb/metallb", &self.chart().display().to_string())
            .replace("VERSION", VERSION)
            .replace("your-values.yaml", &self.values().display().to_string());
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &command])
            .current_dir(REPOSITORY)
            .env("PATH", format!("{programs}:{path}"))
            .env("HOME", self.files.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command}: {complaint}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs all commands of the code blocks of a part of the guide, which begins and ends with these texts; returns what each printed.
    fn run_part(&self, begin: &str, end: &str) -> anyhow::Result<Vec<String>> {
        let (_, part) = GUIDE.split_once(begin).context("the guide has no such part")?;
        let (part, _) = part.split_once(end).context("the part does not end")?;
        let mut printed = Vec::new();
        for block in part.split("```console").skip(1) {
            let (block, _) = block.split_once("```").context("the block does not end")?;
            for command in block.split("\n  $ ").skip(1) {
                printed.push(self.run(command)?);
            }
        }
        Ok(printed)
    }
}

/// The values that the guide adds.
fn values() -> anyhow::Result<String> {
    let (_, block) = GUIDE.split_once("```yaml\n").context("the guide has no values")?;
    let (block, _) = block.split_once("```").context("the values do not end")?;
    let lines = block
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or_default());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The definitions of MetalLB's kinds, by file.
fn definitions() -> anyhow::Result<BTreeMap<String, String>> {
    let mut definitions = BTreeMap::new();
    for file in fs::read_dir(format!("{REPOSITORY}/crds"))? {
        let path = file?.path();
        let name = path
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        // Herald's own kinds are not in MetalLB's release.
        if name.starts_with("metallb.io_") {
            definitions.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(definitions)
}

/// MetalLB's workloads, and its webhook, which nobody answers here.
fn workloads([speaker, controller, label]: [&str; 3]) -> String {
    let workload = |kind: &str, name: &str, component: &str| {
        let labels = format!("{{{label}: metallb, component: {component}}}");
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
             selector: {{matchLabels: {labels}}}\n  template:\n    metadata: {{labels: {labels}}}\n    \
             spec: {{containers: [{{name: {component}, image: metallb}}]}}\n---\n"
        )
    };
    let webhook = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
         metadata: {{name: metallb-webhook-configuration}}\nwebhooks:\n- name: ipaddresspoolvalidationwebhook.metallb.io\n  \
         admissionReviewVersions: [v1]\n  sideEffects: None\n  failurePolicy: Ignore\n  timeoutSeconds: 1\n  clientConfig: \
         {{service: {{namespace: {NAMESPACE}, name: metallb-webhook-service}}}}\n  rules: [{{apiGroups: [metallb.io], \
         apiVersions: [v1beta1], operations: [CREATE, UPDATE], resources: [ipaddresspools]}}]\n"
    );
    workload("DaemonSet", speaker, "speaker") + &workload("Deployment", controller, "controller") + &webhook
}

/// Installed by MetalLB's chart, there and back.
async fn chart(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let guide = Guide::new(lab)?;
    remove_herald(lab, kubectl).await?;
    let chart = guide.chart().display().to_string();
    lab.helm(&["install", "metallb", &chart, "--namespace", NAMESPACE])
        .await?;
    let metallb = serve_by_metallb(lab, kubectl).await?;
    let kept = kept(kubectl).await?;
    install_beside(lab, kubectl, &guide).await?;
    let printed = guide.run_part("* Installed with Helm.", "* Installed from its manifests.")?;
    let [_, policies, _, pools, _] = printed.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let count = policies.lines().count();
    ensure!(
        count >= 4 && policies.lines().all(|line| line.ends_with("keep")),
        "{policies}"
    );
    ensure!(pools.contains("pool"), "{pools}");
    metallb.delete(lab).await?;
    take_over(lab, kubectl, &guide).await?;
    ensure_kept(kubectl, &kept).await?;

    guide.run("kubectl apply -f examples/hold-metallb.yaml")?;
    let install = [
        "install",
        "metallb",
        &chart,
        "--namespace",
        NAMESPACE,
        "--set",
        "crds.enabled=false",
    ];
    lab.helm(&install).await?;
    let metallb = MetalLb::start(lab).await?;
    metallb.set_ready(lab).await?;
    guide.run("kubectl delete -f examples/hold-metallb.yaml")?;
    // Only MetalLB's controller is active now.
    ensure_waits(lab, kubectl, 2, "second").await?;
    guide.run("helm uninstall herald -n metallb-system")?;
    lab.stop_herald().await?;
    wait_for("MetalLB says that it announces", DEADLINE, async || {
        let statuses = kubectl.get(&["servicel2statuses", "-n", NAMESPACE]).await?;
        Ok(statuses.to_string().contains("metallb-speaker-").then_some(()))
    })
    .await?;
    ensure_kept(kubectl, &kept).await?;
    metallb.delete(lab).await
}

/// Installed from MetalLB's manifests.
async fn manifests(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let guide = Guide::new(lab)?;
    remove_herald(lab, kubectl).await?;
    for definition in definitions()?.values() {
        kubectl.apply(definition).await?;
    }
    kubectl.apply(&workloads(OF_MANIFESTS)).await?;
    let metallb = serve_by_metallb(lab, kubectl).await?;
    let kept = kept(kubectl).await?;
    install_beside(lab, kubectl, &guide).await?;
    let printed = guide.run_part("* Installed from its manifests.", "In both cases")?;
    ensure!(printed.len() == 3, "{printed:?}");
    metallb.delete(lab).await?;
    take_over(lab, kubectl, &guide).await?;
    ensure_kept(kubectl, &kept).await
}

/// Takes away the Herald that each lab has.
async fn remove_herald(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    lab.stop_herald().await?;
    lab.helm(&["uninstall", "herald", "--namespace", NAMESPACE])
        .await?;
    kubectl
        .run(["delete", "secret", "herald-memberlist", "-n", NAMESPACE])
        .await?;
    kubectl
        .run(["delete", "crd", "-l", "app.kubernetes.io/name=herald"])
        .await?;
    Ok(())
}

/// Has MetalLB serve a Service, whose address its controller would have given it.
async fn serve_by_metallb(lab: &Lab, kubectl: &Kubectl) -> anyhow::Result<MetalLb> {
    wait_for("the definitions are in use", DEADLINE, async || {
        Ok(Some(kubectl.apply(CONFIGURATION).await?))
    })
    .await?;
    let status =
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.168.67.120", "ipMode": "VIP"}]}}});
    let patch = status.to_string();
    kubectl
        .run(["patch", "service", "web", "--subresource=status", "-p", &patch])
        .await?;
    let metallb = MetalLb::start(lab).await?;
    metallb.set_ready(lab).await?;
    announced(lab).await?;
    Ok(metallb)
}

async fn announced(lab: &Lab) -> anyhow::Result<()> {
    wait_for("the Service is announced", DEADLINE, async || {
        Ok(lab.cluster().announcer("web").await?.map(drop))
    })
    .await
}

/// Installs Herald as the guide says. It writes nothing as long as MetalLB is there.
async fn install_beside(lab: &mut Lab, kubectl: &Kubectl, guide: &Guide) -> anyhow::Result<()> {
    guide.run("helm install herald charts/herald -n metallb-system -f your-values.yaml")?;
    lab.start_installed().await?;
    ensure_waits(lab, kubectl, 1, "first").await
}

/// Waits until the controller stands by so many times, creates a Service, and fails if Herald gives it an address or a condition.
async fn ensure_waits(lab: &Lab, kubectl: &Kubectl, times: usize, name: &str) -> anyhow::Result<()> {
    wait_for("the controller stands by", DEADLINE, async || {
        let log = fs::read_to_string(lab.logs().join("controller.log"))?;
        Ok((log.matches("MetalLB's controller is there").count() == times).then_some(()))
    })
    .await?;
    kubectl.apply(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}")).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let service = kubectl.get(&["service", name]).await?;
    ensure!(
        service["status"]["loadBalancer"] == json!({}) && service["status"].get("conditions").is_none(),
        "Herald wrote beside MetalLB: {}",
        service["status"]
    );
    Ok(())
}

/// Waits until Herald serves alone, and gives the definitions to it.
async fn take_over(lab: &Lab, kubectl: &Kubectl, guide: &Guide) -> anyhow::Result<()> {
    let left = guide.run_freely("kubectl get validatingwebhookconfigurations -o name")?;
    ensure!(!left.contains("metallb-webhook-configuration"), "{left}");
    // The one that waited, too.
    lab.wait_for_addresses("first", 1, DEADLINE).await?;
    wait_for("Herald says that it announces", DEADLINE, async || {
        let condition = lab.cluster().condition("web", "herald.io/Announced").await?;
        Ok(condition
            .is_some_and(|[status, ..]| status == "True")
            .then_some(()))
    })
    .await?;
    let all = fs::read_to_string(guide.values())?;
    let without = all.replace("crds:\n  enabled: false\n", "");
    ensure!(all != without, "the values say nothing of the definitions: {all}");
    fs::write(guide.values(), without)?;
    guide.run("helm upgrade herald charts/herald -n metallb-system -f your-values.yaml --take-ownership")?;
    let definitions = kubectl
        .get(&["crd", "-l", "app.kubernetes.io/name=herald"])
        .await?;
    let owned = definitions["items"].as_array().context("no list")?.len();
    let all = fs::read_dir(format!("{REPOSITORY}/crds"))?.count();
    ensure!(owned == all, "Herald has {owned} of {all} definitions");
    Ok(())
}

/// What no step may delete or change: definitions, pools, advertisements, and the Service with its address.
async fn kept(kubectl: &Kubectl) -> anyhow::Result<BTreeMap<String, Value>> {
    let objects = kubectl
        .get(&["crd,ipaddresspools,l2advertisements,services", "-A"])
        .await?;
    let objects = objects["items"].as_array().context("no list")?.iter();
    let identity = |object: &Value| {
        let (kind, metadata) = (&object["kind"], &object["metadata"]);
        let name = metadata["name"].as_str().unwrap_or_default();
        let is_counted = match kind.as_str() {
            Some("Service") => name == "web",
            // Others come with Herald.
            Some("CustomResourceDefinition") => name.ends_with(".metallb.io"),
            _ => true,
        };
        let value = json!([metadata["uid"], object["status"]["loadBalancer"]]);
        is_counted.then(|| (format!("{kind} {name}"), value))
    };
    Ok(objects.filter_map(identity).collect())
}

async fn ensure_kept(kubectl: &Kubectl, before: &BTreeMap<String, Value>) -> anyhow::Result<()> {
    let now = kept(kubectl).await?;
    ensure!(
        before.len() >= 7 && now == *before,
        "before {before:#?}, now {now:#?}"
    );
    Ok(())
}

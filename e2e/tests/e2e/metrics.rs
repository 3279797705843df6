//! Metrics over TLS: a real Prometheus reads them with the rights that the chart grants, and nobody else does.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use herald_e2e::kubectl::Kubectl;
use herald_e2e::rights;
use herald_lab::Lab;
use herald_lab::objects::NAMESPACE;
use herald_lab::plan;
use herald_lab::prometheus::{Prometheus, Target};
use herald_netns::wait_for;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{DEADLINE, chart, in_cluster_with};

/// The chart's values: metrics as they are by default, and the ServiceAccount of Prometheus.
pub(crate) fn values() -> Value {
    json!({"prometheus": {"plainHTTP": false, "serviceAccount": "prometheus", "namespace": "default"}})
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        in_cluster_with(
            "prometheus_finds_and_scrapes_all_programs_with_the_rights_of_the_chart",
            values(),
            async |lab, kubectl| scrape_all(lab, kubectl).await,
        ),
        in_cluster_with("metrics_need_a_token_whose_user_may_get_them", values(), refused),
        in_cluster_with(
            "prometheus_finds_by_a_service_monitor_with_the_rights_of_the_chart_and_needs_each",
            values(),
            by_service_monitor,
        ),
    ]
}

/// What the chart needs of the Prometheus operator.
const SERVICE_MONITORS: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: servicemonitors.monitoring.coreos.com}, spec: {group: monitoring.coreos.com, scope: Namespaced, names: {kind: ServiceMonitor, plural: servicemonitors}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}";

/// The operator has Prometheus find Pods by the Endpoints or the EndpointSlices of Services. Prometheus lists and watches all that
/// it needs for that, and scrapes what it has found.
async fn by_service_monitor(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    kubectl.apply(SERVICE_MONITORS).await?;
    let definition = "crd/servicemonitors.monitoring.coreos.com";
    kubectl
        .run(["wait", "--for=condition=Established", "--timeout=60s", definition])
        .await?;
    let mut values = values();
    values["prometheus"]["serviceMonitor"] = json!({"enabled": true});
    lab.upgrade_chart(&values).await?;
    let monitors = kubectl.get(&["servicemonitors", "-n", NAMESPACE]).await?;
    ensure!(
        monitors["items"].as_array().is_some_and(|all| all.len() == 2),
        "{monitors}"
    );
    let files = tempfile::tempdir()?;
    let token = token(kubectl, "prometheus").await?;
    let own = with_token(lab, &files, &token)?;
    for kind in ["services", "endpoints", "endpointslices", "pods"] {
        list_and_watch(&own, kind).await?;
    }
    let programs = lab.nodes().len() + 1;
    let targets = wait_for("the Services have all programs", DEADLINE, async || {
        let slices = own.get(&["endpointslices", "-n", NAMESPACE]).await?;
        let mut targets = Vec::new();
        for slice in slices["items"].as_array().context("no list")? {
            let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
            if !service.is_some_and(|service| service.ends_with("-monitor-service")) {
                continue;
            }
            let port = slice["ports"][0]["port"].as_u64().context("no port")?;
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            let addresses = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str());
            targets.extend(addresses.map(|address| format!("{address}:{port}")));
        }
        Ok((targets.len() == programs).then_some(targets))
    });
    let mut job = job("herald", Some(&write(&files, "token", &token)?));
    job["static_configs"] = json!([{"targets": targets.await?}]);
    let prometheus = start(lab, &[job]).await?;
    await_targets(&prometheus, |targets| {
        targets.len() == programs && targets.iter().all(|target| target.health == "up")
    })
    .await?;
    let mut granted = chart::granted(kubectl).await?;
    granted.retain(|right| right.account == "prometheus");
    let mut requests = rights::requests(&chart::record(lab)?)?;
    requests.retain(|request| request.right.account == "prometheus");
    let unused = rights::unused(&granted, &requests);
    ensure!(
        granted.len() == 8 && unused.is_empty(),
        "{granted:?}, not needed: {unused:?}"
    );
    let forbidden = requests.iter().filter(|request| request.forbidden);
    let forbidden: Vec<String> = forbidden.map(|request| request.right.to_string()).collect();
    ensure!(forbidden.is_empty(), "needed, but not granted: {forbidden:?}");
    Ok(())
}

/// Finds the Pods of Herald as Prometheus would, and has Prometheus scrape them until all are up.
pub(crate) async fn scrape_all(lab: &Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let files = tempfile::tempdir()?;
    let token = token(kubectl, "prometheus").await?;
    let mut job = job("herald", Some(&write(&files, "token", &token)?));
    let targets = discover(lab, &files, &token).await?;
    let programs = lab.nodes().len() + 1;
    ensure!(targets.len() == programs, "not {programs} programs: {targets:?}");
    job["static_configs"] = json!([{"targets": targets}]);
    let prometheus = start(lab, &[job]).await?;
    await_targets(&prometheus, |targets| {
        targets.len() == programs && targets.iter().all(|target| target.health == "up")
    })
    .await
}

/// Lists and watches the Pods with the token of Prometheus: Debian's Prometheus is built without the discovery in Kubernetes.
async fn discover(lab: &Lab, files: &TempDir, token: &str) -> anyhow::Result<Vec<String>> {
    let pods = list_and_watch(&with_token(lab, files, token)?, "pods").await?;
    let pods = pods["items"].as_array().context("no list")?;
    let target = |pod: &Value| Some(format!("{}:9120", pod["status"]["podIP"].as_str()?));
    Ok(pods.iter().filter_map(target).collect())
}

fn with_token(lab: &Lab, files: &TempDir, token: &str) -> anyhow::Result<Kubectl> {
    let control_plane = lab.cluster().control_plane();
    let kubernetes = control_plane.kubernetes().context("no control plane")?;
    let kubeconfig = kubernetes.with_token(&control_plane.outside(), token);
    Kubectl::new(&write(files, "kubeconfig", &kubeconfig)?)
}

async fn list_and_watch(kubectl: &Kubectl, kind: &str) -> anyhow::Result<Value> {
    let list = kubectl.get(&[kind, "-n", NAMESPACE]).await?;
    let watch = [
        "get",
        kind,
        "-n",
        NAMESPACE,
        "--watch-only",
        "--request-timeout=1s",
    ];
    // It ends when its time is over.
    let _ended = kubectl.try_run(watch).await?;
    Ok(list)
}

/// Neither a client without a token nor one whose user has no right reads the metrics, and they learn why.
async fn refused(lab: &mut Lab, kubectl: &Kubectl) -> anyhow::Result<()> {
    let files = tempfile::tempdir()?;
    let cases = [
        ("allowed", Some(token(kubectl, "prometheus").await?), ""),
        ("forbidden", Some(token(kubectl, "other").await?), "403"),
        ("forged", Some("forged".to_owned()), "401"),
        ("without", None, "401"),
    ];
    let mut jobs = Vec::new();
    for (name, token, _) in &cases {
        let file = token
            .as_ref()
            .map(|token| write(&files, name, token))
            .transpose()?;
        let mut job = job(name, file.as_ref());
        let programs = [plan::switch()[0], lab.node(0).host().addresses()[0]];
        let targets = programs.map(|address| format!("{address}:9120"));
        job["static_configs"] = json!([{"targets": targets}]);
        jobs.push(job);
    }
    let prometheus = start(lab, &jobs).await?;
    let is_as_expected = |target: &Target| {
        cases.iter().any(|(name, _, status)| {
            let is_up = target.health == "up" && status.is_empty();
            let is_refused =
                target.health == "down" && !status.is_empty() && target.last_error.contains(status);
            *name == target.job && (is_up || is_refused)
        })
    };
    await_targets(&prometheus, |targets| {
        targets.len() == 2 * cases.len() && targets.iter().all(is_as_expected)
    })
    .await
}

async fn await_targets(
    prometheus: &Prometheus<'_>,
    are_as_expected: impl Fn(&[Target]) -> bool,
) -> anyhow::Result<()> {
    let settled = wait_for("Prometheus has scraped all as expected", DEADLINE, async || {
        // It refuses connections until it has started.
        let targets = prometheus.targets().await.unwrap_or_default();
        Ok(are_as_expected(&targets).then_some(()))
    });
    let settled = settled.await;
    let found = prometheus.targets().await?;
    settled.with_context(|| format!("{found:#?}"))
}

/// Creates a ServiceAccount and returns a token for it.
async fn token(kubectl: &Kubectl, account: &str) -> anyhow::Result<String> {
    kubectl.run(["create", "serviceaccount", account]).await?;
    let token = kubectl.run(["create", "token", account]).await?;
    let token = token.trim().to_owned();
    ensure!(!token.is_empty(), "kubectl printed no token");
    Ok(token)
}

fn write(files: &TempDir, name: &str, content: &str) -> anyhow::Result<PathBuf> {
    let path = files.path().join(name);
    fs::write(&path, content)?;
    Ok(path)
}

fn job(name: &str, token: Option<&PathBuf>) -> Value {
    let mut job = json!({
        "job_name": name,
        "scheme": "https",
        "tls_config": {"insecure_skip_verify": true},
    });
    if let Some(token) = token {
        job["authorization"] = json!({"credentials_file": token});
    }
    job
}

async fn start<'a>(lab: &'a Lab, jobs: &[Value]) -> anyhow::Result<Prometheus<'a>> {
    let configuration = json!({
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s"},
        "scrape_configs": jobs,
    });
    Prometheus::start(lab.client(), &configuration, lab.logs()).await
}

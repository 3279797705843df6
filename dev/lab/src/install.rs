//! Herald as it is installed in a lab: which arguments its programs get, and as whom they ask the API server.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use herald_netns::wait_for;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, EnvVar, PodSpec, PodTemplateSpec, Secret, ServiceAccount, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::Kubernetes;
use crate::objects::NAMESPACE;
use crate::process::Program;

/// The chart that is installed.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/herald");
/// The release's name.
const RELEASE: &str = "herald";
/// The labels of a speaker's Pod where no chart says so.
const SPEAKER_LABELS: [(&str, &str); 2] = labels("speaker");
/// The flag of programs whose metrics a lab can read without a token.
const PLAIN_METRICS: &str = "--metrics-plain-http";
/// The flag of programs that may run beside MetalLB.
const BESIDE_METALLB: &str = "--beside-metallb";
/// Memberlist has the default port.
const OTHER_GOSSIP_PORT: &str = "--ml-bindport=7956";
/// As the chart has it beside MetalLB: its routes have no MED.
const NO_MED: &str = "--bgp-med=absent";
/// How long the cluster may take to follow the chart.
const DEADLINE: Duration = Duration::from_secs(30);

/// The Pod that a program runs in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The Pod's name.
    pub pod: &'a str,
    /// The node's name.
    pub node: &'a str,
    /// The Pod's address.
    pub address: IpAddr,
}

/// How Herald is installed.
pub enum Installation {
    /// By hand: the flags that its documentation names, and all rights.
    Plain(Plain),
    /// By the chart, from whose objects a kubelet would take arguments, files and identity.
    Chart(Box<Chart>),
}

impl Installation {
    /// Installs Herald, by its chart with these values; files that its programs need go to `directory`.
    ///
    /// # Errors
    /// Where a chart is used, Herald is installed at once, and so not beside MetalLB by `is_beside_metallb`.
    pub async fn install(
        cluster: &Cluster,
        directory: &Path,
        values: &Value,
        is_beside_metallb: bool,
    ) -> anyhow::Result<Self> {
        match cluster.control_plane().kubernetes() {
            None => {
                cluster.prepare().await?;
                Ok(Self::Plain(Plain::new(directory, is_beside_metallb)))
            }
            Some(_) if is_beside_metallb => {
                anyhow::bail!("a chart is installed by its values beside MetalLB")
            }
            Some(kubernetes) => {
                let mut chart = Chart::new(directory)?;
                chart.upgrade(cluster, kubernetes, values).await?;
                Ok(Self::Chart(Box::new(chart)))
            }
        }
    }

    /// Upgrades the chart to these values.
    ///
    /// # Errors
    /// Without a chart, and when helm refuses.
    pub async fn upgrade(
        &mut self,
        cluster: &Cluster,
        kubernetes: &Kubernetes,
        values: &Value,
    ) -> anyhow::Result<()> {
        match self {
            Self::Plain(_) => anyhow::bail!("Herald was not installed by its chart"),
            Self::Chart(chart) => chart.upgrade(cluster, kubernetes, values).await,
        }
    }

    /// Reads what is installed by now.
    ///
    /// # Errors
    /// Without a real control plane, and when Herald is not installed.
    pub async fn read(&mut self, cluster: &Cluster, kubernetes: &Kubernetes) -> anyhow::Result<()> {
        match self {
            Self::Plain(_) => anyhow::bail!("Herald was installed by hand"),
            Self::Chart(chart) => chart.read(cluster, kubernetes).await,
        }
    }

    /// The speaker. Waits until the files exist that its Pod mounts.
    pub async fn speaker(&self, cluster: &Cluster, place: &Place<'_>) -> anyhow::Result<Program> {
        match self {
            Self::Plain(plain) => plain.speaker(place),
            Self::Chart(chart) => chart.program("speaker", &chart.speaker, cluster, place).await,
        }
    }

    /// The controller. Waits until the files exist that its Pod mounts.
    pub async fn controller(&self, cluster: &Cluster, place: &Place<'_>) -> anyhow::Result<Program> {
        match self {
            Self::Plain(plain) => Ok(plain.controller(place)),
            Self::Chart(chart) => {
                let template = &chart.controller;
                chart.program("controller", template, cluster, place).await
            }
        }
    }

    /// The labels of a speaker's Pod.
    pub fn speaker_labels(&self) -> Value {
        match self {
            Self::Plain(_) => json!(BTreeMap::from(SPEAKER_LABELS)),
            Self::Chart(chart) => json!(chart.speaker.labels),
        }
    }

    /// The labels of a controller's Pod.
    pub fn controller_labels(&self) -> Value {
        match self {
            Self::Plain(_) => json!(BTreeMap::from(labels("controller"))),
            Self::Chart(chart) => json!(chart.controller.labels),
        }
    }
}

/// The labels of the Pods of a program.
const fn labels(component: &'static str) -> [(&'static str, &'static str); 2] {
    [
        ("app.kubernetes.io/name", "herald"),
        ("app.kubernetes.io/component", component),
    ]
}

/// Herald without a chart.
pub struct Plain {
    kubeconfig: PathBuf,
    directory: PathBuf,
    /// The gossip key.
    key: String,
    is_beside_metallb: bool,
}

impl Plain {
    fn new(directory: &Path, is_beside_metallb: bool) -> Self {
        let key: [u8; 16] = std::array::from_fn(|_| rand::random());
        Self {
            kubeconfig: directory.join("kubeconfig-inside"),
            directory: directory.join("memberlist"),
            key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
            is_beside_metallb,
        }
    }

    fn speaker(&self, place: &Place<'_>) -> anyhow::Result<Program> {
        let labels = SPEAKER_LABELS.map(|(name, value)| format!("{name}={value}"));
        let secret = self.directory.join(place.pod);
        fs::create_dir_all(&secret)?;
        write(&secret.join("secretkey"), self.key.as_bytes())?;
        let mut arguments = vec![
            "speaker".to_owned(),
            format!("--node-name={}", place.node),
            format!("--pod-name={}", place.pod),
            format!("--namespace={NAMESPACE}"),
            format!("--ml-bindaddr={}", place.address),
            format!("--ml-labels={}", labels.join(",")),
            format!("--ml-secret-key-path={}", secret.display()),
            PLAIN_METRICS.to_owned(),
        ];
        if self.is_beside_metallb {
            arguments.extend([BESIDE_METALLB, OTHER_GOSSIP_PORT, NO_MED].map(str::to_owned));
        }
        Ok(self.program(arguments))
    }

    fn controller(&self, place: &Place<'_>) -> Program {
        let mut arguments = vec![
            "controller".to_owned(),
            format!("--namespace={NAMESPACE}"),
            format!("--pod-name={}", place.pod),
            PLAIN_METRICS.to_owned(),
        ];
        arguments.extend(self.is_beside_metallb.then(|| BESIDE_METALLB.to_owned()));
        self.program(arguments)
    }

    fn program(&self, arguments: Vec<String>) -> Program {
        let kubeconfig = self.kubeconfig.display().to_string();
        Program {
            arguments,
            environment: vec![("KUBECONFIG".to_owned(), kubeconfig)],
        }
    }
}

/// Herald by its chart.
pub struct Chart {
    directory: PathBuf,
    kubeconfig: PathBuf,
    controller: Template,
    speaker: Template,
}

/// The parts of a Pod's template that a kubelet would use.
#[derive(Default)]
struct Template {
    labels: BTreeMap<String, String>,
    spec: PodSpec,
    kubeconfig: PathBuf,
}

impl Chart {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let chart = Self {
            kubeconfig: directory.join("kubeconfig"),
            directory: directory.join("herald"),
            controller: Template::default(),
            speaker: Template::default(),
        };
        fs::create_dir(&chart.directory)?;
        Ok(chart)
    }

    /// Installs the chart with these values, or upgrades it to them; unless they say otherwise, metrics are served over plain
    /// HTTP. Programs that run go on as they are.
    async fn upgrade(
        &mut self,
        cluster: &Cluster,
        kubernetes: &Kubernetes,
        values: &Value,
    ) -> anyhow::Result<()> {
        let file = self.directory.join("values.json");
        let mut all = json!({"prometheus": {"plainHTTP": true}});
        json_patch::merge(&mut all, values);
        write(&file, all.to_string().as_bytes())?;
        let arguments = [
            "upgrade",
            RELEASE,
            CHART,
            "--install",
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            &file.display().to_string(),
        ];
        kubernetes
            .helm(&self.kubeconfig, &arguments.map(str::to_owned))
            .await?;
        self.read(cluster, kubernetes).await
    }

    /// Reads what is installed, as kubelets do.
    async fn read(&mut self, cluster: &Cluster, kubernetes: &Kubernetes) -> anyhow::Result<()> {
        let client = cluster.client();
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
        let made = wait_for("Pods can be made", DEADLINE, async || {
            accounts_default(&accounts).await
        });
        made.await?;
        let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
        let deployment = deployments.get(&format!("{RELEASE}-controller")).await?;
        let template = deployment.spec.template;
        self.controller = self.template(cluster, kubernetes, template).await?;
        let daemons = Api::<DaemonSet>::namespaced(client, NAMESPACE);
        let daemon = daemons.get(&format!("{RELEASE}-speaker")).await?;
        let template = daemon.spec.template;
        self.speaker = self.template(cluster, kubernetes, template).await?;
        Ok(())
    }

    async fn template(
        &self,
        cluster: &Cluster,
        kubernetes: &Kubernetes,
        template: PodTemplateSpec,
    ) -> anyhow::Result<Template> {
        let client = cluster.client();
        let spec = template.spec.context("the Pod template has no spec")?;
        let account = spec.service_account_name.clone().context("no service account")?;
        let kubeconfig = self.directory.join(format!("kubeconfig-{account}"));
        let token = token(client.clone(), &account).await?;
        let text = kubernetes.with_token(&cluster.control_plane().inside(), &token);
        write(&kubeconfig, text.as_bytes())?;
        Ok(Template {
            labels: template.metadata.and_then(|meta| meta.labels).unwrap_or_default(),
            spec,
            kubeconfig,
        })
    }

    async fn program(
        &self,
        role: &str,
        template: &Template,
        cluster: &Cluster,
        place: &Place<'_>,
    ) -> anyhow::Result<Program> {
        let container = template
            .spec
            .containers
            .first()
            .context("the Pod has no container")?;
        ensure!(
            container.command.as_deref() == Some(&[format!("/herald-{role}")]),
            "the chart runs {:?} as {role}",
            container.command
        );
        let mut arguments = vec![role.to_owned()];
        arguments.extend(container.args.iter().flatten().cloned());
        let kubeconfig = template.kubeconfig.display().to_string();
        let mut environment = vec![("KUBECONFIG".to_owned(), kubeconfig)];
        for variable in container.env.iter().flatten() {
            environment.push((variable.name.clone(), value(variable, place)?));
        }
        // The lab's programs share a file system, so each volume is where its files are and not where it is mounted.
        for mount in container.volume_mounts.iter().flatten() {
            let mut volumes = template.spec.volumes.iter().flatten();
            let volume = volumes.find(|volume| volume.name == mount.name);
            let volume = volume.context("a mount without a volume")?;
            let files = self.directory.join(place.pod).join(&volume.name);
            mount_volume(cluster, volume, &files).await?;
            let path = files.display().to_string();
            for (_, value) in &mut environment {
                if *value == mount.mount_path {
                    value.clone_from(&path);
                }
            }
            for argument in &mut arguments {
                if let Some((flag, _)) = argument
                    .split_once('=')
                    .filter(|(_, value)| *value == mount.mount_path)
                {
                    *argument = format!("{flag}={path}");
                }
            }
            if mount.mount_path == "/etc/metallb" {
                arguments.push(format!("--exclude-interfaces={}/excludel2.yaml", files.display()));
            }
        }
        Ok(Program {
            arguments,
            environment,
        })
    }
}

async fn accounts_default(accounts: &Api<ServiceAccount>) -> anyhow::Result<Option<ServiceAccount>> {
    Ok(accounts.get_opt("default").await?)
}

/// The value of an environment variable, as a kubelet would find it.
fn value(variable: &EnvVar, place: &Place<'_>) -> anyhow::Result<String> {
    let field = variable
        .value_from
        .as_ref()
        .and_then(|source| source.field_ref.as_ref());
    Ok(match field.map(|field| field.field_path.as_str()) {
        None => variable.value.clone().unwrap_or_default(),
        Some("metadata.namespace") => NAMESPACE.to_owned(),
        Some("metadata.name") => place.pod.to_owned(),
        Some("spec.nodeName") => place.node.to_owned(),
        Some("status.podIP") => place.address.to_string(),
        Some(other) => anyhow::bail!(
            "{} is taken from {other}, which the lab does not know",
            variable.name
        ),
    })
}

/// Writes the files of a volume, as a kubelet would: it waits until the object exists.
async fn mount_volume(cluster: &Cluster, volume: &Volume, directory: &Path) -> anyhow::Result<()> {
    let what = format!("volume {} can be mounted", volume.name);
    let files = wait_for(&what, DEADLINE, async || {
        content(cluster.client(), volume).await.map(Some)
    });
    let files = files.await?;
    fs::create_dir_all(directory)?;
    for (name, content) in files {
        write(&directory.join(name), &content)?;
    }
    Ok(())
}

/// The files of a volume.
async fn content(client: Client, volume: &Volume) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().context("a Secret without a name")?;
        let secret = Api::<Secret>::namespaced(client, NAMESPACE).get(name).await?;
        let data = secret.data.unwrap_or_default();
        return Ok(data.into_iter().map(|(name, bytes)| (name, bytes.0)).collect());
    }
    let source = volume.config_map.as_ref();
    let source =
        source.with_context(|| format!("volume {} is of no kind that the lab knows", volume.name))?;
    let map = Api::<ConfigMap>::namespaced(client, NAMESPACE)
        .get(&source.name)
        .await?;
    let data = map.data.unwrap_or_default();
    Ok(data
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect())
}

/// A token of a service account, as a kubelet would ask for.
async fn token(client: Client, account: &str) -> anyhow::Result<String> {
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(24 * 3600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client, NAMESPACE);
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("cannot get a token of service account {account}"))?;
    let status = answer.status.context("a token request without an answer")?;
    status.token.context("an answer without a token")
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

//! etcd, kube-apiserver, kube-controller-manager and, for kubelets, kube-scheduler, as processes of a lab.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use herald_devkube::RequestCounts;
use herald_netns::{Netns, wait_for};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use rcgen::KeyPair;
use serde_json::json;
use tokio::process::Command;

use super::kubeconfig::{client, kubeconfig};
use super::metrics;
use super::programs::Programs;
use crate::objects::NAMESPACE;
use crate::process::{Process, Program};

/// The user that may do everything.
const ADMIN: User<'static> = User("admin", "system:masters");
/// The identities that Kubernetes' own roles are for.
const CONTROLLER_MANAGER: User<'static> = User("system:kube-controller-manager", "");
const PROXY: User<'static> = User("system:kube-proxy", "");
const SCHEDULER: User<'static> = User("system:kube-scheduler", "");
/// The group of all kubelets.
const NODES: &str = "system:nodes";

/// Addresses of Services inside the cluster, as the embedded server has them.
const SERVICE_RANGE: &str = "10.96.0.0/16,fd00:10:96::/112";
/// Addresses of pods, see [`crate::plan::pod`].
const POD_RANGE: &str = "10.244.0.0/16,fd00:244::/32";
/// Where no kubelet runs, no Pods are made of a template; the lab makes them.
const CONTROLLERS: &str = "*,-daemonset-controller,-deployment-controller,-replicaset-controller";
/// How long the server may take to come up on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A name and a group.
struct User<'a>(&'a str, &'a str);

/// Kubernetes' own control plane.
pub struct Kubernetes {
    programs: Programs,
    place: Option<Arc<Netns>>,
    address: SocketAddr,
    door: SocketAddr,
    files: Files,
    /// Where etcd listens.
    store: SocketAddr,
    token: String,
    /// Whether Pods are scheduled to nodes with kubelets.
    has_kubelets: bool,
    // Dropped in this order: clients before servers.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    server: Option<Process>,
    _etcd: Process,
}

/// Its files, in a directory of the lab.
struct Files {
    /// Certificates that the server makes for itself.
    certificates: PathBuf,
    /// What service account tokens are signed with.
    signing_key: PathBuf,
    /// What they are checked with.
    verification_key: PathBuf,
    /// The users that the tokens of the lab stand for.
    tokens: PathBuf,
    /// Whose requests are recorded.
    audit_policy: PathBuf,
    audit: PathBuf,
    logs: PathBuf,
    data: PathBuf,
    directory: PathBuf,
}

impl Kubernetes {
    /// Starts everything in the namespace `place`, or in that of the calling thread; the server at `address`, which the
    /// lab itself reaches at `door`. Kubelets will run on the nodes `kubelets`. Returns when the server is ready and Pods can be created in the namespace `default`.
    ///
    /// # Errors
    /// With the end of a program's log if it does not come up.
    pub async fn start(
        programs: Programs,
        place: Option<Arc<Netns>>,
        [address, door]: [SocketAddr; 2],
        directory: &Path,
        kubelets: &[String],
    ) -> anyhow::Result<Self> {
        let token = random_token();
        let files = Files::write(directory, &token, kubelets)?;
        let [store, peer] = [
            free_address(place.as_deref()).await?,
            free_address(place.as_deref()).await?,
        ];
        let arguments = [
            format!("--data-dir={}", files.data.display()),
            format!("--listen-client-urls=http://{store}"),
            format!("--advertise-client-urls=http://{store}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=default=http://{peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let etcd = launch(&programs, place.as_deref(), "etcd", &arguments, &files.logs).await?;
        let mut kubernetes = Self {
            programs,
            place,
            address,
            door,
            files,
            store,
            token,
            has_kubelets: !kubelets.is_empty(),
            scheduler: None,
            controller_manager: None,
            server: None,
            _etcd: etcd,
        };
        let ready = kubernetes.bring_up().await;
        ready.with_context(|| kubernetes.files.ends_of_logs())?;
        Ok(kubernetes)
    }

    async fn bring_up(&mut self) -> anyhow::Result<()> {
        self.start_server().await?;
        let mut arguments = vec![
            format!("--kubeconfig={}", self.write_kubeconfig(&CONTROLLER_MANAGER)?),
            "--use-service-account-credentials".to_owned(),
            format!(
                "--service-account-private-key-file={}",
                self.files.signing_key.display()
            ),
            format!("--root-ca-file={}", self.files.authority().display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        if self.has_kubelets {
            let arguments = [
                format!("--kubeconfig={}", self.write_kubeconfig(&SCHEDULER)?),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
            ];
            self.scheduler = Some(self.launch("kube-scheduler", &arguments).await?);
        } else {
            arguments.push(format!("--controllers={CONTROLLERS}"));
            // No kubelet reports that a node lives.
            arguments.push("--node-monitor-grace-period=24h".to_owned());
        }
        let manager = self.launch("kube-controller-manager", &arguments).await?;
        self.controller_manager = Some(manager);
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, "default");
        let made = wait_for("Pods can be made", DEADLINE, async || {
            Ok(accounts.get_opt("default").await?)
        });
        made.await?;
        Ok(())
    }

    async fn start_server(&mut self) -> anyhow::Result<()> {
        let authorizers = if self.has_kubelets { "Node,RBAC" } else { "RBAC" };
        let mut arguments = vec![
            format!("--etcd-servers=http://{}", self.store),
            "--bind-address=0.0.0.0".to_owned(),
            format!("--secure-port={}", self.address.port()),
            format!("--advertise-address={}", advertised(self.address.ip())),
            format!("--cert-dir={}", self.files.certificates.display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                self.files.signing_key.display()
            ),
            format!(
                "--service-account-key-file={}",
                self.files.verification_key.display()
            ),
            format!("--token-auth-file={}", self.files.tokens.display()),
            format!("--authorization-mode={authorizers}"),
            format!("--audit-policy-file={}", self.files.audit_policy.display()),
            format!("--audit-log-path={}", self.files.audit.display()),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            // No proxy runs where the API server does: it calls the Pods of webhooks.
            "--enable-aggregator-routing".to_owned(),
            "--allow-privileged".to_owned(),
        ];
        if self.has_kubelets {
            arguments.push("--enable-admission-plugins=NodeRestriction".to_owned());
            arguments.push("--kubelet-preferred-address-types=InternalIP".to_owned());
        }
        self.server = Some(self.launch("kube-apiserver", &arguments).await?);
        let ready = wait_for("the API server is ready", DEADLINE, async || {
            let ended = self
                .server
                .as_mut()
                .and_then(|server| server.exit_status().transpose());
            if let Some(status) = ended {
                // To wait on would be in vain.
                return Ok(Some(Err(anyhow::anyhow!(
                    "kube-apiserver ended with {}",
                    status?
                ))));
            }
            let request = axum::http::Request::get("/readyz").body(Vec::new())?;
            self.client().await?.request_text(request).await?;
            Ok(Some(Ok(())))
        });
        ready.await?
    }

    /// Takes the API server away at once (SIGKILL), or brings it back with what etcd has.
    pub async fn set_away(&mut self, away: bool) -> anyhow::Result<()> {
        if away {
            if let Some(mut server) = self.server.take() {
                server.kill().await?;
            }
        } else if self.server.is_none() {
            self.start_server().await?;
        }
        Ok(())
    }

    /// kube-proxy for the node `node`.
    pub fn proxy(&self, node: &str) -> anyhow::Result<Program> {
        let arguments = [
            format!("--kubeconfig={}", self.write_kubeconfig(&PROXY)?),
            format!("--hostname-override={node}"),
            "--proxy-mode=nftables".to_owned(),
            "--detect-local-mode=ClusterCIDR".to_owned(),
            format!("--cluster-cidr={POD_RANGE}"),
            // These belong to the machine, not to the namespace.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        ];
        Ok(program(&self.programs, "kube-proxy", &arguments))
    }

    /// kubelet for the node `node`, at this address and with a configuration in this file.
    pub fn kubelet(&self, node: &str, address: IpAddr, configuration: &Path) -> anyhow::Result<Program> {
        let user = format!("system:node:{node}");
        let arguments = [
            format!("--kubeconfig={}", self.write_kubeconfig(&User(&user, NODES))?),
            format!("--config={}", configuration.display()),
            format!("--hostname-override={node}"),
            format!("--node-ip={address}"),
        ];
        Ok(program(&self.programs, "kubelet", &arguments))
    }

    /// Runs helm against it, from outside; returns what it printed.
    pub async fn helm(&self, kubeconfig: &Path, arguments: &[String]) -> anyhow::Result<String> {
        let mut command = Command::new(self.programs.path("helm"));
        // Nothing of the user's own is to play a part.
        for (name, directory) in [
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(name, self.files.directory.join("helm").join(directory));
        }
        command
            .env("KUBECONFIG", kubeconfig)
            .args(arguments)
            .kill_on_drop(true);
        let output = command.output().await.context("cannot run helm")?;
        anyhow::ensure!(
            output.status.success(),
            "helm {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A kubeconfig for a client that reaches the API server at `url` and may do everything.
    pub fn admin(&self, url: &str) -> String {
        kubeconfig(url, &self.files.authority(), &ADMIN.token(&self.token))
    }

    /// A kubeconfig for a client that reaches the API server at `url` with a token that the server issued.
    pub fn with_token(&self, url: &str, token: &str) -> String {
        kubeconfig(url, &self.files.authority(), token)
    }

    async fn client(&self) -> anyhow::Result<Client> {
        client(&self.admin(&format!("https://{}", self.door))).await
    }

    /// The requests of the chart's programs and of the ServiceAccount `prometheus` so far, with the answers: one Event of `audit.k8s.io/v1` a line.
    pub fn audit(&self) -> anyhow::Result<String> {
        let path = &self.files.audit;
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// How often each resource was requested so far, by all clients.
    pub(super) async fn request_counts(&self) -> anyhow::Result<RequestCounts> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        let metrics = self.client().await?.request_text(request).await?;
        Ok(metrics::request_counts(&metrics))
    }

    fn write_kubeconfig(&self, user: &User<'_>) -> anyhow::Result<String> {
        let path = self
            .files
            .directory
            .join(format!("{}.kubeconfig", user.0.replace(':', "-")));
        let url = format!("https://{}", self.address);
        let text = kubeconfig(&url, &self.files.authority(), &user.token(&self.token));
        // Another program of the same user may be reading it.
        let file = tempfile::NamedTempFile::new_in(&self.files.directory)?;
        fs::write(file.path(), text).with_context(|| format!("cannot write {}", file.path().display()))?;
        file.persist(&path)?;
        Ok(path.display().to_string())
    }

    async fn launch(&self, program: &str, arguments: &[String]) -> anyhow::Result<Process> {
        launch(
            &self.programs,
            self.place.as_deref(),
            program,
            arguments,
            &self.files.logs,
        )
        .await
    }
}

impl User<'_> {
    /// The bearer token of this user, made of the lab's secret.
    fn token(&self, secret: &str) -> String {
        format!("{}.{secret}", self.0)
    }
}

impl Files {
    fn write(directory: &Path, secret: &str, kubelets: &[String]) -> anyhow::Result<Self> {
        let directory = directory.join("control-plane");
        let files = Self {
            certificates: directory.join("certificates"),
            signing_key: directory.join("service-accounts.key"),
            verification_key: directory.join("service-accounts.pub"),
            tokens: directory.join("tokens.csv"),
            audit_policy: directory.join("audit-policy.json"),
            audit: directory.join("audit.log"),
            logs: directory.parent().unwrap_or(&directory).join("logs"),
            data: directory.join("etcd"),
            directory,
        };
        for directory in [&files.certificates, &files.logs] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let key = KeyPair::generate().context("cannot make a key for service account tokens")?;
        let mut tokens = String::new();
        let kubelets: Vec<String> = kubelets
            .iter()
            .map(|node| format!("system:node:{node}"))
            .collect();
        let kubelets = kubelets.iter().map(|name| User(name, NODES));
        for user in [ADMIN, CONTROLLER_MANAGER, PROXY, SCHEDULER]
            .into_iter()
            .chain(kubelets)
        {
            // Writing to a String cannot fail.
            let _ = writeln!(
                tokens,
                "{},{},{},\"{}\"",
                user.token(secret),
                user.0,
                user.0,
                user.1
            );
        }
        for (path, text) in [
            (&files.signing_key, key.serialize_pem()),
            (&files.verification_key, key.public_key_pem()),
            (&files.tokens, tokens),
            (&files.audit_policy, audit_policy()),
        ] {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(files)
    }

    /// The certificate that the server makes when it first starts, with the one that signed it.
    fn authority(&self) -> PathBuf {
        self.certificates.join("apiserver.crt")
    }

    fn ends_of_logs(&self) -> String {
        let mut text = "the control plane does not come up".to_owned();
        for name in ["etcd", "kube-apiserver", "kube-controller-manager"] {
            let log = fs::read_to_string(self.logs.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let _ = write!(
                text,
                "\n--- {name}\n{}",
                lines[lines.len().saturating_sub(10)..].join("\n")
            );
        }
        text
    }
}

/// Records the requests of the service accounts in Herald's namespace.
fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "userGroups": [format!("system:serviceaccounts:{NAMESPACE}")]},
            {"level": "Metadata", "users": ["system:serviceaccount:default:prometheus"]},
            {"level": "None"},
        ],
    })
    .to_string()
}

fn random_token() -> String {
    let bytes: [u8; 16] = std::array::from_fn(|_| rand::random());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The server does not advertise a loopback address.
fn advertised(address: IpAddr) -> IpAddr {
    if address.is_loopback() {
        Ipv4Addr::new(192, 0, 2, 1).into()
    } else {
        address
    }
}

/// An unused address on loopback.
async fn free_address(place: Option<&Netns>) -> anyhow::Result<SocketAddr> {
    let look = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    let found = match place {
        Some(namespace) => namespace.run(look).await,
        None => look(),
    };
    found.context("no port is free")
}

fn program(programs: &Programs, name: &str, arguments: &[String]) -> Program {
    let run = ["exec".to_owned(), programs.path(name)];
    Program {
        arguments: run.into_iter().chain(arguments.iter().cloned()).collect(),
        environment: Vec::new(),
    }
}

async fn launch(
    programs: &Programs,
    place: Option<&Netns>,
    name: &str,
    arguments: &[String],
    logs: &Path,
) -> anyhow::Result<Process> {
    let command = program(programs, name, arguments).command();
    match place {
        Some(namespace) => Process::start(namespace, name, command, logs).await,
        None => Process::start_here(name, command, logs),
    }
}

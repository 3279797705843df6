//! The lab itself: a cluster with nodes, a client beside it, and what can be done to them.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use herald_devkube::{Faults, Server};
use tempfile::TempDir;

use crate::cluster::{Applied, Cluster};
use crate::fabric::{Fabric, Host};
use crate::net::MacAddr;
use crate::node::{Files, Node};
use crate::objects::{NAMESPACE, Pod};
use crate::plan;
use crate::prober::{Pace, Prober};
use crate::process::Process;
use crate::wait::eventually;

/// How many lines of each log a report shows.
const REPORTED_LINES: usize = 40;

/// A cluster in a box. Dropping it ends every process and removes every file of it.
// Fields are dropped in this order: processes before the namespaces and files that they use.
pub struct Lab {
    controller: Option<Process>,
    nodes: Vec<Node>,
    client: Host,
    cluster: Cluster,
    fabric: Fabric,
    files: Files,
    directory: TempDir,
}

/// What a lab should have.
#[derive(Debug, Clone)]
pub struct Builder {
    nodes: usize,
}

impl Builder {
    /// Sets the number of nodes; 3 if not set.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Starts everything: API server, nodes with proxies and speakers, controller, client. It does not wait
    /// for the programs to get ready. [`crate::sandbox::enter`] must have been called.
    pub async fn start(self) -> anyhow::Result<Lab> {
        if !(1..=plan::MAX_NODES).contains(&self.nodes) {
            bail!("a lab has 1 to {} nodes, not {}", plan::MAX_NODES, self.nodes);
        }
        let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir();
        let directory = directory.context("cannot make a directory for the lab's files")?;
        let fabric = Fabric::new().await?;
        let outside = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen on 127.0.0.1")?;
        let inside_address = SocketAddr::new(plan::fabric()[0], plan::API_PORT);
        let inside = fabric
            .netns()
            .run(move || TcpListener::bind(inside_address))
            .await?;
        let cluster = Cluster::start(outside, inside).await?;
        let files = write_files(directory.path(), &cluster, inside_address)?;
        let client = fabric.attach("client", plan::client()).await?;
        let mut lab = Lab {
            controller: None,
            nodes: Vec::new(),
            client,
            cluster,
            fabric,
            files,
            directory,
        };
        for index in 0..self.nodes {
            lab.add_node(index).await?;
        }
        lab.start_controller().await?;
        Ok(lab)
    }
}

fn write_files(directory: &Path, cluster: &Cluster, inside: SocketAddr) -> anyhow::Result<Files> {
    let files = Files {
        kubeconfig: directory.join("kubeconfig-inside"),
        secret: directory.join("memberlist"),
        logs: directory.join("logs"),
    };
    fs::create_dir(&files.secret)?;
    fs::create_dir(&files.logs)?;
    let key: [u8; 16] = std::array::from_fn(|_| rand::random());
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    for (path, content) in [
        (
            files.kubeconfig.clone(),
            Server::kubeconfig(&format!("http://{inside}")),
        ),
        (
            directory.join("kubeconfig"),
            Server::kubeconfig(&format!("http://{}", cluster.address())),
        ),
        (files.secret.join("secretkey"), key),
    ] {
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files)
}

impl Lab {
    /// A lab of three nodes unless told otherwise.
    pub fn builder() -> Builder {
        Builder { nodes: 3 }
    }

    async fn add_node(&mut self, index: usize) -> anyhow::Result<()> {
        let mut node = Node::attach(&self.fabric, index, self.files.clone()).await?;
        let addresses = node.host().addresses();
        self.cluster.add_node(node.name(), addresses).await?;
        self.cluster
            .add_pod(&Pod::speaker(node.name(), addresses))
            .await?;
        node.start_proxy().await?;
        node.start_speaker().await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts the controller, on the fabric's own machine so that it outlives every node.
    pub async fn start_controller(&mut self) -> anyhow::Result<()> {
        let arguments = [
            "controller".to_owned(),
            format!("--namespace={NAMESPACE}"),
            "--pod-name=controller".to_owned(),
        ];
        self.controller = Some(
            self.files
                .start(self.fabric.netns(), "controller", &arguments)
                .await?,
        );
        Ok(())
    }

    /// Kills the controller (SIGKILL).
    pub async fn kill_controller(&mut self) -> anyhow::Result<()> {
        let mut controller = self.controller.take().context("no controller runs")?;
        Ok(controller.kill().await?)
    }

    /// Runs one pod of `app` (label `app`) on each of these nodes, serving HTTP on `port`.
    pub async fn run_app(&mut self, app: &str, port: u16, nodes: &[usize]) -> anyhow::Result<()> {
        for &index in nodes {
            let pod = self.nodes[index].start_pod(app, port).await?;
            let gateways = self.nodes[index].host().addresses();
            for (other, node) in self.nodes.iter().enumerate() {
                if other != index {
                    node.add_pod_routes(pod.addresses, gateways).await?;
                }
            }
            self.wait_for_pod(&pod).await?;
            self.cluster.add_pod(&pod).await?;
        }
        Ok(())
    }

    /// A pod is ready when it accepts connections; so a kubelet would find by a readiness probe.
    async fn wait_for_pod(&self, pod: &Pod) -> anyhow::Result<()> {
        let node = self
            .nodes
            .iter()
            .find(|node| node.name() == pod.node)
            .context("the pod's node is gone")?;
        let address = SocketAddr::new(pod.addresses[0], pod.port);
        eventually(
            &format!("pod {} serves", pod.name),
            Duration::from_secs(10),
            async || {
                let connect = node
                    .host()
                    .netns()
                    .run(move || std::net::TcpStream::connect(address));
                Ok(Some(connect.await?))
            },
        )
        .await?;
        Ok(())
    }

    /// Ends the pod of `app` on node `index`.
    pub async fn end_pod(&mut self, app: &str, index: usize) -> anyhow::Result<()> {
        let name = format!("{app}-{}", self.nodes[index].name());
        self.cluster.remove_pod("default", &name).await?;
        self.nodes[index].kill_pod(&name).await
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `index`, counted from 0.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Node `index`, to do something to it.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// The client's machine.
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// The Kubernetes side.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Makes the API server misbehave.
    pub fn faults(&self) -> Faults {
        self.cluster.faults()
    }

    /// A kubeconfig that works outside the lab, for kubectl.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// The directory with the output of all processes.
    pub fn logs(&self) -> &Path {
        &self.files.logs
    }

    /// Applies a manifest; any document that is refused makes it fail, with all reasons.
    pub async fn apply(&self, source: &str, yaml: &str) -> anyhow::Result<Vec<Applied>> {
        let (applied, errors) = self.cluster.apply(source, yaml).await;
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::ensure!(errors.is_empty(), "{}", errors.join("\n"));
        Ok(applied)
    }

    /// Waits until a Service of namespace `default` has `count` addresses.
    pub async fn wait_for_addresses(
        &self,
        service: &str,
        count: usize,
        patience: Duration,
    ) -> anyhow::Result<Vec<IpAddr>> {
        eventually(
            &format!("{count} address(es) for Service {service}"),
            patience,
            async || {
                let addresses = self.cluster.addresses(service).await?;
                Ok((addresses.len() == count).then_some(addresses))
            },
        )
        .await
    }

    /// The Ethernet address that the client's kernel resolves `address` to, asking anew.
    pub async fn resolve(&self, address: IpAddr, patience: Duration) -> anyhow::Result<MacAddr> {
        self.client
            .links()
            .forget_neighbour(crate::fabric::LINK, address)
            .await?;
        eventually(&format!("the client resolves {address}"), patience, async || {
            self.client.poke(address).await?;
            let entry = self.client.links().neighbour(address).await?;
            Ok(entry.and_then(|entry| entry.mac))
        })
        .await
    }

    /// The index of the node that has this Ethernet address.
    pub fn node_with(&self, mac: MacAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.host().mac() == mac)
    }

    /// The index of the node that answers for `address`, by what the client's kernel learns.
    pub async fn owner(&self, address: IpAddr, patience: Duration) -> anyhow::Result<usize> {
        let mac = self.resolve(address, patience).await?;
        self.node_with(mac)
            .with_context(|| format!("{address} is at {mac}, which is no node's"))
    }

    /// The index of the node that the client's kernel holds for the owner of `address` now, without asking.
    pub async fn learnt_owner(&self, address: IpAddr) -> anyhow::Result<Option<usize>> {
        let entry = self.client.links().neighbour(address).await?;
        Ok(entry
            .and_then(|entry| entry.mac)
            .and_then(|mac| self.node_with(mac)))
    }

    /// Starts a client that requests `address` on `port`.
    pub async fn probe(&self, address: IpAddr, port: u16, pace: Pace) -> anyhow::Result<Prober> {
        Prober::start(self.client.netns(), SocketAddr::new(address, port), pace).await
    }

    /// What one would look at to find out why something went wrong.
    pub async fn report(&self) -> String {
        // An API server that was told to misbehave would keep its part of the story to itself.
        self.faults().clear();
        let mut report = String::new();
        let services = self.cluster.services().await;
        let services = services.unwrap_or_else(|error| vec![format!("{error:#}")]);
        section(&mut report, "services", &services);
        for namespace in ["default", NAMESPACE] {
            let events = self
                .cluster
                .events(namespace)
                .await
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            section(&mut report, &format!("events in {namespace}"), &events);
        }
        for host in self.nodes.iter().map(Node::host).chain([&self.client]) {
            let table = match host.links().neighbours().await {
                Ok(table) => table.iter().map(ToString::to_string).collect(),
                Err(error) => vec![format!("{error:#}")],
            };
            section(&mut report, &format!("neighbours of {}", host.name()), &table);
        }
        let mut logs: Vec<PathBuf> = match fs::read_dir(self.logs()) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        logs.sort();
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_else(|error| error.to_string());
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let tail = &lines[lines.len().saturating_sub(REPORTED_LINES)..];
            section(&mut report, &format!("end of {}", log.display()), tail);
        }
        report
    }
}

fn section(report: &mut String, title: &str, lines: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(report, "--- {title}");
    for line in lines {
        let _ = writeln!(report, "{line}");
    }
}

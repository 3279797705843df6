//! The lab itself: a cluster with nodes and a client, and operations on them.

mod client;
mod herald;
mod heraldctl;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use herald_netns::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::{Applied, Cluster};
use crate::control_plane::ControlPlane;
use crate::install::{Installation, Place};
use crate::node::{Node, Programs};
use crate::objects::Pod;
use crate::plan;
use crate::process::{Process, Program};
use crate::switch::{Host, Switch};

/// The name of the controller's Pod.
const CONTROLLER: &str = "controller";
/// A cluster in a box. Dropping it ends every process and removes every file of it.
// Fields are dropped in this order: processes before the namespaces and files that they use.
pub struct Lab {
    controller: Option<Process>,
    nodes: Vec<Node>,
    client: Host,
    installation: Installation,
    programs: Option<PathBuf>,
    cluster: Cluster,
    switch: Switch,
    logs: PathBuf,
    directory: TempDir,
}

/// The name of the speaker's Pod on node `index`.
fn speaker_pod(index: usize) -> String {
    format!("speaker-{}", Node::name_of(index))
}

/// A second controller.
pub struct Standby {
    process: Process,
    _host: Host,
}

impl Standby {
    /// Kills it (SIGKILL).
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// What a lab should have.
#[derive(Debug, Clone)]
pub struct Builder {
    nodes: usize,
    programs: Option<PathBuf>,
    values: Value,
    is_beside_metallb: bool,
}

impl Builder {
    /// Sets the number of nodes; 3 if not set.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets the directory of the programs `herald-controller` and `herald-speaker`; without it, the program that runs the lab
    /// plays their parts, too.
    pub fn programs(mut self, directory: Option<PathBuf>) -> Self {
        self.programs = directory;
        self
    }

    /// Sets values of the chart, which is used on Kubernetes' own control plane.
    pub fn values(mut self, values: Value) -> Self {
        self.values = values;
        self
    }

    /// Lets Herald run beside MetalLB, with [`Lab::start_herald`]: the lab starts without it.
    pub fn beside_metallb(mut self) -> Self {
        self.is_beside_metallb = true;
        self
    }

    /// Starts everything: API server, nodes with proxies and speakers, controller, client. It does not wait
    /// for the programs to get ready. [`herald_netns::sandbox::enter`] must have been called.
    pub async fn start(self) -> anyhow::Result<Lab> {
        if !(1..=plan::MAX_NODES).contains(&self.nodes) {
            bail!("a lab has 1 to {} nodes, not {}", plan::MAX_NODES, self.nodes);
        }
        let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir();
        let directory = directory.context("cannot make a directory for the lab's files")?;
        let logs = directory.path().join("logs");
        fs::create_dir(&logs)?;
        let switch = Switch::new().await?;
        let control_plane = ControlPlane::start(&switch, directory.path()).await?;
        for (name, url) in [
            ("kubeconfig", control_plane.outside()),
            ("kubeconfig-inside", control_plane.inside()),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, control_plane.kubeconfig(&url))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let cluster = Cluster::new(control_plane).await?;
        let installation =
            Installation::install(&cluster, directory.path(), &self.values, self.is_beside_metallb).await;
        let installation = installation.context("cannot install Herald")?;
        let client = switch.attach("client", plan::client()).await?;
        let mut lab = Lab {
            controller: None,
            nodes: Vec::new(),
            client,
            installation,
            programs: self.programs,
            cluster,
            switch,
            logs,
            directory,
        };
        if !self.is_beside_metallb {
            // First: by the chart, the controller makes the gossip key without which no speaker starts.
            lab.start_controller().await?;
        }
        for index in 0..self.nodes {
            lab.add_node(index).await?;
            if !self.is_beside_metallb {
                lab.start_speaker(index).await?;
            }
        }
        Ok(lab)
    }
}

impl Lab {
    /// A lab of three nodes unless the builder says otherwise.
    pub fn builder() -> Builder {
        Builder {
            nodes: 3,
            programs: None,
            values: json!({}),
            is_beside_metallb: false,
        }
    }

    async fn add_node(&mut self, index: usize) -> anyhow::Result<()> {
        let (name, addresses) = (Node::name_of(index), plan::node(index));
        self.cluster.add_node(&name, addresses).await?;
        let programs = Programs {
            speaker: self.speaker(index).await?,
            proxy: self.proxy(&name)?,
        };
        let mut node = Node::attach(&self.switch, index, programs, self.logs.clone()).await?;
        node.start_proxy().await?;
        self.nodes.push(node);
        Ok(())
    }

    /// Starts the speaker of node `index`, whose Pod is created in the API.
    async fn start_speaker(&mut self, index: usize) -> anyhow::Result<()> {
        let (node, labels) = (Node::name_of(index), self.installation.speaker_labels());
        let pod = Pod::herald(&speaker_pod(index), &node, plan::node(index), labels);
        let pod = pod.running(self.nodes[index].speaker_program());
        self.cluster.add_pod(&pod).await?;
        self.nodes[index].start_speaker().await
    }

    /// Starts the controller, on the switch's own machine so that it outlives every node.
    pub async fn start_controller(&mut self) -> anyhow::Result<()> {
        let command = self.controller_command(CONTROLLER, 0, plan::switch()).await?;
        let controller = Process::start(self.switch.netns(), CONTROLLER, command, &self.logs).await?;
        self.controller = Some(controller);
        Ok(())
    }

    /// The command of the controller in the Pod `pod`, which is created in the API.
    async fn controller_command(
        &self,
        pod: &str,
        node: usize,
        addresses: [IpAddr; 2],
    ) -> anyhow::Result<Command> {
        let node = Node::name_of(node);
        let place = Place {
            pod,
            node: &node,
            address: addresses[0],
        };
        let controller = self.installation.controller(&self.cluster, &place).await?;
        let object = Pod::herald(pod, &node, addresses, self.installation.controller_labels());
        self.cluster.add_pod(&object.running(&controller)).await?;
        Ok(self.in_place_of(controller).command())
    }

    /// The speaker of node `index`, as it is installed now.
    async fn speaker(&self, index: usize) -> anyhow::Result<Program> {
        let node = Node::name_of(index);
        let place = Place {
            pod: &speaker_pod(index),
            node: &node,
            address: plan::node(index)[0],
        };
        let speaker = self.installation.speaker(&self.cluster, &place).await?;
        Ok(self.in_place_of(speaker))
    }

    /// Returns the program of its own that plays a part, if the lab was built with programs.
    fn in_place_of(&self, mut part: Program) -> Program {
        if let Some(directory) = &self.programs
            && let Some(name) = part.arguments.first_mut()
        {
            *name = directory.join(format!("herald-{name}")).display().to_string();
            part.arguments.insert(0, "exec".to_owned());
        }
        part
    }

    fn proxy(&self, node: &str) -> anyhow::Result<Program> {
        if let Some(kubernetes) = self.cluster.control_plane().kubernetes() {
            return kubernetes.proxy(node);
        }
        let kubeconfig = self.kubeconfig_inside();
        Ok(Program {
            arguments: vec!["proxy".to_owned(), format!("--node={node}")],
            environment: vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())],
        })
    }

    /// The switch, to plug in more machines, or to do something to it.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Starts one more controller, on a machine of its own that is plugged into the switch.
    pub async fn start_another_controller(&mut self) -> anyhow::Result<Standby> {
        let name = "controller-2";
        let host = self.switch.attach(name, plan::standby()).await?;
        let command = self.controller_command(name, 1, plan::standby()).await?;
        Ok(Standby {
            process: Process::start(host.netns(), name, command, &self.logs).await?,
            _host: host,
        })
    }

    /// Upgrades the chart to these values. The programs go on as they are until they are started again.
    ///
    /// # Errors
    /// In a lab without a chart, and when helm refuses.
    pub async fn upgrade_chart(&mut self, values: &Value) -> anyhow::Result<()> {
        let kubernetes = self.cluster.control_plane().kubernetes();
        let kubernetes = kubernetes.context("only a real control plane has a chart")?;
        self.installation
            .upgrade(&self.cluster, kubernetes, values)
            .await?;
        for index in 0..self.nodes.len() {
            let speaker = self.speaker(index).await?;
            self.nodes[index].set_speaker(speaker);
        }
        Ok(())
    }

    /// Starts the controller and the speakers as they are installed by now. None may be running.
    ///
    /// # Errors
    /// In a lab without a real control plane, and when Herald is not installed.
    pub async fn start_installed(&mut self) -> anyhow::Result<()> {
        let kubernetes = self.cluster.control_plane().kubernetes();
        let kubernetes = kubernetes.context("only a real control plane has installations")?;
        self.installation.read(&self.cluster, kubernetes).await?;
        self.start_controller().await?;
        for index in 0..self.nodes.len() {
            let speaker = self.speaker(index).await?;
            self.nodes[index].set_speaker(speaker);
            self.start_speaker(index).await?;
        }
        Ok(())
    }

    /// Runs helm as an administrator would.
    ///
    /// # Errors
    /// In a lab without a chart, and when helm refuses.
    pub async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kubernetes = self.cluster.control_plane().kubernetes();
        let kubernetes = kubernetes.context("only a real control plane has helm")?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        kubernetes.helm(&self.kubeconfig(), &arguments).await
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

    /// Waits until the speakers of all nodes are ready and know that all are alive: until then addresses may still move to a node
    /// whose speaker started late.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn wait_for_speakers(&self, limit: Duration) -> anyhow::Result<()> {
        let alive = Some(self.nodes.len().to_string());
        for node in &self.nodes {
            let what = format!("the speaker of {} is ready and knows the others", node.name());
            wait_for(&what, limit, async || {
                // It may not listen yet.
                let is_ready = node.is_ready().await.unwrap_or(false);
                let members = node.metric("herald_gossip_members{state=\"alive\"}").await.ok();
                Ok((is_ready && members.map(|members| members.to_string()) == alive).then_some(()))
            })
            .await?;
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
        wait_for(
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

    /// Takes the power of node `index` away. Its pods are marked as not ready at once, and not some 40 s later
    /// as by the node lifecycle controller.
    pub async fn power_off(&mut self, index: usize) -> anyhow::Result<()> {
        let pods: Vec<Pod> = self.nodes[index].pods().cloned().collect();
        self.nodes[index].power_off().await?;
        self.set_unready(&pods).await
    }

    /// Marks the pods of node `index` as not ready in the API, as [`Self::power_off`] does.
    pub async fn lose_pods(&self, index: usize) -> anyhow::Result<()> {
        let pods: Vec<Pod> = self.nodes[index].pods().cloned().collect();
        self.set_unready(&pods).await
    }

    async fn set_unready(&self, pods: &[Pod]) -> anyhow::Result<()> {
        for pod in pods {
            self.cluster.set_ready(pod, false).await?;
        }
        Ok(())
    }

    /// Boots node `index` again.
    pub async fn power_on(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].power_on().await?;
        for pod in self.nodes[index].pods() {
            self.wait_for_pod(pod).await?;
            self.cluster.set_ready(pod, true).await?;
        }
        Ok(())
    }

    /// Makes the pod of `app` on node `index` terminate, as a drain does. It goes on serving until [`Self::end_pod`].
    pub async fn terminate_pod(&self, app: &str, index: usize) -> anyhow::Result<()> {
        let name = format!("{app}-{}", self.nodes[index].name());
        self.cluster.terminate_pod("default", &name).await
    }

    /// Ends the pod of `app` on node `index`.
    pub async fn end_pod(&mut self, app: &str, index: usize) -> anyhow::Result<()> {
        let name = format!("{app}-{}", self.nodes[index].name());
        self.cluster.remove_pod("default", &name).await?;
        self.nodes[index].kill_pod(&name).await
    }

    /// The controller's process, if it was not killed.
    pub fn controller(&self) -> Option<&Process> {
        self.controller.as_ref()
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

    /// Takes the API server away at once, or brings it back with all that it knew.
    pub async fn set_api_away(&mut self, away: bool) -> anyhow::Result<()> {
        self.cluster.set_away(away).await
    }

    /// A kubeconfig that works outside the lab, for kubectl.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// A kubeconfig that works on the lab's machines.
    pub fn kubeconfig_inside(&self) -> PathBuf {
        self.directory.path().join("kubeconfig-inside")
    }

    /// The directory with the output of all processes.
    pub fn logs(&self) -> &Path {
        &self.logs
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
        limit: Duration,
    ) -> anyhow::Result<Vec<IpAddr>> {
        wait_for(
            &format!("{count} address(es) for Service {service}"),
            limit,
            async || {
                let addresses = self.cluster.addresses(service).await?;
                Ok((addresses.len() == count).then_some(addresses))
            },
        )
        .await
    }
}

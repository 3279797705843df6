//! The cluster: control plane, three nodes with real kubelets, and a client beside them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use herald_api::ServiceL2Status;
use herald_e2e::kubectl::Kubectl;
use herald_lab::clock::Monotonic;
use herald_lab::cluster::Cluster as Api;
use herald_lab::control_plane::{ControlPlane, Kubernetes};
use herald_lab::install::CHART;
use herald_lab::machine::Machine;
use herald_lab::node::Node;
use herald_lab::objects::NAMESPACE;
use herald_lab::prober::{Pace, Prober};
use herald_lab::switch::{Host, LINK, Switch};
use herald_lab::{plan, report};
use herald_netns::{MacAddr, wait_for};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::DEADLINE;
use crate::traffic::PACE;

/// Archives of the images: of Herald, and of the Pods in the tests.
const IMAGES: [&str; 2] = ["HERALD_IMAGE", "HERALD_POD_IMAGE"];
const NODES: usize = 3;
/// Metrics without a token; the rest is what the chart has.
const VALUES: &str = r#"{"prometheus": {"plainHTTP": true}}"#;
/// Pools, two Services and their Pods, one on each node.
const MANIFEST: &str = include_str!("manifest.yaml");
/// What tests put beside them has this label.
pub(crate) const EXTRA: &str = "herald.io/e2e=extra";
/// Requests answered in a row that count as "served".
pub(crate) const STREAK: usize = 50;

/// Dropping it ends every process and removes every file of it.
// Fields are dropped in this order: machines before the control plane, both before the network and the files.
pub(crate) struct Cluster {
    pub(crate) kubectl: Kubectl,
    machines: Vec<Machine>,
    client: Host,
    api: Api,
    switch: Switch,
    directory: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let images = IMAGES.map(|name| std::env::var_os(name).map(PathBuf::from).context(name));
        let images: Vec<PathBuf> = images
            .into_iter()
            .collect::<Result<_, _>>()
            .context("a variable is not set; use e2e/run nodes")?;
        let directory = tempfile::Builder::new().prefix("herald-lab-").tempdir()?;
        fs::create_dir(directory.path().join("logs"))?;
        let switch = Switch::new().await?;
        let names: Vec<String> = (0..NODES).map(Node::name_of).collect();
        let control_plane = ControlPlane::start_for_kubelets(&switch, directory.path(), &names).await?;
        let kubeconfig = directory.path().join("kubeconfig");
        fs::write(&kubeconfig, control_plane.kubeconfig(&control_plane.outside()))?;
        fs::write(directory.path().join("values.json"), VALUES)?;
        let kubernetes = control_plane.kubernetes().context("no control plane")?;
        let links = switch.netns().links().await?;
        let mut machines = Vec::new();
        for index in 0..NODES {
            // Pods reach the API server from their own addresses.
            links
                .add_network_route(plan::pods(index), plan::node(index)[0])
                .await?;
            let machine = Machine::attach(&switch, [index, NODES], kubernetes, &images, directory.path());
            machines.push(machine.await?);
        }
        Ok(Self {
            kubectl: Kubectl::new(&kubeconfig)?,
            machines,
            client: switch.attach("client", plan::client()).await?,
            api: Api::new(control_plane).await?,
            switch,
            directory,
        })
    }

    /// Undoes what a test did: all nodes run and are connected, Herald is installed with the values of the tests, and both
    /// Services are served.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        self.api.set_away(false).await?;
        for machine in &mut self.machines {
            ensure!(!machine.has_ended(), "{} ended by itself", machine.name());
            machine.host().set_plugged(true).await?;
            machine.power_on().await?;
        }
        for machine in &self.machines {
            let name = machine.name();
            wait_for(&format!("{name} is ready"), DEADLINE, async || {
                let node = self.kubectl.get(&["node", name]).await?;
                Ok((condition(&node, "Ready") == Some("True")).then_some(()))
            })
            .await?;
            self.kubectl.run(["uncordon", name]).await?;
        }
        let extra = ["delete", "deployments,daemonsets,services", "--wait", "-l", EXTRA];
        self.kubectl.run(extra).await?;
        self.install(&[]).await?;
        // Of a node that was just started again, the API server says for a while what was true before.
        for node in 0..self.machines.len() {
            wait_for("all speakers are alive", DEADLINE, async || {
                let alive = self
                    .metric(node, "herald_gossip_members{state=\"alive\"}")
                    .await?;
                Ok((alive == NODES as f64).then_some(()))
            })
            .await?;
        }
        wait_for("the definitions are in use", DEADLINE, async || {
            self.kubectl.apply(MANIFEST).await.map(Some)
        })
        .await?;
        self.rolled_out("default", "daemonset/hello").await?;
        for service in ["hello", "local"] {
            let address = self.address(service).await?;
            let target = SocketAddr::new(address, 80);
            // The client must not ask before kube-proxy has its rules: see `Lab::probe`.
            wait_for(&format!("{service} is served"), DEADLINE, async || {
                let connect = move || std::net::TcpStream::connect_timeout(&target, PACE.timeout);
                Ok(Some(self.switch.netns().run(connect).await?))
            })
            .await?;
            self.settled_owner(service).await?;
        }
        Ok(())
    }

    /// Installs the chart, or upgrades it, with further flags of helm; returns when all its Pods are of that template and ready.
    pub(crate) async fn install(&self, flags: &[&str]) -> anyhow::Result<()> {
        let values = self.directory.path().join("values.json").display().to_string();
        let arguments = [
            "upgrade",
            "herald",
            CHART,
            "--install",
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            &values,
        ];
        self.helm(&[&arguments, flags].concat()).await?;
        self.installed(NAMESPACE, "herald").await
    }

    /// Waits until all Pods of a release are as its templates say, and ready.
    pub(crate) async fn installed(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        for what in [
            format!("deployment/{name}-controller"),
            format!("daemonset/{name}-speaker"),
        ] {
            self.rolled_out(namespace, &what).await?;
        }
        Ok(())
    }

    pub(crate) async fn rolled_out(&self, namespace: &str, what: &str) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", DEADLINE.as_secs());
        let status = ["rollout", "status", what, "-n", namespace, &timeout];
        self.kubectl.run(status).await?;
        Ok(())
    }

    pub(crate) async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kubernetes: &Kubernetes = self
            .api
            .control_plane()
            .kubernetes()
            .context("no control plane")?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        kubernetes
            .helm(&self.directory.path().join("kubeconfig"), &arguments)
            .await
    }

    pub(crate) async fn set_api_away(&mut self, away: bool) -> anyhow::Result<()> {
        self.api.set_away(away).await
    }

    pub(crate) fn machines(&self) -> &[Machine] {
        &self.machines
    }

    pub(crate) fn machine(&self, index: usize) -> &Machine {
        &self.machines[index]
    }

    pub(crate) fn machine_mut(&mut self, index: usize) -> &mut Machine {
        &mut self.machines[index]
    }

    pub(crate) fn client(&self) -> &Host {
        &self.client
    }

    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The address of a Service of namespace `default`.
    pub(crate) async fn address(&self, service: &str) -> anyhow::Result<IpAddr> {
        wait_for(&format!("{service} has an address"), DEADLINE, async || {
            Ok(self.api.addresses(service).await?.first().copied())
        })
        .await
    }

    /// The Ethernet address that the client's kernel finds for `address`, asked again.
    pub(crate) async fn resolve(&self, address: IpAddr) -> anyhow::Result<MacAddr> {
        let links = self.client.links();
        links.forget_neighbour(LINK, address).await?;
        wait_for(&format!("the client resolves {address}"), DEADLINE, async || {
            self.client.poke(address).await?;
            Ok(links.neighbour(address).await?.and_then(|entry| entry.mac))
        })
        .await
    }

    /// The node that the client's neighbour table has for `address`. Nothing is sent.
    pub(crate) async fn learnt_owner(&self, address: IpAddr) -> anyhow::Result<Option<usize>> {
        let entry = self.client.links().neighbour(address).await?;
        Ok(entry.and_then(|entry| self.node_with(entry.mac?)))
    }

    fn node_with(&self, mac: MacAddr) -> Option<usize> {
        self.machines
            .iter()
            .position(|machine| machine.host().mac() == mac)
    }

    /// The node that answers for a Service, once its speaker has written so to the API.
    pub(crate) async fn settled_owner(&self, service: &str) -> anyhow::Result<usize> {
        let address = self.address(service).await?;
        let what = format!("wire and status agree on the owner of {service}");
        wait_for(&what, DEADLINE, async || {
            let mac = self.resolve(address).await?;
            let owner = self
                .node_with(mac)
                .with_context(|| format!("{mac} is no node's"))?;
            let announcer = self.api.announcer(service).await?;
            Ok((announcer.as_deref() == Some(self.machines[owner].name())).then_some(owner))
        })
        .await
    }

    /// The node of each Service by the status that its speaker writes.
    pub(crate) async fn announcers(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let statuses = self.api.list::<ServiceL2Status>(NAMESPACE).await?;
        let statuses = statuses.into_iter().filter_map(|status| status.status);
        Ok(statuses
            .filter_map(|status| Some((status.service_name?, status.node?)))
            .collect())
    }

    /// A client that requests a Service.
    pub(crate) async fn probe(&self, service: &str, pace: Pace) -> anyhow::Result<Prober> {
        let target = SocketAddr::new(self.address(service).await?, 80);
        let mut prober = Prober::start(self.client.netns(), target, pace).await?;
        let begin = Monotonic::from_nanos(0);
        prober.wait_until_served(begin, STREAK, DEADLINE).await?;
        Ok(prober)
    }

    /// A series of the metrics of the speaker on a node.
    pub(crate) async fn metric(&self, node: usize, series: &str) -> anyhow::Result<f64> {
        let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9120);
        let mut stream = self.machines[node].host().connect(target).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {series}"))?.parse()?)
    }

    /// The Pods of Herald's namespace.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Value>> {
        let list = self.kubectl.get(&["pods", "-n", NAMESPACE]).await?;
        Ok(list["items"].as_array().context("no list")?.clone())
    }

    /// What a failed test shows.
    pub(crate) async fn report(&self) -> String {
        let mut report = String::new();
        let shown: [&[&str]; 3] = [
            &["get", "pods,services,nodes", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            &[
                "logs",
                "-n",
                NAMESPACE,
                "-l",
                "app.kubernetes.io/name=herald",
                "--tail=400",
                "--prefix",
            ],
        ];
        for arguments in shown {
            let output = self.kubectl.run(arguments).await;
            let output = output.unwrap_or_else(|error| format!("{error:#}"));
            report += &format!("--- kubectl {}\n{output}\n", arguments.join(" "));
        }
        report + &report::ends_of_logs(&self.directory.path().join("logs"))
    }
}

/// The status of a condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == kind)?["status"].as_str()
}

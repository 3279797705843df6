//! A node of the cluster: a machine with pods, kube-proxy or a stand-in for it, and the real speaker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::objects;
use crate::plan;
use crate::process::{self, Process, Program};
use crate::switch::{Host, Switch};

/// How long a speaker may take to stop after SIGTERM: what Kubernetes grants by default is 30 s.
const GRACE: Duration = Duration::from_secs(30);

/// The port of the speaker's metrics: the default of its flag and of the chart.
const METRICS: u16 = 9120;

/// The port of the speaker's health, on the loopback address.
const HEALTH: u16 = 17472;

/// What runs on a node beside its pods.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The real speaker.
    pub speaker: Program,
    /// kube-proxy, or the stand-in for it.
    pub proxy: Program,
}

/// A node and what runs on it.
pub struct Node {
    index: usize,
    programs: Programs,
    logs: PathBuf,
    speaker: Option<Process>,
    proxy: Option<Process>,
    pods: Vec<(objects::Pod, Option<Process>)>,
    host: Host,
}

impl Node {
    /// The name of node `index`, counted from 0.
    pub fn name_of(index: usize) -> String {
        format!("node-{}", index + 1)
    }

    /// Plugs node `index` into the switch. Nothing runs on it yet; what will run writes its output to `logs`.
    pub async fn attach(
        switch: &Switch,
        index: usize,
        programs: Programs,
        logs: PathBuf,
    ) -> anyhow::Result<Self> {
        let host = switch.attach(&Self::name_of(index), plan::node(index)).await?;
        // A node is a router to its pods.
        for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            host.netns().set_sysctl(forwarding, "1").await?;
        }
        Ok(Self {
            index,
            programs,
            logs,
            speaker: None,
            proxy: None,
            pods: Vec::new(),
            host,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The speaker's process, if it was started and not stopped.
    pub fn speaker(&self) -> Option<&Process> {
        self.speaker.as_ref()
    }

    /// Starts the real speaker.
    pub async fn start_speaker(&mut self) -> anyhow::Result<()> {
        let name = format!("speaker-{}", self.name());
        self.speaker = Some(self.start(&name, self.programs.speaker.command()).await?);
        Ok(())
    }

    /// Kills the speaker (SIGKILL), so that it sends no leave message.
    pub async fn kill_speaker(&mut self) -> anyhow::Result<()> {
        let mut speaker = self.speaker.take().context("no speaker runs")?;
        Ok(speaker.kill().await?)
    }

    /// Stops the speaker as Kubernetes would (SIGTERM) and waits until it has ended.
    pub async fn stop_speaker(&mut self) -> anyhow::Result<ExitStatus> {
        let mut speaker = self.speaker.take().context("no speaker runs")?;
        speaker.stop(GRACE).await
    }

    /// Makes the speaker stand still (SIGSTOP), or go on (SIGCONT).
    pub fn pause_speaker(&self, paused: bool) -> anyhow::Result<()> {
        let signal = if paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.speaker.as_ref().context("no speaker runs")?.signal(signal)
    }

    /// A series of the running speaker's metrics by its name and labels as they are printed, e.g.
    /// `herald_gossip_members{state="down"}`.
    pub async fn metric(&self, series: &str) -> anyhow::Result<f64> {
        let page = self.metrics().await?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.with_context(|| format!("the speaker of {} has no {series}", self.name()))?;
        Ok(value.parse()?)
    }

    /// How many series of the running speaker begin with `start`.
    pub async fn count_metrics(&self, start: &str) -> anyhow::Result<usize> {
        let page = self.metrics().await?;
        Ok(page.lines().filter(|line| line.starts_with(start)).count())
    }

    /// The metrics of the running speaker, as they are printed.
    ///
    /// # Errors
    /// When the speaker does not listen yet.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        self.get(METRICS, "/metrics").await
    }

    /// Asks the speaker for its health as the kubelet does.
    ///
    /// # Errors
    /// When it does not answer within `limit`, or is not healthy.
    pub async fn ensure_healthy(&self, limit: Duration) -> anyhow::Result<()> {
        let answer = timeout(limit, self.get(HEALTH, "/healthz")).await;
        let answer = answer.with_context(|| format!("the speaker of {} does not answer", self.name()))??;
        let status = answer.lines().next().unwrap_or_default();
        anyhow::ensure!(
            status.contains(" 200 "),
            "the speaker of {}: {status}",
            self.name()
        );
        Ok(())
    }

    /// Whether the speaker is ready, as a kubelet finds by the readiness probe.
    ///
    /// # Errors
    /// When the speaker does not listen yet.
    pub async fn is_ready(&self) -> anyhow::Result<bool> {
        let answer = self.get(HEALTH, "/readyz").await?;
        let status = answer.lines().next().unwrap_or_default();
        Ok(status.contains(" 200 "))
    }

    /// What the speaker says at `/state`.
    ///
    /// # Errors
    /// When the speaker does not listen yet.
    pub async fn state(&self) -> anyhow::Result<Value> {
        let answer = self.get(METRICS, "/state").await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("the answer ends early")?;
        Ok(serde_json::from_str(body)?)
    }

    async fn get(&self, port: u16, path: &str) -> anyhow::Result<String> {
        let mut stream = self.host.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The speaker with its arguments.
    pub fn speaker_program(&self) -> &Program {
        &self.programs.speaker
    }

    /// From the next start on, the speaker runs with these arguments.
    pub fn set_speaker(&mut self, speaker: Program) {
        self.programs.speaker = speaker;
    }

    /// Starts kube-proxy, or the stand-in for it.
    pub async fn start_proxy(&mut self) -> anyhow::Result<()> {
        let name = format!("proxy-{}", self.name());
        self.proxy = Some(self.start(&name, self.programs.proxy.command()).await?);
        Ok(())
    }

    async fn start(&self, name: &str, command: Command) -> anyhow::Result<Process> {
        Process::start(self.host.netns(), name, command, &self.logs).await
    }

    /// Starts a pod of `app` that serves HTTP on `port`; the caller creates it in the API and routes to it on the other nodes.
    pub async fn start_pod(&mut self, app: &str, port: u16) -> anyhow::Result<objects::Pod> {
        let pod = objects::Pod {
            namespace: "default".to_owned(),
            name: format!("{app}-{}", self.name()),
            node: self.name().to_owned(),
            labels: json!({"app": app}),
            addresses: plan::pod(self.index, self.pods.len()),
            port,
            host_network: false,
            command: Vec::new(),
            environment: Vec::new(),
        };
        for address in pod.addresses {
            self.host
                .links()
                .add_address("lo", address, if address.is_ipv4() { 32 } else { 128 })
                .await?;
        }
        let process = self.run_pod(&pod).await?;
        self.pods.push((pod.clone(), Some(process)));
        Ok(pod)
    }

    async fn run_pod(&self, pod: &objects::Pod) -> anyhow::Result<Process> {
        let mut arguments = vec![
            "pod".to_owned(),
            format!("--name={}", pod.name),
            format!("--node={}", pod.node),
        ];
        arguments.extend(
            pod.addresses
                .map(|address| format!("--listen={}", SocketAddr::new(address, pod.port))),
        );
        self.start(&pod.name, process::role(&arguments)).await
    }

    /// The pods that run on it.
    pub fn pods(&self) -> impl Iterator<Item = &objects::Pod> {
        self.pods
            .iter()
            .filter(|(_, process)| process.is_some())
            .map(|(pod, _)| pod)
    }

    /// Kills the pods called `name`; their addresses stay unused.
    pub async fn kill_pod(&mut self, name: &str) -> anyhow::Result<()> {
        for (_, process) in self.pods.iter_mut().filter(|(pod, _)| pod.name == name) {
            if let Some(mut process) = process.take() {
                process.kill().await?;
            }
        }
        Ok(())
    }

    /// Pulls the node's cable: nothing in it ends, nothing reaches it.
    pub async fn unplug(&self) -> anyhow::Result<()> {
        self.host.set_plugged(false).await
    }

    /// Plugs the cable in again.
    pub async fn plug_in(&self) -> anyhow::Result<()> {
        self.host.set_plugged(true).await
    }

    /// Takes the power away: the link goes down and all processes are killed, at once.
    pub async fn power_off(&mut self) -> anyhow::Result<()> {
        self.unplug().await?;
        let pods = self.pods.iter_mut().filter_map(|(_, process)| process.take());
        for mut process in pods.chain(self.speaker.take()).chain(self.proxy.take()) {
            process.kill().await?;
        }
        Ok(())
    }

    /// Boots it again after [`Self::power_off`]; its pods come back with their addresses.
    pub async fn power_on(&mut self) -> anyhow::Result<()> {
        self.plug_in().await?;
        self.start_proxy().await?;
        for index in 0..self.pods.len() {
            let process = self.run_pod(&self.pods[index].0).await?;
            self.pods[index].1 = Some(process);
        }
        self.start_speaker().await
    }

    /// Makes pods of another node reachable.
    pub async fn add_pod_routes(&self, addresses: [IpAddr; 2], gateways: [IpAddr; 2]) -> anyhow::Result<()> {
        for (address, gateway) in addresses.into_iter().zip(gateways) {
            self.host.links().add_route(address, gateway).await?;
        }
        Ok(())
    }
}

//! A node of the cluster: a machine with pods, a stand-in for kube-proxy and the real speaker.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::fabric::{Fabric, Host};
use crate::net::Netns;
use crate::objects::{self, NAMESPACE, SPEAKER_LABELS};
use crate::plan;
use crate::process::{self, Process};

/// How long a speaker may take to stop after SIGTERM: what Kubernetes grants by default is 30 s.
const GRACE: Duration = Duration::from_secs(30);

/// What processes of the cluster need to know of each other: files of one lab.
#[derive(Debug, Clone)]
pub struct Files {
    /// The kubeconfig that is valid inside the lab.
    pub kubeconfig: PathBuf,
    /// Directory with the gossip key in the file `secretkey`.
    pub secret: PathBuf,
    /// Where output goes, one file a process.
    pub logs: PathBuf,
}

impl Files {
    /// Starts this program in a role that talks to the API server.
    pub async fn start(
        &self,
        namespace: &Netns,
        name: &str,
        arguments: &[String],
    ) -> anyhow::Result<Process> {
        let mut command = process::role(arguments);
        command.env("KUBECONFIG", &self.kubeconfig);
        Process::start(namespace, name, command, &self.logs).await
    }
}

/// A node and what runs on it.
pub struct Node {
    index: usize,
    files: Files,
    speaker: Option<Process>,
    proxy: Option<Process>,
    pods: Vec<(objects::Pod, Option<Process>)>,
    host: Host,
}

impl Node {
    /// Plugs node `index` (counted from 0) into the fabric. Nothing runs on it yet.
    pub async fn attach(fabric: &Fabric, index: usize, files: Files) -> anyhow::Result<Self> {
        let host = fabric
            .attach(&format!("node-{}", index + 1), plan::node(index))
            .await?;
        Ok(Self {
            index,
            files,
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
        let name = self.name();
        let arguments = [
            "speaker".to_owned(),
            format!("--node-name={name}"),
            format!("--pod-name=speaker-{name}"),
            format!("--namespace={NAMESPACE}"),
            format!("--ml-bindaddr={}", self.host.addresses()[0]),
            format!("--ml-labels={SPEAKER_LABELS}"),
            format!("--ml-secret-key-path={}", self.files.secret.display()),
        ];
        let process = self
            .files
            .start(self.host.netns(), &format!("speaker-{name}"), &arguments)
            .await?;
        self.speaker = Some(process);
        Ok(())
    }

    /// Kills the speaker (SIGKILL): it says goodbye to nobody.
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

    /// Starts the stand-in for kube-proxy.
    pub async fn start_proxy(&mut self) -> anyhow::Result<()> {
        let name = self.name();
        let arguments = ["proxy".to_owned(), format!("--node={name}")];
        let process = self
            .files
            .start(self.host.netns(), &format!("proxy-{name}"), &arguments)
            .await?;
        self.proxy = Some(process);
        Ok(())
    }

    /// Starts a pod of `app` that serves HTTP on `port`; the caller tells the API server and the other nodes.
    pub async fn start_pod(&mut self, app: &str, port: u16) -> anyhow::Result<objects::Pod> {
        let pod = objects::Pod {
            namespace: "default".to_owned(),
            name: format!("{app}-{}", self.name()),
            node: self.name().to_owned(),
            labels: json!({"app": app}),
            addresses: plan::pod(self.index, self.pods.len()),
            port,
            host_network: false,
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
        self.files.start(self.host.netns(), &pod.name, &arguments).await
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

//! MetalLB in the lab: its Pods, and stand-ins for its speakers.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::Lab;
use crate::node::Node;
use crate::objects::{NAMESPACE, Pod};
use crate::plan;
use crate::process::{Process, Program};

/// How long a speaker may take to stop.
const GRACE: Duration = Duration::from_secs(30);

/// MetalLB on all nodes. The controller is a Pod without a program: the user of this type gives addresses to Services in its place.
pub struct MetalLb {
    speakers: Vec<Process>,
    controller: Pod,
    pods: Vec<Pod>,
}

impl MetalLb {
    /// Starts the speakers at once. Their Pods, and that of the controller, are not ready.
    pub async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let controller = Pod::herald(
            "metallb-controller",
            &Node::name_of(0),
            plan::node(0),
            labels("controller"),
        );
        let pod = |node: &Node| {
            let name = format!("metallb-speaker-{}", node.name());
            Pod::herald(&name, node.name(), node.host().addresses(), labels("speaker"))
        };
        let pods: Vec<Pod> = lab.nodes().iter().map(pod).collect();
        for pod in pods.iter().chain([&controller]) {
            lab.cluster().create(&pod.object()).await?;
            lab.cluster().set_ready(pod, false).await?;
        }
        let mut speakers = Vec::new();
        for (node, pod) in lab.nodes().iter().zip(&pods) {
            let command = speaker(pod, &pods, &lab.kubeconfig_inside()).command();
            speakers.push(Process::start(node.host().netns(), &pod.name, command, lab.logs()).await?);
        }
        Ok(Self {
            speakers,
            controller,
            pods,
        })
    }

    /// Marks all Pods as ready.
    pub async fn set_ready(&self, lab: &Lab) -> anyhow::Result<()> {
        for pod in self.pods.iter().chain([&self.controller]) {
            lab.cluster().set_ready(pod, true).await?;
        }
        Ok(())
    }

    /// Deletes all Pods at once. The speakers get SIGTERM.
    pub async fn delete(mut self, lab: &Lab) -> anyhow::Result<()> {
        let pods = || self.pods.iter().chain([&self.controller]);
        for pod in pods() {
            lab.cluster().terminate_pod(NAMESPACE, &pod.name).await?;
        }
        for speaker in &self.speakers {
            speaker.signal(Signal::SIGTERM)?;
        }
        for speaker in &mut self.speakers {
            let status = speaker.wait(GRACE).await?;
            ensure!(status.success(), "a speaker of MetalLB ended with {status}");
        }
        for pod in pods() {
            lab.cluster().remove_pod(NAMESPACE, &pod.name).await?;
        }
        Ok(())
    }
}

fn labels(component: &str) -> Value {
    json!({"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": component})
}

fn speaker(pod: &Pod, all: &[Pod], kubeconfig: &Path) -> Program {
    let mut arguments = vec![
        "metallb".to_owned(),
        format!("--node={}", pod.node),
        format!("--pod={}", pod.name),
        format!("--address={}", pod.addresses[0]),
    ];
    let others = all.iter().filter(|other| other.node != pod.node);
    arguments.extend(others.map(|other| format!("--peer={}", other.addresses[0])));
    Program {
        arguments,
        environment: vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())],
    }
}

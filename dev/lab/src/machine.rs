//! A node with a real kubelet: containerd, runc, kubelet and kube-proxy in namespaces and control groups of their own.
//!
//! To kill its first process is the death of a node with all its containers, and to start it again on the same files is a
//! reboot. Only root can have one: control groups of version 1 need it.

mod groups;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::groups::Groups;
pub(crate) use self::groups::mount_point;
pub use self::groups::{Hierarchy, ensure_usable};
use crate::control_plane::Kubernetes;
use crate::node::Node;
use crate::plan;
use crate::process::{self, Process, Program};
use crate::switch::{Host, Switch};

/// The image of a sandbox; `e2e/controlplane/build` makes it.
const SANDBOX: &str = "localhost/pod:1";
/// Where the distribution installs CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A node with a real kubelet.
// Fields are dropped in this order: processes before the groups that they are in.
pub struct Machine {
    process: Option<Process>,
    groups: Groups,
    host: Host,
    plan: PathBuf,
    logs: PathBuf,
}

/// What the first process of a node starts; a file, since that process is started again at each boot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The node's name.
    pub name: String,
    /// The node's own files.
    pub directory: PathBuf,
    /// Where its programs write their output.
    pub logs: PathBuf,
    /// The control groups that it is in.
    pub groups: Vec<Hierarchy>,
    /// Archives of the images that it has.
    pub images: Vec<PathBuf>,
    /// kubelet and kube-proxy, with their arguments.
    pub programs: Vec<Vec<String>>,
}

impl Machine {
    /// Plugs node `index` of `count` into the switch and writes its files to `directory`. Nothing runs on it yet.
    ///
    /// # Errors
    /// For users other than root, and where there are no control groups of version 1.
    pub async fn attach(
        switch: &Switch,
        [index, count]: [usize; 2],
        kubernetes: &Kubernetes,
        images: &[PathBuf],
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let name = Node::name_of(index);
        let host = switch.attach(&name, plan::node(index)).await?;
        host.netns().set_sysctl("net/ipv4/ip_forward", "1").await?;
        let default = "0.0.0.0/0".parse()?;
        host.links().add_network_route(default, plan::switch()[0]).await?;
        for other in (0..count).filter(|&other| other != index) {
            let gateway = plan::node(other)[0];
            host.links().add_network_route(plan::pods(other), gateway).await?;
        }
        let groups = Groups::new(&name)?;
        let logs = directory.join("logs");
        let directory = directory.join(&name);
        let address = plan::node(index)[0];
        write_files(&directory, index, address)?;
        let configuration = directory.join("kubelet.json");
        let programs = [
            kubernetes.kubelet(&name, address, &configuration)?,
            kubernetes.proxy(&name)?,
        ];
        // The first argument is the role that runs another program.
        let programs = programs.map(|program| program.arguments[1..].to_vec());
        let plan = Plan {
            name,
            logs: logs.clone(),
            groups: groups.hierarchies().to_vec(),
            images: images.to_vec(),
            programs: programs.to_vec(),
            directory: directory.clone(),
        };
        let file = directory.join("plan.json");
        fs::write(&file, serde_json::to_vec(&plan)?)?;
        Ok(Self {
            process: None,
            groups,
            host,
            plan: file,
            logs,
        })
    }

    /// Boots it. Returns before its kubelet is ready.
    pub async fn power_on(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let program = Program {
            arguments: vec!["machine".to_owned(), format!("--plan={}", self.plan.display())],
            environment: Vec::new(),
        };
        let (name, command) = (self.host.name(), program.command());
        self.process = Some(Process::start(self.host.netns(), name, command, &self.logs).await?);
        Ok(())
    }

    /// Takes its power away: all its processes are killed at once.
    pub async fn power_off(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the machine is off")?;
        process.kill().await?;
        self.groups.wait_until_empty().await
    }

    /// The machine in the network.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The processes of its containers and of itself that were started as `program`.
    pub fn processes(&self, program: &str) -> Vec<u32> {
        let started_as = |id: &u32| {
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            arguments.split(|&byte| byte == 0).next() == Some(program.as_bytes())
        };
        self.groups.members().into_iter().filter(started_as).collect()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.exit_status().is_ok_and(|status| status.is_some()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its end is that of all processes in the groups, which can then be removed.
        drop(self.process.take());
    }
}

/// Writes the configuration of containerd, CNI and kubelet, and makes the directories that outlive a reboot.
fn write_files(directory: &Path, index: usize, address: IpAddr) -> anyhow::Result<()> {
    for name in ["kubelet", "containerd", "log", "net.d", "sysctl"] {
        fs::create_dir_all(directory.join(name))?;
    }
    let networks = directory.join("net.d");
    // restrict_oom_score_adj is for root without CAP_SYS_RESOURCE, as in containers.
    let containerd = format!(
        r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{}"
"#,
        networks.display()
    );
    fs::write(directory.join("containerd.toml"), containerd)?;
    // One link for each Pod: a bridge would need br_netfilter for a Pod that asks its own Service.
    let network = json!({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [{
            "type": "ptp", "ipMasq": false, "mtu": 1500,
            "ipam": {
                "type": "host-local", "ranges": [[{"subnet": plan::pods(index)}]],
                "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni",
            },
        }],
    });
    fs::write(networks.join("pods.conflist"), network.to_string())?;
    // The disk of a developer may be full, so nothing is evicted for that.
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": false, "cgroupDriver": "cgroupfs", "failSwapOn": false,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "address": address, "healthzPort": 0, "readOnlyPort": 0, "clusterDNS": ["10.96.0.10"],
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99, "nodeStatusUpdateFrequency": "5s",
    });
    fs::write(directory.join("kubelet.json"), kubelet.to_string())?;
    Ok(())
}

/// The command of a process that the first process of a machine is started by, and ends with.
pub(crate) fn inside(plan: &Path) -> tokio::process::Command {
    let arguments = [
        "machine".to_owned(),
        format!("--plan={}", plan.display()),
        "--inside".to_owned(),
    ];
    let mut command = process::role(&arguments);
    process::name_parent(&mut command);
    command
}

//! The objects that a cluster's own components would write: nodes, pods, namespaces.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::process::Program;

/// The namespace that Herald is installed in.
pub const NAMESPACE: &str = "metallb-system";

/// A Pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// Its labels.
    pub labels: Value,
    /// Its addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
    /// The TCP port that it serves.
    pub port: u16,
    /// Whether it uses its node's network.
    pub host_network: bool,
    /// What its container runs: the command, then its arguments. Empty is the command of the image.
    pub command: Vec<String>,
    /// The environment variables of its container.
    pub environment: Vec<(String, String)>,
}

impl Pod {
    /// The Pod `name` of one of Herald's programs, with these labels.
    pub fn herald(name: &str, node: &str, addresses: [IpAddr; 2], labels: Value) -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            node: node.to_owned(),
            labels,
            addresses,
            port: 9120,
            host_network: true,
            command: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The Pod that runs one of Herald's programs, as the chart's Pods do.
    #[must_use]
    pub fn running(mut self, program: &Program) -> Self {
        self.command = match program.arguments.as_slice() {
            // Another build of the program.
            [exec, path, arguments @ ..] if exec == "exec" => {
                let name = path.rsplit('/').next().unwrap_or_default();
                std::iter::once(format!("/{name}"))
                    .chain(arguments.iter().cloned())
                    .collect()
            }
            [role, arguments @ ..] => std::iter::once(format!("/herald-{role}"))
                .chain(arguments.iter().cloned())
                .collect(),
            [] => Vec::new(),
        };
        self.environment.clone_from(&program.environment);
        self
    }

    /// The object that creates the Pod.
    pub fn object(&self) -> Value {
        let variables = self.environment.iter();
        let variables: Vec<Value> = variables
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let (command, arguments) = self.command.split_at(self.command.len().min(1));
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {
                "nodeName": self.node,
                "hostNetwork": self.host_network,
                "containers": [{
                    "name": "main",
                    "image": "herald-lab",
                    "command": command,
                    "args": arguments,
                    "env": variables,
                    "ports": [{"containerPort": self.port, "protocol": "TCP"}],
                }],
            },
        })
    }

    /// What a kubelet reports once it runs, and whether it serves.
    pub fn status(&self, ready: bool) -> Value {
        let ips: Vec<Value> = self.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let ready = if ready { "True" } else { "False" };
        let conditions = json!([
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
            {"type": "ContainersReady", "status": ready},
            {"type": "Ready", "status": ready},
        ]);
        json!({"status": {
            "phase": "Running",
            "podIP": self.addresses[0],
            "podIPs": ips,
            "conditions": conditions,
        }})
    }
}

/// The Node `name`.
pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
    })
}

/// What a healthy node reports.
pub fn node_status(name: &str, addresses: [IpAddr; 2]) -> Value {
    json!({"status": {
        "addresses": [
            {"type": "Hostname", "address": name},
            {"type": "InternalIP", "address": addresses[0]},
            {"type": "InternalIP", "address": addresses[1]},
        ],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }})
}

/// The Namespace `name`.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

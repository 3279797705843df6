//! Herald as it is installed: its Pods, and the flags that they were given.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod as CorePod};
use kube::api::ListParams;
use kube::{Api, Client};

use super::listing::{Absence, Listed, list};

/// The label by which the chart and the manifest name the program of a Pod.
pub(crate) const COMPONENTS: &str = "app.kubernetes.io/component in (controller,speaker)";

/// A program of Herald.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// Gives addresses to Services.
    Controller,
    /// Announces them.
    Speaker,
}

impl Program {
    const fn command(self) -> &'static str {
        match self {
            Self::Controller => "/herald-controller",
            Self::Speaker => "/herald-speaker",
        }
    }
}

/// A Pod of Herald.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) program: Program,
    pub(crate) name: String,
    pub(crate) node: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_ready: bool,
    /// The container of the program.
    pub(crate) container: String,
    /// Whether its container had another one before it.
    pub(crate) is_restarted: bool,
    /// The tag of its image.
    pub(crate) version: String,
    flags: Vec<String>,
    has_gossip: bool,
}

/// The Pods of Herald in a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installation {
    /// Their namespace; `None` if there is none.
    pub(crate) namespace: Option<String>,
    /// By program and name.
    pub(crate) pods: Vec<Pod>,
}

impl Installation {
    /// Finds the Pods of Herald, in `namespace` if it is given, otherwise wherever they are.
    ///
    /// # Errors
    /// When Pods cannot be listed, or Pods of several namespaces look like those of Herald: a tenant can make such Pods.
    pub(crate) async fn find(client: &Client, namespace: Option<&str>) -> Result<Self, Absence> {
        let api = match namespace {
            Some(namespace) => Api::<CorePod>::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let pods = list(api, ListParams::default().labels(COMPONENTS)).await?;
        let own = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.namespace.clone()?, own_pod(pod)?)));
        let mut by_namespace: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for (namespace, pod) in own {
            by_namespace.entry(namespace).or_default().push(pod);
        }
        if by_namespace.len() > 1 {
            let names: Vec<String> = by_namespace.into_keys().collect();
            return Err(Absence::Ambiguous(names.join(", ")));
        }
        let Some((namespace, mut pods)) = by_namespace.pop_first() else {
            return Ok(Self::default());
        };
        pods.sort_by(|a, b| (a.program, &a.name).cmp(&(b.program, &b.name)));
        let found = Self {
            namespace: Some(namespace),
            pods,
        };
        Ok(found)
    }

    /// Returns the installation of tests: a controller, and a speaker with gossip on each of these nodes.
    #[cfg(test)]
    pub(crate) fn on<'a>(nodes: impl IntoIterator<Item = &'a String>) -> Self {
        let pod = |program, node: Option<&String>| Pod {
            program,
            name: format!("{program:?}"),
            node: node.cloned(),
            address: None,
            is_ready: true,
            container: "program".to_owned(),
            is_restarted: false,
            version: "v1".to_owned(),
            flags: Vec::new(),
            has_gossip: true,
        };
        let speakers = nodes.into_iter().map(|node| pod(Program::Speaker, Some(node)));
        Self {
            namespace: Some("metallb-system".to_owned()),
            pods: std::iter::once(pod(Program::Controller, None))
                .chain(speakers)
                .collect(),
        }
    }

    /// Lists the Pods of Herald as the API server shows them.
    ///
    /// # Errors
    /// When Pods cannot be listed.
    pub(crate) async fn list_pods(&self, client: &Client) -> Listed<CorePod> {
        let Some(namespace) = &self.namespace else {
            return Ok(Vec::new());
        };
        let api = Api::<CorePod>::namespaced(client.clone(), namespace);
        let pods = list(api, ListParams::default().labels(COMPONENTS)).await?;
        Ok(pods.into_iter().filter(|pod| own_pod(pod).is_some()).collect())
    }

    /// Returns what to say if there is no Pod.
    pub(crate) fn absence(&self) -> Option<String> {
        let text = "there is no Pod of Herald; install it, or give --install-namespace";
        self.pods.is_empty().then(|| text.to_owned())
    }

    /// Returns the Pods of a program.
    pub(crate) fn of(&self, program: Program) -> impl Iterator<Item = &Pod> + Clone {
        self.pods.iter().filter(move |pod| pod.program == program)
    }

    /// Returns the `spec.loadBalancerClass` of the Services that Herald handles; `None` is that of Services without one.
    pub(crate) fn class(&self) -> Option<&str> {
        let mut classes = self.pods.iter().filter_map(|pod| pod.flag("--lb-class"));
        classes.find(|class| !class.is_empty())
    }

    /// Whether the speakers announce from nodes with the label that excludes them, too.
    pub(crate) fn ignores_exclude_label(&self) -> bool {
        self.of(Program::Speaker)
            .any(|pod| pod.is_set("--ignore-exclude-lb", false))
    }

    /// Whether the speakers know each other by gossip.
    pub(crate) fn has_gossip(&self) -> bool {
        self.of(Program::Speaker).any(|pod| pod.has_gossip)
    }

    /// Whether the speakers announce by BGP.
    pub(crate) fn has_bgp(&self) -> bool {
        self.of(Program::Speaker).all(|pod| pod.is_set("--bgp", true))
    }
}

impl Pod {
    /// Returns the port of `/metrics` and `/state`, and whether it serves plain HTTP; `None` without one.
    pub(crate) fn state_port(&self) -> Option<(u16, bool)> {
        const DEFAULT: u16 = 9120;
        let port = self
            .flag("--port")
            .map_or(Some(DEFAULT), |port| port.parse().ok());
        let port = port.filter(|port| *port != 0)?;
        Some((port, self.is_set("--metrics-plain-http", false)))
    }

    /// Returns the value of a flag, as the Pod has it.
    fn flag(&self, name: &str) -> Option<&str> {
        flag(&self.flags, name)
    }

    fn is_set(&self, name: &str, default: bool) -> bool {
        let mut flags = self.flags.iter().filter_map(|flag| flag.strip_prefix(name));
        let found = flags.find_map(|value| match value {
            "" => Some(true),
            value => value.strip_prefix('=').map(|value| value == "true"),
        });
        found.unwrap_or(default)
    }
}

/// Returns the name of the container of Herald in one of its Pods.
pub(crate) fn own_container(pod: &CorePod) -> Option<String> {
    own_pod(pod).map(|pod| pod.container)
}

/// Returns a Pod of Herald; `None` for others, such as those of MetalLB, which have the same labels.
fn own_pod(pod: &CorePod) -> Option<Pod> {
    let spec = pod.spec.as_ref()?;
    let program_of = |container: &Container| {
        let first = container.command.iter().flatten().next()?;
        let mut programs = [Program::Controller, Program::Speaker].into_iter();
        programs.find(|program| first == program.command())
    };
    let mut containers = spec.containers.iter();
    let (container, program) = containers.find_map(|container| Some((container, program_of(container)?)))?;
    let flags = container.args.clone().unwrap_or_default();
    if flags.iter().any(|flag| flag == "--check-release") {
        return None;
    }
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| &status.conditions).flatten();
    let mut environment = container.env.iter().flatten();
    let image = container.image.as_deref().unwrap_or_default();
    let tag = image.rsplit_once(':').map_or(image, |(_, tag)| tag);
    let mut statuses = status
        .iter()
        .flat_map(|status| &status.container_statuses)
        .flatten();
    let is_restarted = statuses.any(|status| status.name == container.name && status.restart_count > 0);
    Some(Pod {
        program,
        name: pod.metadata.name.clone()?,
        node: spec.node_name.clone(),
        address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
        is_ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        container: container.name.clone(),
        is_restarted,
        version: tag.to_owned(),
        has_gossip: environment.any(|variable| variable.name == "METALLB_ML_LABELS")
            || flags.iter().any(|flag| flag.starts_with("--ml-labels")),
        flags,
    })
}

/// Returns the value of a flag among the arguments of a program, written `--name=value` or `--name value`.
pub(crate) fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let mut flags = arguments.iter().enumerate();
    flags.find_map(|(place, flag)| match flag.strip_prefix(name)? {
        "" => arguments.get(place + 1).map(String::as_str),
        value => value.strip_prefix('='),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(command: &str, args: &[&str]) -> Option<Pod> {
        let object = json!({
            "metadata": {"name": "herald-speaker-x", "namespace": "metallb-system"},
            "spec": {"nodeName": "a", "containers": [
                {"name": "side", "image": "proxy"},
                {"name": "speaker", "image": "registry:5000/herald:v1.2.3", "command": [command], "args": args,
                 "env": [{"name": "METALLB_ML_LABELS", "value": "x=y"}]},
            ]},
            "status": {"podIP": "192.0.2.1", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        own_pod(&serde_json::from_value(object).expect("a Pod"))
    }

    #[test]
    fn a_pod_is_known_by_its_command_and_says_how_its_state_is_served() {
        let own = pod(
            "/herald-speaker",
            &["--port=9121", "--lb-class", "herald", "--bgp=false"],
        )
        .expect("ours");
        assert_eq!((own.program, own.version.as_str()), (Program::Speaker, "v1.2.3"));
        assert_eq!(
            (own.state_port(), own.flag("--lb-class")),
            (Some((9121, false)), Some("herald"))
        );
        assert!(own.is_ready && own.has_gossip && !own.is_set("--bgp", true));
        let plain = pod("/herald-controller", &["--metrics-plain-http"]).expect("ours");
        assert_eq!(plain.state_port(), Some((9120, true)));
        assert_eq!(
            pod("/herald-controller", &["--port=0"]).and_then(|pod| pod.state_port()),
            None
        );
        assert!(pod("/speaker", &[]).is_none(), "one of MetalLB");
        assert!(pod("/herald-controller", &["--check-release"]).is_none());
    }
}

//! What is in the archive.

use std::collections::BTreeMap;

use herald_api::{ConfigurationState, ServiceBGPStatus};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod as CorePod, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};

use super::events;
use super::logs::Logs;
use super::prune::{self, pruned};
use crate::cluster::{Absence, COMPONENTS, ClusterView, Installation, list, list_in, plain};
use crate::status::LEASE;

/// What only the archive has.
#[derive(Debug, Default)]
pub(super) struct BundleObjects {
    /// The Pods of Herald.
    pub(super) pods: Vec<CorePod>,
    /// What creates its Pods.
    pub(super) daemon_sets: Vec<DaemonSet>,
    pub(super) deployments: Vec<Deployment>,
    /// The events that Herald wrote, and those of its namespace.
    pub(super) events: Vec<Event>,
    pub(super) configurations: Vec<ConfigurationState>,
    pub(super) bgp_statuses: Vec<ServiceBGPStatus>,
    /// The Lease of the active controller.
    pub(super) leases: Vec<Lease>,
    pub(super) logs: Logs,
    /// The versions, and when all this was read.
    pub(super) summary: Value,
    /// What could not be read.
    pub(super) unknown: Vec<String>,
}

impl BundleObjects {
    /// Reads them. Without the namespace of Herald, its own objects are not known.
    pub(super) async fn read(
        client: &Client,
        cluster: &ClusterView,
        namespace: Option<&str>,
        today: Timestamp,
    ) -> Self {
        let installation = &cluster.installation;
        let mut objects = Self {
            unknown: cluster.unknown.clone(),
            ..Self::default()
        };
        let ((events, unknown), version) =
            tokio::join!(events::read(client, namespace), client.apiserver_version());
        objects.events = events;
        objects.unknown.extend(unknown);
        match namespace {
            Some(namespace) => objects.read_namespace(client, installation, namespace).await,
            None => objects
                .unknown
                .push("the namespace of Herald, so its own objects; give --install-namespace".to_owned()),
        }
        let version = version.map_err(|error| {
            let reason = plain(&error);
            objects
                .unknown
                .push(format!("the version of Kubernetes: {reason}"));
        });
        objects.summary = json!({
            "time": today.to_string(),
            "heraldctl": env!("CARGO_PKG_VERSION"),
            "kubernetes": version.ok().map(|version| version.git_version),
            "namespace": namespace,
            "programs": installation.pods.iter().map(|pod| json!({"pod": pod.name, "node": pod.node, "version": pod.version})).collect::<Vec<_>>(),
            "clockDifferences": cluster.states.clock_differences,
            "cutLogs": objects.logs.cut,
            "unknown": objects.unknown,
        });
        objects
    }

    /// Reads what is in the namespace that Herald is installed in.
    async fn read_namespace(&mut self, client: &Client, installation: &Installation, namespace: &str) {
        let programs = || ListParams::default().labels(COMPONENTS);
        let leases = Api::<Lease>::namespaced(client.clone(), namespace);
        let (pods, daemon_sets, deployments, configurations, bgp_statuses, lease, logs) = tokio::join!(
            installation.list_pods(client),
            list(Api::namespaced(client.clone(), namespace), programs()),
            list(Api::namespaced(client.clone(), namespace), programs()),
            list_in(client, Some(namespace)),
            list_in(client, Some(namespace)),
            leases.get_opt(LEASE),
            Logs::read(client, installation, namespace),
        );
        self.pods = self.known(pods);
        self.daemon_sets = self.known(daemon_sets);
        self.deployments = self.known(deployments);
        self.configurations = self.known(configurations);
        self.bgp_statuses = self.known(bgp_statuses);
        match lease {
            Ok(lease) => self.leases.extend(lease),
            Err(error) => self.unknown.push(format!("the Lease {LEASE}: {}", plain(&error))),
        }
        self.logs = logs;
        self.unknown.append(&mut self.logs.unknown);
    }

    fn known<T>(&mut self, listed: Result<Vec<T>, Absence>) -> Vec<T> {
        listed.unwrap_or_else(|absence| {
            self.unknown.push(absence.to_string());
            Vec::new()
        })
    }
}

/// Returns the files of the archive.
pub(super) fn files(cluster: &ClusterView, extra: BundleObjects) -> BTreeMap<String, Vec<u8>> {
    let mut files = BundleFiles(BTreeMap::new());
    let objects = &cluster.objects;
    let concerns = |service: &&Service| {
        let spec = service.spec.as_ref();
        spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") || spec.external_ips.is_some())
    };
    files.list(
        "objects/Service",
        objects.services.iter().filter(concerns),
        prune::SERVICE,
    );
    files.list("objects/Namespace", &objects.namespaces, prune::NAMESPACE);
    files.list("objects/Node", &objects.nodes, prune::NODE);
    files.list("objects/EndpointSlice", &objects.slices, prune::ENDPOINT_SLICE);
    files.list("objects/IPAddressPool", &objects.pools, prune::RESOURCE);
    files.list(
        "objects/L2Advertisement",
        &objects.l2_advertisements,
        prune::RESOURCE,
    );
    files.list("objects/ServiceL2Status", &objects.l2_statuses, prune::RESOURCE);
    files.list("objects/BGPPeer", &objects.bgp.peers, prune::RESOURCE);
    files.list(
        "objects/BGPAdvertisement",
        &objects.bgp.advertisements,
        prune::RESOURCE,
    );
    files.list("objects/Community", &objects.bgp.communities, prune::RESOURCE);
    files.list("objects/BFDProfile", &objects.bgp.bfd_profiles, prune::RESOURCE);
    files.list("objects/BGPSessionState", &objects.bgp.sessions, prune::RESOURCE);
    files.list(
        "objects/ConfigurationState",
        &extra.configurations,
        prune::RESOURCE,
    );
    files.list("objects/ServiceBGPStatus", &extra.bgp_statuses, prune::RESOURCE);
    files.list("objects/Lease", &extra.leases, prune::LEASE);
    let pods: Vec<Value> = extra.pods.iter().map(prune::pod).collect();
    files.json("objects/Pod", &pods);
    files.list("objects/DaemonSet", &extra.daemon_sets, prune::WORKLOAD);
    files.list("objects/Deployment", &extra.deployments, prune::WORKLOAD);
    files.list("objects/Event", &extra.events, prune::EVENT);
    for state in &cluster.states.speakers {
        files.json(&format!("states/speaker-{}", state.node), state);
    }
    if let Some(state) = &cluster.states.controller {
        files.json("states/controller", state);
    }
    for (name, log) in extra.logs.texts {
        files.0.insert(format!("logs/{}.log", harmless(&name)), log);
    }
    files.json("summary", &extra.summary);
    files.0
}

struct BundleFiles(BTreeMap<String, Vec<u8>>);

impl BundleFiles {
    /// Adds a list of objects, reduced to these fields.
    fn list<'a, T: Serialize + 'a>(
        &mut self,
        name: &str,
        objects: impl IntoIterator<Item = &'a T>,
        fields: &[&str],
    ) {
        let pruned: Vec<Value> = objects.into_iter().map(|object| pruned(object, fields)).collect();
        self.json(name, &pruned);
    }

    fn json(&mut self, name: &str, value: &impl Serialize) {
        // All keys are texts, so this does not fail.
        let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
        self.0.insert(format!("{}.json", harmless(name)), bytes);
    }
}

/// Returns a name that leads out of no folder, whatever an object is named.
fn harmless(name: &str) -> String {
    let kept = |character: char| character.is_ascii_alphanumeric() || "-_/".contains(character);
    let name: String = name
        .replace("..", "_")
        .chars()
        .map(|one| if kept(one) || one == '.' { one } else { '_' })
        .collect();
    name.trim_start_matches('/').to_owned()
}

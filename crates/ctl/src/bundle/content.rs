//! What is in the archive.

use std::collections::BTreeMap;

use futures::StreamExt;
use herald_api::{ConfigurationState, ServiceBGPStatus};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod as CorePod, Service};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::prune::{self, pruned};
use crate::cluster::{Absence, ClusterView, Installation, list, list_in, plain};

/// The lines of a log, at most, the newest ones.
const LOG_LINES: i64 = 5_000;
/// The bytes of a log, at most.
const LOG_BYTES: i64 = 1 << 20;
/// The logs that are read at a time.
const AT_ONCE: usize = 8;
/// The components of events that Herald writes; MetalLB's have the same names.
const COMPONENTS: [&str; 2] = ["metallb-controller", "metallb-speaker"];

/// What only the archive has.
#[derive(Debug, Default)]
pub(super) struct BundleObjects {
    /// The Pods of Herald.
    pub(super) pods: Vec<CorePod>,
    /// The events that Herald wrote, and those about its Pods.
    pub(super) events: Vec<Event>,
    pub(super) configurations: Vec<ConfigurationState>,
    pub(super) bgp_statuses: Vec<ServiceBGPStatus>,
    pub(super) leases: Vec<Lease>,
    /// The logs, each with the name of its file.
    pub(super) logs: Vec<(String, String)>,
    /// The versions, and when all this was read.
    pub(super) summary: Value,
    /// What could not be read.
    pub(super) unknown: Vec<String>,
}

impl BundleObjects {
    /// Reads them.
    pub(super) async fn read(client: &Client, cluster: &ClusterView, today: Timestamp) -> Self {
        let installation = &cluster.installation;
        let namespace = installation.namespace.as_deref();
        let (pods, events, configurations, bgp_statuses, leases, version) = tokio::join!(
            installation.list_pods(client),
            list::<Event>(Api::all(client.clone()), ListParams::default()),
            list_in::<ConfigurationState>(client, namespace),
            list_in::<ServiceBGPStatus>(client, namespace),
            list_in::<Lease>(client, namespace),
            client.apiserver_version(),
        );
        let mut objects = Self {
            unknown: cluster.unknown.clone(),
            ..Self::default()
        };
        objects.pods = objects.known(pods);
        let events = objects.known(events);
        objects.events = events
            .into_iter()
            .filter(|event| is_of_herald(event, installation))
            .collect();
        objects.configurations = objects.known(configurations);
        objects.bgp_statuses = objects.known(bgp_statuses);
        let leases = objects.known(leases);
        objects.leases = leases
            .into_iter()
            .filter(|lease| lease.name_any() == "herald-controller")
            .collect();
        objects.read_logs(client, installation).await;
        objects.summary = json!({
            "time": today.to_string(),
            "heraldctl": env!("CARGO_PKG_VERSION"),
            "kubernetes": version.ok().map(|version| version.git_version),
            "namespace": namespace,
            "programs": installation.pods.iter().map(|pod| json!({"pod": pod.name, "node": pod.node, "version": pod.version})).collect::<Vec<_>>(),
            "clockDifferences": cluster.states.clock_differences,
            "unknown": objects.unknown,
        });
        objects
    }

    fn known<T>(&mut self, listed: Result<Vec<T>, Absence>) -> Vec<T> {
        listed.unwrap_or_else(|absence| {
            self.unknown.push(absence.to_string());
            Vec::new()
        })
    }

    /// Reads the newest lines of each program, and of the container that it had before, if it was restarted.
    async fn read_logs(&mut self, client: &Client, installation: &Installation) {
        let namespace = installation.namespace.as_deref().unwrap_or_default();
        let api = Api::<CorePod>::namespaced(client.clone(), namespace);
        let mut wanted = Vec::new();
        for pod in &installation.pods {
            wanted.push((pod, false));
            if pod.is_restarted {
                wanted.push((pod, true));
            }
        }
        let read = wanted.into_iter().map(|(pod, previous)| {
            let api = api.clone();
            let params = LogParams {
                container: Some(pod.container.clone()),
                limit_bytes: Some(LOG_BYTES),
                tail_lines: Some(LOG_LINES),
                timestamps: true,
                previous,
                ..LogParams::default()
            };
            async move {
                let name = if previous {
                    format!("{}.previous", pod.name)
                } else {
                    pod.name.clone()
                };
                (name, api.logs(&pod.name, &params).await)
            }
        });
        let mut logs: Vec<_> = futures::stream::iter(read)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        logs.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, log) in logs {
            match log {
                Ok(log) => self.logs.push((name, log)),
                Err(error) => self.unknown.push(format!("the log of {name}: {}", plain(&error))),
            }
        }
    }
}

/// Whether Herald wrote the event, or it is about one of Herald's Pods.
fn is_of_herald(event: &Event, installation: &Installation) -> bool {
    let source = event
        .source
        .as_ref()
        .and_then(|source| source.component.as_deref());
    let is_written = source
        .or(event.reporting_component.as_deref())
        .is_some_and(|name| COMPONENTS.contains(&name));
    let about = &event.involved_object;
    let is_of_pod = about.kind.as_deref() == Some("Pod")
        && about.namespace == installation.namespace
        && installation
            .pods
            .iter()
            .any(|pod| about.name.as_deref() == Some(&pod.name));
    is_written || is_of_pod
}

/// Returns the files of the archive.
pub(super) fn files(cluster: &ClusterView, extra: &BundleObjects) -> BTreeMap<String, Vec<u8>> {
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
    files.list("objects/Pod", &extra.pods, prune::POD);
    files.list("objects/Event", &extra.events, prune::EVENT);
    for state in &cluster.states.speakers {
        files.json(&format!("states/speaker-{}", state.node), state);
    }
    if let Some(state) = &cluster.states.controller {
        files.json("states/controller", state);
    }
    for (name, log) in &extra.logs {
        files
            .0
            .insert(format!("logs/{}.log", harmless(name)), log.clone().into_bytes());
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

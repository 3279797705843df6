//! An API server, controllers, and a witness that watches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use herald_api::ServiceL2Status;
use herald_api::convert::ingress_addresses;
use herald_devkube::{Options, RequestCounts, Server};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config, ResourceExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The longest wait for a condition; it is reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);
/// How often a condition is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) const NAMESPACE: &str = "metallb-system";

pub(crate) struct Cluster {
    pub(crate) server: Server,
    pub(crate) client: Client,
    directory: TempDir,
    controllers: BTreeMap<String, Child>,
    pub(crate) witness: Witness,
}

/// The addresses that each Service showed, in order.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Sightings>>);

#[derive(Default)]
struct Sightings {
    shown: BTreeMap<String, BTreeSet<IpAddr>>,
    holders: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Two Services with one address, though they may not share it.
    doubled: Vec<String>,
    /// Services that had an address and then another one.
    moved: BTreeSet<String>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let options = Options {
            listeners: vec![listener],
            ..Options::default()
        };
        let server = Server::start(options).await.expect("the server starts");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("kubeconfig"), Server::kubeconfig(&url)).expect("written");
        let client = Client::try_from(Config::new(url.parse().expect("a URL"))).expect("a client");
        let cluster = Self {
            server,
            client: client.clone(),
            directory,
            controllers: BTreeMap::new(),
            witness: Witness::default(),
        };
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in herald_api::crds() {
            crds.create(&PostParams::default(), &crd)
                .await
                .expect("a definition");
        }
        cluster
            .create("/api/v1/namespaces", json!({"metadata": {"name": NAMESPACE}}))
            .await;
        tokio::spawn(watch(client, cluster.witness.clone()));
        cluster
    }

    /// Starts a controller, which may be a standby.
    pub(crate) fn start_controller(&mut self, name: &str) {
        self.start_controller_with(name, &[]);
    }

    /// Starts a controller with further arguments.
    pub(crate) fn start_controller_with(&mut self, name: &str, arguments: &[&str]) {
        let log = std::fs::File::create(self.directory.path().join(name)).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_herald-controller"))
            .args(["--namespace", NAMESPACE, "--pod-name", name])
            .args(["--port", "0", "--health-probe-port", "0"])
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .stdout(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .expect("the controller starts");
        self.controllers.insert(name.to_owned(), child);
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let pid = i32::try_from(self.pid_of(name)).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
    }

    pub(crate) fn pid_of(&self, name: &str) -> u32 {
        self.controllers[name].id().expect("it runs")
    }

    /// Waits for the end of a controller.
    pub(crate) async fn end_of(&mut self, name: &str) {
        let mut child = self.controllers.remove(name).expect("it runs");
        let end = tokio::time::timeout(DEADLINE, child.wait()).await;
        end.expect("it ends in time").expect("it is ours");
    }

    pub(crate) fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).expect("a log")
    }

    pub(crate) async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get_opt("herald-controller").await.ok()??;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    pub(crate) async fn await_leader(&self, name: &str) {
        wait_for(&format!("{name} leads"), async || {
            self.leader().await.as_deref() == Some(name)
        })
        .await;
    }

    pub(crate) async fn create(&self, path: &str, object: Value) -> Value {
        self.send("POST", path, "application/json", object)
            .await
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Value,
    ) -> kube::Result<Value> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(body.to_string().into_bytes())
            .expect("a request");
        self.client.request(request).await
    }

    /// Creates or replaces a pool.
    pub(crate) async fn apply_pool(&self, name: &str, spec: Value) {
        let pool = json!({
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        });
        let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/ipaddresspools");
        let one = format!("{path}/{name}");
        if self
            .send("GET", &one, "application/json", Value::Null)
            .await
            .is_err()
        {
            self.create(&path, pool).await;
            return;
        }
        let patch = json!([{"op": "replace", "path": "/spec", "value": pool["spec"]}]);
        let send = async || {
            self.send("PATCH", &one, "application/json-patch+json", patch.clone())
                .await
        };
        in_the_end(send).await;
    }

    pub(crate) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create_service(&self, name: &str, annotations: Value) {
        let service = json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false},
        });
        let service = serde_json::from_value(service).expect("a Service");
        let created = self.services().create(&PostParams::default(), &service).await;
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) async fn delete_service(&self, name: &str) {
        let deleted = self.services().delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) async fn annotate(&self, name: &str, annotations: Value) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let services = self.services();
        in_the_end(async || services.patch(name, &PatchParams::default(), &patch).await).await;
    }

    /// Returns the addresses of each Service, as the API server has them now.
    pub(crate) async fn assignments(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let list = self
            .services()
            .list(&ListParams::default())
            .await
            .expect("a list");
        list.items
            .iter()
            .map(|service| {
                (
                    service.metadata.name.clone().unwrap_or_default(),
                    ingress_addresses(service).to_vec(),
                )
            })
            .filter(|(name, _)| name != "kubernetes")
            .collect()
    }

    /// Returns the addresses of a Service as text, also if it cannot be parsed as a whole.
    pub(crate) async fn addresses_of(&self, name: &str) -> Vec<String> {
        let path = format!("/api/v1/namespaces/default/services/{name}");
        let sent = self.send("GET", &path, "application/json", Value::Null).await;
        let service = sent.unwrap_or_else(|error| panic!("{name}: {error}"));
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
        ingress
            .into_iter()
            .flatten()
            .map(|one| one["ip"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub(crate) async fn condition(&self, name: &str) -> Option<Value> {
        self.condition_of(name, "herald.io/Allocated").await
    }

    pub(crate) async fn condition_of(&self, name: &str, type_: &str) -> Option<Value> {
        let service = self.services().get(name).await.ok()?;
        let conditions = service.status?.conditions?;
        let condition = conditions.iter().find(|c| c.type_ == type_)?;
        Some(json!(condition))
    }

    /// Writes the status of a speaker: it announces a Service, or has an obstacle.
    pub(crate) async fn report(&self, object: &str, service: &str, obstacle: Option<&str>) {
        let path = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/servicel2statuses");
        let one = format!("{path}/{object}");
        if self
            .send("GET", &one, "application/json", Value::Null)
            .await
            .is_err()
        {
            let fresh = json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "ServiceL2Status",
                "metadata": {"name": object, "namespace": NAMESPACE},
            });
            self.create(&path, fresh).await;
        }
        let status = if obstacle.is_some() { "False" } else { "True" };
        let condition = json!({
            "type": "herald.io/Announced", "status": status, "reason": obstacle.unwrap_or("Announced"),
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let patch = json!({"status": {
            "node": object, "serviceName": service, "serviceNamespace": "default", "conditions": [condition],
        }});
        let status = format!("{one}/status");
        let sent = self
            .send("PATCH", &status, "application/merge-patch+json", patch)
            .await;
        sent.expect("it is written");
    }

    /// Returns the names of the statuses of speakers.
    pub(crate) async fn reports(&self) -> Vec<String> {
        let statuses: Api<ServiceL2Status> = Api::namespaced(self.client.clone(), NAMESPACE);
        let list = statuses.list(&ListParams::default()).await.expect("a list");
        list.items.iter().map(ResourceExt::name_any).collect()
    }

    /// Deletes the status of a speaker.
    pub(crate) async fn unreport(&self, object: &str) {
        let one = format!("/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}/servicel2statuses/{object}");
        let sent = self.send("DELETE", &one, "application/json", Value::Null).await;
        sent.expect("it is deleted");
    }

    pub(crate) async fn all_assigned(&self) -> bool {
        self.assignments()
            .await
            .values()
            .all(|addresses| !addresses.is_empty())
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        self.server.request_counts()
    }
}

impl Witness {
    pub(crate) fn assert_never_doubled(&self) {
        let seen = self.0.lock().expect("no panic before");
        assert_eq!(seen.doubled, Vec::<String>::new());
    }

    pub(crate) fn assert_nothing_moved(&self) {
        let seen = self.0.lock().expect("no panic before");
        assert_eq!(seen.moved, BTreeSet::new());
    }

    /// Returns how many Services show an address.
    pub(crate) fn assigned(&self) -> usize {
        let seen = self.0.lock().expect("no panic before");
        seen.shown
            .values()
            .filter(|addresses| !addresses.is_empty())
            .count()
    }

    fn forget(&self) {
        let mut seen = self.0.lock().expect("no panic before");
        seen.holders.clear();
    }

    fn see(&self, service: &Service, is_gone: bool) {
        let mut guard = self.0.lock().expect("no panic before");
        let seen = &mut *guard;
        let name = service.metadata.name.clone().unwrap_or_default();
        let addresses: BTreeSet<IpAddr> = match is_gone {
            true => BTreeSet::new(),
            false => ingress_addresses(service).into_iter().collect(),
        };
        let before = seen
            .shown
            .insert(name.clone(), addresses.clone())
            .unwrap_or_default();
        if !is_gone && !before.is_empty() && before != addresses {
            seen.moved.insert(name.clone());
        }
        for address in &before {
            seen.holders.entry(*address).or_default().remove(&name);
        }
        for address in addresses {
            let holders = seen.holders.entry(address).or_default();
            holders.insert(name.clone());
            if holders.len() > 1 {
                seen.doubled.push(format!("{address}: {holders:?}"));
            }
        }
    }
}

/// Watches every change of every Service, in order; a gap would be a missing version, and devkube keeps 50 000.
async fn watch(client: Client, witness: Witness) {
    let services: Api<Service> = Api::all(client);
    let mut events = watcher::watcher(services, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(service) | Event::InitApply(service)) => witness.see(&service, false),
            Ok(Event::Delete(service)) => witness.see(&service, true),
            // A Service that was deleted in the gap is not in the list that follows.
            Ok(Event::Init) => witness.forget(),
            Ok(Event::InitDone) | Err(_) => {}
        }
    }
}

/// Waits until something holds.
pub(crate) async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !holds().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, holds).await;
    in_time.unwrap_or_else(|_| panic!("within {DEADLINE:?}: {what}"));
}

/// Repeats a change until the injected conflicts are over.
async fn in_the_end<T>(change: impl AsyncFn() -> kube::Result<T>) -> T {
    loop {
        match change().await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            result => return result.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

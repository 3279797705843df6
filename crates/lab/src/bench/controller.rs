//! How fast the whole controller gives 10 000 Services their addresses, beside a bare client that only PATCHes statuses.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use herald_devkube::{Options, RequestCounts, Server};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::mpsc;

use super::Figure;
use crate::objects::NAMESPACE;
use crate::process::{name_parent, role};
use crate::wait::eventually;

/// Services that come at once.
const SERVICES: usize = 10_000;
/// Requests under way at a time, of the creator and of the bare client; the controller has as many.
const PARALLEL: usize = 32;
/// Far longer than a run takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Who gives the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Herald,
    Bare,
}

/// When the Services are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// While the subject runs.
    AtOnce,
    /// Before it starts: they all wait.
    Waiting,
}

/// What one run showed.
struct Run {
    per_second: f64,
    /// From the request that creates a Service to the watch event that shows its address.
    latencies: Vec<f64>,
    status_writes: f64,
    event_writes: f64,
    resident: Option<f64>,
}

/// Measures each case `runs` times, subjects in turn, each with an API server of its own.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    for (case, name) in [
        (Case::AtOnce, "10000 Services created at once"),
        (Case::Waiting, "10000 Services wait at the start"),
    ] {
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (subject, samples) in [Subject::Herald, Subject::Bare].into_iter().zip(&mut samples) {
                samples.push(measure(subject, case).await?);
            }
        }
        let share: Vec<f64> = samples[0]
            .iter()
            .zip(&samples[1])
            .map(|(herald, bare)| 100.0 * herald.per_second / bare.per_second)
            .collect();
        for (subject, runs) in ["herald", "bare"].into_iter().zip(&samples) {
            let each = |figure: fn(&Run) -> Option<f64>| runs.iter().filter_map(figure).collect::<Vec<f64>>();
            let latencies: Vec<f64> = runs
                .iter()
                .flat_map(|run| run.latencies.iter().copied())
                .collect();
            let figures = [
                ("assigned_per_second", "1/s", each(|run| Some(run.per_second))),
                ("latency", "ms", latencies),
                (
                    "status_writes_per_service",
                    "1",
                    each(|run| Some(run.status_writes)),
                ),
                (
                    "event_writes_per_service",
                    "1",
                    each(|run| Some(run.event_writes)),
                ),
                ("resident", "MiB", each(|run| run.resident)),
            ];
            for (metric, unit, samples) in figures {
                let figure = Figure::of("controller", subject, metric, unit, &samples);
                figure
                    .map(|figure| figure.in_case(name))
                    .into_iter()
                    .for_each(&mut *emit);
            }
        }
        let figure = Figure::of("controller", "herald", "share_of_bare", "%", &share);
        figure
            .map(|figure| figure.in_case(name))
            .into_iter()
            .for_each(&mut *emit);
    }
    Ok(())
}

async fn measure(subject: Subject, case: Case) -> anyhow::Result<Run> {
    let api = ApiServer::start().await?;
    let (sender, mut shown) = mpsc::unbounded_channel();
    let witness = tokio::spawn(watch(api.services(), sender));
    let mut controller = None;
    let begin;
    let mut created = Vec::new();
    let before;
    match case {
        Case::AtOnce => {
            if subject == Subject::Herald {
                controller = Some(api.start_controller().await?);
                api.await_leader().await?;
            }
            before = api.server.request_counts();
            begin = Instant::now();
            let (created_sender, created_receiver) = mpsc::unbounded_channel();
            let bare = (subject == Subject::Bare).then(|| {
                let created = futures::stream::unfold(created_receiver, async |mut receiver| {
                    receiver.recv().await.map(|number| (number, receiver))
                });
                tokio::spawn(patch_all(api.services(), created.boxed()))
            });
            created = api.create(Some(created_sender)).await?;
            if let Some(bare) = bare {
                bare.await??;
            }
        }
        Case::Waiting => {
            api.create(None).await?;
            before = api.server.request_counts();
            begin = Instant::now();
            match subject {
                Subject::Herald => controller = Some(api.start_controller().await?),
                Subject::Bare => {
                    patch_all(api.services(), futures::stream::iter(0..SERVICES).boxed()).await?
                }
            }
        }
    }
    let mut assigned = BTreeSet::new();
    let mut latencies = Vec::new();
    while assigned.len() < SERVICES {
        let next = tokio::time::timeout(PATIENCE, shown.recv()).await;
        let (number, at): (usize, Instant) = next
            .context("the Services are not served")?
            .context("the watch ended")?;
        if assigned.insert(number) {
            let begun = created.get(number);
            latencies.extend(begun.map(|begun: &Instant| 1000.0 * at.duration_since(*begun).as_secs_f64()));
        }
    }
    let took = begin.elapsed();
    witness.abort();
    let counts = api.server.request_counts().since(&before);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let per_service = |count: u64| count as f64 / SERVICES as f64;
    let writes = |resource: &str| {
        let of = |counts: &RequestCounts| counts.of("create", resource) + counts.of("patch", resource);
        per_service(of(&counts))
    };
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let services = SERVICES as f64;
    Ok(Run {
        per_second: services / took.as_secs_f64(),
        latencies,
        status_writes: writes("services/status"),
        event_writes: writes("events"),
        resident: controller.as_ref().and_then(resident),
    })
}

struct ApiServer {
    server: Server,
    client: Client,
    directory: TempDir,
}

impl ApiServer {
    /// An API server with a pool that is large enough.
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = Server::start(Options {
            listeners: vec![listener],
            ..Options::default()
        });
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join("kubeconfig"), Server::kubeconfig(&url))?;
        let api = Self {
            server: server.await?,
            client: Client::try_from(kube::Config::new(url.parse()?))?,
            directory,
        };
        for definition in herald_api::crds() {
            Api::all(api.client.clone())
                .create(&PostParams::default(), &definition)
                .await?;
        }
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(api.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", "v1beta1", "IPAddressPool"));
        let pool = DynamicObject::new("pool", &kind).data(json!({"spec": {"addresses": ["10.0.0.0/16"]}}));
        Api::<DynamicObject>::namespaced_with(api.client.clone(), NAMESPACE, &kind)
            .create(&PostParams::default(), &pool)
            .await?;
        Ok(api)
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates all Services, and tells of each as soon as it exists. Returns when each was asked for.
    async fn create(&self, tell: Option<mpsc::UnboundedSender<usize>>) -> anyhow::Result<Vec<Instant>> {
        let create = |number: usize| {
            let (services, tell) = (self.services(), tell.clone());
            async move {
                let service: Service = serde_json::from_value(json!({
                    "metadata": {"name": format!("s{number}")},
                    "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false},
                }))?;
                let begin = Instant::now();
                services.create(&PostParams::default(), &service).await?;
                // Fails when nobody wants to know.
                tell.map(|tell| tell.send(number));
                anyhow::Ok(begin)
            }
        };
        let created = futures::stream::iter((0..SERVICES).map(create)).buffered(PARALLEL);
        created.try_collect().await
    }

    async fn start_controller(&self) -> anyhow::Result<Child> {
        let arguments = [
            "controller",
            "--namespace",
            NAMESPACE,
            "--pod-name=controller",
            "--port=0",
            "--health-probe-port=0",
        ];
        let mut command = role(&arguments.map(str::to_owned));
        name_parent(&mut command);
        let log = std::fs::File::create(self.directory.path().join("log"))?;
        command
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"))
            .stdout(log);
        command.spawn().context("cannot start the controller")
    }

    async fn await_leader(&self) -> anyhow::Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
        let leases = Api::<DynamicObject>::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        eventually("the controller leads", PATIENCE, async || {
            let lease = leases.get_opt("herald-controller").await?;
            Ok(lease.filter(|lease| lease.data["spec"]["holderIdentity"] == "controller"))
        })
        .await?;
        Ok(())
    }
}

/// The bare client: PATCHes an address into the status of each Service, as many at a time as the controller.
async fn patch_all(
    services: Api<Service>,
    numbers: futures::stream::BoxStream<'static, usize>,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let patch = |number: usize| {
        let (services, next) = (services.clone(), next.clone());
        async move {
            let offset = u32::try_from(next.fetch_add(1, Ordering::Relaxed))?;
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + offset);
            let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
            let params = PatchParams::default();
            let patched = services
                .patch_status(&format!("s{number}"), &params, &Patch::Strategic(patch))
                .await?;
            ensure!(patched.status.is_some(), "the patch changed nothing");
            Ok(())
        }
    };
    numbers.map(patch).buffer_unordered(PARALLEL).try_collect().await
}

/// Tells the number of each Service that shows an address, and when that was seen.
async fn watch(services: Api<Service>, shown: mpsc::UnboundedSender<(usize, Instant)>) {
    let mut events = watcher::watcher(services, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let (Ok(Event::Apply(service)) | Ok(Event::InitApply(service))) = event else {
            continue;
        };
        let status = service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref());
        let has_address = status
            .and_then(|status| status.ingress.as_ref())
            .is_some_and(|ingress| !ingress.is_empty());
        let number = service
            .name_any()
            .strip_prefix('s')
            .and_then(|number| number.parse().ok());
        if let (true, Some(number)) = (has_address, number)
            && shown.send((number, Instant::now())).is_err()
        {
            return;
        }
    }
}

/// Resident memory of a process in MiB (`VmRSS`, proc_pid_status(5)).
fn resident(child: &Child) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024.0)
}

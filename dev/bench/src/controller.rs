//! The rate at which the whole controller gives 10 000 Services their addresses, beside a bare client that only PATCHes statuses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use herald_api::convert::ingress_addresses;
use herald_devkube::RequestCounts;
use herald_netns::wait_for;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::Figure;
use super::memory::resident;
use herald_lab::control_plane::{self, ControlPlane};
use herald_lab::objects::NAMESPACE;
use herald_lab::process::{Process, role};

/// Services that come at once.
const SERVICES: usize = 10_000;
/// Requests under way at a time, of the creator and of the bare client; the controller has as many.
const PARALLEL: usize = 32;
/// Far longer than a run takes.
const DEADLINE: Duration = Duration::from_secs(300);

/// The program that gives the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Herald,
    Bare,
}

/// What the subject has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// All Services are created while it runs.
    AtOnce,
    /// All wait when it starts.
    Waiting,
    /// All have addresses when it starts, but for one more that was created meanwhile.
    Restart,
}

impl Case {
    const fn describe(self) -> &'static str {
        match self {
            Self::AtOnce => "10000 Services created at once",
            Self::Waiting => "10000 Services wait at the start",
            Self::Restart => "restart with 10000 assigned",
        }
    }
}

/// What one run showed.
struct Run {
    /// From the first request or the start of the subject until the last Service shows its address.
    took: Duration,
    /// From the request that creates a Service to the watch event that shows its address, in ms.
    latencies: Vec<f64>,
    /// The requests that the API server counted.
    requests: RequestCounts,
    /// Resident memory of the controller in MiB.
    resident: Option<f64>,
}

/// Measures each case `runs` times, subjects in turn, each with an API server of its own.
pub async fn run(runs: usize, emit: &mut dyn FnMut(Figure)) -> anyhow::Result<()> {
    for case in [Case::AtOnce, Case::Waiting, Case::Restart] {
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (subject, samples) in [Subject::Herald, Subject::Bare].into_iter().zip(&mut samples) {
                samples.push(measure(subject, case).await?);
            }
        }
        let [herald, bare] = &samples;
        let figures = figures("herald", case, herald)
            .into_iter()
            .chain(figures("bare", case, bare))
            .chain(compare(case, herald, bare));
        figures
            .map(|figure| figure.in_case(case.describe()))
            .for_each(&mut *emit);
    }
    Ok(())
}

fn figures(subject: &'static str, case: Case, runs: &[Run]) -> Vec<Figure> {
    let figure = |metric: Cow<'static, str>, unit, samples: Vec<f64>| {
        Figure::of("controller", subject, metric, unit, &samples)
    };
    let speed = match case {
        Case::AtOnce | Case::Waiting => figure(
            "assigned_per_second".into(),
            "1/s",
            runs.iter()
                .map(|run| to_f64(SERVICES) / run.took.as_secs_f64())
                .collect(),
        ),
        Case::Restart => figure(
            "until_served".into(),
            "ms",
            runs.iter().map(Run::millis).collect(),
        ),
    };
    let latencies = runs.iter().flat_map(|run| run.latencies.iter().copied());
    let resident = runs.iter().filter_map(|run| run.resident);
    let asked: BTreeSet<(&str, &str)> = runs
        .iter()
        .flat_map(|run| run.requests.iter().map(|(verb, resource, _)| (verb, resource)))
        .collect();
    let requests = asked.into_iter().map(|(verb, resource)| {
        let counts = runs.iter().map(|run| run.requests.of(verb, resource));
        figure(
            format!("{verb} {resource}").into(),
            "requests",
            counts.map(to_f64).collect(),
        )
    });
    [
        speed,
        figure("latency".into(), "ms", latencies.collect()),
        figure("resident".into(), "MiB", resident.collect()),
    ]
    .into_iter()
    .chain(requests)
    .flatten()
    .collect()
}

/// Herald's pace in percent of the bare client's, by pairs of runs.
fn compare(case: Case, herald: &[Run], bare: &[Run]) -> Option<Figure> {
    let share = |(herald, bare): (&Run, &Run)| 100.0 * bare.millis() / herald.millis();
    let shares: Vec<f64> = herald.iter().zip(bare).map(share).collect();
    match case {
        Case::AtOnce | Case::Waiting => Figure::of("controller", "herald", "share_of_bare", "%", &shares),
        Case::Restart => None,
    }
}

impl Run {
    fn millis(&self) -> f64 {
        1000.0 * self.took.as_secs_f64()
    }
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn to_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::NAN, |count| count as f64)
}

async fn measure(subject: Subject, case: Case) -> anyhow::Result<Run> {
    let api = ApiServer::launch().await?;
    #[expect(clippy::disallowed_methods, reason = "each Service sends a few messages")]
    let (sender, shown) = mpsc::unbounded_channel();
    let witness = tokio::spawn(watch(api.services(), sender));
    let mut shown = Shown::new(shown);
    let mut controller = None;
    let begin;
    let mut created = Vec::new();
    let before;
    match case {
        Case::AtOnce => {
            if subject == Subject::Herald {
                controller = Some(api.start_controller()?);
                api.await_leader().await?;
            }
            before = api.control_plane.request_counts().await?;
            begin = Instant::now();
            #[expect(clippy::disallowed_methods, reason = "each Service sends one message")]
            let (created_sender, created_receiver) = mpsc::unbounded_channel();
            let bare = (subject == Subject::Bare).then(|| {
                let created = futures::stream::unfold(created_receiver, async |mut receiver| {
                    receiver.recv().await.map(|number| (number, receiver))
                });
                tokio::spawn(patch_all(api.services(), created.boxed()))
            });
            created = api.create(0..SERVICES, Some(created_sender)).await?;
            if let Some(bare) = bare {
                bare.await??;
            }
        }
        Case::Waiting => {
            api.create(0..SERVICES, None).await?;
            before = api.control_plane.request_counts().await?;
            begin = Instant::now();
            controller = api.start(subject).await?;
        }
        Case::Restart => {
            api.create(0..SERVICES, None).await?;
            let first = api.start(subject).await?;
            shown.wait_for(SERVICES).await?;
            if let Some(mut first) = first {
                first.stop(DEADLINE).await?;
            }
            api.create(SERVICES..SERVICES + 1, None).await?;
            before = api.control_plane.request_counts().await?;
            begin = Instant::now();
            controller = api.start(subject).await?;
        }
    }
    shown
        .wait_for(if case == Case::Restart {
            SERVICES + 1
        } else {
            SERVICES
        })
        .await?;
    let took = begin.elapsed();
    witness.abort();
    let latency = |(number, at): (&usize, &Instant)| {
        let begun = created.get(*number)?;
        Some(1000.0 * at.duration_since(*begun).as_secs_f64())
    };
    Ok(Run {
        took,
        latencies: shown.first.iter().filter_map(latency).collect(),
        requests: api.control_plane.request_counts().await?.since(&before),
        resident: controller.as_ref().and_then(|process| resident(process).ok()),
    })
}

/// When each Service was first seen with an address.
struct Shown {
    receiver: mpsc::UnboundedReceiver<(usize, Instant)>,
    first: BTreeMap<usize, Instant>,
}

impl Shown {
    const fn new(receiver: mpsc::UnboundedReceiver<(usize, Instant)>) -> Self {
        Self {
            receiver,
            first: BTreeMap::new(),
        }
    }

    async fn wait_for(&mut self, services: usize) -> anyhow::Result<()> {
        while self.first.len() < services {
            let next = tokio::time::timeout(DEADLINE, self.receiver.recv()).await;
            let (number, at) = next
                .context("the Services are not served")?
                .context("the watch ended")?;
            self.first.entry(number).or_insert(at);
        }
        Ok(())
    }
}

// Dropped in this order: the server before its files.
struct ApiServer {
    client: Client,
    control_plane: ControlPlane,
    directory: TempDir,
}

impl ApiServer {
    /// An API server with a pool that is large enough.
    async fn launch() -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let control_plane = ControlPlane::start_here(directory.path()).await?;
        let kubeconfig = control_plane.kubeconfig(&control_plane.outside());
        std::fs::write(directory.path().join("kubeconfig"), &kubeconfig)?;
        let api = Self {
            client: control_plane::client(&kubeconfig).await?,
            control_plane,
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
        let definitions = Api::<CustomResourceDefinition>::all(api.client.clone());
        for definition in herald_api::crds() {
            let name = definition.name_any();
            let served = await_condition(definitions.clone(), &name, is_crd_established());
            tokio::time::timeout(DEADLINE, served).await??;
        }
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

    /// Creates Services, and sends the number of each as soon as it exists. Returns when each was requested.
    async fn create(
        &self,
        numbers: Range<usize>,
        created: Option<mpsc::UnboundedSender<usize>>,
    ) -> anyhow::Result<Vec<Instant>> {
        let create = |number: usize| {
            let (services, created) = (self.services(), created.clone());
            async move {
                let service: Service = serde_json::from_value(json!({
                    "metadata": {"name": format!("s{number}")},
                    "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "allocateLoadBalancerNodePorts": false},
                }))?;
                let begin = Instant::now();
                services.create(&PostParams::default(), &service).await?;
                // Fails when there is no receiver.
                created.map(|created| created.send(number));
                anyhow::Ok(begin)
            }
        };
        let created = futures::stream::iter(numbers.map(create)).buffered(PARALLEL);
        created.try_collect().await
    }

    /// Starts the controller, or lets the bare client patch all Services that wait.
    async fn start(&self, subject: Subject) -> anyhow::Result<Option<Process>> {
        match subject {
            Subject::Herald => Ok(Some(self.start_controller()?)),
            Subject::Bare => {
                let services = self.services().list(&ListParams::default()).await?;
                let waiting = services.items.into_iter().filter(|service| !has_address(service));
                let numbers: Vec<usize> = waiting.filter_map(|service| number(&service)).collect();
                patch_all(self.services(), futures::stream::iter(numbers).boxed()).await?;
                Ok(None)
            }
        }
    }

    fn start_controller(&self) -> anyhow::Result<Process> {
        let arguments = [
            "controller",
            "--namespace",
            NAMESPACE,
            "--pod-name=controller",
            "--port=0",
            "--health-probe-port=0",
        ];
        let mut command = role(&arguments.map(str::to_owned));
        command.env("KUBECONFIG", self.directory.path().join("kubeconfig"));
        Process::start_here("controller", command, self.directory.path())
    }

    async fn await_leader(&self) -> anyhow::Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
        let leases = Api::<DynamicObject>::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        wait_for("the controller leads", DEADLINE, async || {
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
    let patch = |number: usize| {
        let services = services.clone();
        async move {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(number)?);
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

/// Sends the number of each Service that shows an address, and when the watch showed it.
async fn watch(services: Api<Service>, shown: mpsc::UnboundedSender<(usize, Instant)>) {
    let mut events = watcher::watcher(services, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let (Ok(Event::Apply(service)) | Ok(Event::InitApply(service))) = event else {
            continue;
        };
        if let (true, Some(number)) = (has_address(&service), number(&service))
            && shown.send((number, Instant::now())).is_err()
        {
            return;
        }
    }
}

fn has_address(service: &Service) -> bool {
    !ingress_addresses(service).is_empty()
}

fn number(service: &Service) -> Option<usize> {
    service.name_any().strip_prefix('s')?.parse().ok()
}

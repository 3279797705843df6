//! Herald takes the place of MetalLB and gives it back, as docs/install/migrate.md says.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::StreamExt;
use herald_api::{ConfigurationState, IPAddressPool, ServiceL2Status};
use herald_lab::clock::Monotonic;
use herald_lab::connections::Connections;
use herald_lab::metallb::MetalLb;
use herald_lab::objects::NAMESPACE;
use herald_lab::prober::{Pace, Prober};
use herald_lab::{DEADLINE, Lab};
use herald_netns::wait_for;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{PROCESSORS, embedded_only, trial};

/// Services, each with an address.
const SERVICES: u8 = 12;
/// Long connections to each address: a thousand to all.
const CONNECTIONS: usize = 84;
/// Between two requests over a long connection.
const CONNECTION_INTERVAL: Duration = Duration::from_secs(1);
/// A thousand requests a second to all addresses, or fewer where the machine is too slow: then few are under way at a time, and none
/// waits for so long that it counts as lost.
const PACE: Pace = Pace {
    interval: Duration::from_millis(12),
    timeout: Duration::from_secs(20),
    most_open: 8,
};
/// Of 1 008 connections, so many may break when MetalLB's speakers stop: those that still run claim the addresses of those that have
/// left, and packets go astray until Herald has contradicted each claim. On an idle machine that takes a millisecond, on a loaded one
/// as long as a program waits for the processor. Without these contradictions, more than a hundred broke.
const MOST_BROKEN: usize = 50;
/// Longer than an address may be without an answer, as a client sees it: Linux sends a SYN again after 1, 3 and 7 s, so an address that
/// is dark for longer than three seconds shows as seven.
const DARK: Duration = Duration::from_secs(5);
/// MetalLB announces for 5 s after each change, and a take-over that was forced would come 3 s after one.
const QUIET: Duration = Duration::from_secs(7);

const CONFIGURATION: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: [192.168.67.120-192.168.67.131]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: metallb-system}
";

/// As long as a speaker of MetalLB has read no valid configuration, it announces nothing.
const HOLD: &str = include_str!("../../../../examples/hold-metallb.yaml");

pub(crate) fn trials() -> Vec<Trial> {
    let name = "a_cluster_moves_from_metallb_to_herald_and_back";
    vec![embedded_only(trial(name, async || {
        // A thousand requests a second take a processor.
        let _alone = PROCESSORS.write().await;
        let mut lab = Lab::builder().beside_metallb().start().await?;
        lab.run_app("hello", 8080, &[0, 1, 2]).await?;
        match there_and_back(&mut lab).await {
            Ok(()) => Ok(()),
            Err(error) => anyhow::bail!("{error:#}\n{}", lab.report().await),
        }
    }))]
}

async fn there_and_back(lab: &mut Lab) -> anyhow::Result<()> {
    lab.apply("configuration.yaml", CONFIGURATION).await?;
    for number in 0..SERVICES {
        add_service(lab, number).await?;
    }
    let metallb = MetalLb::start(lab).await?;
    metallb.set_ready(lab).await?;
    wait_for_announcers(lab, None).await?;
    sleep(QUIET).await;
    let before = announcers(lab).await?;
    let mut observer = Observer::start(lab).await?;
    observer.ensure_unnoticed("MetalLB runs alone").await?;

    lab.start_herald().await?;
    lab.wait_for_speakers(DEADLINE).await?;
    observer
        .ensure_unnoticed("Herald is installed beside MetalLB")
        .await?;
    metallb.delete(lab).await?;
    wait_until_beside(lab, false).await?;
    let harm = observer.harm("MetalLB is deleted").await?;
    ensure!(
        harm.connections <= MOST_BROKEN && harm.requests <= MOST_BROKEN,
        "MetalLB is deleted: {harm:?}"
    );
    wait_for_announcers(lab, Some(&before)).await?;
    ensure_owned_by(lab, "speaker-node-").await?;

    lab.cluster().create(&serde_saphyr::from_str(HOLD)?).await?;
    let metallb = MetalLb::start(lab).await?;
    sleep(QUIET).await;
    metallb.set_ready(lab).await?;
    wait_until_beside(lab, true).await?;
    observer
        .ensure_unnoticed("MetalLB waits for a configuration")
        .await?;
    let pools = Api::<IPAddressPool>::namespaced(lab.cluster().client(), NAMESPACE);
    pools.delete("hold-metallb", &DeleteParams::default()).await?;
    observer
        .ensure_unnoticed("MetalLB announces beside Herald")
        .await?;
    lab.stop_herald().await?;
    observer.ensure_unnoticed("Herald is removed").await?;
    wait_for_announcers(lab, Some(&before)).await?;
    ensure_owned_by(lab, "metallb-speaker-node-").await?;
    for number in 0..SERVICES {
        let addresses = lab.cluster().addresses(&service_name(number)).await?;
        ensure!(addresses == [IpAddr::from(address(number))], "{addresses:?}");
    }
    Ok(())
}

/// Waits until all speakers of Herald run beside MetalLB, or none.
async fn wait_until_beside(lab: &Lab, is_beside: bool) -> anyhow::Result<()> {
    for node in lab.nodes() {
        let what = format!("{} runs beside MetalLB: {is_beside}", node.name());
        let check = async || Ok((node.state().await?["besideMetalLB"] == is_beside).then_some(()));
        wait_for(&what, DEADLINE, check).await?;
    }
    Ok(())
}

/// Waits until one node announces each Service by its objects, the same as before.
async fn wait_for_announcers(lab: &Lab, before: Option<&Announcers>) -> anyhow::Result<()> {
    let check = async || {
        let now = announcers(lab).await?;
        let is_whole = now.len() == usize::from(SERVICES) && now.values().all(|nodes| nodes.len() == 1);
        ensure!(is_whole && before.is_none_or(|before| *before == now), "{now:?}");
        Ok(Some(()))
    };
    wait_for("one node announces each Service", DEADLINE, check).await
}

/// Fails unless all objects belong to Pods with names that begin like this, and to no others.
async fn ensure_owned_by(lab: &Lab, pods: &str) -> anyhow::Result<()> {
    let states = lab.cluster().list::<ConfigurationState>(NAMESPACE).await?;
    let statuses = lab.cluster().list::<ServiceL2Status>(NAMESPACE).await?;
    let states = states
        .iter()
        .filter(|state| state.name_any().starts_with("speaker-"));
    let owners: Vec<_> = states.map(ResourceExt::owner_references).collect();
    ensure!(owners.len() == lab.nodes().len(), "{owners:?}");
    for owners in owners
        .into_iter()
        .chain(statuses.iter().map(ResourceExt::owner_references))
    {
        let is_owned = !owners.is_empty() && owners.iter().all(|owner| owner.name.starts_with(pods));
        ensure!(is_owned, "not only of {pods}: {owners:?}");
    }
    Ok(())
}

fn service_name(number: u8) -> String {
    format!("service-{number:02}")
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 67, 120 + number)
}

/// Creates a Service with the address that MetalLB's controller gave it.
async fn add_service(lab: &Lab, number: u8) -> anyhow::Result<()> {
    let name = service_name(number);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default",
            "annotations": {"metallb.io/ip-allocated-from-pool": "pool"},
        },
        "spec": {
            "type": "LoadBalancer", "selector": {"app": "hello"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    });
    lab.cluster().create(&service).await?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address(number), "ipMode": "VIP"}]}}});
    Api::<Service>::namespaced(lab.cluster().client(), "default")
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// The nodes that announce each Service, by the objects about it.
type Announcers = BTreeMap<String, Vec<String>>;

async fn announcers(lab: &Lab) -> anyhow::Result<Announcers> {
    let mut announcers = Announcers::new();
    for object in lab.cluster().list::<ServiceL2Status>(NAMESPACE).await? {
        let status = object.status.unwrap_or_default();
        let service = status.service_name.context("a status without a Service")?;
        let nodes = announcers.entry(service).or_default();
        nodes.push(status.node.unwrap_or_default());
    }
    Ok(announcers)
}

/// Clients over the whole migration, and a count of the statuses that are written meanwhile.
struct Observer {
    probers: Vec<Prober>,
    connections: Connections,
    writes: Arc<AtomicU64>,
    _watches: JoinSet<()>,
    /// When the present step began.
    begin: Monotonic,
}

impl Observer {
    async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let targets = (0..SERVICES).map(|number| SocketAddr::new(address(number).into(), 80));
        let targets: Vec<SocketAddr> = targets.collect();
        let mut probers = Vec::new();
        for target in &targets {
            probers.push(lab.probe(target.ip(), target.port(), PACE, DEADLINE).await?);
        }
        let host = lab.client();
        let connections = Connections::open(host, &targets, CONNECTIONS, CONNECTION_INTERVAL).await?;
        let (writes, mut watches) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let client = lab.cluster().client();
        let states = Api::<ConfigurationState>::namespaced(client.clone(), NAMESPACE);
        let statuses = Api::<ServiceL2Status>::namespaced(client, NAMESPACE);
        watches.spawn(count_writes(states, Arc::clone(&writes)));
        watches.spawn(count_writes(statuses, Arc::clone(&writes)));
        Ok(Self {
            probers,
            connections,
            writes,
            _watches: watches,
            begin: Monotonic::now(),
        })
    }

    /// Fails if a client noticed anything of the step that ends here, or if writes go on after it.
    async fn ensure_unnoticed(&mut self, step: &str) -> anyhow::Result<()> {
        let harm = self.harm(step).await?;
        ensure!(harm == Harm::default(), "{step}: {harm:?}");
        Ok(())
    }

    /// Waits until the step that ends here has shown all its effects, and returns what it broke. Fails if an address was not served,
    /// or if writes go on.
    async fn harm(&mut self, step: &str) -> anyhow::Result<Harm> {
        sleep(QUIET).await;
        let (writes, answers) = (self.writes.load(Ordering::Relaxed), self.connections.answers());
        let quiet = Monotonic::now();
        sleep(CONNECTION_INTERVAL * 2).await;
        let after = self.writes.load(Ordering::Relaxed) - writes;
        let begin = std::mem::replace(&mut self.begin, Monotonic::now());
        let (mut answered, mut lost) = (0, Vec::new());
        for prober in &self.probers {
            let history = prober.history();
            let gap = history.outage(begin).map(|outage| outage.gap);
            let mut outcomes = history.outcomes().iter();
            let is_served = outcomes.any(|outcome| outcome.started > quiet && outcome.answer.is_ok());
            ensure!(
                is_served && gap.is_some_and(|gap| gap < DARK),
                "{step}: an address was not served for {gap:?}, and is served now: {is_served}"
            );
            for outcome in history
                .outcomes()
                .iter()
                .filter(|outcome| outcome.finished > begin)
            {
                match &outcome.answer {
                    Ok(_) => answered += 1,
                    Err(reason) => lost.push(reason.clone()),
                }
            }
        }
        let mut broken = self.connections.broken();
        broken.retain(|found| found.at > begin);
        ensure!(
            self.connections.answers() > answers,
            "{step}: no connection was answered"
        );
        ensure!(
            after == 0,
            "{step}: {after} writes of statuses although nothing happens"
        );
        let found = Harm {
            requests: lost.len(),
            connections: broken.len(),
        };
        // No address was without a machine that served it.
        let unserved: Vec<&String> = lost
            .iter()
            .filter(|loss| !loss.contains("reset by peer"))
            .collect();
        ensure!(
            unserved.is_empty(),
            "{step}: of {answered} requests: {unserved:?}"
        );
        Ok(found)
    }
}

/// What clients noticed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Harm {
    /// Requests that were lost.
    requests: usize,
    /// Long connections that broke.
    connections: usize,
}

/// Counts the changes of objects of a kind.
async fn count_writes<K>(api: Api<K>, count: Arc<AtomicU64>)
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        if matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

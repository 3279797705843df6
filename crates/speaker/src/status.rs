//! `ServiceL2Status`: tells users which node announces a Service.
//!
//! A task of its own writes these objects one after the other. They inform; nothing waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use anyhow::Context;
use herald_api::crd::{Interface, ServiceL2StatusFields};
use herald_api::{ServiceL2Status, ServiceL2StatusStatus};
use herald_core::ServiceKey;
use herald_runtime::log::one_line;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

/// Pause after the first request that failed; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// An API server that does not answer for so long is away.
const TIMEOUT: Duration = Duration::from_secs(10);

const NODE: &str = "metallb.io/node";
const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// The interfaces that announce; none are all.
type Interfaces = BTreeSet<String>;

/// Takes what is announced here and has it written. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct Statuses(mpsc::UnboundedSender<(ServiceKey, Option<Interfaces>)>);

impl Statuses {
    /// This node announces the Service on these interfaces, or does not announce it.
    pub(crate) fn set(&self, service: ServiceKey, announced: Option<Interfaces>) {
        // Fails only while the program ends.
        let _ended = self.0.send((service, announced));
    }
}

/// Starts the writing task.
pub(crate) fn start(client: Client, namespace: &str, node: &str, pod: &str) -> Statuses {
    // Unbounded, as the task moves every message into a map of one entry a Service at once.
    let (sender, receiver) = mpsc::unbounded_channel();
    let writer = Writer {
        pods: Api::namespaced(client.clone(), namespace),
        statuses: Api::namespaced(client, namespace),
        node: node.to_owned(),
        pod: pod.to_owned(),
        owner: None,
        announced: BTreeMap::new(),
        stale: BTreeSet::new(),
        last: None,
    };
    tokio::spawn(writer.run(receiver));
    Statuses(sender)
}

struct Writer {
    pods: Api<Pod>,
    statuses: Api<ServiceL2Status>,
    node: String,
    pod: String,
    /// Our Pod; the objects go when it goes.
    owner: Option<OwnerReference>,
    announced: BTreeMap<ServiceKey, Interfaces>,
    /// Services whose objects may not be as they should.
    stale: BTreeSet<ServiceKey>,
    /// The one that was tried last.
    last: Option<ServiceKey>,
}

impl Writer {
    async fn run(mut self, mut changes: mpsc::UnboundedReceiver<(ServiceKey, Option<Interfaces>)>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let work = self.owner.is_none() || !self.stale.is_empty();
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some((service, announced)) => self.set(service, announced),
                    None => return,
                },
                () = std::future::ready(()), if work => {
                    match self.step().await {
                        Ok(()) => pause = FIRST_PAUSE,
                        Err(error) => {
                            let error = one_line(error.as_ref());
                            warn!(error, "the ServiceL2Status objects are not up to date; trying again");
                            tokio::time::sleep(pause).await;
                            pause = (pause * 2).min(LAST_PAUSE);
                        }
                    }
                }
            }
        }
    }

    fn set(&mut self, service: ServiceKey, announced: Option<Interfaces>) {
        match announced {
            Some(interfaces) => {
                self.announced.insert(service.clone(), interfaces);
                self.stale.insert(service);
            }
            None => {
                if self.announced.remove(&service).is_some() {
                    self.stale.insert(service);
                }
            }
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        if self.owner.is_none() {
            let owner = in_time(self.find_owner()).await?;
            let ours = ListParams::default().labels(&format!("{NODE}={}", self.node));
            let left = in_time(self.list(&ours)).await?;
            self.stale.extend(left.iter().filter_map(service_of));
            self.owner = Some(owner);
            return Ok(());
        }
        // Each in turn, so that one that cannot be written holds up no other.
        let next = match &self.last {
            Some(last) => self.stale.range((Bound::Excluded(last), Bound::Unbounded)).next(),
            None => None,
        };
        let Some(service) = next.or(self.stale.first()).cloned() else {
            return Ok(());
        };
        self.last = Some(service.clone());
        in_time(self.reconcile(&service))
            .await
            .with_context(|| format!("Service {service}"))?;
        self.stale.remove(&service);
        Ok(())
    }

    async fn find_owner(&self) -> anyhow::Result<OwnerReference> {
        let pod = self
            .pods
            .get(&self.pod)
            .await
            .with_context(|| format!("reading the speaker's Pod {}", self.pod))?;
        let uid = pod.uid().context("a stored Pod has a uid")?;
        Ok(OwnerReference {
            api_version: Pod::api_version(&()).into_owned(),
            kind: Pod::kind(&()).into_owned(),
            name: self.pod.clone(),
            uid,
            ..OwnerReference::default()
        })
    }

    /// Of the objects for a Service one of this node stays if it is announced here, and all others go; if it is
    /// not, only those of this node go.
    async fn reconcile(&self, service: &ServiceKey) -> anyhow::Result<()> {
        let selector = format!(
            "{SERVICE_NAME}={},{SERVICE_NAMESPACE}={}",
            service.name, service.namespace
        );
        let existing = self.list(&ListParams::default().labels(&selector)).await?;
        let is_ours = |object: &&ServiceL2Status| object.labels().get(NODE) == Some(&self.node);
        let kept = match self.announced.get(service) {
            None => None,
            Some(interfaces) => {
                let object = match existing.iter().find(is_ours) {
                    Some(object) => object.clone(),
                    None => {
                        self.statuses
                            .create(&PostParams::default(), &self.object(service))
                            .await?
                    }
                };
                self.write(&object, service, interfaces).await?;
                Some(object.name_any())
            }
        };
        for object in &existing {
            let theirs = kept.is_none() && !is_ours(&object);
            if !theirs && kept.as_ref() != Some(&object.name_any()) {
                self.delete(&object.name_any()).await?;
            }
        }
        Ok(())
    }

    async fn list(&self, params: &ListParams) -> anyhow::Result<Vec<ServiceL2Status>> {
        Ok(self.statuses.list(params).await?.items)
    }

    fn object(&self, service: &ServiceKey) -> ServiceL2Status {
        let labels = [
            (NODE, &self.node),
            (SERVICE_NAME, &service.name),
            (SERVICE_NAMESPACE, &service.namespace),
        ];
        ServiceL2Status {
            metadata: ObjectMeta {
                generate_name: Some("l2-".to_owned()),
                labels: Some(
                    labels
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v.clone()))
                        .collect(),
                ),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: ServiceL2StatusFields::default(),
            status: None,
        }
    }

    async fn write(
        &self,
        object: &ServiceL2Status,
        service: &ServiceKey,
        interfaces: &Interfaces,
    ) -> anyhow::Result<()> {
        let wanted = ServiceL2StatusStatus {
            node: Some(self.node.clone()),
            service_name: Some(service.name.clone()),
            service_namespace: Some(service.namespace.clone()),
            interfaces: interfaces
                .iter()
                .map(|name| Interface {
                    name: Some(name.clone()),
                })
                .collect(),
        };
        if object.status.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let patch = json!({"status": {
            "node": wanted.node,
            "serviceName": wanted.service_name,
            "serviceNamespace": wanted.service_namespace,
            "interfaces": wanted.interfaces,
        }});
        let name = object.name_any();
        self.statuses
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    async fn delete(&self, name: &str) -> anyhow::Result<()> {
        match self.statuses.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop).map_err(Into::into),
        }
    }
}

fn service_of(object: &ServiceL2Status) -> Option<ServiceKey> {
    let labels = object.labels();
    Some(ServiceKey::new(
        labels.get(SERVICE_NAMESPACE)?,
        labels.get(SERVICE_NAME)?,
    ))
}

async fn in_time<T>(request: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(TIMEOUT, request)
        .await
        .context("the API server did not answer in time")?
}

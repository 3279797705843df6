//! Writes `ServiceL2Status` objects: which node announces a Service, and what keeps the elected node from it.
//!
//! A task writes these objects one after the other; nothing waits for them. The controller derives the condition
//! `herald.io/Announced` of the Services from them, because speakers may not write Services.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use anyhow::{Context, anyhow};
use herald_api::crd::{ANNOUNCED, InterfaceInfo, ServiceL2StatusFields};
use herald_api::reason::ConditionReason;
use herald_api::{ServiceL2Status, ServiceL2StatusStatus};
use herald_core::announce::agent::AnnouncementStatus;
use herald_core::{Backoff, ServiceKey};
use herald_runtime::log::one_line;
use herald_runtime::reconcile::{TIMEOUT, owner, with_transition_times};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

/// Pause after the first request that failed; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);

const NODE: &str = "metallb.io/node";
const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// Handle of the writing task. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct Statuses(mpsc::UnboundedSender<(ServiceKey, Option<AnnouncementStatus>)>);

impl Statuses {
    /// Replaces how this node announces a Service; `None` if it publishes nothing about it.
    pub(crate) fn set(&self, service: ServiceKey, announced: Option<AnnouncementStatus>) {
        // Fails only while the program ends.
        let _ended = self.0.send((service, announced));
    }
}

/// Starts the writing task.
pub(crate) fn start(client: Client, namespace: &str, node: &str, pod: &str) -> Statuses {
    #[expect(
        clippy::disallowed_methods,
        reason = "the task moves each message into a map of Services at once"
    )]
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
    /// The Pod of this speaker; Kubernetes deletes the objects together with it.
    owner: Option<OwnerReference>,
    announced: BTreeMap<ServiceKey, AnnouncementStatus>,
    /// Services whose objects may differ from what they should be.
    stale: BTreeSet<ServiceKey>,
    /// The Service that was tried last.
    last: Option<ServiceKey>,
}

impl Writer {
    async fn run(mut self, mut changes: mpsc::UnboundedReceiver<(ServiceKey, Option<AnnouncementStatus>)>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
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
                        Ok(()) => backoff.reset(),
                        Err(error) => {
                            let error = one_line(error.as_ref());
                            warn!(error, "the ServiceL2Status objects are not up to date; trying again");
                            tokio::time::sleep(backoff.pause()).await;
                        }
                    }
                }
            }
        }
    }

    fn set(&mut self, service: ServiceKey, announced: Option<AnnouncementStatus>) {
        let before = match announced.clone() {
            Some(announced) => self.announced.insert(service.clone(), announced),
            None => self.announced.remove(&service),
        };
        if before != announced {
            self.stale.insert(service);
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        if self.owner.is_none() {
            let owner = self.find_owner().await?;
            let ours = ListParams::default().labels(&format!("{NODE}={}", self.node));
            let left = in_time(self.list(&ours)).await?;
            self.stale.extend(left.iter().filter_map(service_of));
            self.owner = Some(owner);
            return Ok(());
        }
        // In turn, so that an object that cannot be written delays no other.
        let next = match &self.last {
            Some(last) => self.stale.range((Bound::Excluded(last), Bound::Unbounded)).next(),
            None => None,
        };
        let Some(service) = next.or_else(|| self.stale.first()).cloned() else {
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
        let pod = &self.pod;
        let owner = owner(&self.pods, pod)
            .await
            .map_err(|failure| anyhow!("reading the speaker's Pod {pod}: {}", failure.message()))?;
        owner.with_context(|| format!("the speaker's Pod {pod} does not exist"))
    }

    /// Keeps one object of this node for a Service that it announces, and deletes all others; deletes only the objects of
    /// this node for another Service.
    async fn reconcile(&self, service: &ServiceKey) -> anyhow::Result<()> {
        let selector = format!(
            "{SERVICE_NAME}={},{SERVICE_NAMESPACE}={}",
            service.name, service.namespace
        );
        let existing = self.list(&ListParams::default().labels(&selector)).await?;
        let is_ours = |object: &&ServiceL2Status| object.labels().get(NODE) == Some(&self.node);
        let kept = match self.announced.get(service) {
            None => None,
            Some(announced) => {
                let object = match existing.iter().find(is_ours) {
                    Some(object) => object.clone(),
                    None => {
                        self.statuses
                            .create(&PostParams::default(), &self.object(service))
                            .await?
                    }
                };
                self.write(&object, service, announced).await?;
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
            (NODE, self.node.as_str()),
            (SERVICE_NAME, &service.name),
            (SERVICE_NAMESPACE, &service.namespace),
        ];
        ServiceL2Status {
            metadata: ObjectMeta {
                generate_name: Some("l2-".to_owned()),
                labels: Some(
                    labels
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
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
        announced: &AnnouncementStatus,
    ) -> anyhow::Result<()> {
        let found = json!(object.status);
        let status = with_transition_times(json!(self.status(service, announced)), &found, Timestamp::now());
        if status == found {
            return Ok(());
        }
        let mut patch = json!({"status": status});
        // An empty list is not serialized, but may have to be removed.
        if announced.interfaces.is_empty() {
            patch["status"]["interfaces"] = Value::Null;
        }
        let name = object.name_any();
        self.statuses
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// Returns the content of the object, without the time of the condition.
    fn status(&self, service: &ServiceKey, announced: &AnnouncementStatus) -> ServiceL2StatusStatus {
        let (status, reason, message) = match &announced.obstacle {
            None => ("True", ConditionReason::Announced.reason(), ""),
            Some((reason, message)) => ("False", *reason, message.as_str()),
        };
        let interfaces = announced.interfaces.iter().cloned();
        ServiceL2StatusStatus {
            node: Some(self.node.clone()),
            service_name: Some(service.name.to_string()),
            service_namespace: Some(service.namespace.to_string()),
            interfaces: interfaces
                .map(|name| InterfaceInfo { name: Some(name) })
                .collect(),
            conditions: vec![Condition {
                type_: ANNOUNCED.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            }],
        }
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

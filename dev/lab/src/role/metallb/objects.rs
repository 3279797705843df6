//! The objects that MetalLB's speaker writes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures::StreamExt;
use herald_api::{ConfigurationState, ServiceL2Status};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::objects::NAMESPACE;

const NODE: &str = "metallb.io/node";
const SERVICE_NAME: &str = "metallb.io/service-name";
const SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// Services that wait to be looked at: many more than a lab has.
const WAITING: usize = 1024;

type Led = Arc<Mutex<BTreeSet<String>>>;

/// The Services that this node leads, and what writes that to the API server.
pub(super) struct Objects {
    led: Led,
    changed: Sender<String>,
}

impl Objects {
    pub(super) async fn start(client: Client, node: &str, pod: &str) -> anyhow::Result<Self> {
        let own = Api::<Pod>::namespaced(client.clone(), NAMESPACE).get(pod).await;
        let own = own.context("the speaker has no Pod")?;
        let writer = Writer {
            states: Api::namespaced(client.clone(), NAMESPACE),
            statuses: Api::namespaced(client, NAMESPACE),
            owner: own.owner_ref(&()).context("the Pod has no identity")?,
            node: node.to_owned(),
            led: Led::default(),
        };
        let led = Arc::clone(&writer.led);
        let writer = Arc::new(writer);
        let (changed, changes) = channel(WAITING);
        tokio::spawn(Arc::clone(&writer).follow_state());
        tokio::spawn(Arc::clone(&writer).follow_statuses(changed.clone()));
        tokio::spawn(writer.write(changes));
        Ok(Self { led, changed })
    }

    /// Takes the names of the Services that this node leads.
    pub(super) fn set_led(&self, led: BTreeSet<String>) {
        let mut current = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        for service in current.symmetric_difference(&led) {
            if let Err(error) = self.changed.try_send(service.clone()) {
                tracing::error!("the objects about {service} are not written: {error}");
            }
        }
        *current = led;
    }
}

struct Writer {
    states: Api<ConfigurationState>,
    statuses: Api<ServiceL2Status>,
    owner: OwnerReference,
    node: String,
    led: Led,
}

impl Writer {
    /// Keeps the ConfigurationState of this node, whose owners include the Pod.
    async fn follow_state(self: Arc<Self>) {
        let name = format!("speaker-{}", self.node);
        let mut states = watcher::watch_object(self.states.clone(), &name)
            .default_backoff()
            .boxed();
        while let Some(state) = states.next().await {
            let written = match state {
                Ok(Some(state)) => self.own_state(&state).await,
                Ok(None) => self.create_state(&name).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = written {
                tracing::warn!("{error:#}");
            }
        }
    }

    async fn create_state(&self, name: &str) -> anyhow::Result<()> {
        let state = serde_json::from_value(json!({
            "metadata": {"name": name, "ownerReferences": [self.owner], "labels": {NODE: self.node}},
        }))?;
        self.states.create(&PostParams::default(), &state).await?;
        Ok(())
    }

    async fn own_state(&self, state: &ConfigurationState) -> anyhow::Result<()> {
        let owners = state.owner_references();
        if owners.iter().any(|owner| owner.uid == self.owner.uid) {
            return Ok(());
        }
        let owners = [owners, std::slice::from_ref(&self.owner)].concat();
        let patch = json!({"metadata": {"ownerReferences": owners}});
        let (name, parameters) = (state.name_any(), PatchParams::default());
        self.states
            .patch(&name, &parameters, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Looks at a Service again when an object about it that has this node's label changes.
    async fn follow_statuses(self: Arc<Self>, changed: Sender<String>) {
        let own = watcher::Config::default().labels(&format!("{NODE}={}", self.node));
        let mut objects = watcher(self.statuses.clone(), own).default_backoff().boxed();
        while let Some(event) = objects.next().await {
            let (watcher::Event::Apply(object)
            | watcher::Event::InitApply(object)
            | watcher::Event::Delete(object)) = (match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!("{error:#}");
                    continue;
                }
            })
            else {
                continue;
            };
            if let Some(service) = object.labels().get(SERVICE_NAME) {
                // The receiver lives as long as this process.
                let _ = changed.send(service.clone()).await;
            }
        }
    }

    async fn write(self: Arc<Self>, mut changes: Receiver<String>) {
        while let Some(service) = changes.recv().await {
            if let Err(error) = self.write_status(&service).await {
                tracing::warn!("{service}: {error:#}");
            }
        }
    }

    /// The node that leads keeps one object of its own and deletes all others about the Service; each other node deletes its own.
    async fn write_status(&self, service: &str) -> anyhow::Result<()> {
        let leads = {
            let led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
            led.contains(service)
        };
        let about = ListParams::default().labels(&format!("{SERVICE_NAME}={service}"));
        let objects = self.statuses.list(&about).await?.items;
        let (mut own, others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| object.labels().get(NODE) == Some(&self.node));
        let kept = if leads { own.pop() } else { None };
        let others = if leads { others } else { Vec::new() };
        for object in own.iter().chain(&others) {
            match self
                .statuses
                .delete(&object.name_any(), &DeleteParams::default())
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
        match kept {
            Some(object) => self.complete(&object, service).await,
            None if leads => self.create_status(service).await,
            None => Ok(()),
        }
    }

    async fn create_status(&self, service: &str) -> anyhow::Result<()> {
        let object: ServiceL2Status = serde_json::from_value(json!({
            "metadata": {
                "generateName": "l2-",
                "labels": {NODE: self.node, SERVICE_NAME: service, SERVICE_NAMESPACE: "default"},
                "ownerReferences": [self.owner],
            },
        }))?;
        // The status follows when the creation is seen.
        self.statuses.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Writes labels, owner and status if the status differs.
    async fn complete(&self, object: &ServiceL2Status, service: &str) -> anyhow::Result<()> {
        let status = object.status.clone().unwrap_or_default();
        if status.node.as_ref() == Some(&self.node) && status.service_name.as_deref() == Some(service) {
            return Ok(());
        }
        let (name, parameters) = (object.name_any(), PatchParams::default());
        let owned = json!({"metadata": {"ownerReferences": [self.owner]}});
        self.statuses
            .patch(&name, &parameters, &Patch::Merge(owned))
            .await?;
        let status = json!({"status": {
            "node": self.node, "serviceName": service, "serviceNamespace": "default",
        }});
        self.statuses
            .patch_status(&name, &parameters, &Patch::Merge(status))
            .await?;
        Ok(())
    }
}

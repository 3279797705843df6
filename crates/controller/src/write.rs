//! Requests that write statuses.

use std::time::Duration;

use herald_api::{IPAddressPool, L2Advertisement, ServiceL2Status};
use herald_core::ServiceKey;
use herald_core::config::ResourceKind;
use herald_runtime::lease::Leadership;
use herald_runtime::reconcile::{WriteQueue, WriteTarget};
use herald_runtime::watch::Item;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, PartialObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::resources::ResourceId;

/// Pause after each write of the status of a pool or an advertisement. It counts, and a count may be a second old: while
/// thousands of Services get addresses, it would otherwise be written as often as theirs.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// An object whose status this controller writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StatusTarget {
    Service(ServiceKey),
    /// A pool or an advertisement.
    Resource(ResourceId),
    /// A superseded `ServiceL2Status` in our namespace, which is deleted: the write is the version that it has.
    Announcement(String),
}

impl WriteTarget for StatusTarget {
    /// Resources take their turn beside the namespaces.
    fn namespace(&self) -> &str {
        match self {
            Self::Service(service) => &service.namespace,
            Self::Resource(_) | Self::Announcement(_) => "",
        }
    }

    fn spacing(&self) -> Option<Duration> {
        matches!(self, Self::Resource(_)).then_some(COUNT_PAUSE)
    }
}

/// The patches that wait or are in flight.
pub(crate) type Writes = WriteQueue<StatusTarget, Value>;

/// Starts an empty queue; `namespace` is that of the pools.
pub(crate) fn queue(client: Client, leadership: Leadership, namespace: String) -> Writes {
    WriteQueue::new(Some(leadership), move |target, patch| {
        send(client.clone(), namespace.clone(), target, patch)
    })
}

/// Patches the status subresource, or deletes the object, and returns the version that the patch made. Only built-in kinds have strategic merge,
/// which leaves conditions of others as they are.
async fn send(
    client: Client,
    namespace: String,
    target: StatusTarget,
    patch: Value,
) -> kube::Result<Option<String>> {
    let params = PatchParams::default();
    match target {
        StatusTarget::Service(service) => {
            // Of the answer only the version matters. That the rest cannot be parsed is no failure of the write.
            let api: Api<Item<PartialObjectMeta<Service>>> =
                Api::namespaced_with(client, &service.namespace, &());
            let object = api
                .patch_status(&service.name, &params, &Patch::Strategic(patch))
                .await?;
            Ok(object.resource_version())
        }
        StatusTarget::Resource(ResourceId {
            kind: ResourceKind::Pool,
            name,
        }) => {
            let api: Api<Item<IPAddressPool>> = Api::namespaced_with(client, &namespace, &());
            let object = api.patch_status(&name, &params, &Patch::Merge(patch)).await?;
            Ok(object.resource_version())
        }
        StatusTarget::Resource(ResourceId {
            kind: ResourceKind::L2Advertisement,
            name,
        }) => {
            let api: Api<Item<L2Advertisement>> = Api::namespaced_with(client, &namespace, &());
            let object = api.patch_status(&name, &params, &Patch::Merge(patch)).await?;
            Ok(object.resource_version())
        }
        StatusTarget::Announcement(name) => {
            let api: Api<PartialObjectMeta<ServiceL2Status>> = Api::namespaced(client, &namespace);
            let preconditions = Preconditions {
                resource_version: patch.as_str().map(str::to_owned),
                uid: None,
            };
            api.delete(&name, &DeleteParams::default().preconditions(preconditions))
                .await?;
            Ok(None)
        }
    }
}

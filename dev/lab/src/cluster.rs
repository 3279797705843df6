//! The Kubernetes side of the lab: the API server, and what is read from and written to it.

use std::net::IpAddr;

use anyhow::Context;
use herald_api::{IPAddressPool, L2Advertisement, ServiceL2Status, convert, crds};
use herald_core::config::Catalog;
use k8s_openapi::api::core::v1::{Event, Node, Pod, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt, discovery};
use serde_json::{Value, json};

use crate::control_plane::{self, ControlPlane};
use crate::manifest::{self, Document, ManifestError};
use crate::objects::{self, NAMESPACE};

/// Under which name the lab's own writes appear in `managedFields`.
const FIELD_MANAGER: &str = "herald-lab";
/// What holds a pod that terminates, in place of a kubelet.
const FINALIZER: &str = "herald.io/lab";

/// The API server, and a client of it.
pub struct Cluster {
    control_plane: ControlPlane,
    client: Client,
}

/// An object that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its kind.
    pub kind: String,
    /// Its namespace; `None` for what has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// A client of `control_plane`.
    pub async fn new(control_plane: ControlPlane) -> anyhow::Result<Self> {
        let client = control_plane::client(&control_plane.kubeconfig(&control_plane.outside())).await?;
        Ok(Self {
            control_plane,
            client,
        })
    }

    /// The namespaces and the definitions of Herald's resources, where no chart brings them.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        for name in ["default", NAMESPACE] {
            self.create(&objects::namespace(name)).await?;
        }
        for definition in crds() {
            self.create(&serde_json::to_value(definition)?).await?;
        }
        Ok(())
    }

    /// Where the API comes from.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Takes the API server away at once, or brings it back with all that it knew.
    pub async fn set_away(&mut self, away: bool) -> anyhow::Result<()> {
        self.control_plane.set_away(away).await
    }

    /// A client of the API server.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Creates an object unless it exists.
    pub async fn create(&self, object: &Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let api = self.api_of(&object).await?;
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot create {}", object.name_any())),
        }
    }

    /// Registers a node that is ready.
    pub async fn add_node(&self, name: &str, addresses: [IpAddr; 2]) -> anyhow::Result<()> {
        self.create(&objects::node(name)).await?;
        let status = objects::node_status(name, addresses);
        let api = Api::<Node>::all(self.client());
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    /// Removes a node.
    pub async fn remove_node(&self, name: &str) -> anyhow::Result<()> {
        let api = Api::<Node>::all(self.client());
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a Service of namespace `default`.
    pub async fn delete_service(&self, name: &str) -> anyhow::Result<()> {
        let api = Api::<Service>::namespaced(self.client(), "default");
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Sets an annotation of a node, or takes it away.
    pub async fn annotate_node(&self, name: &str, key: &str, value: Option<&str>) -> anyhow::Result<()> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        let api = Api::<Node>::all(self.client());
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Registers a pod that is ready.
    pub async fn add_pod(&self, pod: &objects::Pod) -> anyhow::Result<()> {
        self.create(&pod.object()).await?;
        self.set_ready(pod, true).await
    }

    /// Says of a pod whether it is ready to serve.
    pub async fn set_ready(&self, pod: &objects::Pod, ready: bool) -> anyhow::Result<()> {
        let api = Api::<Pod>::namespaced(self.client(), &pod.namespace);
        api.patch_status(
            &pod.name,
            &PatchParams::default(),
            &Patch::Merge(pod.status(ready)),
        )
        .await?;
        Ok(())
    }

    /// Deletes a pod as a drain does: it terminates, and is ready until [`Self::remove_pod`] as far as a kubelet knows.
    pub async fn terminate_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api = Api::<Pod>::namespaced(self.client(), namespace);
        let held = json!({"metadata": {"finalizers": [FINALIZER]}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(held))
            .await?;
        api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Deletes a pod, or ends one that terminates.
    pub async fn remove_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api = Api::<Pod>::namespaced(self.client(), namespace);
        api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        let released = json!({"metadata": {"finalizers": null}});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(released))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// Applies a file as a user would, with the checks that Herald's admission makes; the file's good
    /// documents are applied even if others are not.
    pub async fn apply(&self, source: &str, yaml: &str) -> (Vec<Applied>, Vec<ManifestError>) {
        let (mut applied, mut errors) = (Vec::new(), Vec::new());
        for document in manifest::split(source, yaml) {
            match self.apply_document(&document).await {
                Ok(object) => applied.push(object),
                Err(error) => errors.push(error),
            }
        }
        (applied, errors)
    }

    async fn apply_document(&self, document: &Document<'_>) -> Result<Applied, ManifestError> {
        let object = document.parse()?;
        let named = |error: anyhow::Error| document.error(format!("{}: {error:#}", title(&object)));
        self.admit(&object).await.map_err(named)?;
        let api = self.api_of(&object).await.map_err(named)?;
        let name = object.name_any();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let stored = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
        let stored = stored.map_err(|error| named(refusal(error)))?;
        Ok(Applied {
            kind: object.types.map(|types| types.kind).unwrap_or_default(),
            namespace: stored.namespace(),
            name,
        })
    }

    /// Refuses configuration that Herald would set aside, with its own words.
    async fn admit(&self, object: &DynamicObject) -> anyhow::Result<()> {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        let raw = serde_json::to_value(object)?;
        let mut catalog = Catalog::new();
        match kind {
            Some("IPAddressPool") => {
                let Ok(new) = serde_json::from_value::<IPAddressPool>(raw) else {
                    return Ok(());
                };
                let mut pools = self.list::<IPAddressPool>(NAMESPACE).await?;
                pools.retain(|pool| pool.name_any() != new.name_any());
                let mut raw = convert::pool(&new);
                // Of two pools that overlap the older one is right; what is not stored yet is the youngest.
                raw.created = i64::MAX;
                catalog.set_pools(pools.iter().map(convert::pool).chain([raw]).collect());
            }
            Some("L2Advertisement") => {
                let Ok(new) = serde_json::from_value::<L2Advertisement>(raw) else {
                    return Ok(());
                };
                catalog.set_l2_advertisement(&convert::l2_advertisement(&new));
            }
            _ => return Ok(()),
        }
        let name = object.name_any();
        let own = catalog.problems().iter().filter(|problem| problem.name == name);
        let problems: Vec<String> = own
            .map(|problem| format!("{}: {}", problem.field, problem.error))
            .collect();
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(())
    }

    /// All objects of a kind in a namespace.
    pub async fn list<K>(&self, namespace: &str) -> anyhow::Result<Vec<K>>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let list = Api::<K>::namespaced(self.client(), namespace)
            .list(&ListParams::default())
            .await;
        Ok(list
            .with_context(|| format!("cannot list {}", K::plural(&())))?
            .items)
    }

    /// The addresses that a Service of namespace `default` was given.
    pub async fn addresses(&self, service: &str) -> anyhow::Result<Vec<IpAddr>> {
        let service = Api::<Service>::namespaced(self.client(), "default")
            .get(service)
            .await?;
        Ok(convert::ingress_addresses(&service).to_vec())
    }

    /// The Services of namespace `default` and their addresses, one a line.
    pub async fn services(&self) -> anyhow::Result<Vec<String>> {
        let services = self.list::<Service>("default").await?;
        let line = |service: &Service| {
            let kind = service
                .spec
                .as_ref()
                .and_then(|spec| spec.type_.as_deref())
                .unwrap_or_default();
            format!(
                "{} {kind} {:?}",
                service.name_any(),
                convert::ingress_addresses(service)
            )
        };
        Ok(services.iter().map(line).collect())
    }

    /// A condition of a Service of namespace `default`: its status, reason and message.
    pub async fn condition(&self, service: &str, type_: &str) -> anyhow::Result<Option<[String; 3]>> {
        let service = Api::<Service>::namespaced(self.client(), "default")
            .get(service)
            .await?;
        let conditions = service.status.and_then(|status| status.conditions);
        let mut conditions = conditions.into_iter().flatten();
        let condition = conditions.find(|condition| condition.type_ == type_);
        Ok(condition.map(|found| [found.status, found.reason, found.message]))
    }

    /// The node that, by its speaker's word, announces a Service of namespace `default`.
    pub async fn announcer(&self, service: &str) -> anyhow::Result<Option<String>> {
        let statuses = self.list::<ServiceL2Status>(NAMESPACE).await?;
        let of_service = statuses
            .into_iter()
            .filter_map(|status| status.status)
            .filter(|status| {
                status.service_name.as_deref() == Some(service)
                    && status.service_namespace.as_deref() == Some("default")
                    && status
                        .conditions
                        .iter()
                        .all(|condition| condition.status == "True")
            });
        let nodes: Vec<String> = of_service.filter_map(|status| status.node).collect();
        // Two at once is a hand-over in progress.
        Ok(if nodes.len() == 1 {
            nodes.into_iter().next()
        } else {
            None
        })
    }

    /// The events of a namespace, oldest first, one a line.
    pub async fn events(&self, namespace: &str) -> anyhow::Result<Vec<String>> {
        let events = self.list::<Event>(namespace).await?;
        let line = |event: Event| {
            let about = event.involved_object;
            format!(
                "{} {}/{} {}: {}",
                event.type_.unwrap_or_default(),
                about.kind.unwrap_or_default(),
                about.name.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            )
        };
        Ok(events.into_iter().map(line).collect())
    }

    async fn api_of(&self, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
        let types = object.types.as_ref().context("the object has no kind")?;
        let kind = GroupVersionKind::try_from(types)?;
        let found = discovery::pinned_kind(&self.client, &kind).await;
        let (resource, capabilities) = found.map_err(|error| match refusal(error) {
            unknown if unknown.to_string().contains("not found") => anyhow::anyhow!(
                "the cluster knows no kind {:?} in {:?}; check the spelling of both",
                types.kind,
                types.api_version
            ),
            other => other,
        })?;
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        Ok(match capabilities.scope {
            discovery::Scope::Cluster => Api::all_with(self.client(), &resource),
            discovery::Scope::Namespaced => Api::namespaced_with(self.client(), &namespace, &resource),
        })
    }
}

fn title(object: &DynamicObject) -> String {
    let kind = object
        .types
        .as_ref()
        .map_or("object", |types| types.kind.as_str());
    format!("{kind} {:?}", object.name_any())
}

/// The API server's own words, without the client's wrapping.
fn refusal(error: kube::Error) -> anyhow::Error {
    if let kube::Error::Api(status) = error {
        anyhow::anyhow!("{}", status.message)
    } else {
        anyhow::Error::new(error)
    }
}

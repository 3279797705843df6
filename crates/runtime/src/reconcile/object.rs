//! Reconciles one object with a desired state: creates it when it is absent, changes it when it differs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use herald_core::Backoff;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::{Failure, TIMEOUT, owner, with_transition_times, within};
use crate::client::is_away;
use crate::{Update, task};

/// Pause after a failure; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: the object is for information only.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// Pause between two writes of the status: what it says may change all the time, such as the interfaces of a loose cable.
const SPACING: Duration = Duration::from_secs(1);

/// The desired state of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredObject {
    /// Labels that the object must have; it may have others.
    pub labels: BTreeMap<String, String>,
    /// The status. The `lastTransitionTime` of conditions is filled in from the observed object.
    pub status: Value,
}

/// The next request on the way to the desired state.
#[derive(Debug, Clone, PartialEq)]
enum ObjectRequest {
    Create(Value),
    /// A merge patch of the object.
    Patch(Value),
    /// A merge patch of its status.
    PatchStatus(Value),
}

struct ObjectReconciler<K> {
    objects: Api<K>,
    name: String,
    owner: Option<OwnerReference>,
    /// The newest version of the object that is known; `None` if there is no object.
    observed: Option<Value>,
    /// The object as the watch showed it last, which may be older.
    shown: Option<Value>,
    /// The last request that succeeded, as long as nobody else has changed the object. The same one again would change
    /// nothing: the cluster has a definition of the kind without one of the fields.
    written: Option<ObjectRequest>,
}

/// Reconciles the object `name` of a kind with a `status` subresource with the desired state in the returned channel; `None`
/// leaves the object alone. The Pod `pod` owns the object, if there is such a Pod, so that both are deleted together; other
/// owners stay.
pub fn reconcile<K>(
    client: Client,
    namespace: &str,
    name: String,
    pod: &str,
) -> watch::Sender<Option<DesiredObject>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static,
{
    let (sender, desired) = watch::channel(None);
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    task::spawn(async move {
        let reconciler = ObjectReconciler::<K> {
            owner: owner_of(client.clone(), &namespace, &pod).await,
            objects: Api::namespaced(client, &namespace),
            name,
            observed: None,
            shown: None,
            written: None,
        };
        reconciler.run(desired).await
    });
    sender
}

impl<K> ObjectReconciler<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    async fn run(mut self, mut desired: watch::Receiver<Option<DesiredObject>>) -> Infallible {
        let (sender, mut updates) = mpsc::channel(16);
        task::spawn(crate::watch::watch(
            self.objects.clone(),
            ListParams::default().fields(&format!("metadata.name={}", self.name)),
            crate::watch::VERSION_CHECK,
            |object: K| serde_json::to_value(object).unwrap_or_default(),
            |update| update,
            sender,
        ));
        let mut is_listed = false;
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        let mut next_status = Instant::now();
        // Cancel safety: `recv` and `changed` lose nothing when another branch wins; the pause starts over.
        loop {
            let wanted = desired.borrow_and_update().clone();
            let request = wanted
                .filter(|_| is_listed)
                .and_then(|wanted| self.next(&wanted, Timestamp::now()));
            let is_status = matches!(request, Some(ObjectRequest::PatchStatus(_)));
            let pause = next_status.saturating_duration_since(Instant::now());
            let mut retry = (is_status && !pause.is_zero()).then_some(pause);
            if let Some(request) = request.filter(|_| retry.is_none()) {
                match self.send(request.clone()).await {
                    Ok(object) => {
                        if is_status {
                            next_status = Instant::now() + SPACING;
                        }
                        self.observed = serde_json::to_value(object).ok();
                        self.written = Some(request);
                        backoff.reset();
                        continue;
                    }
                    Err(failure) => {
                        let error = failure.message();
                        if !is_away() {
                            warn!(kind = %K::kind(&()), name = self.name, error, "could not be written; trying again");
                        }
                        retry = Some(backoff.pause());
                    }
                }
            }
            tokio::select! {
                // A change of the desired state or the object does not shorten the pause: both may change all the time.
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
                Some(updates) = updates.recv() => for update in updates {
                    is_listed |= self.handle(update);
                },
                // An error means that the program ends.
                Ok(()) = desired.changed(), if retry.is_none() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Takes what the watch shows, unless it is older than our own last write. After a list the object counts whatever its
    /// version: an API server that was restored from a backup continues from an older one. Returns whether that was a list.
    fn handle(&mut self, update: Update<Value>) -> bool {
        let version = |object: &Value| {
            object["metadata"]["resourceVersion"]
                .as_str()?
                .parse::<u64>()
                .ok()
        };
        match update {
            Update::Applied(object) => {
                let observed = self.observed.as_ref().and_then(version);
                if version(&object) > observed {
                    self.written = None;
                }
                if version(&object) >= observed {
                    self.observed = Some(object.clone());
                }
                self.shown = Some(object);
            }
            // The deletion of an object that was replaced since then says nothing of its successor.
            Update::Deleted(_) => {
                let uid = |object: &Value| object["metadata"]["uid"].clone();
                let gone = self.shown.take();
                if gone.as_ref().map(uid) == self.observed.as_ref().map(uid) {
                    self.observed = None;
                    self.written = None;
                }
            }
            Update::Synced => {
                self.written = None;
                self.observed.clone_from(&self.shown);
                return true;
            }
        }
        false
    }

    /// Returns the next request on the way to the desired state.
    fn next(&self, wanted: &DesiredObject, now: Timestamp) -> Option<ObjectRequest> {
        let request = self.difference(wanted, now);
        request.filter(|request| self.written.as_ref() != Some(request))
    }

    fn difference(&self, wanted: &DesiredObject, now: Timestamp) -> Option<ObjectRequest> {
        let Some(observed) = &self.observed else {
            let mut object = json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": {"labels": wanted.labels, "ownerReferences": self.owner.iter().collect::<Vec<_>>()},
            });
            object["metadata"]["name"] = json!(self.name);
            return Some(ObjectRequest::Create(object));
        };
        let labels = &observed["metadata"]["labels"];
        let is_labelled = wanted.labels.iter().all(|(key, value)| labels[key] == *value);
        let owners = self.with_owner(&observed["metadata"]["ownerReferences"]);
        if !is_labelled || owners.is_some() {
            let mut metadata = json!({"labels": wanted.labels});
            if let Some(owners) = owners {
                metadata["ownerReferences"] = owners;
            }
            return Some(ObjectRequest::Patch(json!({"metadata": metadata})));
        }
        let status = with_transition_times(wanted.status.clone(), &observed["status"], now);
        (observed["status"] != status).then(|| ObjectRequest::PatchStatus(json!({"status": status})))
    }

    /// Returns the owners with this Pod among them; `None` if it is one of them already. Other owners stay: another program, such
    /// as MetalLB's speaker, may keep the same object, and each would remove the other's reference for ever.
    fn with_owner(&self, found: &Value) -> Option<Value> {
        let own = self.owner.as_ref()?;
        let mut owners = found.as_array().cloned().unwrap_or_default();
        let is_owner = owners.iter().any(|owner| owner["uid"] == *own.uid);
        owners.push(json!(own));
        (!is_owner).then_some(Value::Array(owners))
    }

    async fn send(&self, request: ObjectRequest) -> Result<K, Failure> {
        let params = PatchParams::default();
        let request = async {
            match request {
                ObjectRequest::Create(object) => {
                    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
                    self.objects.create(&PostParams::default(), &object).await
                }
                ObjectRequest::Patch(patch) => {
                    self.objects
                        .patch(&self.name, &params, &Patch::Merge(patch))
                        .await
                }
                ObjectRequest::PatchStatus(patch) => {
                    let patch = Patch::Merge(patch);
                    self.objects.patch_status(&self.name, &params, &patch).await
                }
            }
        };
        within(TIMEOUT, request).await
    }
}

/// Reads the owner once. Without it the object stays when the Pod is deleted.
async fn owner_of(client: Client, namespace: &str, pod: &str) -> Option<OwnerReference> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    owner(&pods, pod).await.unwrap_or_else(|failure| {
        let error = failure.message();
        warn!(
            pod,
            error, "cannot read our own Pod: what we create will not be deleted with it"
        );
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::ObjectKey;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Config as ClientConfig;

    fn object(uid: &str, version: u64) -> Value {
        json!({"metadata": {"name": "state", "uid": uid, "resourceVersion": version.to_string()}})
    }

    fn deleted() -> Update<Value> {
        Update::Deleted(ObjectKey {
            namespace: "default".to_owned(),
            name: "state".to_owned(),
        })
    }

    fn reconciler() -> ObjectReconciler<ConfigMap> {
        let config = ClientConfig::new("http://127.0.0.1:9".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        ObjectReconciler {
            objects: Api::namespaced(client, "default"),
            name: "state".to_owned(),
            owner: None,
            observed: None,
            shown: None,
            written: None,
        }
    }

    #[tokio::test]
    async fn what_the_definition_does_not_have_is_written_once_for_each_change_of_the_object() {
        let mut reconciler = reconciler();
        reconciler.handle(Update::Applied(object("first", 5)));
        let wanted = DesiredObject {
            labels: BTreeMap::new(),
            status: json!({"new": 1}),
        };
        let next = |reconciler: &ObjectReconciler<_>| reconciler.next(&wanted, Timestamp::UNIX_EPOCH);
        let request = next(&reconciler).expect("a write");
        // The answer lacks the field, and the object has the version that it had.
        reconciler.written = Some(request.clone());
        assert_eq!(next(&reconciler), None);
        reconciler.handle(Update::Applied(object("first", 5)));
        assert_eq!(next(&reconciler), None);
        reconciler.handle(Update::Applied(object("first", 6)));
        assert_eq!(next(&reconciler), Some(request));
    }

    #[tokio::test]
    async fn a_late_deletion_says_nothing_of_the_object_that_was_created_since() {
        let mut reconciler = reconciler();
        reconciler.handle(Update::Applied(object("first", 5)));
        // It was deleted and created again, and the watch is behind.
        reconciler.observed = Some(object("second", 8));
        reconciler.handle(deleted());
        assert_eq!(reconciler.observed, Some(object("second", 8)));
        reconciler.handle(Update::Applied(object("second", 8)));
        reconciler.handle(deleted());
        assert_eq!(reconciler.observed, None);
    }
}

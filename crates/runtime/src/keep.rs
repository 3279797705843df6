//! One object kept as it should be: created when it is absent, changed when it differs, and otherwise left alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::Update;
use crate::log::one_line;

/// An API server that does not answer for so long is away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: the object informs, nobody waits for it.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What an object should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Labels that it has to have, besides others.
    pub labels: BTreeMap<String, String>,
    /// Its status. The `lastTransitionTime` of conditions does not matter here: it is when their `status` changed.
    pub status: Value,
}

/// The next request on the way to what is wished for.
#[derive(Debug, PartialEq)]
enum Request {
    Create(Value),
    /// A merge patch of the object.
    Patch(Value),
    /// A merge patch of its status.
    PatchStatus(Value),
}

struct Keeper<K> {
    objects: Api<K>,
    name: String,
    owner: Option<OwnerReference>,
    /// The object as the API server last showed it; `None` if there is none.
    current: Option<Value>,
    /// The object as the watch showed it last, which may be older.
    shown: Option<Value>,
}

/// Keeps the object `name` of a kind with a `status` subresource as the returned channel says; `None` leaves it alone. It
/// is owned by the Pod `pod`, if there is such a Pod, and goes when that goes.
pub fn keep<K>(client: Client, namespace: &str, name: String, pod: &str) -> watch::Sender<Option<Wish>>
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
    let (sender, wishes) = watch::channel(None);
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    tokio::spawn(async move {
        let keeper = Keeper::<K> {
            owner: owner(client.clone(), &namespace, &pod).await,
            objects: Api::namespaced(client, &namespace),
            name,
            current: None,
            shown: None,
        };
        keeper.run(wishes).await;
    });
    sender
}

impl<K> Keeper<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    async fn run(mut self, mut wishes: watch::Receiver<Option<Wish>>) {
        let (sender, mut updates) = mpsc::channel(16);
        tokio::spawn(crate::watch::watch(
            self.objects.clone(),
            Config::default().fields(&format!("metadata.name={}", self.name)),
            |object: K| serde_json::to_value(object).unwrap_or_default(),
            |update| update,
            sender,
        ));
        let mut is_listed = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let wish = wishes.borrow_and_update().clone();
            let request = wish
                .filter(|_| is_listed)
                .and_then(|wish| self.next(&wish, Timestamp::now()));
            let mut retry = None;
            if let Some(request) = request {
                match self.send(request).await {
                    Ok(object) => {
                        self.current = serde_json::to_value(object).ok();
                        pause = FIRST_PAUSE;
                        continue;
                    }
                    Err(error) => {
                        warn!(kind = %K::kind(&()), name = self.name, error, "could not be written; trying again");
                        retry = Some(pause);
                        pause = (pause * 2).min(LAST_PAUSE);
                    }
                }
            }
            tokio::select! {
                // A changed wish or object does not shorten the pause: both may change all the time.
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
                Some(update) = updates.recv() => is_listed |= self.handle(update),
                changed = wishes.changed(), if retry.is_none() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Takes what the watch shows, unless it is older than our own last write. After a list the object counts whatever its
    /// version: an API server that was restored from a backup counts anew. Returns whether that was a list.
    fn handle(&mut self, update: Update<Value>) -> bool {
        let version = |object: &Value| {
            object["metadata"]["resourceVersion"]
                .as_str()?
                .parse::<u64>()
                .ok()
        };
        match update {
            Update::Applied(object) => {
                if version(&object) >= self.current.as_ref().and_then(version) {
                    self.current = Some(object.clone());
                }
                self.shown = Some(object);
            }
            Update::Deleted(_) => {
                self.current = None;
                self.shown = None;
            }
            Update::Synced => {
                self.current.clone_from(&self.shown);
                return true;
            }
        }
        false
    }

    fn next(&self, wish: &Wish, now: Timestamp) -> Option<Request> {
        let owners = json!(self.owner.iter().collect::<Vec<_>>());
        let metadata = json!({"labels": wish.labels, "ownerReferences": owners});
        let Some(current) = &self.current else {
            let mut object = json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": metadata,
            });
            object["metadata"]["name"] = json!(self.name);
            return Some(Request::Create(object));
        };
        let labels = &current["metadata"]["labels"];
        let is_labelled = wish.labels.iter().all(|(key, value)| labels[key] == *value);
        let found = &current["metadata"]["ownerReferences"];
        let has_owner = *found == owners || (found.is_null() && self.owner.is_none());
        if !is_labelled || !has_owner {
            return Some(Request::Patch(json!({"metadata": metadata})));
        }
        let status = timed(wish.status.clone(), &current["status"], now);
        (current["status"] != status).then(|| Request::PatchStatus(json!({"status": status})))
    }

    async fn send(&self, request: Request) -> Result<K, String> {
        let params = PatchParams::default();
        let request = async {
            match request {
                Request::Create(object) => {
                    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
                    self.objects.create(&PostParams::default(), &object).await
                }
                Request::Patch(patch) => {
                    self.objects
                        .patch(&self.name, &params, &Patch::Merge(patch))
                        .await
                }
                Request::PatchStatus(patch) => {
                    let patch = Patch::Merge(patch);
                    self.objects.patch_status(&self.name, &params, &patch).await
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(one_line(&error)),
            Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
        }
    }
}

/// The status with the times of its conditions: those found, if they are of the same `status`, and else `now`.
pub fn timed(mut status: Value, found: &Value, now: Timestamp) -> Value {
    let conditions = status["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        let found = found["conditions"].as_array().into_iter().flatten();
        let same =
            |found: &&Value| found["type"] == condition["type"] && found["status"] == condition["status"];
        let since = found
            .filter(same)
            .map(|found| found["lastTransitionTime"].clone())
            .next();
        condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(Time(now)));
    }
    status
}

/// A reference to a Pod, for objects that go with it.
async fn owner(client: Client, namespace: &str, pod: &str) -> Option<OwnerReference> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let found = match tokio::time::timeout(TIMEOUT, pods.get_opt(pod)).await {
        Ok(Ok(found)) => found?,
        Ok(Err(error)) => {
            let error = one_line(&error);
            warn!(
                pod,
                error, "cannot read our own Pod: what we create will not go with it"
            );
            return None;
        }
        Err(_) => return None,
    };
    Some(OwnerReference {
        api_version: Pod::api_version(&()).into_owned(),
        kind: Pod::kind(&()).into_owned(),
        name: pod.to_owned(),
        uid: found.uid()?,
        ..OwnerReference::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let status =
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]});
        let found = json!({"conditions": [
            {"type": "A", "status": "True", "lastTransitionTime": "long ago"},
            {"type": "B", "status": "False", "lastTransitionTime": "long ago"},
        ]});
        let timed = timed(status, &found, Timestamp::UNIX_EPOCH);
        let time = |i: usize| timed["conditions"][i]["lastTransitionTime"].clone();
        assert_eq!(
            (time(0), time(1)),
            (json!("long ago"), json!("1970-01-01T00:00:00Z"))
        );
    }
}

//! Writes the objects of speakers: `ServiceL2Status` and `ServiceBGPStatus` (which node announces a Service, and what keeps the Service
//! from being announced), and `BGPSessionState`.
//!
//! For each kind a task writes only objects that its own Pod owns, several at a time and of each the newest state; nothing waits for them.
//! The controller derives the condition `herald.io/Announced` of the Services from them, because speakers may not write
//! Services, and deletes the `ServiceL2Status` objects that announce nothing any more. A speaker watches its own objects: one that
//! was deleted although it is desired is created again.

mod kind;
mod object;
mod restoration;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use herald_core::{Backoff, Time};
use herald_runtime::log::one_line;
use herald_runtime::reconcile::{QueueEvent, WriteQueue, Written, owner};
use herald_runtime::task;
use herald_runtime::watch::{VERSION_CHECK, watch};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::{Error, ResourceExt};
use tokio::sync::mpsc;
use tracing::warn;

use crate::sleep_until;
pub(crate) use kind::{ESTABLISHED, LONGEST_MESSAGE, SessionKey, SessionStatus};
use kind::{NODE, SpeakerObject};
use object::{ObjectWrite, ObservedObject, StatusObjects};

/// For how long the objects that an earlier container of this Pod wrote stay without a decision on their subjects, from the moment in which
/// the agent decides: more than a take-over lasts, and more than BGP waits for the lists of its kinds from then on
/// ([`PATIENCE`](herald_core::config::bgp::PATIENCE)).
const SETTLE_TIME: Duration = Duration::from_secs(15);
/// Pause after the first attempt to read the Pod; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// Messages of the watch that wait; it slows down when they are more.
const UPDATES: usize = 16;

/// What the driver has decided.
#[derive(Debug)]
enum Change<O: SpeakerObject> {
    Status(O::Key, Option<O::Status>),
    /// From now on it decides.
    Started,
    /// Whether nothing is to be written for now.
    Paused(bool),
}

/// Handle of the task that writes the objects of a kind. Never waits.
#[derive(Debug)]
pub(crate) struct Statuses<O: SpeakerObject>(mpsc::UnboundedSender<Change<O>>);

impl<O: SpeakerObject> Statuses<O> {
    /// Replaces what this node publishes about a subject, such as a Service; `None` if nothing.
    pub(crate) fn set(&self, key: O::Key, status: Option<O::Status>) {
        // Fails only while the program ends.
        let _ended = self.0.send(Change::Status(key, status));
    }

    /// Stops writing, or writes again all that differs. Objects of a kind that the speaker deletes are deleted in a pause as well.
    pub(crate) fn set_paused(&self, is_paused: bool) {
        let _ended = self.0.send(Change::Paused(is_paused));
    }

    /// Takes that the agent decides from now on.
    pub(crate) fn handle_start(&self) {
        let _ended = self.0.send(Change::Started);
    }
}

/// Starts the task that writes the objects of a kind.
pub(crate) fn start<O: SpeakerObject>(client: Client, namespace: &str, node: &str, pod: &str) -> Statuses<O> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the task moves each message into a map of subjects at once"
    )]
    let (sender, receiver) = mpsc::unbounded_channel();
    let api = StatusApi {
        pods: Api::namespaced(client.clone(), namespace),
        objects: Api::namespaced(client.clone(), namespace),
        metadata: Api::namespaced(client, namespace),
    };
    tokio::spawn(run(api, node.to_owned(), pod.to_owned(), receiver));
    Statuses(sender)
}

#[derive(Clone)]
struct StatusApi<O: SpeakerObject> {
    pods: Api<Pod>,
    objects: Api<O>,
    /// The same objects. Of an answer only the version matters.
    metadata: Api<PartialObjectMeta<O>>,
}

async fn run<O: SpeakerObject>(
    api: StatusApi<O>,
    node: String,
    pod: String,
    mut changes: mpsc::UnboundedReceiver<Change<O>>,
) {
    let mut objects = StatusObjects::<O>::new(node.clone());
    let zero = Instant::now();
    let now = || Time::since_zero(zero.elapsed());
    let mut phase = Phase::default();
    let mut pod_owner = Box::pin(read_owner(api.pods.clone(), pod, O::kind(&())));
    // Cancel safety: `recv` loses nothing when the other branch wins, and the read goes on in the next round.
    let pod_owner = loop {
        tokio::select! {
            biased;
            change = changes.recv() => match change {
                Some(change) => phase.handle_change(change, &mut objects),
                None => return,
            },
            pod_owner = &mut pod_owner => break pod_owner,
        }
    };
    objects.set_owner(pod_owner);
    let (sender, mut updates) = mpsc::channel(UPDATES);
    task::spawn(watch(
        api.metadata.clone(),
        ListParams::default().labels(&format!("{NODE}={node}")),
        VERSION_CHECK,
        |object| ObservedObject::new(&object),
        |update| update,
        sender,
    ));
    // Each instance writes its own objects only, so there is no Lease.
    let mut writes = WriteQueue::new(None, move |_: O::Key, write| send(api.clone(), write));
    let mut is_failing = false;
    // Cancel safety: neither `recv` nor `next` loses anything when another branch wins, and the times stay.
    loop {
        while writes.has_room()
            && let Some((key, write)) = objects.poll_write()
        {
            writes.submit(key, write);
        }
        let due = objects.poll_timeout().map(|due| zero + due.elapsed());
        tokio::select! {
            biased;
            change = changes.recv() => match change {
                Some(change) => phase.handle_change(change, &mut objects),
                None => return,
            },
            Some(updates) = updates.recv() => for update in updates {
                objects.update(update, Timestamp::now(), now());
            },
            event = writes.next() => match event {
                QueueEvent::Written(key, written) => {
                    let failure = failure(&written);
                    if let Some(error) = failure.filter(|_| !is_failing) {
                        warn!(kind = %O::kind(&()), subject = %key, error, "a status could not be written; trying again");
                    }
                    is_failing = failure.is_some();
                    objects.handle_written(&key, &written, now());
                }
                QueueEvent::PauseOver(key) => objects.handle_pause_over(&key),
            },
            () = sleep_until(due) => objects.handle_timeout(now()),
            () = sleep_until(phase.settles_at) => {
                phase.settles_at = None;
                objects.settle();
            }
        }
    }
}

/// What the task waits for.
#[derive(Default)]
struct Phase {
    /// When the objects that an earlier container wrote are withdrawn.
    settles_at: Option<Instant>,
}

impl Phase {
    fn handle_change<O: SpeakerObject>(&mut self, change: Change<O>, objects: &mut StatusObjects<O>) {
        match change {
            Change::Status(key, status) => objects.set(key, status, Timestamp::now()),
            Change::Started => self.settles_at = Some(Instant::now() + SETTLE_TIME),
            Change::Paused(is_paused) => objects.set_paused(is_paused),
        }
    }
}

fn failure(written: &Written) -> Option<&str> {
    match written {
        Written::Refused(error) | Written::Failed(error) => Some(error),
        Written::Version(_) | Written::Outdated | Written::Fenced => None,
    }
}

/// Reads the owner of the objects, as soon as the API server answers.
async fn read_owner(pods: Api<Pod>, pod: String, kind: Cow<'static, str>) -> OwnerReference {
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
    loop {
        match try_read_owner(&pods, &pod).await {
            Ok(owner) => return owner,
            Err(error) => {
                let error = one_line(error.as_ref());
                warn!(%kind, error, "no status can be written yet; trying again");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn try_read_owner(pods: &Api<Pod>, pod: &str) -> anyhow::Result<OwnerReference> {
    owner(pods, pod)
        .await
        .map_err(|failure| anyhow!("reading the speaker's Pod {pod}: {}", failure.message()))?
        .with_context(|| format!("the speaker's Pod {pod} does not exist"))
}

/// Creates the object unless it exists, and writes its status, or deletes the object. One that is gone has nothing to withdraw.
async fn send<O: SpeakerObject>(api: StatusApi<O>, write: ObjectWrite<O>) -> kube::Result<Option<String>> {
    let name = write.object.name_any();
    if write.is_withdrawal && O::DELETES {
        let deleted = api.metadata.delete(&name, &DeleteParams::default()).await;
        return match deleted {
            Err(Error::Api(status)) if !status.is_not_found() => Err(Error::Api(status)),
            Err(Error::Api(_)) | Ok(_) => Ok(None),
            Err(error) => Err(error),
        };
    }
    if write.is_new {
        create(&api, &write.object).await?;
    }
    let patch = Patch::Merge(&write.patch);
    let params = PatchParams::default();
    let object = match api.metadata.patch_status(&name, &params, &patch).await {
        Err(Error::Api(status)) if status.is_not_found() => {
            if write.is_withdrawal {
                return Ok(None);
            }
            create(&api, &write.object).await?;
            api.metadata.patch_status(&name, &params, &patch).await?
        }
        result => result?,
    };
    Ok(object.resource_version())
}

async fn create<O: SpeakerObject>(api: &StatusApi<O>, object: &O) -> kube::Result<()> {
    match api.objects.create(&PostParams::default(), object).await {
        // It was created before, and the answer was lost.
        Err(Error::Api(status)) if status.is_already_exists() => Ok(()),
        result => result.map(drop),
    }
}

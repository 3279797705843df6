//! Writes of statuses: several at a time, one for each object, the latest wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use herald_api::IPAddressPool;
use herald_core::{PoolName, ServiceKey};
use herald_runtime::lease::Leadership;
use herald_runtime::log::one_line;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::task::JoinSet;

/// Requests under way at a time: enough to hide the latency of an API server, few enough not to crowd it.
const PARALLEL: usize = 32;
/// An API server that does not answer for so long is away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the first failure in a row; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Pause after each write of a pool's status. It counts, and what counts may be a second behind: while thousands of
/// Services get addresses, it would else be written as often as theirs.
const COUNT_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause while the API server is away or busy: when it returns, we are soon there.
const AWAY_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause after a refusal: somebody has to change a policy first.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// An object whose status we write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Service(ServiceKey),
    /// A pool in our namespace.
    Pool(PoolName),
}

/// The writes that wait or are under way.
pub(crate) struct Writes {
    client: Client,
    /// Without it nothing goes out.
    leadership: Leadership,
    /// Where the pools are.
    namespace: String,
    /// One for each object that waits; a newer patch replaces it.
    waiting: BTreeMap<Target, Value>,
    order: VecDeque<Target>,
    in_flight: BTreeSet<Target>,
    /// Failures in a row.
    failures: BTreeMap<Target, u32>,
    requests: JoinSet<Done>,
}

/// How a write ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) target: Target,
    pub(crate) result: Written,
}

#[derive(Debug)]
pub(crate) enum Written {
    /// Done; the object has this version now.
    Version(Option<u64>),
    /// The object is another one by now, or is gone: the watch tells. Should it tell nothing new, it is tried again
    /// after a pause.
    Outdated,
    /// The API server refuses the patch: a missing permission, a policy.
    Refused(String),
    /// Not now: the API server is away or busy.
    Failed(String),
    /// Not sent: another controller may be active by now.
    Fenced,
    /// The pause after a failure, or after any write of a pool, is over.
    PauseOver,
}

impl Writes {
    pub(crate) fn new(client: Client, leadership: Leadership, namespace: String) -> Self {
        Self {
            client,
            leadership,
            namespace,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            in_flight: BTreeSet::new(),
            failures: BTreeMap::new(),
            requests: JoinSet::new(),
        }
    }

    /// Sends `patch` as soon as there is room, instead of what waits for the same object.
    pub(crate) fn submit(&mut self, target: Target, patch: Value) {
        if self.waiting.insert(target.clone(), patch).is_none() {
            self.order.push_back(target);
        }
        self.start();
    }

    /// Forgets what waits for an object.
    pub(crate) fn cancel(&mut self, target: &Target) {
        if self.waiting.remove(target).is_some() {
            self.order.retain(|waiting| waiting != target);
        }
    }

    /// Forgets everything that waits; what is under way goes on.
    pub(crate) fn cancel_all(&mut self) {
        self.waiting.clear();
        self.order.clear();
    }

    /// Waits until nothing is under way.
    pub(crate) async fn settle(&mut self) {
        while !self.in_flight.is_empty() {
            self.done().await;
        }
    }

    /// Whether nothing is under way or waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.order.is_empty()
    }

    /// The next write that ended. Never, while there is none.
    pub(crate) async fn done(&mut self) -> Done {
        match self.requests.join_next().await {
            Some(Ok(done)) => {
                self.account(&done);
                self.start();
                done
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }

    /// A failure is followed by a pause, after which whoever decides decides anew. The pause holds up nobody else.
    fn account(&mut self, done: &Done) {
        let pause = match (&done.result, &done.target) {
            (Written::PauseOver, _) => return,
            (Written::Version(_), target) => {
                self.failures.remove(target);
                matches!(target, Target::Pool(_)).then_some(COUNT_PAUSE)
            }
            (Written::Outdated | Written::Failed(_) | Written::Fenced, target) => {
                Some(self.pause_after_failure(target.clone(), AWAY_PAUSE))
            }
            (Written::Refused(_), target) => Some(self.pause_after_failure(target.clone(), REFUSED_PAUSE)),
        };
        self.in_flight.remove(&done.target);
        if let Some(pause) = pause {
            let target = done.target.clone();
            self.requests.spawn(async move {
                tokio::time::sleep(pause).await;
                let result = Written::PauseOver;
                Done { target, result }
            });
        }
    }

    fn pause_after_failure(&mut self, target: Target, longest: Duration) -> Duration {
        let failures = self.failures.entry(target).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(16)).min(longest);
        *failures += 1;
        pause
    }

    /// Starts what may start: an object whose last write is still under way waits for it.
    fn start(&mut self) {
        for _ in 0..self.order.len() {
            if self.in_flight.len() >= PARALLEL {
                return;
            }
            let Some(target) = self.order.pop_front() else {
                return;
            };
            if self.in_flight.contains(&target) {
                self.order.push_back(target);
            } else if let Some(patch) = self.waiting.remove(&target) {
                self.in_flight.insert(target.clone());
                let (client, leadership) = (self.client.clone(), self.leadership.clone());
                self.requests
                    .spawn(send(client, leadership, self.namespace.clone(), target, patch));
            }
        }
    }
}

/// The lease is asked at the last moment, because this process may have been paused since the decision. It outlasts the
/// request, so that whoever is active next finds nothing of ours under way.
async fn send(
    client: Client,
    leadership: Leadership,
    namespace: String,
    target: Target,
    patch: Value,
) -> Done {
    let Some(timeout) = leadership.remaining().map(|left| left.min(TIMEOUT)) else {
        let result = Written::Fenced;
        return Done { target, result };
    };
    let result = match tokio::time::timeout(timeout, request(client, &namespace, &target, &patch)).await {
        Ok(Ok(version)) => Written::Version(version.and_then(|v| v.parse().ok())),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
            Written::Outdated
        }
        Ok(Err(kube::Error::Api(status)))
            if status.is_invalid() || matches!(status.code, 400 | 401 | 403 | 415) =>
        {
            Written::Refused(status.message)
        }
        Ok(Err(error)) => Written::Failed(one_line(&error)),
        Err(_) => Written::Failed(format!("no answer within {timeout:.1?}")),
    };
    Done { target, result }
}

/// Patches the status subresource and tells the version that it made. Only built-in kinds know strategic merge, by
/// which conditions of others stay as they are.
async fn request(
    client: Client,
    namespace: &str,
    target: &Target,
    patch: &Value,
) -> kube::Result<Option<String>> {
    let params = PatchParams::default();
    match target {
        Target::Service(ServiceKey { namespace, name }) => {
            // Of the answer only the version matters; the rest is not even decoded.
            let api: Api<PartialObjectMeta<Service>> = Api::namespaced(client, namespace);
            let object = api.patch_status(name, &params, &Patch::Strategic(patch)).await?;
            Ok(object.resource_version())
        }
        Target::Pool(name) => {
            let api: Api<IPAddressPool> = Api::namespaced(client, namespace);
            let object = api
                .patch_status(name.as_str(), &params, &Patch::Merge(patch))
                .await?;
            Ok(object.resource_version())
        }
    }
}

//! Writes of statuses: several at a time, one for each Service, the latest wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use herald_core::ServiceKey;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::task::JoinSet;

/// Requests under way at a time: enough to hide the latency of an API server, few enough not to crowd it.
const PARALLEL: usize = 32;
/// An API server that does not answer for so long is away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure that is worth another try.
const PAUSE: Duration = Duration::from_millis(500);

/// The writes that wait or are under way.
pub(crate) struct Writes {
    client: Client,
    /// One for each Service that waits; a newer patch replaces it.
    waiting: BTreeMap<ServiceKey, Value>,
    order: VecDeque<ServiceKey>,
    in_flight: BTreeSet<ServiceKey>,
    requests: JoinSet<Done>,
}

/// How a write ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) service: ServiceKey,
    pub(crate) result: Written,
}

#[derive(Debug)]
pub(crate) enum Written {
    /// Done; the object has this version now.
    Version(Option<u64>),
    /// The object is another one by now, or is gone: the watch tells.
    Outdated,
    /// The API server refuses the patch itself.
    Refused(kube::Error),
    /// Not now: the API server is away or busy.
    Failed(String),
}

impl Written {
    /// Label of the metric.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Version(_) => "ok",
            Self::Outdated => "outdated",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

impl Writes {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            in_flight: BTreeSet::new(),
            requests: JoinSet::new(),
        }
    }

    /// Sends `patch` as soon as there is room, instead of what waits for the same Service.
    pub(crate) fn submit(&mut self, service: ServiceKey, patch: Value) {
        if self.waiting.insert(service.clone(), patch).is_none() {
            self.order.push_back(service);
        }
        self.start();
    }

    /// Forgets what waits for a Service.
    pub(crate) fn cancel(&mut self, service: &ServiceKey) {
        if self.waiting.remove(service).is_some() {
            self.order.retain(|waiting| waiting != service);
        }
    }

    /// The next write that ended. Never, while there is none.
    pub(crate) async fn done(&mut self) -> Done {
        match self.requests.join_next().await {
            Some(Ok(done)) => {
                self.in_flight.remove(&done.service);
                self.start();
                done
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }

    /// Starts what may start: a Service whose last write is still under way waits for it.
    fn start(&mut self) {
        for _ in 0..self.order.len() {
            if self.in_flight.len() >= PARALLEL {
                return;
            }
            let Some(service) = self.order.pop_front() else {
                return;
            };
            if self.in_flight.contains(&service) {
                self.order.push_back(service);
            } else if let Some(patch) = self.waiting.remove(&service) {
                self.in_flight.insert(service.clone());
                self.requests.spawn(send(self.client.clone(), service, patch));
            }
        }
    }
}

async fn send(client: Client, service: ServiceKey, patch: Value) -> Done {
    let api: Api<Service> = Api::namespaced(client, &service.namespace);
    let params = PatchParams::default();
    let patch = Patch::Merge(&patch);
    let request = api.patch_status(&service.name, &params, &patch);
    let result = match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(object)) => Written::Version(object.resource_version().and_then(|v| v.parse().ok())),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
            Written::Outdated
        }
        Ok(Err(kube::Error::Api(status))) if status.is_invalid() || matches!(status.code, 400 | 415) => {
            Written::Refused(kube::Error::Api(status))
        }
        Ok(Err(error)) => Written::Failed(error.to_string()),
        Err(_) => Written::Failed(format!("no answer within {TIMEOUT:?}")),
    };
    if matches!(result, Written::Failed(_)) {
        tokio::time::sleep(PAUSE).await;
    }
    Done { service, result }
}

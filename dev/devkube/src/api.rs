//! The top of the API: what every request shares, and which part answers it.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::{Method, Response};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::counts::RequestCounts;
use crate::faults::{self, FaultState};
use crate::reply::{Body, bytes_reply, error_reply, json_reply};
use crate::request::Request;
use crate::status::ApiError;
use crate::write::Part;
use crate::{discovery, openapi, resources};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    cluster: Mutex<Cluster>,
    /// What is wrong at the moment.
    pub(crate) faults: watch::Sender<FaultState>,
    counts: Mutex<RequestCounts>,
}

impl Shared {
    /// A new cluster.
    pub(crate) fn new(history_limit: usize, node_ports: RangeInclusive<u16>) -> Self {
        Self {
            cluster: Mutex::new(Cluster::new(history_limit, node_ports)),
            faults: watch::Sender::default(),
            counts: Mutex::default(),
        }
    }

    /// The cluster, to read it.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        // A panic in another request leaves a state that is still worth showing to a developer.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cluster, which wakes the watches of what was changed.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        change(&mut self.cluster())
    }

    /// Makes all versions seen so far too old to resume from.
    pub(crate) fn expire(&self) {
        self.change(|cluster| cluster.store.expire());
    }

    /// Counts a request to a resource.
    pub(crate) fn count(&self, verb: &str, plural: &str, part: Part) {
        let resource = match part {
            Part::Main => plural.to_string(),
            Part::Status => format!("{plural}/status"),
        };
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(verb, resource);
    }

    /// The requests counted so far.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one HTTP request.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Some(delay) = faults::delay(&shared.faults) {
        tokio::time::sleep(delay).await;
    }
    let reply = match Request::read(request).await {
        Ok(request) => route(&shared, &request),
        Err(error) => Err(ApiError::bad_request(format!("cannot read the request: {error}"))),
    };
    Ok(reply.unwrap_or_else(|error| error_reply(&error)))
}

fn route(shared: &Arc<Shared>, request: &Request) -> Result<Response<Body>, ApiError> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            resources::answer(shared, request, "", version, rest)
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            resources::answer(shared, request, group, version, rest)
        }
        _ if request.method != Method::GET => Err(ApiError::method_not_allowed(request.method.as_str())),
        path => describe(shared, request, path),
    }
}

/// Everything that describes the API itself.
fn describe(shared: &Shared, request: &Request, path: &[&str]) -> Result<Response<Body>, ApiError> {
    let cluster = shared.cluster();
    let kinds = &cluster.kinds;
    let found = match path {
        ["healthz" | "livez" | "readyz", ..] => return Ok(bytes_reply(200, "text/plain", "ok".into())),
        ["api"] => return Ok(discovery::core(kinds, request.format()?)),
        ["apis"] => return Ok(discovery::groups(kinds, request.format()?)),
        ["version"] => Some(discovery::version()),
        ["api", version] => discovery::resources(kinds, "", version),
        ["apis", group] => discovery::group(kinds, group),
        ["apis", group, version] => discovery::resources(kinds, group, version),
        ["openapi", "v3"] => Some(openapi::index(kinds)),
        ["openapi", "v3", "api", version] => openapi::document(kinds, "", version),
        ["openapi", "v3", "apis", group, version] => openapi::document(kinds, group, version),
        _ => None,
    };
    found
        .map(|value| json_reply(200, &value))
        .ok_or_else(ApiError::no_such_resource)
}
